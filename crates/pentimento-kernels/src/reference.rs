//! The same operations as plain loops, generic over the float type.
//!
//! They are the measure of the fast kernels in tests, and the path for `f64`, which only proofs use.

mod attention;
mod gelu;
mod layer_norm;

pub use attention::{attention, attention_backward, attention_query_tangent, attention_tangent};
pub use gelu::{geglu, geglu_backward, geglu_tangent, gelu, gelu_times_slope};
pub use layer_norm::{layer_norm, layer_norm_backward, layer_norm_tangent};

use crate::{ConvAddends, ConvShape, GroupNormShape};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// What the reference needs of `f32` and `f64`.
pub trait Real:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Sum
{
    /// Rounded from `f64`.
    fn of(value: f64) -> Self;
    /// Widened to `f64`.
    fn wide(self) -> f64;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn wide(self) -> f64 {
        self
    }
}

fn sigmoid<T: Real>(z: T) -> T {
    T::of(1.0 / (1.0 + libm::exp(-z.wide())))
}

fn silu_slope<T: Real>(z: T) -> T {
    let s = sigmoid(z);
    s * (T::of(1.0) + z * (T::of(1.0) - s))
}

/// See [`crate::silu`].
pub fn silu<T: Real>(input: &[T]) -> Vec<T> {
    input.iter().map(|&z| z * sigmoid(z)).collect()
}

/// See [`crate::silu_times_slope`].
pub fn silu_times_slope<T: Real>(input: &[T], direction: &[T]) -> Vec<T> {
    input.iter().zip(direction).map(|(&z, &d)| d * silu_slope(z)).collect()
}

/// Calls `visit(input index, weight index, output index)` for every product of a convolution.
fn visit_convolution(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let geometry = shape.geometry;
    for image in 0..shape.images {
        for oy in 0..shape.output_height() {
            for ox in 0..shape.output_width() {
                for ky in 0..geometry.kernel {
                    for kx in 0..geometry.kernel {
                        let y = (oy * geometry.stride + ky) as isize - geometry.padding_before as isize;
                        let x = (ox * geometry.stride + kx) as isize - geometry.padding_before as isize;
                        if y < 0 || x < 0 || y >= shape.height as isize || x >= shape.width as isize {
                            continue;
                        }
                        let input_pixel = (image * shape.height + y as usize) * shape.width + x as usize;
                        let output_pixel = (image * shape.output_height() + oy) * shape.output_width() + ox;
                        for i in 0..shape.input_channels {
                            for o in 0..shape.output_channels {
                                visit(
                                    input_pixel * shape.input_channels + i,
                                    ((ky * geometry.kernel + kx) * shape.input_channels + i)
                                        * shape.output_channels
                                        + o,
                                    output_pixel * shape.output_channels + o,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

fn conv_output_length(shape: &ConvShape) -> usize {
    shape.images * shape.output_height() * shape.output_width() * shape.output_channels
}

/// See [`crate::conv2d`].
pub fn conv2d<T: Real>(shape: &ConvShape, input: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    conv2d_with(shape, input, weight, &ConvAddends { bias, ..ConvAddends::default() })
}

/// See [`crate::conv2d_with`].
pub fn conv2d_with<T: Real>(
    shape: &ConvShape,
    input: &[T],
    weight: &[T],
    addends: &ConvAddends<'_, T>,
) -> Vec<T> {
    let mut output = vec![T::of(0.0); conv_output_length(shape)];
    let channels = shape.output_channels;
    let pixels = shape.output_height() * shape.output_width();
    for (at, row) in output.chunks_exact_mut(channels).enumerate() {
        for (channel, value) in row.iter_mut().enumerate() {
            if let Some(bias) = addends.bias {
                *value += bias[channel];
            }
            if let Some(embedding) = addends.embedding {
                let image = if embedding.len() == channels { 0 } else { at / pixels };
                *value += embedding[image * channels + channel];
            }
            if let Some(residual) = addends.residual {
                *value += residual[at * channels + channel];
            }
        }
    }
    visit_convolution(shape, |i, w, o| output[o] += input[i] * weight[w]);
    output
}

/// See [`crate::conv2d_backward_input`].
pub fn conv2d_backward_input<T: Real>(shape: &ConvShape, output_gradient: &[T], weight: &[T]) -> Vec<T> {
    let length = shape.images * shape.height * shape.width * shape.input_channels;
    let mut gradient = vec![T::of(0.0); length];
    visit_convolution(shape, |i, w, o| gradient[i] += output_gradient[o] * weight[w]);
    gradient
}

/// See [`crate::conv2d_backward_weight`].
pub fn conv2d_backward_weight<T: Real>(shape: &ConvShape, input: &[T], output_gradient: &[T]) -> Vec<T> {
    let length = shape.geometry.kernel * shape.geometry.kernel * shape.input_channels * shape.output_channels;
    let mut gradient = vec![T::of(0.0); length];
    visit_convolution(shape, |i, w, o| gradient[w] += input[i] * output_gradient[o]);
    gradient
}

/// See [`crate::bias_backward`].
pub fn bias_backward<T: Real>(channels: usize, output_gradient: &[T]) -> Vec<T> {
    let mut gradient = vec![T::of(0.0); channels];
    for row in output_gradient.chunks_exact(channels) {
        for (sum, &value) in gradient.iter_mut().zip(row) {
            *sum += value;
        }
    }
    gradient
}

/// Indices of one group of one image, with their channels.
fn group_indices(shape: &GroupNormShape, image: usize, group: usize) -> Vec<(usize, usize)> {
    let per_group = shape.channels / shape.groups;
    (0..shape.pixels)
        .flat_map(|pixel| {
            (group * per_group..(group + 1) * per_group)
                .map(move |channel| ((image * shape.pixels + pixel) * shape.channels + channel, channel))
        })
        .collect()
}

/// Calls `visit(indices with channels, x_hat at each index, inverse deviation)` for each group of each image.
fn visit_groups<T: Real>(
    shape: &GroupNormShape,
    input: &[T],
    mut visit: impl FnMut(usize, &[(usize, usize)], &[T], T),
) {
    for image in 0..shape.images {
        for group in 0..shape.groups {
            let indices = group_indices(shape, image, group);
            let count = T::of(indices.len() as f64);
            let mean = indices.iter().map(|&(at, _)| input[at]).sum::<T>() / count;
            let variance =
                indices.iter().map(|&(at, _)| (input[at] - mean) * (input[at] - mean)).sum::<T>() / count;
            let inverse = T::of(1.0 / (variance.wide() + shape.epsilon).sqrt());
            let x_hat: Vec<T> = indices.iter().map(|&(at, _)| (input[at] - mean) * inverse).collect();
            visit(image, &indices, &x_hat, inverse);
        }
    }
}

/// See [`crate::group_norm`].
pub fn group_norm<T: Real>(shape: &GroupNormShape, input: &[T], scale: &[T], shift: &[T]) -> Vec<T> {
    let mut output = vec![T::of(0.0); input.len()];
    visit_groups(shape, input, |_, indices, x_hat, _| {
        for (&(at, channel), &x_hat) in indices.iter().zip(x_hat) {
            let z = x_hat * scale[channel] + shift[channel];
            output[at] = if shape.silu { z * sigmoid(z) } else { z };
        }
    });
    output
}

/// See [`crate::group_norm_backward`]; returns the gradients of input, scale and shift.
pub fn group_norm_backward<T: Real>(
    shape: &GroupNormShape,
    input: &[T],
    scale: &[T],
    shift: &[T],
    output_gradient: &[T],
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let mut input_gradient = vec![T::of(0.0); input.len()];
    let mut scale_gradient = vec![T::of(0.0); shape.channels];
    let mut shift_gradient = vec![T::of(0.0); shape.channels];
    visit_groups(shape, input, |_, indices, x_hat, inverse| {
        let dz: Vec<T> = (indices.iter().zip(x_hat))
            .map(|(&(at, channel), &x_hat)| {
                let z = x_hat * scale[channel] + shift[channel];
                if shape.silu { output_gradient[at] * silu_slope(z) } else { output_gradient[at] }
            })
            .collect();
        let count = T::of(indices.len() as f64);
        let (mut plain, mut with_x_hat) = (T::of(0.0), T::of(0.0));
        for ((&(_, channel), &x_hat), &dz) in indices.iter().zip(x_hat).zip(&dz) {
            plain += dz * scale[channel];
            with_x_hat += dz * scale[channel] * x_hat;
            scale_gradient[channel] += dz * x_hat;
            shift_gradient[channel] += dz;
        }
        for ((&(at, channel), &x_hat), &dz) in indices.iter().zip(x_hat).zip(&dz) {
            input_gradient[at] = inverse * (dz * scale[channel] - plain / count - x_hat * with_x_hat / count);
        }
    });
    (input_gradient, scale_gradient, shift_gradient)
}

/// See [`crate::group_norm_tangent`].
pub fn group_norm_tangent<T: Real>(
    shape: &GroupNormShape,
    input: &[T],
    scale: &[T],
    shift: &[T],
    tangent: &[T],
) -> Vec<T> {
    let mut output = vec![T::of(0.0); tangent.len()];
    if input.is_empty() {
        return output;
    }
    let tangents = tangent.len() / input.len();
    let length = shape.pixels * shape.channels;
    visit_groups(shape, input, |image, indices, x_hat, inverse| {
        let count = T::of(indices.len() as f64);
        for index in 0..tangents {
            let moved = |at: usize| at - image * length + (image * tangents + index) * length;
            let mean = indices.iter().map(|&(at, _)| tangent[moved(at)]).sum::<T>() / count;
            let along =
                (indices.iter().zip(x_hat)).map(|(&(at, _), &x)| tangent[moved(at)] * x).sum::<T>() / count;
            for (&(at, channel), &x) in indices.iter().zip(x_hat) {
                let dz = scale[channel] * inverse * (tangent[moved(at)] - mean - x * along);
                let z = x * scale[channel] + shift[channel];
                output[moved(at)] = if shape.silu { dz * silu_slope(z) } else { dz };
            }
        }
    });
    output
}
