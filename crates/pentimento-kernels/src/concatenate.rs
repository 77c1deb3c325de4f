//! The channels of two activations side by side: the skip connections of a U-Net.

use rayon::prelude::*;

/// Pixels per task: enough that starting a task does not count.
const PIXELS_OF_A_TASK: usize = 1024;

/// `output[pixel] = (first[pixel], second[pixel])` with `channels` and `more` values each.
///
/// # Panics
///
/// If the slices do not have as many pixels as each other.
pub fn concatenate<T: Copy + Send + Sync>(
    channels: usize,
    more: usize,
    first: &[T],
    second: &[T],
    output: &mut [T],
) {
    let pixels = pixels(channels, more, first.len(), second.len(), output.len());
    let block = PIXELS_OF_A_TASK.min(pixels.max(1));
    output
        .par_chunks_mut(block * (channels + more))
        .zip(first.par_chunks(block * channels))
        .zip(second.par_chunks(block * more))
        .for_each(|((output, first), second)| {
            let rows = output.chunks_exact_mut(channels + more);
            for ((row, first), second) in
                rows.zip(first.chunks_exact(channels)).zip(second.chunks_exact(more))
            {
                row[..channels].copy_from_slice(first);
                row[channels..].copy_from_slice(second);
            }
        });
}

/// The inverse, and the transpose, of [`concatenate`].
///
/// # Panics
///
/// As [`concatenate`].
pub fn split<T: Copy + Send + Sync>(
    channels: usize,
    more: usize,
    both: &[T],
    first: &mut [T],
    second: &mut [T],
) {
    let pixels = pixels(channels, more, first.len(), second.len(), both.len());
    let block = PIXELS_OF_A_TASK.min(pixels.max(1));
    both.par_chunks(block * (channels + more))
        .zip(first.par_chunks_mut(block * channels))
        .zip(second.par_chunks_mut(block * more))
        .for_each(|((both, first), second)| {
            let rows = both.chunks_exact(channels + more);
            for ((row, first), second) in
                rows.zip(first.chunks_exact_mut(channels)).zip(second.chunks_exact_mut(more))
            {
                first.copy_from_slice(&row[..channels]);
                second.copy_from_slice(&row[channels..]);
            }
        });
}

fn pixels(channels: usize, more: usize, first: usize, second: usize, both: usize) -> usize {
    assert!(channels > 0 && more > 0, "channels of concatenated activations");
    let pixels = first / channels;
    let lengths = (pixels * channels, pixels * more, pixels * (channels + more));
    assert_eq!((first, second, both), lengths, "lengths of concatenated activations");
    pixels
}
