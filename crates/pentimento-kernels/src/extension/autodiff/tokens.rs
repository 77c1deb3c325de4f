//! Backward passes of the layers on tokens.

use super::super::tokens::{TokenGradients, TokenOps};
use super::registered;
use crate::Gelu;
use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

#[derive(Debug)]
struct LayerNormStep;

impl<B: TokenGradients> Backward<B, 3> for LayerNormStep {
    /// Input and scale, and what is added to the variance.
    type State = ([FloatTensor<B>; 2], f64);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        registered::<B, _, 3>(ops, gradients, |([input, scale], epsilon), upstream| {
            B::layer_norm_gradient(input, scale, upstream, epsilon)
        });
    }
}

#[derive(Debug)]
struct GeluStep;

impl<B: TokenGradients> Backward<B, 1> for GeluStep {
    type State = (FloatTensor<B>, Gelu);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        registered::<B, _, 1>(ops, gradients, |(input, form), upstream| {
            [B::gelu_gradient(input, upstream, form)]
        });
    }
}

#[derive(Debug)]
struct GegluStep;

impl<B: TokenGradients> Backward<B, 1> for GegluStep {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        registered::<B, _, 1>(ops, gradients, |input, upstream| [B::geglu_gradient(input, upstream)]);
    }
}

impl<B: TokenGradients, C: CheckpointStrategy> TokenOps for Autodiff<B, C> {
    fn layer_norm_layer(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let nodes = [input.node(), scale.node(), shift.node()];
        let [input, scale, shift] = [input, scale, shift].map(|tensor| tensor.into_primitive());
        let output = B::layer_norm_layer(input.clone(), scale.clone(), shift, epsilon);
        step!(LayerNormStep, nodes, ([input, scale], epsilon), output)
    }

    fn gelu_layer(input: FloatTensor<Self>, form: Gelu) -> FloatTensor<Self> {
        let nodes = [input.node()];
        let input = input.into_primitive();
        let output = B::gelu_layer(input.clone(), form);
        step!(GeluStep, nodes, (input, form), output)
    }

    fn geglu_layer(input: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [input.node()];
        let input = input.into_primitive();
        let output = B::geglu_layer(input.clone());
        step!(GegluStep, nodes, input, output)
    }
}
