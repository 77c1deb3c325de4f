//! The U-Net of diffusers (`UNet2DModel` and `UNet2DConditionModel`), written once.
//!
//! [`Architecture`] describes the layers and names their parameters as diffusers does; [`Parameters`] holds the
//! values; [`Flow`] is what passes through: a plain tensor (sampling), a tensor under automatic differentiation
//! (training), or a value with tangents ([`Dual`], for the Jacobian of a sample).

mod adapter;
mod architecture;
mod batch_condition;
mod builder;
mod config;
mod dual;
mod flow;
mod forward;
mod layers;
mod observed;
mod observer;
mod parameter_spec;
mod parameters;
mod precision;
mod sample_size;
mod value;

pub use adapter::AdapterModule;
pub use architecture::Architecture;
pub use batch_condition::BatchCondition;
pub use config::{CrossAttention, UnetConfig};
pub use dual::Dual;
pub use flow::{ConvLayer, Flow, LayerNormLayer, NormLayer};
pub use observed::{LayerRecord, LayerValues};
pub use parameter_spec::{ParameterKind, ParameterSpec};
pub use parameters::{Gradient, Parameters, to_disk_layout, to_memory_layout};
pub use precision::Precision;
pub use sample_size::SampleSize;
