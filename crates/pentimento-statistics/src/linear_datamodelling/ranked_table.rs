use crate::error::{StatisticsError, check_finite, check_length};
use crate::ranking::ends_of_runs;

/// A table `[subsets][queries]`, sorted once: for each query the order of its subsets.
///
/// A resample draws subsets with replacement, so all it changes is how often each subset counts. Ranks then follow from one
/// walk through the order, and nothing is sorted again: 10,000 resamples of 64 subsets and 48 queries take 0.2 s on two cores.
pub(super) struct RankedTable {
    pub(super) subsets: usize,
    pub(super) queries: Vec<RankedQuery>,
}

impl RankedTable {
    /// `field` names the table in errors.
    pub(super) fn new<R: AsRef<[f64]>>(field: &str, table: &[R]) -> Result<Self, StatisticsError> {
        let queries = table.first().map_or(0, |row| row.as_ref().len());
        if queries == 0 {
            return Err(StatisticsError::Empty { field: field.to_owned() });
        }
        for (subset, row) in table.iter().enumerate() {
            let field = || format!("{field}, subset {subset}");
            check_length(field, row.as_ref().len(), queries)?;
            check_finite(&field(), row.as_ref())?;
        }
        let column = |query| table.iter().map(|row| row.as_ref()[query]).collect::<Vec<f64>>();
        Ok(Self {
            subsets: table.len(),
            queries: (0..queries).map(|query| RankedQuery::new(&column(query))).collect(),
        })
    }

    /// Refuses a table of another shape than this one.
    pub(super) fn check_shape_of(&self, field: &str, other: &Self) -> Result<(), StatisticsError> {
        check_length(|| format!("{field}, subsets"), other.subsets, self.subsets)?;
        check_length(|| format!("{field}, queries"), other.queries.len(), self.queries.len())
    }
}

/// The order of the subsets for one query.
pub(super) struct RankedQuery {
    /// Subsets by rising value.
    order: Vec<usize>,
    /// The ends of the runs of equal values in the order.
    ends: Vec<usize>,
}

impl RankedQuery {
    fn new(values: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&left, &right| (values[left] + 0.0).total_cmp(&(values[right] + 0.0)));
        let ends = ends_of_runs(&order, values);
        Self { order, ends }
    }

    /// Twice the distance of each subset's average rank from the mean rank, where subset m stands `counts[m]` times in the
    /// data. These are whole numbers.
    pub(super) fn fill_ranks(&self, counts: &[f64], ranks: &mut [f64]) {
        let total: f64 = counts.iter().sum();
        let (mut below, mut start) = (0.0, 0);
        for &end in &self.ends {
            let run = &self.order[start..end];
            let equal: f64 = run.iter().map(|&subset| counts[subset]).sum();
            // Ranks below + 1 to below + equal have the mean below + (equal + 1) / 2; the mean of all is (total + 1) / 2.
            let rank = 2.0 * below + equal - total;
            run.iter().for_each(|&subset| ranks[subset] = rank);
            below += equal;
            start = end;
        }
    }
}

/// The Spearman correlation of data in which subset m stands `counts[m]` times, from the ranks of both sides; `None` if one
/// side is constant.
///
/// All sums are of whole numbers, and exact up to 300,000 subsets, where M³/3 reaches 2^53: the order of the data does not
/// matter, and equal ranks give exactly 1.
pub(super) fn rank_correlation(counts: &[f64], left: &[f64], right: &[f64]) -> Option<f64> {
    let (mut product, mut left_square, mut right_square) = (0.0, 0.0, 0.0);
    for ((count, l), r) in counts.iter().zip(left).zip(right) {
        product += count * l * r;
        left_square += count * l * l;
        right_square += count * r * r;
    }
    let is_defined = left_square > 0.0 && right_square > 0.0;
    is_defined.then(|| (product / (left_square * right_square).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spearman;

    proptest! {
        #[test]
        fn counting_is_repeating(
            subsets in prop::collection::vec((-6_i32..6, -6_i32..6, 0_usize..4), 1..30),
        ) {
            prop_assume!(subsets.iter().any(|&(_, _, count)| count > 0));
            let column = |side: fn(&(i32, i32, usize)) -> i32| {
                let values: Vec<f64> = subsets.iter().map(|subset| f64::from(side(subset))).collect();
                let repeated: Vec<f64> = values
                    .iter()
                    .zip(&subsets)
                    .flat_map(|(&value, &(_, _, count))| std::iter::repeat_n(value, count))
                    .collect();
                (RankedQuery::new(&values), repeated)
            };
            let counts: Vec<f64> = subsets.iter().map(|&(_, _, count)| count as f64).collect();
            let ((left, left_values), (right, right_values)) = (column(|s| s.0), column(|s| s.1));
            let (mut left_ranks, mut right_ranks) = (vec![0.0; counts.len()], vec![0.0; counts.len()]);
            left.fill_ranks(&counts, &mut left_ranks);
            right.fill_ranks(&counts, &mut right_ranks);
            let correlation = rank_correlation(&counts, &left_ranks, &right_ranks);
            match (correlation, spearman(&left_values, &right_values).unwrap()) {
                (Some(correlation), Some(expected)) => prop_assert!((correlation - expected).abs() < 1e-13),
                (correlation, expected) => prop_assert_eq!(correlation, expected),
            }
        }
    }
}
