//! Folders in diffusers layout: written so that `DDPMPipeline.from_pretrained` opens them, read back the same way.

use crate::DiffusionError;
use crate::arrays::{ArrayReader, ArrayWriter};
use crate::schedule::{BetaSchedule, ScheduleConfig};
use crate::unet::{Architecture, ParameterSpec, UnetConfig};
use std::collections::BTreeSet;

/// Names of attention weights in checkpoints of 2022-23, by their names of today.
const OLD_NAMES: [(&str, &str); 4] =
    [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];

/// Names of the files that [`pipeline_files`] gives, in its order.
pub const PIPELINE_FILES: [&str; 4] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
];

/// The files of a pipeline folder, by path relative to it.
///
/// `values` are in memory layout, one vector per parameter of the architecture.
///
/// # Errors
///
/// [`DiffusionError::File`] if the weights cannot be serialised.
pub fn pipeline_files(
    architecture: &Architecture,
    schedule: &ScheduleConfig,
    values: &[Vec<f32>],
) -> Result<Vec<(String, Vec<u8>)>, DiffusionError> {
    let index = "{\n  \"_class_name\": \"DDPMPipeline\",\n  \"_diffusers_version\": \"0.30.0\",\n  \
                 \"scheduler\": [\"diffusers\", \"DDPMScheduler\"],\n  \"unet\": [\"diffusers\", \"UNet2DModel\"]\n}\n";
    let contents = [
        index.into(),
        scheduler_json(schedule).into_bytes(),
        architecture.config().to_json().into_bytes(),
        weights_to_bytes(architecture, values)?,
    ];
    Ok(PIPELINE_FILES.map(String::from).into_iter().zip(contents).collect())
}

fn scheduler_json(schedule: &ScheduleConfig) -> String {
    let mut object = serde_json::Map::new();
    let mut put = |key: &str, value: serde_json::Value| object.insert(key.into(), value);
    put("_class_name", "DDPMScheduler".into());
    put("_diffusers_version", "0.30.0".into());
    put("num_train_timesteps", schedule.num_train_timesteps.into());
    put("beta_start", schedule.beta_start.into());
    put("beta_end", schedule.beta_end.into());
    let name = match schedule.beta_schedule {
        BetaSchedule::Linear => "linear",
        BetaSchedule::ScaledLinear => "scaled_linear",
        BetaSchedule::Cosine => "squaredcos_cap_v2",
    };
    put("beta_schedule", name.into());
    put("prediction_type", "epsilon".into());
    put("variance_type", "fixed_small".into());
    put("clip_sample", true.into());
    put("clip_sample_range", 1.0.into());
    let mut text = serde_json::to_string_pretty(&object).unwrap_or_default();
    text.push('\n');
    text
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
