use serde::{Deserialize, Serialize};

use super::resampling::{Methods, RunningMean};
use crate::bootstrap::{check_resampling, percentile_interval};
use crate::{Estimate, IntervalSettings, StatisticsError};

/// The linear datamodelling scores of two methods for the same queries, and their difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreDifference {
    /// The mean over queries of the first method.
    pub first: f64,
    /// The mean over the same queries of the second method.
    pub second: f64,
    /// First less second, with its interval over subsets.
    pub difference: Estimate,
    /// The number of queries that have a correlation under both methods.
    pub defined: usize,
    /// The number of queries that do not, which are left out.
    pub undefined: usize,
}

/// How much larger the linear datamodelling score of the first method is than that of the second, on the same outcomes. All
/// tables are `[subsets][queries]`.
///
/// Only queries that have a correlation under both methods count. The interval is that of [`score`](super::score) with both
/// methods on the same resamples: what subsets do to both of them cancels, so it is narrower than two intervals let expect.
/// `None` if no query has a correlation under both, or none has in any resample.
///
/// # Errors
///
/// As those of [`score`](super::score).
pub fn difference<A: AsRef<[f64]>, B: AsRef<[f64]>, Y: AsRef<[f64]>>(
    first: &[A],
    second: &[B],
    outcomes: &[Y],
    interval: IntervalSettings,
) -> Result<Option<ScoreDifference>, StatisticsError> {
    check_resampling(interval.confidence, interval.resamples)?;
    let (first, second) = (as_rows(first), as_rows(second));
    let methods = Methods::new(
        &[("first predictions", &first), ("second predictions", &second)],
        ("outcomes", outcomes),
    )?;
    let both: Vec<(f64, f64)> =
        methods.correlations().iter().filter_map(|query| query[0].zip(query[1])).collect();
    let (defined, undefined) = (both.len(), methods.queries() - both.len());
    if both.is_empty() {
        return Ok(None);
    }
    let mean = |side: fn(&(f64, f64)) -> f64| both.iter().map(side).sum::<f64>() / defined as f64;
    let value = mean(|(first, second)| first - second);
    let resampled = methods.resampled(interval.resamples, interval.seed, |counts, ranks| {
        let mut running = RunningMean::default();
        let mut of_first = None;
        methods.for_each_correlation(counts, ranks, |_, method, correlation| {
            if method == 0 {
                of_first = correlation;
            } else if let Some((first, second)) = of_first.zip(correlation) {
                running.add(first - second);
            }
        });
        running.mean()
    });
    Ok(percentile_interval(value, resampled, interval.confidence).map(|difference| ScoreDifference {
        first: mean(|(first, _)| *first),
        second: mean(|(_, second)| *second),
        difference,
        defined,
        undefined,
    }))
}

/// One type for tables of two types.
fn as_rows<R: AsRef<[f64]>>(table: &[R]) -> Vec<&[f64]> {
    table.iter().map(AsRef::as_ref).collect()
}
