//! One denoising step and its derivative, on recorded exogenous noise.

use crate::DiffusionError;
use crate::schedule::{PredictionType, Respaced, ScheduleConfig, TimestepSpacing, is_default};
use crate::unet::Precision;
use pentimento_noise::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// How the next image follows from an image and the noise that is predicted in it.
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
    /// Whether the predicted image is clipped in each step; in the last one whoever shows the image clamps it.
    pub clip: bool,
    /// It is clipped to [-range, range].
    #[serde(skip_serializing_if = "is_one")]
    pub clip_range: f64,
    /// Added to each timestep of the spacing `leading`.
    #[serde(skip_serializing_if = "is_default")]
    pub steps_offset: usize,
    /// Whether the last step of DDIM goes to an image without noise, as that of DDPM always does, or to the noise of
    /// timestep 0.
    #[serde(skip_serializing_if = "is_true")]
    pub set_alpha_to_one: bool,
}

// These three leave keys out of recipes and fingerprints that say nothing, see `ScheduleConfig`.
fn is_one(value: &f64) -> bool {
    *value == 1.0
}

fn is_true(value: &bool) -> bool {
    *value
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            steps: 50,
            spacing: TimestepSpacing::default(),
            sampler: SamplerKind::default(),
            variance: Variance::default(),
            clip: true,
            clip_range: 1.0,
            steps_offset: 0,
            set_alpha_to_one: true,
        }
    }
}

/// The coefficients of every step.
#[derive(Clone, Debug)]
pub struct Sampler {
    respaced: Respaced,
    steps: Vec<StepCoefficients>,
}

/// With the network's output f: `x0 = image * x + output_to_image * f`, clipped to the range if there is one, then
/// `next = from_image * x0 + from_x * x + from_output * f + sigma * z`.
#[derive(Clone, Copy, Debug)]
struct StepCoefficients {
    image: f64,
    output_to_image: f64,
    from_image: f64,
    from_x: f64,
    from_output: f64,
    sigma: f64,
    clip_range: Option<f64>,
}

impl StepCoefficients {
    /// The step from the cumulative alpha `bar` to that before it, `previous`.
    fn new(
        prediction: PredictionType,
        config: SamplingConfig,
        adds_noise: bool,
        bar: f64,
        previous: f64,
    ) -> Self {
        let [image, output_to_image] = match prediction {
            PredictionType::Epsilon => [1.0 / bar.sqrt(), -((1.0 - bar) / bar).sqrt()],
            PredictionType::Sample => [0.0, 1.0],
            PredictionType::VPrediction => [bar.sqrt(), -(1.0 - bar).sqrt()],
        };
        let alpha = bar / previous;
        let beta = 1.0 - alpha;
        let (from_image, from_x, from_output, variance) = match config.sampler {
            SamplerKind::Ddpm => {
                let variance = match config.variance {
                    Variance::FixedSmall => beta * (1.0 - previous) / (1.0 - bar),
                    Variance::FixedLarge => beta,
                    Variance::EncodedEnsemble => alpha * beta,
                };
                let of_image = previous.sqrt() * beta / (1.0 - bar);
                (of_image, alpha.sqrt() * (1.0 - previous) / (1.0 - bar), 0.0, variance)
            }
            SamplerKind::Ddim => {
                // The noise is that of the image before it is clipped.
                let [of_x, of_output] = match prediction {
                    PredictionType::Epsilon => [0.0, 1.0],
                    PredictionType::Sample => [1.0 / (1.0 - bar).sqrt(), -(bar / (1.0 - bar)).sqrt()],
                    PredictionType::VPrediction => [(1.0 - bar).sqrt(), bar.sqrt()],
                };
                let noise = (1.0 - previous).sqrt();
                (previous.sqrt(), noise * of_x, noise * of_output, 0.0)
            }
        };
        // The last step returns the predicted image itself, which whoever shows it clamps anyway. Left unclipped, its
        // derivative stays whole, and clamping can follow a linear step.
        let sigma = if adds_noise { variance.sqrt() } else { 0.0 };
        let is_clamped_later = previous == 1.0 && sigma == 0.0 && config.clip_range >= 1.0;
        Self {
            image,
            output_to_image,
            from_image,
            from_x,
            from_output,
            sigma,
            clip_range: (config.clip && !is_clamped_later).then_some(config.clip_range),
        }
    }
}

impl Sampler {
    /// The sampler of a noise schedule.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] for a number of steps that the schedule does not have, or another value out of bounds.
    pub fn new(schedule: &ScheduleConfig, config: SamplingConfig) -> Result<Self, DiffusionError> {
        if !(config.clip_range > 0.0 && config.clip_range.is_finite()) {
            return Err(DiffusionError::Config {
                file: "sampling".into(),
                field: "clip_range".into(),
                value: config.clip_range.to_string(),
                bound: "a positive number".into(),
            });
        }
        let mut respaced = Respaced::new(schedule, config.steps, config.spacing, config.steps_offset)?;
        if !config.set_alpha_to_one
            && config.sampler == SamplerKind::Ddim
            && let (Some(before), Some(&first)) =
                (respaced.previous.first_mut(), schedule.alphas_cumprod().first())
        {
            *before = first;
        }
        if config.sampler == SamplerKind::Ddim && config.spacing == TimestepSpacing::Trailing {
            // As diffusers steps, which is to the next timestep visited only where the number of steps divides T.
            let bars = schedule.alphas_cumprod();
            let gap = schedule.num_train_timesteps / config.steps;
            let last = if config.set_alpha_to_one { 1.0 } else { bars[0] };
            let before =
                |&timestep: &usize| timestep.checked_sub(gap).map_or(last, |timestep| bars[timestep]);
            respaced.previous = respaced.timesteps.iter().map(before).collect();
        }
        let steps = respaced
            .alphas_cumprod
            .iter()
            .zip(&respaced.previous)
            .enumerate()
            .map(|(index, (&bar, &previous))| {
                // No noise after the last step at timestep 0. Other spacings may end before it, where DDPM adds noise in diffusers.
                let adds_noise = index > 0 || (respaced.timesteps[0] > 0 && config.steps > 1);
                StepCoefficients::new(schedule.prediction_type, config, adds_noise, bar, previous)
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

    /// Moves `x` one step on, given the network's output at it and the recorded noise (unused where sigma is 0).
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    pub fn advance<T: Precision>(&self, step: usize, x: &mut [T], predicted: &[T], noise: &[T]) {
        let c = self.steps[self.len() - 1 - step];
        assert!(x.len() == predicted.len() && x.len() == noise.len(), "lengths of a denoising step");
        let of = |value: f64| T::of(value);
        let (image, to_image, from_image) = (of(c.image), of(c.output_to_image), of(c.from_image));
        let (from_x, from_output, sigma) = (of(c.from_x), of(c.from_output), of(c.sigma));
        let range = c.clip_range.map(of);
        for ((x, &output), &z) in x.iter_mut().zip(predicted).zip(noise) {
            let mut x0 = image * *x + to_image * output;
            if let Some(range) = range {
                x0 = clamp_to(x0, range);
            }
            *x = from_image * x0 + from_x * *x + from_output * output + sigma * z;
        }
    }

    /// The image that a step predicts from `x` and the networks' output, clipped as the step clips it.
    pub fn predicted_image<T: Precision>(&self, step: usize, x: &[T], predicted: &[T]) -> Vec<T> {
        let StepCoefficients { image, output_to_image, clip_range, .. } = self.steps[self.len() - 1 - step];
        let of = |(&x, &output): (&T, &T)| {
            let value = image * x.wide() + output_to_image * output.wide();
            T::of(clip_range.map_or(value, |range| value.clamp(-range, range)))
        };
        x.iter().zip(predicted).map(of).collect()
    }

    /// Whether recorded noise is added after this step.
    pub fn adds_noise(&self, step: usize) -> bool {
        self.steps[self.len() - 1 - step].sigma != 0.0
    }

    /// The gradient, in the networks' output, of the logarithm of the probability (density) with which a step from `x` goes
    /// where it went with the recorded noise; none for a step without noise, which has no density.
    ///
    /// With the mean of the step `mu` and its noise `sigma z` it is `z / sigma` times the derivative of `mu`, which is zero
    /// where the predicted image is clipped.
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    pub fn log_probability_gradient<T: Precision>(
        &self,
        step: usize,
        x: &[T],
        predicted: &[T],
        noise: &[T],
    ) -> Option<Vec<T>> {
        let c = self.steps[self.len() - 1 - step];
        assert!(x.len() == predicted.len() && x.len() == noise.len(), "lengths of a denoising step");
        let of = |((&x, &output), &z): ((&T, &T), &T)| {
            let x0 = c.image * x.wide() + c.output_to_image * output.wide();
            let clipped = c.clip_range.is_some_and(|range| x0 < -range || x0 > range);
            let of_image = if clipped { 0.0 } else { c.from_image * c.output_to_image };
            T::of(z.wide() / c.sigma * (of_image + c.from_output))
        };
        (c.sigma > 0.0).then(|| x.iter().zip(predicted).zip(noise).map(of).collect())
    }

    /// Moves `tangent`, the derivative of `x` along some direction, one step on. `x` and `predicted` are those before
    /// the step; `predicted_tangent` is the derivative of the network's output. The noise has none. Where the predicted
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
        let (image, to_image, from_image) = (of(c.image), of(c.output_to_image), of(c.from_image));
        let (from_x, from_output, range) = (of(c.from_x), of(c.from_output), c.clip_range.map(of));
        let values = tangent.iter_mut().zip(predicted_tangent).zip(x).zip(predicted);
        for (((dx, &of_output), &x), &output) in values {
            let x0 = image * x + to_image * output;
            let clipped = range.is_some_and(|range| x0 < -range || x0 > range);
            let dx0 = if clipped { of(0.0) } else { image * *dx + to_image * of_output };
            *dx = from_image * dx0 + from_x * *dx + from_output * of_output;
        }
    }
}

/// Clamps to [-1, 1], the range of images. NaN stays NaN, so that a broken network is seen.
pub fn clamp<T: Precision>(value: T) -> T {
    clamp_to(value, T::of(1.0))
}

/// Clamps to [-range, range]; NaN stays NaN.
fn clamp_to<T: Precision>(value: T, range: T) -> T {
    if value > range {
        range
    } else if value < -range {
        -range
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_noise::Stream;

    /// The gradient of a step's log-probability is that of its definition, by differences, for every variance and target.
    #[test]
    fn log_probabilities_have_the_gradient_of_their_definition() {
        let normals = |number: u32| {
            let mut values = vec![0.0f64; 6];
            let mut narrow = vec![0.0f32; 6];
            Stream::new(1, Purpose::Test, number, 0).fill_normal(&mut narrow);
            values.iter_mut().zip(narrow).for_each(|(to, from)| *to = f64::from(from));
            values
        };
        let predictions = [PredictionType::Epsilon, PredictionType::Sample, PredictionType::VPrediction];
        let variances = [Variance::FixedSmall, Variance::FixedLarge, Variance::EncodedEnsemble];
        for (prediction_type, variance) in
            predictions.into_iter().flat_map(|prediction| variances.map(|variance| (prediction, variance)))
        {
            let schedule = ScheduleConfig { prediction_type, ..ScheduleConfig::default() };
            let config = SamplingConfig { steps: 10, variance, clip: true, ..SamplingConfig::default() };
            let sampler = Sampler::new(&schedule, config).unwrap();
            for step in [0, 5, 8] {
                let [x, output, noise] = [0, 1, 2].map(normals);
                let advanced = |output: &[f64], noise: &[f64]| {
                    let mut x = x.clone();
                    sampler.advance(step, &mut x, output, noise);
                    x
                };
                let went_to = advanced(&output, &noise);
                let sigma = (went_to[0] - advanced(&output, &[0.0; 6])[0]) / noise[0];
                let log_probability = |output: &[f64]| -> f64 {
                    let mean = advanced(output, &[0.0; 6]);
                    mean.iter().zip(&went_to).map(|(mean, x)| -((x - mean) / sigma).powi(2) / 2.0).sum()
                };
                let gradient = sampler.log_probability_gradient(step, &x, &output, &noise).unwrap();
                for place in 0..6 {
                    let moved = |by: f64| {
                        let mut output = output.clone();
                        output[place] += by;
                        log_probability(&output)
                    };
                    let truth = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                    let scale = truth.abs().max(1e-3);
                    assert!(
                        (gradient[place] - truth).abs() < 1e-4 * scale,
                        "{prediction_type:?} {variance:?} step {step}"
                    );
                }
            }
            let none = sampler.log_probability_gradient(9, &[0.0; 6], &[0.0; 6], &[0.0; 6]);
            assert_eq!(none, None, "the last step is not random");
        }
    }
}
