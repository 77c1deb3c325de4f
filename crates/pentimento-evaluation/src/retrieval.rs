//! Whether scores find training images of which it is known that a query rests on them: planted copies, or a planted set.

use pentimento_statistics::{
    Estimate, IntervalSettings, StatisticsError, bootstrap_mean, precision_at, recall_at,
};
use serde::{Deserialize, Serialize};

/// How well known sources were found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrieved {
    /// At each number of first images that was asked for and that there are.
    pub at: Vec<RetrievedAt>,
    /// The mean of one over the rank of the first source; with its interval over queries. Among equal scores the source comes last.
    pub reciprocal_rank: Estimate,
}

/// How many of the first images are sources.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrievedAt {
    /// How many of the images with the highest scores are looked at.
    pub first: usize,
    /// Which share of them are sources, mean over queries, with its interval over queries.
    pub precision: Estimate,
    /// The most that could be: less than one where a query has fewer sources.
    pub most: f64,
    /// What scores that know nothing have on average.
    pub by_chance: f64,
    /// Which share of a query's sources is among them, mean over queries.
    pub recall: f64,
}

/// Holds scores `[queries][images]` against the sources of each query, positions of images.
///
/// # Errors
///
/// If there is no query, one has no source or one that does not exist, or a score is not finite.
pub fn retrieved(
    scores: &[Vec<f64>],
    sources: &[Vec<usize>],
    firsts: &[usize],
    interval: IntervalSettings,
) -> Result<Retrieved, StatisticsError> {
    let images = scores.first().map_or(0, Vec::len);
    if sources.len() != scores.len() {
        let (length, expected) = (sources.len(), scores.len());
        return Err(StatisticsError::WrongLength { field: "sources".into(), length, expected });
    }
    let relevant = sources.iter().map(|sources| relevant(sources, images)).collect::<Result<Vec<_>, _>>()?;
    let mean = |values: &[f64]| {
        let each: Vec<[f64; 1]> = values.iter().map(|&value| [value]).collect();
        bootstrap_mean(&each, interval.confidence, interval.resamples, interval.seed)
    };
    let queries = scores.len() as f64;
    let mut at = Vec::new();
    for &first in firsts.iter().filter(|&&first| first <= images) {
        let (mut precisions, mut recalls) = (Vec::new(), 0.0);
        for (scores, relevant) in scores.iter().zip(&relevant) {
            precisions.push(precision_at(relevant, scores, first)?);
            recalls += recall_at(relevant, scores, first)?.unwrap_or_default();
        }
        let counts = || sources.iter().map(|sources| sources.len() as f64);
        at.push(RetrievedAt {
            first,
            precision: mean(&precisions)?,
            most: counts().map(|count| (count / first as f64).min(1.0)).sum::<f64>() / queries,
            by_chance: counts().map(|count| count / images as f64).sum::<f64>() / queries,
            recall: recalls / queries,
        });
    }
    let reciprocals: Vec<f64> =
        scores.iter().zip(&relevant).map(|(scores, relevant)| reciprocal_rank(scores, relevant)).collect();
    Ok(Retrieved { at, reciprocal_rank: mean(&reciprocals)? })
}

fn relevant(sources: &[usize], images: usize) -> Result<Vec<bool>, StatisticsError> {
    if sources.is_empty() {
        return Err(StatisticsError::Empty { field: "the sources of a query".into() });
    }
    let mut relevant = vec![false; images];
    for &source in sources {
        match relevant.get_mut(source) {
            Some(place) => *place = true,
            None => {
                return Err(StatisticsError::WrongLength {
                    field: "the images of a query".into(),
                    length: images,
                    expected: source + 1,
                });
            }
        }
    }
    Ok(relevant)
}

/// One over the rank of the first relevant item, which comes after all that are not relevant and score as high.
fn reciprocal_rank(scores: &[f64], relevant: &[bool]) -> f64 {
    let pairs = || scores.iter().zip(relevant);
    let best = pairs().filter(|(_, relevant)| **relevant).map(|(score, _)| *score).max_by(f64::total_cmp);
    let Some(best) = best else { return 0.0 };
    let before = pairs().filter(|(score, relevant)| !**relevant && **score >= best).count();
    1.0 / (before + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: IntervalSettings = IntervalSettings { confidence: 0.95, resamples: 200, seed: 1 };

    #[test]
    fn what_is_found_by_hand() {
        // Query 0: sources 0 and 3 are first and third. Query 1: its only source is last of four, tied with none.
        let scores = vec![vec![9.0, 8.0, 1.0, 5.0], vec![4.0, 3.0, 2.0, 1.0]];
        let sources = vec![vec![0, 3], vec![3]];
        let found = retrieved(&scores, &sources, &[1, 3, 5], INTERVAL).unwrap();
        assert_eq!(
            found.at.iter().map(|at| at.first).collect::<Vec<_>>(),
            [1, 3],
            "five are more than there are"
        );
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
        close(found.at[0].precision.value, 0.5);
        close(found.at[0].recall, 0.25);
        close(found.at[0].most, 1.0);
        close(found.at[0].by_chance, (0.5 + 0.25) / 2.0);
        close(found.at[1].precision.value, (2.0 / 3.0) / 2.0);
        close(found.at[1].most, (2.0 / 3.0 + 1.0 / 3.0) / 2.0);
        close(found.reciprocal_rank.value, (1.0 + 0.25) / 2.0);
        assert!(found.reciprocal_rank.low <= found.reciprocal_rank.value);
    }

    #[test]
    fn equal_scores_find_nothing_by_luck() {
        let found = retrieved(&[vec![0.0; 10]], &[vec![4]], &[1, 5, 10], INTERVAL).unwrap();
        for at in &found.at {
            assert!((at.precision.value - 0.1).abs() < 1e-12 && (at.by_chance - 0.1).abs() < 1e-12, "{at:?}");
        }
        assert!((found.reciprocal_rank.value - 0.1).abs() < 1e-12);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let scores = [vec![1.0, 2.0]];
        assert!(retrieved(&scores, &[], &[1], INTERVAL).is_err());
        assert!(retrieved(&scores, &[vec![]], &[1], INTERVAL).is_err());
        assert!(retrieved(&scores, &[vec![2]], &[1], INTERVAL).is_err());
        assert!(retrieved(&[vec![1.0, f64::NAN]], &[vec![0]], &[1], INTERVAL).is_err());
        assert!(retrieved(&[], &[], &[1], INTERVAL).is_err());
    }
}
