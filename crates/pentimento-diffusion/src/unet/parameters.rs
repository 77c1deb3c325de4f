//! The values of a network's parameters.

use super::architecture::Architecture;
use super::flow::{ConvLayer, LayerNormLayer, NormLayer};
use super::layers::{Conv, LayerNorm, Norm, ParameterIndex};
use super::observer::Observer;
use super::parameter_spec::{ParameterKind, ParameterSpec, Start};
use burn::tensor::{DType, Element, Int, Tensor, TensorData};
use pentimento_kernels::extension::{GroupNormSettings, device_for};
use pentimento_kernels::reference::Real;
use pentimento_noise::{Purpose, Stream};
use std::marker::PhantomData;

/// The float types that networks run in: `f32` always, `f64` in proofs.
pub trait Precision: Real + Element + Default + Send + Sync {}
impl Precision for f32 {}
impl Precision for f64 {}

#[derive(Clone, Debug)]
enum Value {
    Weight(Tensor<4>),
    Vector(Tensor<1>),
}

/// One value for each parameter of an [`Architecture`], in its order.
#[derive(Clone, Debug)]
pub struct Parameters {
    values: Vec<Value>,
    observer: Option<Observer>,
}

/// The gradient of one parameter, in memory layout, where the backward pass left it.
#[derive(Clone, Debug)]
pub struct Gradient<T> {
    data: TensorData,
    element: PhantomData<T>,
}

impl<T: Precision> AsRef<[T]> for Gradient<T> {
    fn as_ref(&self) -> &[T] {
        // The float type was checked where it was made.
        self.data.as_slice().unwrap_or_default()
    }
}

impl Parameters {
    /// Takes values in memory layout (see [`ParameterSpec::memory_shape`]), one slice per parameter.
    ///
    /// # Panics
    ///
    /// If the number or the lengths are not those of the architecture.
    pub fn from_memory<T: Precision>(architecture: &Architecture, values: Vec<Vec<T>>) -> Self {
        let specs = architecture.parameters();
        assert_eq!(values.len(), specs.len(), "number of parameters");
        let values = specs
            .iter()
            .zip(values)
            .map(|(spec, values)| {
                assert_eq!(values.len(), spec.len(), "length of {}", spec.name);
                let data = TensorData::new(values, spec.memory_shape());
                let options = (&device_for(T::dtype()), T::dtype());
                match spec.kind {
                    ParameterKind::Vector => Value::Vector(Tensor::from_data(data, options)),
                    _ => Value::Weight(Tensor::from_data(data, options)),
                }
            })
            .collect();
        Self { values, observer: None }
    }

    /// The start of a fresh network: uniform within `1 / sqrt(fan in)` (He et al. 2015 as PyTorch sets it up), biases
    /// zero, norms one, and zero where a residual branch or the network ends, so that training starts at the identity.
    ///
    /// The values depend on the seed, the stream number and the parameter's place only.
    pub fn initial(architecture: &Architecture, seed: u64, stream: u32) -> Vec<Vec<f32>> {
        let start = |(place, spec): (usize, &ParameterSpec)| match spec.start {
            Start::Zero => vec![0.0; spec.len()],
            Start::One => vec![1.0; spec.len()],
            Start::Uniform => {
                let mut values = vec![0.0; spec.len()];
                Stream::new(seed, Purpose::WeightInitialisation, stream, place as u32)
                    .fill_uniform(&mut values);
                let inputs: usize = spec.disk_shape.iter().skip(1).product();
                let bound = (1.0 / (inputs as f64).sqrt()) as f32;
                for value in &mut values {
                    *value = bound * (2.0 * *value - 1.0);
                }
                values
            }
        };
        architecture.parameters().iter().enumerate().map(start).collect()
    }

    /// The same values as leaves of automatic differentiation.
    pub fn tracked(&self) -> Self {
        let values = self
            .values
            .iter()
            .map(|value| match value {
                Value::Weight(tensor) => Value::Weight(tensor.clone().autodiff().require_grad()),
                Value::Vector(tensor) => Value::Vector(tensor.clone().autodiff().require_grad()),
            })
            .collect();
        Self { values, observer: None }
    }

    /// The same values, whose layers tell an observer what they see.
    pub(super) fn observed_by(&self, observer: &Observer) -> Self {
        Self { values: self.values.clone(), observer: Some(observer.clone()) }
    }

    /// Takes the gradient of each tracked parameter, in memory layout; zero where none arrived.
    ///
    /// # Panics
    ///
    /// If `T` is not the float type of the parameters.
    pub fn take_gradients<T: Precision>(
        &self,
        architecture: &Architecture,
        gradients: &mut burn::tensor::Gradients,
    ) -> Vec<Gradient<T>> {
        let specs = architecture.parameters().iter();
        specs
            .zip(&self.values)
            .map(|(spec, value)| {
                let data = match value {
                    Value::Weight(tensor) => tensor.grad_remove(gradients).map(Tensor::into_data),
                    Value::Vector(tensor) => tensor.grad_remove(gradients).map(Tensor::into_data),
                };
                let data = data.unwrap_or_else(|| TensorData::zeros::<T, _>([spec.len()]));
                let length = data.as_slice::<T>().map(<[T]>::len).ok();
                assert_eq!(length, Some(spec.len()), "type and length of the gradient of {}", spec.name);
                Gradient { data, element: PhantomData }
            })
            .collect()
    }

    /// The values in memory layout, one vector per parameter. Nothing is copied if they came from
    /// [`Parameters::from_memory`] and no tensor uses them any more.
    ///
    /// # Panics
    ///
    /// If `T` is not the float type of the parameters.
    #[allow(clippy::panic, reason = "values of another type must not be lost")]
    pub fn into_memory<T: Precision>(self) -> Vec<Vec<T>> {
        let values = self.values.into_iter().map(|value| match value {
            Value::Weight(tensor) => tensor.into_data(),
            Value::Vector(tensor) => tensor.into_data(),
        });
        values
            .map(|data| data.try_into_vec().unwrap_or_else(|error| panic!("parameters: {error:?}")))
            .collect()
    }

    /// A copy of the values in memory layout, one vector per parameter.
    pub fn to_memory(&self) -> Vec<Vec<f64>> {
        let wide = |data: TensorData| data.iter::<f64>().collect();
        self.values
            .iter()
            .map(|value| match value {
                Value::Weight(tensor) => wide(tensor.to_data()),
                Value::Vector(tensor) => wide(tensor.to_data()),
            })
            .collect()
    }

    /// The float type of the values.
    pub fn dtype(&self) -> DType {
        match self.values.first() {
            Some(Value::Weight(tensor)) => tensor.dtype(),
            Some(Value::Vector(tensor)) => tensor.dtype(),
            None => DType::F32,
        }
    }

    #[allow(clippy::panic, reason = "an architecture's indices and kinds are its own")]
    fn weight(&self, at: usize) -> Tensor<4> {
        match &self.values[at] {
            Value::Weight(tensor) => tensor.clone(),
            Value::Vector(_) => panic!("parameter {at} is not a weight"),
        }
    }

    #[allow(clippy::panic, reason = "an architecture's indices and kinds are its own")]
    fn vector(&self, at: usize) -> Tensor<1> {
        match &self.values[at] {
            Value::Vector(tensor) => tensor.clone(),
            Value::Weight(_) => panic!("parameter {at} is not a vector"),
        }
    }

    pub(crate) fn conv(&self, conv: Conv) -> ConvLayer {
        ConvLayer {
            weight: self.weight(conv.at.0),
            bias: conv.bias.map(|bias| self.vector(bias.0)),
            geometry: conv.geometry,
            at: conv.at,
            observer: self.observer.clone(),
        }
    }

    /// Rows of a table, `[rows, 1, 1, channels]`.
    pub(crate) fn rows(&self, at: ParameterIndex, rows: &Tensor<1, Int>) -> Tensor<4> {
        self.weight(at.0).select(2, rows.clone()).swap_dims(0, 2)
    }

    pub(crate) fn norm(&self, norm: Norm, silu: bool) -> NormLayer {
        let at = norm.at.0;
        let settings = GroupNormSettings { groups: norm.groups, epsilon: norm.epsilon, silu };
        NormLayer {
            scale: self.vector(at),
            shift: self.vector(at + 1),
            settings,
            at: norm.at,
            observer: self.observer.clone(),
        }
    }

    pub(crate) fn layer_norm(&self, norm: LayerNorm) -> LayerNormLayer {
        let at = norm.at.0;
        LayerNormLayer {
            scale: self.vector(at),
            shift: self.vector(at + 1),
            epsilon: norm.epsilon,
            at: norm.at,
            observer: self.observer.clone(),
        }
    }
}

/// Reorders a parameter from diffusers' layout ([`ParameterSpec::disk_shape`]) to the one in memory
/// ([`ParameterSpec::memory_shape`]).
///
/// # Panics
///
/// If `disk` has not the length of the parameter.
pub fn to_memory_layout<T: Copy>(spec: &ParameterSpec, disk: &[T]) -> Vec<T> {
    reorder(spec, |memory, on_disk| (memory, on_disk), disk)
}

/// Reorders a parameter from the layout in memory ([`ParameterSpec::memory_shape`]) to diffusers'
/// ([`ParameterSpec::disk_shape`]).
///
/// # Panics
///
/// If `memory` has not the length of the parameter.
pub fn to_disk_layout<T: Copy>(spec: &ParameterSpec, memory: &[T]) -> Vec<T> {
    reorder(spec, |memory, on_disk| (on_disk, memory), memory)
}

/// Copies each value from its source to its target place; `places` turns (memory, disk) into (target, source).
fn reorder<T: Copy>(
    spec: &ParameterSpec,
    places: impl Fn(usize, usize) -> (usize, usize),
    source: &[T],
) -> Vec<T> {
    assert_eq!(source.len(), spec.len(), "length of {}", spec.name);
    let (output, input, taps) = match (spec.kind, spec.disk_shape.as_slice()) {
        (ParameterKind::Convolution, &[output, input, height, width]) => (output, input, height * width),
        (ParameterKind::Linear, &[output, input]) => (output, input, 1),
        _ => return source.to_vec(),
    };
    let mut target = source.to_vec();
    for o in 0..output {
        for i in 0..input {
            for tap in 0..taps {
                let (to, from) = places((tap * input + i) * output + o, (o * input + i) * taps + tap);
                target[to] = source[from];
            }
        }
    }
    target
}
