//! 3x3 convolutions of stride 1 by Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016): 36 products for
//! sixteen pixels instead of 144.
//!
//! An image is cut into tiles of 4x4 output pixels. The 6x6 input pixels under a tile are transformed, `V = B' d B`;
//! so is the weight, `U = G g G'`; in each of the 36 *points* the channels are multiplied as matrices, `M = V U`; and
//! the tile is `A' M A`. The gradient of the weight is `G' (sum over tiles of V' (A dy A')) G`. With the interpolation
//! points 0, ±3/4, ±3/2 all entries of A and B are exact in binary, and the error is about twice that of the direct sum
//! (root mean square over 64 channels of normal values: 8.4e-7 of the output's against 4.4e-7), where the usual points
//! 0, ±1, ±2 give 1.8e-6.
//!
//! Every output depends on its own tile alone, by a fixed chain of operations, so the bytes do not depend on threads,
//! batches or vector widths.

#![allow(unsafe_code, reason = "vector transforms work on raw pointers; sizes are checked at the entries")]
#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of vectors go through memory; indices stay in registers"
)]

mod transforms;
mod weight_gradient;

pub(crate) use weight_gradient::{backward_weight, fits_weight_gradient};

use crate::conv_shape::{Addends, ConvGeometry, ConvShape};
use crate::dense::{multiply_dense, panel_place};
use crate::lanes::{Instructions, LANES, Lanes};
use crate::memory::{Buffer, with_scratch};
use crate::product::{SharedOutput, ZEROS};
use crate::weight_values::{Stored, WeightValues};
use burn::tensor::{bf16, f16};
use rayon::prelude::*;
use std::ops::Range;

/// Side of a tile of output pixels.
const TILE: usize = 4;
/// Side of the input under a tile, and of the grid of points.
const PATCH: usize = 6;
const POINTS: usize = PATCH * PATCH;

/// Bytes of transformed values that one task holds: half of a core's second-level cache of 2 MiB.
const BYTES_OF_A_TASK: usize = 1 << 20;

/// Tiles that a task's number of tiles is a multiple of, so that products have whole tiles of rows.
const TILES_TOGETHER: usize = 14;

/// Whether a convolution is computed this way: 3x3, stride 1, its size kept, and enough channels that the transforms
/// pay. Measured as GFLOP/s of the direct sum's operations, this way and directly (64 images, 2 cores with AVX-512,
/// `cargo run --release --example speed -p pentimento-kernels`, 2026-11-22): 28x28 pixels 16 to 16 channels 169 and
/// 212, 48 to 16 401 and 230, 32 to 32 506 and 272; 7x7 pixels 32 to 32 264 and 245, 64 to 64 366 and 291.
///
/// A wide weight on a small image is not: it has four times as many values once it is transformed, which all pass through
/// memory for a few tiles. Milliseconds this way and directly (4 images, 2 cores of an Intel Xeon with AVX-512, 2026-12-01):
/// 4x4 pixels 1280 to 1280 channels 82 and 18, 256 to 256 1.2 and 0.5; 8x8 pixels 1280 to 1280 86 and 37, 256 to 256 1.6 and
/// 1.0 (with 16 images 3.6 and 3.9); 16x16 pixels 640 to 640 35 and 23, 512 to 512 16.7 and 15.9 (with 16 images 40 and 61); 32x32 pixels 640 to 320
/// 33 and 52.
pub(crate) fn fits(shape: &ConvShape) -> bool {
    let channels = [shape.input_channels, shape.output_channels];
    shape.geometry == ConvGeometry::SAME_3X3
        && channels.iter().min() >= Some(&LANES)
        && channels.iter().max() >= Some(&(2 * LANES))
        && shape.height.min(shape.width) >= TILE
        && shape.input_channels * shape.output_channels
            <= MOST_WEIGHTS_PER_TILE * Tiling::new(shape).tiles_per_image
}

/// Input times output channels that one tile of an image pays for; see [`fits`].
const MOST_WEIGHTS_PER_TILE: usize = 1 << 14;

fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

/// The tiles of all images in a row: image by image, row by row.
#[derive(Clone, Copy)]
struct Tiling {
    height: usize,
    width: usize,
    columns: usize,
    tiles_per_image: usize,
}

impl Tiling {
    fn new(shape: &ConvShape) -> Self {
        let (height, width) = (shape.height, shape.width);
        let (rows, columns) = (height.div_ceil(TILE), width.div_ceil(TILE));
        Self { height, width, columns, tiles_per_image: rows * columns }
    }

    /// Image of a tile, and the first row and column of its outputs.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (image, inside) = (tile / self.tiles_per_image, tile % self.tiles_per_image);
        (image, inside / self.columns * TILE, inside % self.columns * TILE)
    }
}

wrap! {
    transform_weight(weight: &WeightView<'_>, channels: Range<usize>, target: SharedOutput);
    convolve_tiles(job: &ConvolveJob<'_>, tiles: Range<usize>, scratch: &mut [f32]);
}

/// Sixteen columns of sixteen rows of the matrices of all taps.
type Block = [[[f32; LANES]; LANES]; 9];

/// A weight as the matrix of a product from `depth` to `columns` channels.
struct WeightView<'a> {
    weight: WeightValues<'a>,
    depth: usize,
    columns: usize,
    /// Taps mirrored and channels exchanged: the weight of the backward pass.
    backward: bool,
}

impl WeightView<'_> {
    /// `U` as `[point]` panels.
    fn points(&self, instructions: Instructions) -> Buffer {
        let mut values = Buffer::new(POINTS * self.depth * padded(self.columns));
        let target = SharedOutput::new(values.values());
        (0..self.depth.div_ceil(LANES)).into_par_iter().for_each(|block| {
            let channels = block * LANES..((block + 1) * LANES).min(self.depth);
            on!(instructions, transform_weight(self, channels, target));
        });
        values
    }

    /// Sixteen columns of each tap for up to sixteen input channels, `[tap][input channel][column]`; zero beyond the
    /// last column. Rows of a weight are read whole in both directions, so that no cache line is read twice.
    #[inline(always)]
    unsafe fn block<V: Lanes>(&self, channels: &Range<usize>, first: usize, block: &mut Block) {
        // SAFETY: passed on from the caller.
        unsafe {
            match self.weight {
                WeightValues::F32(weight) => self.block_of::<V, f32>(weight, channels, first, block),
                WeightValues::F16(weight) => self.block_of::<V, f16>(weight, channels, first, block),
                WeightValues::Bf16(weight) => self.block_of::<V, bf16>(weight, channels, first, block),
            }
        }
    }

    #[inline(always)]
    unsafe fn block_of<V: Lanes, S: Stored>(
        &self,
        weight: &[S],
        channels: &Range<usize>,
        first: usize,
        block: &mut Block,
    ) {
        let count = LANES.min(self.columns - first);
        for tap in 0..9 {
            if self.backward {
                let mut row = [0.0; LANES];
                let row = &mut row[..channels.len()];
                for column in 0..count {
                    let start = ((8 - tap) * self.columns + first + column) * self.depth + channels.start;
                    // SAFETY: passed on from the caller.
                    unsafe { S::read::<V>(&weight[start..], 1, row) };
                    for (k, &value) in row.iter().enumerate() {
                        block[tap][k][column] = value;
                    }
                }
            } else {
                for (row, k) in block[tap].iter_mut().zip(channels.clone()) {
                    let start = (tap * self.depth + k) * self.columns + first;
                    // SAFETY: passed on from the caller.
                    unsafe { S::read::<V>(&weight[start..], 1, &mut row[..count]) };
                }
            }
        }
    }
}

/// `G g G'` of all columns of up to sixteen input channels.
#[inline(always)]
unsafe fn transform_weight<V: Lanes>(weight: &WeightView<'_>, channels: Range<usize>, target: SharedOutput) {
    let (depth, width) = (weight.depth, padded(weight.columns));
    let matrix = depth * width;
    let target = target.part(0, POINTS * matrix).pointer();
    let mut block = [[[0.0; LANES]; LANES]; 9];
    for first in (0..width).step_by(LANES) {
        // SAFETY: passed on from the caller.
        unsafe { weight.block::<V>(&channels, first, &mut block) };
        let (start, stride) = panel_place(first, depth, width);
        for k in channels.clone() {
            // SAFETY: the panels have a place for each column in whole vectors; `k` is a row of them.
            unsafe {
                let mut half = [[V::zero(); PATCH]; 3];
                for column in 0..3 {
                    let mut taps = [V::zero(); 3];
                    for row in 0..3 {
                        taps[row] = V::load(block[row * 3 + column][k - channels.start].as_ptr());
                    }
                    half[column] = transforms::of_weight(taps);
                }
                for row in 0..PATCH {
                    let points = transforms::of_weight([half[0][row], half[1][row], half[2][row]]);
                    for column in 0..PATCH {
                        let place = (row * PATCH + column) * matrix + start + k * stride;
                        points[column].store(target.add(place));
                    }
                }
            }
        }
        if weight.columns - first < 2 * LANES {
            // The last block is narrower. What stands beyond its columns is not stored; zeros keep the products there from
            // denormal numbers and NaN, which are slow.
            block = [[[0.0; LANES]; LANES]; 9];
        }
    }
}

/// `B' d B` of one tile: all channels of a patch whose 36 pixels are given, to `[point][.. stride ..][channel]`.
///
/// Channels beyond the last are whatever follows them or zero: no product reads them.
#[inline(always)]
unsafe fn transform_patch<V: Lanes>(
    pixels: &[*const f32; POINTS],
    channels: usize,
    target: *mut f32,
    stride: usize,
) {
    for first in (0..channels).step_by(LANES) {
        // SAFETY: each pixel has `channels` readable values; the target has whole vectors.
        unsafe {
            let mut half = [[V::zero(); PATCH]; PATCH];
            for column in 0..PATCH {
                let mut d = [V::zero(); PATCH];
                for row in 0..PATCH {
                    d[row] = load_part::<V>(pixels[row * PATCH + column].add(first), channels - first);
                }
                let transformed = transforms::of_input(d);
                for row in 0..PATCH {
                    half[row][column] = transformed[row];
                }
            }
            for row in 0..PATCH {
                let points = transforms::of_input(half[row]);
                for column in 0..PATCH {
                    points[column].store(target.add((row * PATCH + column) * stride + first));
                }
            }
        }
    }
}

/// Sixteen values, or `count` and zeros.
#[inline(always)]
unsafe fn load_part<V: Lanes>(source: *const f32, count: usize) -> V {
    // SAFETY: `count` values are readable.
    unsafe {
        if count >= LANES {
            V::load(source)
        } else {
            let mut values = [0.0; LANES];
            std::ptr::copy_nonoverlapping(source, values.as_mut_ptr(), count);
            V::load(values.as_ptr())
        }
    }
}

/// Writes sixteen values, or the first `count`.
#[inline(always)]
unsafe fn store_part<V: Lanes>(value: V, target: *mut f32, count: usize) {
    // SAFETY: `count` values are writable.
    unsafe {
        if count >= LANES {
            value.store(target);
        } else {
            let mut values = [0.0; LANES];
            value.store(values.as_mut_ptr());
            std::ptr::copy_nonoverlapping(values.as_ptr(), target, count);
        }
    }
}

/// The pixels of a square of `SIDE * SIDE` whose first row and column are given, one more than counted in the image;
/// zeros outside the image.
#[inline(always)]
fn square<const SIDE: usize, const PIXELS: usize>(
    tiling: &Tiling,
    image: usize,
    [y, x]: [usize; 2],
    values: &[f32],
    channels: usize,
) -> [*const f32; PIXELS] {
    let mut pixels = [ZEROS.as_ptr(); PIXELS];
    let start = image * tiling.height * tiling.width;
    for row in 0..SIDE {
        let row_inside = y + row >= 1 && y + row <= tiling.height;
        for column in 0..SIDE {
            if row_inside && x + column >= 1 && x + column <= tiling.width {
                let pixel = start + (y + row - 1) * tiling.width + x + column - 1;
                pixels[row * SIDE + column] = values[pixel * channels..].as_ptr();
            }
        }
    }
    pixels
}

/// A convolution of many tiles.
struct ConvolveJob<'a> {
    tiling: Tiling,
    input: &'a [f32],
    depth: usize,
    columns: usize,
    /// `U`, `[point]` panels.
    points: &'a [f32],
    addends: &'a Addends<'a>,
    output: SharedOutput,
}

/// Values that one tile of a task needs.
fn values_of_a_tile(depth: usize, columns: usize) -> usize {
    POINTS * (padded(depth) + padded(columns))
}

#[inline(always)]
unsafe fn convolve_tiles<V: Lanes>(job: &ConvolveJob<'_>, tiles: Range<usize>, scratch: &mut [f32]) {
    let (count, tiling) = (tiles.len(), job.tiling);
    let (depth, width) = (padded(job.depth), padded(job.columns));
    let (inputs, outputs) = scratch.split_at_mut(POINTS * count * depth);
    assert!(outputs.len() >= POINTS * count * width, "scratch of a Winograd task");
    for (index, tile) in tiles.clone().enumerate() {
        let (image, y, x) = tiling.place(tile);
        let pixels = square::<PATCH, POINTS>(&tiling, image, [y, x], job.input, job.depth);
        // SAFETY: the scratch has a row of `depth` values for each point and tile.
        unsafe {
            let target = inputs.as_mut_ptr().add(index * depth);
            transform_patch::<V>(&pixels, job.depth, target, count * depth);
        }
    }
    for point in 0..POINTS {
        // SAFETY: one matrix of the scratch and of the panels per point.
        unsafe {
            multiply_dense::<V>(
                inputs.as_ptr().add(point * count * depth),
                depth,
                count,
                job.depth,
                job.points.as_ptr().add(point * job.depth * width),
                width,
                outputs.as_mut_ptr().add(point * count * width),
                width,
            );
        }
    }
    for (index, tile) in tiles.enumerate() {
        // SAFETY: as above; each pixel of the output belongs to one tile.
        unsafe {
            let source = outputs.as_ptr().add(index * width);
            store_tile::<V>(job, tile, source, count * width);
        }
    }
}

/// `A' m A` of one tile, with the bias, to the pixels of the tile that lie in the image.
#[inline(always)]
unsafe fn store_tile<V: Lanes>(job: &ConvolveJob<'_>, tile: usize, source: *const f32, stride: usize) {
    let (tiling, columns) = (job.tiling, job.columns);
    let (image, y, x) = tiling.place(tile);
    let output = job.output.pointer();
    let start = job.addends.of_image(image, columns);
    for first in (0..columns).step_by(LANES) {
        // SAFETY: one row of whole vectors per point; output offsets lie inside by `Tiling::offset`.
        unsafe {
            let mut half = [[V::zero(); PATCH]; TILE];
            for column in 0..PATCH {
                let mut m = [V::zero(); PATCH];
                for row in 0..PATCH {
                    m[row] = V::load(source.add((row * PATCH + column) * stride + first));
                }
                let transformed = transforms::to_output(m);
                for row in 0..TILE {
                    half[row][column] = transformed[row];
                }
            }
            let left = columns - first;
            let start = load_part::<V>(start.as_ptr().add(first), left);
            for row in 0..TILE.min(tiling.height - y) {
                let values = transforms::to_output(half[row]);
                for column in 0..TILE {
                    if x + column < tiling.width {
                        let offset =
                            ((image * tiling.height + y + row) * tiling.width + x + column) * columns;
                        let mut sum = values[column].add(start);
                        if let Some(residual) = job.addends.residual {
                            sum = sum.add(load_part(residual[offset + first..].as_ptr(), left));
                        }
                        store_part(sum, output.add(offset + first), left);
                    }
                }
            }
        }
    }
}

/// Runs the convolution of `input` from `weight.depth` to `weight.columns` channels.
fn convolve(
    instructions: Instructions,
    shape: &ConvShape,
    input: &[f32],
    weight: &WeightView<'_>,
    addends: &Addends<'_>,
    output: &mut [f32],
) {
    let tiling = Tiling::new(shape);
    let mut points = weight.points(instructions);
    let job = ConvolveJob {
        tiling,
        input,
        depth: weight.depth,
        columns: weight.columns,
        points: points.values(),
        addends,
        output: SharedOutput::new(output),
    };
    let values = values_of_a_tile(weight.depth, weight.columns);
    let total = shape.images * tiling.tiles_per_image;
    let together = tiles_of_a_task(values, total);
    (0..total.div_ceil(together)).into_par_iter().for_each(|task| {
        let tiles = task * together..((task + 1) * together).min(total);
        with_scratch(values * tiles.len(), |scratch| on!(instructions, convolve_tiles(&job, tiles, scratch)));
    });
}

/// So many tiles that their values fit the cache and every thread has as many tasks.
fn tiles_of_a_task(values: usize, total: usize) -> usize {
    let fit = (BYTES_OF_A_TASK / (values * size_of::<f32>())).max(TILES_TOGETHER);
    let tasks = total.div_ceil(fit).next_multiple_of(rayon::current_num_threads()).max(1);
    total.div_ceil(tasks).next_multiple_of(TILES_TOGETHER).max(TILES_TOGETHER)
}

/// `output = conv2d(input, weight)` and the addends; the caller has checked the lengths and [`fits`].
pub(crate) fn forward(
    instructions: Instructions,
    shape: &ConvShape,
    input: &[f32],
    weight: WeightValues<'_>,
    addends: &Addends<'_>,
    output: &mut [f32],
) {
    let (depth, columns) = (shape.input_channels, shape.output_channels);
    let weight = WeightView { weight, depth, columns, backward: false };
    convolve(instructions, shape, input, &weight, addends, output);
}

/// The gradient of the input: the convolution of the output's gradient with the mirrored weight.
pub(crate) fn backward_input(
    instructions: Instructions,
    shape: &ConvShape,
    output_gradient: &[f32],
    weight: WeightValues<'_>,
    input_gradient: &mut [f32],
) {
    let (depth, columns) = (shape.output_channels, shape.input_channels);
    let weight = WeightView { weight, depth, columns, backward: true };
    let nothing = vec![0.0; columns];
    let addends = Addends { per_channel: &nothing, residual: None };
    convolve(instructions, shape, output_gradient, &weight, &addends, input_gradient);
}
