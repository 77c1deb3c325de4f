use std::f64::consts::{LN_2, PI};

use crate::error::{StatisticsError, check_finite, check_range};

/// Below this t², p comes from the series of its complement. There p is 0.157 or more, so that the difference from 1 costs
/// less than a digit; above, the continued fraction has its 16 digits after at most 200 terms.
const SERIES_BELOW: f64 = 2.0;

/// The series and the fraction converge long before; a bound that ends the loops all the same.
const MOST_TERMS: u32 = 2000;

/// The natural logarithm of the two-sided p-value of Student's t: of the probability that |T| is at least |`t`|. At most 0.
/// It is exact to 1e-14 of its size however small p is, and to 1e-14 where p is near 1.
///
/// # Errors
///
/// If `t` is not finite, or the degrees of freedom are below 1 or above 10^15.
pub fn student_t_ln_p_value(t: f64, degrees_of_freedom: f64) -> Result<f64, StatisticsError> {
    check_finite("t", &[t])?;
    check_range("degrees of freedom", degrees_of_freedom, 1.0, 1e15)?;
    Ok(ln_two_sided_p(&Split::from_t(t, degrees_of_freedom), degrees_of_freedom))
}

/// The unit interval divided into x = ν / (ν + t²) and y = t² / (ν + t²). For a correlation r and ν = pairs - 2, these are
/// 1 - r² and r².
pub(crate) struct Split {
    ln_x: f64,
    y: f64,
    ln_y: f64,
    /// x / y = ν / t².
    ratio: f64,
}

impl Split {
    fn from_t(t: f64, degrees_of_freedom: f64) -> Self {
        // t² may overflow, so it is never taken of a large t.
        let slope = t.abs() / degrees_of_freedom.sqrt();
        if slope > 1.0 {
            let ratio = 1.0 / slope / slope;
            let ln_y = -libm::log1p(ratio);
            return Self { ln_x: ln_y - 2.0 * libm::log(slope), y: 1.0 / (1.0 + ratio), ln_y, ratio };
        }
        let square = slope * slope;
        let ln_x = -libm::log1p(square);
        Self {
            ln_x,
            y: square / (1.0 + square),
            ln_y: ln_x + 2.0 * libm::log(slope),
            ratio: 1.0 / slope / slope,
        }
    }

    /// The correlation is strictly between -1 and 1.
    pub(crate) fn from_correlation(correlation: f64) -> Self {
        let magnitude = correlation.abs();
        let y = magnitude * magnitude;
        // Near 1 the factors of 1 - r² keep the digits that the square loses.
        let x = (1.0 - magnitude) * (1.0 + magnitude);
        Self {
            ln_x: if y < 0.5 { libm::log1p(-y) } else { libm::log(x) },
            y,
            ln_y: 2.0 * libm::log(magnitude),
            ratio: x / magnitude / magnitude,
        }
    }
}

/// ln of the regularised incomplete beta function I_x(ν/2, 1/2).
pub(crate) fn ln_two_sided_p(split: &Split, degrees_of_freedom: f64) -> f64 {
    let a = degrees_of_freedom / 2.0;
    // 1 / B(a, 1/2) is Γ(a + 1/2) / (Γ(a) √π).
    let ln_inverse_beta = ln_gamma_step(a) - libm::log(PI) / 2.0;
    if degrees_of_freedom < SERIES_BELOW * split.ratio {
        // 1 - I_y(1/2, a), with I_y(1/2, a) = 2 √y x^a / B F(a + 1/2, 1; 3/2; y).
        let ln_front = LN_2 + ln_inverse_beta + a * split.ln_x;
        let complement = libm::exp(ln_front) * split.y.sqrt() * complement_series(a, split.y);
        // At t = 0 it is 0 and not -0.
        return 0.0 + libm::log1p(-complement.min(1.0));
    }
    // I_x(a, 1/2) = x^a / (√y a B) F(1, 1/2; a + 1; -x/y).
    a * split.ln_x - split.ln_y / 2.0 - libm::log(a) + ln_inverse_beta - libm::log(fraction(a, split.ratio))
}

/// F(a + 1/2, 1; 3/2; y): all terms are positive.
fn complement_series(a: f64, y: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for index in 0..MOST_TERMS {
        let index = f64::from(index);
        term *= y * (a + 0.5 + index) / (1.5 + index);
        sum += term;
        if term < sum * f64::EPSILON / 8.0 {
            break;
        }
    }
    sum
}

/// 1 / F(1, 1/2; a + 1; -`ratio`) by the continued fraction of Gauss (Abramowitz and Stegun, 15.3.4 for the form of F;
/// Wall, *Analytic theory of continued fractions*, 1948, chapter 18), evaluated as Lentz does. All its terms are positive,
/// and for large a it becomes that of the normal tail: its length does not grow with a.
fn fraction(a: f64, ratio: f64) -> f64 {
    let (mut value, mut upper, mut lower) = (1.0, 1.0, 0.0);
    for index in 0..MOST_TERMS {
        let half = f64::from(index / 2);
        let term = if index % 2 == 0 {
            // (1/2 + j) (a + j) / ((a + 2j) (a + 2j + 1)).
            (0.5 + half) * (a + half) / ((a + 2.0 * half) * (a + 2.0 * half + 1.0))
        } else {
            // j (a + j - 1/2) / ((a + 2j - 1) (a + 2j)) for j from 1.
            (half + 1.0) * (a + half + 0.5) / ((a + 2.0 * half + 1.0) * (a + 2.0 * half + 2.0))
        } * ratio;
        upper = 1.0 + term / upper;
        lower = 1.0 / (1.0 + term * lower);
        let step = upper * lower;
        value *= step;
        if (step - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    value
}

/// ln(Γ(a + 1/2) / Γ(a)) for a ≥ 1/2.
///
/// From 16 on it is ln(a) / 2 - 1/(8a) + 1/(192a³) - 1/(640a⁵) + 17/(14336a⁷) - 31/(18432a⁹), the difference of two series
/// of Stirling (Abramowitz and Stegun, 6.1.40), which leaves out 3.8e-3 / a^11 = 2e-16. Smaller a are led there by
/// Γ(a + 1) = a Γ(a). The difference of two logarithms of Γ would lose all digits that they share.
fn ln_gamma_step(a: f64) -> f64 {
    let (mut a, mut product) = (a, 1.0);
    while a < 16.0 {
        product *= a / (a + 0.5);
        a += 1.0;
    }
    let square = 1.0 / (a * a);
    let odd = [-31.0 / 18432.0, 17.0 / 14336.0, -1.0 / 640.0, 1.0 / 192.0, -1.0 / 8.0];
    let series = odd.iter().fold(0.0, |sum, factor| sum * square + factor) / a;
    libm::log(a) / 2.0 + series + libm::log(product)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ln_p_falls_with_t_without_a_step_between_the_two_ways(
            degrees_of_freedom in 1.0..1e6_f64, t in 0.0..100.0_f64, step in 1e-3..10.0_f64,
        ) {
            let ln_p = |t| student_t_ln_p_value(t, degrees_of_freedom).unwrap();
            prop_assert!(ln_p(t + step) < ln_p(t) && ln_p(t) <= 0.0);
            prop_assert_eq!(ln_p(-t), ln_p(t));
            let (below, above) = (SERIES_BELOW.sqrt() * (1.0 - 1e-9), SERIES_BELOW.sqrt() * (1.0 + 1e-9));
            // The slope of ln p is at most 2 there.
            prop_assert!((ln_p(below) - ln_p(above)).abs() < 1e-8);
        }
    }

    /// With one degree of freedom p is 1 - 2 atan(t) / π, with two 1 - t / √(2 + t²).
    #[test]
    fn closed_forms_are_met() {
        for t in [1e-9, 0.1, 1.0, 1.4, 1.5, 3.0, 100.0, 1e10] {
            let one = 2.0 * libm::atan(1.0 / t) / PI;
            // 1 - t/√(2 + t²) without cancellation.
            let root = (2.0 + t * t).sqrt();
            let two = 2.0 / (root * (root + t));
            for (degrees_of_freedom, p) in [(1.0, one), (2.0, two)] {
                let ln_p = student_t_ln_p_value(t, degrees_of_freedom).unwrap();
                let expected = libm::log(p);
                assert!((ln_p - expected).abs() < 1e-15 + 4e-15 * expected.abs(), "{t}: {ln_p} {expected}");
            }
        }
    }

    /// Where the fraction is longest too, at t² = 2 with very many degrees of freedom.
    #[test]
    fn many_degrees_of_freedom_are_the_normal_distribution() {
        for t in [0.01, 1.0, 1.41, 1.42, 2.0, 5.0, 20.0, 29.0] {
            let ln_p = student_t_ln_p_value(t, 1e15).unwrap();
            let expected = crate::normal_tail::ln_two_sided_p(t);
            // The first term by which the two differ is (t³ + t) / (4 ν) of the density over the tail, below t⁴ / ν.
            let tolerance = 4e-15 + 4e-15 * expected.abs() + t * t * t * t / 1e15;
            assert!((ln_p - expected).abs() < tolerance, "{t}: {ln_p} {expected}");
        }
    }

    #[test]
    fn extremes_are_finite() {
        assert_eq!(student_t_ln_p_value(0.0, 5.0), Ok(0.0));
        assert!(student_t_ln_p_value(f64::MAX, 1.0).unwrap().is_finite());
        assert!(student_t_ln_p_value(f64::MAX, 1e15).unwrap().is_finite());
        assert!(student_t_ln_p_value(f64::MIN_POSITIVE, 1e15).unwrap().abs() < 1e-300);
    }

    #[test]
    fn wrong_values_are_refused() {
        assert!(student_t_ln_p_value(f64::NAN, 1.0).is_err());
        assert_eq!(
            student_t_ln_p_value(1.0, 0.5).unwrap_err().to_string(),
            "degrees of freedom: 0.5 must be at least 1 and at most 1000000000000000"
        );
        assert!(student_t_ln_p_value(1.0, f64::NAN).is_err());
    }
}
