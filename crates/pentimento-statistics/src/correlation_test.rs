use serde::{Deserialize, Serialize};

use crate::error::{StatisticsError, check_range};
use crate::student_t::{Split, ln_two_sided_p};

/// A correlation and the two-sided test of whether it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorrelationTest {
    /// The correlation, within [-1, 1].
    pub correlation: f64,
    /// The probability of a correlation as far from zero between independent values. 0 when it is below 10^-323: then
    /// `ln_p_value` tells it.
    pub p_value: f64,
    /// The natural logarithm of the p-value; `None` if p is 0 exactly, which it is for a correlation of -1 or 1.
    pub ln_p_value: Option<f64>,
}

/// Tests a correlation of Pearson or of Spearman over `pairs` pairs: r √((n - 2) / (1 - r²)) is held against Student's t with
/// n - 2 degrees of freedom. That is exact for Pearson's correlation of normal values, and the usual approximation for
/// Spearman's, which SciPy takes too.
///
/// Two pairs always have a correlation of -1 or 1, so their p is 1.
///
/// # Errors
///
/// If the correlation is not within [-1, 1], or there are fewer than two pairs.
pub fn correlation_test(correlation: f64, pairs: usize) -> Result<CorrelationTest, StatisticsError> {
    check_range("correlation", correlation, -1.0, 1.0)?;
    check_range("pairs", pairs as f64, 2.0, 1e15)?;
    let ln_p_value = if pairs == 2 {
        Some(0.0)
    } else {
        let degrees_of_freedom = (pairs - 2) as f64;
        (correlation.abs() < 1.0)
            .then(|| ln_two_sided_p(&Split::from_correlation(correlation), degrees_of_freedom))
    };
    Ok(CorrelationTest { correlation, p_value: ln_p_value.map_or(0.0, libm::exp), ln_p_value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::student_t_ln_p_value;

    #[test]
    fn it_is_the_test_of_t() {
        for pairs in [3, 4, 64, 10_000] {
            for correlation in [1e-6, 0.01, 0.3, 0.7, 0.999] {
                let degrees_of_freedom = (pairs - 2) as f64;
                let t = correlation * (degrees_of_freedom / (1.0 - correlation * correlation)).sqrt();
                let expected = student_t_ln_p_value(t, degrees_of_freedom).unwrap();
                let test = correlation_test(-correlation, pairs).unwrap();
                let ln_p_value = test.ln_p_value.unwrap();
                // 1 - r² of the test's own t loses up to three digits.
                assert!((ln_p_value / expected - 1.0).abs() < 1e-11, "{pairs} {correlation}");
                assert_eq!(test.p_value, libm::exp(ln_p_value));
            }
        }
    }

    #[test]
    fn the_ends_are_told() {
        let test = |correlation, pairs| {
            let test = correlation_test(correlation, pairs).unwrap();
            (test.p_value, test.ln_p_value)
        };
        assert_eq!(test(0.0, 10), (1.0, Some(0.0)));
        assert_eq!(test(-1.0, 10), (0.0, None));
        assert_eq!(test(1.0, 2), (1.0, Some(0.0)));
    }

    #[test]
    fn wrong_values_are_refused() {
        assert_eq!(
            correlation_test(1.5, 10).unwrap_err().to_string(),
            "correlation: 1.5 must be at least -1 and at most 1"
        );
        assert!(correlation_test(f64::NAN, 10).is_err());
        assert!(correlation_test(0.5, 1).is_err());
    }
}
