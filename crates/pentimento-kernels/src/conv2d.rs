//! Convolution with a square kernel; a kernel of one pixel is the linear layer.
//!
//! Shapes: input `[images, height, width, input_channels]`, weight `[kernel, kernel, input_channels, output_channels]`,
//! output `[images, output_height, output_width, output_channels]`, all contiguous.

use crate::lanes::{Instructions, LANES};
use crate::product::{
    DEEPEST_TAP, PADDING, Panels, RowTable, SharedOutput, Strides, TransposedJob, multiply_rows,
    multiply_transposed,
};
use crate::{ShapeError, fixed_sum, winograd};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Kernel size, stride and zero padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Side of the square kernel, in pixels.
    pub kernel: usize,
    /// Distance between the kernel's positions, in pixels.
    pub stride: usize,
    /// Rows and columns of zeros above and to the left.
    pub padding_before: usize,
    /// Rows and columns of zeros below and to the right.
    pub padding_after: usize,
}

impl ConvGeometry {
    /// A kernel of one pixel: the linear layer.
    pub const POINTWISE: Self = Self { kernel: 1, stride: 1, padding_before: 0, padding_after: 0 };
    /// A 3x3 kernel that keeps the image's size.
    pub const SAME_3X3: Self = Self { kernel: 3, stride: 1, padding_before: 1, padding_after: 1 };

    /// Height or width of the output for one of the input; `None` if the kernel does not fit once, or the padded side
    /// overflows.
    pub fn output_side(&self, side: usize) -> Option<usize> {
        let padded = side.checked_add(self.padding_before)?.checked_add(self.padding_after)?;
        let room = padded.checked_sub(self.kernel)?;
        (self.stride > 0 && self.kernel > 0).then(|| room / self.stride + 1)
    }
}

/// All sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Number of images.
    pub images: usize,
    /// Rows of the input, in pixels.
    pub height: usize,
    /// Columns of the input, in pixels.
    pub width: usize,
    /// Channels of the input.
    pub input_channels: usize,
    /// Channels of the output.
    pub output_channels: usize,
    /// Kernel, stride and padding.
    pub geometry: ConvGeometry,
    output_height: usize,
    output_width: usize,
}

impl ConvShape {
    /// Checks the sizes of an input `[images, height, width, channels]` against a geometry and a weight's channels.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if the kernel does not fit, a size is zero, or an image has 2^32 values or more.
    pub fn new(
        input: [usize; 4],
        output_channels: usize,
        geometry: ConvGeometry,
    ) -> Result<Self, ShapeError> {
        let [images, height, width, input_channels] = input;
        let bad = |what: &str| ShapeError(format!("conv2d of input {input:?} with {geometry:?}: {what}"));
        if input_channels == 0 || output_channels == 0 || height == 0 || width == 0 {
            return Err(bad("a size is zero"));
        }
        let output_height = geometry.output_side(height).ok_or_else(|| bad("the kernel does not fit"))?;
        let output_width = geometry.output_side(width).ok_or_else(|| bad("the kernel does not fit"))?;
        if input_channels.max(output_channels) > DEEPEST_TAP {
            return Err(bad(&format!("more than {DEEPEST_TAP} channels")));
        }
        let values = |[height, width, channels]: [usize; 3]| height.checked_mul(width)?.checked_mul(channels);
        for image in [[height, width, input_channels], [output_height, output_width, output_channels]] {
            if values(image).is_none_or(|values| values >= PADDING as usize) {
                return Err(bad("an image has 2^32 values or more"));
            }
        }
        let shape = Self {
            images,
            height,
            width,
            input_channels,
            output_channels,
            geometry,
            output_height,
            output_width,
        };
        Ok(shape.merged_rows())
    }

    /// Images of one pixel under a pointwise kernel are the rows of a single image, so that tiles hold many of them.
    fn merged_rows(self) -> Self {
        let one_pixel = self.height == 1 && self.width == 1 && self.geometry == ConvGeometry::POINTWISE;
        let values = self.images.checked_mul(self.input_channels.max(self.output_channels));
        let fits = values.is_some_and(|values| values < PADDING as usize);
        if one_pixel && fits && self.images > 0 {
            Self { images: 1, height: self.images, output_height: self.images, ..self }
        } else {
            self
        }
    }

    /// Number of output rows of one image.
    pub fn output_height(&self) -> usize {
        self.output_height
    }

    /// Number of output columns of one image.
    pub fn output_width(&self) -> usize {
        self.output_width
    }

    fn taps(&self) -> usize {
        self.geometry.kernel * self.geometry.kernel
    }

    fn input_image(&self) -> usize {
        self.height * self.width * self.input_channels
    }

    fn output_image(&self) -> usize {
        self.output_height * self.output_width * self.output_channels
    }

    fn weight_length(&self) -> usize {
        self.taps() * self.input_channels * self.output_channels
    }

    fn check(&self, input: usize, weight: usize, output: usize) {
        assert_eq!(input, self.images * self.input_image(), "length of a convolution's input");
        assert_eq!(weight, self.weight_length(), "length of a convolution's weight");
        assert_eq!(output, self.images * self.output_image(), "length of a convolution's output");
    }
}

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

/// What a convolution adds, with the bias in the embeddings.
#[derive(Clone, Copy)]
pub(crate) struct Addends<'a> {
    /// `[images or 1, output channels]`.
    pub(crate) per_channel: &'a [f32],
    pub(crate) residual: Option<&'a [f32]>,
}

impl Addends<'_> {
    /// The values of one image.
    pub(crate) fn of_image(&self, image: usize, channels: usize) -> &[f32] {
        let first = if self.per_channel.len() == channels { 0 } else { image * channels };
        &self.per_channel[first..first + channels]
    }
}

/// Runs `multiply_rows` over all images, cut so that every thread has work.
pub(crate) fn over_images(
    instructions: Instructions,
    images: usize,
    input: &[f32],
    table: &RowTable,
    panels: &Panels,
    addends: &Addends<'_>,
    output: &mut [f32],
) {
    if images == 0 {
        return;
    }
    let (input_image, output_image) = (input.len() / images, output.len() / images);
    let wanted_tasks = 4 * rayon::current_num_threads();
    let parts = wanted_tasks.div_ceil(images).clamp(1, table.len().div_ceil(64).max(1));
    let rows_per_part = table.len().div_ceil(parts);
    let target = SharedOutput::new(output);
    (0..images * parts).into_par_iter().for_each(|task| {
        let (image, part) = (task / parts, task % parts);
        let rows = (part * rows_per_part).min(table.len())..((part + 1) * rows_per_part).min(table.len());
        let source = &input[image * input_image..][..input_image];
        let place = target.part(image * output_image, output_image);
        let start = addends.of_image(image, panels.columns());
        let residual = addends.residual.map(|values| &values[image * output_image..][..output_image]);
        multiply_rows(instructions, source, table, rows, panels, start, residual, place);
    });
}

/// What a convolution adds to its products, in the same pass over memory.
#[derive(Clone, Copy, Debug)]
pub struct ConvAddends<'a, T = f32> {
    /// `[output channels]`.
    pub bias: Option<&'a [T]>,
    /// `[images, output channels]`, or `[output channels]` for all images.
    pub embedding: Option<&'a [T]>,
    /// As the output.
    pub residual: Option<&'a [T]>,
}

impl<T> Default for ConvAddends<'_, T> {
    fn default() -> Self {
        Self { bias: None, embedding: None, residual: None }
    }
}

impl ConvAddends<'_> {
    /// Bias and embedding of each image, `[images or 1, output channels]`.
    fn per_channel(&self, channels: usize) -> Vec<f32> {
        let mut sum = self.embedding.map_or_else(|| vec![0.0; channels], <[f32]>::to_vec);
        for row in sum.chunks_exact_mut(channels) {
            for (total, value) in row.iter_mut().zip(self.bias.into_iter().flatten()) {
                *total += value;
            }
        }
        sum
    }
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
    let addends = ConvAddends { bias, ..ConvAddends::default() };
    convolve(instructions, shape, input, weight, &addends, output);
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
    convolve(Instructions::detect(), shape, input, weight, addends, output);
}

fn convolve(
    instructions: Instructions,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
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
    let panels = Panels::pack(weight, shape.taps(), depth, columns, strides);
    let table = table(shape, Direction::Forward);
    over_images(instructions, shape.images, input, &table, &panels, &sums, output);
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
    shape.check(input_gradient.len(), weight.len(), output_gradient.len());
    let instructions = Instructions::detect();
    if winograd::fits(shape) {
        return winograd::backward_input(instructions, shape, output_gradient, weight, input_gradient);
    }
    let (depth, columns) = (shape.output_channels, shape.input_channels);
    let strides = Strides { tap: depth * columns, depth: 1, column: depth };
    let panels = Panels::pack(weight, shape.taps(), depth, columns, strides);
    let table = table(shape, Direction::BackwardInput);
    let nothing = vec![0.0; columns];
    let addends = Addends { per_channel: &nothing, residual: None };
    over_images(instructions, shape.images, output_gradient, &table, &panels, &addends, input_gradient);
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
