use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF as _};
use statrs::function::factorial::ln_binomial;

use crate::error::{StatisticsError, check_probability};

/// The exact test of whether successes are more frequent than chance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BinomialTest {
    /// The probability of at least as many successes by chance; 0 when below 10^-323: then `ln_p_value` tells it.
    pub p_value: f64,
    /// The natural logarithm of the p-value.
    pub ln_p_value: f64,
}

/// The probability of `successes` or more in `trials` independent trials that each succeed with probability `chance`.
///
/// # Errors
///
/// If there are no trials or more successes than trials, or the chance is not strictly between 0 and 1.
pub fn binomial_test_above(
    successes: u64,
    trials: u64,
    chance: f64,
) -> Result<BinomialTest, StatisticsError> {
    if trials == 0 || successes > trials {
        return Err(StatisticsError::SuccessesAboveTrials { successes, trials });
    }
    check_probability("chance", chance)?;
    let outside = |_| StatisticsError::NotAProbability { field: "chance", value: chance };
    let distribution = Binomial::new(chance, trials).map_err(outside)?;
    let Some(below) = successes.checked_sub(1) else {
        return Ok(BinomialTest { p_value: 1.0, ln_p_value: 0.0 });
    };
    if successes as f64 <= trials as f64 * chance {
        // The tail is about one half or more.
        let p_value = distribution.sf(below);
        return Ok(BinomialTest { p_value, ln_p_value: libm::log(p_value) });
    }
    let ln_p_value = ln_tail_above_mean(successes, trials, chance);
    Ok(BinomialTest { p_value: libm::exp(ln_p_value), ln_p_value })
}

/// ln Σ_{k ≥ successes} C(trials, k) chance^k (1 - chance)^(trials - k), for successes above the mean.
///
/// The terms fall from the first one on, so they are summed relative to it and the sum cannot underflow.
fn ln_tail_above_mean(successes: u64, trials: u64, chance: f64) -> f64 {
    let odds = chance / (1.0 - chance);
    let (mut sum, mut term) = (1.0, 1.0);
    for count in successes..trials {
        term *= (trials - count) as f64 / (count + 1) as f64 * odds;
        sum += term;
        if term < sum * f64::EPSILON / 4.0 {
            break;
        }
    }
    let failures = (trials - successes) as f64;
    ln_binomial(trials, successes)
        + successes as f64 * libm::log(chance)
        + failures * libm::log1p(-chance)
        + libm::log(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_sum_of_the_tail(trials in 1_u64..60, share in 0.0..=1.0_f64, chance in 0.01..0.99_f64) {
            let successes = (share * trials as f64) as u64;
            // The distribution by its recursion: one trial after another.
            let mut probabilities = vec![1.0];
            for _ in 0..trials {
                let failed = probabilities.iter().map(|p| p * (1.0 - chance)).chain([0.0]);
                let succeeded = [0.0].into_iter().chain(probabilities.iter().map(|p| p * chance));
                probabilities = failed.zip(succeeded).map(|(f, s)| f + s).collect();
            }
            let expected: f64 = probabilities[successes as usize..].iter().sum();
            let test = binomial_test_above(successes, trials, chance).unwrap();
            prop_assert!((test.p_value / expected - 1.0).abs() < 1e-9, "{} {}", test.p_value, expected);
            prop_assert!((test.ln_p_value - libm::log(expected)).abs() < 1e-9);
        }
    }

    #[test]
    fn wrong_counts_and_chances_are_refused() {
        assert!(binomial_test_above(0, 0, 0.5).is_err());
        assert!(binomial_test_above(3, 2, 0.5).is_err());
        for chance in [0.0, 1.0, f64::NAN] {
            assert!(binomial_test_above(1, 2, chance).is_err());
        }
    }
}
