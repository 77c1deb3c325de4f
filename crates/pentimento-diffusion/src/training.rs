//! Training one network: Algorithm 1 of Ho et al. (2020), with every random choice from the counter-based noise.
//!
//! What happens at step s of stream m (which images, timesteps, noises, flips, conditions) follows from the seed alone, so a run
//! that was stopped and resumed ends with the same bytes as one that was not.

mod conditions;
mod config;
mod events;
mod state;

use crate::DiffusionError;
use crate::condition::Condition;
use crate::denoising::{Denoising, Draw, NoisyBatch};
use crate::optimiser::Adam;
use crate::schedule::ScheduleConfig;
use crate::unet::{Architecture, Parameters};
use burn::tensor::{DType, Tensor, TensorData};
use pentimento_kernels::extension::device_for;
use rayon::prelude::*;

pub use conditions::TrainingConditions;
pub use config::{LearningRateDecay, LossReduction, TrainingConfig};
pub use events::{TrainingEvent, TrainingEvents};
pub use state::StateSummary;

/// The images of one network, each `[height, width, channels]` in [-1, 1].
pub struct TrainingImages<'a> {
    /// Number of images.
    pub count: usize,
    /// Rows, columns and channels of each.
    pub shape: [usize; 3],
    /// Writes an image's values.
    pub read: &'a (dyn Fn(usize, &mut [f32]) + Sync),
}

/// A network in training.
pub struct Trainer {
    architecture: Architecture,
    config: TrainingConfig,
    denoising: Denoising<f32>,
    seed: u64,
    stream: u32,
    step: usize,
    values: Vec<Vec<f32>>,
    average: Option<Vec<Vec<f32>>>,
    adam: Adam,
    losses: Vec<f32>,
    /// The images that it is shown, if not all.
    kept: Option<Vec<u32>>,
    /// What they are shown under, if the network is told anything.
    conditions: Option<TrainingConditions>,
    /// What happens at each step, once the images are known.
    events: Option<TrainingEvents>,
}

impl Trainer {
    /// A fresh network without conditions; `stream` (the member's number) keeps its randomness apart from the others' with the
    /// same seed. Beneath an adapter the network stands still, and A and B are what is fresh and is trained.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for settings out of bounds, and for a network with classes or texts.
    pub fn new(
        architecture: Architecture,
        schedule: &ScheduleConfig,
        config: TrainingConfig,
        seed: u64,
        stream: u32,
    ) -> Result<Self, DiffusionError> {
        conditions::check_none(architecture.config(), &config)?;
        Self::of(architecture, schedule, config, None, (seed, stream))
    }

    /// The same for a network that is told classes or texts: those of each image.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for settings out of bounds, and for conditions that the network does not know, that an image
    /// lacks, or that do not go into one batch.
    pub fn conditional(
        architecture: Architecture,
        schedule: &ScheduleConfig,
        config: TrainingConfig,
        conditions: TrainingConditions,
        seed: u64,
        stream: u32,
    ) -> Result<Self, DiffusionError> {
        conditions.check(architecture.config(), &config)?;
        Self::of(architecture, schedule, config, Some(conditions), (seed, stream))
    }

    fn of(
        architecture: Architecture,
        schedule: &ScheduleConfig,
        config: TrainingConfig,
        conditions: Option<TrainingConditions>,
        (seed, stream): (u64, u32),
    ) -> Result<Self, DiffusionError> {
        config.validate()?;
        schedule.validate()?;
        let values = Parameters::initial(&architecture, seed, stream);
        let adam = Adam::new(config.optimiser, values.iter().map(Vec::len));
        Ok(Self {
            denoising: Denoising::new(schedule),
            average: config.ema_decay.map(|_| values.clone()),
            architecture,
            config,
            seed,
            stream,
            step: 0,
            values,
            adam,
            losses: Vec::new(),
            kept: None,
            conditions,
            events: None,
        })
    }

    /// Leaves out all images but some, whose positions among all rise: others take their places in the batches, and nothing else
    /// changes ([`TrainingEvents::keeping`]).
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if none is left.
    pub fn keeping(mut self, kept: Vec<u32>) -> Result<Self, DiffusionError> {
        if kept.is_empty() {
            return Err(DiffusionError::Config {
                file: "training".into(),
                field: "images".into(),
                value: "none".into(),
                bound: "at least one that is not left out".into(),
            });
        }
        self.kept = Some(kept);
        Ok(self)
    }

    /// The same network, with values in memory layout that training goes on from instead of fresh ones.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for values that are not those of such a network.
    pub fn beginning_with(mut self, values: Vec<Vec<f32>>) -> Result<Self, DiffusionError> {
        let (own, given) = (lengths(&self.values), lengths(&values));
        if own != given {
            return Err(DiffusionError::Config {
                file: "training".into(),
                field: "values to begin with".into(),
                value: format!("{} in {} tensors", given.iter().sum::<usize>(), given.len()),
                bound: format!("{} in {} tensors of the network", own.iter().sum::<usize>(), own.len()),
            });
        }
        self.average = self.average.map(|_| values.clone());
        self.values = values;
        Ok(self)
    }

    /// Steps done so far.
    pub fn steps_done(&self) -> usize {
        self.step
    }

    /// Whether the configured number of steps is reached.
    pub fn is_finished(&self) -> bool {
        self.step >= self.config.steps
    }

    /// The loss of every step so far, averaged over its batch.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// The trained values (their moving average if there is one), in memory layout.
    pub fn member(&self) -> &[Vec<f32>] {
        self.average.as_deref().unwrap_or(&self.values)
    }

    /// One optimiser step; returns its loss.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Image`] if there are no images or they do not fit, [`DiffusionError::Config`] if conditions were given
    /// for another number of them, [`DiffusionError::Diverged`] if the loss is not finite.
    pub fn train_step(&mut self, images: &TrainingImages<'_>) -> Result<f32, DiffusionError> {
        let [height, width, channels] = images.shape;
        if images.count == 0 {
            let problem = format!("member {} has none to train on", self.stream);
            return Err(DiffusionError::Image { height, width, channels, problem });
        }
        self.architecture.config().check_image(height, width, channels)?;
        if let Some(conditions) = &self.conditions {
            conditions.check_count(images.count)?;
        }
        let length = height * width * channels;
        let step = self.step;
        // The same object as long as the images are the same, which they are but for a caller that changes them.
        let mut events = match self.events.take() {
            Some(events) if events.images() == images.count => events,
            _ => {
                let timesteps = self.denoising.timesteps();
                let mut events =
                    TrainingEvents::new(&self.config, timesteps, images.count, self.seed, self.stream);
                if let Some(kept) = &self.kept {
                    events = events.keeping(kept.clone());
                }
                if let Some(conditions) = &self.conditions {
                    events = events.under(conditions.clone());
                }
                events
            }
        };
        let batch = events.of_step(step);
        let mut shown = vec![0.0f32; batch.len() * length];
        let show = |(image, event): (&mut [f32], &TrainingEvent)| {
            (images.read)(event.image as usize, image);
            events.show(event, image, images.shape)
        };
        let draws: Vec<Draw> = shown.par_chunks_exact_mut(length).zip(&batch).map(show).collect();
        let told: Vec<Condition> = batch.iter().map(|event| events.condition(event).clone()).collect();
        self.events = Some(events);
        let NoisyBatch { input, condition, target } =
            self.denoising.batch::<f32>(&self.architecture, &shown, [height, width], &draws, &told);
        let shape = input.dims();
        let parameters = Parameters::from_memory(&self.architecture, std::mem::take(&mut self.values));
        let tracked = parameters.tracked();
        let output = self.architecture.forward(&tracked, input, &condition);
        // The gradient of the loss in the output, and the loss, in a fixed order; automatic differentiation then only
        // carries the gradient on.
        let predicted = output.clone().inner().into_data();
        let predicted = predicted.as_slice::<f32>().unwrap_or_default();
        assert_eq!(predicted.len(), target.len(), "values of a network's output");
        let per_image = match self.config.loss {
            LossReduction::Mean => length as f64,
            LossReduction::Sum => 1.0,
        };
        let scale = (2.0 / (per_image * batch.len() as f64)) as f32;
        let mut squares = 0.0f64;
        let cotangent: Vec<f32> = predicted
            .iter()
            .zip(&target)
            .map(|(&p, &target)| {
                let difference = p - target;
                squares += f64::from(difference) * f64::from(difference);
                scale * difference
            })
            .collect();
        let loss = squares / (per_image * batch.len() as f64);
        if !(loss as f32).is_finite() {
            drop((tracked, output));
            self.values = parameters.into_memory();
            return Err(DiffusionError::Diverged { member: self.stream as usize, step, loss });
        }
        let cotangent = Tensor::<4>::from_data(TensorData::new(cotangent, shape), &device_for(DType::F32));
        let mut gradients = (output * cotangent).sum().backward();
        let gradients = tracked.take_gradients(&self.architecture, &mut gradients);
        // With nothing else that uses them, the values come back without a copy.
        drop(tracked);
        self.values = parameters.into_memory();
        let rate = self.config.learning_rate_at(step);
        self.adam.update(step + 1, rate, &mut self.values, &gradients);
        if let (Some(decay), Some(average)) = (self.config.ema_decay, &mut self.average) {
            // The usual ramp lets the average follow closely while the weights still move fast.
            let decay = decay.min((1 + step) as f64 / (10 + step) as f64) as f32;
            average.par_iter_mut().zip(&self.values).for_each(|(average, values)| {
                for (a, &value) in average.iter_mut().zip(values) {
                    *a = decay * *a + (1.0 - decay) * value;
                }
            });
        }
        self.losses.push(loss as f32);
        self.step += 1;
        Ok(loss as f32)
    }
}

fn lengths(values: &[Vec<f32>]) -> Vec<usize> {
    values.iter().map(Vec::len).collect()
}
