//! `scheduler_config.json`, written and read: the noise schedule, and how to sample. Written are `DDPMScheduler` and
//! `DDIMScheduler`; read is every class whose noise schedule is one by betas.

use super::json_file;
use super::scheduler_class::{CLASSES, FLOW_MATCHING, NOISE_LEVELS, SchedulerClass};
use crate::DiffusionError;
use crate::error::from_object;
use crate::json;
use crate::sampler::{Sampler, SamplerKind, SamplingConfig, Variance};
use crate::schedule::{BetaSchedule, PredictionType, ScheduleConfig, TimestepSpacing};
use serde::Deserialize;
use serde_json::Value;

/// The version of diffusers whose names these are.
const DIFFUSERS_VERSION: &str = "0.30.0";

/// Names of the files that [`scheduler_files`] gives, in its order.
pub const SCHEDULER_FILES: [&str; 2] = ["model_index.json", "scheduler/scheduler_config.json"];

/// What diffusers calls a variance. With `_log` the logarithm is taken and undone again; it is the same variance.
/// [`Variance::EncodedEnsemble`] has no name there.
const VARIANCES: [(Variance, &str); 3] = [
    (Variance::FixedSmall, "fixed_small"),
    (Variance::FixedSmall, "fixed_small_log"),
    (Variance::FixedLarge, "fixed_large"),
];

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
    let of_sampler = CLASSES.into_iter().find(|(sampler, ..)| *sampler == sampling.sampler);
    let (_, pipeline, scheduler) = of_sampler.unwrap_or(CLASSES[0]);
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
        "beta_schedule": schedule.beta_schedule.name(),
        "prediction_type": schedule.prediction_type.name(),
        "clip_sample": sampling.clip,
        "clip_sample_range": sampling.clip_range,
        "timestep_spacing": sampling.spacing.name(),
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
            let named = VARIANCES.into_iter().find(|(variance, _)| *variance == sampling.variance);
            config["variance_type"] = named.unwrap_or(VARIANCES[0]).1.into();
        }
        // DDIM with eta 0 has no variance, and DDIMScheduler no such key.
        SamplerKind::Ddim if !sampling.set_alpha_to_one => config["set_alpha_to_one"] = false.into(),
        SamplerKind::Ddim => {}
    }
    let [index_file, config_file] = SCHEDULER_FILES;
    [(index_file, json_file(&index)), (config_file, json_file(&config))]
}

/// The keys of all schedulers that say how a network was trained, and those of DDPM and DDIM that say how they sample, with
/// their defaults.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct SchedulerConfig {
    num_train_timesteps: usize,
    beta_start: f64,
    beta_end: f64,
    beta_schedule: String,
    trained_betas: Option<Vec<f64>>,
    variance_type: Option<String>,
    clip_sample: bool,
    clip_sample_range: f64,
    prediction_type: String,
    thresholding: bool,
    sample_max_value: f64,
    timestep_spacing: String,
    steps_offset: usize,
    rescale_betas_zero_snr: bool,
    set_alpha_to_one: bool,
    /// Of solvers that also sample from networks of flow matching.
    use_flow_sigmas: bool,
    /// `continuous` if the network is told the logarithm of a noise level.
    timestep_type: String,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: "linear".into(),
            trained_betas: None,
            variance_type: None,
            clip_sample: true,
            clip_sample_range: 1.0,
            prediction_type: "epsilon".into(),
            thresholding: false,
            sample_max_value: CLIPPING,
            timestep_spacing: "leading".into(),
            steps_offset: 0,
            rescale_betas_zero_snr: false,
            set_alpha_to_one: true,
            use_flow_sigmas: false,
            timestep_type: "discrete".into(),
        }
    }
}

/// Keys of DDPM and DDIM that [`SchedulerConfig`] has.
const KNOWN_KEYS: [&str; 15] = [
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
    "sample_max_value",
    "timestep_spacing",
    "steps_offset",
    "rescale_betas_zero_snr",
    "set_alpha_to_one",
];

/// Keys of DDPM and DDIM that [`SchedulerConfig`] does not have, as they say nothing that is asked here: the quantile of
/// dynamic thresholding.
const KEYS_PASSED_OVER: [&str; 1] = ["dynamic_thresholding_ratio"];

/// The largest value of dynamic thresholding with which it is clipping, and the range of that.
const CLIPPING: f64 = 1.0;

/// What a `scheduler_config.json` says.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerFile {
    /// The noise schedule.
    pub schedule: ScheduleConfig,
    /// How to sample, with as many steps as diffusers' pipeline takes if it is not told otherwise.
    pub sampling: SamplingConfig,
    /// The class of the scheduler, if it samples in a way that is not supported, so that samples are made by DDIM.
    pub sampled_otherwise: Option<String>,
    /// The largest value of dynamic thresholding (Saharia et al. 2022) where the file asks for one that is more than clipping.
    /// Samples are clipped to [-1, 1] instead.
    pub clipped_instead: Option<f64>,
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
        let mut object = json::object(text).map_err(|problem| DiffusionError::File {
            file: file.into(),
            problem: format!("not a configuration of a scheduler: {problem}"),
        })?;
        let bad = |field: &str, value: &str, bound: String| DiffusionError::Config {
            file: file.into(),
            field: field.into(),
            value: value.into(),
            bound,
        };
        let name = object.get("_class_name").and_then(Value::as_str).unwrap_or("missing").to_owned();
        let class = match SchedulerClass::named(&name) {
            Some(SchedulerClass::OtherProcess(reason)) => {
                return Err(bad("_class_name", &name, reason.into()));
            }
            Some(class) => class,
            None => {
                let bound = "the name of a scheduler of diffusers with a noise schedule by betas, such as DDPMScheduler";
                return Err(bad("_class_name", &name, bound.into()));
            }
        };
        // Keys of another sampler say how it samples, which is not asked.
        let unknown_keys = match class {
            SchedulerClass::OtherSampler(_) => Vec::new(),
            _ => unknown_keys(&object),
        };
        let betas = class.default_betas();
        for (key, value) in [
            ("beta_start", Value::from(betas.start)),
            ("beta_end", Value::from(betas.end)),
            ("beta_schedule", Value::from(betas.schedule)),
        ] {
            object.entry(key).or_insert(value);
        }
        let config: SchedulerConfig = from_object(object, file)?;
        if config.use_flow_sigmas {
            return Err(bad("use_flow_sigmas", "true", FLOW_MATCHING.into()));
        }
        if config.prediction_type.contains("flow") {
            return Err(bad("prediction_type", &config.prediction_type, FLOW_MATCHING.into()));
        }
        if config.timestep_type == "continuous" {
            return Err(bad("timestep_type", "continuous", NOISE_LEVELS.into()));
        }
        let (sampler, sampled_otherwise) = match class {
            SchedulerClass::Sampler(sampler) => (sampler, None),
            _ => (SamplerKind::Ddim, Some(name)),
        };
        // It divides a prediction of the image by the quantile of its own values, kept between 1 and `sample_max_value`, and
        // comes before `clip_sample`. With a largest value of 1, which is the default, that is clipping to [-1, 1].
        let has_thresholding = config.thresholding && sampled_otherwise.is_none();
        let clipped_instead =
            (has_thresholding && config.sample_max_value != CLIPPING).then_some(config.sample_max_value);
        let (clip, clip_range) =
            if has_thresholding { (true, CLIPPING) } else { (config.clip_sample, config.clip_sample_range) };
        let beta_schedule = match called(BetaSchedule::ALL, BetaSchedule::name, &config.beta_schedule) {
            Ok(schedule) => schedule,
            // Betas that are listed are not computed, whatever the schedule is called.
            Err(_) if config.trained_betas.is_some() => BetaSchedule::Linear,
            Err(bound) => {
                let bound = format!("{bound}, and any with trained_betas");
                return Err(bad("beta_schedule", &config.beta_schedule, bound));
            }
        };
        let prediction_type = called(PredictionType::ALL, PredictionType::name, &config.prediction_type)
            .map_err(|bound| bad("prediction_type", &config.prediction_type, bound))?;
        let variance = match config.variance_type.as_deref() {
            Some(name) if sampler == SamplerKind::Ddpm => {
                let named = called(VARIANCES, |(_, name)| name, name);
                named.map_err(|bound| bad("variance_type", name, bound))?.0
            }
            _ => Variance::FixedSmall,
        };
        let spacing = match called(TimestepSpacing::ALL, TimestepSpacing::name, &config.timestep_spacing) {
            // Of DDIM, diffusers itself steps evenly with `linspace` although it visits other timesteps.
            Ok(TimestepSpacing::Linspace) | Err(_) if sampled_otherwise.is_some() => TimestepSpacing::Leading,
            spacing => spacing.map_err(|bound| bad("timestep_spacing", &config.timestep_spacing, bound))?,
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
            clip,
            clip_range,
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
        Ok(Self { schedule, sampling, sampled_otherwise, clipped_instead, unknown_keys })
    }
}

/// Keys of a file of DDPM or DDIM that this reader does not know.
fn unknown_keys(object: &serde_json::Map<String, Value>) -> Vec<String> {
    let is_known =
        |key: &str| key.starts_with('_') || KNOWN_KEYS.contains(&key) || KEYS_PASSED_OVER.contains(&key);
    object.keys().filter(|key| !is_known(key)).cloned().collect()
}

/// The one of `all` that diffusers calls `name`; if there is none, what would be accepted.
fn called<T: Copy, const N: usize>(
    all: [T; N],
    name_of: fn(T) -> &'static str,
    name: &str,
) -> Result<T, String> {
    all.into_iter().find(|&value| name_of(value) == name).ok_or_else(|| {
        let names = all.map(name_of).join(", ");
        let (first, last) = names.rsplit_once(", ").unwrap_or(("none", &names));
        format!("supported are {first} and {last}")
    })
}
