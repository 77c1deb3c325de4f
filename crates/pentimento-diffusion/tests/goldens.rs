//! The golden cases: real diffusers checkpoints, and what PyTorch computed with them in `f64`.
//!
//! Answers are stored as `f32`, each rounded by at most 6e-8 of itself. So a computation in `f64` is right if it agrees to
//! 1e-6 of the largest entry (the softmax of diffusers' attention runs in `f32` even there, which costs another such
//! rounding in each attention). One in `f32` rounds at every operation; forty layers in a row may cost some hundred
//! roundings of the largest entry, 2e-4 in all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use burn::tensor::Tensor;
use common::*;
use pentimento_diffusion::mixture::Mixture;
use pentimento_diffusion::sampler::{Sampler, SamplerKind, SamplingConfig, Variance};
use pentimento_diffusion::schedule::TimestepSpacing;
use pentimento_diffusion::unet::{Architecture, BatchCondition, Precision, to_disk_layout};

const IN_F64: f64 = 1e-6;
const IN_F32: f64 = 2e-4;

/// The folders of a case with its first network: also under the attention names of 2022-23, if the case has them.
fn folders(case: &str) -> impl Iterator<Item = &'static str> {
    let old = goldens().join(case).join("old_names").is_dir().then_some("old_names");
    std::iter::once("unet").chain(old)
}

fn side(architecture: &Architecture) -> usize {
    architecture.config().sample_size.unwrap().height
}

fn forward<T: Precision>(case: &str, folder: &str, relative: f64) {
    let (architecture, values) = golden_network(case, folder);
    let golden = Golden::read(case);
    let (side, config) = (side(&architecture), architecture.config().clone());
    let timesteps = golden.whole_numbers("forward.t");
    let input = tensor::<T>(&golden.images("forward.x"), [timesteps.len(), side, side, config.in_channels]);
    let condition = BatchCondition::new::<T>(&architecture, &timesteps, &[]);
    let output = architecture.forward(&parameters::<T>(&architecture, &values), input, &condition);
    assert_eq!(output.dims(), [timesteps.len(), side, side, config.out_channels]);
    let what = format!("output of {case}/{folder}");
    assert_close(&what, &values_of::<T>(output), &golden.images("forward.out"), relative);
}

#[test]
pub(crate) fn outputs() {
    for case in &golden_cases() {
        for folder in folders(case) {
            forward::<f64>(case, folder, IN_F64);
            forward::<f32>(case, folder, IN_F32);
        }
    }
}

/// A mixture of the members of a case.
fn mixture<T: Precision>(case: &str, folders: &[&str]) -> Mixture {
    let networks: Vec<_> = folders.iter().map(|folder| golden_network(case, folder)).collect();
    let members =
        networks.iter().map(|(architecture, values)| parameters::<T>(architecture, values)).collect();
    let architecture = networks[0].0.clone();
    let side = side(&architecture);
    Mixture::new(architecture, members, side, side, 8).unwrap()
}

fn directional<T: Precision>(case: &str, folder: &str, relative: f64) {
    let golden = Golden::read(case);
    let mixture = mixture::<T>(case, &[folder]);
    let length = mixture.image_length();
    let image = of::<T>(&golden.images("forward.x")[2 * length..3 * length]);
    let timestep = golden.whole_numbers("forward.t")[2];
    let tangents = of::<T>(&golden.images("jvp.tangent"));
    let (output, derivatives) = mixture.predict_with_tangents(0, &image, &tangents, 3, timestep);
    let out = golden.images("forward.out");
    assert_close(case, &wide(&output), &out[2 * length..3 * length], relative);
    let what = format!("derivative of {case}/{folder}");
    assert_close(&what, &wide(&derivatives), &golden.images("jvp.out"), relative);
}

#[test]
pub(crate) fn derivatives_along_directions() {
    for case in &golden_cases() {
        for folder in folders(case) {
            directional::<f64>(case, folder, IN_F64);
            directional::<f32>(case, folder, IN_F32);
        }
    }
}

#[test]
pub(crate) fn schedule() {
    for case in &golden_cases() {
        let expected = Golden::read(case).values("schedule.alphas_cumprod").to_vec();
        // What is left is the rounding of the stored values.
        assert_close(case, &golden_schedule(case).alphas_cumprod(), &expected, 1e-7);
    }
}

/// A scalar function of the output and the noise.
type Function = fn(Tensor<4>, Tensor<4>) -> Tensor<1>;

/// The output for one noised sample, with every parameter tracked; then the gradients of `function(output, noise)`.
fn gradients<T: Precision>(
    case: &str,
    folder: &str,
    sample: usize,
    function: Function,
) -> (Architecture, Vec<Vec<f64>>, f64) {
    let (architecture, values) = golden_network(case, folder);
    let golden = Golden::read(case);
    let (side, channels) = (side(&architecture), architecture.config().in_channels);
    let (shape, length) = ([1, side, side, channels], side * side * channels);
    let timestep = golden.whole_numbers("gradient.t")[sample];
    let bar = golden_schedule(case).alphas_cumprod()[timestep];
    let of_sample = |name: &str| golden.images(name)[sample * length..(sample + 1) * length].to_vec();
    let (image, noise) = (of_sample("gradient.x0"), of_sample("gradient.eps"));
    let noised: Vec<f64> =
        image.iter().zip(&noise).map(|(x, e)| bar.sqrt() * x + (1.0 - bar).sqrt() * e).collect();
    let tracked = parameters::<T>(&architecture, &values).tracked();
    let condition = BatchCondition::new::<T>(&architecture, &[timestep], &[]);
    let output = architecture.forward(&tracked, tensor::<T>(&noised, shape), &condition);
    let value = function(output, tensor::<T>(&noise, shape).autodiff());
    let number = value.clone().inner().into_data().iter::<f64>().next().unwrap();
    let found = tracked.take_gradients::<T>(&architecture, &mut value.backward());
    let found = found.iter().map(|gradient| wide(gradient.as_ref())).collect();
    (architecture, found, number)
}

fn mean_of_squared_error(output: Tensor<4>, noise: Tensor<4>) -> Tensor<1> {
    (output - noise).square().mean()
}

fn check_gradients<T: Precision>(case: &str, folder: &str, relative: f64) {
    let golden = Golden::read(case);
    let functions: [(&str, usize, Function); 3] = [
        ("loss", 1, mean_of_squared_error),
        ("square", 2, |output, _| output.square().mean()),
        ("mean", 2, |output, _| output.mean()),
    ];
    for (name, sample, function) in functions {
        let (architecture, found, _) = gradients::<T>(case, folder, sample, function);
        let expected_of =
            |parameter: &str| golden.values(&format!("gradient.{name}.{sample}.{parameter}")).to_vec();
        let expected: Vec<Vec<f64>> =
            architecture.parameters().iter().map(|spec| expected_of(&spec.name)).collect();
        let overall = expected.iter().map(|gradient| largest(gradient)).fold(0.0, f64::max);
        for ((spec, found), expected) in architecture.parameters().iter().zip(&found).zip(&expected) {
            let what = format!("gradient of {name} in {} of {case}/{folder}", spec.name);
            let found = to_disk_layout(spec, found);
            // The softmax does not see a bias of its keys: that gradient is zero but for rounding (in diffusers that
            // of `f32`, since its attention computes the softmax in `f32` whatever the network's type is).
            if spec.name.ends_with("to_k.bias") {
                assert!(largest(expected) < f64::from(f32::EPSILON) * overall, "{what}");
                assert!(largest(&found) < relative * overall, "{what}");
            } else {
                assert_close(&what, &found, expected, relative);
            }
        }
    }
    let losses: Vec<f64> =
        (0..4).map(|sample| gradients::<T>(case, folder, sample, mean_of_squared_error).2).collect();
    assert_close(
        &format!("losses of {case}/{folder}"),
        &losses,
        golden.values("gradient.loss_value"),
        relative,
    );
}

#[test]
pub(crate) fn gradients_in_all_parameters() {
    for case in &golden_cases() {
        for folder in folders(case) {
            check_gradients::<f64>(case, folder, IN_F64);
            check_gradients::<f32>(case, folder, IN_F32);
        }
    }
}

/// A whole trajectory of a mixture with these weights along the recorded noise of the case.
fn trajectory<T: Precision>(
    case: &str,
    mixture: &Mixture,
    weights: &[f64],
    config: SamplingConfig,
) -> Vec<f64> {
    let noise = of::<T>(&Golden::read(case).images("sampling.noise"));
    let noise: Vec<&[T]> = noise.chunks_exact(mixture.image_length()).collect();
    let sampler = Sampler::new(&golden_schedule(case), config).unwrap();
    let mut x = noise[0].to_vec();
    for step in 0..sampler.len() {
        let mut predicted = vec![T::of(0.0); x.len()];
        for (member, &weight) in weights.iter().enumerate() {
            for (sum, value) in predicted.iter_mut().zip(mixture.predict(member, &x, sampler.timestep(step)))
            {
                *sum += T::of(weight) * value;
            }
        }
        sampler.advance(step, &mut x, &predicted, noise[step + 1]);
    }
    wide(&x)
}

fn without_clip(steps: usize, variance: Variance) -> SamplingConfig {
    SamplingConfig { steps, variance, clip: false, ..SamplingConfig::default() }
}

fn samples<T: Precision>(case: &str, folder: &str, relative: f64) {
    let golden = Golden::read(case);
    let mixture = mixture::<T>(case, &[folder]);
    for (variance, name) in [
        (Variance::FixedSmall, "fixed_small"),
        (Variance::FixedLarge, "fixed_large"),
        (Variance::EncodedEnsemble, "encoded_ensemble"),
    ] {
        let sample = trajectory::<T>(
            case,
            &mixture,
            &[1.0],
            without_clip(golden_schedule(case).num_train_timesteps, variance),
        );
        let expected = golden.images(&format!("sampling.ddpm.{name}"));
        assert_close(&format!("{name} sample of {case}/{folder}"), &sample, &expected, relative);
    }
    let ddim = SamplingConfig {
        steps: 5,
        spacing: TimestepSpacing::Leading,
        sampler: SamplerKind::Ddim,
        clip: false,
        ..SamplingConfig::default()
    };
    let sampler = Sampler::new(&golden_schedule(case), ddim).unwrap();
    let timesteps: Vec<usize> = (0..5).map(|step| sampler.timestep(step)).collect();
    assert_eq!(timesteps, golden.whole_numbers("sampling.ddim_5_timesteps"));
    let sample = trajectory::<T>(case, &mixture, &[1.0], ddim);
    let expected = golden.images("sampling.ddim_5");
    assert_close(&format!("DDIM sample of {case}/{folder}"), &sample, &expected, relative);
}

#[test]
pub(crate) fn samples_along_recorded_noise() {
    for case in &golden_cases() {
        for folder in folders(case) {
            samples::<f64>(case, folder, IN_F64);
            samples::<f32>(case, folder, IN_F32);
        }
    }
}

fn ensemble<T: Precision>(case: &str, first: &str, relative: f64) {
    let golden = Golden::read(case);
    let others: Vec<String> = (1..)
        .map(|member| format!("member_{member}"))
        .take_while(|folder| goldens().join(case).join(folder).is_dir())
        .collect();
    let all: Vec<&str> = std::iter::once(first).chain(others.iter().map(String::as_str)).collect();
    let mixture = mixture::<T>(case, &all);
    let config = without_clip(golden_schedule(case).num_train_timesteps, Variance::EncodedEnsemble);
    let average = trajectory::<T>(case, &mixture, &vec![1.0 / all.len() as f64; all.len()], config);
    assert_close(&format!("ensemble of {case}"), &average, &golden.images("ensemble.sample"), relative);
    let ablated = trajectory::<T>(case, &mixture, golden.values("ensemble.ablated_weights"), config);
    assert_close(
        &format!("ablation of {case}"),
        &ablated,
        &golden.images("ensemble.ablated_sample"),
        relative,
    );
}

#[test]
pub(crate) fn ensembles_and_ablations() {
    for case in &golden_cases() {
        for first in folders(case) {
            ensemble::<f64>(case, first, IN_F64);
            ensemble::<f32>(case, first, IN_F32);
        }
    }
}

/// The old attention names hold the same values.
#[test]
pub(crate) fn old_names_are_the_same_network() {
    let with_old_names = |case: &&String| goldens().join(case).join("old_names").is_dir();
    for case in golden_cases().iter().filter(with_old_names) {
        let (today, old) = (golden_network(case, "unet"), golden_network(case, "old_names"));
        assert_eq!(today.0.parameters(), old.0.parameters());
        assert_eq!(today.1, old.1);
    }
}
