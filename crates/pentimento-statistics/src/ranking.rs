use crate::error::{StatisticsError, check_finite, check_range};

/// Refuses scores that are not finite or not paired with what is ranked, and a `first` of none or of more than all.
pub(crate) fn check_ranking(scores: &[f64], items: usize, first: usize) -> Result<(), StatisticsError> {
    if scores.len() != items {
        return Err(StatisticsError::LengthMismatch { left: items, right: scores.len() });
    }
    if scores.is_empty() {
        return Err(StatisticsError::Empty { field: "scores".to_owned() });
    }
    check_finite("scores", scores)?;
    check_range("first", first as f64, 1.0, items as f64)
}

/// Positions by falling score, and the ends of the runs of equal scores among them.
pub(crate) fn by_falling_score(scores: &[f64]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // A stable sort: equal scores stay in the order of their positions. -0 equals 0.
    order.sort_by(|&left, &right| (scores[right] + 0.0).total_cmp(&(scores[left] + 0.0)));
    let ends = ends_of_runs(&order, scores);
    (order, ends)
}

/// The ends of the runs of equal values in an order of them.
pub(crate) fn ends_of_runs(order: &[usize], values: &[f64]) -> Vec<usize> {
    let differs = |&end: &usize| end == order.len() || values[order[end - 1]] != values[order[end]];
    (1..=order.len()).filter(differs).collect()
}
