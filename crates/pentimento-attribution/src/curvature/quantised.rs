//! Vectors of a value per parameter in 8 bits, and their inner products with gradients.

use super::CurvatureError;
use super::matrices::product;
use rayon::prelude::*;

/// Parameters whose products are made at once: as many values of all vectors, widened, as the second-level cache holds.
const PART: usize = 4096;
/// Values that share a scale.
const BLOCK: usize = 256;
/// The largest value of 8 bits, on both sides of zero.
const LARGEST: f32 = 127.0;

/// Vectors `[rows, parameters]`, each value in 8 bits with a scale for 256 of them: an error of at most 1/254 of the largest of
/// these.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedRows {
    parameters: usize,
    rows: Vec<QuantisedRow>,
}

/// One vector.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedRow {
    scales: Vec<f32>,
    values: Vec<i8>,
}

impl QuantisedRow {
    /// Rounds a vector.
    pub fn new(vector: &[f32]) -> Self {
        let (mut scales, mut values) =
            (Vec::with_capacity(vector.len().div_ceil(BLOCK)), Vec::with_capacity(vector.len()));
        for block in vector.chunks(BLOCK) {
            let scale = block.iter().fold(0.0f32, |largest, value| largest.max(value.abs())) / LARGEST;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            scales.push(scale);
            values.extend(
                block.iter().map(|value| (value * inverse).round_ties_even().clamp(-LARGEST, LARGEST) as i8),
            );
        }
        Self { scales, values }
    }

    /// The vector as it was kept.
    pub fn values(&self) -> Vec<f32> {
        self.range(0, self.values.len()).collect()
    }

    /// Values from `first` on, which is a multiple of [`BLOCK`].
    fn range(&self, first: usize, count: usize) -> impl Iterator<Item = f32> + '_ {
        let scales = &self.scales[first / BLOCK..];
        let blocks = self.values[first..first + count].chunks(BLOCK).zip(scales);
        blocks.flat_map(|(block, scale)| block.iter().map(move |&value| f32::from(value) * scale))
    }
}

impl QuantisedRows {
    /// Puts vectors of equal length together.
    ///
    /// # Errors
    ///
    /// [`CurvatureError::Mismatch`] if they are not.
    pub fn new(parameters: usize, rows: Vec<QuantisedRow>) -> Result<Self, CurvatureError> {
        match rows.iter().find(|row| row.values.len() != parameters) {
            Some(row) => Err(CurvatureError::Mismatch {
                what: "the length of a gradient".into(),
                found: row.values.len().to_string(),
                expected: parameters.to_string(),
            }),
            None => Ok(Self { parameters, rows }),
        }
    }

    /// Inner products `[gradients][rows]` with gradients `[gradients, parameters]`; several parts of the parameters at a time.
    ///
    /// # Errors
    ///
    /// [`CurvatureError`] if the gradients have another length.
    pub fn products(&self, gradients: &[f32]) -> Result<Vec<Vec<f64>>, CurvatureError> {
        let count = gradients.len() / self.parameters.max(1);
        if count * self.parameters != gradients.len() {
            return Err(CurvatureError::Mismatch {
                what: "the length of gradients".into(),
                found: gradients.len().to_string(),
                expected: format!("a multiple of {}", self.parameters),
            });
        }
        let columns = self.rows.len();
        let mut sums = vec![vec![0.0f64; columns]; count];
        if columns == 0 || count == 0 {
            return Ok(sums);
        }
        let parts: Vec<Vec<f32>> = (0..self.parameters.div_ceil(PART))
            .into_par_iter()
            .map(|part| {
                let first = part * PART;
                let length = PART.min(self.parameters - first);
                let gradients: Vec<f32> = gradients
                    .chunks_exact(self.parameters)
                    .flat_map(|gradient| gradient[first..first + length].iter().copied())
                    .collect();
                let mut widened = vec![0.0f32; length * columns];
                for (column, row) in self.rows.iter().enumerate() {
                    for (place, value) in row.range(first, length).enumerate() {
                        widened[place * columns + column] = value;
                    }
                }
                product(&gradients, &widened, count, length, columns)
            })
            .collect::<Result<_, CurvatureError>>()?;
        for part in parts {
            for (sums, row) in sums.iter_mut().zip(part.chunks_exact(columns)) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
            }
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_noise::{Purpose, Stream};

    fn normals(number: u32, length: usize) -> Vec<f32> {
        let mut values = vec![0.0; length];
        Stream::new(2, Purpose::Test, number, 0).fill_normal(&mut values);
        values
    }

    #[test]
    fn products_are_those_of_the_rounded_vectors_and_near_those_of_the_vectors() {
        for parameters in [1, 255, 4096, 4097, 10_000] {
            let vectors: Vec<Vec<f32>> = (0..3).map(|row| normals(row, parameters)).collect();
            let gradients: Vec<Vec<f32>> = (10..12).map(|row| normals(row, parameters)).collect();
            let rows: Vec<QuantisedRow> = vectors.iter().map(|vector| QuantisedRow::new(vector)).collect();
            let kept: Vec<Vec<f32>> = rows.iter().map(QuantisedRow::values).collect();
            let products =
                QuantisedRows::new(parameters, rows).unwrap().products(&gradients.concat()).unwrap();
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            };
            for (found, gradient) in products.iter().zip(&gradients) {
                for ((found, vector), kept) in found.iter().zip(&vectors).zip(&kept) {
                    let scale = (dot(gradient, gradient) * dot(vector, vector)).sqrt();
                    assert!((found - dot(gradient, kept)).abs() < 1e-6 * scale);
                    // Rounding errors are up to 1/254 of the largest of 256 values, and independent.
                    assert!(
                        (found - dot(gradient, vector)).abs()
                            < 0.05 * scale / (parameters as f64).sqrt().max(3.0)
                    );
                }
            }
            for (vector, kept) in vectors.iter().zip(&kept) {
                for (vector, kept) in vector.chunks(BLOCK).zip(kept.chunks(BLOCK)) {
                    let largest = vector.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                    assert!(vector.iter().zip(kept).all(|(a, b)| (a - b).abs() <= largest / 253.0));
                }
            }
        }
        let zero = QuantisedRow::new(&[0.0; 300]);
        assert_eq!(zero.values(), [0.0; 300]);
        assert!(QuantisedRows::new(299, vec![zero]).is_err());
    }
}
