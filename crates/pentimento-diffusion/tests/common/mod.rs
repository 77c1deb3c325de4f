//! What the tests of the diffusion crate share: small networks, made-up values and the golden cases.

#![allow(dead_code, unused_imports, reason = "every test file uses its own part")]

mod golden_cases;
mod latent_cases;

use burn::tensor::{Tensor, TensorData};
pub use golden_cases::*;
pub use latent_cases::*;
use pentimento_diffusion::schedule::{BetaSchedule, ScheduleConfig};
use pentimento_diffusion::unet::{Architecture, Parameters, Precision, SampleSize, UnetConfig};
use pentimento_kernels::extension::device_for;
use pentimento_noise::{Purpose, Stream};
use proptest::prelude::ProptestConfig;

/// Ten timesteps that reach from little to much noise.
pub fn ten_timesteps() -> ScheduleConfig {
    ScheduleConfig {
        num_train_timesteps: 10,
        beta_start: 0.05,
        beta_end: 0.5,
        beta_schedule: BetaSchedule::Linear,
        ..ScheduleConfig::default()
    }
}

pub fn of<T: Precision>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&value| T::of(value)).collect()
}

pub fn wide<T: Precision>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.wide()).collect()
}

pub fn tensor<T: Precision>(values: &[f64], shape: [usize; 4]) -> Tensor<4> {
    Tensor::from_data(TensorData::new(of::<T>(values), shape), (&device_for(T::dtype()), T::dtype()))
}

pub fn values_of<T: Precision>(tensor: Tensor<4>) -> Vec<f64> {
    wide(&tensor.into_data().try_into_vec::<T>().unwrap())
}

pub fn parameters<T: Precision>(architecture: &Architecture, values: &[Vec<f32>]) -> Parameters {
    let values = values.iter().map(|values| values.iter().map(|&value| T::of(f64::from(value))).collect());
    Parameters::from_memory::<T>(architecture, values.collect())
}

pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// Asserts that no entry is wrong by more than `relative` times the largest entry.
#[track_caller]
pub fn assert_close(what: &str, computed: &[f64], expected: &[f64], relative: f64) {
    assert_eq!(computed.len(), expected.len(), "{what}: number of values");
    let size = largest(expected);
    assert!(size > 0.0 && size.is_finite(), "{what}: nothing to compare with");
    for (place, (a, b)) in computed.iter().zip(expected).enumerate() {
        let error = (a - b).abs() / size;
        assert!(
            error <= relative,
            "{what}[{place}]: {a} instead of {b}, relative error {error:e} > {relative:e}"
        );
    }
}

/// This many random cases. A failing case is printed with its smallest form; nothing is written into the sources.
pub fn cases(number: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(number) }
}

/// A network of two levels for images of one channel, small enough for hundreds of steps in a second.
pub fn tiny_config() -> UnetConfig {
    let names = |names: [&str; 2]| names.map(String::from).to_vec();
    UnetConfig {
        sample_size: Some(SampleSize::square(4)),
        in_channels: 1,
        out_channels: 1,
        down_block_types: names(["DownBlock2D", "AttnDownBlock2D"]),
        up_block_types: names(["AttnUpBlock2D", "UpBlock2D"]),
        block_out_channels: vec![4, 8],
        layers_per_block: 1,
        attention_head_dim: Some(4),
        norm_num_groups: 2,
        ..UnetConfig::default()
    }
}

pub fn tiny() -> Architecture {
    Architecture::new(&tiny_config()).unwrap()
}

/// Standard normal values that are the same for the same number.
pub fn normals(number: u32, length: usize) -> Vec<f32> {
    let mut values = vec![0.0; length];
    Stream::new(1, Purpose::Test, number, 0).fill_normal(&mut values);
    values
}

/// Weights of ordinary size everywhere: a fresh network starts some layers at zero, which would hide mistakes.
pub fn random_values(architecture: &Architecture, number: u32) -> Vec<Vec<f32>> {
    let specs = architecture.parameters().iter().enumerate();
    specs
        .map(|(place, spec)| {
            let fan_in: usize = spec.disk_shape.iter().skip(1).product();
            let mut values = normals(1000 * number + place as u32, spec.len());
            for value in &mut values {
                *value = match spec.disk_shape.len() {
                    1 if spec.name.contains("norm") && spec.name.ends_with("weight") => 1.0 + 0.1 * *value,
                    1 => 0.1 * *value,
                    _ => *value / (fan_in as f32).sqrt(),
                };
            }
            values
        })
        .collect()
}

/// Runs in a thread pool of its own.
pub fn with_threads<R: Send>(threads: usize, run: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

/// Bits of values: zero and minus zero differ, and a NaN equals itself.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
