use crate::error::{StatisticsError, check_finite, check_length};

/// A table `[subsets][queries]` with the mean over queries taken away from each subset.
///
/// Some subsets make a network that is better or worse for all queries. Where outcomes and predictions are both transformed
/// so, what remains is how subsets tell queries apart, and a method that knows good from bad images, but nothing of the
/// query, has nothing left to score with.
///
/// # Errors
///
/// If the table or its first row is empty, a row has another length than the first one, or a value or a difference is not
/// finite.
pub fn without_query_mean<R: AsRef<[f64]>>(table: &[R]) -> Result<Vec<Vec<f64>>, StatisticsError> {
    let queries = table.first().map_or(0, |row| row.as_ref().len());
    if queries == 0 {
        return Err(StatisticsError::Empty { field: "table".to_owned() });
    }
    let centre = |(subset, row): (usize, &R)| {
        let row = row.as_ref();
        check_length(|| format!("subset {subset}"), row.len(), queries)?;
        check_finite(&format!("subset {subset}"), row)?;
        let mean = row.iter().sum::<f64>() / queries as f64;
        let centred: Vec<f64> = row.iter().map(|value| value - mean).collect();
        check_finite(&format!("subset {subset} without its mean"), &centred)?;
        Ok(centred)
    };
    table.iter().enumerate().map(centre).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subset_loses_its_mean() {
        let table = [[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]];
        assert_eq!(without_query_mean(&table), Ok(vec![vec![-2.0, -1.0, 3.0], vec![0.0; 3]]));
    }

    #[test]
    fn wrong_data_is_refused() {
        let none: [[f64; 2]; 0] = [];
        assert!(without_query_mean(&none).is_err());
        assert!(without_query_mean(&[[0.0; 0]]).is_err());
        assert_eq!(
            without_query_mean(&[vec![1.0, 2.0], vec![1.0]]).unwrap_err().to_string(),
            "subset 1: 1 values, but there must be 2"
        );
        assert!(without_query_mean(&[[1.0, f64::NAN]]).is_err());
        assert!(without_query_mean(&[[f64::MAX; 2]]).is_err());
    }
}
