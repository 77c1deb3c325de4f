//! Sampling from a weighted mixture of members: the predicted noise is `sum_k weight_k f_k(x, t)`.
//!
//! Many trajectories with different weights run together: in each step every member is evaluated once, on the batch
//! of all trajectories that still use it. What a trajectory becomes does not depend on which others run beside it.

mod guidance;
mod parts;

use crate::DiffusionError;
use crate::condition::Condition;
use crate::sampler::Sampler;
use crate::unet::{Architecture, Dual, Parameters, Precision};
use burn::tensor::{Tensor, TensorData};
use guidance::Guidance;
use parts::{Part, Told, parts_of_calls};
use pentimento_kernels::extension::device_for;
use rayon::prelude::*;
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
    condition: Condition,
    guidance: Option<Guidance>,
    calls: Arc<Mutex<BTreeMap<CallShape, u64>>>,
}

/// What is asked of a network at once: a batch, which threads may share out.
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
    /// Under which condition it is made; that of the mixture if absent.
    pub condition: Option<Condition>,
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
        let condition = architecture.config().classes().map(|_| 0).into();
        let batch = batch.max(1);
        let calls = Arc::default();
        Ok(Self { architecture, members, height, width, batch, condition, guidance: None, calls })
    }

    /// The same mixture for images of one class. Before this is called, a network with classes is told class 0.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if the network knows no such class.
    pub fn of_class(self, class: Option<u32>) -> Result<Self, DiffusionError> {
        self.under(class.into())
    }

    /// The same mixture for images that are made under one condition, where trajectories do not name theirs. A network with
    /// texts has to be told one.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if the condition is none of the network's.
    pub fn under(mut self, condition: Condition) -> Result<Self, DiffusionError> {
        self.architecture.config().check_condition(&condition)?;
        self.condition = condition;
        Ok(self)
    }

    /// The condition under which images are made where trajectories do not name theirs.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// How often a network of this mixture, or of a clone of it, was called so far, by what passed through it: what a
    /// forecast of the cost is held against.
    pub fn calls(&self) -> BTreeMap<CallShape, u64> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of a call of so many images, cut into batches of `together`.
    fn count_calls(&self, images: usize, directions: usize, together: usize) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for first in (0..images).step_by(together) {
            let images = together.min(images - first);
            *calls.entry(CallShape { images, directions }).or_default() += 1;
        }
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

    #[allow(clippy::panic, reason = "images of a device that gives none back must not pass for others")]
    fn values<T: Precision>(tensor: Tensor<4>) -> Vec<T> {
        tensor.into_data().try_into_vec().unwrap_or_else(|error| panic!("output of a network: {error:?}"))
    }

    /// Predicted noise of one member for images at one timestep; `images` is a whole number of images.
    pub fn predict<T: Precision>(&self, member: usize, images: &[T], timestep: usize) -> Vec<T> {
        self.predict_each(&[(member, images)], timestep).pop().unwrap_or_default()
    }

    /// Predicted noise of several members, each for images of its own.
    pub fn predict_each<T: Precision>(
        &self,
        calls: &[(usize, impl AsRef<[T]> + Sync)],
        timestep: usize,
    ) -> Vec<Vec<T>> {
        self.predict_each_under(calls, |_, _| &self.condition, timestep)
    }

    /// The same where `condition` says, by call and image, under which condition each image is made.
    pub fn predict_each_under<'c, T: Precision>(
        &self,
        calls: &[(usize, impl AsRef<[T]> + Sync)],
        condition: impl Fn(usize, usize) -> &'c Condition + Sync,
        timestep: usize,
    ) -> Vec<Vec<T>> {
        let length = self.image_length();
        let images = |(_, images): &(usize, _)| AsRef::<[T]>::as_ref(images).len() / length;
        for call in calls {
            self.count_calls(images(call), 0, self.batch);
        }
        let parts = parts_of_calls(calls.iter().map(images), self.batch);
        let told = Told::new::<T>(&self.architecture, timestep, &parts, condition);
        let outputs: Vec<Vec<T>> = parts
            .par_iter()
            .map(|part| {
                let (member, images) = &calls[part.call];
                let images = &images.as_ref()[part.images.start * length..part.images.end * length];
                let input = self.tensor(images.to_vec());
                let output = self.architecture.forward(&self.members[*member], input, &told.of::<T>(part));
                Self::values::<T>(output)
            })
            .collect();
        let mut predicted: Vec<Vec<T>> =
            calls.iter().map(|call| Vec::with_capacity(images(call) * length)).collect();
        for (part, output) in parts.iter().zip(outputs) {
            predicted[part.call].extend(output);
        }
        predicted
    }

    /// Predicted noise of one member and its derivatives along `directions` tangents of each image, the tangents of an
    /// image in a row: `tangents` has `directions` times as many values as `images`, and so has the derivative.
    ///
    /// # Panics
    ///
    /// If `tangents` has another number of values.
    pub fn predict_with_tangents<T: Precision>(
        &self,
        member: usize,
        images: &[T],
        tangents: &[T],
        directions: usize,
        timestep: usize,
    ) -> (Vec<T>, Vec<T>) {
        self.predict_each_with_tangents(&[member], images, tangents, directions, timestep)
            .pop()
            .unwrap_or_default()
    }

    /// [`Mixture::predict_with_tangents`] of several members for the same images and tangents.
    ///
    /// # Panics
    ///
    /// If `tangents` has not `directions` times as many values as `images`.
    pub fn predict_each_with_tangents<T: Precision>(
        &self,
        members: &[usize],
        images: &[T],
        tangents: &[T],
        directions: usize,
        timestep: usize,
    ) -> Vec<(Vec<T>, Vec<T>)> {
        self.predict_each_with_tangents_under(
            members,
            images,
            tangents,
            directions,
            |_| &self.condition,
            timestep,
        )
    }

    /// The same where `condition` says under which condition each image is made.
    ///
    /// # Panics
    ///
    /// As [`predict_each_with_tangents`](Self::predict_each_with_tangents).
    pub fn predict_each_with_tangents_under<'c, T: Precision>(
        &self,
        members: &[usize],
        images: &[T],
        tangents: &[T],
        directions: usize,
        condition: impl Fn(usize) -> &'c Condition + Sync,
        timestep: usize,
    ) -> Vec<(Vec<T>, Vec<T>)> {
        assert_eq!(
            tangents.len(),
            directions * images.len(),
            "values of {directions} tangents of each image"
        );
        if directions == 0 {
            let calls: Vec<(usize, &[T])> = members.iter().map(|&member| (member, images)).collect();
            return self
                .predict_each_under(&calls, |_, image| condition(image), timestep)
                .into_iter()
                .map(|output| (output, Vec::new()))
                .collect();
        }
        let length = self.image_length();
        // Tangents are images to the network: keep the batch's size with them.
        let together = (self.batch / (directions + 1)).max(1);
        for _ in members {
            self.count_calls(images.len() / length, directions, together);
        }
        let parts = parts_of_calls(members.iter().map(|_| images.len() / length), together);
        let told = Told::new::<T>(&self.architecture, timestep, &parts, |_, image| condition(image));
        let outputs: Vec<(Vec<T>, Vec<T>)> = parts
            .par_iter()
            .map(|part @ Part { call, images: range }| {
                let images = &images[range.start * length..range.end * length];
                let tangents = &tangents[range.start * directions * length..range.end * directions * length];
                let primal = self.tensor(images.to_vec());
                let input = Dual::new(primal, self.tensor(tangents.to_vec()));
                let member = &self.members[members[*call]];
                let output = self.architecture.forward(member, input, &told.of::<T>(part));
                let (output, derivative) = output.into_parts(directions);
                (Self::values::<T>(output), Self::values::<T>(derivative))
            })
            .collect();
        let mut predicted = vec![(Vec::new(), Vec::new()); members.len()];
        for (part, (values, derivative)) in parts.iter().zip(outputs) {
            predicted[part.call].0.extend(values);
            predicted[part.call].1.extend(derivative);
        }
        predicted
    }

    /// The recorded noise of several samples at one place, `[samples, image]`.
    pub fn noise<T: Precision>(&self, seed: u64, samples: &[u32], place: usize) -> Vec<T> {
        let length = self.image_length();
        let mut noise = vec![T::of(0.0); samples.len() * length];
        noise
            .par_chunks_exact_mut(length)
            .zip(samples)
            .for_each(|(target, &sample)| Sampler::noise(seed, sample, place, target));
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
        self.follow(sampler, seed, trajectories, |step, _, _| progress(step + 1))
    }

    /// [`sample`](Self::sample), that shows every step: `show` gets the step's number, the images before it and what
    /// the members predict there, and an error from it ends the run.
    ///
    /// # Errors
    ///
    /// Whatever `show` returns.
    pub fn follow<T: Precision, E>(
        &self,
        sampler: &Sampler,
        seed: u64,
        trajectories: &[Trajectory],
        mut show: impl FnMut(usize, &[T], &[T]) -> Result<(), E>,
    ) -> Result<Vec<T>, E> {
        let samples: Vec<u32> = trajectories.iter().map(|trajectory| trajectory.sample).collect();
        let mut x = self.noise::<T>(seed, &samples, 0);
        for step in 0..sampler.len() {
            let predicted = self.predict_trajectories(trajectories, &x, sampler.timestep(step));
            show(step, &x, &predicted)?;
            self.advance(sampler, step, seed, &samples, &mut x, &predicted);
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

    /// `sum_k weight_k f_k(x)` for every trajectory, summed in the order of the members; guided, if the mixture is.
    pub fn predict_trajectories<T: Precision>(
        &self,
        trajectories: &[Trajectory],
        x: &[T],
        timestep: usize,
    ) -> Vec<T> {
        let length = self.image_length();
        let mut predicted = vec![T::of(0.0); x.len()];
        let weight = |index: usize, member| trajectories[index].weights.get(member).copied().unwrap_or(0.0);
        let users: Vec<Vec<usize>> = (0..self.members.len())
            .map(|member| (0..trajectories.len()).filter(|&index| weight(index, member) != 0.0).collect())
            .collect();
        let condition = |index: usize| trajectories[index].condition.as_ref().unwrap_or(&self.condition);
        let outputs = self.predict_guided_for(&users, x, condition, timestep);
        for (member, (users, outputs)) in users.iter().zip(outputs).enumerate() {
            for (&index, output) in users.iter().zip(outputs.chunks_exact(length)) {
                let weight = T::of(weight(index, member));
                for (sum, &value) in predicted[index * length..][..length].iter_mut().zip(output) {
                    *sum += weight * value;
                }
            }
        }
        predicted
    }
}
