//! What can go wrong with models and their files.

use crate::arrays::ArrayError;
use crate::checkpoint::Unclear;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

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
    /// The tensors of a checkpoint are not those of the network that its configuration describes.
    #[error(
        "{file}: the tensors are not those of the configured network, which has {tensors}: {}; are weights and configuration \
         of the same network?",
        list_of_differences(missing, other_shape, superfluous)
    )]
    OtherTensors {
        /// Path of the weights.
        file: String,
        /// Tensors of the configured network.
        tensors: usize,
        /// Those that the file lacks.
        missing: Vec<String>,
        /// Those of another shape, each with both shapes.
        other_shape: Vec<String>,
        /// Those of the file that the network does not have.
        superfluous: Vec<String>,
    },
    /// A file that is not what its name says.
    #[error("{file}: {problem}")]
    File {
        /// Its path, or what its reader calls it.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder of a checkpoint that does not exist.
    #[error("{folder}: does not exist")]
    NoFolder {
        /// Its path, as it was given.
        folder: String,
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
        "{file}: weights as a pickle are not opened, as a pickle may run any code; with Python: {} writes them as safetensors",
        rewriting_of_pickle(file, folder, *is_of_accelerate)
    )]
    Pickle {
        /// Path of the pickle.
        file: String,
        /// Path of the folder that diffusers would open and write again.
        folder: String,
        /// Whether accelerate wrote it, whose states diffusers does not open.
        is_of_accelerate: bool,
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

/// What a person enters in Python.
fn rewriting_of_pickle(file: &str, folder: &str, is_of_accelerate: bool) -> String {
    if is_of_accelerate {
        let target = std::path::Path::new(folder).join("model.safetensors").display().to_string();
        return format!(
            "`import torch, safetensors.torch as s; s.save_file(torch.load({file:?}, weights_only=True), {target:?})`"
        );
    }
    format!(
        "`from diffusers import UNet2DModel; UNet2DModel.from_pretrained({folder:?}).save_pretrained({folder:?})`"
    )
}

/// How many tensors differ in which way, and the first few.
fn list_of_differences(missing: &[String], other_shape: &[String], superfluous: &[String]) -> String {
    const FIRST: usize = 3;
    let kinds = [
        (missing, "missing"),
        (other_shape, "of another shape"),
        (superfluous, "in the file that it does not have"),
    ];
    let of_kind = |(names, kind): (&[String], &str)| {
        let first = names.iter().take(FIRST).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if names.len() > FIRST { ", ..." } else { "" };
        format!("{} {kind} ({first}{more})", names.len())
    };
    kinds.into_iter().filter(|(names, _)| !names.is_empty()).map(of_kind).collect::<Vec<_>>().join(", ")
}

impl From<ArrayError> for DiffusionError {
    fn from(error: ArrayError) -> Self {
        match error {
            ArrayError::File { file, problem } => Self::File { file, problem },
            ArrayError::Tensor { file, tensor, problem } => Self::Tensor { file, tensor, problem },
        }
    }
}

/// Reads the keys of a JSON object, which errors call `file`; one of another kind is named with its value.
///
/// # Errors
///
/// [`DiffusionError::Config`].
pub fn from_object<T: DeserializeOwned>(
    object: serde_json::Map<String, Value>,
    file: &str,
) -> Result<T, DiffusionError> {
    let object = Value::Object(object);
    serde_path_to_error::deserialize(&object).map_err(|error| DiffusionError::Config {
        file: file.into(),
        field: error.path().to_string(),
        value: at(&object, error.path()).map_or_else(|| "of another kind".into(), shortened),
        bound: expected(&error.inner().to_string()),
    })
}

/// The value at a path.
fn at<'a>(object: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, segment| match segment {
        Segment::Map { key } => value.get(key),
        Segment::Seq { index } => value.get(index),
        _ => Some(value),
    })
}

/// A value as JSON, of a long one the beginning.
fn shortened(value: &Value) -> String {
    const LONGEST_CHARACTERS: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What would be accepted, in place of the names that Rust has for it.
fn expected(message: &str) -> String {
    let expected = message.rsplit_once("expected ").map_or(message, |(_, expected)| expected);
    match expected {
        "usize" | "u32" | "u64" => "it must be a whole number, 0 or more".into(),
        "f64" | "f32" => "it must be a number".into(),
        "a boolean" => "it must be true or false".into(),
        "a string" | "string" => "it must be a text".into(),
        "a sequence" => "it must be a list".into(),
        other => format!("it must be {other}"),
    }
}
