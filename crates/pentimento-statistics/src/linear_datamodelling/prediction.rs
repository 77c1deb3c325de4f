use rayon::prelude::*;

use crate::error::{StatisticsError, check_finite, check_length, to_f64};

/// What scores predict of each subset and query: minus the sum of the scores of the subset's images, `[subsets][queries]`.
///
/// `scores` is `[queries][images]`, larger for images whose presence lowers the loss. `masks` is `[subsets][images]`: whether
/// an image belongs to the subset, or its weight there. Sums are taken in f64 in the order of the images.
///
/// # Errors
///
/// If one of the two is empty, a row has another length than the first row of the scores, or a value is not finite, be it a
/// sum.
pub fn predictions<S, M, T>(scores: &[S], masks: &[M]) -> Result<Vec<Vec<f64>>, StatisticsError>
where
    S: AsRef<[f64]> + Sync,
    M: AsRef<[T]>,
    T: Copy + Into<f64>,
{
    let images = scores.first().map_or(0, |row| row.as_ref().len());
    for (field, is_empty) in
        [("scores", scores.is_empty()), ("images", images == 0), ("masks", masks.is_empty())]
    {
        if is_empty {
            return Err(StatisticsError::Empty { field: field.to_owned() });
        }
    }
    for (query, row) in scores.iter().enumerate() {
        check_length(|| format!("scores of query {query}"), row.as_ref().len(), images)?;
        check_finite(&format!("scores of query {query}"), row.as_ref())?;
    }
    let masks: Vec<Vec<f64>> = masks.iter().map(|mask| to_f64(mask.as_ref())).collect();
    for (subset, mask) in masks.iter().enumerate() {
        check_length(|| format!("mask of subset {subset}"), mask.len(), images)?;
        check_finite(&format!("mask of subset {subset}"), mask)?;
    }
    let predict = |mask: &Vec<f64>| -> Vec<f64> {
        let sum = |row: &S| mask.iter().zip(row.as_ref()).map(|(weight, score)| weight * score).sum::<f64>();
        // No -0, so that sums that are equal look equal.
        scores.iter().map(|row| 0.0 - sum(row)).collect()
    };
    let predictions: Vec<Vec<f64>> = masks.par_iter().map(predict).collect();
    for (subset, row) in predictions.iter().enumerate() {
        check_finite(&format!("predictions of subset {subset}"), row)?;
    }
    Ok(predictions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_minus_the_sums_over_the_subsets() {
        let scores = [[1.0, 2.0, -4.0], [0.5, 0.0, 8.0]];
        let masks = [[true, true, false], [false, true, true], [false, false, false]];
        let expected = vec![vec![-3.0, -0.5], vec![2.0, -8.0], vec![0.0, 0.0]];
        assert_eq!(predictions(&scores, &masks), Ok(expected));
        assert_eq!(predictions(&scores, &[[0.5_f32, 0.0, 2.0]]), Ok(vec![vec![7.5, -16.25]]));
    }

    #[test]
    fn wrong_data_is_refused() {
        let none: [[f64; 1]; 0] = [];
        let message = |result: Result<Vec<Vec<f64>>, StatisticsError>| result.unwrap_err().to_string();
        assert!(message(predictions(&none, &[[true]])).starts_with("scores: empty"));
        assert!(message(predictions(&[[0.0; 0]], &[[true; 0]])).starts_with("images: empty"));
        assert!(message(predictions(&[[1.0]], &none)).starts_with("masks: empty"));
        assert_eq!(
            message(predictions(&[vec![1.0, 2.0], vec![1.0]], &[[true; 2]])),
            "scores of query 1: 1 values, but there must be 2"
        );
        assert_eq!(
            message(predictions(&[[1.0, 2.0]], &[[true]])),
            "mask of subset 0: 1 values, but there must be 2"
        );
        assert!(
            message(predictions(&[[1.0, f64::NAN]], &[[true; 2]])).starts_with("scores of query 0: value 1")
        );
        assert!(message(predictions(&[[1.0]], &[[f32::NAN]])).starts_with("mask of subset 0: value 0"));
        assert!(message(predictions(&[[f64::MAX; 2]], &[[true; 2]])).starts_with("predictions of subset 0"));
    }
}
