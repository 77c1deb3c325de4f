//! Inner products of the features of many images with those of some queries, read once.

use super::kernel::{ImageRows, KernelError};
use pentimento_kernels::PackedQueries;
use rayon::prelude::*;
use std::ops::Range;

/// Images whose features are read at once: four files.
const BLOCK_IMAGES: usize = 256;

/// Inner products of each query, `[queries, feature]`, with each of some images, `[queries][images]`.
///
/// # Errors
///
/// [`KernelError::Shape`] if the queries are no rows of the images' length, [`KernelError::NotFinite`]; as reading the
/// images.
pub fn products<E: From<KernelError> + Send>(
    rows: &ImageRows<'_, E>,
    images: Range<usize>,
    queries: &[f32],
) -> Result<Vec<Vec<f64>>, E> {
    let dimension = rows.dimension;
    if dimension == 0 || queries.is_empty() || !queries.len().is_multiple_of(dimension) {
        return Err(KernelError::Shape { found: queries.len(), expected: dimension }.into());
    }
    let count = queries.len() / dimension;
    let mut products: Vec<Vec<f64>> = (0..count).into_par_iter().map(|_| vec![0.0; images.len()]).collect();
    let mut blocks: Vec<Vec<&mut [f64]>> = Vec::new();
    blocks.resize_with(images.len().div_ceil(BLOCK_IMAGES), || Vec::with_capacity(count));
    for products in &mut products {
        for (block, part) in blocks.iter_mut().zip(products.chunks_mut(BLOCK_IMAGES)) {
            block.push(part);
        }
    }
    // A copy for each thread: with one for all, two of them took a fifth longer.
    let queries = rayon::broadcast(|_| PackedQueries::new(queries, dimension));
    blocks.into_par_iter().enumerate().try_for_each(|(number, mut products)| -> Result<(), E> {
        let first = images.start + number * BLOCK_IMAGES;
        let images = first..(first + BLOCK_IMAGES).min(images.end);
        let block = rows.block(images.clone())?;
        let queries = &queries[rayon::current_thread_index().unwrap_or_default() % queries.len()];
        queries.products(|image, first, target| block.read(image, dimension, first, target), &mut products);
        // What is not finite in a feature shows in its product with any query.
        let finite = products.first().is_none_or(|products| products.iter().all(|value| value.is_finite()));
        match if finite { None } else { block.not_finite(images.len(), dimension) } {
            Some(place) => Err(KernelError::NotFinite { image: images.start + place }.into()),
            None => Ok(()),
        }
    })?;
    Ok(products)
}

/// The length of a feature, summed in eight places at once.
pub(super) fn length(row: &[f32]) -> f64 {
    let (chunks, rest) = row.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    (sums.iter().sum::<f64>() + rest).sqrt()
}
