//! A long gradient to a short feature that keeps inner products in the mean.

use pentimento_noise::{Purpose, Stream};

/// A sparse Johnson-Lindenstrauss projection with one non-zero per column (Kane and Nelson 2014; the count sketch of
/// Charikar et al. 2002): every parameter is added to or taken from one of `dimension` places.
///
/// `<project(a), project(b)>` has the mean `<a, b>` and a variance of at most `(|a|^2 |b|^2 + <a, b>^2) / dimension`. It
/// costs one addition per parameter, so next to the backward pass it takes no time.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseProjection {
    dimension: usize,
    /// The place of each parameter, and in the lowest bit whether it is taken from it.
    places: Vec<u32>,
}

impl SparseProjection {
    /// The projection of gradients of `parameters` values; it follows from the seed.
    ///
    /// # Panics
    ///
    /// If `dimension` is 0 or above 2^30.
    pub fn new(parameters: usize, dimension: usize, seed: u64) -> Self {
        assert!((1..=1 << 30).contains(&dimension), "1 to 2^30 dimensions, not {dimension}");
        let stream = Stream::new(seed, Purpose::AttributionProjection, 0, 0);
        let bound = 2 * dimension as u64;
        let places = (0..parameters).map(|parameter| stream.below(parameter as u64, bound) as u32).collect();
        Self { dimension, places }
    }

    /// Length of a feature.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of values of a gradient.
    pub fn parameters(&self) -> usize {
        self.places.len()
    }

    /// Projects a gradient.
    ///
    /// # Panics
    ///
    /// If it has another length than the projection was made for.
    pub fn project(&self, gradient: &[f32]) -> Vec<f32> {
        assert_eq!(gradient.len(), self.places.len(), "parameters of a gradient");
        let mut feature = vec![0.0f64; self.dimension];
        self.add(0, gradient, 1.0, &mut feature);
        feature.into_iter().map(|value| value as f32).collect()
    }

    /// Adds the projection of some values, from parameter `first` on and times `scale`, to a feature.
    ///
    /// # Panics
    ///
    /// If there are not so many parameters, or the feature has another length.
    pub fn add(&self, first: usize, values: &[f32], scale: f64, feature: &mut [f64]) {
        assert_eq!(feature.len(), self.dimension, "length of a feature");
        for (&place, &value) in self.places[first..first + values.len()].iter().zip(values) {
            // The sign is flipped as a bit: a branch would go the wrong way half of the time, and took a quarter of a draw's time.
            let sign = u64::from(place & 1) << 63;
            let value = f64::from_bits((scale * f64::from(value)).to_bits() ^ sign);
            feature[(place >> 1) as usize] += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normals(number: u32, length: usize) -> Vec<f32> {
        let mut values = vec![0.0; length];
        Stream::new(1, Purpose::Test, number, 0).fill_normal(&mut values);
        values
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    /// Over many seeds the mean of the projected inner product is the inner product, with the variance that is promised.
    #[test]
    fn inner_products_are_kept_in_the_mean() {
        let (a, noise) = (normals(0, 300), normals(1, 300));
        let b: Vec<f32> = a.iter().zip(&noise).map(|(a, n)| 0.5 * a + n).collect();
        let truth = dot(&a, &b);
        let (seeds, dimension) = (2000, 64);
        let errors: Vec<f64> = (0..seeds)
            .map(|seed| {
                let projection = SparseProjection::new(300, dimension, seed);
                dot(&projection.project(&a), &projection.project(&b)) - truth
            })
            .collect();
        let mean = errors.iter().sum::<f64>() / seeds as f64;
        let variance = errors.iter().map(|error| error * error).sum::<f64>() / seeds as f64;
        let bound = (dot(&a, &a) * dot(&b, &b) + truth * truth) / dimension as f64;
        assert!(mean.abs() < 4.0 * (bound / seeds as f64).sqrt(), "{mean}");
        assert!(variance < 1.15 * bound && variance > 0.5 * bound, "{variance} of {bound}");
    }

    /// A place and a sign for each parameter, as the stream draws them.
    #[test]
    fn each_parameter_is_added_or_taken() {
        let (projection, values) = (SparseProjection::new(500, 9, 2), normals(4, 500));
        let stream = Stream::new(2, Purpose::AttributionProjection, 0, 0);
        let mut expected = vec![0.0f64; 9];
        for (parameter, &value) in values.iter().enumerate() {
            let drawn = stream.below(parameter as u64, 18);
            let sign = if drawn.is_multiple_of(2) { 1.0 } else { -1.0 };
            expected[drawn as usize / 2] += sign * f64::from(value);
        }
        let expected: Vec<f32> = expected.into_iter().map(|value| value as f32).collect();
        assert_eq!(projection.project(&values), expected);
    }

    #[test]
    fn it_is_linear_and_follows_from_the_seed() {
        let projection = SparseProjection::new(100, 7, 3);
        assert_eq!(projection, SparseProjection::new(100, 7, 3));
        assert_ne!(projection, SparseProjection::new(100, 7, 4));
        let (a, b) = (normals(2, 100), normals(3, 100));
        let sum: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        let [of_a, of_b, of_sum] = [&a, &b, &sum].map(|values| projection.project(values));
        for ((a, b), sum) in of_a.iter().zip(&of_b).zip(&of_sum) {
            assert!((a + b - sum).abs() < 1e-5);
        }
    }
}
