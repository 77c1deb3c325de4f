//! Training one network: Algorithm 1 of Ho et al. (2020), with every random choice from the counter-based noise.
//!
//! What happens at step s of stream m (which images, timesteps, noises, flips) follows from the seed alone, so a run
//! that was stopped and resumed ends with the same bytes as one that was not.

mod events;

use crate::arrays::{ArrayReader, ArrayWriter};
use crate::denoising::{Denoising, Draw, NoisyBatch};
use crate::optimiser::{Adam, AdamConfig};
use crate::schedule::ScheduleConfig;
use crate::unet::{Architecture, Parameters};
use crate::{DiffusionError, NUMERICS_VERSION};
use burn::tensor::{DType, Tensor, TensorData};
use pentimento_kernels::extension::device_for;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use events::{TrainingEvent, TrainingEvents};

/// How a loss over pixels becomes a number. The batch is always averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReduction {
    /// Mean over the values of an image.
    #[default]
    Mean,
    /// Sum over the values of an image (Dai and Gifford 2023).
    Sum,
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateDecay {
    /// Not at all.
    #[default]
    Constant,
    /// Half a cosine that would reach zero one step after the last.
    Cosine,
    /// A straight line that would reach zero one step after the last.
    Linear,
}

/// Settings of training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Number of optimiser steps.
    pub steps: usize,
    /// Images per step.
    pub batch: usize,
    /// Learning rate after the warm-up.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from zero in a straight line.
    pub warmup_steps: usize,
    /// How it falls afterwards.
    pub decay: LearningRateDecay,
    /// Adam, or AdamW with a weight decay.
    pub optimiser: AdamConfig,
    /// Decay of an exponential moving average of the weights, which then is the member; absent: off.
    pub ema_decay: Option<f64>,
    /// Draw batches with replacement instead of by epochs.
    pub replacement: bool,
    /// Mirror each image left to right with probability one half.
    pub horizontal_flip: bool,
    /// Mean or sum over the values of an image.
    pub loss: LossReduction,
    /// At how many moments of training, evenly over the steps, the weights are kept; the last is the end. Absent: only that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_checkpoints: Option<usize>,
}

/// Most moments at which weights are kept: each takes the disk that a member takes.
const MOST_CHECKPOINTS: usize = 1000;

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: 10_000,
            batch: 128,
            learning_rate: 2e-4,
            warmup_steps: 0,
            decay: LearningRateDecay::default(),
            optimiser: AdamConfig::default(),
            ema_decay: None,
            replacement: false,
            horizontal_flip: false,
            loss: LossReduction::default(),
            keep_checkpoints: None,
        }
    }
}

impl TrainingConfig {
    /// Checks every value against its bound.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] naming the key.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        let bad = |field: &str, value: String, bound: &str| {
            let (field, bound) = (field.to_string(), bound.to_string());
            Err(DiffusionError::Config { file: "training".into(), field, value, bound })
        };
        if self.steps == 0 || self.steps > u32::MAX as usize {
            return bad("steps", self.steps.to_string(), "1 to 2^32 - 1 steps");
        }
        if self.batch == 0 || self.batch > 1 << 20 {
            return bad("batch", self.batch.to_string(), "1 to 1,048,576 images");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return bad("learning_rate", self.learning_rate.to_string(), "a positive number");
        }
        let AdamConfig { beta1, beta2, epsilon, weight_decay } = self.optimiser;
        for (field, value) in [("optimiser.beta1", beta1), ("optimiser.beta2", beta2)] {
            if !(0.0..1.0).contains(&value) {
                return bad(field, value.to_string(), "at least 0 and below 1");
            }
        }
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return bad("optimiser.epsilon", epsilon.to_string(), "a positive number");
        }
        if !(weight_decay >= 0.0 && weight_decay.is_finite()) {
            return bad("optimiser.weight_decay", weight_decay.to_string(), "zero or a positive number");
        }
        let most = self.steps.min(MOST_CHECKPOINTS);
        if let Some(count) = self.keep_checkpoints.filter(|count| !(1..=most).contains(count)) {
            let bound = format!("1 to {most}: at most one after each step, and {MOST_CHECKPOINTS}");
            return bad("keep_checkpoints", count.to_string(), &bound);
        }
        match self.ema_decay {
            Some(decay) if !(0.0..1.0).contains(&decay) => {
                bad("ema_decay", decay.to_string(), "at least 0 and below 1")
            }
            _ => Ok(()),
        }
    }

    /// The numbers of steps after which weights are kept, rising; the last is that of all steps.
    pub fn checkpoint_steps(&self) -> Vec<usize> {
        let count = self.keep_checkpoints.unwrap_or(1);
        (1..=count).map(|number| (number as u128 * self.steps as u128 / count as u128) as usize).collect()
    }

    /// Learning rate of a step, counted from 0.
    pub fn learning_rate_at(&self, step: usize) -> f64 {
        let warmup =
            if step < self.warmup_steps { (step + 1) as f64 / self.warmup_steps as f64 } else { 1.0 };
        let rest = self.steps.saturating_sub(self.warmup_steps).max(1);
        let done = step.saturating_sub(self.warmup_steps) as f64 / rest as f64;
        let decay = match self.decay {
            LearningRateDecay::Constant => 1.0,
            LearningRateDecay::Cosine => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done)),
            LearningRateDecay::Linear => 1.0 - done,
        };
        self.learning_rate * warmup * decay
    }
}

/// The images of one network, each `[height, width, channels]` in [-1, 1].
pub struct TrainingImages<'a> {
    /// Number of images.
    pub count: usize,
    /// Rows, columns and channels of each.
    pub shape: [usize; 3],
    /// Writes an image's values.
    pub read: &'a (dyn Fn(usize, &mut [f32]) + Sync),
}

/// What a training state says of itself, read without the network that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSummary {
    /// Steps that were done.
    pub steps: usize,
    /// The [`NUMERICS_VERSION`] that did them; 0 if none was recorded.
    pub numerics_version: u32,
}

impl StateSummary {
    /// Reads what [`Trainer::state`] gave; errors call it `file`.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] or [`DiffusionError::Tensor`] if the bytes are not such a state.
    pub fn read(state: &[u8], file: &str) -> Result<Self, DiffusionError> {
        let arrays = ArrayReader::new(state, file)?;
        let steps = arrays.f32("losses")?.len();
        let numerics_version = if arrays.contains("numerics_version") {
            arrays.expect_shape("numerics_version", &[1])?;
            arrays.u32("numerics_version")?[0]
        } else {
            0
        };
        Ok(Self { steps, numerics_version })
    }
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
    /// What happens at each step, once the images are known.
    events: Option<TrainingEvents>,
}

impl Trainer {
    /// A fresh network; `stream` (the member's number) keeps its randomness apart from the others' with the same seed.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for settings out of bounds.
    pub fn new(
        architecture: Architecture,
        schedule: &ScheduleConfig,
        config: TrainingConfig,
        seed: u64,
        stream: u32,
    ) -> Result<Self, DiffusionError> {
        config.validate()?;
        schedule.validate()?;
        if architecture.config().classes().is_some() {
            return Err(DiffusionError::Config {
                file: "model".into(),
                field: "num_class_embeds".into(),
                value: "given".into(),
                bound: "only in checkpoints that were trained elsewhere: training here knows no classes"
                    .into(),
            });
        }
        if architecture.config().cross_attention.is_some() {
            return Err(DiffusionError::Config {
                file: "model".into(),
                field: "_class_name".into(),
                value: architecture.config().class_name().into(),
                bound: "only in checkpoints that were trained elsewhere: training here knows no texts".into(),
            });
        }
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
    /// [`DiffusionError::Image`] if there are no images or they do not fit, [`DiffusionError::Diverged`] if the loss is
    /// not finite.
    pub fn train_step(&mut self, images: &TrainingImages<'_>) -> Result<f32, DiffusionError> {
        let [height, width, channels] = images.shape;
        if images.count == 0 {
            let problem = format!("member {} has none to train on", self.stream);
            return Err(DiffusionError::Image { height, width, channels, problem });
        }
        self.architecture.config().check_image(height, width, channels)?;
        let length = height * width * channels;
        let step = self.step;
        // The same object as long as the images are the same, which they are but for a caller that changes them.
        let mut events = match self.events.take() {
            Some(events) if events.images() == images.count => events,
            _ => {
                let timesteps = self.denoising.timesteps();
                let all = TrainingEvents::new(&self.config, timesteps, images.count, self.seed, self.stream);
                match &self.kept {
                    Some(kept) => all.keeping(kept.clone()),
                    None => all,
                }
            }
        };
        let batch = events.of_step(step);
        let mut shown = vec![0.0f32; batch.len() * length];
        let show = |(image, event): (&mut [f32], &TrainingEvent)| {
            (images.read)(event.image as usize, image);
            events.show(event, image, images.shape)
        };
        let draws: Vec<Draw> = shown.par_chunks_exact_mut(length).zip(&batch).map(show).collect();
        self.events = Some(events);
        let NoisyBatch { input, condition, target } =
            self.denoising.batch::<f32>(&self.architecture, &shown, [height, width], &draws, &[]);
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

    /// Everything that a resumed training needs, as safetensors.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] if it cannot be serialised.
    pub fn state(&self) -> Result<Vec<u8>, DiffusionError> {
        let mut arrays = ArrayWriter::default();
        let sets = [
            ("values", Some(&self.values)),
            ("means", Some(&self.adam.means)),
            ("squares", Some(&self.adam.squares)),
            ("average", self.average.as_ref()),
        ];
        for (set, values) in sets {
            for (spec, values) in self.architecture.parameters().iter().zip(values.into_iter().flatten()) {
                arrays.put_f32(&format!("{set}/{}", spec.name), &[values.len()], values);
            }
        }
        arrays.put_f32("losses", &[self.losses.len()], &self.losses);
        arrays.put_u32("numerics_version", &[1], &[NUMERICS_VERSION]);
        Ok(arrays.to_bytes("training state", None)?)
    }

    /// Takes up a training where [`Trainer::state`] left it; the settings must be the same.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] or [`DiffusionError::Tensor`] if the bytes are not such a state,
    /// [`DiffusionError::OtherNumerics`] if another version of this program computed it.
    pub fn restore(&mut self, state: &[u8], file: &str) -> Result<(), DiffusionError> {
        let found = StateSummary::read(state, file)?.numerics_version;
        if found != NUMERICS_VERSION {
            return Err(DiffusionError::OtherNumerics { file: file.into(), found, own: NUMERICS_VERSION });
        }
        let arrays = ArrayReader::new(state, file)?;
        let read_set = |set: &str| -> Result<Vec<Vec<f32>>, DiffusionError> {
            let specs = self.architecture.parameters().iter();
            specs
                .map(|spec| {
                    let name = format!("{set}/{}", spec.name);
                    arrays.expect_shape(&name, &[spec.len()])?;
                    Ok(arrays.f32(&name)?)
                })
                .collect()
        };
        let (values, means, squares) = (read_set("values")?, read_set("means")?, read_set("squares")?);
        let average = self.average.is_some().then(|| read_set("average")).transpose()?;
        let losses = arrays.f32("losses")?;
        if losses.len() > self.config.steps {
            let problem = format!("{} steps were done, the recipe has {}", losses.len(), self.config.steps);
            return Err(DiffusionError::File { file: file.into(), problem });
        }
        self.values = values;
        self.adam.means = means;
        self.adam.squares = squares;
        self.average = average;
        self.step = losses.len();
        self.losses = losses;
        Ok(())
    }
}
