//! Sampling from a weighted mixture of members: the predicted noise is `sum_k weight_k f_k(x, t)`.
//!
//! Many trajectories with different weights run together: in each step every member is evaluated once, on the batch
//! of all trajectories that still use it. What a trajectory becomes does not depend on which others run beside it.

use crate::DiffusionError;
use crate::sampler::Sampler;
use crate::unet::{Architecture, Dual, Parameters, Precision, timestep_embedding};
use burn::tensor::{Tensor, TensorData};
use pentimento_kernels::extension::device_for;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Members with one architecture, and how many images a network sees at once.
#[derive(Clone, Debug)]
pub struct Mixture {
    architecture: Architecture,
    members: Vec<Parameters>,
    height: usize,
    width: usize,
    batch: usize,
    calls: Arc<Mutex<BTreeMap<CallShape, u64>>>,
}

/// What passes through a network in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallShape {
    /// Number of images.
    pub images: usize,
    /// Tangents of each image; 0 for a call without derivatives.
    pub directions: usize,
}

/// One image in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// Which recorded noise it follows.
    pub sample: u32,
    /// A weight for each member; members of weight zero are never evaluated for it.
    pub weights: Vec<f64>,
}

impl Mixture {
    /// A mixture for images of one size; `batch` images pass through a network at once, which changes no result.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Image`] if the images do not fit the network.
    pub fn new(
        architecture: Architecture,
        members: Vec<Parameters>,
        height: usize,
        width: usize,
        batch: usize,
    ) -> Result<Self, DiffusionError> {
        architecture.config().check_image(height, width, architecture.config().in_channels)?;
        Ok(Self { architecture, members, height, width, batch: batch.max(1), calls: Arc::default() })
    }

    /// How often a network of this mixture, or of a clone of it, was called so far, by what passed through it: what a
    /// forecast of the cost is held against.
    pub fn calls(&self) -> BTreeMap<CallShape, u64> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of a call; next to the call itself, which takes a tenth of a millisecond and more, this is nothing.
    fn count_call(&self, values: usize, directions: usize) {
        let images = values / self.image_length();
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry(CallShape { images, directions }).or_default() += 1;
    }

    /// Number of members.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// The network that all members share.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Height, width and channels of an image.
    pub fn image_shape(&self) -> [usize; 3] {
        [self.height, self.width, self.architecture.config().in_channels]
    }

    /// Number of values of an image.
    pub fn image_length(&self) -> usize {
        self.image_shape().iter().product()
    }

    fn tensor<T: Precision>(&self, values: Vec<T>) -> Tensor<4> {
        let [height, width, channels] = self.image_shape();
        let images = values.len() / self.image_length();
        let data = TensorData::new(values, [images, height, width, channels]);
        Tensor::from_data(data, (&device_for(T::dtype()), T::dtype()))
    }

    fn values<T: Precision>(tensor: Tensor<4>) -> Vec<T> {
        tensor.into_data().try_into_vec().unwrap_or_default()
    }

    /// Predicted noise of one member for a batch of images at one timestep; `images` is a whole number of images.
    pub fn predict<T: Precision>(&self, member: usize, images: &[T], timestep: usize) -> Vec<T> {
        let sinusoids = timestep_embedding::<T>(&self.architecture, &[timestep]);
        let mut predicted = Vec::with_capacity(images.len());
        for batch in images.chunks(self.batch * self.image_length()) {
            self.count_call(batch.len(), 0);
            let input = self.tensor(batch.to_vec());
            let output = self.architecture.forward(&self.members[member], input, sinusoids.clone());
            predicted.extend(Self::values::<T>(output));
        }
        predicted
    }

    /// Predicted noise and its derivatives along `directions` tangents of each image, the tangents of an image in a
    /// row: `tangents` has `directions` times as many values as `images`.
    pub fn predict_with_tangents<T: Precision>(
        &self,
        member: usize,
        images: &[T],
        tangents: &[T],
        directions: usize,
        timestep: usize,
    ) -> (Vec<T>, Vec<T>) {
        if directions == 0 {
            return (self.predict(member, images, timestep), Vec::new());
        }
        let sinusoids = timestep_embedding::<T>(&self.architecture, &[timestep]);
        // Tangents are images to the network: keep the batch's size with them.
        let together = (self.batch / (directions + 1)).max(1) * self.image_length();
        let (mut predicted, mut derivatives) =
            (Vec::with_capacity(images.len()), Vec::with_capacity(tangents.len()));
        for (batch, tangents) in images.chunks(together).zip(tangents.chunks(together * directions)) {
            self.count_call(batch.len(), directions);
            let input =
                Dual { primal: self.tensor(batch.to_vec()), tangent: Some(self.tensor(tangents.to_vec())) };
            let output =
                self.architecture.forward(&self.members[member], input, Dual::constant(sinusoids.clone()));
            predicted.extend(Self::values::<T>(output.primal));
            derivatives.extend(output.tangent.map(Self::values::<T>).unwrap_or_default());
        }
        (predicted, derivatives)
    }

    /// The recorded noise of several samples at one place, `[samples, image]`.
    pub fn noise<T: Precision>(&self, seed: u64, samples: &[u32], place: usize) -> Vec<T> {
        let length = self.image_length();
        let mut noise = vec![T::of(0.0); samples.len() * length];
        for (target, &sample) in noise.chunks_exact_mut(length).zip(samples) {
            Sampler::noise(seed, sample, place, target);
        }
        noise
    }

    /// Runs trajectories to their ends. Returns `[trajectories, image]`, not clamped.
    ///
    /// `progress` is called after each step with the number of steps done; an error from it ends the run, which is how
    /// a program stops on Ctrl-C.
    ///
    /// # Errors
    ///
    /// Whatever `progress` returns.
    pub fn sample<T: Precision, E>(
        &self,
        sampler: &Sampler,
        seed: u64,
        trajectories: &[Trajectory],
        mut progress: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Vec<T>, E> {
        let samples: Vec<u32> = trajectories.iter().map(|trajectory| trajectory.sample).collect();
        let mut x = self.noise::<T>(seed, &samples, 0);
        for step in 0..sampler.len() {
            let predicted = self.mixed(trajectories, &x, sampler.timestep(step));
            self.advance(sampler, step, seed, &samples, &mut x, &predicted);
            progress(step + 1)?;
        }
        Ok(x)
    }

    /// One step of every image with its recorded noise.
    pub fn advance<T: Precision>(
        &self,
        sampler: &Sampler,
        step: usize,
        seed: u64,
        samples: &[u32],
        x: &mut [T],
        predicted: &[T],
    ) {
        let noise = if sampler.adds_noise(step) {
            self.noise(seed, samples, step + 1)
        } else {
            vec![T::of(0.0); x.len()]
        };
        sampler.advance(step, x, predicted, &noise);
    }

    /// `sum_k weight_k f_k(x)` for every trajectory, summed in the order of the members.
    fn mixed<T: Precision>(&self, trajectories: &[Trajectory], x: &[T], timestep: usize) -> Vec<T> {
        let length = self.image_length();
        let mut predicted = vec![T::of(0.0); x.len()];
        for member in 0..self.members.len() {
            let users: Vec<usize> = (0..trajectories.len())
                .filter(|&index| trajectories[index].weights.get(member).is_some_and(|&weight| weight != 0.0))
                .collect();
            if users.is_empty() {
                continue;
            }
            let images: Vec<T> =
                users.iter().flat_map(|&index| &x[index * length..][..length]).copied().collect();
            let outputs = self.predict(member, &images, timestep);
            for (&index, output) in users.iter().zip(outputs.chunks_exact(length)) {
                let weight = T::of(trajectories[index].weights[member]);
                for (sum, &value) in predicted[index * length..][..length].iter_mut().zip(output) {
                    *sum += weight * value;
                }
            }
        }
        predicted
    }
}
