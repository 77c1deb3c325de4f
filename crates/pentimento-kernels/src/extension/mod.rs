//! The operations as functions of Burn tensors.
//!
//! On the CPU they run the kernels of this crate; on any other device what `portable.rs` composes of Burn's operations.
//!
//! [`LayerOps`] is routed by Burn to the backend of a tensor on the CPU: Flex runs the kernels of this crate, and
//! tensors under automatic differentiation get the hand-written backward passes of `autodiff.rs`. [`TangentOps`] is
//! the forward mode, which Burn does not have; it is not routed through automatic differentiation, since nothing here
//! takes derivatives of derivatives. `tokens.rs` has the same two traits for what a transformer adds.

mod autodiff;
mod device;
mod flex;
mod portable;
mod tokens;

pub use device::{DeviceError, DeviceKind, choose_device, chosen_device_kind, device_for};
pub use portable::use_portable_bodies;
pub use tokens::{
    TokenOps, TokenTangents, geglu, geglu_tangent, gelu, gelu_tangent, layer_norm, layer_norm_tangent,
};

use crate::ConvGeometry;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// Settings of a group normalisation that are not tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormSettings {
    /// Number of groups; divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether SiLU follows.
    pub silu: bool,
}

/// The layers of a diffusion U-Net. All activations are `[images, height, width, channels]`.
#[backend_extension(Flex, Autodiff)]
pub trait LayerOps: Backend {
    /// See [`conv2d`].
    fn conv2d_layer(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self>;
    /// See [`conv2d_with_embedding`].
    fn conv2d_embedding_layer(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        embedding: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self>;
    /// See [`conv2d_with_residual`].
    fn conv2d_residual_layer(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self>;
    /// See [`group_norm`].
    fn group_norm_layer(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        settings: GroupNormSettings,
    ) -> FloatTensor<Self>;
    /// See [`attention`].
    fn attention_layer(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
    /// See [`silu`].
    fn silu_layer(input: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`upsample_nearest`].
    fn upsample_layer(input: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`probed`].
    fn probed_layer(input: FloatTensor<Self>, probe: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`concatenate_channels`].
    fn concatenate_layer(first: FloatTensor<Self>, second: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Derivatives of the layers along given directions. The tangents of an image are consecutive in the first axis:
/// `[images * tangents, height, width, channels]`.
#[backend_extension(Flex)]
pub trait TangentOps: Backend {
    /// See [`conv2d_tangent`].
    fn conv2d_directional(
        tangent: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self>;
    /// See [`conv2d_tangent_with_residual`].
    fn conv2d_residual_directional(
        tangent: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self>;
    /// See [`group_norm_tangent`].
    fn group_norm_directional(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        tangent: FloatTensor<Self>,
        settings: GroupNormSettings,
    ) -> FloatTensor<Self>;
    /// See [`silu_tangent`].
    fn silu_directional(input: FloatTensor<Self>, tangent: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`attention_tangent`].
    #[allow(clippy::too_many_arguments, reason = "three inputs and their tangents")]
    fn attention_directional(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        query_tangent: FloatTensor<Self>,
        key_tangent: FloatTensor<Self>,
        value_tangent: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
    /// See [`attention_query_tangent`].
    fn attention_query_directional(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        query_tangent: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self>;
}

/// What the backward passes need of a backend that runs [`LayerOps`].
pub(crate) trait LayerGradients: LayerOps {
    fn conv2d_input_gradient(
        output_gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        input: [usize; 4],
        geometry: ConvGeometry,
    ) -> FloatTensor<Self>;
    fn conv2d_weight_gradient(
        input: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self>;
    /// Sum over everything but the channels.
    fn channel_sum(output_gradient: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Output and statistics.
    fn group_norm_with_statistics(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        settings: GroupNormSettings,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Gradients of input, scale and shift.
    fn group_norm_gradient(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        settings: GroupNormSettings,
    ) -> [FloatTensor<Self>; 3];
    /// Gradients of queries, keys and values.
    fn attention_gradient(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        heads: usize,
    ) -> [FloatTensor<Self>; 3];
    fn silu_gradient(input: FloatTensor<Self>, output_gradient: FloatTensor<Self>) -> FloatTensor<Self>;
    fn upsample_gradient(output_gradient: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Sum over the pixels of each image, `[images or 1, 1, 1, channels]`.
    fn embedding_gradient(output_gradient: FloatTensor<Self>, embeddings: usize) -> FloatTensor<Self>;
    /// The first `channels` channels, and the others.
    fn concatenate_gradient(output_gradient: FloatTensor<Self>, channels: usize) -> [FloatTensor<Self>; 2];
}

/// The bias of a layer that has none: zeros, which change no byte of its output and get no gradient.
fn no_bias(input: &Tensor<4>, weight: &Tensor<4>) -> Tensor<1> {
    let like = input.clone().inner();
    let zeros = Tensor::zeros([weight.dims()[3]], (&like.device(), like.dtype()));
    if weight.is_autodiff() { zeros.autodiff() } else { zeros }
}

/// `conv2d(input, weight) + bias`; weight `[kernel, kernel, input channels, output channels]`, bias `[output channels]` if
/// the layer has one. Beside an input in f32 a weight that stands still may be in `F16` or `BF16`, here and wherever a layer has a
/// weight: the result has the bytes of the same weight in f32.
///
/// # Panics
///
/// If the shapes do not fit together; a network checks its own at construction.
pub fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    geometry: ConvGeometry,
) -> Tensor<4> {
    if portable::wanted(&input) {
        return portable::conv2d(input, weight, bias, geometry);
    }
    let bias = bias.unwrap_or_else(|| no_bias(&input, &weight));
    Tensor::from_dispatch(Dispatch::conv2d_layer(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        geometry,
    ))
}

/// [`conv2d`] plus one value per image and channel; `embedding` is `[images, 1, 1, output channels]`, or
/// `[1, 1, 1, output channels]` for all images.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn conv2d_with_embedding(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    embedding: Tensor<4>,
    geometry: ConvGeometry,
) -> Tensor<4> {
    if portable::wanted(&input) {
        return portable::conv2d(input, weight, bias, geometry) + embedding;
    }
    let bias = bias.unwrap_or_else(|| no_bias(&input, &weight));
    Tensor::from_dispatch(Dispatch::conv2d_embedding_layer(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        embedding.into_dispatch(),
        geometry,
    ))
}

/// [`conv2d`] plus `residual`, which has the shape of the output.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn conv2d_with_residual(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    residual: Tensor<4>,
    geometry: ConvGeometry,
) -> Tensor<4> {
    if portable::wanted(&input) {
        return portable::conv2d(input, weight, bias, geometry) + residual;
    }
    let bias = bias.unwrap_or_else(|| no_bias(&input, &weight));
    Tensor::from_dispatch(Dispatch::conv2d_residual_layer(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        residual.into_dispatch(),
        geometry,
    ))
}

/// Group normalisation; scale and shift are `[channels]`.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn group_norm(
    input: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    settings: GroupNormSettings,
) -> Tensor<4> {
    if portable::wanted(&input) {
        return portable::group_norm(input, scale, shift, settings);
    }
    Tensor::from_dispatch(Dispatch::group_norm_layer(
        input.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        settings,
    ))
}

/// Attention of the tokens of each image over keys and values, `[images, .., .., channels]`, of which there may be another
/// number.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn attention(queries: Tensor<4>, keys: Tensor<4>, values: Tensor<4>, heads: usize) -> Tensor<4> {
    if portable::wanted(&queries) {
        return portable::attention(queries, keys, values, heads);
    }
    Tensor::from_dispatch(Dispatch::attention_layer(
        queries.into_dispatch(),
        keys.into_dispatch(),
        values.into_dispatch(),
        heads,
    ))
}

/// `z * sigmoid(z)`.
pub fn silu(input: Tensor<4>) -> Tensor<4> {
    if portable::wanted(&input) {
        return portable::silu(input);
    }
    Tensor::from_dispatch(Dispatch::silu_layer(input.into_dispatch()))
}

/// Each pixel becomes a block of 2x2.
pub fn upsample_nearest(input: Tensor<4>) -> Tensor<4> {
    if portable::wanted(&input) {
        return portable::upsample_nearest(input);
    }
    Tensor::from_dispatch(Dispatch::upsample_layer(input.into_dispatch()))
}

/// `input` as it is, and a probe: a leaf whose gradient, after a backward pass, is the gradient in `input`, which automatic
/// differentiation otherwise keeps only of leaves. `input` is under automatic differentiation.
pub fn probed(input: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    let plain = input.clone().inner();
    if portable::wanted(&input) {
        let probe = plain.zeros_like().autodiff().require_grad();
        return (input + probe.clone(), probe);
    }
    // Its values are never looked at; that its gradient is larger than itself matters to nobody.
    let options = (&plain.device(), plain.dtype());
    let probe = Tensor::<4>::zeros([1, 1, 1, 1], options).autodiff().require_grad();
    let output = Dispatch::probed_layer(input.into_dispatch(), probe.clone().into_dispatch());
    (Tensor::from_dispatch(output), probe)
}

/// The channels of `first`, then those of `second`.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn concatenate_channels(first: Tensor<4>, second: Tensor<4>) -> Tensor<4> {
    if portable::wanted(&first) {
        return Tensor::cat(vec![first, second], 3);
    }
    Tensor::from_dispatch(Dispatch::concatenate_layer(first.into_dispatch(), second.into_dispatch()))
}

/// Tangent of [`conv2d`]: the convolution without the bias.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn conv2d_tangent(tangent: Tensor<4>, weight: Tensor<4>, geometry: ConvGeometry) -> Tensor<4> {
    if portable::wanted(&tangent) {
        return portable::conv2d(tangent, weight, None, geometry);
    }
    Tensor::from_dispatch(Dispatch::conv2d_directional(
        tangent.into_dispatch(),
        weight.into_dispatch(),
        geometry,
    ))
}

/// Tangent of [`conv2d_with_residual`]: the convolution without the bias, plus the tangent of the residual.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn conv2d_tangent_with_residual(
    tangent: Tensor<4>,
    weight: Tensor<4>,
    residual: Tensor<4>,
    geometry: ConvGeometry,
) -> Tensor<4> {
    if portable::wanted(&tangent) {
        return portable::conv2d(tangent, weight, None, geometry) + residual;
    }
    Tensor::from_dispatch(Dispatch::conv2d_residual_directional(
        tangent.into_dispatch(),
        weight.into_dispatch(),
        residual.into_dispatch(),
        geometry,
    ))
}

/// Tangent of [`group_norm`] at `input` along each of the tangents.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn group_norm_tangent(
    input: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    tangent: Tensor<4>,
    settings: GroupNormSettings,
) -> Tensor<4> {
    if portable::wanted(&tangent) {
        return portable::group_norm_tangent(input, scale, shift, tangent, settings);
    }
    Tensor::from_dispatch(Dispatch::group_norm_directional(
        input.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        tangent.into_dispatch(),
        settings,
    ))
}

/// Tangent of [`silu`] at `input` along each of the tangents.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn silu_tangent(input: Tensor<4>, tangent: Tensor<4>) -> Tensor<4> {
    if portable::wanted(&tangent) {
        return portable::silu_tangent(input, tangent);
    }
    Tensor::from_dispatch(Dispatch::silu_directional(input.into_dispatch(), tangent.into_dispatch()))
}

/// Tangent of [`attention`]; the first triple is the point, the second the directions.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn attention_tangent(point: [Tensor<4>; 3], directions: [Tensor<4>; 3], heads: usize) -> Tensor<4> {
    if portable::wanted(&point[0]) {
        let [of_queries, others @ ..] = directions;
        return portable::attention_tangent(point, of_queries, Some(others), heads);
    }
    let [q, k, v] = point.map(Tensor::into_dispatch);
    let [dq, dk, dv] = directions.map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::attention_directional(q, k, v, dq, dk, dv, heads))
}

/// [`attention_tangent`] where keys and values stand still.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn attention_query_tangent(point: [Tensor<4>; 3], query_tangent: Tensor<4>, heads: usize) -> Tensor<4> {
    if portable::wanted(&point[0]) {
        return portable::attention_tangent(point, query_tangent, None, heads);
    }
    let [q, k, v] = point.map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::attention_query_directional(
        q,
        k,
        v,
        query_tangent.into_dispatch(),
        heads,
    ))
}
