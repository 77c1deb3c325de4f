//! Correlations, tests and intervals.
//!
//! # Undefined values
//!
//! A correlation with a constant vector has no value. Functions give `None` for it, never NaN, and
//! [`DefinedMean`] counts how many values a mean had to leave out. A NaN or an infinity in the data is an error.

mod binomial_test;
mod bootstrap;
mod defined_mean;
mod distance;
mod error;
mod mann_whitney;
mod pearson;
mod spearman;
mod wilson;

pub use binomial_test::{BinomialTest, binomial_test_above};
pub use bootstrap::bootstrap_mean;
pub use defined_mean::DefinedMean;
pub use distance::euclidean_distance;
pub use error::StatisticsError;
pub use mann_whitney::{MannWhitney, mann_whitney};
pub use pearson::pearson;
pub use spearman::spearman;
pub use wilson::wilson_interval;

use serde::Serialize;

/// An estimate and the interval that holds the true value with the confidence asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The value computed from the data.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}
