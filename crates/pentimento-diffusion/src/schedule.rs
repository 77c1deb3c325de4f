//! Noise schedules: betas over the training timesteps, and their respaced subsets.

use crate::DiffusionError;
use serde::{Deserialize, Serialize};

/// How the betas grow over the timesteps; the names are those of diffusers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly spaced from `beta_start` to `beta_end` (Ho et al. 2020).
    Linear,
    /// The square of evenly spaced square roots.
    ScaledLinear,
    /// From the squared cosine of Nichol and Dhariwal (2021), with betas of at most 0.999.
    #[serde(rename = "squaredcos_cap_v2", alias = "cosine")]
    Cosine,
}

/// Which noise schedule a model is trained with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Number of timesteps T.
    pub num_train_timesteps: usize,
    /// First beta; not used by the cosine schedule.
    pub beta_start: f64,
    /// Last beta; not used by the cosine schedule.
    pub beta_end: f64,
    /// Shape in between.
    pub beta_schedule: BetaSchedule,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
        }
    }
}

impl ScheduleConfig {
    /// Checks that the betas lie in (0, 1).
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] naming the key.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        let bad = |field: &str, value: String, bound: &str| DiffusionError::Config {
            file: "noise schedule".into(),
            field: field.into(),
            value,
            bound: bound.into(),
        };
        if !(1..=1_000_000).contains(&self.num_train_timesteps) {
            return Err(bad(
                "num_train_timesteps",
                self.num_train_timesteps.to_string(),
                "1 to 1,000,000 timesteps",
            ));
        }
        for (field, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            if !(beta > 0.0 && beta < 1.0) {
                return Err(bad(field, beta.to_string(), "a beta lies between 0 and 1"));
            }
        }
        // Samplers divide by the root of the last cumulative alpha.
        let last = self.alphas_cumprod().last().copied().unwrap_or(0.0);
        if last < 1e-30 {
            let bound = "so small that alphas_cumprod stays above 1e-30 over all timesteps";
            return Err(bad("beta_end", self.beta_end.to_string(), bound));
        }
        Ok(())
    }

    /// The betas, `[num_train_timesteps]`.
    pub fn betas(&self) -> Vec<f64> {
        let steps = self.num_train_timesteps;
        let evenly = |from: f64, to: f64, index: usize| {
            if steps == 1 { from } else { from + (to - from) * index as f64 / (steps - 1) as f64 }
        };
        match self.beta_schedule {
            BetaSchedule::Linear => (0..steps).map(|t| evenly(self.beta_start, self.beta_end, t)).collect(),
            BetaSchedule::ScaledLinear => {
                let roots = (self.beta_start.sqrt(), self.beta_end.sqrt());
                (0..steps).map(|t| evenly(roots.0, roots.1, t)).map(|root| root * root).collect()
            }
            BetaSchedule::Cosine => {
                let bar = |at: f64| {
                    let cosine = libm::cos((at + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2);
                    cosine * cosine
                };
                let at = |t: usize| t as f64 / steps as f64;
                (0..steps).map(|t| (1.0 - bar(at(t + 1)) / bar(at(t))).min(0.999)).collect()
            }
        }
    }

    /// Products of `1 - beta` up to and including each timestep, `[num_train_timesteps]`.
    pub fn alphas_cumprod(&self) -> Vec<f64> {
        self.betas()
            .into_iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect()
    }
}

/// Which timesteps a shorter sampler visits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// `round(linspace(0, T - 1, S))`, a half to even as NumPy rounds: first and last timestep included.
    #[default]
    Linspace,
    /// `k * (T / S)`: the default of diffusers.
    Leading,
}

/// The timesteps of a sampler with what each step needs, in increasing order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Respaced {
    /// Timesteps, increasing.
    pub timesteps: Vec<usize>,
    /// Cumulative alpha at each timestep.
    pub alphas_cumprod: Vec<f64>,
    /// Cumulative alpha at the timestep before (1 before the first).
    pub previous: Vec<f64>,
}

impl Respaced {
    /// A subset of `steps` timesteps; `steps = T` is all of them.
    ///
    /// The alphas of the shorter chain are ratios of the cumulative ones, so its betas are `1 - abar_i / abar_(i-1)`
    /// (Nichol and Dhariwal 2021, section 4).
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if `steps` is 0 or more than T.
    pub fn new(
        config: &ScheduleConfig,
        steps: usize,
        spacing: TimestepSpacing,
    ) -> Result<Self, DiffusionError> {
        config.validate()?;
        let total = config.num_train_timesteps;
        if steps == 0 || steps > total {
            return Err(DiffusionError::Config {
                file: "sampling".into(),
                field: "steps".into(),
                value: steps.to_string(),
                bound: format!("1 to {total} steps, the timesteps of the noise schedule"),
            });
        }
        let timesteps: Vec<usize> = match spacing {
            TimestepSpacing::Linspace if steps == 1 => vec![total - 1],
            TimestepSpacing::Linspace => {
                let gap = (total - 1) as f64 / (steps - 1) as f64;
                (0..steps).map(|index| (index as f64 * gap).round_ties_even() as usize).collect()
            }
            TimestepSpacing::Leading => (0..steps).map(|index| index * (total / steps)).collect(),
        };
        let bar = config.alphas_cumprod();
        let alphas_cumprod: Vec<f64> = timesteps.iter().map(|&t| bar[t]).collect();
        let previous = std::iter::once(1.0).chain(alphas_cumprod.iter().copied()).take(steps).collect();
        Ok(Self { timesteps, alphas_cumprod, previous })
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.timesteps.len()
    }

    /// Whether there is no step; never for a schedule made by [`Respaced::new`].
    pub fn is_empty(&self) -> bool {
        self.timesteps.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn respacing_to_all_timesteps_changes_nothing() {
        let config = ScheduleConfig::default();
        let betas = config.betas();
        for spacing in [TimestepSpacing::Linspace, TimestepSpacing::Leading] {
            let all = Respaced::new(&config, 1000, spacing).unwrap();
            assert_eq!(all.timesteps, (0..1000).collect::<Vec<_>>());
            for ((bar, previous), beta) in all.alphas_cumprod.iter().zip(&all.previous).zip(&betas) {
                assert!((1.0 - bar / previous - beta).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn known_ends_of_the_schedules() {
        let linear = ScheduleConfig::default().betas();
        assert!((linear[0] - 1e-4).abs() < 1e-15 && (linear[999] - 0.02).abs() < 1e-15);
        let cosine = ScheduleConfig { beta_schedule: BetaSchedule::Cosine, ..Default::default() }.betas();
        // Nichol and Dhariwal's clip is reached at the end only.
        assert!(cosine[0] < 1e-4 && cosine[999] == 0.999 && cosine[900] < 0.1);
        let scaled = ScheduleConfig {
            beta_schedule: BetaSchedule::ScaledLinear,
            beta_start: 0.01,
            beta_end: 0.09,
            num_train_timesteps: 3,
        }
        .betas();
        for (beta, expected) in scaled.iter().zip([0.01, 0.04, 0.09]) {
            assert!((beta - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn too_many_steps_are_refused() {
        let error = Respaced::new(&ScheduleConfig::default(), 1001, TimestepSpacing::Linspace).unwrap_err();
        assert!(error.to_string().contains("1001") && error.to_string().contains("1000"), "{error}");
        assert!(Respaced::new(&ScheduleConfig::default(), 0, TimestepSpacing::Leading).is_err());
    }
}
