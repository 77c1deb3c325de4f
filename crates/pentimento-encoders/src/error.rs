//! What can go wrong with encoders and their files.

use pentimento_diffusion::DiffusionError;

/// Errors name the file, the field, the value and the bound it broke.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// A folder, a configuration, weights, or the size of a picture.
    #[error(transparent)]
    Model(#[from] DiffusionError),
    /// Weights as a pickle, which may run any code when it is opened.
    #[error(
        "{file}: weights as a pickle are not opened, as a pickle may run any code; with Python: `from {library} import {class}; \
         {class}.from_pretrained({folder:?}).save_pretrained({folder:?})` writes them as safetensors"
    )]
    Pickle {
        /// Path of the pickle.
        file: String,
        /// Path of the folder that the library opens and writes again.
        folder: String,
        /// `diffusers` or `transformers`.
        library: &'static str,
        /// The class of the network, as its configuration has it.
        class: String,
    },
    /// A tokenizer that has tokens for which the text encoder has no embedding.
    #[error(
        "{tokenizer}: token `{token}` has number {number}, but the text encoder has embeddings below {vocabulary} \
         (`vocab_size` of {encoder}): are the two of the same pipeline?"
    )]
    UnknownToken {
        /// Folder of the tokenizer.
        tokenizer: String,
        /// The token with the largest number.
        token: String,
        /// Its number.
        number: u32,
        /// The configuration of the text encoder.
        encoder: String,
        /// Its `vocab_size`.
        vocabulary: usize,
    },
    /// A tokenizer that pads prompts otherwise than those that the text encoder was trained on.
    #[error(
        "{tokenizer}: `pad_token` is `{token}`, number {number}, but {encoder} has `hidden_act` {activation}, and such text \
         encoders were trained on prompts padded with {expected}: take the tokenizer of the same pipeline, with its \
         special_tokens_map.json"
    )]
    OtherPadding {
        /// Folder of the tokenizer.
        tokenizer: String,
        /// What it pads with.
        token: String,
        /// Its number.
        number: u32,
        /// The configuration of the text encoder.
        encoder: String,
        /// Its `hidden_act`.
        activation: &'static str,
        /// What it should be padded with, in words.
        expected: &'static str,
    },
    /// More layers are to be left out than there are.
    #[error("clip_skip is {clip_skip}: it must be below {layers}, the number of layers of the text encoder")]
    ClipSkip {
        /// Layers to be left out at the end.
        clip_skip: usize,
        /// Layers of the text encoder.
        layers: usize,
    },
}

impl EncoderError {
    /// A file that is not what its name says.
    pub(crate) fn file(file: &std::path::Path, problem: impl Into<String>) -> Self {
        DiffusionError::File { file: file.display().to_string(), problem: problem.into() }.into()
    }
}

/// The error of a configuration's field.
pub(crate) fn bad_field(
    file: &str,
    field: &str,
    value: impl ToString,
    bound: impl Into<String>,
) -> DiffusionError {
    DiffusionError::Config {
        file: file.into(),
        field: field.into(),
        value: value.to_string(),
        bound: bound.into(),
    }
}

/// Refuses a number outside of `range`.
pub(crate) fn within(
    file: &str,
    field: &str,
    value: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<(), DiffusionError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(bad_field(file, field, value, format!("it must be {} to {}", range.start(), range.end())))
}
