//! Adapters of low rank (LoRA; Hu et al. 2021, arXiv 2106.09685): a network whose own parameters stand still, and beside some
//! of its layers a pair of small ones that are trained.
//!
//! A layer `y = W x` becomes `y = W x + s B (A x)`, where A has `rank` outputs and `s = alpha / rank`. A convolution's A has the
//! kernel of the convolution, and its B one pixel.

use super::config::UnetConfig;
use super::parameter_spec::{ParameterSpec, Start};
use super::precision::Precision;
use super::stored_values::StoredValues;
use super::value::Value;
use burn::tensor::DType;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// The part of an adapter that stands beside one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterModule {
    /// The layer's name in diffusers, such as `mid_block.attentions.0.proj_in`.
    pub name: String,
    /// Outputs of A, and inputs of B; at least 1.
    pub rank: usize,
    /// What the part is multiplied with, times the rank. The gradients of A and B depend on how much of the part's size is in it
    /// and how much in their values.
    pub alpha: f64,
}

impl AdapterModule {
    /// What the part is multiplied with, s.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// A and B beside the layer of this weight.
    pub(crate) fn parameters(&self, weight: &ParameterSpec) -> [ParameterSpec; 2] {
        let (mut of_down, mut of_up) = (weight.disk_shape.clone(), vec![1; weight.disk_shape.len()]);
        of_up[0] = weight.disk_shape[0];
        of_up[1] = self.rank;
        of_down[0] = self.rank;
        let parameter = |part: &str, disk_shape, start| ParameterSpec {
            name: format!("{}.{part}.weight", self.name),
            kind: weight.kind,
            disk_shape,
            start,
        };
        [parameter("lora_A", of_down, Start::Normal), parameter("lora_B", of_up, Start::Zero)]
    }
}

/// The parameters that an adapter leaves as they are. Clones share the values.
#[derive(Clone)]
pub(super) struct Frozen {
    pub(super) specs: Vec<ParameterSpec>,
    /// In f32, but for weights of layers that came in 16 bits, which stay so.
    values: Arc<Vec<Value>>,
    /// Of names and values, once somebody asked for it.
    digest: Arc<OnceLock<blake3::Hash>>,
}

impl Frozen {
    /// Takes values in memory layout, one vector for each parameter.
    ///
    /// # Panics
    ///
    /// If their number or the lengths are not those of the parameters.
    pub(super) fn new(
        specs: Vec<ParameterSpec>,
        values: impl IntoIterator<Item = impl Into<StoredValues>>,
    ) -> Self {
        let mut values = values.into_iter();
        let taken = specs.iter().zip(&mut values);
        let taken: Vec<Value> = taken.map(|(spec, values)| Value::still(spec, values.into())).collect();
        assert!(taken.len() == specs.len() && values.next().is_none(), "number of frozen parameters");
        let values = taken;
        Self { specs, values: Arc::new(values), digest: Arc::default() }
    }

    /// A digest of the configuration of the network, and of the names and values of its parameters; it does not tell values that
    /// came in 16 bits from the same ones in f32.
    pub(super) fn digest(&self, config: &UnetConfig) -> blake3::Hash {
        *self.digest.get_or_init(|| {
            let mut hasher = blake3::Hasher::new();
            let length = |bytes: usize| (bytes as u64).to_le_bytes();
            let config = config.to_json();
            hasher.update(&length(config.len())).update(config.as_bytes());
            for (spec, value) in self.specs.iter().zip(self.values.iter()) {
                hasher.update(&length(spec.name.len())).update(spec.name.as_bytes());
                hasher.update(&length(spec.len() * size_of::<f32>()));
                value.in_f32(|values| {
                    hasher.update(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
                });
            }
            hasher.finalize()
        })
    }

    /// The values for passes in a float type: the same ones for f32, and copies in f64, which only proofs compute in.
    pub(super) fn values<T: Precision>(&self) -> Arc<Vec<Value>> {
        if T::dtype() == DType::F32 {
            return self.values.clone();
        }
        let wide = |(spec, value): (&ParameterSpec, &Value)| {
            Value::new::<T>(spec, value.clone().into_data().iter::<f64>().map(T::of).collect())
        };
        Arc::new(self.specs.iter().zip(self.values.iter()).map(wide).collect())
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} frozen parameters", self.specs.len())
    }
}
