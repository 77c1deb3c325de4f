//! The gradient of a weight: `G' (sum over tiles of (B' d B)' (A dy A')) G`.
//!
//! The sum over tiles has two orders, chosen by the shape alone. Where the transformed weight is small, chunks of
//! consecutive images are summed apart, each in the cache. Where it is large, doing so would read and write it again
//! and again; then all tiles are transformed first, and each of the 36 points is one product over all of them.

#![allow(unsafe_code, reason = "vector transforms work on raw pointers; sizes are checked at the entries")]
#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of vectors go through memory; indices stay in registers"
)]

use super::{
    BYTES_OF_A_TASK, PATCH, POINTS, TILE, TILES_TOGETHER, Tiling, fits, load_part, padded, square,
    store_part, tiles_of_a_task, transform_patch, transforms, values_of_a_tile,
};
use crate::conv_shape::ConvShape;
use crate::dense::add_transposed_product;
use crate::lanes::{Instructions, LANES, Lanes};
use crate::memory::{Buffer, with_scratch};
use crate::product::SharedOutput;
use crate::{CHUNKS_OF_A_SUM, fixed_sum};
use rayon::prelude::*;
use std::ops::Range;

/// Input channels of one product of [`sum_by_points`].
const CHANNELS_OF_A_TASK: usize = 64;

/// Whether the gradient of a weight is computed this way. Each of the eight chunks of images transforms its sums back once, which
/// few tiles do not pay: 8 images of 8x8 pixels and 256 channels (4 tiles a chunk) 80 GFLOP/s, directly 111; 16x16
/// pixels (16 tiles) 283, directly 234.
pub(crate) fn fits_weight_gradient(shape: &ConvShape) -> bool {
    const FEWEST_TILES_OF_A_CHUNK: usize = 12;
    let tiles = shape.images * Tiling::new(shape).tiles_per_image;
    fits(shape) && tiles >= FEWEST_TILES_OF_A_CHUNK * CHUNKS_OF_A_SUM
}

/// Whether all tiles are transformed first: the transformed weight has more than half of a core's second-level cache.
/// GFLOP/s of the direct sum's operations this way and by chunks (8 images, 2 cores with AVX-512, 2026-11-22): 16x16
/// pixels from 128 to 256 channels 660 and 283; 32x32 from 128 to 128 709 and 485; 14x14 from 128 to 64, whose
/// transformed weight is about as large as the bound, 449 and 475.
fn by_points(shape: &ConvShape) -> bool {
    POINTS * shape.input_channels * padded(shape.output_channels) * size_of::<f32>() > BYTES_OF_A_TASK
}

wrap! {
    transform_tiles(job: &GradientJob<'_>, tiles: Range<usize>, inputs: SharedOutput, outputs: SharedOutput, stride: usize);
    add_points(job: &GradientJob<'_>, count: usize, inputs: &[f32], outputs: &[f32], sums: &mut [f32]);
    add_point(job: &GradientJob<'_>, task: PointTask, inputs: &[f32], outputs: &[f32], sums: SharedOutput);
    from_points(job: &GradientJob<'_>, channels: Range<usize>, sums: &[f32], target: SharedOutput);
}

/// The gradient of a weight over many tiles.
struct GradientJob<'a> {
    tiling: Tiling,
    input: &'a [f32],
    output_gradient: &'a [f32],
    depth: usize,
    columns: usize,
}

/// Some input channels of one point.
struct PointTask {
    point: usize,
    channels: Range<usize>,
    tiles: usize,
}

/// The gradient of the weight, summed over images in a fixed order.
pub(crate) fn backward_weight(
    instructions: Instructions,
    shape: &ConvShape,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let (depth, columns) = (shape.input_channels, shape.output_channels);
    assert_eq!(weight_gradient.len(), 9 * depth * columns, "length of a weight's gradient");
    let job = GradientJob { tiling: Tiling::new(shape), input, output_gradient, depth, columns };
    if by_points(shape) {
        sum_by_points(instructions, &job, shape.images, weight_gradient);
    } else {
        sum_by_chunks(instructions, &job, shape.images, weight_gradient);
    }
}

fn sum_by_chunks(instructions: Instructions, job: &GradientJob<'_>, images: usize, target: &mut [f32]) {
    let (depth, width) = (padded(job.depth), padded(job.columns));
    let (values, points) = (values_of_a_tile(job.depth, job.columns), POINTS * job.depth * width);
    // How many tiles are summed in one chain is part of the result, so it follows from the channels alone.
    let together = (BYTES_OF_A_TASK / (values * size_of::<f32>())).next_multiple_of(TILES_TOGETHER);
    fixed_sum(images, target, |images, sum| {
        let all = images.start * job.tiling.tiles_per_image..images.end * job.tiling.tiles_per_image;
        with_scratch(points + values * together.min(all.len()), |scratch| {
            let (sums, scratch) = scratch.split_at_mut(points);
            sums.fill(0.0);
            for first in all.clone().step_by(together) {
                let tiles = first..(first + together).min(all.end);
                let count = tiles.len();
                let (inputs, outputs) = scratch.split_at_mut(POINTS * count * depth);
                let outputs = &mut outputs[..POINTS * count * width];
                let targets = (SharedOutput::new(inputs), SharedOutput::new(outputs));
                on!(instructions, transform_tiles(job, tiles, targets.0, targets.1, count));
                on!(instructions, add_points(job, count, inputs, outputs, sums));
            }
            on!(instructions, from_points(job, 0..job.depth, sums, SharedOutput::new(sum)));
        });
    });
}

fn sum_by_points(instructions: Instructions, job: &GradientJob<'_>, images: usize, target: &mut [f32]) {
    let (depth, width) = (padded(job.depth), padded(job.columns));
    let total = images * job.tiling.tiles_per_image;
    let mut inputs = Buffer::new(POINTS * total * depth);
    let mut outputs = Buffer::new(POINTS * total * width);
    let targets = (SharedOutput::new(inputs.values()), SharedOutput::new(outputs.values()));
    let together = tiles_of_a_task(values_of_a_tile(job.depth, job.columns), total);
    (0..total.div_ceil(together)).into_par_iter().for_each(|task| {
        let tiles = task * together..((task + 1) * together).min(total);
        let place = |shared: SharedOutput, channels: usize| {
            let (start, length) = (tiles.start * channels, POINTS * total * channels);
            shared.part(start, length - start)
        };
        let (inputs, outputs) = (place(targets.0, depth), place(targets.1, width));
        on!(instructions, transform_tiles(job, tiles.clone(), inputs, outputs, total));
    });
    let mut sums = Buffer::new(POINTS * job.depth * width);
    fill_with_zeros(sums.values());
    let shared = SharedOutput::new(sums.values());
    let (inputs, outputs): (&[f32], &[f32]) = (inputs.values(), outputs.values());
    let blocks = job.depth.div_ceil(CHANNELS_OF_A_TASK);
    (0..POINTS * blocks).into_par_iter().for_each(|task| {
        let first = task % blocks * CHANNELS_OF_A_TASK;
        let channels = first..(first + CHANNELS_OF_A_TASK).min(job.depth);
        let task = PointTask { point: task / blocks, channels, tiles: total };
        on!(instructions, add_point(job, task, inputs, outputs, shared));
    });
    fill_with_zeros(target);
    let (sums, target): (&[f32], SharedOutput) = (sums.values(), SharedOutput::new(target));
    (0..job.depth).into_par_iter().with_min_len(8).for_each(|channel| {
        on!(instructions, from_points(job, channel..channel + 1, sums, target));
    });
}

fn fill_with_zeros(values: &mut [f32]) {
    values.par_chunks_mut(BYTES_OF_A_TASK / size_of::<f32>()).for_each(|part| part.fill(0.0));
}

/// `B' d B` and `A dy A'` of some tiles, to `[point][.. stride ..][channel]`; the targets begin at the first tile's.
#[inline(always)]
unsafe fn transform_tiles<V: Lanes>(
    job: &GradientJob<'_>,
    tiles: Range<usize>,
    inputs: SharedOutput,
    outputs: SharedOutput,
    stride: usize,
) {
    let (depth, width) = (padded(job.depth), padded(job.columns));
    let length = |channels: usize| ((POINTS - 1) * stride + tiles.len()) * channels;
    let (inputs, outputs) = (inputs.part(0, length(depth)), outputs.part(0, length(width)));
    for (index, tile) in tiles.enumerate() {
        let (image, y, x) = job.tiling.place(tile);
        let pixels = square::<PATCH, POINTS>(&job.tiling, image, [y, x], job.input, job.depth);
        // SAFETY: both targets have a row for each point and tile, by the lengths above.
        unsafe {
            transform_patch::<V>(&pixels, job.depth, inputs.pointer().add(index * depth), stride * depth);
            transform_gradient::<V>(job, tile, outputs.pointer().add(index * width), stride * width);
        }
    }
}

/// Adds the products of `count` transformed tiles to `[point][input channel][output channel]`.
#[inline(always)]
unsafe fn add_points<V: Lanes>(
    job: &GradientJob<'_>,
    count: usize,
    inputs: &[f32],
    outputs: &[f32],
    sums: &mut [f32],
) {
    for point in 0..POINTS {
        let task = PointTask { point, channels: 0..job.depth, tiles: count };
        // SAFETY: passed on from the caller.
        unsafe { add_point::<V>(job, task, inputs, outputs, SharedOutput::new(sums)) }
    }
}

/// Adds the product of one point, for some input channels.
#[inline(always)]
unsafe fn add_point<V: Lanes>(
    job: &GradientJob<'_>,
    task: PointTask,
    inputs: &[f32],
    outputs: &[f32],
    sums: SharedOutput,
) {
    let (depth, width, tiles) = (padded(job.depth), padded(job.columns), task.tiles);
    let inputs = &inputs[task.point * tiles * depth..][..tiles * depth];
    let outputs = &outputs[task.point * tiles * width..][..tiles * width];
    let first = (task.point * job.depth + task.channels.start) * width;
    let sums = sums.part(first, task.channels.len() * width);
    // SAFETY: the lengths of all three are those of the slices just taken.
    unsafe {
        add_transposed_product::<V>(
            inputs.as_ptr().add(task.channels.start),
            depth,
            task.channels.len(),
            outputs.as_ptr(),
            width,
            width,
            tiles,
            sums.pointer(),
        );
    }
}

/// `A dy A'` of one tile; pixels outside the image count as zero.
#[inline(always)]
unsafe fn transform_gradient<V: Lanes>(job: &GradientJob<'_>, tile: usize, target: *mut f32, stride: usize) {
    let (tiling, columns) = (job.tiling, job.columns);
    let (image, y, x) = tiling.place(tile);
    let pixels =
        square::<TILE, { TILE * TILE }>(&tiling, image, [y + 1, x + 1], job.output_gradient, columns);
    for first in (0..columns).step_by(LANES) {
        // SAFETY: each pixel has `columns` readable values; the target has whole vectors.
        unsafe {
            let mut half = [[V::zero(); TILE]; PATCH];
            for column in 0..TILE {
                let mut y = [V::zero(); TILE];
                for row in 0..TILE {
                    y[row] = load_part::<V>(pixels[row * TILE + column].add(first), columns - first);
                }
                let transformed = transforms::of_output_gradient(y);
                for row in 0..PATCH {
                    half[row][column] = transformed[row];
                }
            }
            for row in 0..PATCH {
                let points = transforms::of_output_gradient(half[row]);
                for column in 0..PATCH {
                    points[column].store(target.add((row * PATCH + column) * stride + first));
                }
            }
        }
    }
}

/// `G' sums G` of some input channels, added to `[tap][input channel][output channel]`.
#[inline(always)]
unsafe fn from_points<V: Lanes>(
    job: &GradientJob<'_>,
    channels: Range<usize>,
    sums: &[f32],
    target: SharedOutput,
) {
    let (depth, columns, width) = (job.depth, job.columns, padded(job.columns));
    assert!(channels.end <= depth && sums.len() == POINTS * depth * width, "sums of a Winograd gradient");
    let target = target.part(0, 9 * depth * columns).pointer();
    for k in channels {
        for first in (0..columns).step_by(LANES) {
            // SAFETY: inside both slices, by the checks above.
            unsafe {
                let source = sums.as_ptr().add(k * width + first);
                let mut half = [[V::zero(); PATCH]; 3];
                for column in 0..PATCH {
                    let mut points = [V::zero(); PATCH];
                    for row in 0..PATCH {
                        points[row] = V::load(source.add((row * PATCH + column) * depth * width));
                    }
                    let transformed = transforms::to_weight_gradient(points);
                    for row in 0..3 {
                        half[row][column] = transformed[row];
                    }
                }
                for row in 0..3 {
                    let taps = transforms::to_weight_gradient(half[row]);
                    for column in 0..3 {
                        let place = target.add(((row * 3 + column) * depth + k) * columns + first);
                        let sum = load_part::<V>(place, columns - first).add(taps[column]);
                        store_part(sum, place, columns - first);
                    }
                }
            }
        }
    }
}
