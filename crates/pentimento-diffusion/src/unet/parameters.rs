//! The values of a network's parameters.

use super::architecture::Architecture;
use super::flow::{ConvLayer, LayerNormLayer, NormLayer};
use super::layers::{Conv, LayerNorm, LowRank, Norm, ParameterIndex};
use super::observer::Observer;
use super::parameter_spec::{ParameterKind, ParameterSpec, Start};
use super::precision::Precision;
use super::value::Value;
use burn::tensor::{DType, Int, Tensor, TensorData};
use pentimento_kernels::ConvGeometry;
use pentimento_kernels::extension::GroupNormSettings;
use pentimento_noise::{Purpose, Stream};
use rayon::prelude::*;
use std::marker::PhantomData;
use std::sync::Arc;

/// One value for each parameter of an [`Architecture`], in its order; with an adapter also those of the network beneath, which
/// all that are made for one architecture share.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Those that are trained.
    values: Vec<Value>,
    /// Those of the network beneath an adapter.
    frozen: Option<Arc<Vec<Value>>>,
    observer: Option<Observer>,
}

/// What an adapter has beside a layer.
pub(crate) struct LowRankLayers {
    /// A, to the rank.
    pub(crate) down: ConvLayer,
    /// B, from the rank.
    pub(crate) up: ConvLayer,
    /// What stands between them.
    pub(crate) scale: f64,
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
        let values = specs.iter().zip(values).map(|(spec, values)| Value::new(spec, values)).collect();
        let frozen = architecture.frozen().map(|frozen| frozen.values::<T>());
        Self { values, frozen, observer: None }
    }

    /// The start of a fresh network: uniform within `1 / sqrt(fan in)` (He et al. 2015 as PyTorch sets it up), biases
    /// zero, norms one, and zero where a residual branch or the network ends, so that training starts at the identity. Of an
    /// adapter: B zero, and A normal with standard deviation `1 / rank`, as diffusers' training scripts have it: by layers of their
    /// own at first (`LoRALinearLayer`), then by peft with `init_lora_weights="gaussian"`. (The default of peft is the start of a
    /// fresh layer, uniform within `1 / sqrt(fan in)`.)
    ///
    /// The values depend on the seed, the stream number and the parameter's place only.
    pub fn initial(architecture: &Architecture, seed: u64, stream: u32) -> Vec<Vec<f32>> {
        let drawn = |place: usize| Stream::new(seed, Purpose::WeightInitialisation, stream, place as u32);
        let start = |(place, spec): (usize, &ParameterSpec)| match spec.start {
            Start::Zero => vec![0.0; spec.len()],
            Start::One => vec![1.0; spec.len()],
            Start::Normal => {
                let mut values = vec![0.0; spec.len()];
                drawn(place).fill_normal(&mut values);
                let deviation = (1.0 / spec.disk_shape[0] as f64) as f32;
                values.iter_mut().for_each(|value| *value *= deviation);
                values
            }
            Start::Uniform => {
                let mut values = vec![0.0; spec.len()];
                drawn(place).fill_uniform(&mut values);
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

    /// The same values as leaves of automatic differentiation. Those beneath an adapter are constants there.
    pub fn tracked(&self) -> Self {
        let constants = |values: &Arc<Vec<Value>>| Arc::new(values.iter().map(Value::constant).collect());
        Self {
            values: self.values.iter().map(Value::tracked).collect(),
            frozen: self.frozen.as_ref().map(constants),
            observer: None,
        }
    }

    /// The same values, whose layers tell an observer what they see.
    pub(super) fn observed_by(&self, observer: &Observer) -> Self {
        Self { observer: Some(observer.clone()), ..self.clone() }
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
                let data = value.take_gradient(gradients);
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
        self.values
            .into_iter()
            .map(|value| {
                value.into_data().try_into_vec().unwrap_or_else(|error| panic!("parameters: {error:?}"))
            })
            .collect()
    }

    /// A copy of the values in memory layout, one vector per parameter.
    pub fn to_memory(&self) -> Vec<Vec<f64>> {
        self.values.iter().map(|value| value.clone().into_data().iter::<f64>().collect()).collect()
    }

    /// The float type of the values.
    pub fn dtype(&self) -> DType {
        self.values.first().map_or(DType::F32, Value::dtype)
    }

    /// The values of the network itself, without an adapter's.
    fn own(&self) -> &[Value] {
        self.frozen.as_deref().unwrap_or(&self.values)
    }

    /// Who wants to know what layers of the network itself see: nobody if they are not trained.
    fn own_observer(&self) -> Option<Observer> {
        self.observer.clone().filter(|_| self.frozen.is_none())
    }

    fn weight(&self, at: usize) -> Tensor<4> {
        weight(self.own(), at)
    }

    #[allow(clippy::panic, reason = "an architecture's indices and kinds are its own")]
    fn vector(&self, at: usize) -> Tensor<1> {
        match &self.own()[at] {
            Value::Vector(tensor) => tensor.clone(),
            Value::Weight(_) => panic!("parameter {at} is not a vector"),
        }
    }

    /// What an adapter has beside a layer; none without an adapter or where it has nothing.
    pub(crate) fn low_rank(&self, conv: Conv) -> Option<LowRankLayers> {
        let LowRank { down, up, scale } = conv.low_rank?;
        let layer = |at: ParameterIndex, geometry| ConvLayer {
            weight: weight(&self.values, at.0),
            bias: None,
            geometry,
            at,
            observer: self.observer.clone(),
        };
        let (down, up) = (layer(down, conv.geometry), layer(up, ConvGeometry::POINTWISE));
        Some(LowRankLayers { down, up, scale })
    }

    pub(crate) fn conv(&self, conv: Conv) -> ConvLayer {
        ConvLayer {
            weight: self.weight(conv.at.0),
            bias: conv.bias.map(|bias| self.vector(bias.0)),
            geometry: conv.geometry,
            at: conv.at,
            observer: self.own_observer(),
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
            observer: self.own_observer(),
        }
    }

    pub(crate) fn layer_norm(&self, norm: LayerNorm) -> LayerNormLayer {
        let at = norm.at.0;
        LayerNormLayer {
            scale: self.vector(at),
            shift: self.vector(at + 1),
            epsilon: norm.epsilon,
            at: norm.at,
            observer: self.own_observer(),
        }
    }
}

#[allow(clippy::panic, reason = "an architecture's indices and kinds are its own")]
fn weight(values: &[Value], at: usize) -> Tensor<4> {
    match &values[at] {
        Value::Weight(tensor) => tensor.clone(),
        Value::Vector(_) => panic!("parameter {at} is not a weight"),
    }
}

/// Reorders a parameter from diffusers' layout ([`ParameterSpec::disk_shape`]) to the one in memory
/// ([`ParameterSpec::memory_shape`]).
///
/// # Panics
///
/// If `disk` has not the length of the parameter.
pub fn to_memory_layout<T: Copy + Default + Send + Sync>(spec: &ParameterSpec, disk: &[T]) -> Vec<T> {
    assert_eq!(disk.len(), spec.len(), "length of {}", spec.name);
    let Some([outputs, inputs, taps]) = sides_of_layer(spec) else { return disk.to_vec() };
    let mut memory = vec![T::default(); disk.len()];
    // Rows of neighbouring inputs read the same cache lines.
    let mut rows: Vec<(usize, &mut [T])> = memory.chunks_exact_mut(outputs.max(1)).enumerate().collect();
    rows.sort_unstable_by_key(|(row, _)| (row % inputs / INPUTS_TOGETHER, *row));
    rows.par_chunks_mut((INPUTS_TOGETHER * taps).max(1)).for_each(|rows| {
        for first in (0..outputs).step_by(OUTPUTS_TOGETHER) {
            for (row, values) in rows.iter_mut() {
                let (tap, input) = (*row / inputs, *row % inputs);
                let last = outputs.min(first + OUTPUTS_TOGETHER);
                for (output, value) in (first..last).zip(&mut values[first..last]) {
                    *value = disk[(output * inputs + input) * taps + tap];
                }
            }
        }
    });
    memory
}

/// Inputs and outputs of a layer of which a part of the weight is reordered at once: it fits the nearest cache.
const INPUTS_TOGETHER: usize = 32;
const OUTPUTS_TOGETHER: usize = 32;

/// Outputs, inputs and taps of the weight of a layer; none of parameters that lie in memory as on disk.
fn sides_of_layer(spec: &ParameterSpec) -> Option<[usize; 3]> {
    match (spec.kind, spec.disk_shape.as_slice()) {
        (ParameterKind::Convolution, &[outputs, inputs, height, width]) => {
            Some([outputs, inputs, height * width])
        }
        (ParameterKind::Linear, &[outputs, inputs]) => Some([outputs, inputs, 1]),
        _ => None,
    }
}

/// Reorders a parameter from the layout in memory ([`ParameterSpec::memory_shape`]) to diffusers'
/// ([`ParameterSpec::disk_shape`]).
///
/// # Panics
///
/// If `memory` has not the length of the parameter.
pub fn to_disk_layout<T: Copy>(spec: &ParameterSpec, memory: &[T]) -> Vec<T> {
    assert_eq!(memory.len(), spec.len(), "length of {}", spec.name);
    let Some([outputs, inputs, taps]) = sides_of_layer(spec) else { return memory.to_vec() };
    let mut disk = Vec::with_capacity(memory.len());
    for output in 0..outputs {
        for input in 0..inputs {
            disk.extend((0..taps).map(|tap| memory[(tap * inputs + input) * outputs + output]));
        }
    }
    disk
}

#[cfg(test)]
mod tests {
    use super::super::{AdapterModule, BatchCondition, StoredValues, smallest_network};
    use super::*;
    use pentimento_kernels::extension::device_for;

    /// Weights of layers that came in 16 bits are held so, also as constants of automatic differentiation; norms and biases are in f32.
    #[test]
    fn weights_of_16_bits_beneath_an_adapter_stay_so() {
        let network = smallest_network();
        let module = AdapterModule { name: "mid_block.resnets.0.conv1".into(), rank: 2, alpha: 1.0 };
        // A tenth, about, in both.
        for (dtype, of_bits, bits) in [
            (DType::F16, StoredValues::F16 as fn(Vec<u16>) -> StoredValues, 0x2e66),
            (DType::BF16, StoredValues::Bf16, 0x3dcc),
        ] {
            let values = network.parameters().iter().map(|spec| of_bits(vec![bits; spec.len()]));
            let adapted = network.with_adapter(std::slice::from_ref(&module), values).unwrap();
            let zeros = adapted.parameters().iter().map(|spec| vec![0.0f32; spec.len()]).collect();
            let parameters = Parameters::from_memory(&adapted, zeros);
            for held in [parameters.frozen.clone().unwrap(), parameters.tracked().frozen.unwrap()] {
                let mut bytes = 0;
                for (spec, value) in adapted.own_parameters().iter().zip(held.iter()) {
                    let of_vector = if spec.kind == ParameterKind::Vector { DType::F32 } else { dtype };
                    assert_eq!(value.dtype(), of_vector, "{}", spec.name);
                    let data = value.clone().into_data();
                    assert!(data.iter::<f32>().all(|value| (value - 0.1).abs() < 1e-3), "{}", spec.name);
                    bytes += data.bytes().len();
                }
                let wide: usize = adapted.own_parameters().iter().map(|spec| 4 * spec.len()).sum();
                assert!(bytes * 10 < wide * 6, "{bytes} bytes of {wide}");
            }
        }
    }

    /// All that is made for one network beneath an adapter shares what stands still, and no gradient of it is computed.
    #[test]
    fn what_stands_still_is_shared_and_has_no_gradient() {
        let network = smallest_network();
        let ones = |architecture: &Architecture| -> Vec<Vec<f32>> {
            architecture.parameters().iter().map(|spec| vec![0.1; spec.len()]).collect()
        };
        let module = AdapterModule { name: "mid_block.resnets.0.conv1".into(), rank: 2, alpha: 1.0 };
        let adapted = network.with_adapter(&[module], ones(&network)).unwrap();
        let frozen_of = |architecture: &Architecture| {
            Parameters::from_memory::<f32>(architecture, ones(architecture)).frozen.unwrap()
        };
        assert!(Arc::ptr_eq(&frozen_of(&adapted), &frozen_of(&adapted.clone())));

        let tracked = Parameters::from_memory::<f32>(&adapted, ones(&adapted)).tracked();
        let ramp = (0..16).map(|value| value as f32).collect::<Vec<_>>();
        let input = Tensor::from_data(TensorData::new(ramp, [1, 4, 4, 1]), &device_for(DType::F32));
        let told = BatchCondition::new::<f32>(&adapted, &[5], &[]);
        let mut gradients = adapted.forward(&tracked, input, &told).square().sum().backward();
        for (spec, value) in
            adapted.own_parameters().iter().zip(tracked.frozen.iter().flat_map(|own| own.iter()))
        {
            assert!(value.take_gradient(&mut gradients).is_none(), "{}", spec.name);
        }
        for (spec, value) in adapted.parameters().iter().zip(&tracked.values) {
            assert!(value.take_gradient(&mut gradients).is_some(), "{}", spec.name);
        }
    }
}
