//! Nearest-neighbour upsampling by two.

use rayon::prelude::*;

/// Each pixel becomes a block of 2x2: `[images, height, width, channels]` to `[images, 2 height, 2 width, channels]`.
///
/// # Panics
///
/// If the slices do not have these lengths, or a row is empty.
pub fn upsample_nearest<T: Copy + Send + Sync>(width: usize, channels: usize, input: &[T], output: &mut [T]) {
    assert_eq!(output.len(), 4 * input.len(), "length of an upsampled image");
    let row = row_length(width, channels, input.len());
    output.par_chunks_exact_mut(4 * row).zip(input.par_chunks_exact(row)).for_each(|(output, input)| {
        let (upper, lower) = output.split_at_mut(2 * row);
        for (pair, pixel) in upper.chunks_exact_mut(2 * channels).zip(input.chunks_exact(channels)) {
            pair[..channels].copy_from_slice(pixel);
            pair[channels..].copy_from_slice(pixel);
        }
        lower.copy_from_slice(upper);
    });
}

/// Length of a row of the smaller image, which must fill `values` a whole number of times.
fn row_length(width: usize, channels: usize, values: usize) -> usize {
    let row = width * channels;
    assert!(row > 0 && values.is_multiple_of(row), "rows of an image");
    row
}

/// The transpose of [`upsample_nearest`]: each block of 2x2 is summed.
///
/// # Panics
///
/// As [`upsample_nearest`].
pub fn upsample_nearest_backward<T>(
    width: usize,
    channels: usize,
    output_gradient: &[T],
    input_gradient: &mut [T],
) where
    T: Copy + Send + Sync + std::ops::Add<Output = T>,
{
    assert_eq!(output_gradient.len(), 4 * input_gradient.len(), "length of an upsampled image");
    let row = row_length(width, channels, input_gradient.len());
    input_gradient.par_chunks_exact_mut(row).zip(output_gradient.par_chunks_exact(4 * row)).for_each(
        |(target, source)| {
            let (upper, lower) = source.split_at(2 * row);
            let blocks = upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels));
            for (pixel, (above, below)) in target.chunks_exact_mut(channels).zip(blocks) {
                for c in 0..channels {
                    pixel[c] = (above[c] + above[channels + c]) + (below[c] + below[channels + c]);
                }
            }
        },
    );
}
