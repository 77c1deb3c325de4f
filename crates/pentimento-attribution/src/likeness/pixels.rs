//! Inner products and cosines of rows of values.

use rayon::prelude::*;

use super::{IMAGES, LikenessError, QUERIES, check_lengths};

/// Sums that grow side by side, so that the compiler can keep them in vector registers.
const LANES: usize = 8;

/// Inner products of every query with every image, `[queries][images]`. Rows are pixels, or features of any network.
///
/// # Errors
///
/// [`LikenessError::Empty`] or [`LikenessError::Length`] if there are no queries or no images, or their lengths differ.
pub fn dot(queries: &[Vec<f32>], images: &[Vec<f32>]) -> Result<Vec<Vec<f64>>, LikenessError> {
    check(queries, images)?;
    Ok(products(queries, images))
}

/// Cosines of every query with every image, `[queries][images]`; a row of zeros has the cosine 0 with all.
///
/// # Errors
///
/// As [`dot`].
pub fn cosines(queries: &[Vec<f32>], images: &[Vec<f32>]) -> Result<Vec<Vec<f64>>, LikenessError> {
    check(queries, images)?;
    let lengths =
        |rows: &[Vec<f32>]| -> Vec<f64> { rows.par_iter().map(|row| product(row, row).sqrt()).collect() };
    let (of_queries, of_images) = (lengths(queries), lengths(images));
    let mut scores = products(queries, images);
    for (row, of_query) in scores.iter_mut().zip(&of_queries) {
        for (score, of_image) in row.iter_mut().zip(&of_images) {
            let both = of_query * of_image;
            *score = if both == 0.0 { 0.0 } else { *score / both };
        }
    }
    Ok(scores)
}

fn check(queries: &[Vec<f32>], images: &[Vec<f32>]) -> Result<(), LikenessError> {
    let length = queries.first().or(images.first()).map_or(0, Vec::len);
    check_lengths(QUERIES, queries, length)?;
    check_lengths(IMAGES, images, length)
}

fn products(queries: &[Vec<f32>], images: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let of_query = |query: &Vec<f32>| images.par_iter().map(|image| product(query, image)).collect();
    queries.par_iter().map(of_query).collect()
}

/// The inner product in an order that follows from the length alone. Products of two f32 are exact in f64.
fn product(left: &[f32], right: &[f32]) -> f64 {
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += f64::from(left[lane]) * f64::from(right[lane]);
        }
    }
    let rest: f64 = left_rest.iter().zip(right_rest).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    sums.iter().sum::<f64>() + rest
}
