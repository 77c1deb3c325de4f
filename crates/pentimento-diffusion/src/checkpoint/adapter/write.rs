//! Adapters as peft and as diffusers write them.

use super::super::json_file;
use super::{CONFIG, METADATA};
use crate::DiffusionError;
use crate::arrays::ArrayWriter;
use crate::unet::{AdapterModule, Architecture, to_disk_layout};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Names of the files that [`adapter_files`] gives, in its order: those of a folder of peft.
pub const ADAPTER_FILES: [&str; 2] = [CONFIG, "adapter_model.safetensors"];

/// What diffusers calls the file that [`adapter_as_diffusers`] gives.
pub const DIFFUSERS_ADAPTER: &str = "pytorch_lora_weights.safetensors";

/// The folder of an adapter as peft has it, by name of the file. `values` are in memory layout, one vector per parameter.
///
/// # Errors
///
/// [`DiffusionError::File`] if the network has no adapter or the values cannot be serialised.
pub fn adapter_files(
    architecture: &Architecture,
    values: &[Vec<f32>],
) -> Result<[(&'static str, Vec<u8>); 2], DiffusionError> {
    let [config, weights] = ADAPTER_FILES;
    let keys = Value::Object(settings(architecture, "", weights)?);
    let arrays = tensors(architecture, values, "base_model.model.");
    Ok([(config, json_file(&keys)), (weights, arrays.to_bytes(weights, Some(("format", "pt")))?)])
}

/// An adapter as one file of diffusers, with its scale in the header.
///
/// # Errors
///
/// As [`adapter_files`].
pub fn adapter_as_diffusers(
    architecture: &Architecture,
    values: &[Vec<f32>],
) -> Result<Vec<u8>, DiffusionError> {
    let keys = Value::Object(settings(architecture, "unet.", DIFFUSERS_ADAPTER)?);
    let arrays = tensors(architecture, values, "unet.");
    Ok(arrays.to_bytes(DIFFUSERS_ADAPTER, Some((METADATA, &format!("{keys:#}"))))?)
}

fn tensors(architecture: &Architecture, values: &[Vec<f32>], prefix: &str) -> ArrayWriter {
    let mut arrays = ArrayWriter::default();
    for (spec, values) in architecture.parameters().iter().zip(values) {
        arrays.put_f32(&format!("{prefix}{}", spec.name), &spec.disk_shape, &to_disk_layout(spec, values));
    }
    arrays
}

/// The keys of peft. Ranks and alphas that most layers have stand for all, and those of others beside them.
fn settings(
    architecture: &Architecture,
    prefix: &str,
    file: &str,
) -> Result<Map<String, Value>, DiffusionError> {
    let modules = architecture.adapter_modules();
    let none = || DiffusionError::File { file: file.into(), problem: "the network has no adapter".into() };
    let rank = most_frequent(modules, |module| module.rank as u64).ok_or_else(none)? as usize;
    let alpha = f64::from_bits(most_frequent(modules, |module| module.alpha.to_bits()).ok_or_else(none)?);
    let number = |alpha: f64| {
        if alpha.fract() == 0.0 && alpha < 1e9 { json!(alpha as u64) } else { json!(alpha) }
    };
    let pattern = |other: &dyn Fn(&AdapterModule) -> Option<Value>| -> Value {
        let others = modules.iter().filter_map(|module| Some((module.name.clone(), other(module)?)));
        Value::Object(others.collect())
    };
    let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    let keys = [
        ("alpha_pattern", pattern(&|module| (module.alpha != alpha).then(|| number(module.alpha)))),
        ("bias", json!("none")),
        ("lora_alpha", number(alpha)),
        ("lora_dropout", json!(0.0)),
        ("peft_type", json!("LORA")),
        ("r", json!(rank)),
        ("rank_pattern", pattern(&|module| (module.rank != rank).then(|| json!(module.rank)))),
        ("target_modules", json!(names)),
        ("use_dora", json!(false)),
        ("use_rslora", json!(false)),
    ];
    Ok(keys.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)).collect())
}

/// What most modules have; of several such the least.
fn most_frequent(modules: &[AdapterModule], of: impl Fn(&AdapterModule) -> u64) -> Option<u64> {
    let mut counts = BTreeMap::<u64, usize>::new();
    for module in modules {
        *counts.entry(of(module)).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(value, _)| value)
}
