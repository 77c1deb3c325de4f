use std::f64::consts::SQRT_2;

use serde::{Deserialize, Serialize};

use crate::error::{StatisticsError, check_finite, check_pairs, to_f64};
use crate::normal_tail::ln_two_sided_p;
use crate::spearman::{average_ranks, tie_sum};

/// Up to as many pairs the distribution is exact if there are no ties and no zeros (SciPy's rule). All counts of signs are
/// below 2^50 and so exact in 64 bits.
const EXACT_UP_TO: usize = 50;

/// Up to as many pairs it is exact in any case (SciPy's rule).
const EXACT_WITH_TIES_UP_TO: usize = 13;

/// The two-sided Wilcoxon signed-rank test of whether paired differences lie around zero.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wilcoxon {
    /// The sum of the ranks of the pairs in which the left value is the larger one. Ranks are those of the magnitudes of
    /// the differences, from 1.
    pub positive_rank_sum: f64,
    /// The sum of the ranks of the pairs in which the right value is the larger one.
    pub negative_rank_sum: f64,
    /// Pairs that differ.
    pub pairs: usize,
    /// Pairs that do not differ, which are left out.
    pub zeros: usize,
    /// The positive rank sum in standard deviations from its mean, with the correction for ties and without one for
    /// continuity; positive if left values tend to be larger.
    pub z: f64,
    /// Whether the p-value is that of the exact distribution, and not of the normal approximation.
    pub exact: bool,
    /// The two-sided p-value. 0 when it is below 10^-323: then `ln_p_value` tells it.
    pub p_value: f64,
    /// The natural logarithm of the p-value.
    pub ln_p_value: f64,
    /// The rank-biserial correlation of matched pairs, (positive - negative) / (positive + negative rank sum), within
    /// [-1, 1]; 0 if no pair differs.
    pub rank_biserial: f64,
}

/// The Wilcoxon signed-rank test (Wilcoxon, 1945) of two paired vectors, such as the same queries under two methods.
///
/// Pairs that do not differ are left out; equal magnitudes share their average rank. The distribution is exact for at most
/// 50 pairs without ties and zeros, and for at most 13 pairs with them; else it is the normal approximation, whose variance
/// is corrected for ties. That is what SciPy decides with `zero_method="wilcox"`, `correction=False` and `method="auto"`.
///
/// If no pair differs there is no evidence at all: z = 0 and p = 1.
///
/// # Errors
///
/// If the vectors differ in length, are empty, or have a value or a difference that is not finite.
pub fn wilcoxon<T: Copy + Into<f64>>(left: &[T], right: &[T]) -> Result<Wilcoxon, StatisticsError> {
    let (left, right) = (to_f64(left), to_f64(right));
    check_pairs(&left, &right)?;
    let differences: Vec<f64> = left.iter().zip(&right).map(|(l, r)| l - r).collect();
    check_finite("differences", &differences)?;
    let all = differences.len();
    let differences: Vec<f64> = differences.into_iter().filter(|&difference| difference != 0.0).collect();
    let magnitudes: Vec<f64> = differences.iter().map(|difference| difference.abs()).collect();
    let pairs = differences.len();
    let zeros = all - pairs;
    if pairs == 0 {
        return Ok(Wilcoxon {
            positive_rank_sum: 0.0,
            negative_rank_sum: 0.0,
            pairs,
            zeros,
            z: 0.0,
            exact: true,
            p_value: 1.0,
            ln_p_value: 0.0,
            rank_biserial: 0.0,
        });
    }
    let ties = tie_sum(&magnitudes);
    let ranks = average_ranks(magnitudes);
    let count = pairs as f64;
    let total = count * (count + 1.0) / 2.0;
    let positive = differences.iter().zip(&ranks).filter(|(difference, _)| **difference > 0.0);
    let positive_rank_sum: f64 = positive.map(|(_, rank)| rank).sum();
    let variance = (count * (count + 1.0) * (2.0 * count + 1.0) - ties / 2.0) / 24.0;
    let z = (positive_rank_sum - total / 2.0) / variance.sqrt();

    let has_ties_or_zeros = ties > 0.0 || zeros > 0;
    let exact = all <= if has_ties_or_zeros { EXACT_WITH_TIES_UP_TO } else { EXACT_UP_TO };
    let (p_value, ln_p_value) = if exact {
        let p_value = exact_two_sided_p(&ranks, positive_rank_sum);
        (p_value, libm::log(p_value))
    } else {
        (libm::erfc(z.abs() / SQRT_2), ln_two_sided_p(z.abs()))
    };
    Ok(Wilcoxon {
        positive_rank_sum,
        negative_rank_sum: total - positive_rank_sum,
        pairs,
        zeros,
        z,
        exact,
        p_value,
        ln_p_value,
        rank_biserial: 2.0 * positive_rank_sum / total - 1.0,
    })
}

/// Twice the smaller tail, at most 1, of the sum of those ranks whose sign is positive, where all 2^n signs are equally
/// likely. At most 50 ranks.
fn exact_two_sided_p(ranks: &[f64], rank_sum: f64) -> f64 {
    // Average ranks are multiples of one half, so doubled ranks are whole.
    let doubled = |rank: f64| (2.0 * rank) as usize;
    let observed = doubled(rank_sum);
    // How many of the signs of the ranks so far give each doubled sum.
    let mut signs = vec![1_u64];
    for &rank in ranks {
        let with_rank = std::iter::repeat_n(0, doubled(rank)).chain(signs.iter().copied());
        let without = signs.iter().copied().chain(std::iter::repeat(0));
        signs = with_rank.zip(without).map(|(with, without)| with + without).collect();
    }
    let at_most: u64 = signs.iter().take(observed + 1).sum();
    let at_least: u64 = signs.iter().skip(observed).sum();
    // A division by a power of two: exact.
    let tail = at_most.min(at_least) as f64 / (1_u64 << ranks.len()) as f64;
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn exact_p_values_count_signs(differences in prop::collection::vec(-6_i32..7, 1..=13)) {
            let zero = vec![0; differences.len()];
            let test = wilcoxon(&differences, &zero).unwrap();
            prop_assert!(test.exact);
            let magnitudes: Vec<i32> = differences.iter().map(|d| d.abs()).filter(|&d| d > 0).collect();
            // Twice the average rank: the numbers of smaller magnitudes and of magnitudes that are not larger, and one.
            let doubled_rank = |magnitude: i32| {
                let smaller = magnitudes.iter().filter(|&&other| other < magnitude).count();
                let not_larger = magnitudes.iter().filter(|&&other| other <= magnitude).count();
                smaller + not_larger + 1
            };
            let doubled: Vec<usize> = magnitudes.iter().map(|&magnitude| doubled_rank(magnitude)).collect();
            let observed: usize = differences.iter().filter(|&&d| d > 0).map(|&d| doubled_rank(d)).sum();
            let sums: Vec<usize> = (0..1_usize << doubled.len())
                .map(|signs| (0..doubled.len()).filter(|bit| signs >> bit & 1 == 1).map(|bit| doubled[bit]).sum())
                .collect();
            let at_most = sums.iter().filter(|&&sum| sum <= observed).count();
            let at_least = sums.iter().filter(|&&sum| sum >= observed).count();
            let p_value = (2.0 * at_most.min(at_least) as f64 / sums.len() as f64).min(1.0);
            prop_assert_eq!(test.p_value, p_value);
            prop_assert_eq!(2.0 * test.positive_rank_sum, observed as f64);
        }

        #[test]
        fn swapping_the_sides_turns_the_signs(
            pairs in prop::collection::vec((-30_i32..30, -30_i32..30), 1..80),
        ) {
            let (left, right): (Vec<i32>, Vec<i32>) = pairs.into_iter().unzip();
            let (test, swapped) = (wilcoxon(&left, &right).unwrap(), wilcoxon(&right, &left).unwrap());
            prop_assert_eq!(test.positive_rank_sum, swapped.negative_rank_sum);
            prop_assert_eq!((test.p_value, test.ln_p_value), (swapped.p_value, swapped.ln_p_value));
            prop_assert!((test.z + swapped.z).abs() < 1e-12 && (-1.0..=1.0).contains(&test.rank_biserial));
            prop_assert!(test.p_value > 0.0 && test.p_value <= 1.0);
        }
    }

    #[test]
    fn no_difference_is_no_evidence() {
        let test = wilcoxon(&[1.0; 20], &[1.0; 20]).unwrap();
        assert_eq!((test.pairs, test.zeros, test.z, test.p_value, test.ln_p_value), (0, 20, 0.0, 1.0, 0.0));
    }

    #[test]
    fn wrong_data_is_refused() {
        assert_eq!(wilcoxon(&[1.0], &[1.0, 2.0]), Err(StatisticsError::LengthMismatch { left: 1, right: 2 }));
        assert!(matches!(wilcoxon::<f64>(&[], &[]), Err(StatisticsError::Empty { .. })));
        assert!(matches!(wilcoxon(&[f64::NAN], &[1.0]), Err(StatisticsError::NotFinite { .. })));
        assert_eq!(
            wilcoxon(&[0.0, 1e308], &[0.0, -1e308]).unwrap_err().to_string(),
            "differences: value 1 is inf, not a finite number"
        );
    }
}
