//! `scheduler_config.json` of `DDPMScheduler` and `DDIMScheduler`, written and read: the noise schedule, and how to sample.

use super::json_file;
use crate::DiffusionError;
use crate::error::from_object;
use crate::sampler::{Sampler, SamplerKind, SamplingConfig, Variance};
use crate::schedule::{BetaSchedule, PredictionType, ScheduleConfig, TimestepSpacing};
use serde::Deserialize;
use serde_json::Value;

/// The version of diffusers whose names these are.
const DIFFUSERS_VERSION: &str = "0.30.0";

/// Names of the files that [`scheduler_files`] gives, in its order.
pub const SCHEDULER_FILES: [&str; 2] = ["model_index.json", "scheduler/scheduler_config.json"];

/// Steps that diffusers' `DDPMPipeline` takes if it is not told otherwise: all of an ordinary schedule.
const DDPM_STEPS: usize = 1000;

/// Steps that diffusers' `DDIMPipeline` takes.
const DDIM_STEPS: usize = 50;

/// How a pipeline folder samples, by path relative to it: the pipeline's class, and the configuration of its scheduler.
///
/// The number of steps is not in them, as diffusers takes it as an argument. [`Variance::EncodedEnsemble`] has no name
/// there and is written as `fixed_small`. A shorter DDIM with [`TimestepSpacing::Linspace`]
/// visits the same timesteps in diffusers, but `DDIMScheduler` takes each step to `t - T / S` there, and this program to the
/// timestep that it visits next.
pub fn scheduler_files(schedule: &ScheduleConfig, sampling: &SamplingConfig) -> [(&'static str, Vec<u8>); 2] {
    let (pipeline, scheduler) = match sampling.sampler {
        SamplerKind::Ddpm => ("DDPMPipeline", "DDPMScheduler"),
        SamplerKind::Ddim => ("DDIMPipeline", "DDIMScheduler"),
    };
    let index = serde_json::json!({
        "_class_name": pipeline,
        "_diffusers_version": DIFFUSERS_VERSION,
        "scheduler": ["diffusers", scheduler],
        "unet": ["diffusers", "UNet2DModel"],
    });
    let mut config = serde_json::json!({
        "_class_name": scheduler,
        "_diffusers_version": DIFFUSERS_VERSION,
        "num_train_timesteps": schedule.num_train_timesteps,
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "beta_schedule": match schedule.beta_schedule {
            BetaSchedule::Linear => "linear",
            BetaSchedule::ScaledLinear => "scaled_linear",
            BetaSchedule::Cosine => "squaredcos_cap_v2",
            BetaSchedule::Sigmoid => "sigmoid",
        },
        "prediction_type": match schedule.prediction_type {
            PredictionType::Epsilon => "epsilon",
            PredictionType::Sample => "sample",
            PredictionType::VPrediction => "v_prediction",
        },
        "clip_sample": sampling.clip,
        "clip_sample_range": sampling.clip_range,
        "timestep_spacing": match sampling.spacing {
            TimestepSpacing::Linspace => "linspace",
            TimestepSpacing::Leading => "leading",
            TimestepSpacing::Trailing => "trailing",
        },
    });
    if let Some(betas) = &schedule.trained_betas {
        config["trained_betas"] = serde_json::json!(betas);
    }
    if schedule.rescale_betas_zero_snr {
        config["rescale_betas_zero_snr"] = true.into();
    }
    if sampling.steps_offset > 0 {
        config["steps_offset"] = sampling.steps_offset.into();
    }
    match sampling.sampler {
        SamplerKind::Ddpm => {
            config["variance_type"] = match sampling.variance {
                Variance::FixedSmall | Variance::EncodedEnsemble => "fixed_small",
                Variance::FixedLarge => "fixed_large",
            }
            .into();
        }
        // DDIM with eta 0 has no variance, and DDIMScheduler no such key.
        SamplerKind::Ddim if !sampling.set_alpha_to_one => config["set_alpha_to_one"] = false.into(),
        SamplerKind::Ddim => {}
    }
    let [index_file, config_file] = SCHEDULER_FILES;
    [(index_file, json_file(&index)), (config_file, json_file(&config))]
}

/// The keys of both schedulers with diffusers' defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct SchedulerConfig {
    num_train_timesteps: usize,
    beta_start: f64,
    beta_end: f64,
    beta_schedule: String,
    trained_betas: Option<Vec<f64>>,
    variance_type: String,
    clip_sample: bool,
    clip_sample_range: f64,
    prediction_type: String,
    thresholding: bool,
    timestep_spacing: String,
    steps_offset: usize,
    rescale_betas_zero_snr: bool,
    set_alpha_to_one: bool,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: "linear".into(),
            trained_betas: None,
            variance_type: "fixed_small".into(),
            clip_sample: true,
            clip_sample_range: 1.0,
            prediction_type: "epsilon".into(),
            thresholding: false,
            timestep_spacing: "leading".into(),
            steps_offset: 0,
            rescale_betas_zero_snr: false,
            set_alpha_to_one: true,
        }
    }
}

/// Keys that [`SchedulerConfig`] has.
const KNOWN_KEYS: [&str; 14] = [
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "variance_type",
    "clip_sample",
    "clip_sample_range",
    "prediction_type",
    "thresholding",
    "timestep_spacing",
    "steps_offset",
    "rescale_betas_zero_snr",
    "set_alpha_to_one",
];

/// Keys that only mean something with `thresholding`, which is refused.
const KEYS_OF_THRESHOLDING: [&str; 2] = ["dynamic_thresholding_ratio", "sample_max_value"];

/// What a `scheduler_config.json` says.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerFile {
    /// The noise schedule.
    pub schedule: ScheduleConfig,
    /// How to sample, with as many steps as diffusers' pipeline takes if it is not told otherwise.
    pub sampling: SamplingConfig,
    /// Keys that are not known, to be warned about.
    pub unknown_keys: Vec<String>,
}

impl SchedulerFile {
    /// Reads the text of a `scheduler_config.json`, which errors call `file`.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] for text that is not such a JSON object, [`DiffusionError::Config`] for a scheduler or a
    /// value that is not supported.
    pub fn from_json(text: &str, file: &str) -> Result<Self, DiffusionError> {
        let broken = |error: serde_json::Error| DiffusionError::File {
            file: file.into(),
            problem: format!("not a configuration of DDPMScheduler or DDIMScheduler: {error}"),
        };
        let bad = |field: &str, value: &str, bound: &str| DiffusionError::Config {
            file: file.into(),
            field: field.into(),
            value: value.into(),
            bound: bound.into(),
        };
        let object: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(broken)?;
        let class = object.get("_class_name").and_then(Value::as_str).unwrap_or("missing").to_owned();
        let unknown_keys = object
            .keys()
            .map(String::as_str)
            .filter(|key| !key.starts_with('_'))
            .filter(|key| !KNOWN_KEYS.contains(key) && !KEYS_OF_THRESHOLDING.contains(key))
            .map(String::from)
            .collect();
        let config: SchedulerConfig = from_object(object, file)?;

        let sampler = match class.as_str() {
            "DDPMScheduler" => SamplerKind::Ddpm,
            "DDIMScheduler" => SamplerKind::Ddim,
            other => return Err(bad("_class_name", other, "supported are DDPMScheduler and DDIMScheduler")),
        };
        if config.thresholding {
            return Err(bad("thresholding", "true", "dynamic thresholding is not supported"));
        }
        let beta_schedule = match config.beta_schedule.as_str() {
            "linear" => BetaSchedule::Linear,
            "scaled_linear" => BetaSchedule::ScaledLinear,
            "squaredcos_cap_v2" => BetaSchedule::Cosine,
            "sigmoid" => BetaSchedule::Sigmoid,
            // Betas that are listed are not computed, whatever the schedule is called.
            _ if config.trained_betas.is_some() => BetaSchedule::Linear,
            other => {
                let bound = "supported are linear, scaled_linear, squaredcos_cap_v2 and sigmoid, and any with trained_betas";
                return Err(bad("beta_schedule", other, bound));
            }
        };
        let prediction_type = match config.prediction_type.as_str() {
            "epsilon" => PredictionType::Epsilon,
            "sample" => PredictionType::Sample,
            "v_prediction" => PredictionType::VPrediction,
            other => {
                return Err(bad("prediction_type", other, "supported are epsilon, sample and v_prediction"));
            }
        };
        let variance = match config.variance_type.as_str() {
            // The logarithm is taken and undone again; it is the same variance.
            "fixed_small" | "fixed_small_log" => Variance::FixedSmall,
            "fixed_large" => Variance::FixedLarge,
            _ if sampler == SamplerKind::Ddim => Variance::FixedSmall,
            other => {
                let bound = "supported are fixed_small, fixed_small_log and fixed_large";
                return Err(bad("variance_type", other, bound));
            }
        };
        let spacing = match config.timestep_spacing.as_str() {
            "linspace" => TimestepSpacing::Linspace,
            "leading" => TimestepSpacing::Leading,
            "trailing" => TimestepSpacing::Trailing,
            other => {
                return Err(bad("timestep_spacing", other, "supported are linspace, leading and trailing"));
            }
        };
        let schedule = ScheduleConfig {
            num_train_timesteps: config.num_train_timesteps,
            beta_start: config.beta_start,
            beta_end: config.beta_end,
            beta_schedule,
            trained_betas: config.trained_betas,
            rescale_betas_zero_snr: config.rescale_betas_zero_snr,
            prediction_type,
        };
        let total = schedule.num_train_timesteps;
        let steps = match sampler {
            SamplerKind::Ddpm => DDPM_STEPS.min(total),
            SamplerKind::Ddim => DDIM_STEPS.min(total),
        };
        // An offset needs room behind the last timestep, which not every number of steps leaves.
        // With another spacing it is passed over, as diffusers does.
        let steps_offset = if spacing == TimestepSpacing::Leading { config.steps_offset } else { 0 };
        let fits = |&steps: &usize| (steps - 1) * (total / steps) + steps_offset < total;
        let steps = (1..=steps).rev().find(fits).unwrap_or(steps);
        let sampling = SamplingConfig {
            steps,
            spacing,
            sampler,
            variance,
            clip: config.clip_sample,
            clip_range: config.clip_sample_range,
            steps_offset,
            set_alpha_to_one: config.set_alpha_to_one,
        };
        let in_this_file = |error: DiffusionError| match error {
            DiffusionError::Config { field, value, bound, .. } => {
                // What diffusers calls it.
                let field = if field == "clip_range" { "clip_sample_range".into() } else { field };
                DiffusionError::Config { file: file.into(), field, value, bound }
            }
            other => other,
        };
        schedule.validate().map_err(in_this_file)?;
        Sampler::new(&schedule, sampling).map_err(in_this_file)?;
        Ok(Self { schedule, sampling, unknown_keys })
    }
}
