//! Correlations, tests and intervals: what every figure of an evaluation is stated with, and what scores are compared by.
//!
//! # Undefined values
//!
//! A correlation with a constant vector has no value. Functions give `None` for it, never NaN, and
//! [`DefinedMean`] counts how many values a mean had to leave out. A NaN or an infinity in the data is an error.
//!
//! # Scores of training images
//!
//! [`linear_datamodelling`] holds scores against networks that were trained on subsets; [`ndcg_at`], [`precision_at`] and
//! [`recall_at`] hold their order against what is known to be relevant.

mod binomial_test;
mod bootstrap;
mod correlation_test;
mod defined_mean;
mod distance;
mod error;
pub mod linear_datamodelling;
mod mann_whitney;
mod ndcg;
mod normal_tail;
mod pearson;
mod ranking;
mod retrieval;
mod spearman;
mod student_t;
mod wilcoxon;
mod wilson;

pub use binomial_test::{BinomialTest, binomial_test_above};
pub use bootstrap::{bootstrap_mean, bootstrap_ratio};
pub use correlation_test::{CorrelationTest, correlation_test};
pub use defined_mean::DefinedMean;
pub use distance::euclidean_distance;
pub use error::StatisticsError;
pub use mann_whitney::{MannWhitney, mann_whitney};
pub use ndcg::{Gain, ndcg_at};
pub use pearson::pearson;
pub use retrieval::{precision_at, recall_at};
pub use spearman::spearman;
pub use student_t::student_t_ln_p_value;
pub use wilcoxon::{Wilcoxon, wilcoxon};
pub use wilson::wilson_interval;

use serde::{Deserialize, Serialize};

/// An estimate and the interval that holds the true value with the confidence asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value computed from the data.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// How the intervals of an evaluation are made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntervalSettings {
    /// The probability that an interval holds the true value, strictly between 0 and 1.
    pub confidence: f64,
    /// Resamples of a bootstrap interval.
    pub resamples: u32,
    /// Seed of the resamples.
    pub seed: u64,
}

impl Default for IntervalSettings {
    /// 95 % and 10,000 resamples: the ends of an interval then have a standard error of 0.7 % of its width, by the
    /// variance p (1 - p) / (resamples f²) of a quantile of a normal distribution.
    fn default() -> Self {
        Self { confidence: 0.95, resamples: 10_000, seed: 0 }
    }
}
