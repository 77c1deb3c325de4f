//! What a transformer adds to a U-Net: layers that treat each token by itself. A token is a pixel, or a part of a text, which
//! is an image of one row. Linear layers on tokens are convolutions with a kernel of one pixel.

use super::portable;
use crate::Gelu;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// The layers on tokens, `[images, height, width, channels]`.
#[backend_extension(Flex, Autodiff)]
pub trait TokenOps: Backend {
    /// See [`layer_norm`].
    fn layer_norm_layer(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
    /// See [`gelu`].
    fn gelu_layer(input: FloatTensor<Self>, form: Gelu) -> FloatTensor<Self>;
    /// See [`geglu`].
    fn geglu_layer(input: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Derivatives of the layers on tokens, as [`TangentOps`](super::TangentOps) has them.
#[backend_extension(Flex)]
pub trait TokenTangents: Backend {
    /// See [`layer_norm_tangent`].
    fn layer_norm_directional(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        tangent: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
    /// See [`gelu_tangent`].
    fn gelu_directional(
        input: FloatTensor<Self>,
        tangent: FloatTensor<Self>,
        form: Gelu,
    ) -> FloatTensor<Self>;
    /// See [`geglu_tangent`].
    fn geglu_directional(input: FloatTensor<Self>, tangent: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// What the backward passes need of a backend that runs [`TokenOps`].
pub(crate) trait TokenGradients: TokenOps {
    /// Gradients of input, scale and shift.
    fn layer_norm_gradient(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> [FloatTensor<Self>; 3];
    fn gelu_gradient(
        input: FloatTensor<Self>,
        output_gradient: FloatTensor<Self>,
        form: Gelu,
    ) -> FloatTensor<Self>;
    fn geglu_gradient(input: FloatTensor<Self>, output_gradient: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Layer normalisation of every token; scale and shift are `[channels]`, `epsilon` is added to the variance.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn layer_norm(input: Tensor<4>, scale: Tensor<1>, shift: Tensor<1>, epsilon: f64) -> Tensor<4> {
    if portable::wanted(&input) {
        return portable::tokens::layer_norm(input, scale, shift, epsilon);
    }
    Tensor::from_dispatch(Dispatch::layer_norm_layer(
        input.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        epsilon,
    ))
}

/// `z * s(z)` with the weight s that `form` says.
pub fn gelu(input: Tensor<4>, form: Gelu) -> Tensor<4> {
    if portable::wanted(&input) {
        return portable::tokens::gelu(input, form);
    }
    Tensor::from_dispatch(Dispatch::gelu_layer(input.into_dispatch(), form))
}

/// The first half of the channels, times the exact [`gelu`] of the second half.
///
/// # Panics
///
/// If the number of channels is odd.
pub fn geglu(input: Tensor<4>) -> Tensor<4> {
    if portable::wanted(&input) {
        return portable::tokens::geglu(input);
    }
    Tensor::from_dispatch(Dispatch::geglu_layer(input.into_dispatch()))
}

/// Tangent of [`layer_norm`] at `input` along each of the tangents.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn layer_norm_tangent(input: Tensor<4>, scale: Tensor<1>, tangent: Tensor<4>, epsilon: f64) -> Tensor<4> {
    if portable::wanted(&tangent) {
        return portable::tokens::layer_norm_tangent(input, scale, tangent, epsilon);
    }
    Tensor::from_dispatch(Dispatch::layer_norm_directional(
        input.into_dispatch(),
        scale.into_dispatch(),
        tangent.into_dispatch(),
        epsilon,
    ))
}

/// Tangent of [`gelu`] at `input` along each of the tangents.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn gelu_tangent(input: Tensor<4>, tangent: Tensor<4>, form: Gelu) -> Tensor<4> {
    if portable::wanted(&tangent) {
        return portable::tokens::gelu_tangent(input, tangent, form);
    }
    Tensor::from_dispatch(Dispatch::gelu_directional(input.into_dispatch(), tangent.into_dispatch(), form))
}

/// Tangent of [`geglu`] at `input` along each of the tangents.
///
/// # Panics
///
/// If the shapes do not fit together.
pub fn geglu_tangent(input: Tensor<4>, tangent: Tensor<4>) -> Tensor<4> {
    if portable::wanted(&tangent) {
        return portable::tokens::geglu_tangent(input, tangent);
    }
    Tensor::from_dispatch(Dispatch::geglu_directional(input.into_dispatch(), tangent.into_dispatch()))
}
