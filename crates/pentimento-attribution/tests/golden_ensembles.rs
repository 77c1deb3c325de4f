//! The ensembles that PyTorch computed in float64 (tests/goldens of the repository): sample, Jacobian and Gram matrix,
//! and the derivative against finite differences of our own sampler.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../pentimento-diffusion/tests/common/golden_cases.rs"]
mod golden_cases;

use golden_cases::{Golden, golden_cases, golden_network, golden_schedule, goldens};
use pentimento_attribution::ensemble::{
    BaseRun, Request, TangentMembers, control_variates, full_weights, gram_matrix, jacobians,
};
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::{Sampler, SamplerKind, SamplingConfig, Variance};
use pentimento_diffusion::schedule::TimestepSpacing;
use pentimento_diffusion::unet::{Parameters, Precision};
use std::convert::Infallible;

/// Every golden case that has an ensemble.
fn cases() -> Vec<String> {
    let has_ensemble = |case: &String| goldens().join(case).join("member_1/config.json").is_file();
    let cases: Vec<String> = golden_cases().into_iter().filter(has_ensemble).collect();
    assert!(!cases.is_empty(), "{}: no golden case with an ensemble", goldens().display());
    cases
}

struct Case {
    name: String,
    mixture: Mixture,
    golden: Golden,
}

impl Case {
    fn open<T: Precision>(name: &str) -> Self {
        let mut members = Vec::new();
        let mut shared = None;
        let others = (1..).map(|member| format!("member_{member}"));
        let others = others.take_while(|folder| goldens().join(name).join(folder).is_dir());
        for folder in std::iter::once("unet".to_owned()).chain(others) {
            let (architecture, values) = golden_network(name, &folder);
            let values = values
                .into_iter()
                .map(|values| values.into_iter().map(|v| T::of(f64::from(v))).collect())
                .collect();
            members.push(Parameters::from_memory::<T>(&architecture, values));
            shared = Some(architecture);
        }
        let architecture = shared.unwrap();
        let side = architecture.config().sample_size.unwrap().height;
        Self {
            name: name.into(),
            mixture: Mixture::new(architecture, members, side, side, 8).unwrap(),
            golden: Golden::read(name),
        }
    }
}

fn channels_last(image: &[f64], height: usize, width: usize, channels: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(image.len());
    for pixel in 0..height * width {
        out.extend((0..channels).map(|channel| image[channel * height * width + pixel]));
    }
    out
}

fn sampler(case: &str) -> Sampler {
    let schedule = golden_schedule(case);
    let config = SamplingConfig {
        steps: schedule.num_train_timesteps,
        spacing: TimestepSpacing::Linspace,
        sampler: SamplerKind::Ddpm,
        variance: Variance::EncodedEnsemble,
        clip: false,
        ..SamplingConfig::default()
    };
    Sampler::new(&schedule, config).unwrap()
}

fn largest_error(found: &[f64], truth: &[f64]) -> f64 {
    assert_eq!(found.len(), truth.len());
    let largest = truth.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    found.iter().zip(truth).fold(0.0f64, |worst, (a, b)| worst.max((a - b).abs())) / largest
}

/// The goldens come with PyTorch's noise, ours is the counter's. In the noise the sample is affine only through the
/// network, so the golden trajectory is followed by hand: the same steps on the golden noise.
fn golden_sample<T: Precision>(case: &Case, weights: &[f64]) -> Vec<f64> {
    let sampler = sampler(&case.name);
    let noise = case.golden.image_rows("sampling.noise");
    let of = |image: &[f64]| -> Vec<T> { image.iter().map(|&value| T::of(value)).collect() };
    let mut x = of(&noise[0]);
    for step in 0..sampler.len() {
        let mut predicted = vec![T::of(0.0); x.len()];
        for (member, &weight) in weights.iter().enumerate() {
            for (sum, value) in
                predicted.iter_mut().zip(case.mixture.predict(member, &x, sampler.timestep(step)))
            {
                *sum += T::of(weight) * value;
            }
        }
        sampler.advance(step, &mut x, &predicted, &of(&noise[step + 1]));
    }
    x.into_iter().map(|value| value.wide()).collect()
}

#[test]
fn the_average_and_an_ablation_are_those_of_pytorch() {
    for name in &cases() {
        let case = Case::open::<f64>(name);
        let full = golden_sample::<f64>(&case, &full_weights(case.mixture.members()));
        assert!(largest_error(&full, &case.golden.image_rows("ensemble.sample")[0]) < 2e-6, "{name}");
        let ablated = golden_sample::<f64>(&case, case.golden.values("ensemble.ablated_weights"));
        assert!(
            largest_error(&ablated, &case.golden.image_rows("ensemble.ablated_sample")[0]) < 2e-6,
            "{name}"
        );
        let single = Case::open::<f32>(name);
        let error = largest_error(
            &golden_sample::<f32>(&single, &full_weights(case.mixture.members())),
            &case.golden.image_rows("ensemble.sample")[0],
        );
        assert!(error < 2e-4, "{name}: {error:e} in f32");
    }
}

#[test]
fn the_jacobian_and_its_gram_matrix_are_those_of_pytorch() {
    for name in &cases() {
        let (double, single) = (golden_jacobian::<f64>(name), golden_jacobian::<f32>(name));
        // The answers are stored in f32, hence 2e-6; 2e-4 is the bound for f32.
        for ((found, truth, gram, gram_truth), bound) in [(double, 2e-6), (single, 2e-4)] {
            for (column, truth) in found.iter().zip(&truth) {
                let error = largest_error(column, truth);
                assert!(error < bound, "{name}: Jacobian off by {error:e}");
            }
            let error = largest_error(&gram, &gram_truth);
            assert!(error < bound, "{name}: Gram matrix off by {error:e}");
        }
    }
}

type GoldenJacobian = (Vec<Vec<f64>>, Vec<Vec<f64>>, Vec<f64>, Vec<f64>);

fn golden_jacobian<T: Precision>(name: &str) -> GoldenJacobian {
    let case = Case::open::<T>(name);
    let noise: Vec<Vec<T>> = case
        .golden
        .image_rows("sampling.noise")
        .iter()
        .map(|image| image.iter().map(|&value| T::of(value)).collect())
        .collect();
    let base = BaseRun::with_noise(&case.mixture, &sampler(name), &noise);
    let all: Vec<_> =
        jacobians::<T, Infallible>(&case.mixture, &sampler(name), &base, TangentMembers::All, |_| Ok(()))
            .unwrap();
    let [height, width, channels] = case.mixture.image_shape();
    let wide = |column: &Vec<T>| column.iter().map(|value| value.wide()).collect::<Vec<f64>>();
    let found: Vec<Vec<f64>> = all[0].columns.iter().map(wide).collect();
    let truth: Vec<Vec<f64>> = case
        .golden
        .columns("ensemble.jacobian")
        .iter()
        .map(|column| channels_last(column, height, width, channels))
        .collect();
    let gram_truth: Vec<f64> = {
        let columns = case.golden.columns("ensemble.jacobian_gram");
        (0..columns.len()).flat_map(|row| columns.iter().map(move |column| column[row])).collect()
    };
    (found, truth, gram_matrix::<T>(&all[0].columns), gram_truth)
}

const FINITE_DIFFERENCE_SAMPLES: [u32; 2] = [3, 4];

/// With clipping, as runs have it.
fn short_sampler(case: &str) -> Sampler {
    Sampler::new(&golden_schedule(case), SamplingConfig { steps: 8, clip: true, ..SamplingConfig::default() })
        .unwrap()
}

/// Columns of each sample's Jacobian in the given precision.
fn our_jacobians<T: Precision>(name: &str) -> Vec<Vec<Vec<f64>>> {
    let (case, sampler) = (Case::open::<T>(name), short_sampler(name));
    let base: BaseRun<T> =
        BaseRun::new::<Infallible>(&case.mixture, &sampler, 9, &FINITE_DIFFERENCE_SAMPLES, |_| Ok(()))
            .unwrap();
    let all =
        jacobians::<T, Infallible>(&case.mixture, &sampler, &base, TangentMembers::All, |_| Ok(())).unwrap();
    let wide = |column: &Vec<T>| column.iter().map(|value| value.wide()).collect();
    all.iter().map(|jacobian| jacobian.columns.iter().map(wide).collect()).collect()
}

/// `(y(w + h e_j) - y(w - h e_j)) / 2h` by sampling in f64 with those weights.
fn finite_differences(name: &str) -> Vec<Vec<Vec<f64>>> {
    const WIDTH: f64 = 1e-6;
    let (case, sampler) = (Case::open::<f64>(name), short_sampler(name));
    let moved = |sample: u32, member: usize, by: f64| -> Vec<f64> {
        let mut weights = full_weights(case.mixture.members());
        weights[member] += by;
        let trajectory = Trajectory { sample, weights, condition: None };
        case.mixture.sample::<f64, Infallible>(&sampler, 9, &[trajectory], |_| Ok(())).unwrap()
    };
    let column = |sample: u32, member: usize| {
        let (above, below) = (moved(sample, member, WIDTH), moved(sample, member, -WIDTH));
        above.iter().zip(&below).map(|(a, b)| (a - b) / (2.0 * WIDTH)).collect()
    };
    FINITE_DIFFERENCE_SAMPLES
        .iter()
        .map(|&sample| (0..case.mixture.members()).map(|member| column(sample, member)).collect())
        .collect()
}

/// The differences are taken in f64 for both: in f32 they would show the rounding of two images, not a derivative.
#[test]
fn the_jacobian_is_the_derivative_of_the_sample() {
    for name in &cases() {
        let truth = finite_differences(name);
        for (found, bound) in [(our_jacobians::<f64>(name), 1e-6), (our_jacobians::<f32>(name), 1e-3)] {
            for (found, truth) in found.iter().flatten().zip(truth.iter().flatten()) {
                let error = largest_error(found, truth);
                assert!(error < bound, "{name}: off by {error:e}, bound {bound:e}");
            }
        }
    }
}

#[test]
fn with_equal_members_every_approximation_is_exact() {
    // One member three times: no ablation changes anything, and one member's tangent is all members' tangent.
    let (architecture, values) = golden_network("plain", "unet");
    let wide = || values.iter().map(|v| v.iter().map(|&x| f64::from(x)).collect()).collect();
    let members = (0..3).map(|_| Parameters::from_memory::<f64>(&architecture, wide())).collect();
    let mixture = Mixture::new(architecture, members, 8, 8, 4).unwrap();
    let sampler = sampler("plain");
    let base: BaseRun<f64> = BaseRun::new::<Infallible>(&mixture, &sampler, 1, &[0], |_| Ok(())).unwrap();
    let one = jacobians::<f64, Infallible>(&mixture, &sampler, &base, TangentMembers::OnePerStep, |_| Ok(()))
        .unwrap();
    let all =
        jacobians::<f64, Infallible>(&mixture, &sampler, &base, TangentMembers::All, |_| Ok(())).unwrap();
    for (a, b) in one[0].columns.iter().zip(&all[0].columns) {
        assert!(largest_error(a, b) < 1e-12);
    }
    let request = Request { sample: 0, weights: vec![0.0, 0.5, 0.5] };
    let varied =
        control_variates::<f64, Infallible>(&mixture, &sampler, &base, &[request], |_| Ok(())).unwrap();
    assert!(largest_error(&varied, base.image(0)) < 1e-12);
}

/// An ensemble of the golden case's members, in f64.
fn three_members(folders: [&str; 3]) -> Mixture {
    let networks = folders.map(|folder| golden_network("plain", folder));
    let architecture = networks[0].0.clone();
    let members = networks.map(|(architecture, values)| {
        let wide = values.iter().map(|v| v.iter().map(|&x| f64::from(x)).collect()).collect();
        Parameters::from_memory::<f64>(&architecture, wide)
    });
    Mixture::new(architecture, members.to_vec(), 8, 8, 4).unwrap()
}

/// The formula written out for two survivors that differ, who correct in turn.
#[test]
fn survivors_correct_the_base_trajectory_in_turn() {
    let mixture = three_members(["unet", "member_1", "unet"]);
    let (sampler, seed, sample) = (sampler("plain"), 1, 1);
    let base: BaseRun<f64> =
        BaseRun::new::<Infallible>(&mixture, &sampler, seed, &[0, sample], |_| Ok(())).unwrap();
    let weights = vec![0.0, 0.25, 0.75];
    let request = Request { sample: 1, weights: weights.clone() };
    let varied =
        control_variates::<f64, Infallible>(&mixture, &sampler, &base, &[request], |_| Ok(())).unwrap();

    let average = vec![1.0 / 3.0; 3];
    let mut along = mixture.noise::<f64>(seed, &[sample], 0);
    let mut x = along.clone();
    for step in 0..sampler.len() {
        let timestep = sampler.timestep(step);
        let at = |place: &[f64]| -> Vec<Vec<f64>> {
            (0..3).map(|member| mixture.predict(member, place, timestep)).collect()
        };
        let mixed = |values: &[Vec<f64>], weights: &[f64], pixel: usize| -> f64 {
            values.iter().zip(weights).map(|(value, weight)| weight * value[pixel]).sum()
        };
        let (there, here) = (at(&along), at(&x));
        let corrector = [1, 2][step % 2];
        let predicted: Vec<f64> = (0..x.len())
            .map(|pixel| mixed(&there, &weights, pixel) + here[corrector][pixel] - there[corrector][pixel])
            .collect();
        let predicted_along: Vec<f64> = (0..x.len()).map(|pixel| mixed(&there, &average, pixel)).collect();
        mixture.advance(&sampler, step, seed, &[sample], &mut x, &predicted);
        mixture.advance(&sampler, step, seed, &[sample], &mut along, &predicted_along);
    }
    assert!(largest_error(base.image(1), &along) < 1e-12);
    assert!(largest_error(&varied, &x) < 1e-12, "{}", largest_error(&varied, &x));
}

/// With two survivors that are the same network, `sum_k u_k f_k(x) + f_j(x') - f_j(x) = f_j(x')`: the control variate
/// is the exact counterfactual.
#[test]
fn the_control_variate_is_exact_when_the_survivors_agree() {
    let mixture = three_members(["unet", "member_1", "member_1"]);
    let sampler = sampler("plain");
    let base: BaseRun<f64> = BaseRun::new::<Infallible>(&mixture, &sampler, 1, &[0, 1], |_| Ok(())).unwrap();
    let weights = vec![0.0, 0.5, 0.5];
    let request = Request { sample: 1, weights: weights.clone() };
    let varied =
        control_variates::<f64, Infallible>(&mixture, &sampler, &base, &[request], |_| Ok(())).unwrap();
    let exact = mixture
        .sample::<f64, Infallible>(&sampler, 1, &[Trajectory { sample: 1, weights, condition: None }], |_| {
            Ok(())
        })
        .unwrap();
    assert!(largest_error(&varied, &exact) < 1e-12);
    assert!(largest_error(base.image(1), &exact) > 1e-3, "the ablation must change something");
}
