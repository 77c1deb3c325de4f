//! The U-Net of diffusers (`UNet2DModel`), written once.
//!
//! [`Architecture`] describes the layers and names their parameters as diffusers does; [`Parameters`] holds the
//! values; [`Flow`] is what passes through: a plain tensor (sampling), a tensor under automatic differentiation
//! (training), or a value with tangents ([`Dual`], for the Jacobian of a sample).

mod architecture;
mod config;
mod dual;
mod flow;
mod forward;
mod observed;
mod observer;
mod parameters;
mod sample_size;

pub use architecture::{Architecture, ParameterKind, ParameterSpec};
pub use config::UnetConfig;
pub use dual::Dual;
pub use flow::{ConvLayer, Flow, NormLayer};
pub use forward::Condition;
pub use observed::{LayerRecord, LayerValues};
pub use parameters::{Gradient, Parameters, Precision, to_disk_layout, to_memory_layout};
pub use sample_size::SampleSize;
