//! Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019), as PyTorch computes them.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Settings of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of the squared gradients.
    pub beta2: f64,
    /// Added to the root of the squared gradients.
    pub epsilon: f64,
    /// Decoupled weight decay (AdamW); zero is Adam.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// The running means of one network.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    config: AdamConfig,
    /// Mean of the gradients, one vector per parameter.
    pub(crate) means: Vec<Vec<f32>>,
    /// Mean of the squared gradients, one vector per parameter.
    pub(crate) squares: Vec<Vec<f32>>,
}

impl Adam {
    /// Means of zero for parameters of these lengths.
    pub fn new(config: AdamConfig, lengths: impl IntoIterator<Item = usize>) -> Self {
        let means: Vec<Vec<f32>> = lengths.into_iter().map(|length| vec![0.0; length]).collect();
        Self { config, squares: means.clone(), means }
    }

    /// One update; `step` counts from 1.
    ///
    /// # Panics
    ///
    /// If parameters and gradients have not the lengths of this optimiser.
    pub fn update(
        &mut self,
        step: usize,
        learning_rate: f64,
        parameters: &mut [Vec<f32>],
        gradients: &[impl AsRef<[f32]> + Sync],
    ) {
        let Self { config, means, squares } = self;
        let correction1 = 1.0 - libm::pow(config.beta1, step as f64);
        let correction2 = (1.0 - libm::pow(config.beta2, step as f64)).sqrt();
        let (beta1, beta2) = (config.beta1 as f32, config.beta2 as f32);
        let (keep1, keep2) = ((1.0 - config.beta1) as f32, (1.0 - config.beta2) as f32);
        let decay = (1.0 - learning_rate * config.weight_decay) as f32;
        let step_size = (learning_rate / correction1) as f32;
        let (inverse2, epsilon) = ((1.0 / correction2) as f32, config.epsilon as f32);
        assert_eq!(parameters.len(), gradients.len());
        parameters.par_iter_mut().zip(gradients).zip(means).zip(squares).for_each(
            |(((values, gradient), mean), square)| {
                let gradient = gradient.as_ref();
                assert_eq!((values.len(), mean.len()), (gradient.len(), gradient.len()));
                for (((value, &g), m), v) in values.iter_mut().zip(gradient).zip(mean).zip(square) {
                    *m = beta1 * *m + keep1 * g;
                    *v = beta2 * *v + keep2 * g * g;
                    *value = decay * *value - step_size * (*m / (v.sqrt() * inverse2 + epsilon));
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The update formula of the AdamW paper in f64, written out on its own.
    #[test]
    fn follows_the_paper() {
        let config = AdamConfig { weight_decay: 0.1, ..AdamConfig::default() };
        let mut adam = Adam::new(config, [1]);
        let mut parameters = vec![vec![1.0f32]];
        let (mut theta, mut m, mut v) = (1.0f64, 0.0f64, 0.0f64);
        for step in 1..=50 {
            let g = (step % 7) as f64 - 3.0;
            let rate = 0.01 / step as f64;
            adam.update(step, rate, &mut parameters, &[vec![g as f32]]);
            theta -= rate * config.weight_decay * theta;
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (m_hat, v_hat) =
                (m / (1.0 - 0.9f64.powi(step as i32)), v / (1.0 - 0.999f64.powi(step as i32)));
            theta -= rate * m_hat / (v_hat.sqrt() + 1e-8);
            assert!((f64::from(parameters[0][0]) - theta).abs() < 1e-5, "step {step}");
        }
    }

    #[test]
    fn the_first_step_is_the_learning_rate() {
        let mut adam = Adam::new(AdamConfig::default(), [2]);
        let mut parameters = vec![vec![0.0f32, 0.0]];
        adam.update(1, 0.5, &mut parameters, &[vec![1e-3, -42.0]]);
        assert!((parameters[0][0] + 0.5).abs() < 1e-4 && (parameters[0][1] - 0.5).abs() < 1e-4);
    }
}
