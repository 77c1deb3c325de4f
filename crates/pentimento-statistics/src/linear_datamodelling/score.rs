use serde::{Deserialize, Serialize};

use super::resampling::{Methods, RunningMean};
use crate::bootstrap::{check_resampling, percentile_interval};
use crate::{CorrelationTest, DefinedMean, Estimate, IntervalSettings, StatisticsError, correlation_test};

/// A query counts as predicted where the p-value of its correlation is below this.
pub const SIGNIFICANCE_LEVEL: f64 = 0.05;

/// The linear datamodelling score of one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearDatamodellingScore {
    /// The mean over queries with its interval over subsets, within [-1, 1]; `None` if no query has a correlation, or none has
    /// one in any resample.
    pub mean: Option<Estimate>,
    /// The number of queries that have a correlation.
    pub defined: usize,
    /// The number of queries whose outcomes or predictions are constant, which the mean leaves out.
    pub undefined: usize,
    /// The share of the defined queries whose two-sided p-value, of either sign, is below [`SIGNIFICANCE_LEVEL`]; `None`
    /// without any. Without any relation it is that level on average if there are many more images than subsets. Else sums of
    /// the scores over subsets hang together, and it is larger: random halves of N images leave M subsets as much freedom as
    /// M / (1 + M/N) independent ones, so that 64 halves of 100 images have about 12 % by chance.
    pub significant_share: Option<f64>,
    /// The correlation of each query over all subsets, and its test; `None` where one side is constant.
    pub queries: Vec<Option<CorrelationTest>>,
}

/// The linear datamodelling score of predictions for outcomes, both `[subsets][queries]`.
///
/// The interval is the percentile interval of a bootstrap over subsets. Each resample draws as many subsets as there are,
/// with replacement, takes the correlation of every query over them and their mean. Queries that are constant in a resample
/// are left out of it, and resamples in which all are are left out. Resample r uses the stream of the seed with step r: the
/// interval does not depend on the number of threads.
///
/// # Errors
///
/// If a table is empty, the two differ in shape, a value is not finite, or the settings are outside their range.
pub fn score<P: AsRef<[f64]>, Y: AsRef<[f64]>>(
    predictions: &[P],
    outcomes: &[Y],
    interval: IntervalSettings,
) -> Result<LinearDatamodellingScore, StatisticsError> {
    check_resampling(interval.confidence, interval.resamples)?;
    let methods = Methods::new(&[("predictions", predictions)], ("outcomes", outcomes))?;
    let correlations: Vec<Option<f64>> = methods.correlations().into_iter().flatten().collect();
    let DefinedMean { mean, defined, undefined } = correlations.iter().copied().collect();
    let queries = correlations
        .into_iter()
        .map(|correlation| correlation.map(|value| correlation_test(value, methods.subsets())).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let significant = queries.iter().flatten().filter(|test| test.p_value < SIGNIFICANCE_LEVEL).count();
    let mean = mean.and_then(|mean| {
        let resampled = methods.resampled(interval.resamples, interval.seed, |counts, ranks| {
            let mut running = RunningMean::default();
            methods.for_each_correlation(counts, ranks, |_, _, correlation| {
                correlation.into_iter().for_each(|value| running.add(value));
            });
            running.mean()
        });
        percentile_interval(mean, resampled, interval.confidence)
    });
    Ok(LinearDatamodellingScore {
        mean,
        defined,
        undefined,
        significant_share: (defined > 0).then(|| significant as f64 / defined as f64),
        queries,
    })
}
