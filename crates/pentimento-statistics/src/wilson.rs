use statrs::distribution::{ContinuousCDF as _, Normal};

use crate::Estimate;
use crate::error::{StatisticsError, check_probability};

/// The proportion `successes` / `trials` and its Wilson score interval (Wilson, 1927), without continuity correction.
///
/// `confidence` is the probability that such an interval holds the true proportion, for example 0.95.
///
/// # Errors
///
/// If there are no trials or more successes than trials, or the confidence is not strictly between 0 and 1.
pub fn wilson_interval(successes: u64, trials: u64, confidence: f64) -> Result<Estimate, StatisticsError> {
    if trials == 0 || successes > trials {
        return Err(StatisticsError::SuccessesAboveTrials { successes, trials });
    }
    check_probability("confidence", confidence)?;
    let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
    let count = trials as f64;
    let value = successes as f64 / count;
    let shrink = 1.0 + z * z / count;
    let centre = (value + z * z / (2.0 * count)) / shrink;
    let half_width = z / shrink * (value * (1.0 - value) / count + z * z / (4.0 * count * count)).sqrt();
    // At 0 and 1 the end that should equal the proportion is off by rounding.
    Ok(Estimate {
        value,
        low: (centre - half_width).clamp(0.0, value),
        high: (centre + half_width).clamp(value, 1.0),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_interval_holds_the_estimate_and_grows_with_confidence(
            trials in 1_u64..10_000, share in 0.0..=1.0_f64, confidence in 0.01..0.98_f64,
        ) {
            let successes = (share * trials as f64) as u64;
            let interval = wilson_interval(successes, trials, confidence).unwrap();
            prop_assert!(0.0 <= interval.low && interval.low <= interval.value);
            prop_assert!(interval.value <= interval.high && interval.high <= 1.0);
            let wider = wilson_interval(successes, trials, confidence + 0.01).unwrap();
            prop_assert!(wider.low <= interval.low && interval.high <= wider.high);
            prop_assert!(wider.high - wider.low > interval.high - interval.low);
            let mirrored = wilson_interval(trials - successes, trials, confidence).unwrap();
            prop_assert!((mirrored.low - (1.0 - interval.high)).abs() < 1e-12);
        }
    }

    #[test]
    fn wrong_counts_and_confidences_are_refused() {
        assert!(wilson_interval(0, 0, 0.95).is_err());
        assert!(wilson_interval(3, 2, 0.95).is_err());
        for confidence in [0.0, 1.0, -0.5, 95.0, f64::NAN] {
            assert!(matches!(
                wilson_interval(1, 2, confidence),
                Err(StatisticsError::NotAProbability { field: "confidence", .. })
            ));
        }
    }
}
