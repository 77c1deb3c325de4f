//! Folders in diffusers layout: written so that `DDPMPipeline.from_pretrained` (or `DDIMPipeline`, for an ensemble that
//! samples by DDIM) opens them, and read in every layout that is in use.
//!
//! * `folder` and `weight_files`: which files of a folder are the network, its weights and its scheduler.
//! * `refusals` and `other_files`: what is said of networks, pipelines and files of other kinds.
//! * `weights` and `tensor_file`: names, shapes and types of the weights.
//! * `scheduler` and `scheduler_class`: the noise schedule and the sampler.
//! * `signature`: what lies where a file of a checkpoint should be.
//! * `adapter`: LoRA adapters of a network, in every form in which they are found.

mod adapter;
mod folder;
mod other_files;
mod refusals;
mod scheduler;
mod scheduler_class;
pub(crate) mod signature;
mod tensor_file;
mod weight_files;
mod weights;

pub use adapter::{
    ADAPTER_FILES, AdapterFiles, AdapterForm, DIFFUSERS_ADAPTER, ReadAdapter, TextEncoder, TextEncoderPart,
    adapter_as_diffusers, adapter_files,
};
pub use folder::{
    Checkpoint, CheckpointFiles, CheckpointInside, NetworkFolder, Selection, Unclear, checkpoints_inside,
    read_text,
};
pub use scheduler::{SCHEDULER_FILES, SchedulerFile, scheduler_files};
pub use tensor_file::TensorFile;
pub use weight_files::{open_weights, weight_files};
pub use weights::{
    ReadWeights, read_parameters, read_stored_weights, read_weights, weights_from_bytes, weights_to_bytes,
};

use crate::DiffusionError;
use crate::unet::Architecture;

/// Names of the files that [`network_files`] gives, in its order.
pub const NETWORK_FILES: [&str; 2] = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"];

/// The network of a pipeline folder, by path relative to it.
///
/// `values` are in memory layout, those of one parameter of the architecture after another.
///
/// # Errors
///
/// [`DiffusionError::File`] if the weights cannot be serialised, or are those of an adapter, which [`adapter_files`] writes.
pub fn network_files(
    architecture: &Architecture,
    values: impl IntoIterator<Item = impl AsRef<[f32]>>,
) -> Result<[(&'static str, Vec<u8>); 2], DiffusionError> {
    if !architecture.adapter_modules().is_empty() {
        let problem = "an adapter is no network: it is written as an adapter".into();
        return Err(DiffusionError::File { file: NETWORK_FILES[1].into(), problem });
    }
    let [config, weights] = NETWORK_FILES;
    Ok([
        (config, architecture.config().to_json().into_bytes()),
        (weights, weights_to_bytes(architecture, values)?),
    ])
}

fn json_file(value: &serde_json::Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
