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
}

impl Measurement {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::WeightedLoss => "weighted-loss",
            Self::Square => "square",
            Self::Mean => "mean",
        }
    }

    /// The weight of each timestep.
    ///
    /// That of the bound is, for a network that predicts noise, `beta_t / (2 alpha_t (1 - abar_t))` (with the sampler's
    /// variance `beta_t`); for one that predicts something else, what makes the same difference of images weigh the same.
    pub(super) fn weights(self, schedule: &ScheduleConfig) -> Vec<f64> {
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
            Self::Loss | Self::Square | Self::Mean => vec![1.0; bars.len()],
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
        for (place, (output, target)) in output.iter().zip(target).enumerate() {
            add(
                place,
                of_mean
                    * match self {
                        Self::Loss | Self::WeightedLoss => 2.0 * (output - target),
                        Self::Square => 2.0 * output,
                        Self::Mean => 1.0,
                    },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
