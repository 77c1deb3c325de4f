//! Which training images are scored for each query, if the recipe does not ask for all: those that look most like it, as the
//! cosine of pixels tells.

use super::queries::Queries;
use super::subject::Subject;
use crate::error::Result;
use pentimento_attribution::gradient::{CandidateQuality, candidate_quality, evenly};
use pentimento_attribution::likeness::cosines;

/// Queries that are scored in full to measure what is kept; training images that this is measured on, at most.
const MOST_QUERIES: usize = 32;
const MOST_IMAGES: usize = 1024;

/// The candidates of each query among all training images, rising.
///
/// # Errors
///
/// If the images are of another size, which opening them excludes.
pub fn candidates(subject: &Subject<'_>, queries: &Queries, count: usize) -> Result<Vec<Vec<usize>>> {
    let all: Vec<usize> = (0..subject.training.images.len()).collect();
    Ok(pentimento_attribution::gradient::candidates(&likeness(subject, queries, &all)?, count))
}

/// The likeness of queries with some training images, `[queries][images]`.
fn likeness(subject: &Subject<'_>, queries: &Queries, images: &[usize]) -> Result<Vec<Vec<f64>>> {
    let asked: Vec<Vec<f32>> = queries.images.iter().map(|query| query.picture.clone()).collect();
    let pixels: Vec<Vec<f32>> = images.iter().map(|&image| subject.training.images.scaled(image)).collect();
    Ok(cosines(&asked, &pixels)?)
}

/// The training images, evenly chosen, on which it is measured what candidates keep, and the queries.
pub fn sample(subject: &Subject<'_>, queries: &Queries) -> (Vec<usize>, Vec<usize>) {
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
    let likeness = likeness(subject, queries, images)?;
    let (all, seed) = (subject.training.images.len(), subject.workspace.recipe.seed);
    Ok(candidate_quality(&likeness, scores, count, all, seed)?)
}
