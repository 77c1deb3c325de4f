//! What of a network's output is differentiated in the parameters.

use pentimento_diffusion::schedule::{PredictionType, ScheduleConfig};

/// A number that the network's output for one noisy image is turned into (Zheng et al. 2024 compare these and others).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// The mean square of what is wrong: the loss that networks are trained with.
    Loss,
    /// The loss with the weight that each timestep has in the bound on the likelihood (ELBO; Ho et al. 2020, equation 12).
    WeightedLoss,
    /// The mean square of the output (D-TRAK).
    Square,
    /// The mean of the output (DAS).
    Mean,
    /// The sum of the output's magnitudes.
    SumOfMagnitudes,
    /// The length of the output.
    Length,
    /// The largest magnitude in the output.
    LargestMagnitude,
}

impl Measurement {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::WeightedLoss => "weighted-loss",
            Self::Square => "square",
            Self::Mean => "mean",
            Self::SumOfMagnitudes => "sum-of-magnitudes",
            Self::Length => "length",
            Self::LargestMagnitude => "largest-magnitude",
        }
    }

    /// The weight of each timestep.
    ///
    /// That of the bound is, for a network that predicts noise, `beta_t / (2 alpha_t (1 - abar_t))` (with the sampler's
    /// variance `beta_t`); for one that predicts something else, what makes the same difference of images weigh the same.
    pub fn weights(self, schedule: &ScheduleConfig) -> Vec<f64> {
        let bars = schedule.alphas_cumprod();
        let weight = |(timestep, &bar): (usize, &f64)| {
            let before = if timestep == 0 { 1.0 } else { bars[timestep - 1] };
            // beta / alpha = (before - abar) / abar. An error d of the predicted image is one of d sqrt(abar / (1 - abar)) of
            // the noise, and one of d / sqrt(1 - abar) of v; so abar, which may end at zero, falls out of both.
            let change = (before - bar) / (2.0 * (1.0 - bar));
            match schedule.prediction_type {
                PredictionType::Epsilon => change / bar,
                PredictionType::Sample => change / (1.0 - bar),
                PredictionType::VPrediction => change,
            }
        };
        match self {
            Self::WeightedLoss => bars.iter().enumerate().map(weight).collect(),
            _ => vec![1.0; bars.len()],
        }
    }

    /// Gives `add` the derivative of the measurement in every place of the output, times `factor`. `output` and `target`,
    /// what the output should have been, are `[image]`.
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    pub(super) fn add_derivative(
        self,
        output: &[f64],
        target: &[f64],
        factor: f64,
        mut add: impl FnMut(usize, f64),
    ) {
        assert_eq!(output.len(), target.len(), "lengths of an output and its target");
        let of_mean = factor / output.len() as f64;
        let length = match self {
            Self::Length => output.iter().map(|value| value * value).sum::<f64>().sqrt(),
            _ => 1.0,
        };
        // The first of the largest; all others have no part in it.
        let largest = match self {
            Self::LargestMagnitude => {
                (0..output.len()).reduce(|a, b| if output[b].abs() > output[a].abs() { b } else { a })
            }
            _ => None,
        };
        for (place, (output, target)) in output.iter().zip(target).enumerate() {
            let sign = if *output == 0.0 { 0.0 } else { output.signum() };
            let derivative = match self {
                Self::Loss | Self::WeightedLoss => of_mean * (2.0 * (output - target)),
                Self::Square => of_mean * (2.0 * output),
                Self::Mean => of_mean * 1.0,
                Self::SumOfMagnitudes => factor * sign,
                Self::Length if length > 0.0 => factor * output / length,
                Self::LargestMagnitude if largest == Some(place) => factor * sign,
                Self::Length | Self::LargestMagnitude => 0.0,
            };
            add(place, derivative);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Derivatives against differences of what they are the derivatives of.
    #[test]
    fn derivatives_are_those_of_the_measurements() {
        let output = [0.3, -1.2, 0.7, 0.1, -0.4];
        let target = [0.1, 0.2, -0.3, 0.4, 0.9];
        let mean = |of: &dyn Fn(usize) -> f64| (0..5).map(of).sum::<f64>() / 5.0;
        let value = |measurement: Measurement, output: &[f64; 5]| match measurement {
            Measurement::Loss | Measurement::WeightedLoss => mean(&|k| (output[k] - target[k]).powi(2)),
            Measurement::Square => mean(&|k| output[k].powi(2)),
            Measurement::Mean => mean(&|k| output[k]),
            Measurement::SumOfMagnitudes => output.iter().map(|value| value.abs()).sum(),
            Measurement::Length => output.iter().map(|value| value * value).sum::<f64>().sqrt(),
            Measurement::LargestMagnitude => {
                output.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
            }
        };
        for measurement in [
            Measurement::Loss,
            Measurement::WeightedLoss,
            Measurement::Square,
            Measurement::Mean,
            Measurement::SumOfMagnitudes,
            Measurement::Length,
            Measurement::LargestMagnitude,
        ] {
            let mut derivative = [f64::NAN; 5];
            measurement.add_derivative(&output, &target, 3.0, |place, value| derivative[place] = value);
            for (place, found) in derivative.into_iter().enumerate() {
                let moved = |step: f64| {
                    let mut moved = output;
                    moved[place] += step;
                    value(measurement, &moved)
                };
                // Central differences: exact but for rounding and a third derivative of order one.
                let difference = 3.0 * (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!(
                    (found - difference).abs() < 1e-8,
                    "{measurement:?}, {place}: {found} and {difference}"
                );
            }
        }
        // No direction where there is none.
        for measurement in [Measurement::SumOfMagnitudes, Measurement::Length, Measurement::LargestMagnitude]
        {
            measurement.add_derivative(&[0.0; 3], &[1.0; 3], 1.0, |_, value| assert_eq!(value, 0.0));
        }
    }

    /// The weighted loss is a property of the predicted image, whatever the network predicts: an error of the image gives
    /// the same weighted loss through each of the three.
    #[test]
    fn the_weighted_loss_does_not_depend_on_what_is_predicted() {
        let of = |prediction_type| {
            let schedule = ScheduleConfig { prediction_type, ..ScheduleConfig::default() };
            Measurement::WeightedLoss.weights(&schedule)
        };
        let bars = ScheduleConfig::default().alphas_cumprod();
        for timestep in [0, 1, 10, 500, 999] {
            let bar = bars[timestep];
            // x fixed: eps = (x - sqrt(abar) x0) / sqrt(1 - abar), v = sqrt(abar) eps - sqrt(1 - abar) x0.
            let of_noise = -(bar / (1.0 - bar)).sqrt();
            let of_velocity = bar.sqrt() * of_noise - (1.0 - bar).sqrt();
            let losses = [
                of(PredictionType::Epsilon)[timestep] * of_noise * of_noise,
                of(PredictionType::Sample)[timestep],
                of(PredictionType::VPrediction)[timestep] * of_velocity * of_velocity,
            ];
            for loss in losses {
                assert!((loss / losses[0] - 1.0).abs() < 1e-9, "{losses:?} at {timestep}");
            }
        }
        let ends_in_noise = ScheduleConfig {
            prediction_type: PredictionType::VPrediction,
            rescale_betas_zero_snr: true,
            ..ScheduleConfig::default()
        };
        let weights = Measurement::WeightedLoss.weights(&ends_in_noise);
        assert!(weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0), "{:?}", &weights[990..]);
        // Ho et al., equation 12, at a timestep by hand: T = 1000, linear from 1e-4 to 0.02.
        let beta = |t: f64| 1e-4 + t * (0.02 - 1e-4) / 999.0;
        let bar: f64 = (0..=2).map(|t| 1.0 - beta(f64::from(t))).product();
        let truth = beta(2.0) / (2.0 * (1.0 - beta(2.0)) * (1.0 - bar));
        assert!((of(PredictionType::Epsilon)[2] / truth - 1.0).abs() < 1e-9);
    }
}
