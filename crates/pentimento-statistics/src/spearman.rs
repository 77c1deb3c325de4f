use statrs::statistics::{Data, OrderStatistics as _, RankTieBreaker};

use crate::error::{StatisticsError, check_pairs, to_f64};
use crate::pearson::pearson;

/// Spearman's rank correlation of two paired vectors: Pearson's correlation of their ranks, where equal values share
/// their average rank. `None` if one of them is constant.
///
/// # Errors
///
/// If the vectors differ in length, are empty, or have a value that is not finite.
pub fn spearman<T: Copy + Into<f64>>(left: &[T], right: &[T]) -> Result<Option<f64>, StatisticsError> {
    let (left, right) = (to_f64(left), to_f64(right));
    check_pairs(&left, &right)?;
    pearson(&average_ranks(left), &average_ranks(right))
}

/// Ranks from 1; equal values share their average rank. The values must be finite.
pub(crate) fn average_ranks(values: Vec<f64>) -> Vec<f64> {
    Data::new(values).ranks(RankTieBreaker::Average)
}

/// Σ (t³ - t) over the groups of t equal values.
pub(crate) fn tie_sum(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let groups = sorted.chunk_by(|left, right| left == right);
    groups.map(|group| group.len() as f64).map(|size| size * size * size - size).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_bounded_symmetric_and_blind_to_rising_maps(
            pairs in prop::collection::vec((-20_i32..20, -20_i32..20), 2..60),
        ) {
            let (left, right): (Vec<i32>, Vec<i32>) = pairs.into_iter().unzip();
            let Some(correlation) = spearman(&left, &right).unwrap() else { return Ok(()) };
            prop_assert!((-1.0..=1.0).contains(&correlation));
            prop_assert_eq!(spearman(&right, &left).unwrap(), Some(correlation));
            let cubed: Vec<i32> = left.iter().map(|value| value.pow(3) + 7).collect();
            prop_assert_eq!(spearman(&cubed, &right).unwrap(), Some(correlation));
            let falling: Vec<i32> = left.iter().map(|value| -value).collect();
            prop_assert!((spearman(&falling, &right).unwrap().unwrap() + correlation).abs() < 1e-12);
        }
    }

    #[test]
    fn constant_vectors_have_no_correlation_and_nan_is_refused() {
        assert_eq!(spearman(&[2.0, 2.0], &[1.0, 3.0]), Ok(None));
        assert!(matches!(
            spearman(&[f64::NAN, 2.0], &[1.0, 3.0]),
            Err(StatisticsError::NotFinite { index: 0, .. })
        ));
    }
}
