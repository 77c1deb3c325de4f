//! The values of one parameter, on the device.

use super::parameter_spec::{ParameterKind, ParameterSpec};
use super::precision::Precision;
use burn::tensor::{DType, Gradients, Tensor, TensorData};
use pentimento_kernels::extension::device_for;

/// The values of a parameter, in memory layout. Clones share them.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Weight(Tensor<4>),
    Vector(Tensor<1>),
}

impl Value {
    /// Takes values in memory layout.
    ///
    /// # Panics
    ///
    /// If their number is not that of the parameter.
    pub(super) fn new<T: Precision>(spec: &ParameterSpec, values: Vec<T>) -> Self {
        assert_eq!(values.len(), spec.len(), "length of {}", spec.name);
        let data = TensorData::new(values, spec.memory_shape());
        let options = (&device_for(T::dtype()), T::dtype());
        match spec.kind {
            ParameterKind::Vector => Self::Vector(Tensor::from_data(data, options)),
            _ => Self::Weight(Tensor::from_data(data, options)),
        }
    }

    /// As a leaf of automatic differentiation, which gets a gradient.
    pub(super) fn tracked(&self) -> Self {
        match self {
            Self::Weight(tensor) => Self::Weight(tensor.clone().autodiff().require_grad()),
            Self::Vector(tensor) => Self::Vector(tensor.clone().autodiff().require_grad()),
        }
    }

    /// As a constant of automatic differentiation, for which no gradient is computed.
    pub(super) fn constant(&self) -> Self {
        match self {
            Self::Weight(tensor) => Self::Weight(tensor.clone().autodiff()),
            Self::Vector(tensor) => Self::Vector(tensor.clone().autodiff()),
        }
    }

    /// The gradient that a backward pass left, if one arrived.
    pub(super) fn take_gradient(&self, gradients: &mut Gradients) -> Option<TensorData> {
        match self {
            Self::Weight(tensor) => tensor.grad_remove(gradients).map(Tensor::into_data),
            Self::Vector(tensor) => tensor.grad_remove(gradients).map(Tensor::into_data),
        }
    }

    pub(super) fn into_data(self) -> TensorData {
        match self {
            Self::Weight(tensor) => tensor.into_data(),
            Self::Vector(tensor) => tensor.into_data(),
        }
    }

    pub(super) fn dtype(&self) -> DType {
        match self {
            Self::Weight(tensor) => tensor.dtype(),
            Self::Vector(tensor) => tensor.dtype(),
        }
    }
}
