//! Inner products of the features of many images with those of some queries, read once.

use super::kernel::{ImageRows, KernelError};
use pentimento_kernels::{ConvGeometry, ConvShape, conv2d};
use rayon::prelude::*;
use std::ops::Range;

/// Images whose products are made at once: a block of 512 features of 2048 numbers is four megabytes.
const BLOCK_IMAGES: usize = 512;

/// Numbers of a feature that are summed in f32, before their sum is added in f64.
const SUMMED_IN_F32: usize = 4096;

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
    let shape = KernelError::Shape { found: queries.len(), expected: dimension };
    if dimension == 0 || queries.is_empty() || !queries.len().is_multiple_of(dimension) {
        return Err(shape.into());
    }
    let count = queries.len() / dimension;
    // The queries stand where a pointwise convolution has its weight, `[feature, queries]`.
    let depths: Vec<Range<usize>> = (0..dimension.div_ceil(SUMMED_IN_F32))
        .map(|part| part * SUMMED_IN_F32..((part + 1) * SUMMED_IN_F32).min(dimension))
        .collect();
    let weights: Vec<Vec<f32>> = depths
        .iter()
        .map(|depth| {
            depth
                .clone()
                .flat_map(|place| (0..count).map(move |query| queries[query * dimension + place]))
                .collect()
        })
        .collect();
    let blocks = images.len().div_ceil(BLOCK_IMAGES);
    let parts: Vec<Result<Vec<f64>, E>> = (0..blocks)
        .into_par_iter()
        .map(|block| {
            let first = images.start + block * BLOCK_IMAGES;
            let images = first..(first + BLOCK_IMAGES).min(images.end);
            let values = rows.block(images.clone())?;
            let mut sums = vec![0.0f64; images.len() * count];
            for (depth, weight) in depths.iter().zip(&weights) {
                let input = [images.len(), 1, 1, depth.len()];
                let shape = ConvShape::new(input, count, ConvGeometry::POINTWISE)
                    .map_err(|_| KernelError::Shape { found: queries.len(), expected: dimension })?;
                let mut output = vec![0.0f32; images.len() * count];
                if depths.len() == 1 {
                    conv2d(&shape, &values, weight, None, &mut output);
                } else {
                    let part: Vec<f32> = values
                        .chunks_exact(dimension)
                        .flat_map(|row| row[depth.clone()].iter().copied())
                        .collect();
                    conv2d(&shape, &part, weight, None, &mut output);
                }
                for (sum, value) in sums.iter_mut().zip(output) {
                    *sum += f64::from(value);
                }
            }
            Ok(sums)
        })
        .collect();
    let mut products = vec![Vec::with_capacity(images.len()); count];
    for part in parts {
        for row in part?.chunks_exact(count) {
            for (scores, value) in products.iter_mut().zip(row) {
                scores.push(*value);
            }
        }
    }
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
