//! Diffusion models: the U-Net of Hugging Face diffusers, noise schedules, samplers on recorded exogenous noise,
//! and training. Knows nothing of attribution.
//!
//! * [`unet`]: one description of the network, run on plain tensors, on tensors under automatic differentiation, and
//!   on values with tangents.
//! * [`schedule`] and [`sampler`]: betas, respaced subsets of timesteps, and one denoising step with its derivative.
//! * [`condition`]: what an image is made under: nothing, a class or a text.
//! * [`mixture`]: sampling from a weighted mixture of members, many trajectories at once.
//! * [`denoising`]: draws (a timestep and a noise each), noised images, and what a network should give for them.
//! * [`training`]: Algorithm 1 of Ho et al. (2020), resumable to the byte.
//! * [`checkpoint`]: folders in diffusers layout; [`checkup`]: whether an opened network is what it should be.
//! * [`side_by_side`]: whole pieces of work, each on a thread of its own.
//! * [`arrays`]: named arrays in one file, for all of this project.

pub mod arrays;
pub mod checkpoint;
pub mod checkup;
pub mod condition;
pub mod denoising;
/// What networks compute on.
pub mod device {
    pub use pentimento_kernels::extension::{DeviceError, DeviceKind, choose_device, chosen_device_kind};
}
pub mod error;
pub mod json;
pub mod mixture;
pub mod optimiser;
pub mod sampler;
pub mod schedule;
pub mod side_by_side;
pub mod training;
pub mod unet;
pub mod untrained;

pub use error::DiffusionError;
pub use pentimento_kernels::NUMERICS_VERSION;
