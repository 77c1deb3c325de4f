//! How well approximate counterfactual images tell the exact ones (Dai and Gifford 2023, section 3.3).
//!
//! A *difference image* is a counterfactual image minus the sample it belongs to. Every counterfactual of every sample
//! has two: that of the exact counterfactual and that of the approximation.

mod methods;

pub use methods::{
    Agreement, Comparison, MethodFidelity, SampleImages, agreement, comparisons, fidelity_of_images,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::statistics::{
    Estimate, IntervalSettings, MannWhitney, StatisticsError, bootstrap_mean, bootstrap_ratio, mann_whitney,
    pearson, spearman, wilson_interval,
};

/// The two difference images of one counterfactual: as many values each, in any order that is the same for both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DifferencePair<'a> {
    /// Exact counterfactual minus sample.
    pub exact: &'a [f32],
    /// Approximate counterfactual minus sample.
    pub approximate: &'a [f32],
}

/// The fidelity of one method. What has nothing to be computed from is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fidelity {
    /// Pearson's correlation over the values of the two difference images, mean over all counterfactuals that have one,
    /// with a cluster bootstrap over samples.
    pub pearson: Option<Estimate>,
    /// Counterfactuals without such a correlation, as one of the two difference images is constant.
    pub pearson_undefined: usize,
    /// Spearman's correlation of the two Euclidean norms over the counterfactuals of a sample, mean over the samples
    /// that have one, with a bootstrap over samples.
    pub spearman: Option<Estimate>,
    /// Samples without such a correlation, as all norms of one kind are equal.
    pub spearman_undefined: usize,
    /// In how many samples the largest norm belongs to the same counterfactual (of equal norms, the first), with
    /// Wilson's interval.
    pub top_1_agreement: Estimate,
    /// Σ |approximate - exact|² / Σ |exact|² over all counterfactuals, with a bootstrap over samples.
    pub relative_squared_error: Option<Estimate>,
    /// The figures of each sample.
    pub per_sample: Vec<SampleFidelity>,
}

/// The fidelity of one method on one sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleFidelity {
    /// Number of counterfactuals.
    pub counterfactuals: usize,
    /// Pearson's correlation, mean over the counterfactuals that have one.
    pub pearson: Option<f64>,
    /// Spearman's correlation of the norms.
    pub spearman: Option<f64>,
    /// Whether the largest norm belongs to the same counterfactual.
    pub top_1_agrees: bool,
    /// Σ |approximate - exact|² / Σ |exact|² over the counterfactuals of the sample.
    pub relative_squared_error: Option<f64>,
}

/// Two-sided Mann-Whitney tests of whether a figure tends to be larger on the samples of the first method than on those
/// of the second. `None` if one of the methods has it on no sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FidelityComparison {
    /// Of the samples' mean Pearson correlations.
    pub pearson: Option<MannWhitney>,
    /// Of the samples' Spearman correlations.
    pub spearman: Option<MannWhitney>,
    /// Of the samples' relative squared errors.
    pub relative_squared_error: Option<MannWhitney>,
}

/// Why a fidelity cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FidelityError {
    /// A sample without counterfactuals.
    #[error("sample {sample}: no counterfactuals given, at least one is needed")]
    NoCounterfactuals {
        /// The sample, from 0.
        sample: usize,
    },
    /// The two difference images cannot be compared.
    #[error("sample {sample}, counterfactual {counterfactual}: {source}")]
    Pair {
        /// The sample, from 0.
        sample: usize,
        /// The counterfactual, from 0.
        counterfactual: usize,
        /// Why not.
        source: StatisticsError,
    },
    /// No samples, or interval settings out of bounds.
    #[error(transparent)]
    Statistics(#[from] StatisticsError),
}

/// Computes the fidelity of one method from the difference images of the counterfactuals of each sample.
///
/// # Errors
///
/// [`FidelityError`] if there are no samples, a sample has no counterfactuals, two difference images have different or no
/// values, a value is not finite, or an interval setting is out of bounds.
pub fn fidelity(
    samples: &[Vec<DifferencePair<'_>>],
    intervals: &IntervalSettings,
) -> Result<Fidelity, FidelityError> {
    let measured = samples
        .par_iter()
        .enumerate()
        .map(|(index, pairs)| SampleMeasures::of_sample(index, pairs))
        // Collected before errors are looked at, so that the error is the first sample's on any number of threads.
        .collect::<Vec<_>>()
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let IntervalSettings { confidence, resamples, seed } = *intervals;

    // Samples without any defined value have nothing to say about a mean.
    let mean = |clusters: Vec<Vec<f64>>| {
        let clusters: Vec<_> = clusters.into_iter().filter(|values| !values.is_empty()).collect();
        (!clusters.is_empty()).then(|| bootstrap_mean(&clusters, confidence, resamples, seed)).transpose()
    };
    let defined = |measured: &SampleMeasures| measured.pearson.iter().flatten().copied().collect();
    let errors: Vec<(f64, f64)> =
        measured.iter().map(|sample| (sample.squared_error, sample.squared_norm)).collect();
    let agreeing = measured.iter().filter(|sample| sample.top_1_agrees).count() as u64;
    Ok(Fidelity {
        pearson: mean(measured.iter().map(defined).collect())?,
        pearson_undefined: measured
            .iter()
            .flat_map(|sample| &sample.pearson)
            .filter(|value| value.is_none())
            .count(),
        spearman: mean(measured.iter().map(|sample| sample.spearman.into_iter().collect()).collect())?,
        spearman_undefined: measured.iter().filter(|sample| sample.spearman.is_none()).count(),
        top_1_agreement: wilson_interval(agreeing, measured.len() as u64, confidence)?,
        relative_squared_error: bootstrap_ratio(&errors, confidence, resamples, seed)?,
        per_sample: measured.iter().map(SampleMeasures::summary).collect(),
    })
}

/// Compares two methods by the figures of their samples.
///
/// The test takes the values of the two methods as independent. If both were measured on the same samples, as is usual,
/// the samples' difficulty is common to both, and the p-values are larger than they need be.
///
/// # Errors
///
/// If a figure is not finite, which [`fidelity`] never gives.
pub fn compare(first: &Fidelity, second: &Fidelity) -> Result<FidelityComparison, StatisticsError> {
    let test = |figure: fn(&SampleFidelity) -> Option<f64>| {
        let [first, second] =
            [first, second].map(|method| method.per_sample.iter().filter_map(figure).collect());
        let (first, second): (Vec<f64>, Vec<f64>) = (first, second);
        let both = !first.is_empty() && !second.is_empty();
        both.then(|| mann_whitney(&first, &second)).transpose()
    };
    Ok(FidelityComparison {
        pearson: test(|sample| sample.pearson)?,
        spearman: test(|sample| sample.spearman)?,
        relative_squared_error: test(|sample| sample.relative_squared_error)?,
    })
}

/// What is measured on one sample.
struct SampleMeasures {
    /// One for each counterfactual.
    pearson: Vec<Option<f64>>,
    spearman: Option<f64>,
    top_1_agrees: bool,
    /// Σ |approximate - exact|².
    squared_error: f64,
    /// Σ |exact|².
    squared_norm: f64,
}

impl SampleMeasures {
    fn of_sample(sample: usize, pairs: &[DifferencePair<'_>]) -> Result<Self, FidelityError> {
        if pairs.is_empty() {
            return Err(FidelityError::NoCounterfactuals { sample });
        }
        let correlations = pairs.iter().enumerate().map(|(counterfactual, pair)| {
            pearson(pair.exact, pair.approximate).map_err(|source| FidelityError::Pair {
                sample,
                counterfactual,
                source,
            })
        });
        // The first to look at the values: it refuses vectors of different lengths and what is not finite.
        let correlations = correlations.collect::<Result<Vec<_>, _>>()?;
        let squares = |values: &[f32]| values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
        let exact: Vec<f64> = pairs.iter().map(|pair| squares(pair.exact)).collect();
        let approximate: Vec<f64> = pairs.iter().map(|pair| squares(pair.approximate)).collect();
        let squared_error = |pair: &DifferencePair<'_>| {
            let values = pair.approximate.iter().zip(pair.exact);
            values.map(|(&a, &e)| (f64::from(a) - f64::from(e)).powi(2)).sum::<f64>()
        };
        Ok(Self {
            pearson: correlations,
            // Squared norms have the order of the norms, and ranks are all that is looked at.
            spearman: spearman(&exact, &approximate)?,
            top_1_agrees: first_largest(&exact) == first_largest(&approximate),
            squared_error: pairs.iter().map(squared_error).sum(),
            squared_norm: exact.iter().sum(),
        })
    }

    fn summary(&self) -> SampleFidelity {
        let defined: Vec<f64> = self.pearson.iter().flatten().copied().collect();
        SampleFidelity {
            counterfactuals: self.pearson.len(),
            pearson: (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64),
            spearman: self.spearman,
            top_1_agrees: self.top_1_agrees,
            relative_squared_error: (self.squared_norm > 0.0).then(|| self.squared_error / self.squared_norm),
        }
    }
}

/// The position of the largest value; of equal ones, the first.
fn first_largest(values: &[f64]) -> usize {
    let mut largest = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[largest] {
            largest = index;
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: IntervalSettings = IntervalSettings { confidence: 0.9, resamples: 400, seed: 1 };

    /// Difference images `(exact, approximate)` as pairs.
    fn pairs<'a>(images: &'a [(Vec<f32>, Vec<f32>)]) -> Vec<DifferencePair<'a>> {
        images.iter().map(|(exact, approximate)| DifferencePair { exact, approximate }).collect()
    }

    fn two_samples() -> [Vec<(Vec<f32>, Vec<f32>)>; 2] {
        [
            vec![
                // Squared norms 5 and 20, correlation 1, squared error 5.
                (vec![1.0, 2.0, 0.0], vec![2.0, 4.0, 0.0]),
                // Squared norms 2 and 2, correlation -1, squared error 8.
                (vec![1.0, 0.0, -1.0], vec![-1.0, 0.0, 1.0]),
                // Squared norms 1 and 0, no correlation, squared error 1.
                (vec![0.0, 0.0, 1.0], vec![0.0, 0.0, 0.0]),
            ],
            vec![
                // Squared norms 3 and 1, no correlation, squared error 2.
                (vec![1.0, 1.0, 1.0], vec![1.0, 0.0, 0.0]),
                // Squared norms 1 and 2, correlation 1/2, squared error 1.
                (vec![0.0, 1.0, 0.0], vec![1.0, 1.0, 0.0]),
            ],
        ]
    }

    #[test]
    fn figures_by_hand() {
        let images = two_samples();
        let samples: Vec<_> = images.iter().map(|images| pairs(images)).collect();
        let result = fidelity(&samples, &SETTINGS).unwrap();

        let close = |value: Option<f64>, expected: f64| {
            assert!((value.unwrap() - expected).abs() < 1e-12, "{value:?} {expected}")
        };
        close(result.pearson.map(|estimate| estimate.value), 0.5 / 3.0);
        assert_eq!(result.pearson_undefined, 2);
        // Both orders are the same in the first sample and opposite in the second.
        close(result.spearman.map(|estimate| estimate.value), 0.0);
        assert_eq!(result.spearman_undefined, 0);
        assert_eq!(result.top_1_agreement, wilson_interval(1, 2, 0.9).unwrap());
        close(result.relative_squared_error.map(|estimate| estimate.value), 17.0 / 12.0);

        let [first, second] = result.per_sample.as_slice() else { panic!("two samples") };
        assert_eq!((first.counterfactuals, second.counterfactuals), (3, 2));
        close(first.pearson, 0.0);
        close(second.pearson, 0.5);
        close(first.spearman, 1.0);
        close(second.spearman, -1.0);
        assert_eq!((first.top_1_agrees, second.top_1_agrees), (true, false));
        close(first.relative_squared_error, 14.0 / 8.0);
        close(second.relative_squared_error, 3.0 / 4.0);
        // Whole samples are drawn: the only resamples are both of one sample, or one of each.
        let error = result.relative_squared_error.unwrap();
        assert!((error.low - 0.75).abs() < 1e-12 && (error.high - 1.75).abs() < 1e-12, "{error:?}");
        let correlation = result.pearson.unwrap();
        assert!(correlation.low.abs() < 1e-12 && (correlation.high - 0.5).abs() < 1e-12, "{correlation:?}");
    }

    #[test]
    fn differences_of_zero_have_no_figures() {
        let images = vec![(vec![0.0, 0.0], vec![0.0, 0.0])];
        let result = fidelity(&[pairs(&images)], &SETTINGS).unwrap();
        assert_eq!((result.pearson, result.spearman, result.relative_squared_error), (None, None, None));
        assert_eq!((result.pearson_undefined, result.spearman_undefined), (1, 1));
        let comparison = compare(&result, &result).unwrap();
        assert_eq!((comparison.pearson, comparison.spearman), (None, None));
        assert_eq!(comparison.relative_squared_error, None);
    }

    #[test]
    fn methods_are_compared_by_their_samples() {
        // Three samples each. The first method is exact, the second halves one value of each difference.
        let method = |factor: f32| {
            let images: Vec<Vec<(Vec<f32>, Vec<f32>)>> = (1..=3)
                .map(|sample| {
                    let exact = |scale: f32| vec![scale, -scale * sample as f32, 0.0];
                    let approximate = |scale: f32| vec![factor * scale, -scale * sample as f32, 0.0];
                    vec![(exact(1.0), approximate(1.0)), (exact(2.0), approximate(2.0))]
                })
                .collect();
            fidelity(&images.iter().map(|images| pairs(images)).collect::<Vec<_>>(), &SETTINGS).unwrap()
        };
        let comparison = compare(&method(1.0), &method(0.5)).unwrap();
        let pearson = comparison.pearson.unwrap();
        assert_eq!((pearson.u, pearson.area_under_curve), (9.0, 1.0));
        assert_eq!(comparison.spearman.unwrap().z, 0.0);
        assert_eq!(comparison.relative_squared_error.unwrap().u, 0.0);
    }

    #[test]
    fn wrong_data_is_refused() {
        let good = (vec![1.0, 2.0], vec![1.0, 3.0]);
        let message = |images: Vec<(Vec<f32>, Vec<f32>)>| {
            fidelity(&[pairs(std::slice::from_ref(&good)), pairs(&images)], &SETTINGS)
                .unwrap_err()
                .to_string()
        };
        assert!(matches!(fidelity(&[], &SETTINGS), Err(FidelityError::Statistics(_))));
        assert_eq!(message(vec![]), "sample 1: no counterfactuals given, at least one is needed");
        assert_eq!(
            message(vec![good.clone(), (vec![1.0], vec![1.0, 2.0])]),
            "sample 1, counterfactual 1: the vectors have 1 and 2 values, but they must be paired"
        );
        assert_eq!(
            message(vec![(vec![1.0, 2.0], vec![1.0, f32::NAN])]),
            "sample 1, counterfactual 0: second vector: value 1 is NaN, not a finite number"
        );
    }

    proptest! {
        /// An approximation that is exact up to a factor keeps every correlation, and its error is known.
        #[test]
        fn a_scaled_difference_is_faithful(
            images in prop::collection::vec(prop::collection::vec(-4_i8..=4, 6), 2..5), quarters in 1_u8..12,
        ) {
            let factor = f32::from(quarters) / 4.0;
            let images: Vec<(Vec<f32>, Vec<f32>)> = images
                .iter()
                .map(|image| {
                    let exact: Vec<f32> = image.iter().map(|&value| f32::from(value)).collect();
                    let approximate = exact.iter().map(|value| factor * value).collect();
                    (exact, approximate)
                })
                .collect();
            let result = fidelity(&[pairs(&images)], &SETTINGS).unwrap();
            let sample = result.per_sample[0];
            prop_assert!(sample.top_1_agrees);
            prop_assert!(sample.pearson.is_none_or(|value| (value - 1.0).abs() < 1e-12));
            prop_assert!(sample.spearman.is_none_or(|value| (value - 1.0).abs() < 1e-12));
            let expected = f64::from(factor - 1.0).powi(2);
            prop_assert!(sample.relative_squared_error.is_none_or(|value| (value - expected).abs() < 1e-12));
        }
    }
}
