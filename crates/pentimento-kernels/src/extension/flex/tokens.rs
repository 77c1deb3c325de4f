//! The layers on tokens on Burn's CPU backend.

use super::super::tokens::{TokenGradients, TokenOps, TokenTangents};
use super::{Values, dims, filled, fitting, made, tensor};
use crate::memory::Buffer;
use crate::{Gelu, LayerNormShape, reference};
use burn::backend::Flex;
use burn::tensor::{DType, Element};
use burn_flex::FlexTensor;
use bytemuck::Pod;

/// The layer normalisation of so many images of the sides of a tensor.
fn norm_shape(images: usize, input: &FlexTensor, epsilon: f64) -> LayerNormShape {
    let [_, height, width, channels] = dims(input);
    fitting(LayerNormShape { tokens: images * height * width, channels, epsilon }.checked())
}

/// Sides of what [`crate::geglu`] puts out, and its channels.
fn halved(input: &FlexTensor) -> ([usize; 4], usize) {
    let [images, height, width, channels] = dims(input);
    assert!(channels.is_multiple_of(2), "GEGLU of {channels} channels");
    ([images, height, width, channels / 2], channels / 2)
}

/// A point and a direction in it, for each direction of each image.
fn directions<'a, E: Element + Pod>(
    input: &'a FlexTensor,
    tangent: &'a FlexTensor,
) -> impl Iterator<Item = (&'a [E], &'a [E])> {
    let ([images, sides @ ..], [tangents, tangent_sides @ ..]) = (dims::<4>(input), dims::<4>(tangent));
    assert_eq!(sides, tangent_sides, "sides of a tangent");
    assert!(tangents.is_multiple_of(images.max(1)), "{tangents} tangents of {images} images");
    let (length, each) = (sides.into_iter().product::<usize>().max(1), tangents / images.max(1));
    let points = input.values::<E>().chunks_exact(length);
    points
        .flat_map(move |point| std::iter::repeat_n(point, each))
        .zip(tangent.values::<E>().chunks_exact(length))
}

/// Runs `write(point, direction, output)` for each direction of each image.
fn along_each(
    [input, tangent]: [&FlexTensor; 2],
    sides: [usize; 4],
    write: impl Fn(&[f32], &[f32], &mut [f32]),
) -> FlexTensor {
    let length = sides[1..].iter().product::<usize>().max(1);
    filled(sides, |output| {
        for (output, (point, along)) in output.chunks_exact_mut(length).zip(directions(input, tangent)) {
            write(point, along, output);
        }
    })
}

/// The same by plain loops.
fn along_each_plainly(
    [input, tangent]: [&FlexTensor; 2],
    sides: [usize; 4],
    of: impl Fn(&[f64], &[f64]) -> Vec<f64>,
) -> FlexTensor {
    let output = directions(input, tangent).flat_map(|(point, along)| of(point, along));
    tensor(output.collect::<Vec<f64>>(), sides)
}

impl TokenOps for Flex {
    fn layer_norm_layer(input: FlexTensor, scale: FlexTensor, shift: FlexTensor, epsilon: f64) -> FlexTensor {
        let [input, scale, shift] = [input, scale, shift].map(|tensor| tensor.to_contiguous());
        let (sides, shape) = (dims::<4>(&input), norm_shape(dims::<4>(&input)[0], &input, epsilon));
        by_type!(input.dtype(),
            f32 => filled(sides, |output| {
                crate::layer_norm(&shape, input.values(), scale.values(), shift.values(), output);
            }),
            f64 => {
                let output = reference::layer_norm::<f64>(&shape, input.values(), scale.values(), shift.values());
                tensor(output, sides)
            }
        )
    }

    fn gelu_layer(input: FlexTensor, form: Gelu) -> FlexTensor {
        let input = input.to_contiguous();
        let sides = dims::<4>(&input);
        by_type!(input.dtype(),
            f32 => filled(sides, |output| crate::gelu(form, input.values(), output)),
            f64 => tensor(reference::gelu::<f64>(form, input.values()), sides)
        )
    }

    fn geglu_layer(input: FlexTensor) -> FlexTensor {
        let input = input.to_contiguous();
        let (sides, channels) = halved(&input);
        by_type!(input.dtype(),
            f32 => filled(sides, |output| crate::geglu(channels, input.values(), output)),
            f64 => tensor(reference::geglu::<f64>(channels, input.values()), sides)
        )
    }
}

impl TokenTangents for Flex {
    fn layer_norm_directional(
        input: FlexTensor,
        scale: FlexTensor,
        tangent: FlexTensor,
        epsilon: f64,
    ) -> FlexTensor {
        let [input, scale, tangent] = [input, scale, tangent].map(|tensor| tensor.to_contiguous());
        let (sides, shape) = (dims::<4>(&tangent), norm_shape(1, &input, epsilon));
        by_type!(input.dtype(),
            f32 => along_each([&input, &tangent], sides, |point, along, output| {
                crate::layer_norm_tangent(&shape, point, scale.values(), along, output);
            }),
            f64 => along_each_plainly([&input, &tangent], sides, |point, along| {
                reference::layer_norm_tangent(&shape, point, scale.values(), along)
            })
        )
    }

    fn gelu_directional(input: FlexTensor, tangent: FlexTensor, form: Gelu) -> FlexTensor {
        let [input, tangent] = [input, tangent].map(|tensor| tensor.to_contiguous());
        let (pair, sides) = ([&input, &tangent], dims::<4>(&tangent));
        by_type!(input.dtype(),
            f32 => along_each(pair, sides, |point, along, output| crate::gelu_times_slope(form, point, along, output)),
            f64 => along_each_plainly(pair, sides, |point, along| reference::gelu_times_slope(form, point, along))
        )
    }

    fn geglu_directional(input: FlexTensor, tangent: FlexTensor) -> FlexTensor {
        let [input, tangent] = [input, tangent].map(|tensor| tensor.to_contiguous());
        let (pair, (sides, channels)) = ([&input, &tangent], halved(&tangent));
        by_type!(input.dtype(),
            f32 => along_each(pair, sides, |point, along, output| crate::geglu_tangent(channels, point, along, output)),
            f64 => along_each_plainly(pair, sides, |point, along| reference::geglu_tangent(channels, point, along))
        )
    }
}

impl TokenGradients for Flex {
    fn layer_norm_gradient(
        input: FlexTensor,
        scale: FlexTensor,
        output_gradient: FlexTensor,
        epsilon: f64,
    ) -> [FlexTensor; 3] {
        let [input, scale, upstream] = [input, scale, output_gradient].map(|tensor| tensor.to_contiguous());
        let sides = dims::<4>(&input);
        let shape = norm_shape(sides[0], &input, epsilon);
        let channels = shape.channels;
        by_type!(input.dtype(),
            f32 => {
                let [mut of_scale, mut of_shift] = [0; 2].map(|_| Buffer::new(channels));
                let gradient = filled(sides, |gradient| crate::layer_norm_backward(
                    &shape, input.values(), scale.values(), upstream.values(),
                    gradient, of_scale.values(), of_shift.values(),
                ));
                [gradient, made(of_scale, [channels]), made(of_shift, [channels])]
            },
            f64 => {
                let (gradient, of_scale, of_shift) = reference::layer_norm_backward::<f64>(
                    &shape, input.values(), scale.values(), upstream.values(),
                );
                [tensor(gradient, sides), tensor(of_scale, [channels]), tensor(of_shift, [channels])]
            }
        )
    }

    fn gelu_gradient(input: FlexTensor, output_gradient: FlexTensor, form: Gelu) -> FlexTensor {
        let [input, upstream] = [input, output_gradient].map(|tensor| tensor.to_contiguous());
        let sides = dims::<4>(&input);
        by_type!(input.dtype(),
            f32 => filled(sides, |output| {
                crate::gelu_times_slope(form, input.values(), upstream.values(), output);
            }),
            f64 => tensor(reference::gelu_times_slope::<f64>(form, input.values(), upstream.values()), sides)
        )
    }

    fn geglu_gradient(input: FlexTensor, output_gradient: FlexTensor) -> FlexTensor {
        let [input, upstream] = [input, output_gradient].map(|tensor| tensor.to_contiguous());
        let (sides, (_, channels)) = (dims::<4>(&input), halved(&input));
        by_type!(input.dtype(),
            f32 => filled(sides, |output| {
                crate::geglu_backward(channels, input.values(), upstream.values(), output);
            }),
            f64 => tensor(reference::geglu_backward::<f64>(channels, input.values(), upstream.values()), sides)
        )
    }
}
