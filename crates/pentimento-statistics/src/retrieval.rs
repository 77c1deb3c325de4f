use crate::error::StatisticsError;
use crate::ranking::{by_falling_score, check_ranking};

/// Which share of the `first` items with the highest scores is relevant, within [0, 1].
///
/// `relevant` and `scores` are paired. Where equal scores straddle the border it is the mean over all orders of them.
///
/// # Errors
///
/// If the two differ in length, are empty, a score is not finite, or `first` is 0 or more than there are items.
pub fn precision_at(relevant: &[bool], scores: &[f64], first: usize) -> Result<f64, StatisticsError> {
    check_ranking(scores, relevant.len(), first)?;
    Ok(hits(relevant, scores, first) / first as f64)
}

/// Which share of the relevant items is among the `first` items with the highest scores, within [0, 1]; `None` if no item is
/// relevant. Equal scores are treated as by [`precision_at`].
///
/// # Errors
///
/// As those of [`precision_at`].
pub fn recall_at(relevant: &[bool], scores: &[f64], first: usize) -> Result<Option<f64>, StatisticsError> {
    check_ranking(scores, relevant.len(), first)?;
    let all = relevant.iter().filter(|&&relevant| relevant).count();
    Ok((all > 0).then(|| hits(relevant, scores, first) / all as f64))
}

/// The mean number of relevant items among the first, over all orders of equal scores.
fn hits(relevant: &[bool], scores: &[f64], first: usize) -> f64 {
    let (order, ends) = by_falling_score(scores);
    let (mut hits, mut start) = (0.0, 0);
    for end in ends {
        let run = &order[start..end];
        let in_run = run.iter().filter(|&&item| relevant[item]).count();
        let places = end.min(first) - start;
        // Without ties, and wherever all of a run is taken, a whole number.
        hits += (in_run * places) as f64 / run.len() as f64;
        if end >= first {
            break;
        }
        start = end;
    }
    hits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_count_the_first_items(
            items in prop::collection::btree_map(-1000_i32..1000, any::<bool>(), 1..30), share in 0.0..1.0_f64,
        ) {
            let first = 1 + (share * items.len() as f64) as usize;
            let scores: Vec<f64> = items.keys().map(|&score| f64::from(score)).collect();
            let relevant: Vec<bool> = items.values().copied().collect();
            // The keys of the map rise.
            let expected = relevant.iter().rev().take(first).filter(|&&relevant| relevant).count() as f64;
            prop_assert_eq!(precision_at(&relevant, &scores, first), Ok(expected / first as f64));
            let all = relevant.iter().filter(|&&relevant| relevant).count() as f64;
            prop_assert_eq!(recall_at(&relevant, &scores, first), Ok((all > 0.0).then(|| expected / all)));
        }
    }

    #[test]
    fn equal_scores_are_averaged_over_their_orders() {
        let relevant = [true, false, false, true, false];
        let scores = [1.0, 0.0, -0.0, 0.0, 0.0];
        // One of the first three for certain; two of the four equal ones, of which one is relevant.
        assert_eq!(precision_at(&relevant, &scores, 3), Ok(1.5 / 3.0));
        assert_eq!(recall_at(&relevant, &scores, 3), Ok(Some(0.75)));
        assert_eq!(precision_at(&relevant, &[0.0; 5], 1), Ok(0.4));
        assert_eq!(recall_at(&relevant, &[0.0; 5], 5), Ok(Some(1.0)));
    }

    #[test]
    fn wrong_data_is_refused() {
        assert_eq!(
            precision_at(&[true], &[1.0], 2).unwrap_err().to_string(),
            "first: 2 must be at least 1 and at most 1"
        );
        assert!(precision_at(&[true], &[1.0], 0).is_err());
        assert!(precision_at(&[], &[], 1).is_err());
        assert!(recall_at(&[true], &[f64::NAN], 1).is_err());
        assert!(recall_at(&[true, false], &[1.0], 1).is_err());
        assert_eq!(recall_at(&[false], &[1.0], 1), Ok(None));
    }
}
