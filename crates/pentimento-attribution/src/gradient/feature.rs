//! The gradient of one image in all parameters.
//!
//! The draws of an image pass through the network as one batch, and the backward pass sums over it: so the gradient of
//! one image is what one training step on so many images takes, with every parameter of every layer in it, and nothing
//! is approximated. Where each timestep's gradient is brought to unit length, each draw is a pass of its own.

use super::measurement::Measurement;
use super::projection::SparseProjection;
use super::timestep_shares::TimestepShares;
use burn::tensor::{Tensor, TensorData};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::denoising::{Denoising, Draw, NoisyBatch};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, Gradient, Parameters, Precision};
use pentimento_kernels::extension::device_for;

/// A gradient that is no vector of numbers.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FeatureError {
    /// The network or its gradient overflows for an image.
    #[error(
        "image {image}: the gradient of `{parameter}` is not finite; the network is damaged, or was not trained on such images"
    )]
    NotFinite {
        /// What the caller calls the image.
        image: String,
        /// The first parameter in which it shows.
        parameter: String,
    },
}

/// A network with what is measured of it.
pub struct FeatureExtractor<'a> {
    architecture: &'a Architecture,
    parameters: Parameters,
    denoising: Denoising<f64>,
    measurement: Measurement,
    weights: Vec<f64>,
    unit_length: bool,
}

impl<'a> FeatureExtractor<'a> {
    /// Prepares a network. With `unit_length` the gradient of every timestep is brought to length one before the average.
    pub fn new(
        architecture: &'a Architecture,
        parameters: Parameters,
        schedule: &ScheduleConfig,
        measurement: Measurement,
        unit_length: bool,
    ) -> Self {
        Self {
            architecture,
            parameters,
            denoising: Denoising::new(schedule),
            weights: measurement.weights(schedule),
            measurement,
            unit_length,
        }
    }

    /// The same for draws that lie in the schedule by other than equal shares, whose weights make their mean that over all timesteps.
    ///
    /// # Panics
    ///
    /// If gradients of timesteps are brought to unit length, which takes away every weight.
    pub fn for_shares(mut self, shares: TimestepShares) -> Self {
        assert!(!self.unit_length, "weights of timesteps whose gradients have unit length");
        let total = self.weights.len();
        for (timestep, weight) in self.weights.iter_mut().enumerate() {
            *weight *= shares.weight(timestep, total);
        }
        self
    }

    /// Number of values of a gradient: one for every parameter.
    pub fn parameter_count(&self) -> usize {
        self.architecture.parameter_count()
    }

    /// The gradient for one image `[height, width, channels]` in [-1, 1], made under a condition, averaged over the draws; the parameters follow
    /// each other as the architecture has them, each in memory layout. Errors call the image `name`.
    ///
    /// # Errors
    ///
    /// [`FeatureError`] if a value is not finite.
    ///
    /// # Panics
    ///
    /// If the image does not fit the network, the noise the image, a timestep the schedule, or if there is no draw.
    pub fn gradient<T: Precision>(
        &self,
        image: &[f32],
        size: [usize; 2],
        condition: impl Into<Condition>,
        draws: &[Draw],
        name: &str,
    ) -> Result<Vec<f32>, FeatureError> {
        let mut sum = vec![0.0f32; self.parameter_count()];
        self.each_part::<T>(image, size, &condition.into(), draws, name, |first, values, scale| {
            for (sum, value) in sum[first..].iter_mut().zip(values) {
                *sum += (scale * value.wide()) as f32;
            }
        })?;
        Ok(sum)
    }

    /// [`gradient`](Self::gradient), projected; the gradient itself is never laid out as a whole.
    ///
    /// # Errors
    ///
    /// As [`gradient`](Self::gradient).
    ///
    /// # Panics
    ///
    /// As [`gradient`](Self::gradient), or if the projection is for another number of parameters.
    pub fn feature(
        &self,
        image: &[f32],
        size: [usize; 2],
        condition: impl Into<Condition>,
        draws: &[Draw],
        projection: &SparseProjection,
        name: &str,
    ) -> Result<Vec<f32>, FeatureError> {
        assert_eq!(projection.parameters(), self.parameter_count(), "parameters of a projection");
        let mut feature = vec![0.0f64; projection.dimension()];
        self.each_part::<f32>(image, size, &condition.into(), draws, name, |first, values, scale| {
            projection.add(first, values, scale, &mut feature);
        })?;
        Ok(feature.into_iter().map(|value| value as f32).collect())
    }

    /// Gives `add` the gradient piece by piece: the position of a parameter's first value, its values, and what they are to
    /// be multiplied with. All that is given for one position is to be added up.
    fn each_part<T: Precision>(
        &self,
        image: &[f32],
        size: [usize; 2],
        condition: &Condition,
        draws: &[Draw],
        name: &str,
        mut add: impl FnMut(usize, &[T], f64),
    ) -> Result<(), FeatureError> {
        assert!(!draws.is_empty(), "a gradient is of one draw at the least");
        // Draws of one timestep follow each other.
        let parts: Vec<&[Draw]> = if self.unit_length {
            draws.chunk_by(|a, b| a.timestep == b.timestep).collect()
        } else {
            vec![draws]
        };
        for part in &parts {
            let gradients = self.of_draws::<T>(image, size, condition, part);
            self.check(&gradients, name)?;
            let squares = || gradients.iter().map(|gradient| sum_of_squares(gradient.as_ref())).sum::<f64>();
            let scale = match self.unit_length.then(|| squares().sqrt()) {
                None => 1.0 / draws.len() as f64,
                Some(0.0) => 0.0,
                Some(length) => 1.0 / (length * parts.len() as f64),
            };
            let mut first = 0;
            for gradient in &gradients {
                let values = gradient.as_ref();
                add(first, values, scale);
                first += values.len();
            }
        }
        Ok(())
    }

    /// The sum of the gradients of some draws.
    fn of_draws<T: Precision>(
        &self,
        image: &[f32],
        size: [usize; 2],
        condition: &Condition,
        draws: &[Draw],
    ) -> Vec<Gradient<T>> {
        let NoisyBatch { input, condition, target } =
            self.denoising.batch::<T>(self.architecture, image, size, draws, std::slice::from_ref(condition));
        let tracked = self.parameters.tracked();
        let output = self.architecture.forward(&tracked, input, &condition);
        let values: Vec<f64> = output.clone().inner().into_data().iter::<f64>().collect();
        let mut cotangent = vec![T::of(0.0); values.len()];
        for (place, draw) in draws.iter().enumerate() {
            let range = place * image.len()..(place + 1) * image.len();
            let part = &mut cotangent[range.clone()];
            let weight = self.weights[draw.timestep];
            self.measurement.add_derivative(
                &values[range.clone()],
                &target[range],
                weight,
                |place, value| part[place] = T::of(value),
            );
        }
        let cotangent = TensorData::new(cotangent, output.dims());
        let cotangent = Tensor::<4>::from_data(cotangent, (&device_for(T::dtype()), T::dtype()));
        let mut gradients = (output * cotangent).sum().backward();
        tracked.take_gradients::<T>(self.architecture, &mut gradients)
    }

    /// Names the first parameter whose gradient is not finite.
    fn check<T: Precision>(&self, gradients: &[Gradient<T>], image: &str) -> Result<(), FeatureError> {
        for (spec, gradient) in self.architecture.parameters().iter().zip(gradients) {
            // Whole chunks, which are looked through many values at a time: zero times a value is zero only if it is finite.
            let zero = T::of(0.0);
            let is_finite = |chunk: &[T]| chunk.iter().fold(true, |all, &value| all & (value * zero == zero));
            if !gradient.as_ref().chunks(1024).all(is_finite) {
                let (image, parameter) = (image.into(), spec.name.clone());
                return Err(FeatureError::NotFinite { image, parameter });
            }
        }
        Ok(())
    }
}

/// In eight places at once.
fn sum_of_squares<T: Precision>(values: &[T]) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value.wide() * value.wide();
        }
    }
    let rest: f64 = rest.iter().map(|value| value.wide() * value.wide()).sum();
    sums.iter().sum::<f64>() + rest
}
