use std::f64::consts::SQRT_2;

use serde::{Deserialize, Serialize};

use crate::error::{StatisticsError, check_finite, to_f64};
use crate::normal_tail::ln_two_sided_p;
use crate::spearman::{average_ranks, tie_sum};

/// The two-sided Mann-Whitney U test of whether the values of a tend to be larger or smaller than those of b.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MannWhitney {
    /// U of a: the number of pairs in which the value of a is the larger one; equal values count one half.
    pub u: f64,
    /// U in standard deviations from its mean, with the corrections for ties and continuity; positive if a tends to be
    /// larger.
    pub z: f64,
    /// The two-sided p-value of the normal approximation. 0 when it is below 10^-323: then `ln_p_value` tells it.
    pub p_value: f64,
    /// The natural logarithm of the p-value.
    pub ln_p_value: f64,
    /// The probability that a value of a is larger than one of b, ties counted half: the area under the ROC curve.
    pub area_under_curve: f64,
    /// The rank-biserial correlation, 2 `area_under_curve` - 1, within [-1, 1].
    pub rank_biserial: f64,
}

/// The Mann-Whitney U test of two unpaired samples by the normal approximation: the variance is corrected for ties, and U
/// is moved by one half towards its mean.
///
/// If all values are equal there is no evidence at all: z = 0 and p = 1.
///
/// # Errors
///
/// If a sample is empty or has a value that is not finite.
pub fn mann_whitney<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> Result<MannWhitney, StatisticsError> {
    let (a, b) = (to_f64(a), to_f64(b));
    for (field, sample) in [("first sample", &a), ("second sample", &b)] {
        if sample.is_empty() {
            return Err(StatisticsError::Empty { field: field.to_owned() });
        }
        check_finite(field, sample)?;
    }
    let (count_a, count_b) = (a.len() as f64, b.len() as f64);
    let count = count_a + count_b;
    let length_a = a.len();
    let pooled: Vec<f64> = a.into_iter().chain(b).collect();
    let ties = tie_sum(&pooled);
    let ranks = average_ranks(pooled);
    let rank_sum_a: f64 = ranks[..length_a].iter().sum();

    let u = rank_sum_a - count_a * (count_a + 1.0) / 2.0;
    let pairs = count_a * count_b;
    let variance = pairs / 12.0 * (count + 1.0 - ties / (count * (count - 1.0)));
    let excess = u - pairs / 2.0;
    let z =
        if variance > 0.0 { ((excess.abs() - 0.5).max(0.0) / variance.sqrt()).copysign(excess) } else { 0.0 };
    let area_under_curve = u / pairs;
    Ok(MannWhitney {
        u,
        z,
        p_value: libm::erfc(z.abs() / SQRT_2),
        ln_p_value: ln_two_sided_p(z.abs()),
        area_under_curve,
        rank_biserial: 2.0 * area_under_curve - 1.0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn u_counts_pairs(
            a in prop::collection::vec(-9_i32..9, 1..30), b in prop::collection::vec(-9_i32..9, 1..30),
        ) {
            let test = mann_whitney(&a, &b).unwrap();
            let pairs = a.iter().flat_map(|left| b.iter().map(move |right| (left, right)));
            let wins: f64 = pairs.map(|(left, right)| 0.5 + 0.5 * f64::from((left - right).signum())).sum();
            prop_assert_eq!(test.u, wins);
            prop_assert!((0.0..=1.0).contains(&test.p_value));
            prop_assert!((0.0..=1.0).contains(&test.area_under_curve));
            let swapped = mann_whitney(&b, &a).unwrap();
            prop_assert_eq!(swapped.z, -test.z);
            prop_assert_eq!(swapped.p_value, test.p_value);
            prop_assert!((swapped.rank_biserial + test.rank_biserial).abs() < 1e-12);
            let cubed = |values: &[i32]| values.iter().map(|value| value.pow(3) - 4).collect::<Vec<_>>();
            prop_assert_eq!(mann_whitney(&cubed(&a), &cubed(&b)).unwrap(), test);
        }
    }

    #[test]
    fn equal_values_are_no_evidence() {
        let test = mann_whitney(&[3, 3], &[3, 3, 3]).unwrap();
        assert_eq!((test.u, test.z, test.p_value, test.ln_p_value), (3.0, 0.0, 1.0, 0.0));
        let test = mann_whitney(&[3], &[3]).unwrap();
        assert_eq!((test.z, test.p_value), (0.0, 1.0));
    }

    #[test]
    fn wrong_data_is_refused() {
        assert!(matches!(mann_whitney::<f64>(&[], &[1.0]), Err(StatisticsError::Empty { .. })));
        assert!(matches!(
            mann_whitney(&[1.0], &[f64::NAN]),
            Err(StatisticsError::NotFinite { index: 0, .. })
        ));
    }
}
