//! Checkpoints in diffusers layout: round trips, and everything that can be wrong with a file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::*;
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::{
    NETWORK_FILES, SCHEDULER_FILES, network_files, scheduler_files, weights_from_bytes, weights_to_bytes,
};
use pentimento_diffusion::sampler::{SamplerKind, SamplingConfig, Variance};
use pentimento_diffusion::schedule::{BetaSchedule, ScheduleConfig, TimestepSpacing};
use pentimento_diffusion::unet::{Architecture, UnetConfig, to_disk_layout, to_memory_layout};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// Names with type, shape and bytes: a safetensors file taken apart.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn taken_apart(bytes: &[u8]) -> Tensors {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let parts = tensors.tensors().into_iter();
    parts.map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))).collect()
}

fn put_together(tensors: &Tensors) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn tiny_file() -> (Architecture, Vec<Vec<f32>>, Vec<u8>) {
    let architecture = tiny();
    let values = random_values(&architecture, 1);
    let bytes = weights_to_bytes(&architecture, &values).unwrap();
    (architecture, values, bytes)
}

/// The text of the error that a changed file gives.
fn refused(change: impl FnOnce(&mut Tensors)) -> String {
    let (architecture, _, bytes) = tiny_file();
    let mut tensors = taken_apart(&bytes);
    change(&mut tensors);
    match weights_from_bytes(&architecture, &put_together(&tensors), "members/003/weights") {
        Err(error @ DiffusionError::Tensor { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_survive_a_round_trip() {
    let (architecture, values, bytes) = tiny_file();
    let read = weights_from_bytes(&architecture, &bytes, "w").unwrap();
    assert_eq!(read, values);
    assert_eq!(weights_to_bytes(&architecture, &read).unwrap(), bytes);
}

/// What diffusers wrote, written again: the same names, types, shapes and bytes of every tensor.
#[test]
fn golden_weights_survive_a_round_trip() {
    for case in &golden_cases() {
        let (architecture, values) = golden_network(case, "unet");
        let written = weights_to_bytes(&architecture, &values).unwrap();
        let original = read(&format!("{case}/unet/diffusion_pytorch_model.safetensors"));
        assert_eq!(taken_apart(&written), taken_apart(&original), "{case}");
        let (_, metadata) = SafeTensors::read_metadata(&written).unwrap();
        let format = metadata.metadata().as_ref().and_then(|entries| entries.get("format"));
        assert_eq!(format.map(String::as_str), Some("pt"), "transformers and diffusers insist on it");
    }
}

#[test]
fn layouts_are_inverse_to_each_other() {
    for spec in tiny().parameters() {
        let disk: Vec<usize> = (0..spec.len()).collect();
        let memory = to_memory_layout(spec, &disk);
        assert_eq!(to_disk_layout(spec, &memory), disk, "{}", spec.name);
        assert_eq!(spec.memory_shape().iter().product::<usize>(), spec.len());
        // [output, input, row, column] on disk, [row, column, input, output] in memory.
        if let (&[outputs, inputs, rows, columns], [_, _, i, o]) =
            (&spec.disk_shape[..], &spec.memory_shape()[..])
        {
            assert_eq!((*i, *o), (inputs, outputs));
            let (o, i, y, x) = (outputs - 1, inputs / 2, rows - 1, 0);
            let on_disk = ((o * inputs + i) * rows + y) * columns + x;
            assert_eq!(memory[((y * columns + x) * inputs + i) * outputs + o], on_disk);
        }
    }
}

#[test]
fn missing_and_superfluous_tensors() {
    let text = refused(|tensors| {
        tensors.remove("mid_block.attentions.0.to_q.weight").unwrap();
    });
    assert!(
        text.starts_with("members/003/weights: tensor `mid_block.attentions.0.to_q.weight`: is missing"),
        "{text}"
    );
    let text = refused(|tensors| {
        let copy = tensors["conv_in.bias"].clone();
        tensors.insert("conv_in.wings".into(), copy);
    });
    assert!(text.contains("`conv_in.wings`: is not part of the configured network"), "{text}");
    // Old and new name at once: one of them is too many.
    let text = refused(|tensors| {
        let copy = tensors["mid_block.attentions.0.to_v.bias"].clone();
        tensors.insert("mid_block.attentions.0.value.bias".into(), copy);
    });
    assert!(text.contains("`mid_block.attentions.0.value.bias`: is not part"), "{text}");
}

#[test]
fn wrong_shapes_and_types() {
    // As many values in another shape.
    let text = refused(|tensors| tensors.get_mut("conv_in.weight").unwrap().1 = vec![1, 4, 3, 3]);
    assert!(
        text.contains("`conv_in.weight`: has shape [1, 4, 3, 3], the configuration says [4, 1, 3, 3]"),
        "{text}"
    );
    let text = refused(|tensors| {
        let bias = tensors.get_mut("conv_in.bias").unwrap();
        *bias = (Dtype::F32, vec![3], bias.2[..12].to_vec());
    });
    assert!(text.contains("`conv_in.bias`: has shape [3], the configuration says [4]"), "{text}");
    let text = refused(|tensors| {
        let bias = tensors.get_mut("conv_in.bias").unwrap();
        *bias = (Dtype::F64, vec![4], [bias.2.clone(), bias.2.clone()].concat());
    });
    assert!(text.contains("`conv_in.bias`: has type F64, supported are F32, F16 and BF16"), "{text}");
    let text = refused(|tensors| tensors.get_mut("conv_in.bias").unwrap().0 = Dtype::I32);
    assert!(text.contains("`conv_in.bias`: has type I32"), "{text}");
}

#[test]
fn values_that_are_not_numbers() {
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let text = refused(|tensors| {
            tensors.get_mut("conv_out.bias").unwrap().2[..4].copy_from_slice(&value.to_le_bytes());
        });
        assert!(text.contains(&format!("`conv_out.bias`: value 0 is {shown}")), "{text}");
    }
}

/// Attention weights as 1x1 convolutions, as in some very old files; no other tensor may have extra sides.
#[test]
fn attention_weights_as_convolutions() {
    let (architecture, values, bytes) = tiny_file();
    let mut tensors = taken_apart(&bytes);
    tensors.get_mut("mid_block.attentions.0.to_q.weight").unwrap().1 = vec![8, 8, 1, 1];
    assert_eq!(weights_from_bytes(&architecture, &put_together(&tensors), "w").unwrap(), values);
    let text = refused(|tensors| tensors.get_mut("conv_in.bias").unwrap().1 = vec![4, 1, 1]);
    assert!(text.contains("has shape [4, 1, 1]"), "{text}");
}

#[test]
fn files_that_end_early() {
    let (architecture, _, bytes) = tiny_file();
    for length in (0..bytes.len()).step_by(97).chain([1, 7, 8, 9, bytes.len() - 1]) {
        match weights_from_bytes(&architecture, &bytes[..length], "cut") {
            Err(error @ DiffusionError::File { .. }) => {
                let says = if length == 0 { "cut: the file is empty" } else { "cut: cut short" };
                assert!(error.to_string().starts_with(says), "{length} bytes: {error}");
            }
            other => panic!("{length} bytes: {other:?}"),
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(weights_from_bytes(&architecture, &longer, "w"), Err(DiffusionError::File { .. })));
}

proptest! {
    #![proptest_config(cases(400))]

    /// Any change of the header gives an error or a network of the right sizes; never a panic.
    #[test]
    fn flipped_header_bytes(changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..=255), 1..5)) {
        let (architecture, values, mut bytes) = tiny_file();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for (place, flip) in changes {
            bytes[place.index(header)] ^= flip;
        }
        if let Ok(read) = weights_from_bytes(&architecture, &bytes, "w") {
            let lengths = |values: &[Vec<f32>]| values.iter().map(Vec::len).collect::<Vec<_>>();
            prop_assert_eq!(lengths(&read), lengths(&values));
            prop_assert!(read.iter().flatten().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(weights_from_bytes(&tiny(), &bytes, "w").is_err());
    }
}

/// The folder that `DDPMPipeline.from_pretrained` opens.
#[test]
fn a_pipeline_folder() {
    let architecture = tiny();
    let values = random_values(&architecture, 2);
    let schedule = ScheduleConfig {
        num_train_timesteps: 77,
        beta_start: 2e-4,
        beta_end: 0.03,
        beta_schedule: BetaSchedule::ScaledLinear,
        ..ScheduleConfig::default()
    };
    let sampling = SamplingConfig::default();
    let network = network_files(&architecture, &values).unwrap();
    let files: BTreeMap<&str, Vec<u8>> =
        network.into_iter().chain(scheduler_files(&schedule, &sampling)).collect();
    let names: Vec<&str> = files.keys().copied().collect();
    let expected = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ];
    assert_eq!(names, expected);
    assert_eq!([SCHEDULER_FILES, NETWORK_FILES].concat(), expected);
    let text = |name: &str| String::from_utf8(files[name].clone()).unwrap();
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();

    let (read, unknown_keys) = UnetConfig::from_json(&text("unet/config.json"), "config.json").unwrap();
    assert_eq!((&read, unknown_keys), (architecture.config(), vec![]));
    let weights = &files["unet/diffusion_pytorch_model.safetensors"];
    let read_values = weights_from_bytes(&Architecture::new(&read).unwrap(), weights, "w").unwrap();
    assert_eq!(read_values, values);

    // Against what diffusers wrote: the same keys with values of the same kinds, and nothing that it does not know.
    for file in ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json"] {
        let (ours, theirs) = (json(&text(file)), json(&String::from_utf8(read_golden(file)).unwrap()));
        for (key, value) in ours.as_object().unwrap() {
            let known = theirs.get(key).unwrap_or_else(|| panic!("{file}: diffusers does not write `{key}`"));
            let kind = |value: &serde_json::Value| match value {
                serde_json::Value::Null => None,
                other => Some(std::mem::discriminant(other)),
            };
            if let (Some(ours), Some(theirs)) = (kind(value), kind(known)) {
                assert_eq!(ours, theirs, "{file}: `{key}`");
            }
        }
    }
    assert_eq!(
        json(&text("model_index.json"))["unet"],
        json(&String::from_utf8(read_golden("model_index.json")).unwrap())["unet"]
    );
    let scheduler = json(&text("scheduler/scheduler_config.json"));
    assert_eq!(scheduler["num_train_timesteps"], 77);
    assert_eq!(scheduler["beta_start"], 2e-4);
    assert_eq!(scheduler["beta_end"], 0.03);
    assert_eq!(scheduler["beta_schedule"], "scaled_linear");
    for (beta_schedule, name) in
        [(BetaSchedule::Linear, "linear"), (BetaSchedule::Cosine, "squaredcos_cap_v2")]
    {
        let schedule = ScheduleConfig { beta_schedule, ..ScheduleConfig::default() };
        assert_eq!(scheduler_json(&schedule, &sampling)["beta_schedule"], name);
    }
}

/// The written `scheduler_config.json`, read as JSON.
fn scheduler_json(schedule: &ScheduleConfig, sampling: &SamplingConfig) -> serde_json::Value {
    serde_json::from_slice(&scheduler_files(schedule, sampling)[1].1).unwrap()
}

/// How the ensemble samples is what the files say, in diffusers' words.
#[test]
fn scheduler_files_say_how_the_ensemble_samples() {
    let schedule = ScheduleConfig::default();
    for (variance, name) in [
        (Variance::FixedSmall, "fixed_small"),
        (Variance::FixedLarge, "fixed_large"),
        // It has no name in diffusers.
        (Variance::EncodedEnsemble, "fixed_small"),
    ] {
        let sampling = SamplingConfig { variance, ..SamplingConfig::default() };
        assert_eq!(scheduler_json(&schedule, &sampling)["variance_type"], name);
    }
    for (clip, spacing, name) in
        [(true, TimestepSpacing::Linspace, "linspace"), (false, TimestepSpacing::Leading, "leading")]
    {
        let sampling = SamplingConfig { clip, spacing, ..SamplingConfig::default() };
        let scheduler = scheduler_json(&schedule, &sampling);
        assert_eq!((&scheduler["clip_sample"], &scheduler["timestep_spacing"]), (&clip.into(), &name.into()));
    }

    let sampling = SamplingConfig { sampler: SamplerKind::Ddim, ..SamplingConfig::default() };
    let [(_, index), _] = scheduler_files(&schedule, &sampling);
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["_class_name"], "DDIMPipeline");
    assert_eq!(index["scheduler"], serde_json::json!(["diffusers", "DDIMScheduler"]));
    let scheduler = scheduler_json(&schedule, &sampling);
    assert_eq!(scheduler["_class_name"], "DDIMScheduler");
    // The arguments of diffusers' DDIMScheduler (schedulers/scheduling_ddim.py, 0.30 to 0.42).
    let known = [
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "clip_sample",
        "set_alpha_to_one",
        "steps_offset",
        "prediction_type",
        "thresholding",
        "dynamic_thresholding_ratio",
        "clip_sample_range",
        "sample_max_value",
        "timestep_spacing",
        "rescale_betas_zero_snr",
    ];
    for key in scheduler.as_object().unwrap().keys().filter(|key| !key.starts_with('_')) {
        assert!(known.contains(&key.as_str()), "DDIMScheduler does not know `{key}`");
    }
}

fn read_golden(file: &str) -> Vec<u8> {
    read(&format!("plain/{file}"))
}

#[test]
fn a_broken_configuration_is_named() {
    let (_, _, weights) = tiny_file();
    let config = tiny_config();
    let error = UnetConfig::from_json("{", "m/unet/config.json").unwrap_err();
    assert!(
        matches!(error, DiffusionError::File { .. }) && error.to_string().starts_with("m/unet/config.json: "),
        "{error}"
    );
    // The weights of another network.
    let wider = UnetConfig { block_out_channels: vec![8, 8], ..config };
    let error = weights_from_bytes(&Architecture::new(&wider).unwrap(), &weights, "m/w").unwrap_err();
    let text = "m/w: the tensors are not those of the configured network";
    assert!(error.to_string().starts_with(text), "{error}");
    assert!(error.to_string().contains("(conv_in.weight is [4, 1, 3, 3] and not [8, 1, 3, 3], "), "{error}");
}
