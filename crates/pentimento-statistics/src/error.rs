/// Why a statistic cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatisticsError {
    /// Two vectors that should be paired have different lengths.
    #[error("the vectors have {left} and {right} values, but they must be paired")]
    LengthMismatch {
        /// Length of the first vector.
        left: usize,
        /// Length of the second vector.
        right: usize,
    },
    /// There is nothing to compute from.
    #[error("{field}: empty, at least one value is needed")]
    Empty {
        /// What is empty.
        field: String,
    },
    /// A value is NaN or infinite.
    #[error("{field}: value {index} is {value}, not a finite number")]
    NotFinite {
        /// The vector it stands in.
        field: String,
        /// Where it stands, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// More successes than trials, or no trials.
    #[error(
        "{successes} successes of {trials} trials: there must be a trial and no more successes than trials"
    )]
    SuccessesAboveTrials {
        /// The number of successes.
        successes: u64,
        /// The number of trials.
        trials: u64,
    },
    /// A probability that is not strictly between 0 and 1.
    #[error("{field}: {value} must be above 0 and below 1")]
    NotAProbability {
        /// Which probability.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// A ratio whose denominators are not all of one sign.
    #[error("denominators: value {index} is {value}, but none may be negative")]
    NegativeDenominator {
        /// Where it stands, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A row of a table has another length than it should have.
    #[error("{field}: {length} values, but there must be {expected}")]
    WrongLength {
        /// Which row.
        field: String,
        /// Its length.
        length: usize,
        /// The length that it should have.
        expected: usize,
    },
    /// A number is outside the range for which a statistic is defined.
    #[error("{field}: {value} must be at least {low} and at most {high}")]
    OutOfRange {
        /// Which number.
        field: String,
        /// Its value.
        value: f64,
        /// The least that it may be.
        low: f64,
        /// The most that it may be.
        high: f64,
    },
    /// A bootstrap without resamples.
    #[error("resamples: 0 given, at least 1 is needed")]
    NoResamples,
}

/// Refuses NaN and infinities.
pub(crate) fn check_finite(field: &str, values: &[f64]) -> Result<(), StatisticsError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => {
            Err(StatisticsError::NotFinite { field: field.to_owned(), index, value: values[index] })
        }
        None => Ok(()),
    }
}

/// Refuses what is not strictly between 0 and 1.
pub(crate) fn check_probability(field: &'static str, value: f64) -> Result<(), StatisticsError> {
    if value > 0.0 && value < 1.0 { Ok(()) } else { Err(StatisticsError::NotAProbability { field, value }) }
}

/// Refuses NaN and what is outside `low..=high`.
pub(crate) fn check_range(field: &str, value: f64, low: f64, high: f64) -> Result<(), StatisticsError> {
    if value >= low && value <= high {
        return Ok(());
    }
    Err(StatisticsError::OutOfRange { field: field.to_owned(), value, low, high })
}

/// Refuses another length than the one expected.
pub(crate) fn check_length(
    field: impl FnOnce() -> String,
    length: usize,
    expected: usize,
) -> Result<(), StatisticsError> {
    if length == expected {
        return Ok(());
    }
    Err(StatisticsError::WrongLength { field: field(), length, expected })
}

/// Refuses vectors that are not paired, empty or not finite.
pub(crate) fn check_pairs(left: &[f64], right: &[f64]) -> Result<(), StatisticsError> {
    if left.len() != right.len() {
        return Err(StatisticsError::LengthMismatch { left: left.len(), right: right.len() });
    }
    if left.is_empty() {
        return Err(StatisticsError::Empty { field: "vectors".to_owned() });
    }
    check_finite("first vector", left)?;
    check_finite("second vector", right)
}

pub(crate) fn to_f64<T: Copy + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}
