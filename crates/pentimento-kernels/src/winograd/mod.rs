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

use crate::conv2d::{Addends, ConvGeometry, ConvShape};
use crate::dense::{add_transposed_product, multiply_dense, panel_place};
use crate::lanes::{Instructions, LANES, Lanes};
use crate::memory::{Buffer, with_scratch};
use crate::product::{SharedOutput, ZEROS};
use crate::{CHUNKS_OF_A_SUM, fixed_sum};
use rayon::prelude::*;
use std::ops::Range;

/// Side of a tile of output pixels.
const TILE: usize = 4;
/// Side of the input under a tile, and of the grid of points.
const PATCH: usize = 6;
/// Number of points.
const POINTS: usize = PATCH * PATCH;

/// Bytes of transformed values that one task holds: half of a core's second-level cache of 2 MiB.
const BYTES_OF_A_TASK: usize = 1 << 20;

/// Tiles that a task's number of tiles is a multiple of, so that products have whole tiles of rows.
const TILES_TOGETHER: usize = 14;

/// Whether a convolution is computed this way: 3x3, stride 1, its size kept, and enough channels that the transforms
/// pay. Measured as GFLOP/s of the direct sum's operations, this way and directly (64 images, 2 cores with AVX-512,
/// `cargo run --release --example speed -p pentimento-kernels`, 2026-11-22): 28x28 pixels 16 to 16 channels 169 and
/// 212, 48 to 16 401 and 230, 32 to 32 506 and 272; 7x7 pixels 32 to 32 264 and 245, 64 to 64 366 and 291.
pub(crate) fn fits(shape: &ConvShape) -> bool {
    let channels = [shape.input_channels, shape.output_channels];
    shape.geometry == ConvGeometry::SAME_3X3
        && channels.iter().min() >= Some(&LANES)
        && channels.iter().max() >= Some(&(2 * LANES))
        && shape.height.min(shape.width) >= TILE
}

/// Whether the gradient of the weight is too. Each of the eight chunks of images transforms its sums back once, which
/// few tiles do not pay: 8 images of 8x8 pixels and 256 channels (4 tiles a chunk) 80 GFLOP/s, directly 111; 16x16
/// pixels (16 tiles) 283, directly 234.
pub(crate) fn fits_weight_gradient(shape: &ConvShape) -> bool {
    const FEWEST_TILES_OF_A_CHUNK: usize = 12;
    let tiles = shape.images * Tiling::new(shape).tiles_per_image;
    fits(shape) && tiles >= FEWEST_TILES_OF_A_CHUNK * CHUNKS_OF_A_SUM
}

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

/// Runs one generic body on the given instructions.
macro_rules! on {
    ($instructions:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: the instructions were detected; sizes are asserted at the entries.
        unsafe {
            match $instructions {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => wrapped::$function::avx512($($argument),*),
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => wrapped::$function::avx2($($argument),*),
                #[cfg(target_arch = "aarch64")]
                Instructions::Neon => $function::<crate::lanes::Neon>($($argument),*),
                Instructions::Portable => $function::<crate::lanes::Array>($($argument),*),
            }
        }
    }};
}

/// Compiles generic bodies for each x86 instruction set.
macro_rules! wrap {
    ($($name:ident($($argument:ident: $kind:ty),* $(,)?);)*) => {
        #[cfg(target_arch = "x86_64")]
        mod wrapped {
            use super::*;
            $(pub(super) mod $name {
                use super::*;
                #[target_feature(enable = "avx512f,avx2,fma")]
                pub(in super::super) unsafe fn avx512($($argument: $kind),*) {
                    // SAFETY: passed on from the caller.
                    unsafe { super::super::$name::<crate::lanes::Avx512>($($argument),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                pub(in super::super) unsafe fn avx2($($argument: $kind),*) {
                    // SAFETY: passed on from the caller.
                    unsafe { super::super::$name::<crate::lanes::Avx2>($($argument),*) }
                }
            })*
        }
    };
}

wrap! {
    transform_weight(weight: &WeightView<'_>, k: usize, target: SharedOutput);
    convolve_tiles(job: &ConvolveJob<'_>, tiles: Range<usize>, scratch: &mut [f32]);
    add_weight_points(job: &GradientJob<'_>, tiles: Range<usize>, scratch: &mut [f32], sums: &mut [f32]);
    weight_gradient(job: &GradientJob<'_>, sums: &[f32], target: &mut [f32]);
}

/// A weight as the matrix of a product from `depth` to `columns` channels.
struct WeightView<'a> {
    weight: &'a [f32],
    depth: usize,
    columns: usize,
    /// Taps mirrored and channels exchanged: the weight of the backward pass.
    backward: bool,
}

impl WeightView<'_> {
    /// Sixteen columns of a tap, zero beyond the last.
    #[inline(always)]
    unsafe fn load<V: Lanes>(&self, tap: usize, k: usize, first: usize) -> V {
        let mut values = [0.0; LANES];
        let count = LANES.min(self.columns - first);
        if self.backward {
            let tap = 8 - tap;
            for (column, value) in values[..count].iter_mut().enumerate() {
                *value = self.weight[(tap * self.columns + first + column) * self.depth + k];
            }
        } else {
            let start = (tap * self.depth + k) * self.columns + first;
            values[..count].copy_from_slice(&self.weight[start..start + count]);
        }
        // SAFETY: sixteen values; the instructions are the caller's promise.
        unsafe { V::load(values.as_ptr()) }
    }

    /// `U` as `[point]` panels.
    fn points(&self, instructions: Instructions) -> Buffer {
        let mut values = Buffer::new(POINTS * self.depth * padded(self.columns));
        let target = SharedOutput::new(values.values());
        (0..self.depth).into_par_iter().with_min_len(8).for_each(|k| {
            on!(instructions, transform_weight(self, k, target));
        });
        values
    }
}

/// `G g G'` of all columns of one input channel.
#[inline(always)]
unsafe fn transform_weight<V: Lanes>(weight: &WeightView<'_>, k: usize, target: SharedOutput) {
    let (depth, width) = (weight.depth, padded(weight.columns));
    let matrix = depth * width;
    let target = target.part(0, POINTS * matrix).pointer();
    for first in (0..width).step_by(LANES) {
        // SAFETY: the panels have a place for each column in whole vectors; `k` is a row of them.
        unsafe {
            let mut half = [[V::zero(); PATCH]; 3];
            for column in 0..3 {
                let mut taps = [V::zero(); 3];
                for row in 0..3 {
                    taps[row] = weight.load::<V>(row * 3 + column, k, first);
                }
                half[column] = transforms::of_weight(taps);
            }
            let (start, stride) = panel_place(first, depth, width);
            for row in 0..PATCH {
                let points = transforms::of_weight([half[0][row], half[1][row], half[2][row]]);
                for column in 0..PATCH {
                    points[column].store(target.add((row * PATCH + column) * matrix + start + k * stride));
                }
            }
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

/// So many tiles that their values fit the cache and every thread has work.
fn tiles_of_a_task(values: usize, total: usize) -> usize {
    let fit = BYTES_OF_A_TASK / (values * size_of::<f32>());
    let share = total.div_ceil(2 * rayon::current_num_threads());
    fit.min(share).next_multiple_of(TILES_TOGETHER)
}

/// `output = conv2d(input, weight)` and the addends; the caller has checked the lengths and [`fits`].
pub(crate) fn forward(
    instructions: Instructions,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
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
    weight: &[f32],
    input_gradient: &mut [f32],
) {
    let (depth, columns) = (shape.output_channels, shape.input_channels);
    let weight = WeightView { weight, depth, columns, backward: true };
    let nothing = vec![0.0; columns];
    let addends = Addends { per_channel: &nothing, residual: None };
    convolve(instructions, shape, output_gradient, &weight, &addends, input_gradient);
}

/// The gradient of a weight over many tiles.
struct GradientJob<'a> {
    tiling: Tiling,
    input: &'a [f32],
    output_gradient: &'a [f32],
    depth: usize,
    columns: usize,
}

/// Adds `V' (A dy A')` of some tiles to `[point][input channel][output channel]`.
#[inline(always)]
unsafe fn add_weight_points<V: Lanes>(
    job: &GradientJob<'_>,
    tiles: Range<usize>,
    scratch: &mut [f32],
    sums: &mut [f32],
) {
    let (count, tiling) = (tiles.len(), job.tiling);
    let (depth, width) = (padded(job.depth), padded(job.columns));
    let (inputs, outputs) = scratch.split_at_mut(POINTS * count * depth);
    assert!(outputs.len() >= POINTS * count * width, "scratch of a Winograd task");
    assert_eq!(sums.len(), POINTS * job.depth * width, "sums of a Winograd task");
    for (index, tile) in tiles.enumerate() {
        let (image, y, x) = tiling.place(tile);
        let pixels = square::<PATCH, POINTS>(&tiling, image, [y, x], job.input, job.depth);
        // SAFETY: the scratch has a row for each point and tile.
        unsafe {
            let target = inputs.as_mut_ptr().add(index * depth);
            transform_patch::<V>(&pixels, job.depth, target, count * depth);
            transform_gradient::<V>(job, tile, outputs.as_mut_ptr().add(index * width), count * width);
        }
    }
    for point in 0..POINTS {
        // SAFETY: one matrix of the scratch and of the sums per point.
        unsafe {
            add_transposed_product::<V>(
                inputs.as_ptr().add(point * count * depth),
                depth,
                job.depth,
                outputs.as_ptr().add(point * count * width),
                width,
                width,
                count,
                sums.as_mut_ptr().add(point * job.depth * width),
            );
        }
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

/// `G' sums G`, added to `[tap][input channel][output channel]`.
#[inline(always)]
unsafe fn weight_gradient<V: Lanes>(job: &GradientJob<'_>, sums: &[f32], target: &mut [f32]) {
    let (depth, columns, width) = (job.depth, job.columns, padded(job.columns));
    assert_eq!(sums.len(), POINTS * depth * width, "sums of a Winograd task");
    assert_eq!(target.len(), 9 * depth * columns, "length of a weight's gradient");
    for k in 0..depth {
        for first in (0..columns).step_by(LANES) {
            // SAFETY: inside both slices, by the assertions.
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
                        let place = ((row * 3 + column) * depth + k) * columns + first;
                        let target = target.as_mut_ptr().add(place);
                        let sum = load_part::<V>(target, columns - first).add(taps[column]);
                        store_part(sum, target, columns - first);
                    }
                }
            }
        }
    }
}

/// The gradient of the weight, summed over images in a fixed order.
pub(crate) fn backward_weight(
    instructions: Instructions,
    shape: &ConvShape,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient_of_all: &mut [f32],
) {
    let tiling = Tiling::new(shape);
    let (depth, columns) = (shape.input_channels, shape.output_channels);
    let job = GradientJob { tiling, input, output_gradient, depth, columns };
    let values = values_of_a_tile(depth, columns);
    let points = POINTS * depth * padded(columns);
    // How many tiles are summed in one chain is part of the result, so it follows from the channels alone.
    let together = (BYTES_OF_A_TASK / (values * size_of::<f32>())).next_multiple_of(TILES_TOGETHER);
    fixed_sum(shape.images, weight_gradient_of_all, |images, sum| {
        let all = images.start * tiling.tiles_per_image..images.end * tiling.tiles_per_image;
        with_scratch(points + values * together.min(all.len()), |scratch| {
            let (sums, scratch) = scratch.split_at_mut(points);
            sums.fill(0.0);
            for first in all.clone().step_by(together) {
                let tiles = first..(first + together).min(all.end);
                on!(instructions, add_weight_points(&job, tiles, scratch, sums));
            }
            on!(instructions, weight_gradient(&job, sums, sum));
        });
    });
}
