//! Convolution with a square kernel; a kernel of one pixel is the linear layer.
//!
//! Shapes: input `[images, height, width, input_channels]`, weight `[kernel, kernel, input_channels, output_channels]`,
//! output `[images, output_height, output_width, output_channels]`, all contiguous.

use crate::blocks;
use crate::conv_shape::{Addends, ConvAddends, ConvGeometry, ConvShape};
use crate::lanes::{Instructions, LANES};
use crate::packing::{Strides, Unpacked};
use crate::product::{
    PADDING, Product, RowTable, SharedOutput, TransposedJob, multiply_rows, multiply_transposed,
};
use crate::weight_values::WeightValues;
use crate::{fixed_sum, winograd};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Which way rows are looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Direction {
    Forward,
    BackwardInput,
}

/// The tables of a network's few dozen shapes are built once per process.
fn table(shape: &ConvShape, direction: Direction) -> Arc<RowTable> {
    type Tables = HashMap<(ConvShape, Direction), Arc<RowTable>>;
    static TABLES: Mutex<Option<Tables>> = Mutex::new(None);
    let key = (ConvShape { images: 0, ..*shape }, direction);
    let mut guard = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    let tables = guard.get_or_insert_default();
    Arc::clone(tables.entry(key).or_insert_with(|| {
        Arc::new(match direction {
            Direction::Forward => forward_table(shape),
            Direction::BackwardInput => backward_table(shape),
        })
    }))
}

fn forward_table(shape: &ConvShape) -> RowTable {
    let ConvGeometry { kernel, stride, padding_before, .. } = shape.geometry;
    let (mut taps, mut targets) = (Vec::new(), Vec::new());
    for y in 0..shape.output_height {
        for x in 0..shape.output_width {
            targets.push(((y * shape.output_width + x) * shape.output_channels) as u32);
            for ky in 0..kernel {
                for kx in 0..kernel {
                    let source_y =
                        (y * stride + ky).checked_sub(padding_before).filter(|&at| at < shape.height);
                    let source_x =
                        (x * stride + kx).checked_sub(padding_before).filter(|&at| at < shape.width);
                    taps.push(match (source_y, source_x) {
                        (Some(sy), Some(sx)) => ((sy * shape.width + sx) * shape.input_channels) as u32,
                        _ => PADDING,
                    });
                }
            }
        }
    }
    RowTable::new(taps, targets, shape.taps())
}

/// Rows are ordered by their position modulo the stride, so that the taps which miss are the same in a whole tile.
fn backward_table(shape: &ConvShape) -> RowTable {
    let ConvGeometry { kernel, stride, padding_before, .. } = shape.geometry;
    let (mut taps, mut targets) = (Vec::new(), Vec::new());
    let mut pixels: Vec<(usize, usize)> =
        (0..shape.height).flat_map(|y| (0..shape.width).map(move |x| (y, x))).collect();
    pixels.sort_by_key(|&(y, x)| (y % stride, x % stride, y, x));
    let output_at = |at: usize, tap: usize, side: usize| {
        let shifted = (at + padding_before).checked_sub(tap)?;
        (shifted % stride == 0 && shifted / stride < side).then_some(shifted / stride)
    };
    for (y, x) in pixels {
        targets.push(((y * shape.width + x) * shape.input_channels) as u32);
        for ky in 0..kernel {
            for kx in 0..kernel {
                let oy = output_at(y, ky, shape.output_height);
                let ox = output_at(x, kx, shape.output_width);
                taps.push(match (oy, ox) {
                    (Some(oy), Some(ox)) => ((oy * shape.output_width + ox) * shape.output_channels) as u32,
                    _ => PADDING,
                });
            }
        }
    }
    RowTable::new(taps, targets, shape.taps())
}

/// Multiplies the rows of all images with a matrix.
fn over_images(instructions: Instructions, product: &Product<'_>, output: &mut [f32]) {
    if blocks::pays(product.matrix) {
        blocks::multiply(instructions, product, output);
    } else {
        multiply_packed(instructions, product, output);
    }
}

/// Packs the whole matrix, and cuts the rows so that every thread has work.
fn multiply_packed(instructions: Instructions, product: &Product<'_>, output: &mut [f32]) {
    let Product { images, input, table, matrix, addends } = *product;
    if images == 0 {
        return;
    }
    let (input_image, output_image) = (input.len() / images, output.len() / images);
    let target = SharedOutput::new(output);
    let panels = matrix.pack(instructions);
    let wanted_tasks = 4 * rayon::current_num_threads();
    let parts = wanted_tasks.div_ceil(images).clamp(1, table.len().div_ceil(64).max(1));
    let length = table.len().div_ceil(parts);
    (0..images * parts).into_par_iter().for_each(|task| {
        let (image, part) = (task / parts, task % parts);
        let rows = (part * length).min(table.len())..((part + 1) * length).min(table.len());
        let source = &input[image * input_image..][..input_image];
        let place = target.part(image * output_image, output_image);
        let start = addends.of_image(image, matrix.columns);
        let residual = addends.residual.map(|values| &values[image * output_image..][..output_image]);
        multiply_rows(instructions, source, table, rows, &panels, start, residual, place);
    });
}

/// `output = conv2d(input, weight) + bias`.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
pub fn conv2d(shape: &ConvShape, input: &[f32], weight: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
    conv2d_on(Instructions::detect(), shape, input, weight, bias, output);
}

/// [`conv2d`] on a given instruction set, which the processor must have.
pub fn conv2d_on(
    instructions: Instructions,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    output: &mut [f32],
) {
    assert!(Instructions::available().contains(&instructions), "the processor lacks {instructions:?}");
    let addends = ConvAddends { bias, ..ConvAddends::default() };
    convolve(instructions, shape, input, weight.into(), &addends, output);
}

/// `output = conv2d(input, weight)` and the addends.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
pub fn conv2d_with(
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    addends: &ConvAddends<'_>,
    output: &mut [f32],
) {
    convolve(Instructions::detect(), shape, input, weight.into(), addends, output);
}

/// [`conv2d_with`] on given instructions and with a weight of any type.
pub(crate) fn convolve(
    instructions: Instructions,
    shape: &ConvShape,
    input: &[f32],
    weight: WeightValues<'_>,
    addends: &ConvAddends<'_>,
    output: &mut [f32],
) {
    shape.check(input.len(), weight.len(), output.len());
    let channels = shape.output_channels;
    let embeddings = |length: usize| length == channels || length == shape.images * channels;
    assert!(addends.bias.is_none_or(|bias| bias.len() == channels), "length of a convolution's bias");
    assert!(addends.embedding.is_none_or(|values| embeddings(values.len())), "length of an embedding");
    assert!(addends.residual.is_none_or(|values| values.len() == output.len()), "length of a residual");
    let per_channel = addends.per_channel(channels);
    let sums = Addends { per_channel: &per_channel, residual: addends.residual };
    if winograd::fits(shape) {
        return winograd::forward(instructions, shape, input, weight, &sums, output);
    }
    let (depth, columns) = (shape.input_channels, shape.output_channels);
    let strides = Strides { tap: depth * columns, depth: columns, column: 1 };
    let matrix = Unpacked { source: weight, taps: shape.taps(), depth, columns, strides };
    let table = &*table(shape, Direction::Forward);
    let product = Product { images: shape.images, input, table, matrix: &matrix, addends: &sums };
    over_images(instructions, &product, output);
}

/// Gradient with respect to the input, from that of the output.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
pub fn conv2d_backward_input(
    shape: &ConvShape,
    output_gradient: &[f32],
    weight: &[f32],
    input_gradient: &mut [f32],
) {
    gradient_of_input(shape, output_gradient, weight.into(), input_gradient);
}

/// [`conv2d_backward_input`] with a weight of any type.
pub(crate) fn gradient_of_input(
    shape: &ConvShape,
    output_gradient: &[f32],
    weight: WeightValues<'_>,
    input_gradient: &mut [f32],
) {
    shape.check(input_gradient.len(), weight.len(), output_gradient.len());
    let instructions = Instructions::detect();
    if winograd::fits(shape) {
        return winograd::backward_input(instructions, shape, output_gradient, weight, input_gradient);
    }
    let (depth, columns) = (shape.output_channels, shape.input_channels);
    let strides = Strides { tap: depth * columns, depth: 1, column: depth };
    let matrix = Unpacked { source: weight, taps: shape.taps(), depth, columns, strides };
    let table = &*table(shape, Direction::BackwardInput);
    let nothing = vec![0.0; columns];
    let addends = &Addends { per_channel: &nothing, residual: None };
    let product = Product { images: shape.images, input: output_gradient, table, matrix: &matrix, addends };
    over_images(instructions, &product, input_gradient);
}

/// Gradient with respect to the weight, summed over images in a fixed order.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
pub fn conv2d_backward_weight(
    shape: &ConvShape,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    shape.check(input.len(), weight_gradient.len(), output_gradient.len());
    let instructions = Instructions::detect();
    if winograd::fits_weight_gradient(shape) {
        return winograd::backward_weight(instructions, shape, input, output_gradient, weight_gradient);
    }
    gradient_of_taps(shape, 0..shape.taps(), input, output_gradient, weight_gradient);
}

/// [`conv2d_backward_weight`] for some consecutive taps of the kernel only, `[taps, input_channels, output_channels]`.
///
/// # Panics
///
/// If a slice has not the length that `shape` and `taps` say.
pub fn conv2d_backward_weight_of_taps(
    shape: &ConvShape,
    taps: Range<usize>,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    shape.check(input.len(), shape.weight_length(), output_gradient.len());
    assert!(taps.end <= shape.taps(), "taps of a kernel");
    let length = taps.len() * shape.input_channels * shape.output_channels;
    assert_eq!(weight_gradient.len(), length, "length of a part of a weight gradient");
    gradient_of_taps(shape, taps, input, output_gradient, weight_gradient);
}

fn gradient_of_taps(
    shape: &ConvShape,
    taps: Range<usize>,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let instructions = Instructions::detect();
    let table = table(shape, Direction::Forward);
    let rows = table.len();
    let offsets: Vec<Vec<u32>> = taps.map(|tap| table.offsets_of_tap(tap)).collect();
    let columns = shape.output_channels;
    let padded = columns.next_multiple_of(LANES);
    let sum_image = |image: usize, sum: &mut [f32]| {
        let left = &input[image * shape.input_image()..][..shape.input_image()];
        let rows_of_image = &output_gradient[image * shape.output_image()..][..shape.output_image()];
        let widened;
        let right = if padded == columns {
            rows_of_image
        } else {
            widened = widen(rows_of_image, rows, columns, padded);
            &widened
        };
        for (tap, part) in sum.chunks_exact_mut(shape.input_channels * columns).enumerate() {
            let job = TransposedJob {
                left,
                offsets: &offsets[tap],
                left_columns: 0..shape.input_channels,
                right,
                right_stride: padded,
                right_columns: columns,
            };
            multiply_transposed(instructions, &job, part);
        }
    };
    fixed_sum(shape.images, weight_gradient, |images, sum| {
        for image in images {
            sum_image(image, sum);
        }
    });
}

/// Copies rows of `columns` values into rows of `padded` values, filled with zeros.
fn widen(rows_of_values: &[f32], rows: usize, columns: usize, padded: usize) -> Vec<f32> {
    let mut wide = vec![0.0; rows * padded];
    for (target, source) in wide.chunks_exact_mut(padded).zip(rows_of_values.chunks_exact(columns)) {
        target[..columns].copy_from_slice(source);
    }
    wide
}

/// Gradient with respect to the bias: the sum of the output gradient over images and pixels, in a fixed order.
///
/// # Panics
///
/// If the images of `output_gradient` are not whole rows as long as `bias_gradient`.
pub fn bias_backward(images: usize, output_gradient: &[f32], bias_gradient: &mut [f32]) {
    let image_length = output_gradient.len().checked_div(images).unwrap_or(0);
    let channels = bias_gradient.len();
    assert_eq!(output_gradient.len(), images * image_length, "length of an output gradient");
    assert!(channels > 0 && image_length.is_multiple_of(channels), "length of a bias gradient");
    fixed_sum(images, bias_gradient, |images, sum| {
        let mut inside = vec![0.0; channels];
        for image in images {
            inside.fill(0.0);
            for row in output_gradient[image * image_length..][..image_length].chunks_exact(channels) {
                for (total, value) in inside.iter_mut().zip(row) {
                    *total += value;
                }
            }
            for (total, value) in sum.iter_mut().zip(&inside) {
                *total += value;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(seed: usize, length: usize) -> Vec<f32> {
        (0..length).map(|at| ((at * 7919 + seed * 104_729) % 2003) as f32 / 600.0 - 1.6).collect()
    }

    /// A product of `[images, height, width, depth]` with all ways that a matrix lies in memory and all that may be added, made in both ways on
    /// every instruction set.
    fn compare(
        images: usize,
        [height, width]: [usize; 2],
        depth: usize,
        columns: usize,
        geometry: ConvGeometry,
    ) {
        let shape = ConvShape::new([images, height, width, depth], columns, geometry).unwrap();
        let taps = shape.taps();
        let weight = made(1, taps * depth * columns);
        let in_rows = Strides { tap: depth * columns, depth: columns, column: 1 };
        let in_columns = Strides { tap: depth * columns, depth: 1, column: depth };
        let table = &*table(&shape, Direction::Forward);
        let input = &made(2, images * height * width * depth);
        let length = images * table.len() * columns;
        let residual = made(3, length);
        for (strides, of_image, residual) in
            [(in_rows, false, None), (in_columns, true, None), (in_rows, true, Some(&residual[..]))]
        {
            let matrix = &Unpacked { source: weight.as_slice().into(), taps, depth, columns, strides };
            let per_channel = &made(4, if of_image { images * columns } else { columns });
            let addends = &Addends { per_channel, residual };
            let product = Product { images, input, table, matrix, addends };
            for instructions in Instructions::available() {
                let [mut whole, mut in_blocks] = [vec![0.0; length], vec![f32::NAN; length]];
                multiply_packed(instructions, &product, &mut whole);
                blocks::multiply(instructions, &product, &mut in_blocks);
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert!(bits(&whole) == bits(&in_blocks), "{shape:?} on {instructions:?}");
            }
        }
    }

    /// Each way is the same chain of multiply-adds, whatever is added to it and however a matrix lies in memory.
    #[test]
    fn products_block_by_block_have_the_bytes_of_whole_ones() {
        let strided = ConvGeometry { kernel: 3, stride: 2, padding_before: 1, padding_after: 1 };
        for (images, side, depth, columns, geometry) in [
            (3, 3, 1290, 43, ConvGeometry::POINTWISE),
            (2, 4, 1024, 16, ConvGeometry::POINTWISE),
            (1, 1, 5, 370, ConvGeometry::POINTWISE),
            (2, 5, 70, 33, ConvGeometry::SAME_3X3),
            (3, 7, 65, 50, strided),
        ] {
            compare(images, [side, side], depth, columns, geometry);
        }
    }

    /// Rows and columns that are cut for several tasks, and several groups of columns in one of them.
    #[test]
    fn cuts_of_rows_and_columns_change_no_byte() {
        for threads in [1, 2, 16] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                compare(2, [1, 130], 33, 301, ConvGeometry::POINTWISE);
                compare(1, [1, 40], 20, 3000, ConvGeometry::POINTWISE);
            });
        }
    }
}
