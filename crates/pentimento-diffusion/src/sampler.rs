//! One denoising step and its derivative, on recorded exogenous noise.

use crate::DiffusionError;
use crate::schedule::{Respaced, ScheduleConfig, TimestepSpacing};
use crate::unet::Precision;
use pentimento_noise::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// The update rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// Ancestral sampling, Algorithm 2 of Ho et al. (2020): noise is added after each step but the last.
    #[default]
    Ddpm,
    /// Song et al. (2021) with eta 0: no noise after the start.
    Ddim,
}

/// Variance of the noise of an ancestral step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variance {
    /// `beta_t (1 - abar_(t-1)) / (1 - abar_t)`: that of the posterior.
    #[default]
    FixedSmall,
    /// `beta_t`.
    FixedLarge,
    /// `alpha_t beta_t`, as the released code of Dai and Gifford (2023) has it.
    EncodedEnsemble,
}

/// How samples are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Number of denoising steps; as many as the noise schedule has timesteps, or fewer.
    pub steps: usize,
    /// Which timesteps a shorter sampler visits.
    pub spacing: TimestepSpacing,
    /// The update rule.
    pub sampler: SamplerKind,
    /// Variance of an ancestral step.
    pub variance: Variance,
    /// Whether the predicted image is clipped to [-1, 1] in each step but the last.
    pub clip: bool,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            steps: 50,
            spacing: TimestepSpacing::default(),
            sampler: SamplerKind::default(),
            variance: Variance::default(),
            clip: true,
        }
    }
}

/// The coefficients of every step.
#[derive(Clone, Debug)]
pub struct Sampler {
    respaced: Respaced,
    steps: Vec<StepCoefficients>,
}

/// `x0 = image * x + noise_to_image * eps`, then `next = from_image * x0 + from_x * x + from_eps * eps + sigma * z`.
#[derive(Clone, Copy, Debug)]
struct StepCoefficients {
    image: f64,
    noise_to_image: f64,
    from_image: f64,
    from_x: f64,
    from_eps: f64,
    sigma: f64,
    clip: bool,
}

impl Sampler {
    /// The sampler of a noise schedule.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for a number of steps that the schedule does not have.
    pub fn new(schedule: &ScheduleConfig, config: SamplingConfig) -> Result<Self, DiffusionError> {
        let respaced = Respaced::new(schedule, config.steps, config.spacing)?;
        let steps = respaced
            .alphas_cumprod
            .iter()
            .zip(&respaced.previous)
            .enumerate()
            .map(|(index, (&bar, &previous))| {
                let alpha = bar / previous;
                let beta = 1.0 - alpha;
                let (from_image, from_x, from_eps, variance) = match config.sampler {
                    SamplerKind::Ddpm => {
                        let variance = match config.variance {
                            Variance::FixedSmall => beta * (1.0 - previous) / (1.0 - bar),
                            Variance::FixedLarge => beta,
                            Variance::EncodedEnsemble => alpha * beta,
                        };
                        let of_image = previous.sqrt() * beta / (1.0 - bar);
                        (of_image, alpha.sqrt() * (1.0 - previous) / (1.0 - bar), 0.0, variance)
                    }
                    SamplerKind::Ddim => (previous.sqrt(), 0.0, (1.0 - previous).sqrt(), 0.0),
                };
                StepCoefficients {
                    image: 1.0 / bar.sqrt(),
                    noise_to_image: -((1.0 - bar) / bar).sqrt(),
                    from_image,
                    from_x,
                    from_eps,
                    // No noise after the last step, which is the first in time.
                    sigma: if index == 0 { 0.0 } else { variance.sqrt() },
                    // The last step returns the predicted image itself, which whoever shows it clamps anyway. Left
                    // unclipped, its derivative stays whole, and clamping can follow a linear step.
                    clip: config.clip && index != 0,
                }
            })
            .collect();
        Ok(Self { respaced, steps })
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is no step; never for a sampler made by [`Sampler::new`].
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The timestep of the `step`-th denoising step, counted from the noisiest.
    pub fn timestep(&self, step: usize) -> usize {
        self.respaced.timesteps[self.len() - 1 - step]
    }

    /// The recorded noise of a sample: `place` 0 is the starting image, `place` k is added after step k.
    pub fn noise<T: Precision>(seed: u64, sample: u32, place: usize, output: &mut [T]) {
        let stream = Stream::new(seed, Purpose::SampleNoise, sample, place as u32);
        let mut normals = vec![0.0f32; output.len()];
        stream.fill_normal(&mut normals);
        for (target, normal) in output.iter_mut().zip(normals) {
            *target = T::of(f64::from(normal));
        }
    }

    /// Moves `x` one step on, given the predicted noise at it and the recorded noise (unused where sigma is 0).
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    pub fn advance<T: Precision>(&self, step: usize, x: &mut [T], predicted: &[T], noise: &[T]) {
        let c = self.steps[self.len() - 1 - step];
        assert!(x.len() == predicted.len() && x.len() == noise.len(), "lengths of a denoising step");
        let of = |value: f64| T::of(value);
        let (image, to_image, from_image) = (of(c.image), of(c.noise_to_image), of(c.from_image));
        let (from_x, from_eps, sigma) = (of(c.from_x), of(c.from_eps), of(c.sigma));
        for ((x, &eps), &z) in x.iter_mut().zip(predicted).zip(noise) {
            let mut x0 = image * *x + to_image * eps;
            if c.clip {
                x0 = clamp(x0);
            }
            *x = from_image * x0 + from_x * *x + from_eps * eps + sigma * z;
        }
    }

    /// Whether recorded noise is added after this step.
    pub fn adds_noise(&self, step: usize) -> bool {
        self.steps[self.len() - 1 - step].sigma != 0.0
    }

    /// Moves `tangent`, the derivative of `x` along some direction, one step on. `x` and `predicted` are those before
    /// the step; `predicted_tangent` is the derivative of the predicted noise. The noise has none. Where the predicted
    /// image is clipped its derivative is zero.
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    pub fn advance_tangent<T: Precision>(
        &self,
        step: usize,
        x: &[T],
        predicted: &[T],
        tangent: &mut [T],
        predicted_tangent: &[T],
    ) {
        let c = self.steps[self.len() - 1 - step];
        let same = tangent.len();
        assert!(
            [x.len(), predicted.len(), predicted_tangent.len()] == [same; 3],
            "lengths of a tangent step"
        );
        let of = |value: f64| T::of(value);
        let (image, to_image, from_image) = (of(c.image), of(c.noise_to_image), of(c.from_image));
        let (from_x, from_eps, one) = (of(c.from_x), of(c.from_eps), of(1.0));
        for (((dx, &deps), &x), &eps) in tangent.iter_mut().zip(predicted_tangent).zip(x).zip(predicted) {
            let x0 = image * x + to_image * eps;
            let clipped = c.clip && (x0 < -one || x0 > one);
            let dx0 = if clipped { of(0.0) } else { image * *dx + to_image * deps };
            *dx = from_image * dx0 + from_x * *dx + from_eps * deps;
        }
    }
}

/// Clamps to [-1, 1], the range of images. NaN stays NaN, so that a broken network is seen.
pub fn clamp<T: Precision>(value: T) -> T {
    let one = T::of(1.0);
    if value > one {
        one
    } else if value < -one {
        -one
    } else {
        value
    }
}
