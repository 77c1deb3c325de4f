use pentimento_noise::{Purpose, Stream};
use rayon::prelude::*;

use super::ranked_table::{RankedTable, rank_correlation};
use crate::error::StatisticsError;

/// Outcomes, and the predictions of one or more methods for them, all of one shape.
pub(super) struct Methods {
    outcomes: RankedTable,
    predictions: Vec<RankedTable>,
}

/// Room for the ranks of one query, which all queries and resamples of a thread share.
pub(super) struct Ranks {
    outcomes: Vec<f64>,
    predictions: Vec<f64>,
}

impl Methods {
    /// Tables with the names that they have in errors. There is at least one of predictions.
    pub(super) fn new<P: AsRef<[f64]>, Y: AsRef<[f64]>>(
        predictions: &[(&str, &[P])],
        (field, outcomes): (&str, &[Y]),
    ) -> Result<Self, StatisticsError> {
        let outcomes = RankedTable::new(field, outcomes)?;
        let mut methods = Self { outcomes, predictions: Vec::with_capacity(predictions.len()) };
        for (field, table) in predictions {
            let table = RankedTable::new(field, table)?;
            methods.outcomes.check_shape_of(field, &table)?;
            methods.predictions.push(table);
        }
        Ok(methods)
    }

    pub(super) fn subsets(&self) -> usize {
        self.outcomes.subsets
    }

    pub(super) fn queries(&self) -> usize {
        self.outcomes.queries.len()
    }

    pub(super) fn count(&self) -> usize {
        self.predictions.len()
    }

    pub(super) fn ranks(&self) -> Ranks {
        Ranks { outcomes: vec![0.0; self.subsets()], predictions: vec![0.0; self.subsets()] }
    }

    /// Calls `each` with a query, a method and their correlation, query by query, where subset m stands `counts[m]` times in
    /// the data.
    pub(super) fn for_each_correlation(
        &self,
        counts: &[f64],
        ranks: &mut Ranks,
        mut each: impl FnMut(usize, usize, Option<f64>),
    ) {
        for (query, outcomes) in self.outcomes.queries.iter().enumerate() {
            outcomes.fill_ranks(counts, &mut ranks.outcomes);
            for (method, table) in self.predictions.iter().enumerate() {
                table.queries[query].fill_ranks(counts, &mut ranks.predictions);
                each(query, method, rank_correlation(counts, &ranks.outcomes, &ranks.predictions));
            }
        }
    }

    /// The correlations on all subsets, `[queries][methods]`.
    pub(super) fn correlations(&self) -> Vec<Vec<Option<f64>>> {
        let mut correlations = vec![vec![None; self.count()]; self.queries()];
        self.for_each_correlation(&vec![1.0; self.subsets()], &mut self.ranks(), |query, method, value| {
            correlations[query][method] = value;
        });
        correlations
    }

    /// What `statistic` gives for each of `resamples` draws of subsets with replacement, without those for which it gives
    /// nothing. Resample r uses the stream of the seed with step r, as [`bootstrap_mean`](crate::bootstrap_mean) does: any
    /// two methods see the same resamples.
    pub(super) fn resampled(
        &self,
        resamples: u32,
        seed: u64,
        statistic: impl Fn(&[f64], &mut Ranks) -> Option<f64> + Sync,
    ) -> Vec<f64> {
        let room = || (vec![0.0; self.subsets()], self.ranks());
        (0..resamples)
            .into_par_iter()
            .map_init(room, |(counts, ranks), resample| {
                counts.fill(0.0);
                let mut cursor = Stream::new(seed, Purpose::Bootstrap, 0, resample).cursor();
                for _ in 0..counts.len() {
                    counts[cursor.below(self.subsets() as u64) as usize] += 1.0;
                }
                statistic(counts, ranks)
            })
            .filter_map(|value| value)
            .collect()
    }
}

/// A mean of values that are added one by one; `None` without any.
#[derive(Default)]
pub(super) struct RunningMean {
    sum: f64,
    count: usize,
}

impl RunningMean {
    pub(super) fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    pub(super) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}
