//! The training images that are scored for a query, if not all are: those that are most like it. What that costs is what is
//! not alike and mattered all the same, so that is measured.

use crate::scores::top;
use pentimento_statistics::{StatisticsError, bootstrap_mean};
use serde::Serialize;

/// First places that are looked at, unless a query has fewer candidates among the images that this is measured on: of more
/// places than candidates some could not be kept.
const PLACES: usize = 10;
/// Queries from which on an interval is told. A bootstrap over fewer is too narrow: of normal means it holds the truth in 47 of
/// 100 cases with 2 queries, 83 with 5, 90 with 8.
const LEAST_QUERIES: usize = 8;
/// Confidence of the interval, and draws of queries for it.
const CONFIDENCE: f64 = 0.95;
const RESAMPLES: u32 = 2000;

/// How much of what full scores put first is among the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CandidateQuality {
    /// Candidates of each query.
    pub candidates: usize,
    /// All training images.
    pub all: usize,
    /// Those on which it was measured, in which a query has as large a share of candidates as among all.
    pub images: usize,
    /// Queries that were scored in full with these images.
    pub queries: usize,
    /// First places of the full scores that were looked at. They stand for as large a share of the first places of all
    /// training images.
    pub places: usize,
    /// The share of them that candidates hold.
    pub kept: f64,
    /// Its 95 % interval over queries; none for fewer than 8.
    pub interval: Option<[f64; 2]>,
}

/// The candidates of each query by their likeness with it, `[queries][images]`: their positions, rising.
pub fn candidates(likeness: &[Vec<f64>], count: usize) -> Vec<Vec<usize>> {
    let of_query = |likeness: &Vec<f64>| {
        let mut chosen = top(likeness, count);
        chosen.sort_unstable();
        chosen
    };
    likeness.iter().map(of_query).collect()
}

/// So many of all positions at the most, evenly chosen.
pub fn evenly(all: usize, most: usize) -> Vec<usize> {
    let count = all.min(most);
    (0..count).map(|place| place * all / count).collect()
}

/// As many candidates in a sample of the images as have the same share of it as `count` have of all, rounded up.
pub fn share_of_sample(count: usize, sample: usize, all: usize) -> usize {
    (count * sample).div_ceil(all).min(sample)
}

/// Measures what the candidates of some queries keep of the first places of full scores. `likeness` and `scores` are of the
/// same sample of images, `[queries][images]`; `count` is how many candidates a query has among `all`.
///
/// # Errors
///
/// If there are no queries.
pub fn candidate_quality(
    likeness: &[Vec<f64>],
    scores: &[Vec<f64>],
    count: usize,
    all: usize,
    seed: u64,
) -> Result<CandidateQuality, StatisticsError> {
    let images = scores.first().map_or(0, Vec::len);
    let share = share_of_sample(count, images, all);
    let places = PLACES.min(share);
    let chosen = candidates(likeness, share);
    let kept_of = |(scores, chosen): (&Vec<f64>, &Vec<usize>)| {
        let kept = top(scores, places).iter().filter(|place| chosen.binary_search(place).is_ok()).count();
        [kept as f64 / places as f64]
    };
    let kept: Vec<[f64; 1]> = scores.iter().zip(&chosen).map(kept_of).collect();
    let estimate = bootstrap_mean(&kept, CONFIDENCE, RESAMPLES, seed)?;
    let interval = (kept.len() >= LEAST_QUERIES).then_some([estimate.low, estimate.high]);
    Ok(CandidateQuality {
        candidates: count,
        all,
        images,
        queries: kept.len(),
        places,
        kept: estimate.value,
        interval,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_the_most_alike_in_the_order_of_images() {
        let likeness = [vec![0.1, 0.9, 0.5, 0.9], vec![0.0, 0.0, 0.0, -1.0]];
        assert_eq!(candidates(&likeness, 2), [vec![1, 3], vec![0, 1]]);
        assert_eq!(candidates(&likeness, 9)[0], [0, 1, 2, 3]);
    }

    #[test]
    fn a_sample_is_spread_over_all() {
        assert_eq!(evenly(10, 4), [0, 2, 5, 7]);
        assert_eq!(evenly(3, 8), [0, 1, 2]);
        assert!(evenly(0, 8).is_empty());
        // 10 of 1000 are 1 in 100, and of 1024 in 60000 one is the least.
        assert_eq!(share_of_sample(10, 100, 1000), 1);
        assert_eq!(share_of_sample(1, 1024, 60_000), 1);
        assert_eq!(share_of_sample(500, 100, 400), 100);
    }

    #[test]
    fn what_candidates_keep_is_counted_among_the_first_places() {
        let rising: Vec<f64> = (0..20).map(f64::from).collect();
        let falling: Vec<f64> = rising.iter().map(|value| -value).collect();
        // Half of 20: the likeness chooses 10 to 19, which are all or none of the scores' first ten.
        let found = candidate_quality(
            &[rising.clone(), rising.clone()],
            &[rising.clone(), falling.clone()],
            200,
            400,
            7,
        )
        .unwrap();
        assert_eq!((found.candidates, found.images, found.queries, found.places), (200, 20, 2, 10));
        assert_eq!((found.kept, found.interval), (0.5, None));
        // Of eight queries there is an interval.
        let (likeness, scores) =
            (vec![rising.clone(); 8], [vec![rising; 4], vec![falling.clone(); 4]].concat());
        let found = candidate_quality(&likeness, &scores, 200, 400, 7).unwrap();
        assert!(found.interval.is_some_and(|[low, high]| low < 0.3 && 0.7 < high && high < 1.0), "{found:?}");
        let one =
            candidate_quality(std::slice::from_ref(&falling), std::slice::from_ref(&falling), 100, 400, 7)
                .unwrap();
        // A quarter: 5 candidates, so the first 5 are looked at.
        assert_eq!((one.places, one.kept, one.interval), (5, 1.0, None));
        assert!(candidate_quality(&[], &[], 1, 4, 7).is_err());
    }
}
