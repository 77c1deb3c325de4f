//! The settings of training.

use crate::DiffusionError;
use crate::optimiser::AdamConfig;
use serde::{Deserialize, Serialize};

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
    /// With which probability an image is shown under the empty condition in place of its own, so that the network can be guided
    /// (Ho and Salimans 2022). Zero, which is the default, is as if it was not there.
    #[serde(skip_serializing_if = "is_zero")]
    pub condition_dropout: f64,
    /// At how many moments of training, evenly over the steps, the weights are kept; the last is the end. Absent: only that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_checkpoints: Option<usize>,
}

/// Most moments at which weights are kept: each takes the disk that a member takes.
const MOST_CHECKPOINTS: usize = 1000;

/// For serde, which passes a reference.
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

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
            condition_dropout: 0.0,
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
        if !(0.0..=1.0).contains(&self.condition_dropout) {
            return bad("condition_dropout", self.condition_dropout.to_string(), "0 to 1");
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
