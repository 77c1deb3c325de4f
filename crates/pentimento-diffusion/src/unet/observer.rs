//! Where the layers of a pass leave what they see.

use super::layers::ParameterIndex;
use burn::tensor::Tensor;
use pentimento_kernels::ConvGeometry;
use pentimento_kernels::extension::GroupNormSettings;
use std::sync::{Arc, Mutex, PoisonError};

/// What the layers of one pass saw so far, in the order of the pass. Clones share it: every layer has one.
#[derive(Clone, Debug, Default)]
pub(super) struct Observer(Arc<Mutex<Vec<Observation>>>);

impl Observer {
    pub(super) fn push(&self, observation: Observation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(observation);
    }

    pub(super) fn take(&self) -> Vec<Observation> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What one layer saw on the way forward, and the probe that the backward pass leaves the gradient of its output in.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub(super) at: ParameterIndex,
    pub(super) input: Tensor<4>,
    pub(super) probe: Tensor<4>,
    /// Sizes of what comes out.
    pub(super) output: [usize; 4],
    pub(super) layer: ObservedLayer,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum ObservedLayer {
    Convolution(ConvGeometry),
    Norm(GroupNormSettings),
    /// With what is added to the variance.
    LayerNorm(f64),
}
