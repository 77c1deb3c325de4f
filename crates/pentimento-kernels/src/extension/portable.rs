//! The operations composed of Burn's own: for every device but the CPU, and on the CPU when a test asks for them.
//!
//! Burn differentiates them by itself. They follow the formulas of [`crate::reference`], in whatever order of sums the
//! device likes: the promise of equal bytes is made for the kernels on the CPU only.

pub(super) mod tokens;

use super::GroupNormSettings;
use crate::ConvGeometry;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, activation, module};
use std::sync::atomic::{AtomicBool, Ordering};

static EVERYWHERE: AtomicBool = AtomicBool::new(false);

/// Uses the portable bodies also where there are kernels. For tests and comparisons, of the whole process.
pub fn use_portable_bodies(everywhere: bool) {
    EVERYWHERE.store(everywhere, Ordering::Relaxed);
}

/// Whether an operation on `tensor` takes the portable way.
pub(super) fn wanted(tensor: &Tensor<4>) -> bool {
    EVERYWHERE.load(Ordering::Relaxed) || tensor.device().inner() != Device::flex()
}

/// The convolution and, added to it, the bias.
pub(super) fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    geometry: ConvGeometry,
) -> Tensor<4> {
    let ConvGeometry { kernel: _, stride, padding_before, padding_after } = geometry;
    let options = ConvOptions {
        stride: [stride; 2],
        padding: [(padding_before, padding_after); 2],
        dilation: [1; 2],
        groups: 1,
    };
    // Burn computes in one type, and weights that stand still may have less bits.
    let weight = if weight.dtype() == input.dtype() { weight } else { weight.cast(input.dtype()) };
    let input = input.permute([0, 3, 1, 2]);
    let weight = weight.permute([3, 2, 0, 1]);
    module::conv2d(input, weight, bias, options).permute([0, 2, 3, 1])
}

/// What a group normalisation computes on its way, each `[images, pixels, groups, channels of a group]` or of size one.
struct Normalised {
    x_hat: Tensor<4>,
    deviation: Tensor<4>,
    scale: Tensor<4>,
    /// `scale * x_hat + shift`.
    z: Tensor<4>,
}

fn normalised(
    input: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    settings: GroupNormSettings,
) -> Normalised {
    let [images, height, width, channels] = input.dims();
    let groups = settings.groups;
    let input = input.reshape([images, height * width, groups, channels / groups]);
    let [scale, shift] = [scale, shift].map(|values| values.reshape([1, 1, groups, channels / groups]));
    let centred = input.clone() - input.mean_dim(1).mean_dim(3);
    let variance = (centred.clone() * centred.clone()).mean_dim(1).mean_dim(3);
    let deviation = (variance + settings.epsilon).sqrt().recip();
    let x_hat = centred * deviation.clone();
    let z = x_hat.clone() * scale.clone() + shift;
    Normalised { x_hat, deviation, scale, z }
}

pub(super) fn group_norm(
    input: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    settings: GroupNormSettings,
) -> Tensor<4> {
    let sides = input.dims();
    let z = normalised(input, scale, shift, settings).z.reshape(sides);
    if settings.silu { silu(z) } else { z }
}

pub(super) fn silu(input: Tensor<4>) -> Tensor<4> {
    input.clone() * activation::sigmoid(input)
}

fn silu_slope(z: Tensor<4>) -> Tensor<4> {
    let s = activation::sigmoid(z.clone());
    s.clone() * (z * (-s + 1.0) + 1.0)
}

/// `[images, heads, tokens, channels of a head]`.
fn heads_of(input: Tensor<4>, heads: usize) -> Tensor<4> {
    let [images, height, width, channels] = input.dims();
    input.reshape([images, height * width, heads, channels / heads]).swap_dims(1, 2)
}

/// Softmax of the scaled products of queries and keys, `[images, heads, queries, keys]`, and the scale.
fn attention_weights(queries: Tensor<4>, keys: Tensor<4>) -> (Tensor<4>, f64) {
    let scale = 1.0 / (queries.dims()[3] as f64).sqrt();
    (activation::softmax(queries.matmul(keys.swap_dims(2, 3)) * scale, 3), scale)
}

pub(super) fn attention(queries: Tensor<4>, keys: Tensor<4>, values: Tensor<4>, heads: usize) -> Tensor<4> {
    let sides = queries.dims();
    let [q, k, v] = [queries, keys, values].map(|tensor| heads_of(tensor, heads));
    let (weights, _) = attention_weights(q, k);
    weights.matmul(v).swap_dims(1, 2).reshape(sides)
}

pub(super) fn upsample_nearest(input: Tensor<4>) -> Tensor<4> {
    let [images, height, width, channels] = input.dims();
    let rows = input.reshape([images * height, 1, width, channels]).repeat_dim(1, 2);
    let pixels = rows.reshape([images * 2 * height, width, 1, channels]).repeat_dim(2, 2);
    pixels.reshape([images, 2 * height, 2 * width, channels])
}

/// Repeats each image of `[images, ...]` once per tangent, to stand beside `[images * tangents, ...]`.
fn beside(primal: Tensor<4>, tangents: usize) -> Tensor<4> {
    let [images, a, b, c] = primal.dims();
    primal.reshape([images, 1, a, b * c]).repeat_dim(1, tangents).reshape([images * tangents, a, b, c])
}

/// The derivative of [`group_norm`] at `input` along `tangent`, `[images * tangents, height, width, channels]`.
pub(super) fn group_norm_tangent(
    input: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    tangent: Tensor<4>,
    settings: GroupNormSettings,
) -> Tensor<4> {
    let sides = tangent.dims();
    let tangents = sides[0] / input.dims()[0].max(1);
    let Normalised { x_hat, deviation, scale, z } = normalised(input, scale, shift, settings);
    let [_, pixels, groups, channels] = x_hat.dims();
    let (x_hat, deviation) = (beside(x_hat, tangents), beside(deviation, tangents));
    let direction = tangent.reshape([sides[0], pixels, groups, channels]);
    let along = (x_hat.clone() * direction.clone()).mean_dim(1).mean_dim(3);
    let mean = direction.clone().mean_dim(1).mean_dim(3);
    let change = (direction - mean - x_hat * along) * deviation * scale;
    let change = if settings.silu { change * beside(silu_slope(z), tangents) } else { change };
    change.reshape(sides)
}

/// The derivative of [`silu`] at `input` along `tangent`, `[images * tangents, height, width, channels]`.
pub(super) fn silu_tangent(input: Tensor<4>, tangent: Tensor<4>) -> Tensor<4> {
    let tangents = tangent.dims()[0] / input.dims()[0].max(1);
    beside(silu_slope(input), tangents) * tangent
}

/// The derivative of [`attention`] along the tangents of queries and, if they move too, of keys and values.
pub(super) fn attention_tangent(
    point: [Tensor<4>; 3],
    of_queries: Tensor<4>,
    others: Option<[Tensor<4>; 2]>,
    heads: usize,
) -> Tensor<4> {
    let sides = of_queries.dims();
    let tangents = sides[0] / point[0].dims()[0].max(1);
    let [q, k, v] = point.map(|tensor| heads_of(tensor, heads));
    let (weights, scale) = attention_weights(q.clone(), k.clone());
    let [q, k, v, weights] = [q, k, v, weights].map(|tensor| beside(tensor, tangents));
    let of_queries = heads_of(of_queries, heads).matmul(k.swap_dims(2, 3));
    let others = others.map(|others| others.map(|tensor| heads_of(tensor, heads)));
    let (scores, of_values) = match others {
        Some([dk, dv]) => (of_queries + q.matmul(dk.swap_dims(2, 3)), Some(weights.clone().matmul(dv))),
        None => (of_queries, None),
    };
    let scores = scores * scale;
    let mean = (scores.clone() * weights.clone()).sum_dim(3);
    let change = (weights * (scores - mean)).matmul(v);
    of_values.into_iter().fold(change, |sum, part| sum + part).swap_dims(1, 2).reshape(sides)
}
