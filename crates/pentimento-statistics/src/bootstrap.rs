use pentimento_noise::{Purpose, Stream};
use rayon::prelude::*;

use crate::Estimate;
use crate::error::{StatisticsError, check_finite, check_probability};

/// The mean over all values of all samples, with the percentile interval of a cluster bootstrap (Efron and Tibshirani,
/// 1993, chapter 13).
///
/// Each of `samples` holds the values measured on one independent sample, such as the correlations of all counterfactuals
/// of one generated image. Values of one sample hang together, so whole samples are drawn with replacement, as many as
/// there are, and the mean is taken over all values drawn. With one value per sample this is the usual bootstrap.
///
/// The ends of the interval are the (1 ∓ `confidence`) / 2 quantiles of the means of `resamples` such draws, interpolated
/// linearly between order statistics. Resample r uses the stream of the seed with step r: the interval does not depend on
/// the number of threads.
///
/// # Errors
///
/// If there is no sample, a sample has no values or one that is not finite, `resamples` is 0, or the confidence is not
/// strictly between 0 and 1.
pub fn bootstrap_mean<S: AsRef<[f64]>>(
    samples: &[S],
    confidence: f64,
    resamples: u32,
    seed: u64,
) -> Result<Estimate, StatisticsError> {
    let mut ratios = Vec::with_capacity(samples.len());
    for (index, sample) in samples.iter().enumerate() {
        let values = sample.as_ref();
        let field = format!("sample {index}");
        check_finite(&field, values)?;
        if values.is_empty() {
            return Err(StatisticsError::Empty { field });
        }
        ratios.push(Ratio { numerator: values.iter().sum(), denominator: values.len() as f64 });
    }
    let estimate = bootstrap(&ratios, confidence, resamples, seed)?;
    // No sample is empty, so no denominator is zero.
    estimate.ok_or_else(|| StatisticsError::Empty { field: "samples".to_owned() })
}

/// The ratio of two sums over samples, Σ numerator / Σ denominator, with an interval as that of [`bootstrap_mean`]:
/// whole samples are drawn, and each brings its numerator and its denominator. `samples` holds both of each sample.
///
/// `None` if all denominators are zero. Resamples in which they are, which happens when few are not, have no ratio and
/// are left out.
///
/// # Errors
///
/// If there is no sample, a value is not finite, a denominator is negative, `resamples` is 0, or the confidence is not
/// strictly between 0 and 1.
pub fn bootstrap_ratio(
    samples: &[(f64, f64)],
    confidence: f64,
    resamples: u32,
    seed: u64,
) -> Result<Option<Estimate>, StatisticsError> {
    let (numerators, denominators): (Vec<f64>, Vec<f64>) = samples.iter().copied().unzip();
    check_finite("numerators", &numerators)?;
    check_finite("denominators", &denominators)?;
    if let Some(index) = denominators.iter().position(|&denominator| denominator < 0.0) {
        return Err(StatisticsError::NegativeDenominator { index, value: denominators[index] });
    }
    let ratios: Vec<Ratio> =
        samples.iter().map(|&(numerator, denominator)| Ratio { numerator, denominator }).collect();
    bootstrap(&ratios, confidence, resamples, seed)
}

/// What one sample adds to a ratio of sums: for a mean, the sum and the number of its values.
#[derive(Clone, Copy)]
struct Ratio {
    numerator: f64,
    denominator: f64,
}

fn bootstrap(
    samples: &[Ratio],
    confidence: f64,
    resamples: u32,
    seed: u64,
) -> Result<Option<Estimate>, StatisticsError> {
    check_resampling(confidence, resamples)?;
    if samples.is_empty() {
        return Err(StatisticsError::Empty { field: "samples".to_owned() });
    }
    let Some(value) = ratio_of_sums(samples.iter().copied()) else { return Ok(None) };
    let values: Vec<f64> = (0..resamples)
        .into_par_iter()
        .filter_map(|resample| {
            let mut cursor = Stream::new(seed, Purpose::Bootstrap, 0, resample).cursor();
            ratio_of_sums(samples.iter().map(|_| samples[cursor.below(samples.len() as u64) as usize]))
        })
        .collect();
    Ok(percentile_interval(value, values, confidence))
}

/// Refuses a confidence that is not strictly between 0 and 1, and a bootstrap without resamples.
pub(crate) fn check_resampling(confidence: f64, resamples: u32) -> Result<(), StatisticsError> {
    check_probability("confidence", confidence)?;
    if resamples == 0 { Err(StatisticsError::NoResamples) } else { Ok(()) }
}

/// The value with the (1 ∓ `confidence`) / 2 quantiles of what resamples gave; `None` if none gave anything.
pub(crate) fn percentile_interval(value: f64, mut resampled: Vec<f64>, confidence: f64) -> Option<Estimate> {
    if resampled.is_empty() {
        return None;
    }
    resampled.sort_by(f64::total_cmp);
    Some(Estimate {
        value,
        low: quantile(&resampled, (1.0 - confidence) / 2.0),
        high: quantile(&resampled, (1.0 + confidence) / 2.0),
    })
}

fn ratio_of_sums(samples: impl Iterator<Item = Ratio>) -> Option<f64> {
    let (numerator, denominator) = samples.fold((0.0, 0.0), |(numerator, denominator), sample| {
        (numerator + sample.numerator, denominator + sample.denominator)
    });
    (denominator > 0.0).then(|| numerator / denominator)
}

/// The quantile of sorted values, interpolated linearly between the order statistics (definition 7 of Hyndman and Fan,
/// 1996, NumPy's default).
fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    below + (above - below) * position.fract()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_interval_lies_within_the_data_and_comes_back(
            samples in prop::collection::vec(prop::collection::vec(-10.0..10.0_f64, 1..5), 1..12), seed: u64,
        ) {
            let estimate = bootstrap_mean(&samples, 0.9, 200, seed).unwrap();
            let all: Vec<f64> = samples.iter().flatten().copied().collect();
            prop_assert!((estimate.value - all.iter().sum::<f64>() / all.len() as f64).abs() < 1e-12);
            let least = all.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(least - 1e-12 <= estimate.low && estimate.low <= estimate.high);
            prop_assert!(estimate.high <= greatest + 1e-12);
            prop_assert_eq!(bootstrap_mean(&samples, 0.9, 200, seed), Ok(estimate));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            prop_assert_eq!(pool.install(|| bootstrap_mean(&samples, 0.9, 200, seed)), Ok(estimate));
        }
    }

    /// All 27 resamples of three samples of different sizes, against their exact distribution.
    #[test]
    fn quantiles_are_those_of_all_resamples() {
        let samples = [vec![0.0], vec![3.0, 5.0], vec![10.0, 10.0, 13.0]];
        let mut exact: Vec<f64> = (0..27)
            .map(|choice| {
                let chosen = [choice % 3, choice / 3 % 3, choice / 9];
                let values: Vec<f64> = chosen.iter().flat_map(|&index| samples[index].clone()).collect();
                values.iter().sum::<f64>() / values.len() as f64
            })
            .collect();
        exact.sort_by(f64::total_cmp);
        // With confidence c the ends are the quantiles (1 - c) / 2 and (1 + c) / 2; in the middle of a step of the exact
        // distribution (position i of 27 covers i/27 to (i + 1)/27) they must be its value.
        for position in 0..13 {
            let confidence = 1.0 - 2.0 * (f64::from(position) + 0.5) / 27.0;
            let estimate = bootstrap_mean(&samples, confidence, 40_000, 11).unwrap();
            let expected = (exact[position as usize], exact[26 - position as usize]);
            assert!((estimate.low - expected.0).abs() < 1e-9, "{position}: {estimate:?} {expected:?}");
            assert!((estimate.high - expected.1).abs() < 1e-9, "{position}: {estimate:?} {expected:?}");
        }
    }

    #[test]
    fn whole_samples_are_drawn() {
        // Ten samples of 100 equal values: drawing values instead of samples would make the interval ten times narrower.
        let clustered: Vec<Vec<f64>> = (0..10).map(|sample| vec![f64::from(sample); 100]).collect();
        let single: Vec<[f64; 1]> = (0..10).map(|sample| [f64::from(sample)]).collect();
        assert_eq!(bootstrap_mean(&clustered, 0.95, 2000, 3), bootstrap_mean(&single, 0.95, 2000, 3));
    }

    #[test]
    fn the_interval_has_the_width_of_the_normal_approximation() {
        // Values 0..=400: standard deviation of a bootstrap mean is sqrt((401² - 1) / 12 / 401) = 5.78.
        let samples: Vec<[f64; 1]> = (0..=400).map(|value| [f64::from(value)]).collect();
        let estimate = bootstrap_mean(&samples, 0.95, 20_000, 5).unwrap();
        assert_eq!(estimate.value, 200.0);
        let half_width = 1.959_964 * ((401.0_f64 * 401.0 - 1.0) / 12.0 / 401.0).sqrt();
        // The standard error of such a quantile with 20,000 resamples is about 0.11.
        assert!((estimate.low - (200.0 - half_width)).abs() < 0.5, "{estimate:?}");
        assert!((estimate.high - (200.0 + half_width)).abs() < 0.5, "{estimate:?}");
    }

    #[test]
    fn a_ratio_weighs_samples_by_their_denominators() {
        let ratio = |samples: &[(f64, f64)]| bootstrap_ratio(samples, 0.95, 2000, 3);
        // A mean is the ratio of the sums and the numbers of values.
        let samples = [vec![0.0], vec![3.0, 5.0], vec![10.0, 10.0, 13.0]];
        let mean = bootstrap_mean(&samples, 0.95, 2000, 3).unwrap();
        assert_eq!(ratio(&[(0.0, 1.0), (8.0, 2.0), (33.0, 3.0)]), Ok(Some(mean)));
        // The resamples are 2/0, which is left out, 4/2 and 6/4.
        let estimate = ratio(&[(1.0, 0.0), (3.0, 2.0)]).unwrap().unwrap();
        assert_eq!((estimate.value, estimate.low, estimate.high), (2.0, 1.5, 2.0));
        assert_eq!(ratio(&[(1.0, 0.0), (0.0, 0.0)]), Ok(None));
        assert_eq!(
            ratio(&[(1.0, 1.0), (1.0, -0.5)]),
            Err(StatisticsError::NegativeDenominator { index: 1, value: -0.5 })
        );
        assert!(
            ratio(&[(1.0, f64::INFINITY)]).is_err()
                && ratio(&[(f64::NAN, 1.0)]).is_err()
                && ratio(&[]).is_err()
        );
    }

    #[test]
    fn wrong_data_is_refused() {
        let none: [Vec<f64>; 0] = [];
        assert!(bootstrap_mean(&none, 0.95, 10, 0).is_err());
        assert_eq!(bootstrap_mean(&[[1.0]], 0.95, 0, 0), Err(StatisticsError::NoResamples));
        assert!(bootstrap_mean(&[[1.0]], 1.0, 10, 0).is_err());
        assert_eq!(
            bootstrap_mean(&[vec![1.0], vec![]], 0.95, 10, 0),
            Err(StatisticsError::Empty { field: "sample 1".to_owned() })
        );
        assert_eq!(
            bootstrap_mean(&[vec![1.0], vec![2.0, f64::NAN]], 0.95, 10, 0).unwrap_err().to_string(),
            "sample 1: value 1 is NaN, not a finite number"
        );
    }
}
