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
    /// From `beta_start` to `beta_end` by the logistic function between -6 and 6 (GeoDiff, Xu et al. 2022).
    Sigmoid,
    /// Laplace-distributed logarithms of the signal-to-noise ratio (Hang and Gu 2024), with betas of at most 0.999.
    Laplace,
    /// From cumulative alphas of `exp(-12 t / T)`.
    #[serde(rename = "exp")]
    Exponential,
}

impl BetaSchedule {
    /// Every schedule.
    pub const ALL: [Self; 6] =
        [Self::Linear, Self::ScaledLinear, Self::Cosine, Self::Sigmoid, Self::Laplace, Self::Exponential];

    /// What diffusers and recipes call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::ScaledLinear => "scaled_linear",
            Self::Cosine => "squaredcos_cap_v2",
            Self::Sigmoid => "sigmoid",
            Self::Laplace => "laplace",
            Self::Exponential => "exp",
        }
    }
}

/// What a network's output stands for; the names are those of diffusers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise (Ho et al. 2020).
    #[default]
    Epsilon,
    /// The image without noise.
    Sample,
    /// `sqrt(abar) eps - sqrt(1 - abar) x0` (Salimans and Ho 2022).
    VPrediction,
}

impl PredictionType {
    /// Everything that an output may stand for.
    pub const ALL: [Self; 3] = [Self::Epsilon, Self::Sample, Self::VPrediction];

    /// What diffusers and recipes call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Sample => "sample",
            Self::VPrediction => "v_prediction",
        }
    }

    /// The factors of the image and of the noise in what the network is trained to give at a cumulative alpha.
    pub fn target(self, alpha_cumprod: f64) -> [f64; 2] {
        match self {
            Self::Epsilon => [0.0, 1.0],
            Self::Sample => [1.0, 0.0],
            Self::VPrediction => [-(1.0 - alpha_cumprod).sqrt(), alpha_cumprod.sqrt()],
        }
    }
}

/// Which noise schedule a model is trained with.
///
/// Keys that most models do not need are written out only if they say something, so that what an earlier version of this
/// program identified by its schedule keeps its identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// Number of timesteps T.
    pub num_train_timesteps: usize,
    /// First beta; not used by the schedules `squaredcos_cap_v2`, `laplace` and `exp`.
    pub beta_start: f64,
    /// Last beta; not used by the same schedules.
    pub beta_end: f64,
    /// Shape in between.
    pub beta_schedule: BetaSchedule,
    /// The betas themselves, one per timestep, instead of all of the above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_betas: Option<Vec<f64>>,
    /// Shift and scale the betas so that nothing of the image is left at the last timestep (Lin et al. 2023, Algorithm 1).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rescale_betas_zero_snr: bool,
    /// What the network's output stands for.
    #[serde(skip_serializing_if = "is_default")]
    pub prediction_type: PredictionType,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            trained_betas: None,
            rescale_betas_zero_snr: false,
            prediction_type: PredictionType::Epsilon,
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
        if let Some(betas) = &self.trained_betas {
            if betas.len() != self.num_train_timesteps {
                let bound = format!("as many as num_train_timesteps, {}", self.num_train_timesteps);
                return Err(bad("trained_betas", format!("a list of {}", betas.len()), &bound));
            }
            if let Some(beta) = betas.iter().find(|&&beta| !(beta > 0.0 && beta < 1.0)) {
                return Err(bad("trained_betas", beta.to_string(), "a beta lies between 0 and 1"));
            }
        }
        if self.rescale_betas_zero_snr {
            // What the noise is cannot be told from the image where nothing of the image is left, and the other way round.
            if self.prediction_type == PredictionType::Epsilon {
                let bound = "only with prediction_type = \"v_prediction\" or \"sample\": at the last timestep there is \
                             nothing but noise, so that its prediction says nothing of the image";
                return Err(bad("rescale_betas_zero_snr", "true".into(), bound));
            }
            return Ok(());
        }
        // Samplers divide by the root of the last cumulative alpha.
        let last = self.alphas_cumprod().last().copied().unwrap_or(0.0);
        if last < 1e-30 {
            let bound = "so small that alphas_cumprod stays above 1e-30 over all timesteps";
            return Err(bad("beta_end", self.beta_end.to_string(), bound));
        }
        Ok(())
    }

    /// The betas before any rescaling, `[num_train_timesteps]`.
    pub fn betas(&self) -> Vec<f64> {
        let steps = self.num_train_timesteps;
        let evenly = |from: f64, to: f64, index: usize| {
            if steps == 1 { from } else { from + (to - from) * index as f64 / (steps - 1) as f64 }
        };
        if let Some(betas) = &self.trained_betas {
            return betas.clone();
        }
        match self.beta_schedule {
            BetaSchedule::Linear => (0..steps).map(|t| evenly(self.beta_start, self.beta_end, t)).collect(),
            BetaSchedule::ScaledLinear => {
                let roots = (self.beta_start.sqrt(), self.beta_end.sqrt());
                (0..steps).map(|t| evenly(roots.0, roots.1, t)).map(|root| root * root).collect()
            }
            BetaSchedule::Cosine => betas_for_alpha_bar(steps, |at| {
                let cosine = libm::cos((at + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2);
                cosine * cosine
            }),
            BetaSchedule::Laplace => betas_for_alpha_bar(steps, |at| {
                let from_middle = 0.5 - at;
                let log_snr = -0.5f64.copysign(from_middle) * libm::log(1.0 - 2.0 * from_middle.abs() + 1e-6);
                let snr = libm::exp(log_snr);
                (snr / (1.0 + snr)).sqrt()
            }),
            BetaSchedule::Exponential => betas_for_alpha_bar(steps, |at| libm::exp(-12.0 * at)),
            BetaSchedule::Sigmoid => {
                let logistic = |x: f64| 1.0 / (1.0 + libm::exp(-x));
                let span = self.beta_end - self.beta_start;
                (0..steps).map(|t| logistic(evenly(-6.0, 6.0, t)) * span + self.beta_start).collect()
            }
        }
    }

    /// Products of `1 - beta` up to and including each timestep, `[num_train_timesteps]`.
    pub fn alphas_cumprod(&self) -> Vec<f64> {
        let mut products: Vec<f64> = self
            .betas()
            .into_iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        if self.rescale_betas_zero_snr
            && let (Some(first), Some(last)) = (products.first().copied(), products.last().copied())
        {
            // The roots go down to zero in a straight line from the first, which stays what it is.
            let (first, last) = (first.sqrt(), last.sqrt());
            for product in &mut products {
                let root = (product.sqrt() - last) * (first / (first - last));
                *product = root * root;
            }
        }
        products
    }
}

/// The betas whose cumulative alphas follow a function of the time from 0 to 1, each at most 0.999.
fn betas_for_alpha_bar(steps: usize, alpha_bar: impl Fn(f64) -> f64) -> Vec<f64> {
    let at = |t: usize| t as f64 / steps as f64;
    (0..steps).map(|t| (1.0 - alpha_bar(at(t + 1)) / alpha_bar(at(t))).min(0.999)).collect()
}

/// Which timesteps a shorter sampler visits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// `round(linspace(0, T - 1, S))`, a half to even as NumPy rounds: first and last timestep included.
    #[default]
    Linspace,
    /// `k * (T / S)`, plus an offset: the default of diffusers.
    Leading,
    /// `round(T - k T / S) - 1`, a half to even, with the roundings of NumPy's `arange`: the last timestep included.
    Trailing,
}

impl TimestepSpacing {
    /// Every spacing.
    pub const ALL: [Self; 3] = [Self::Linspace, Self::Leading, Self::Trailing];

    /// What diffusers and recipes call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linspace => "linspace",
            Self::Leading => "leading",
            Self::Trailing => "trailing",
        }
    }
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
    /// A subset of `steps` timesteps; `steps = T` is all of them. `offset` is added to each timestep of
    /// [`TimestepSpacing::Leading`].
    ///
    /// The alphas of the shorter chain are ratios of the cumulative ones, so its betas are `1 - abar_i / abar_(i-1)`
    /// (Nichol and Dhariwal 2021, section 4).
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if `steps` is 0 or more than T, or the offset leads out of the schedule.
    pub fn new(
        config: &ScheduleConfig,
        steps: usize,
        spacing: TimestepSpacing,
        offset: usize,
    ) -> Result<Self, DiffusionError> {
        config.validate()?;
        let total = config.num_train_timesteps;
        let bad = |field: &str, value: usize, bound: String| {
            let (file, field, value) = ("sampling".into(), field.into(), value.to_string());
            Err(DiffusionError::Config { file, field, value, bound })
        };
        if steps == 0 || steps > total {
            return bad("steps", steps, format!("1 to {total} steps, the timesteps of the noise schedule"));
        }
        let room = total - 1 - (steps - 1) * (total / steps);
        if offset > 0 && spacing != TimestepSpacing::Leading {
            return bad("steps_offset", offset, "0, except with spacing = \"leading\"".into());
        }
        if offset > room {
            let bound =
                format!("at most {room}, so that the last of {steps} steps stays within {total} timesteps");
            return bad("steps_offset", offset, bound);
        }
        let timesteps: Vec<usize> = match spacing {
            TimestepSpacing::Linspace if steps == 1 => vec![total - 1],
            TimestepSpacing::Linspace => {
                let gap = (total - 1) as f64 / (steps - 1) as f64;
                (0..steps).map(|index| (index as f64 * gap).round_ties_even() as usize).collect()
            }
            TimestepSpacing::Leading => (0..steps).map(|index| index * (total / steps) + offset).collect(),
            TimestepSpacing::Trailing => {
                let from = total as f64;
                let gap = (from - from / steps as f64) - from;
                let at = |index: usize| (from + index as f64 * gap).round_ties_even() as usize;
                (0..steps).rev().map(|index| at(index).saturating_sub(1)).collect()
            }
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
        for spacing in TimestepSpacing::ALL {
            let all = Respaced::new(&config, 1000, spacing, 0).unwrap();
            assert_eq!(all.timesteps, (0..1000).collect::<Vec<_>>());
            for ((bar, previous), beta) in all.alphas_cumprod.iter().zip(&all.previous).zip(&betas) {
                assert!((1.0 - bar / previous - beta).abs() < 1e-12);
            }
        }
    }

    /// Recipes name values by serde, checkpoints by `name`.
    #[test]
    fn recipes_and_checkpoints_have_the_same_names() {
        fn by_serde<T: Serialize>(values: &[T]) -> serde_json::Value {
            serde_json::to_value(values).unwrap()
        }
        let named = |names: &[&str]| serde_json::json!(names);
        assert_eq!(by_serde(&BetaSchedule::ALL), named(&BetaSchedule::ALL.map(BetaSchedule::name)));
        assert_eq!(by_serde(&PredictionType::ALL), named(&PredictionType::ALL.map(PredictionType::name)));
        assert_eq!(by_serde(&TimestepSpacing::ALL), named(&TimestepSpacing::ALL.map(TimestepSpacing::name)));
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
            ..Default::default()
        }
        .betas();
        for (beta, expected) in scaled.iter().zip([0.01, 0.04, 0.09]) {
            assert!((beta - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn too_many_steps_are_refused() {
        let error =
            Respaced::new(&ScheduleConfig::default(), 1001, TimestepSpacing::Linspace, 0).unwrap_err();
        assert!(error.to_string().contains("1001") && error.to_string().contains("1000"), "{error}");
        assert!(Respaced::new(&ScheduleConfig::default(), 0, TimestepSpacing::Leading, 0).is_err());
    }
}
