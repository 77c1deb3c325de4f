use serde::{Deserialize, Serialize};

use super::resampling::Methods;
use crate::error::check_range;
use crate::{DefinedMean, StatisticsError};

/// How far outcomes come back when the same subsets are trained on with another seed, and what that leaves for a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseCeiling {
    /// The number of seeds.
    pub seeds: usize,
    /// The mean correlation of the outcomes of two seeds, over all queries and pairs of seeds.
    pub between_seeds: DefinedMean,
    /// The reliability of the outcomes averaged over all seeds, ρ' = k ρ / (1 + (k - 1) ρ) for k seeds with the correlation ρ
    /// (Spearman, 1910; Brown, 1910); `None` without a correlation, and where that is -1 / (k - 1) or below.
    pub reliability: Option<f64>,
    /// √ρ', about the largest linear datamodelling score that is to be expected for the averaged outcomes; `None` if ρ' is
    /// not known or is negative. It is one for linear correlations, and an approximation for ranks.
    pub largest_score: Option<f64>,
}

/// The noise ceiling of outcomes, from `seeds`: for each training seed a table `[subsets][queries]` of the same subsets.
///
/// The correlation of two seeds is that of [`score`](super::score) with one seed as the prediction of the other, which also
/// gives its interval.
///
/// # Errors
///
/// If there are fewer than two seeds, a table is empty, the tables differ in shape, or a value is not finite.
pub fn noise_ceiling<R: AsRef<[f64]>>(seeds: &[&[R]]) -> Result<NoiseCeiling, StatisticsError> {
    let count = seeds.len();
    check_range("seeds", count as f64, 2.0, f64::INFINITY)?;
    let names: Vec<String> = (0..count).map(|seed| format!("outcomes of seed {seed}")).collect();
    let tables: Vec<(&str, &[R])> = names.iter().map(String::as_str).zip(seeds.iter().copied()).collect();
    let mut correlations: Vec<Option<f64>> = Vec::new();
    for (seed, &table) in tables.iter().enumerate().take(count - 1) {
        let methods = Methods::new(&tables[seed + 1..], table)?;
        correlations.extend(methods.correlations().into_iter().flatten());
    }
    let between_seeds: DefinedMean = correlations.into_iter().collect();
    let count = count as f64;
    let denominator = |mean: f64| 1.0 + (count - 1.0) * mean;
    let reliability = between_seeds
        .mean
        .filter(|&mean| denominator(mean) > 0.0)
        .map(|mean| count * mean / denominator(mean));
    let largest_score = reliability.filter(|&reliability| reliability >= 0.0).map(f64::sqrt);
    Ok(NoiseCeiling { seeds: seeds.len(), between_seeds, reliability, largest_score })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_outcomes_are_reliable_and_opposite_ones_are_not() {
        let outcomes = [[1.0, 5.0], [2.0, 3.0], [4.0, 4.0]];
        let opposite = outcomes.map(|row| row.map(|value| -value));
        let ceiling = noise_ceiling(&[&outcomes, &outcomes, &outcomes]).unwrap();
        assert_eq!((ceiling.seeds, ceiling.between_seeds.defined), (3, 6));
        assert_eq!((ceiling.reliability, ceiling.largest_score), (Some(1.0), Some(1.0)));
        let ceiling = noise_ceiling(&[&outcomes, &opposite]).unwrap();
        assert_eq!(ceiling.between_seeds.mean, Some(-1.0));
        assert_eq!((ceiling.reliability, ceiling.largest_score), (None, None));
        // Ranks 1 2 3 and 2 1 3, and the same turned round: ρ = 1/2 and -1/2.
        let half = |rows: [f64; 3]| rows.map(|value| [value]);
        let ceiling = noise_ceiling(&[&half([1.0, 2.0, 3.0]), &half([2.0, 1.0, 3.0])]).unwrap();
        assert_eq!(ceiling.reliability, Some(2.0 / 3.0));
        let ceiling = noise_ceiling(&[&half([1.0, 2.0, 3.0]), &half([2.0, 3.0, 1.0])]).unwrap();
        assert_eq!((ceiling.reliability, ceiling.largest_score), (Some(-2.0), None));
    }

    #[test]
    fn constant_outcomes_are_counted() {
        let ceiling = noise_ceiling(&[&[[1.0, 5.0], [2.0, 5.0]], &[[1.0, 1.0], [2.0, 4.0]]]).unwrap();
        assert_eq!(ceiling.between_seeds, DefinedMean { mean: Some(1.0), defined: 1, undefined: 1 });
        let ceiling = noise_ceiling(&[&[[5.0], [5.0]], &[[1.0], [2.0]]]).unwrap();
        assert_eq!((ceiling.between_seeds.mean, ceiling.reliability), (None, None));
    }

    #[test]
    fn wrong_data_is_refused() {
        let outcomes: &[[f64; 1]] = &[[1.0], [2.0]];
        assert_eq!(
            noise_ceiling(&[outcomes]).unwrap_err().to_string(),
            "seeds: 1 must be at least 2 and at most inf"
        );
        assert_eq!(
            noise_ceiling(&[outcomes, &outcomes[..1]]).unwrap_err().to_string(),
            "outcomes of seed 1, subsets: 1 values, but there must be 2"
        );
        assert!(noise_ceiling(&[outcomes, &[[1.0], [f64::NAN]]]).is_err());
    }
}
