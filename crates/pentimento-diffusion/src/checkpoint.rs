//! Folders in diffusers layout: written so that `DDPMPipeline.from_pretrained` (or `DDIMPipeline`, for an ensemble that
//! samples by DDIM) opens them, read back the same way.

use crate::DiffusionError;
use crate::arrays::{ArrayReader, ArrayWriter};
use crate::sampler::{SamplerKind, SamplingConfig, Variance};
use crate::schedule::{BetaSchedule, ScheduleConfig, TimestepSpacing};
use crate::unet::{Architecture, ParameterSpec, UnetConfig};
use std::collections::BTreeSet;

/// The version of diffusers whose names these are.
const DIFFUSERS_VERSION: &str = "0.30.0";

/// Names of attention weights in checkpoints of 2022-23, by their names of today.
const OLD_NAMES: [(&str, &str); 4] =
    [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];

/// Names of the files that [`network_files`] gives, in its order.
pub const NETWORK_FILES: [&str; 2] = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"];

/// Names of the files that [`scheduler_files`] gives, in its order.
pub const SCHEDULER_FILES: [&str; 2] = ["model_index.json", "scheduler/scheduler_config.json"];

/// The network of a pipeline folder, by path relative to it.
///
/// `values` are in memory layout, one vector per parameter of the architecture.
///
/// # Errors
///
/// [`DiffusionError::File`] if the weights cannot be serialised.
pub fn network_files(
    architecture: &Architecture,
    values: &[Vec<f32>],
) -> Result<[(&'static str, Vec<u8>); 2], DiffusionError> {
    let [config, weights] = NETWORK_FILES;
    Ok([
        (config, architecture.config().to_json().into_bytes()),
        (weights, weights_to_bytes(architecture, values)?),
    ])
}

/// How a pipeline folder samples, by path relative to it: the pipeline's class, and the configuration of its scheduler.
///
/// The number of steps is not in them, as diffusers takes it as an argument. [`Variance::EncodedEnsemble`] has no name
/// there and is written as `fixed_small`. A shorter DDIM with [`TimestepSpacing::Linspace`](crate::schedule::TimestepSpacing::Linspace)
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
        },
        "prediction_type": "epsilon",
        "clip_sample": sampling.clip,
        "clip_sample_range": 1.0,
        "timestep_spacing": match sampling.spacing {
            TimestepSpacing::Linspace => "linspace",
            TimestepSpacing::Leading => "leading",
        },
    });
    // DDIM with eta 0 has no variance, and DDIMScheduler no such key.
    if sampling.sampler == SamplerKind::Ddpm {
        config["variance_type"] = match sampling.variance {
            Variance::FixedSmall | Variance::EncodedEnsemble => "fixed_small",
            Variance::FixedLarge => "fixed_large",
        }
        .into();
    }
    let [index_file, config_file] = SCHEDULER_FILES;
    [(index_file, json_file(&index)), (config_file, json_file(&config))]
}

fn json_file(value: &serde_json::Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// A safetensors file with diffusers' names and layout.
///
/// # Errors
///
/// [`DiffusionError::File`] if it cannot be serialised.
pub fn weights_to_bytes(architecture: &Architecture, values: &[Vec<f32>]) -> Result<Vec<u8>, DiffusionError> {
    let mut arrays = ArrayWriter::default();
    for (spec, values) in architecture.parameters().iter().zip(values) {
        arrays.put_f32(&spec.name, &spec.disk_shape, &crate::unet::to_disk_layout(spec, values));
    }
    // What diffusers looks for to know whose file it is.
    Ok(arrays.to_bytes("weights", Some(("format", "pt")))?)
}

/// Reads weights in diffusers' names and layout, also the attention names of 2022-23, into memory layout.
///
/// # Errors
///
/// [`DiffusionError::File`] for what is not safetensors, [`DiffusionError::Tensor`] for a tensor that is missing,
/// superfluous, of another shape or type, or not finite.
pub fn weights_from_bytes(
    architecture: &Architecture,
    bytes: &[u8],
    file: &str,
) -> Result<Vec<Vec<f32>>, DiffusionError> {
    let arrays = ArrayReader::new(bytes, file)?;
    let mut left: BTreeSet<&str> = arrays.names().into_iter().collect();
    let mut values = Vec::new();
    for spec in architecture.parameters() {
        let name = names_of(spec)
            .into_iter()
            .find(|name| left.contains(name.as_str()))
            .ok_or_else(|| arrays.broken(&spec.name, "is missing".into()))?;
        left.remove(name.as_str());
        let shape = arrays.shape(&name)?;
        // Some very old files hold attention weights as 1x1 convolutions: the same values in the same order.
        let as_convolution = spec.disk_shape.len() == 2 && shape.get(2..) == Some(&[1, 1]);
        if !(shape == spec.disk_shape || (as_convolution && shape[..2] == spec.disk_shape)) {
            let problem = format!("has shape {shape:?}, the configuration says {:?}", spec.disk_shape);
            return Err(arrays.broken(&name, problem).into());
        }
        values.push(crate::unet::to_memory_layout(spec, &arrays.finite_f32(&name)?));
    }
    match left.first() {
        Some(extra) => Err(arrays.broken(extra, "is not part of the configured network".into()).into()),
        None => Ok(values),
    }
}

fn names_of(spec: &ParameterSpec) -> Vec<String> {
    let mut names = vec![spec.name.clone()];
    if spec.name.contains("attentions") {
        for (new, old) in OLD_NAMES {
            if spec.name.contains(new) {
                names.push(spec.name.replace(new, old));
            }
        }
    }
    names
}

/// Reads `unet/config.json`'s text and `weights`, and returns the network with its values in memory layout.
///
/// # Errors
///
/// As [`UnetConfig::from_json`] and [`weights_from_bytes`].
pub fn open_unet(
    config: &str,
    config_file: &str,
    weights: &[u8],
    weights_file: &str,
) -> Result<(Architecture, Vec<Vec<f32>>), DiffusionError> {
    let (config, _) = UnetConfig::from_json(config, config_file)?;
    let architecture = Architecture::new(&config)?;
    let values = weights_from_bytes(&architecture, weights, weights_file)?;
    Ok((architecture, values))
}
