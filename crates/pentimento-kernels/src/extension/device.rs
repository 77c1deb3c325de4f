//! Where networks compute.

use burn::tensor::{DType, Device};
use std::sync::OnceLock;

static CHOSEN: OnceLock<(DeviceKind, Device)> = OnceLock::new();

/// The kinds of device that Burn has a backend for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The processor, with this crate's kernels.
    Cpu,
    /// NVIDIA, by CUDA.
    Cuda,
    /// Apple, by Metal.
    Metal,
    /// AMD, by ROCm.
    Rocm,
    /// Any graphics processor with Vulkan.
    Vulkan,
}

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The program was built without the Cargo feature of this name.
    #[error("this program was built without it; build with `cargo build --release --features {feature}`")]
    NotBuilt {
        /// Name of the feature.
        feature: &'static str,
    },
    /// The process computes on another one already.
    #[error("another device was chosen or used before")]
    AnotherOne,
}

impl DeviceKind {
    /// The first device of this kind.
    fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda => Err(DeviceError::NotBuilt { feature: "cuda" }),
            #[cfg(feature = "metal")]
            Self::Metal => Ok(Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(not(feature = "metal"))]
            Self::Metal => Err(DeviceError::NotBuilt { feature: "metal" }),
            #[cfg(feature = "rocm")]
            Self::Rocm => Ok(Device::rocm(0)),
            #[cfg(not(feature = "rocm"))]
            Self::Rocm => Err(DeviceError::NotBuilt { feature: "rocm" }),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(not(feature = "vulkan"))]
            Self::Vulkan => Err(DeviceError::NotBuilt { feature: "vulkan" }),
        }
    }
}

/// Chooses the device of the whole process, before the first network is made.
///
/// # Errors
///
/// [`DeviceError`] if there is no such device in this build, or another one is in use.
pub fn choose_device(kind: DeviceKind) -> Result<(), DeviceError> {
    let device = kind.open()?;
    if CHOSEN.get_or_init(|| (kind, device.clone())).1 == device {
        Ok(())
    } else {
        Err(DeviceError::AnotherOne)
    }
}

fn chosen() -> &'static (DeviceKind, Device) {
    CHOSEN.get_or_init(|| (DeviceKind::Cpu, Device::flex()))
}

/// The kind of the chosen device; the CPU if none was chosen, which settles it.
pub fn chosen_device_kind() -> DeviceKind {
    chosen().0
}

/// The device for tensors of a type: the chosen one, the CPU if none was, and always the CPU for `f64`, which proofs
/// need and most other devices lack.
pub fn device_for(dtype: DType) -> Device {
    match dtype {
        DType::F32 => chosen().1.clone(),
        _ => Device::flex(),
    }
}
