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
mod stored_values;
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
pub use stored_values::StoredValues;

/// The smallest network that there is, for tests of what holds for any.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
pub(crate) fn smallest_network() -> Architecture {
    let config = UnetConfig {
        in_channels: 1,
        out_channels: 1,
        block_out_channels: vec![4],
        down_block_types: vec!["DownBlock2D".into()],
        up_block_types: vec!["UpBlock2D".into()],
        layers_per_block: 1,
        norm_num_groups: 2,
        attention_head_dim: None,
        ..UnetConfig::default()
    };
    Architecture::new(&config).unwrap()
}
