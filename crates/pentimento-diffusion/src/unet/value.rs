//! The values of one parameter, on the device.

use super::parameter_spec::{ParameterKind, ParameterSpec};
use super::precision::Precision;
use super::stored_values::StoredValues;
use burn::tensor::{DType, Gradients, Tensor, TensorData, bf16, f16};
use half::slice::HalfFloatSliceExt as _;
use half::vec::HalfBitsVecExt as _;
use pentimento_kernels::extension::{DeviceKind, chosen_device_kind, device_for};
use pentimento_kernels::{widen_bf16, widen_f16};

/// Values of 16 bits that are widened at once.
const WIDENED_TOGETHER: usize = 1 << 14;

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

    /// Takes values that stand still, in memory layout. The weights of layers stay in 16 bits if they came so, as the kernels of the
    /// CPU widen them where a layer uses them; whatever else came so is widened here.
    ///
    /// # Panics
    ///
    /// If their number is not that of the parameter.
    pub(super) fn still(spec: &ParameterSpec, values: StoredValues) -> Self {
        assert_eq!(values.len(), spec.len(), "length of {}", spec.name);
        let is_of_layer = matches!(spec.kind, ParameterKind::Convolution | ParameterKind::Linear);
        let is_widened_in_layers = is_of_layer && chosen_device_kind() == DeviceKind::Cpu;
        let (data, dtype) = match values {
            StoredValues::F16(bits) if is_widened_in_layers => {
                (TensorData::new(bits.reinterpret_into::<f16>(), spec.memory_shape()), DType::F16)
            }
            StoredValues::Bf16(bits) if is_widened_in_layers => {
                (TensorData::new(bits.reinterpret_into::<bf16>(), spec.memory_shape()), DType::BF16)
            }
            values => return Self::new(spec, values.into_f32()),
        };
        Self::Weight(Tensor::from_data(data, (&device_for(DType::F32), dtype)))
    }

    /// The values in f32, in order, some thousands at a time if they have 16 bits.
    pub(super) fn in_f32(&self, mut see: impl FnMut(&[f32])) {
        let data = self.clone().into_data();
        let mut wide = [0.0; WIDENED_TOGETHER];
        if let Ok(values) = data.as_slice::<f16>() {
            for part in values.reinterpret_cast().chunks(WIDENED_TOGETHER) {
                widen_f16(part, 1.0, &mut wide[..part.len()]);
                see(&wide[..part.len()]);
            }
        } else if let Ok(values) = data.as_slice::<bf16>() {
            for part in values.reinterpret_cast().chunks(WIDENED_TOGETHER) {
                widen_bf16(part, 1.0, &mut wide[..part.len()]);
                see(&wide[..part.len()]);
            }
        } else {
            see(&data.iter::<f32>().collect::<Vec<_>>());
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
