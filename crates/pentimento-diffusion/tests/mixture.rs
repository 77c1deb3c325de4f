//! Sampling from mixtures, and the derivatives of one step.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::*;
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::{Sampler, SamplerKind, SamplingConfig, Variance};
use pentimento_diffusion::schedule::{ScheduleConfig, TimestepSpacing};
use pentimento_diffusion::unet::{Architecture, Precision, UnetConfig};
use proptest::prelude::*;
use std::convert::Infallible;

const SEED: u64 = 5;
const MEMBERS: usize = 3;

fn mixture_of<T: Precision>(architecture: &Architecture, numbers: &[u32], batch: usize) -> Mixture {
    let members =
        numbers.iter().map(|&number| parameters::<T>(architecture, &random_values(architecture, number)));
    let side = architecture.config().sample_size.unwrap().height;
    Mixture::new(architecture.clone(), members.collect(), side, side, batch).unwrap()
}

fn mixture(batch: usize) -> Mixture {
    mixture_of::<f32>(&tiny(), &[1, 2, 3], batch)
}

fn sampler(config: SamplingConfig) -> Sampler {
    let schedule = ScheduleConfig { num_train_timesteps: 20, beta_end: 0.3, ..ScheduleConfig::default() };
    Sampler::new(&schedule, config).unwrap()
}

fn short() -> Sampler {
    sampler(SamplingConfig { steps: 6, ..SamplingConfig::default() })
}

fn run(mixture: &Mixture, sampler: &Sampler, trajectories: &[Trajectory]) -> Vec<f32> {
    let samples = mixture.sample::<f32, Infallible>(sampler, SEED, trajectories, |_| Ok(()));
    samples.unwrap_or_else(|never| match never {})
}

/// Trajectories of which some share a sample, some a weight, and some leave members out.
fn trajectories() -> Vec<Trajectory> {
    let third = 1.0 / 3.0;
    let weights = [
        vec![third; 3],
        vec![0.0, 0.5, 0.5],
        vec![0.5, 0.0, 0.5],
        vec![1.0, 0.0, 0.0],
        vec![0.0, 0.0, 1.0],
        vec![0.2, 0.3, 0.5],
    ];
    (0..11u32)
        .map(|index| Trajectory {
            sample: index / 3,
            weights: weights[index as usize % 6].clone(),
            condition: None,
        })
        .collect()
}

#[test]
fn any_batch_gives_the_same_bytes() {
    let trajectories = trajectories();
    let one = run(&mixture(1), &short(), &trajectories);
    assert_eq!(one.len(), trajectories.len() * 16);
    assert!(one.iter().all(|value| value.is_finite()));
    for batch in [3, 64] {
        assert_eq!(bits(&run(&mixture(batch), &short(), &trajectories)), bits(&one), "batch {batch}");
    }
    for threads in [1, 2, 3] {
        let other = with_threads(threads, || run(&mixture(4), &short(), &trajectories));
        assert_eq!(bits(&other), bits(&one), "{threads} threads");
    }
}

#[test]
fn a_trajectory_does_not_see_the_others() {
    let (mixture, trajectories) = (mixture(4), trajectories());
    let together = run(&mixture, &short(), &trajectories);
    for (trajectory, together) in trajectories.iter().zip(together.chunks_exact(16)) {
        let alone = run(&mixture, &short(), std::slice::from_ref(trajectory));
        assert_eq!(bits(&alone), bits(together), "{trajectory:?}");
    }
    // Backwards: no order plays a role.
    let backwards: Vec<Trajectory> = trajectories.iter().rev().cloned().collect();
    let reversed: Vec<f32> =
        run(&mixture, &short(), &backwards).chunks_exact(16).rev().flatten().copied().collect();
    assert_eq!(bits(&reversed), bits(&together));
}

#[test]
fn one_weight_is_the_member_alone() {
    for member in 0..MEMBERS {
        let mut weights = vec![0.0; MEMBERS];
        weights[member] = 1.0;
        let mixed = run(&mixture(4), &short(), &[Trajectory { sample: 9, weights, condition: None }]);
        let alone = mixture_of::<f32>(&tiny(), &[member as u32 + 1], 4);
        let alone = run(&alone, &short(), &[Trajectory { sample: 9, weights: vec![1.0], condition: None }]);
        assert_eq!(bits(&mixed), bits(&alone), "member {member}");
    }
}

/// The weighted sum of the members' predictions, step by step, written out on its own in `f64`.
#[test]
fn a_mixture_is_the_weighted_sum_of_its_members() {
    let mixture = mixture_of::<f64>(&tiny(), &[1, 2, 3], 4);
    let weights = [0.2, 0.3, 0.5];
    for config in [
        SamplingConfig { steps: 6, ..SamplingConfig::default() },
        SamplingConfig {
            steps: 6,
            variance: Variance::EncodedEnsemble,
            clip: false,
            ..SamplingConfig::default()
        },
        SamplingConfig {
            steps: 6,
            sampler: SamplerKind::Ddim,
            spacing: TimestepSpacing::Leading,
            ..SamplingConfig::default()
        },
    ] {
        let sampler = sampler(config);
        let trajectory = Trajectory { sample: 4, weights: weights.to_vec(), condition: None };
        let mut steps = Vec::new();
        let sampled: Result<Vec<f64>, Infallible> = mixture.sample(&sampler, SEED, &[trajectory], |done| {
            steps.push(done);
            Ok(())
        });
        assert_eq!(steps, (1..=6).collect::<Vec<_>>());
        let recorded = |place: usize| {
            let mut noise = vec![0.0f64; 16];
            Sampler::noise(SEED, 4, place, &mut noise);
            noise
        };
        let mut x = recorded(0);
        for step in 0..6 {
            let mut predicted = [0.0f64; 16];
            for (member, weight) in weights.iter().enumerate() {
                for (sum, value) in
                    predicted.iter_mut().zip(mixture.predict(member, &x, sampler.timestep(step)))
                {
                    *sum += weight * value;
                }
            }
            sampler.advance(step, &mut x, &predicted, &recorded(step + 1));
        }
        assert_close("sample", &sampled.unwrap_or_else(|never| match never {}), &x, 1e-12);
    }
}

/// An error from the progress callback ends the sampling at that step.
#[test]
fn sampling_can_be_stopped() {
    let mut steps = 0;
    let stopped: Result<Vec<f32>, &str> = mixture(4).sample(&short(), SEED, &trajectories(), |done| {
        steps = done;
        if done == 3 { Err("stop") } else { Ok(()) }
    });
    assert_eq!((stopped, steps), (Err("stop"), 3));
}

/// Noise depends on seed, sample and place, and on nothing else; it is as good as normal.
/// Every step is shown, from the recorded noise on; what the last one predicts is the image, and noising what a step
/// predicts by what it predicts of the noise gives what it began with.
#[test]
fn what_is_predicted_on_the_way_ends_in_the_image() {
    let mixture = mixture(64);
    let length = mixture.image_length();
    for kind in [SamplerKind::Ddpm, SamplerKind::Ddim] {
        let sampler =
            sampler(SamplingConfig { steps: 4, sampler: kind, clip: false, ..SamplingConfig::default() });
        let mut shown = Vec::new();
        let images = mixture
            .follow::<f32, Infallible>(&sampler, SEED, &trajectories(), |step, x, predicted| {
                shown.push((step, x.to_vec(), predicted.to_vec()));
                Ok(())
            })
            .unwrap();
        assert_eq!(shown.iter().map(|step| step.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let samples: Vec<u32> = trajectories().iter().map(|trajectory| trajectory.sample).collect();
        assert!(shown[0].1 == mixture.noise::<f32>(SEED, &samples, 0));
        let schedule = ScheduleConfig { num_train_timesteps: 20, beta_end: 0.3, ..ScheduleConfig::default() };
        let bars = schedule.alphas_cumprod();
        for (step, x, predicted) in &shown {
            let image = sampler.predicted_image(*step, x, predicted);
            let bar = bars[sampler.timestep(*step)];
            for ((image, noise), x) in image.iter().zip(predicted).zip(x) {
                let again = bar.sqrt() * f64::from(*image) + (1.0 - bar).sqrt() * f64::from(*noise);
                // The image may be a hundred times as large as what is left of it at the first step.
                assert!((again - f64::from(*x)).abs() < 1e-5 * (1.0 + f64::from(x.abs())), "{again} and {x}");
            }
        }
        let (step, x, predicted) = shown.last().unwrap();
        let last = sampler.predicted_image(*step, x, predicted);
        assert_eq!(last.len(), trajectories().len() * length);
        for (a, b) in last.iter().zip(&images) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{a} and {b} by {kind:?}");
        }
    }
}

#[test]
fn recorded_noise() {
    let noise = |seed, sample, place| {
        let mut noise = vec![0.0f32; 5000];
        Sampler::noise(seed, sample, place, &mut noise);
        noise
    };
    let first = noise(1, 2, 3);
    assert_eq!(first, noise(1, 2, 3));
    for other in [noise(2, 2, 3), noise(1, 3, 3), noise(1, 2, 4)] {
        assert_ne!(first, other);
        // Uncorrelated: the mean product of 5000 pairs has a standard deviation of 0.014.
        let product: f32 = first.iter().zip(&other).map(|(a, b)| a * b).sum::<f32>() / 5000.0;
        assert!(product.abs() < 5.0 * 0.015, "{product}");
    }
    let variance = first.iter().map(|value| value * value).sum::<f32>() / 5000.0;
    assert!((variance - 1.0).abs() < 5.0 * 0.02, "{variance}");
}

/// A network with every feature that a tangent passes through.
fn architectures() -> Vec<Architecture> {
    let config = tiny_config();
    let variants = [
        config.clone(),
        UnetConfig { center_input_sample: true, mid_block_scale_factor: 1.5, ..config.clone() },
        UnetConfig {
            downsample_padding: 0,
            freq_shift: 1.0,
            flip_sin_to_cos: false,
            add_attention: false,
            ..config.clone()
        },
        UnetConfig {
            resnet_time_scale_shift: "scale_shift".into(),
            attn_norm_num_groups: Some(4),
            in_channels: 2,
            ..config
        },
    ];
    variants.iter().map(|config| Architecture::new(config).unwrap()).collect()
}

/// Central differences with step 1e-4 are off by about 1e-8 times a third derivative, plus 1e-12 of rounding.
#[test]
fn tangents_in_f64() {
    for (number, architecture) in architectures().iter().enumerate() {
        for batch in [1, 5, 64] {
            let mixture = mixture_of::<f64>(architecture, &[7], batch);
            let length = mixture.image_length();
            let (images, directions) = (3, 2);
            let x = wide(&normals(1, images * length));
            let u = wide(&normals(2, images * directions * length));
            let (output, along) = mixture.predict_with_tangents(0, &x, &u, directions, 13);
            let of_output = output.len() / images;
            assert_eq!(output, mixture.predict(0, &x, 13), "the primal is the plain prediction");
            for direction in 0..directions {
                let picked: Vec<f64> = (0..images * length)
                    .map(|at| u[(at / length * directions + direction) * length + at % length])
                    .collect();
                let moved = |step: f64| -> Vec<f64> {
                    let moved: Vec<f64> = x.iter().zip(&picked).map(|(x, u)| x + step * u).collect();
                    mixture.predict(0, &moved, 13)
                };
                let (up, down) = (moved(1e-4), moved(-1e-4));
                let expected: Vec<f64> = up.iter().zip(&down).map(|(up, down)| (up - down) / 2e-4).collect();
                let found: Vec<f64> = (0..images * of_output)
                    .map(|at| along[(at / of_output * directions + direction) * of_output + at % of_output])
                    .collect();
                assert_close(&format!("network {number}, batch {batch}"), &found, &expected, 1e-6);
            }
        }
    }
}

/// In `f32` the derivative itself is compared with the one in `f64`, which differences confirm above; and once with
/// differences of the `f32` network, whose rounding (1e-6 of the output) over a step of 1e-2 leaves 1e-4, and whose
/// curvature leaves about as much.
#[test]
fn tangents_in_f32() {
    for architecture in &architectures() {
        let (fast, exact) =
            (mixture_of::<f32>(architecture, &[7], 8), mixture_of::<f64>(architecture, &[7], 8));
        let length = fast.image_length();
        let (x, u) = (normals(1, length), normals(2, 3 * length));
        let (output, along) = fast.predict_with_tangents(0, &x, &u, 3, 13);
        let (exact_output, exact_along) = exact.predict_with_tangents(0, &wide(&x), &wide(&u), 3, 13);
        assert_close("output", &wide(&output), &exact_output, 2e-5);
        assert_close("tangents", &wide(&along), &exact_along, 2e-5);
        let moved = |step: f32| -> Vec<f32> {
            let moved: Vec<f32> = x.iter().zip(&u).map(|(x, u)| x + step * u).collect();
            fast.predict(0, &moved, 13)
        };
        let (up, down) = (moved(1e-2), moved(-1e-2));
        let expected: Vec<f64> =
            up.iter().zip(&down).map(|(a, b)| (f64::from(*a) - f64::from(*b)) / 2e-2).collect();
        assert_close("differences", &wide(&along[..output.len()]), &expected, 2e-3);
    }
}

/// The number of directions in one call changes no byte, and none at all is the plain prediction.
#[test]
fn directions_do_not_see_each_other() {
    for batch in [1, 7] {
        let mixture = mixture(batch);
        let (x, u) = (normals(1, 2 * 16), normals(2, 2 * 3 * 16));
        let (output, together) = mixture.predict_with_tangents(1, &x, &u, 3, 4);
        for direction in 0..3 {
            let pick = |all: &[f32]| -> Vec<f32> {
                all.chunks_exact(16).skip(direction).step_by(3).flatten().copied().collect()
            };
            let (same, alone) = mixture.predict_with_tangents(1, &x, &pick(&u), 1, 4);
            assert_eq!((bits(&same), bits(&alone)), (bits(&output), bits(&pick(&together))));
        }
        let (plain, none) = mixture.predict_with_tangents(1, &x, &[], 0, 4);
        assert_eq!((bits(&plain), none), (bits(&output), Vec::new()));
    }
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let error = Mixture::new(tiny(), Vec::new(), 5, 4, 1).unwrap_err();
    assert!(
        error.to_string().contains("images of 5x4") && error.to_string().contains("multiples of 2"),
        "{error}"
    );
}

fn any_config() -> impl Strategy<Value = SamplingConfig> {
    (
        1usize..=20,
        prop::sample::select(vec![TimestepSpacing::Linspace, TimestepSpacing::Leading]),
        prop::sample::select(vec![SamplerKind::Ddpm, SamplerKind::Ddim]),
        prop::sample::select(vec![Variance::FixedSmall, Variance::FixedLarge, Variance::EncodedEnsemble]),
        any::<bool>(),
    )
        .prop_map(|(steps, spacing, sampler, variance, clip)| SamplingConfig {
            steps,
            spacing,
            sampler,
            variance,
            clip,
            ..SamplingConfig::default()
        })
}

proptest! {
    #![proptest_config(cases(300))]

    /// `advance_tangent` is the derivative of `advance`. Where the predicted image is clipped, the step is piecewise
    /// linear, so differences are exact away from the bends.
    #[test]
    fn a_step_and_its_derivative(config in any_config(), place in any::<prop::sample::Index>(), number in any::<u32>()) {
        let sampler = sampler(config);
        let step = place.index(sampler.len());
        let [x, eps, dx, deps, z] = [0, 1, 2, 3, 4].map(|part| wide(&normals(number.wrapping_add(part), 24)));
        let run = |h: f64| {
            let mut moved: Vec<f64> = x.iter().zip(&dx).map(|(x, dx)| x + h * dx).collect();
            let predicted: Vec<f64> = eps.iter().zip(&deps).map(|(eps, deps)| eps + h * deps).collect();
            sampler.advance(step, &mut moved, &predicted, &z);
            moved
        };
        let mut tangent = dx.clone();
        sampler.advance_tangent(step, &x, &eps, &mut tangent, &deps);
        let (up, middle, down) = (run(1e-6), run(0.0), run(-1e-6));
        for place in 0..x.len() {
            let (right, left) = ((up[place] - middle[place]) / 1e-6, (middle[place] - down[place]) / 1e-6);
            // At a bend the two sides differ, and the derivative is one of them.
            let error = (tangent[place] - right).abs().min((tangent[place] - left).abs());
            prop_assert!(error < 1e-7 * (1.0 + tangent[place].abs()) * 50.0, "{} {} {}", tangent[place], left, right);
        }
    }

    /// Variances and means of the ancestral step from their definitions (Ho et al. 2020, equations 6 and 7), and what
    /// clipping means: the predicted image stays in [-1, 1], except in the last step, which returns it as it is.
    #[test]
    fn a_step_is_that_of_the_papers(config in any_config(), place in any::<prop::sample::Index>(), number in any::<u32>()) {
        let sampler = sampler(config);
        let schedule = ScheduleConfig { num_train_timesteps: 20, beta_end: 0.3, ..ScheduleConfig::default() };
        let bars = schedule.alphas_cumprod();
        let step = place.index(sampler.len());
        let bar = bars[sampler.timestep(step)];
        let last = step + 1 == sampler.len();
        let previous = if last { 1.0 } else { bars[sampler.timestep(step + 1)] };
        let [x, eps, z] = [0, 1, 2].map(|part| wide(&normals(number.wrapping_add(part), 24)));
        let mut moved = x.clone();
        sampler.advance(step, &mut moved, &eps, &z);
        let alpha = bar / previous;
        let beta = 1.0 - alpha;
        for place in 0..x.len() {
            let mut image = (x[place] - (1.0 - bar).sqrt() * eps[place]) / bar.sqrt();
            if config.clip && !last {
                image = image.clamp(-1.0, 1.0);
            }
            let (mean, variance) = match config.sampler {
                SamplerKind::Ddim => (previous.sqrt() * image + (1.0 - previous).sqrt() * eps[place], 0.0),
                SamplerKind::Ddpm => {
                    let of_image = previous.sqrt() * beta / (1.0 - bar);
                    let of_x = alpha.sqrt() * (1.0 - previous) / (1.0 - bar);
                    let variance = match config.variance {
                        Variance::FixedSmall => (1.0 - previous) / (1.0 - bar) * beta,
                        Variance::FixedLarge => beta,
                        Variance::EncodedEnsemble => alpha * beta,
                    };
                    (of_image * image + of_x * x[place], if last { 0.0 } else { variance })
                }
            };
            let expected = mean + variance.sqrt() * z[place];
            let error = (moved[place] - expected).abs();
            prop_assert!(error < 1e-12 * (1.0 + expected.abs()), "{} instead of {expected}", moved[place]);
        }
        prop_assert_eq!(sampler.adds_noise(step), config.sampler == SamplerKind::Ddpm && !last);
    }
}

#[test]
fn steps_that_the_schedule_does_not_have() {
    let schedule = ScheduleConfig { num_train_timesteps: 20, ..ScheduleConfig::default() };
    for steps in [0, 21] {
        let error =
            Sampler::new(&schedule, SamplingConfig { steps, ..SamplingConfig::default() }).unwrap_err();
        assert!(error.to_string().contains("`steps`") && error.to_string().contains("1 to 20"), "{error}");
    }
}
