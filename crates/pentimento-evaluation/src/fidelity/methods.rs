//! Methods beside each other: the fidelity of each, and tests of whether one is larger.

use super::{DifferencePair, Fidelity, FidelityError, SampleFidelity, compare, fidelity};
use crate::statistics::{Estimate, IntervalSettings, StatisticsError, wilson_interval};
use serde::{Deserialize, Serialize};

/// The images of one sample, all as they are shown, with as many values each.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleImages {
    /// The sample.
    pub image: Vec<f32>,
    /// Its exact counterfactuals.
    pub exact: Vec<Vec<f32>>,
    /// What a method has in their place.
    pub approximate: Vec<Vec<f32>>,
}

/// Computes the fidelity of one method from the images themselves.
///
/// # Errors
///
/// As [`fidelity`].
pub fn fidelity_of_images(
    samples: &[SampleImages],
    intervals: &IntervalSettings,
) -> Result<Fidelity, FidelityError> {
    let differences = |images: &[Vec<f32>], sample: &SampleImages| -> Vec<Vec<f32>> {
        let difference =
            |image: &Vec<f32>| image.iter().zip(&sample.image).map(|(a, b)| a - b).collect::<Vec<f32>>();
        images.iter().map(difference).collect()
    };
    let exact: Vec<_> = samples.iter().map(|sample| differences(&sample.exact, sample)).collect();
    let approximate: Vec<_> = samples.iter().map(|sample| differences(&sample.approximate, sample)).collect();
    let pairs: Vec<Vec<DifferencePair<'_>>> = exact
        .iter()
        .zip(&approximate)
        .map(|(exact, approximate)| {
            let pair = |(exact, approximate)| DifferencePair { exact, approximate };
            exact.iter().map(Vec::as_slice).zip(approximate.iter().map(Vec::as_slice)).map(pair).collect()
        })
        .collect();
    fidelity(&pairs, intervals)
}

/// The fidelity of a method that is named by a value of the caller's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodFidelity<M> {
    /// The method.
    pub method: M,
    /// Its figures.
    pub fidelity: Fidelity,
}

/// A Mann-Whitney test between two methods' per-sample figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison<M> {
    /// What was compared.
    pub measure: String,
    /// First method.
    pub first: M,
    /// Second method.
    pub second: M,
    /// Number of values of each.
    pub counts: [usize; 2],
    /// Probability that the first is larger.
    pub first_larger: f64,
    /// Natural logarithm of the p-value.
    pub ln_p: f64,
}

/// A figure of a sample, if the sample has it.
type Figure = fn(&SampleFidelity) -> Option<f64>;

/// Compares some pairs of methods, each by its samples' correlations. Pairs of which one was not measured are left out, and so
/// are figures that one of them has on no sample.
///
/// # Errors
///
/// As [`compare`].
pub fn comparisons<M: Copy + PartialEq>(
    fidelity: &[MethodFidelity<M>],
    pairs: &[(M, M)],
) -> Result<Vec<Comparison<M>>, StatisticsError> {
    let find = |method: M| fidelity.iter().find(|entry| entry.method == method);
    let mut all = Vec::new();
    for &(first, second) in pairs {
        let (Some(a), Some(b)) = (find(first), find(second)) else { continue };
        let tests = compare(&a.fidelity, &b.fidelity)?;
        let figures: [(_, _, Figure); 2] = [
            ("Pearson over pixels", tests.pearson, |sample| sample.pearson),
            ("Spearman over counterfactuals", tests.spearman, |sample| sample.spearman),
        ];
        for (measure, test, figure) in figures {
            let Some(test) = test else { continue };
            let defined = |entry: &MethodFidelity<M>| {
                entry.fidelity.per_sample.iter().filter(|sample| figure(sample).is_some()).count()
            };
            all.push(Comparison {
                measure: measure.into(),
                first,
                second,
                counts: [defined(a), defined(b)],
                first_larger: test.area_under_curve,
                ln_p: test.ln_p_value,
            });
        }
    }
    Ok(all)
}

/// How often two ways of ranking name the same first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// What is asked.
    pub question: String,
    /// Share of samples, with Wilson's interval.
    pub share: Estimate,
}

/// Counts in how many samples two rankings have the same first; `firsts` are those of each sample.
///
/// # Errors
///
/// If there is no sample, or the confidence is no probability.
pub fn agreement<T: PartialEq>(
    question: &str,
    firsts: &[[T; 2]],
    confidence: f64,
) -> Result<Agreement, StatisticsError> {
    let agreeing = firsts.iter().filter(|[first, second]| first == second).count();
    let share = wilson_interval(agreeing as u64, firsts.len() as u64, confidence)?;
    Ok(Agreement { question: question.into(), share })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: IntervalSettings = IntervalSettings { confidence: 0.9, resamples: 400, seed: 1 };

    /// Two samples of three counterfactuals; the method has `factor` times the exact difference in the first pixel.
    fn samples(factor: f32) -> Vec<SampleImages> {
        let sample = |sample: usize| {
            let image = vec![0.25, -0.5, 0.5];
            let moved = |factor: f32, by: f32| vec![0.25 + factor * by, -0.5 - by * sample as f32, 0.5];
            let all = |factor: f32| [0.25, 0.5, 0.125].map(|by| moved(factor, by)).to_vec();
            SampleImages { image, exact: all(1.0), approximate: all(factor) }
        };
        vec![sample(1), sample(2)]
    }

    #[test]
    fn differences_are_taken_from_the_sample() {
        let by_images = fidelity_of_images(&samples(0.5), &SETTINGS).unwrap();
        // All values are binary fractions, so the differences are exact: (1, -s, 0) times the step, and (1/2, -s, 0).
        let differences = |factor: f32, sample: usize| {
            [0.25, 0.5, 0.125].map(|by: f32| vec![factor * by, -by * sample as f32, 0.0])
        };
        let own: Vec<_> = [1, 2].map(|sample| (differences(1.0, sample), differences(0.5, sample))).to_vec();
        let mut pairs: Vec<Vec<DifferencePair<'_>>> = Vec::new();
        for (exact, approximate) in &own {
            let both = exact.iter().zip(approximate);
            pairs.push(both.map(|(exact, approximate)| DifferencePair { exact, approximate }).collect());
        }
        assert_eq!(by_images, fidelity(&pairs, &SETTINGS).unwrap());
        // (1/2)^2 / (1 + s^2), summed over both samples.
        let error = by_images.relative_squared_error.unwrap().value;
        assert!((error - 2.0 * 0.25 / (2.0 + 5.0)).abs() < 1e-12, "{error}");
    }

    #[test]
    fn only_what_was_measured_is_compared() {
        let entry = |method, factor| MethodFidelity {
            method,
            fidelity: fidelity_of_images(&samples(factor), &SETTINGS).unwrap(),
        };
        let all = [entry('a', 1.0), entry('b', 0.5)];
        let found = comparisons(&all, &[('a', 'c'), ('a', 'b')]).unwrap();
        let named: Vec<(&str, char, char)> =
            found.iter().map(|one| (one.measure.as_str(), one.first, one.second)).collect();
        assert_eq!(named, [("Pearson over pixels", 'a', 'b'), ("Spearman over counterfactuals", 'a', 'b')]);
        // The exact method correlates perfectly on both samples, the other on none; their orders are all the same.
        assert_eq!((found[0].counts, found[0].first_larger), ([2, 2], 1.0));
        assert_eq!(found[1].first_larger, 0.5);
    }

    #[test]
    fn agreement_is_the_share_of_equal_firsts() {
        let firsts = [[Some(3), Some(3)], [Some(1), Some(2)], [None, None], [Some(5), None]];
        let found = agreement("do they agree", &firsts, 0.9).unwrap();
        assert_eq!(found.share, wilson_interval(2, 4, 0.9).unwrap());
        assert!(agreement::<u32>("of none", &[], 0.9).is_err());
    }
}
