//! Backward passes of the layers, as steps of Burn's automatic differentiation.
//!
//! A step keeps the tensors that its gradient formula needs; they are reference-counted, so keeping one costs no copy.

use super::{GroupNormSettings, LayerGradients, LayerOps};
use crate::ConvGeometry;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};

/// Registers one step: the output with its kept tensors if anything before it is tracked, else the output alone.
macro_rules! step {
    ($step:expr, $nodes:expr, $state:expr, $output:expr) => {
        match $step.prepare::<C>($nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish($state, $output),
            OpsKind::UnTracked(prepared) => prepared.finish($output),
        }
    };
}

mod tokens;

#[derive(Debug)]
struct Conv2dStep;

/// Input, weight and geometry of a convolution.
type ConvState<B> = (FloatTensor<B>, FloatTensor<B>, ConvGeometry);

/// Registers the gradients of input, weight and bias, as far as they are tracked.
fn conv2d_backward<B: LayerGradients>(
    (input, weight, geometry): ConvState<B>,
    upstream: FloatTensor<B>,
    [of_input, of_weight, of_bias]: [Option<NodeId>; 3],
    gradients: &mut Gradients,
) {
    if let Some(node) = of_bias {
        gradients.register::<B>(node, B::channel_sum(upstream.clone()));
    }
    let sides = input.shape().dims();
    if let Some(node) = of_weight {
        gradients.register::<B>(node, B::conv2d_weight_gradient(input, upstream.clone(), geometry));
    }
    if let Some(node) = of_input {
        gradients.register::<B>(node, B::conv2d_input_gradient(upstream, weight, sides, geometry));
    }
}

impl<B: LayerGradients> Backward<B, 3> for Conv2dStep {
    type State = ConvState<B>;

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = gradients.consume::<B>(&ops.node);
        let nodes = ops.parents.map(|node| node.map(|node| node.id));
        conv2d_backward::<B>(ops.state, upstream, nodes, gradients);
    }
}

#[derive(Debug)]
struct Conv2dEmbeddingStep;

impl<B: LayerGradients> Backward<B, 4> for Conv2dEmbeddingStep {
    /// With the number of embeddings: one per image, or one.
    type State = (ConvState<B>, usize);

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let (state, embeddings) = ops.state;
        let upstream = gradients.consume::<B>(&ops.node);
        let [input, weight, bias, embedding] = ops.parents.map(|node| node.map(|node| node.id));
        if let Some(node) = embedding {
            gradients.register::<B>(node, B::embedding_gradient(upstream.clone(), embeddings));
        }
        conv2d_backward::<B>(state, upstream, [input, weight, bias], gradients);
    }
}

#[derive(Debug)]
struct Conv2dResidualStep;

impl<B: LayerGradients> Backward<B, 4> for Conv2dResidualStep {
    type State = ConvState<B>;

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = gradients.consume::<B>(&ops.node);
        let [input, weight, bias, residual] = ops.parents.map(|node| node.map(|node| node.id));
        conv2d_backward::<B>(ops.state, upstream.clone(), [input, weight, bias], gradients);
        if let Some(node) = residual {
            gradients.register::<B>(node, upstream);
        }
    }
}

#[derive(Debug)]
struct GroupNormStep;

impl<B: LayerGradients> Backward<B, 3> for GroupNormStep {
    type State = ([FloatTensor<B>; 4], GroupNormSettings);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let ([input, scale, shift, statistics], settings) = ops.state;
        let upstream = gradients.consume::<B>(&ops.node);
        let parts = B::group_norm_gradient(input, scale, shift, statistics, upstream, settings);
        register_each::<B, 3>(ops.parents.map(|node| node.map(|node| node.id)), gradients, parts);
    }
}

fn register_each<B: Backend, const N: usize>(
    parents: [Option<NodeId>; N],
    gradients: &mut Gradients,
    parts: [FloatTensor<B>; N],
) {
    for (node, part) in parents.into_iter().zip(parts) {
        if let Some(node) = node {
            gradients.register::<B>(node, part);
        }
    }
}

/// Takes the gradient that arrives at a step and registers what `parts` makes of it for each parent that is tracked.
fn registered<B: Backend, S, const N: usize>(
    ops: Ops<S, N>,
    gradients: &mut Gradients,
    parts: impl FnOnce(S, FloatTensor<B>) -> [FloatTensor<B>; N],
) {
    let upstream = gradients.consume::<B>(&ops.node);
    register_each::<B, N>(
        ops.parents.map(|node| node.map(|node| node.id)),
        gradients,
        parts(ops.state, upstream),
    );
}

#[derive(Debug)]
struct AttentionStep;

impl<B: LayerGradients> Backward<B, 3> for AttentionStep {
    type State = ([FloatTensor<B>; 3], usize);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let ([queries, keys, values], heads) = ops.state;
        let upstream = gradients.consume::<B>(&ops.node);
        let parts = B::attention_gradient(queries, keys, values, upstream, heads);
        register_each::<B, 3>(ops.parents.map(|node| node.map(|node| node.id)), gradients, parts);
    }
}

#[derive(Debug)]
struct SiluStep;

impl<B: LayerGradients> Backward<B, 1> for SiluStep {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = gradients.consume::<B>(&ops.node);
        register_each::<B, 1>(
            ops.parents.map(|node| node.map(|node| node.id)),
            gradients,
            [B::silu_gradient(ops.state, upstream)],
        );
    }
}

#[derive(Debug)]
struct ProbedStep;

impl<B: LayerGradients> Backward<B, 2> for ProbedStep {
    type State = ();

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = gradients.consume::<B>(&ops.node);
        let parents = ops.parents.map(|node| node.map(|node| node.id));
        register_each::<B, 2>(parents, gradients, [upstream.clone(), upstream]);
    }
}

#[derive(Debug)]
struct UpsampleStep;

impl<B: LayerGradients> Backward<B, 1> for UpsampleStep {
    type State = ();

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = gradients.consume::<B>(&ops.node);
        register_each::<B, 1>(
            ops.parents.map(|node| node.map(|node| node.id)),
            gradients,
            [B::upsample_gradient(upstream)],
        );
    }
}

#[derive(Debug)]
struct ConcatenateStep;

impl<B: LayerGradients> Backward<B, 2> for ConcatenateStep {
    /// Channels of the first part.
    type State = usize;

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let upstream = gradients.consume::<B>(&ops.node);
        let parts = B::concatenate_gradient(upstream, ops.state);
        register_each::<B, 2>(ops.parents.map(|node| node.map(|node| node.id)), gradients, parts);
    }
}

impl<B: LayerGradients, C: CheckpointStrategy> LayerOps for Autodiff<B, C> {
    fn conv2d_layer(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self> {
        let nodes = [input.node(), weight.node(), bias.node()];
        let [input, weight, bias] = [input, weight, bias].map(|tensor| tensor.into_primitive());
        let output = B::conv2d_layer(input.clone(), weight.clone(), bias, geometry);
        step!(Conv2dStep, nodes, (input, weight, geometry), output)
    }

    fn conv2d_embedding_layer(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        embedding: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self> {
        let nodes = [input.node(), weight.node(), bias.node(), embedding.node()];
        let [embeddings, ..] = embedding.shape().dims::<4>();
        let [input, weight, bias, embedding] =
            [input, weight, bias, embedding].map(|tensor| tensor.into_primitive());
        let output = B::conv2d_embedding_layer(input.clone(), weight.clone(), bias, embedding, geometry);
        step!(Conv2dEmbeddingStep, nodes, ((input, weight, geometry), embeddings), output)
    }

    fn conv2d_residual_layer(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        geometry: ConvGeometry,
    ) -> FloatTensor<Self> {
        let nodes = [input.node(), weight.node(), bias.node(), residual.node()];
        let [input, weight, bias, residual] =
            [input, weight, bias, residual].map(|tensor| tensor.into_primitive());
        let output = B::conv2d_residual_layer(input.clone(), weight.clone(), bias, residual, geometry);
        step!(Conv2dResidualStep, nodes, (input, weight, geometry), output)
    }

    fn group_norm_layer(
        input: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        settings: GroupNormSettings,
    ) -> FloatTensor<Self> {
        let nodes = [input.node(), scale.node(), shift.node()];
        let [input, scale, shift] = [input, scale, shift].map(|tensor| tensor.into_primitive());
        let (output, statistics) =
            B::group_norm_with_statistics(input.clone(), scale.clone(), shift.clone(), settings);
        step!(GroupNormStep, nodes, ([input, scale, shift, statistics], settings), output)
    }

    fn attention_layer(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self> {
        let nodes = [queries.node(), keys.node(), values.node()];
        let [queries, keys, values] = [queries, keys, values].map(|tensor| tensor.into_primitive());
        let output = B::attention_layer(queries.clone(), keys.clone(), values.clone(), heads);
        step!(AttentionStep, nodes, ([queries, keys, values], heads), output)
    }

    fn probed_layer(input: FloatTensor<Self>, probe: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [input.node(), probe.node()];
        let output = B::probed_layer(input.into_primitive(), probe.into_primitive());
        step!(ProbedStep, nodes, (), output)
    }

    fn silu_layer(input: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [input.node()];
        let input = input.into_primitive();
        let output = B::silu_layer(input.clone());
        step!(SiluStep, nodes, input, output)
    }

    fn upsample_layer(input: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [input.node()];
        let output = B::upsample_layer(input.into_primitive());
        step!(UpsampleStep, nodes, (), output)
    }

    fn concatenate_layer(first: FloatTensor<Self>, second: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [first.node(), second.node()];
        let channels = first.shape().dims::<4>()[3];
        let output = B::concatenate_layer(first.into_primitive(), second.into_primitive());
        step!(ConcatenateStep, nodes, channels, output)
    }
}
