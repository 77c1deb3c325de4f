//! What networks say on the way to a sample: the images they predict, and the probability of the sampler's steps.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../pentimento-diffusion/tests/common/golden_cases.rs"]
mod golden_cases;

use golden_cases::{golden_cases, golden_network, golden_schedule};
use pentimento_attribution::curvature::{trajectory_gradient, trajectory_steps};
use pentimento_attribution::gradient::journeys;
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::{Sampler, SamplerKind, SamplingConfig};
use pentimento_diffusion::unet::{Architecture, Parameters, Precision};
use pentimento_noise::{Purpose, Stream};
use std::convert::Infallible;

const SEED: u64 = 11;
const STEPS: usize = 5;

struct Case {
    architecture: Architecture,
    values: Vec<Vec<f64>>,
    sampler: Sampler,
    side: usize,
}

impl Case {
    /// The first golden network without classes.
    fn open(clip: bool) -> Self {
        let opened = golden_cases().into_iter().map(|case| (golden_network(&case, "unet"), case));
        let ((architecture, values), case) = opened
            .into_iter()
            .find(|((architecture, _), _)| architecture.config().classes().is_none())
            .unwrap();
        let values = values.iter().map(|one| one.iter().map(|&value| f64::from(value)).collect()).collect();
        let config =
            SamplingConfig { steps: STEPS, sampler: SamplerKind::Ddpm, clip, ..SamplingConfig::default() };
        let sampler = Sampler::new(&golden_schedule(&case), config).unwrap();
        let side = architecture.config().sample_size.unwrap().height;
        Self { architecture, values, sampler, side }
    }

    /// Its parameters, a step along a direction away.
    fn parameters<T: Precision>(&self, direction: &[f64], step: f64) -> Parameters {
        let mut direction = direction.iter();
        let mut moved = |value: &f64| T::of(value + step * direction.next().unwrap_or(&0.0));
        let values = self.values.iter().map(|one| one.iter().map(&mut moved).collect::<Vec<T>>()).collect();
        Parameters::from_memory::<T>(&self.architecture, values)
    }

    fn mixture<T: Precision>(&self, direction: &[f64], step: f64) -> Mixture {
        let parameters = vec![self.parameters::<T>(direction, step)];
        Mixture::new(self.architecture.clone(), parameters, self.side, self.side, 8).unwrap()
    }
}

/// Those of the first samples, of one network.
fn trajectories(samples: u32) -> Vec<Trajectory> {
    (0..samples).map(|sample| Trajectory { sample, weights: vec![1.0], condition: None }).collect()
}

/// The last step returns the predicted image, so a journey ends at its sample; predictions on the way are clipped if asked.
#[test]
fn a_journey_ends_at_the_sample() {
    let case = Case::open(false);
    let mixture = case.mixture::<f32>(&[], 0.0);
    let go_on = || Ok::<_, Infallible>(());
    let journey = journeys(&mixture, &case.sampler, SEED, &trajectories(2), None, go_on).unwrap();
    assert_eq!((journey.len(), journey[0].len()), (2, STEPS));
    let clipped = journeys(&mixture, &case.sampler, SEED, &trajectories(2), Some(0.25), go_on).unwrap();
    for (sample, images) in journey.iter().enumerate() {
        let trajectory = Trajectory { sample: sample as u32, weights: vec![1.0], condition: None };
        let end: Vec<f32> =
            mixture.sample(&case.sampler, SEED, &[trajectory], |_| Ok::<_, Infallible>(())).unwrap();
        let last = &images[STEPS - 1];
        let largest = end.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        for (found, truth) in last.iter().zip(&end) {
            assert!((found - truth).abs() < 1e-5 * largest, "{found} instead of {truth}");
        }
        for (image, clipped) in images.iter().zip(&clipped[sample]) {
            assert!(image.iter().zip(clipped).all(|(value, clipped)| value.clamp(-0.25, 0.25) == *clipped));
        }
    }
    let stopped = journeys(&mixture, &case.sampler, SEED, &trajectories(1), None, || Err("stop"));
    assert_eq!(stopped, Err("stop"));
}

/// Against finite differences in f64 of the density itself: along any direction, the gradient is minus the change of the sum
/// over steps of `-|x_next - mean|^2 / (2 sigma^2)` over the number of values.
#[test]
fn the_gradient_of_a_trajectory_is_that_of_its_probability() {
    let case = Case::open(false);
    let (sampler, size) = (&case.sampler, [case.side; 2]);
    let go_on = || Ok::<_, Infallible>(());
    let steps =
        trajectory_steps(&case.mixture::<f32>(&[], 0.0), sampler, SEED, &trajectories(2), go_on).unwrap();
    let steps = &steps[1];
    // All but the last have noise.
    assert_eq!(steps.len(), STEPS - 1);
    let gradient = |group: usize, groups: usize| {
        let parameters = case.parameters::<f32>(&[], 0.0);
        trajectory_gradient(&case.architecture, &parameters, steps, group, groups, size, &Condition::None)
    };
    let whole = gradient(0, 1);
    let mut direction = vec![0.0f64; whole.len()];
    Stream::new(3, Purpose::Test, 0, 0).fill_normal_f64(&mut direction);

    let change = 1e-6;
    let [before, after] = [-change, change].map(|change| case.mixture::<f64>(&direction, change));
    let mut truth = 0.0;
    for (step, at) in steps.iter().enumerate() {
        assert_eq!(at.timestep, sampler.timestep(step));
        let x: Vec<f64> = at.x.iter().map(|&value| f64::from(value)).collect();
        let mut noise = vec![0.0f64; x.len()];
        Sampler::noise(SEED, 1, step + 1, &mut noise);
        let next = |mixture: &Mixture, noise: &[f64]| {
            let mut next = x.clone();
            sampler.advance(step, &mut next, &mixture.predict(0, &x, at.timestep), noise);
            next
        };
        let still = vec![0.0; x.len()];
        let (low, high) = (next(&before, &still), next(&after, &still));
        // What the noise adds is sigma times the noise.
        let with_noise = next(&before, &noise);
        let squares = noise.iter().map(|z| z * z).sum::<f64>();
        let sigma =
            with_noise.iter().zip(&low).zip(&noise).map(|((a, b), z)| (a - b) * z).sum::<f64>() / squares;
        let moved = low.iter().zip(&high).map(|(low, high)| (high - low) / (2.0 * change));
        truth += moved.zip(&noise).map(|(moved, z)| moved * z / sigma).sum::<f64>() / x.len() as f64;
    }
    let found: f64 = whole.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
    // The gradient is of f32.
    assert!((found + truth).abs() < 1e-3 * truth.abs(), "{found} instead of {}", -truth);

    // Each group stands for all steps, so their mean is the whole; one without a step is zero.
    let mut mean = vec![0.0f64; whole.len()];
    for group in 0..3 {
        for (sum, value) in mean.iter_mut().zip(gradient(group, 3)) {
            *sum += f64::from(value) / 3.0;
        }
    }
    let largest = whole.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for (mean, whole) in mean.iter().zip(&whole) {
        assert!((mean - f64::from(*whole)).abs() < 1e-4 * f64::from(largest), "{mean} instead of {whole}");
    }
    assert!(gradient(6, 7).iter().all(|&value| value == 0.0));
}
