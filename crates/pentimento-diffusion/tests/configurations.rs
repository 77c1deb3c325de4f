//! Networks and schedulers with configurations that the golden cases leave out, against what diffusers computed with them
//! in `f64` (`tests/goldens_configurations/make.py`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use burn::tensor::Tensor;
use common::*;
use pentimento_diffusion::checkpoint::{CheckpointFiles, SchedulerFile, Selection};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::sampler::{Sampler, SamplingConfig};
use pentimento_diffusion::unet::{Architecture, BatchCondition, Dual, Precision, to_disk_layout};
use serde_json::Value;
use std::path::PathBuf;

/// Answers are stored as `f32`, and diffusers computes sinusoids and the softmax of attention in it.
const IN_F64: f64 = 1e-6;
/// As for the golden cases.
const IN_F32: f64 = 2e-4;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens_configurations"))
}

const NETWORKS: [&str; 7] = [
    "class_table",
    "class_as_timestep",
    "resnet_resampling",
    "scale_shift_resampling",
    "without_middle_attention",
    "narrow_heads",
    "one_level",
];

struct Case {
    name: &'static str,
    architecture: Architecture,
    values: Vec<Vec<f32>>,
    golden: Golden,
    conditions: Vec<Condition>,
}

impl Case {
    fn open(name: &'static str) -> Self {
        let folder = folder().join(name);
        // Networks without a pipeline: the scheduler is another's.
        let scheduler = folder.join("../../goldens/plain/scheduler/scheduler_config.json");
        let selection = Selection { scheduler: Some(scheduler), ..Selection::default() };
        let checkpoint = CheckpointFiles::find(&folder, &selection).unwrap().open().unwrap();
        assert!(checkpoint.unknown_keys.is_empty(), "{name}: {:?}", checkpoint.unknown_keys);
        let golden = Golden::open(&std::fs::read(folder.join("golden.safetensors")).unwrap());
        let classes = if golden.has("class") { golden.whole_numbers("class") } else { Vec::new() };
        let conditions = classes.into_iter().map(|class| Condition::Class(class as u32)).collect();
        let values = checkpoint.values_in_f32();
        Self { name, architecture: checkpoint.architecture, values, golden, conditions }
    }

    fn images<T: Precision>(&self, name: &str) -> Tensor<4> {
        let side = self.architecture.config().sample_size.unwrap().height;
        let channels = self.architecture.config().in_channels;
        tensor::<T>(&self.golden.images(name), [3, side, side, channels])
    }

    fn condition<T: Precision>(&self) -> BatchCondition {
        BatchCondition::new::<T>(&self.architecture, &self.golden.whole_numbers("t"), &self.conditions)
    }

    fn check<T: Precision>(&self, relative: f64) {
        let parameters = parameters::<T>(&self.architecture, &self.values);
        let input = Dual::new(self.images::<T>("x"), self.images::<T>("tangent"));
        let output = self.architecture.forward(&parameters, input, &self.condition::<T>());
        let (output, derivative) = output.into_parts(1);
        let what = |part: &str| format!("{part} of {}", self.name);
        assert_close(&what("output"), &values_of::<T>(output), &self.golden.images("out"), relative);
        let derivative = values_of::<T>(derivative);
        assert_close(&what("derivative"), &derivative, &self.golden.images("derivative"), relative);

        let tracked = parameters.tracked();
        let output = self.architecture.forward(&tracked, self.images::<T>("x"), &self.condition::<T>());
        let mut gradients = output.square().mean().backward();
        let found = tracked.take_gradients::<T>(&self.architecture, &mut gradients);
        for (spec, found) in self.architecture.parameters().iter().zip(&found) {
            // Zero but for rounding, see `goldens.rs`.
            if !spec.name.ends_with("to_k.bias") {
                let found = to_disk_layout(spec, &wide(found.as_ref()));
                let expected = self.golden.values(&format!("gradient.{}", spec.name));
                assert_close(&what(&spec.name), &found, expected, relative);
            }
        }
    }
}

#[test]
pub(crate) fn networks() {
    for name in NETWORKS {
        let case = Case::open(name);
        case.check::<f64>(IN_F64);
        case.check::<f32>(IN_F32);
    }
}

/// A class is told once for all images or for each, and a network without classes is told none.
#[test]
fn one_class_for_all_images() {
    for name in ["class_table", "class_as_timestep"] {
        let case = Case::open(name);
        let parameters = parameters::<f64>(&case.architecture, &case.values);
        let run = |classes: &[u32]| {
            let conditions: Vec<Condition> = classes.iter().map(|&class| Condition::Class(class)).collect();
            let condition = BatchCondition::new::<f64>(&case.architecture, &[7], &conditions);
            values_of::<f64>(case.architecture.forward(&parameters, case.images::<f64>("x"), &condition))
        };
        assert_eq!(run(&[3]), run(&[3, 3, 3]));
        assert_ne!(run(&[3]), run(&[2]));
    }
    let case = Case::open("narrow_heads");
    assert_eq!(case.architecture.config().classes(), None);
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Whole trajectories of diffusers' schedulers, with made-up outputs of a network.
#[test]
fn schedulers() {
    let text = std::fs::read_to_string(folder().join("schedulers.json")).unwrap();
    let all: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(all.len(), 18);
    for (name, golden) in &all {
        let read = SchedulerFile::from_json(&golden["config"].to_string(), name).unwrap();
        assert!(read.unknown_keys.is_empty(), "{name}: {:?}", read.unknown_keys);
        let bars = read.schedule.alphas_cumprod();
        // The last one may be zero; what is left is rounding.
        assert_close(name, &bars, &numbers(&golden["alphas_cumprod"]), 1e-13);
        let steps = golden["steps"].as_u64().unwrap() as usize;
        let sampler = Sampler::new(&read.schedule, SamplingConfig { steps, ..read.sampling }).unwrap();
        let timesteps: Vec<f64> = (0..steps).map(|step| sampler.timestep(step) as f64).collect();
        assert_eq!(timesteps, numbers(&golden["timesteps"]), "{name}");

        let mut x = numbers(&golden["noises"][0]);
        for step in 0..steps {
            let outputs = numbers(&golden["outputs"][step]);
            let predicted: Vec<f64> = outputs.iter().zip(&x).map(|(output, x)| output + 0.25 * x).collect();
            sampler.advance(step, &mut x, &predicted, &numbers(&golden["noises"][step + 1]));
            let mut theirs = numbers(&golden["path"][step]);
            if step + 1 == steps && read.sampling.clip && !sampler.adds_noise(step) {
                // The last predicted image is clamped by whoever shows it.
                for value in x.iter_mut().chain(&mut theirs) {
                    *value = value.clamp(-1.0, 1.0);
                }
            }
            // diffusers' variance is never below 1e-20, which is a deviation of 1e-10.
            assert_close(&format!("{name}, step {step}"), &x, &theirs, 1e-9);
        }
    }
}

/// What is written is read again as what it was.
#[test]
fn scheduler_files_survive_a_round_trip() {
    let text = std::fs::read_to_string(folder().join("schedulers.json")).unwrap();
    let all: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    for (name, golden) in &all {
        let read = SchedulerFile::from_json(&golden["config"].to_string(), name).unwrap();
        let [_, (_, written)] =
            pentimento_diffusion::checkpoint::scheduler_files(&read.schedule, &read.sampling);
        let again = SchedulerFile::from_json(&String::from_utf8(written).unwrap(), name).unwrap();
        assert_eq!(again, read, "{name}");
    }
}
