//! The training images that are scored for a query, if the recipe does not ask for all: those that look most like it, as the
//! authors of DAS choose them (Lin et al. 2025, section 4.3, by CLIP; here by the cosine of pixels, which needs no other network).
//!
//! It saves the gradients of images that are no query's candidate. What it costs is what does not look alike and mattered all
//! the same, so that is measured.

use super::queries::Queries;
use super::subject::Subject;
use super::top;
use crate::error::Result;
use pentimento_attribution::likeness::cosines;
use pentimento_evaluation::statistics::bootstrap_mean;
use serde::Serialize;

/// Queries that are scored in full to measure what is kept; training images that this is measured on, at most.
const MOST_QUERIES: usize = 32;
const MOST_IMAGES: usize = 1024;
/// First places that are looked at.
const PLACES: usize = 10;
/// Draws of queries for the interval.
const RESAMPLES: u32 = 2000;

/// How much of what full scores put first is among the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CandidateQuality {
    /// Candidates of each query.
    pub candidates: usize,
    /// Training images on which it was measured, in which a query has as large a share of candidates as among all.
    pub images: usize,
    /// Queries that were scored in full with these images.
    pub queries: usize,
    /// First places of the full scores that were looked at.
    pub places: usize,
    /// The share of them that candidates hold.
    pub kept: f64,
    /// Its 95 % interval over queries; none for a single one.
    pub interval: Option<[f64; 2]>,
}

/// The candidates of each query among some training images, rising.
///
/// # Errors
///
/// If the images are of another size, which opening them excludes.
pub fn candidates(
    subject: &Subject<'_>,
    queries: &Queries,
    images: &[usize],
    count: usize,
) -> Result<Vec<Vec<usize>>> {
    let asked: Vec<Vec<f32>> = queries.images.iter().map(|query| query.image.clone()).collect();
    let pixels: Vec<Vec<f32>> = images.iter().map(|&image| subject.training.images.scaled(image)).collect();
    let of_query = |cosines: &Vec<f64>| {
        let mut chosen: Vec<usize> = top(cosines, count).into_iter().map(|place| images[place]).collect();
        chosen.sort_unstable();
        chosen
    };
    Ok(cosines(&asked, &pixels)?.iter().map(of_query).collect())
}

/// The training images, evenly chosen, on which it is measured what candidates keep, and the queries.
pub fn sample(subject: &Subject<'_>, queries: &Queries) -> (Vec<usize>, Vec<usize>) {
    let evenly = |all: usize, most: usize| -> Vec<usize> {
        let count = all.min(most);
        (0..count).map(|place| place * all / count).collect()
    };
    (evenly(subject.training.images.len(), MOST_IMAGES), evenly(queries.images.len(), MOST_QUERIES))
}

/// Measures what the candidates of `queries` keep of the first places of full scores, `[queries][images]`, with the images
/// of the sample.
///
/// # Errors
///
/// As [`candidates`], and of statistics.
pub fn quality(
    subject: &Subject<'_>,
    queries: &Queries,
    images: &[usize],
    scores: &[Vec<f64>],
    count: usize,
) -> Result<CandidateQuality> {
    let all = subject.training.images.len();
    // As large a share of the sample as of all images, rounded up.
    let among = (count * images.len()).div_ceil(all).min(images.len());
    let places = PLACES.min(images.len());
    let chosen = candidates(subject, queries, images, among)?;
    let kept_of = |(scores, chosen): (&Vec<f64>, &Vec<usize>)| {
        let first = top(scores, places);
        let kept = first.iter().filter(|&&place| chosen.binary_search(&images[place]).is_ok()).count();
        [kept as f64 / places as f64]
    };
    let kept: Vec<[f64; 1]> = scores.iter().zip(&chosen).map(kept_of).collect();
    let estimate = bootstrap_mean(&kept, 0.95, RESAMPLES, subject.workspace.recipe.seed)?;
    let interval = (kept.len() > 1).then_some([estimate.low, estimate.high]);
    let (images, queries) = (images.len(), kept.len());
    Ok(CandidateQuality { candidates: count, images, queries, places, kept: estimate.value, interval })
}
