//! The numbers that networks compute with.

use burn::tensor::Element;
use pentimento_kernels::reference::Real;

/// The float types that networks run in: `f32` always, `f64` in proofs.
pub trait Precision: Real + Element + Default + Send + Sync {}
impl Precision for f32 {}
impl Precision for f64 {}
