//! What can go wrong with models and their files.

use crate::arrays::ArrayError;
use crate::checkpoint::Unclear;
use serde::de::DeserializeOwned;

/// Errors name the file, the field, the value and the bound it broke.
#[derive(Debug, thiserror::Error)]
pub enum DiffusionError {
    /// A configuration value that this project cannot run.
    #[error("{file}: `{field}` is {value}: {bound}")]
    Config {
        /// The file or recipe section.
        file: String,
        /// The key.
        field: String,
        /// What it holds.
        value: String,
        /// What would be accepted.
        bound: String,
    },
    /// A tensor of a checkpoint is missing, has another shape, or is one too many.
    #[error("{file}: tensor `{tensor}`: {problem}")]
    Tensor {
        /// Path of the weights, or what their reader calls them.
        file: String,
        /// The tensor's name in diffusers.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that is not what its name says.
    #[error("{file}: {problem}")]
    File {
        /// Its path, or what its reader calls it.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder that leaves open what is to be taken from it.
    #[error("{folder}: {what}")]
    Unclear {
        /// Its path, as it was asked for.
        folder: String,
        /// What it leaves open.
        what: Unclear,
    },
    /// Weights as a pickle, which may run any code when it is opened.
    #[error(
        "{file}: weights as a pickle are not opened, as a pickle may run any code; with Python: \
         `from diffusers import UNet2DModel; UNet2DModel.from_pretrained({folder:?}).save_pretrained({folder:?})` \
         writes them as safetensors"
    )]
    Pickle {
        /// Path of the pickle.
        file: String,
        /// Path of the folder that diffusers would open and write again.
        folder: String,
    },
    /// A training that another version of the program began: its next steps would have other last digits.
    #[error("{file}: was begun by numerics version {found}, this program computes with version {own}")]
    OtherNumerics {
        /// Path of the state of the training.
        file: String,
        /// The version that computed it, 0 if it did not record one.
        found: u32,
        /// [`NUMERICS_VERSION`](crate::NUMERICS_VERSION).
        own: u32,
    },
    /// Images whose size the network cannot take.
    #[error("images of {height}x{width} with {channels} channels: {problem}")]
    Image {
        /// Rows, in pixels.
        height: usize,
        /// Columns, in pixels.
        width: usize,
        /// Values of a pixel.
        channels: usize,
        /// Why not.
        problem: String,
    },
    /// The loss is no longer a number.
    #[error("member {member}: the loss became {loss} at step {step}; lower the learning rate")]
    Diverged {
        /// Index of the member.
        member: usize,
        /// Training step, counted from 0.
        step: usize,
        /// Of the step's batch: infinite, or not a number.
        loss: f64,
    },
}

impl From<ArrayError> for DiffusionError {
    fn from(error: ArrayError) -> Self {
        match error {
            ArrayError::File { file, problem } => Self::File { file, problem },
            ArrayError::Tensor { file, tensor, problem } => Self::Tensor { file, tensor, problem },
        }
    }
}

/// Reads the keys of a JSON object, which errors call `file`; one of another kind is named.
pub(crate) fn from_object<T: DeserializeOwned>(
    object: serde_json::Map<String, serde_json::Value>,
    file: &str,
) -> Result<T, DiffusionError> {
    serde_path_to_error::deserialize(serde_json::Value::Object(object)).map_err(|error| {
        DiffusionError::Config {
            file: file.into(),
            field: error.path().to_string(),
            value: "of another kind".into(),
            bound: error.into_inner().to_string(),
        }
    })
}
