//! The layers on Burn's CPU backend: `f32` by the fast kernels, `f64` by the reference loops.

use super::{GroupNormSettings, LayerGradients, LayerOps, TangentOps};
use crate::conv2d::{convolve, gradient_of_input};
use crate::memory::Buffer;
use crate::weight_values::WeightValues;
use crate::{
    AttentionShape, ConvAddends, ConvGeometry, ConvShape, GroupNormShape, Instructions, ShapeError, reference,
};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Element, TensorData};
use burn_flex::FlexTensor;
use bytemuck::Pod;
use rayon::prelude::*;

/// The values of a contiguous tensor.
trait Values {
    fn values<E: Element + Pod>(&self) -> &[E];
}

impl Values for FlexTensor {
    fn values<E: Element + Pod>(&self) -> &[E] {
        let start = self.layout().start_offset();
        &self.storage::<E>()[start..start + self.layout().num_elements()]
    }
}

fn dims<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    tensor.shape().dims()
}

fn tensor<E: Element>(values: Vec<E>, shape: impl Into<Vec<usize>>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}

/// An `f32` tensor whose values `write` sets, all of them.
fn filled(shape: impl Into<Vec<usize>>, write: impl FnOnce(&mut [f32])) -> FlexTensor {
    let shape = shape.into();
    let mut buffer = Buffer::new(shape.iter().product());
    write(buffer.values());
    made(buffer, shape)
}

fn made(buffer: Buffer, shape: impl Into<Vec<usize>>) -> FlexTensor {
    FlexTensor::from_data(TensorData::from_bytes(buffer.into_bytes(), shape.into(), DType::F32))
}

/// The values of a weight beside activations in f32.
fn weight_values(weight: &FlexTensor) -> WeightValues<'_> {
    match weight.dtype() {
        DType::F16 => WeightValues::F16(weight.values()),
        DType::BF16 => WeightValues::Bf16(weight.values()),
        _ => WeightValues::F32(weight.values()),
    }
}

/// Shapes are checked where networks are built; here a misfit is a mistake of this project's code.
#[allow(clippy::panic, reason = "a shape that does not fit cannot be continued with")]
fn fitting<T>(shape: Result<T, ShapeError>) -> T {
    match shape {
        Ok(shape) => shape,
        Err(error) => panic!("{error}"),
    }
}

fn conv_shape(input: &FlexTensor, weight: &FlexTensor, geometry: ConvGeometry) -> ConvShape {
    conv_shape_of(dims(input), weight, geometry)
}

fn conv_shape_of(input: [usize; 4], weight: &FlexTensor, geometry: ConvGeometry) -> ConvShape {
    let [height, width, input_channels, output_channels] = dims(weight);
    assert_eq!(
        (height, width, input_channels),
        (geometry.kernel, geometry.kernel, input[3]),
        "kernel and input channels of a weight"
    );
    fitting(ConvShape::new(input, output_channels, geometry))
}

fn output_dims(input: [usize; 4], shape: &ConvShape) -> Vec<usize> {
    let side = |length| fitting(shape.geometry.output_side(length).ok_or(ShapeError(String::new())));
    vec![input[0], side(input[1]), side(input[2]), shape.output_channels]
}

fn norm_shape(input: &FlexTensor, settings: GroupNormSettings) -> GroupNormShape {
    let [images, height, width, channels] = dims(input);
    let GroupNormSettings { groups, epsilon, silu } = settings;
    fitting(GroupNormShape { images, pixels: height * width, channels, groups, epsilon, silu }.checked())
}

fn attention_shape(queries: &FlexTensor, keys: &FlexTensor, heads: usize) -> AttentionShape {
    let [images, height, width, channels] = dims(queries);
    let [key_images, key_height, key_width, key_channels] = dims(keys);
    assert_eq!((key_images, key_channels), (images, channels), "images and channels of keys");
    let (queries, keys) = (height * width, key_height * key_width);
    fitting(AttentionShape { images, queries, keys, channels, heads }.checked())
}

/// Runs one expression for `f32` and another for `f64`.
macro_rules! by_type {
    ($dtype:expr, f32 => $fast:expr, f64 => $plain:expr) => {
        match $dtype {
            DType::F64 => $plain,
            DType::F32 => $fast,
            #[allow(clippy::panic, reason = "no network of this project has another type")]
            other => panic!("the kernels compute in f32 and f64, not {other:?}"),
        }
    };
}

mod tokens;

/// What a convolution adds to its sum besides the bias.
enum Addend {
    Nothing,
    /// One value per image and channel, or per channel.
    Embedding(FlexTensor),
    /// One value per output.
    Residual(FlexTensor),
}

fn conv(
    input: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
    addend: Addend,
    geometry: ConvGeometry,
) -> FlexTensor {
    let (input, weight, bias) =
        (input.to_contiguous(), weight.to_contiguous(), bias.map(FlexTensor::to_contiguous));
    let shape = conv_shape(&input, &weight, geometry);
    let sides = output_dims(dims(&input), &shape);
    let (embedding, residual) = match addend {
        Addend::Nothing => (None, None),
        Addend::Embedding(embedding) => (Some(embedding.to_contiguous()), None),
        Addend::Residual(residual) => (None, Some(residual.to_contiguous())),
    };
    by_type!(input.dtype(),
        f32 => {
            let addends = addends(bias.as_ref(), embedding.as_ref(), residual.as_ref());
            let weight = weight_values(&weight);
            filled(sides, |output| convolve(Instructions::detect(), &shape, input.values(), weight, &addends, output))
        },
        f64 => {
            let addends = addends::<f64>(bias.as_ref(), embedding.as_ref(), residual.as_ref());
            tensor(reference::conv2d_with(&shape, input.values(), weight.values(), &addends), sides)
        }
    )
}

fn addends<'a, T: Element + Pod>(
    bias: Option<&'a FlexTensor>,
    embedding: Option<&'a FlexTensor>,
    residual: Option<&'a FlexTensor>,
) -> ConvAddends<'a, T> {
    let [bias, embedding, residual] = [bias, embedding, residual].map(|tensor| tensor.map(Values::values));
    ConvAddends { bias, embedding, residual }
}

impl LayerOps for Flex {
    fn conv2d_layer(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        geometry: ConvGeometry,
    ) -> FlexTensor {
        conv(&input, &weight, Some(&bias), Addend::Nothing, geometry)
    }

    fn conv2d_embedding_layer(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        embedding: FlexTensor,
        geometry: ConvGeometry,
    ) -> FlexTensor {
        conv(&input, &weight, Some(&bias), Addend::Embedding(embedding), geometry)
    }

    fn conv2d_residual_layer(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        residual: FlexTensor,
        geometry: ConvGeometry,
    ) -> FlexTensor {
        conv(&input, &weight, Some(&bias), Addend::Residual(residual), geometry)
    }

    fn group_norm_layer(
        input: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        settings: GroupNormSettings,
    ) -> FlexTensor {
        Self::group_norm_with_statistics(input, scale, shift, settings).0
    }

    fn attention_layer(
        queries: FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        heads: usize,
    ) -> FlexTensor {
        let [q, k, v] = [queries, keys, values].map(|tensor| tensor.to_contiguous());
        let shape = attention_shape(&q, &k, heads);
        let sides = dims::<4>(&q);
        by_type!(q.dtype(),
            f32 => filled(sides, |output| crate::attention(&shape, q.values(), k.values(), v.values(), output)),
            f64 => tensor(reference::attention::<f64>(&shape, q.values(), k.values(), v.values()), sides)
        )
    }

    fn probed_layer(input: FlexTensor, _: FlexTensor) -> FlexTensor {
        input
    }

    fn silu_layer(input: FlexTensor) -> FlexTensor {
        let input = input.to_contiguous();
        let sides = dims::<4>(&input);
        by_type!(input.dtype(),
            f32 => filled(sides, |output| crate::silu(input.values(), output)),
            f64 => tensor(reference::silu::<f64>(input.values()), sides)
        )
    }

    fn upsample_layer(input: FlexTensor) -> FlexTensor {
        let input = input.to_contiguous();
        let [images, height, width, channels] = dims(&input);
        let sides = [images, 2 * height, 2 * width, channels];
        by_type!(input.dtype(),
            f32 => filled(sides, |output| crate::upsample_nearest(width, channels, input.values(), output)),
            f64 => tensor(upsampled::<f64>(width, channels, input.values()), sides)
        )
    }

    fn concatenate_layer(first: FlexTensor, second: FlexTensor) -> FlexTensor {
        let (first, second) = (first.to_contiguous(), second.to_contiguous());
        let [images, height, width, channels] = dims(&first);
        let more = dims::<4>(&second)[3];
        assert_eq!(dims::<4>(&second), [images, height, width, more], "sides of concatenated images");
        let sides = [images, height, width, channels + more];
        by_type!(first.dtype(),
            f32 => filled(sides, |output| crate::concatenate(channels, more, first.values(), second.values(), output)),
            f64 => {
                let mut output = vec![0.0; sides.iter().product()];
                crate::concatenate::<f64>(channels, more, first.values(), second.values(), &mut output);
                tensor(output, sides)
            }
        )
    }
}

fn upsampled<T: Copy + Send + Sync + Default>(width: usize, channels: usize, input: &[T]) -> Vec<T> {
    let mut output = vec![T::default(); 4 * input.len()];
    crate::upsample_nearest(width, channels, input, &mut output);
    output
}

impl TangentOps for Flex {
    fn conv2d_directional(tangent: FlexTensor, weight: FlexTensor, geometry: ConvGeometry) -> FlexTensor {
        conv(&tangent, &weight, None, Addend::Nothing, geometry)
    }

    fn conv2d_residual_directional(
        tangent: FlexTensor,
        weight: FlexTensor,
        residual: FlexTensor,
        geometry: ConvGeometry,
    ) -> FlexTensor {
        conv(&tangent, &weight, None, Addend::Residual(residual), geometry)
    }

    fn group_norm_directional(
        input: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        tangent: FlexTensor,
        settings: GroupNormSettings,
    ) -> FlexTensor {
        let (input, tangent) = (input.to_contiguous(), tangent.to_contiguous());
        let (scale, shift) = (scale.to_contiguous(), shift.to_contiguous());
        let shape = norm_shape(&input, settings);
        let sides = dims::<4>(&tangent);
        by_type!(input.dtype(),
            f32 => {
                let mut statistics = Buffer::new(shape.statistics_length());
                crate::group_norm_statistics(&shape, input.values(), statistics.values());
                filled(sides, |output| crate::group_norm_tangent(
                    &shape, input.values(), scale.values(), shift.values(), statistics.values(), tangent.values(), output,
                ))
            },
            f64 => {
                let output = reference::group_norm_tangent::<f64>(
                    &shape, input.values(), scale.values(), shift.values(), tangent.values(),
                );
                tensor(output, sides)
            }
        )
    }

    fn silu_directional(input: FlexTensor, tangent: FlexTensor) -> FlexTensor {
        let (input, tangent) = (input.to_contiguous(), tangent.to_contiguous());
        let sides = dims::<4>(&tangent);
        let images = dims::<4>(&input)[0];
        let tangents = sides[0].checked_div(images).unwrap_or(0);
        assert_eq!(
            (tangents * images, dims::<4>(&input)[1..].to_vec()),
            (sides[0], sides[1..].to_vec()),
            "sides of tangents"
        );
        let length = sides[1..].iter().product::<usize>();
        by_type!(input.dtype(),
            f32 => filled(sides, |output| {
                let along = tangent.values::<f32>().chunks_exact(length.max(1));
                for (index, (output, along)) in output.chunks_exact_mut(length.max(1)).zip(along).enumerate() {
                    let point = &input.values::<f32>()[index / tangents * length..][..length];
                    crate::silu_times_slope(point, along, output);
                }
            }),
            f64 => {
                let along = tangent.values::<f64>().chunks_exact(length.max(1)).enumerate();
                let output = along.flat_map(|(index, along)| {
                    let point = &input.values::<f64>()[index / tangents * length..][..length];
                    reference::silu_times_slope(point, along)
                });
                tensor(output.collect::<Vec<f64>>(), sides)
            }
        )
    }

    fn attention_directional(
        queries: FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        query_tangent: FlexTensor,
        key_tangent: FlexTensor,
        value_tangent: FlexTensor,
        heads: usize,
    ) -> FlexTensor {
        let [q, k, v] = [queries, keys, values].map(|tensor| tensor.to_contiguous());
        let [dq, dk, dv] = [query_tangent, key_tangent, value_tangent].map(|tensor| tensor.to_contiguous());
        let shape = attention_shape(&q, &k, heads);
        let sides = dims::<4>(&dq);
        by_type!(q.dtype(),
            f32 => filled(sides, |output| crate::attention_tangent(
                    &shape, q.values(), k.values(), v.values(), dq.values(), dk.values(), dv.values(), output)),
            f64 => {
                let output = reference::attention_tangent::<f64>(
                    &shape, q.values(), k.values(), v.values(), dq.values(), dk.values(), dv.values(),
                );
                tensor(output, sides)
            }
        )
    }

    fn attention_query_directional(
        queries: FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        query_tangent: FlexTensor,
        heads: usize,
    ) -> FlexTensor {
        let [q, k, v, dq] = [queries, keys, values, query_tangent].map(|tensor| tensor.to_contiguous());
        let shape = attention_shape(&q, &k, heads);
        let sides = dims::<4>(&dq);
        by_type!(q.dtype(),
            f32 => filled(sides, |output| {
                crate::attention_query_tangent(&shape, q.values(), k.values(), v.values(), dq.values(), output);
            }),
            f64 => {
                let output = reference::attention_query_tangent::<f64>(
                    &shape, q.values(), k.values(), v.values(), dq.values(),
                );
                tensor(output, sides)
            }
        )
    }
}

impl LayerGradients for Flex {
    fn conv2d_input_gradient(
        output_gradient: FlexTensor,
        weight: FlexTensor,
        input: [usize; 4],
        geometry: ConvGeometry,
    ) -> FlexTensor {
        let (output_gradient, weight) = (output_gradient.to_contiguous(), weight.to_contiguous());
        let shape = conv_shape_of(input, &weight, geometry);
        by_type!(output_gradient.dtype(),
            f32 => {
                let weight = weight_values(&weight);
                filled(input, |output| gradient_of_input(&shape, output_gradient.values(), weight, output))
            },
            f64 => tensor(reference::conv2d_backward_input::<f64>(&shape, output_gradient.values(), weight.values()), input)
        )
    }

    fn conv2d_weight_gradient(
        input: FlexTensor,
        output_gradient: FlexTensor,
        geometry: ConvGeometry,
    ) -> FlexTensor {
        let (input, output_gradient) = (input.to_contiguous(), output_gradient.to_contiguous());
        let sides: [usize; 4] = dims(&input);
        let output_channels = dims::<4>(&output_gradient)[3];
        let shape = fitting(ConvShape::new(sides, output_channels, geometry));
        let weight = [geometry.kernel, geometry.kernel, sides[3], output_channels];
        by_type!(input.dtype(),
            f32 => filled(weight, |output| crate::conv2d_backward_weight(&shape, input.values(), output_gradient.values(), output)),
            f64 => tensor(reference::conv2d_backward_weight::<f64>(&shape, input.values(), output_gradient.values()), weight)
        )
    }

    fn channel_sum(output_gradient: FlexTensor) -> FlexTensor {
        let output_gradient = output_gradient.to_contiguous();
        let [images, _, _, channels] = dims(&output_gradient);
        by_type!(output_gradient.dtype(),
            f32 => filled([channels], |output| crate::bias_backward(images, output_gradient.values(), output)),
            f64 => tensor(reference::bias_backward::<f64>(channels, output_gradient.values()), [channels])
        )
    }

    fn group_norm_with_statistics(
        input: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        settings: GroupNormSettings,
    ) -> (FlexTensor, FlexTensor) {
        let (input, scale, shift) = (input.to_contiguous(), scale.to_contiguous(), shift.to_contiguous());
        let shape = norm_shape(&input, settings);
        let sides = dims::<4>(&input);
        by_type!(input.dtype(),
            f32 => {
                let length = shape.statistics_length();
                let mut statistics = Buffer::new(length);
                let output = filled(sides, |output| crate::group_norm(
                    &shape, input.values(), scale.values(), shift.values(), output, statistics.values(),
                ));
                (output, made(statistics, [length]))
            },
            f64 => {
                let output = reference::group_norm::<f64>(&shape, input.values(), scale.values(), shift.values());
                (tensor(output, sides), tensor(Vec::<f64>::new(), [0]))
            }
        )
    }

    fn group_norm_gradient(
        input: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        statistics: FlexTensor,
        output_gradient: FlexTensor,
        settings: GroupNormSettings,
    ) -> [FlexTensor; 3] {
        let (input, output_gradient) = (input.to_contiguous(), output_gradient.to_contiguous());
        let (scale, shift) = (scale.to_contiguous(), shift.to_contiguous());
        let shape = norm_shape(&input, settings);
        let (sides, channels) = (dims::<4>(&input), shape.channels);
        by_type!(input.dtype(),
            f32 => {
                let (mut of_scale, mut of_shift) = (vec![0.0; channels], vec![0.0; channels]);
                let gradient = filled(sides, |gradient| crate::group_norm_backward(
                    &shape, input.values(), scale.values(), shift.values(), statistics.values(),
                    output_gradient.values(), gradient, &mut of_scale, &mut of_shift,
                ));
                [gradient, tensor(of_scale, [channels]), tensor(of_shift, [channels])]
            },
            f64 => {
                let (gradient, of_scale, of_shift) = reference::group_norm_backward::<f64>(
                    &shape, input.values(), scale.values(), shift.values(), output_gradient.values(),
                );
                [tensor(gradient, sides), tensor(of_scale, [channels]), tensor(of_shift, [channels])]
            }
        )
    }

    fn attention_gradient(
        queries: FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        output_gradient: FlexTensor,
        heads: usize,
    ) -> [FlexTensor; 3] {
        let [q, k, v, d] = [queries, keys, values, output_gradient].map(|tensor| tensor.to_contiguous());
        let shape = attention_shape(&q, &k, heads);
        let (sides, key_sides) = (dims::<4>(&q), dims::<4>(&k));
        by_type!(q.dtype(),
            f32 => {
                let like = |tensor: &FlexTensor| Buffer::new(tensor.values::<f32>().len());
                let [mut dq, mut dk, mut dv] = [like(&q), like(&k), like(&v)];
                crate::attention_backward(
                    &shape, q.values(), k.values(), v.values(), d.values(), dq.values(), dk.values(), dv.values(),
                );
                [made(dq, sides), made(dk, key_sides), made(dv, key_sides)]
            },
            f64 => {
                let (dq, dk, dv) =
                    reference::attention_backward::<f64>(&shape, q.values(), k.values(), v.values(), d.values());
                [tensor(dq, sides), tensor(dk, key_sides), tensor(dv, key_sides)]
            }
        )
    }

    fn silu_gradient(input: FlexTensor, output_gradient: FlexTensor) -> FlexTensor {
        let (input, output_gradient) = (input.to_contiguous(), output_gradient.to_contiguous());
        let sides = dims::<4>(&input);
        by_type!(input.dtype(),
            f32 => filled(sides, |output| crate::silu_times_slope(input.values(), output_gradient.values(), output)),
            f64 => tensor(reference::silu_times_slope::<f64>(input.values(), output_gradient.values()), sides)
        )
    }

    fn upsample_gradient(output_gradient: FlexTensor) -> FlexTensor {
        let output_gradient = output_gradient.to_contiguous();
        let [images, height, width, channels] = dims(&output_gradient);
        let sides = [images, height / 2, width / 2, channels];
        by_type!(output_gradient.dtype(),
            f32 => filled(sides, |output| {
                crate::upsample_nearest_backward::<f32>(width / 2, channels, output_gradient.values(), output)
            }),
            f64 => tensor(downsummed::<f64>(width / 2, channels, output_gradient.values()), sides)
        )
    }

    fn embedding_gradient(output_gradient: FlexTensor, embeddings: usize) -> FlexTensor {
        let output_gradient = output_gradient.to_contiguous();
        let [images, height, width, channels] = dims(&output_gradient);
        let image = height * width * channels;
        let sides = [embeddings, 1, 1, channels];
        assert!(embeddings == images || embeddings == 1, "one embedding, or one per image");
        by_type!(output_gradient.dtype(),
            f32 => tensor(pixel_sums::<f32>(image, channels, embeddings, output_gradient.values()), sides),
            f64 => tensor(pixel_sums::<f64>(image, channels, embeddings, output_gradient.values()), sides)
        )
    }

    fn concatenate_gradient(output_gradient: FlexTensor, channels: usize) -> [FlexTensor; 2] {
        let output_gradient = output_gradient.to_contiguous();
        let [images, height, width, all] = dims(&output_gradient);
        let [first, second] = [channels, all - channels].map(|count| [images, height, width, count]);
        by_type!(output_gradient.dtype(),
            f32 => {
                let mut tail = Buffer::new(second.iter().product());
                let head = filled(first, |head| {
                    crate::split(channels, all - channels, output_gradient.values(), head, tail.values());
                });
                [head, made(tail, second)]
            },
            f64 => {
                let (mut head, mut tail) =
                    (vec![0.0; first.iter().product()], vec![0.0; second.iter().product()]);
                crate::split::<f64>(channels, all - channels, output_gradient.values(), &mut head, &mut tail);
                [tensor(head, first), tensor(tail, second)]
            }
        )
    }
}

fn downsummed<T>(width: usize, channels: usize, output_gradient: &[T]) -> Vec<T>
where
    T: Copy + Send + Sync + Default + std::ops::Add<Output = T>,
{
    let mut gradient = vec![T::default(); output_gradient.len() / 4];
    crate::upsample_nearest_backward(width, channels, output_gradient, &mut gradient);
    gradient
}

/// The sum over the pixels of each image, or over all images; pixels are added in order.
fn pixel_sums<T: reference::Real + Send + Sync>(
    image: usize,
    channels: usize,
    embeddings: usize,
    values: &[T],
) -> Vec<T> {
    let mut sums = vec![T::of(0.0); embeddings * channels];
    let part = if embeddings == 1 { values.len() } else { image };
    sums.par_chunks_exact_mut(channels).zip(values.par_chunks_exact(part.max(1))).for_each(
        |(sum, values)| {
            for row in values.chunks_exact(channels) {
                for (total, &value) in sum.iter_mut().zip(row) {
                    *total += value;
                }
            }
        },
    );
    sums
}
