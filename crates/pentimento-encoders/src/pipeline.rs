//! The encoders of a pipeline's folder.

use crate::EncoderError;
use crate::autoencoder::Autoencoder;
use crate::files::{PartFiles, read_object};
use crate::text::{ClipTextEncoder, ClipTokenizer, TextEncoder};
use pentimento_diffusion::DiffusionError;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

const INDEX: &str = "model_index.json";

/// What pipelines call their autoencoder.
const AUTOENCODERS: [&str; 2] = ["vae", "vqvae"];

/// Parts that make embeddings which are not computed here, so that the network's condition would be another.
const OTHER_ENCODERS: [&str; 4] = ["text_encoder_2", "text_encoder_3", "bert", "prior"];

/// What pipelines call their text encoder and its tokenizer.
const TEXT_PARTS: [&str; 2] = ["text_encoder", "tokenizer"];

/// The parts that a pipeline's folder says it has.
struct Parts<'a> {
    folder: &'a Path,
    index: Option<Map<String, Value>>,
}

impl<'a> Parts<'a> {
    fn of(folder: &'a Path) -> Result<Self, EncoderError> {
        if !folder.is_dir() {
            return Err(DiffusionError::NoFolder { folder: folder.display().to_string() }.into());
        }
        let index = folder.join(INDEX);
        let index = index.is_file().then(|| read_object(&index)).transpose()?;
        Ok(Self { folder, index })
    }

    /// Whether a part is listed, or where nothing is listed, lies there.
    fn has(&self, part: &str) -> bool {
        // An absent part stands in the index as `null` or as `[null, null]`.
        match &self.index {
            Some(index) => index.get(part).is_some_and(|part| match part {
                Value::Array(names) => names.iter().any(|name| !name.is_null()),
                other => !other.is_null(),
            }),
            None => self.folder.join(part).is_dir(),
        }
    }
}

/// The files of a text encoder and its tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct TextFiles {
    /// The text encoder.
    pub encoder: PartFiles,
    /// The tokenizer's folder.
    pub tokenizer: PathBuf,
}

/// The files of a pipeline's encoders.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderFiles {
    /// The autoencoder.
    pub autoencoder: PartFiles,
    /// None in a pipeline without prompts.
    pub text: Option<TextFiles>,
}

/// The encoders of a pipeline.
#[derive(Clone, Debug)]
pub struct Encoders {
    /// Between pictures and latents.
    pub autoencoder: Autoencoder,
    /// From prompts to embeddings; none in a pipeline without prompts.
    pub text: Option<TextEncoder>,
}

impl Encoders {
    /// Opens the encoders in the folder of a `StableDiffusionPipeline`, an `LDMPipeline` or another one with the same parts.
    /// `variant` as in [`PartFiles::find`].
    ///
    /// # Errors
    ///
    /// As [`EncoderFiles::find`] and [`EncoderFiles::open`].
    pub fn open(folder: &Path, variant: Option<&str>) -> Result<Self, EncoderError> {
        EncoderFiles::find(folder, variant)?.open()
    }
}

impl EncoderFiles {
    /// Finds the files of the encoders in a pipeline's folder.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::NoFolder`]; [`DiffusionError::File`] if there is no autoencoder, a part that the pipeline lists is not
    /// there, or it has parts that are not supported; otherwise as [`PartFiles::find`].
    pub fn find(folder: &Path, variant: Option<&str>) -> Result<Self, EncoderError> {
        let parts = Parts::of(folder)?;
        let is_listed = |part: &str| parts.has(part);
        let listed: Vec<&str> = AUTOENCODERS.into_iter().filter(|part| is_listed(part)).collect();
        let [autoencoder] = listed[..] else {
            let problem = if listed.is_empty() {
                "has neither a `vae` nor a `vqvae`: its network makes no latents"
            } else {
                "has a `vae` and a `vqvae`: supported are pipelines with one of the two"
            };
            return Err(EncoderError::file(folder, problem));
        };
        if let Some(part) = OTHER_ENCODERS.into_iter().find(|part| is_listed(part)) {
            let problem = format!(
                "has a `{part}`: supported are pipelines whose embeddings come from `text_encoder` alone"
            );
            return Err(EncoderError::file(folder, problem));
        }
        let text = match (is_listed("text_encoder"), is_listed("tokenizer")) {
            (false, false) => None,
            (true, true) => Some(TextFiles {
                encoder: PartFiles::find(&folder.join("text_encoder"), variant)?,
                tokenizer: folder.join("tokenizer"),
            }),
            (true, false) => {
                return Err(EncoderError::file(folder, "has a `text_encoder` and no `tokenizer`"));
            }
            (false, true) => {
                return Err(EncoderError::file(folder, "has a `tokenizer` and no `text_encoder`"));
            }
        };
        Ok(Self { autoencoder: PartFiles::find(&folder.join(autoencoder), variant)?, text })
    }

    /// [`find`](Self::find); none in a folder without any of such parts, whose network makes pictures by itself.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn find_if_any(folder: &Path, variant: Option<&str>) -> Result<Option<Self>, EncoderError> {
        let parts = Parts::of(folder)?;
        let mut all = AUTOENCODERS.iter().chain(&TEXT_PARTS).chain(&OTHER_ENCODERS);
        if all.any(|part| parts.has(part)) { Self::find(folder, variant).map(Some) } else { Ok(None) }
    }

    /// Opens the encoders.
    ///
    /// # Errors
    ///
    /// As [`Autoencoder::open`], [`ClipTextEncoder::open`], [`ClipTokenizer::open`] and [`TextEncoder::new`].
    pub fn open(&self) -> Result<Encoders, EncoderError> {
        // The tokenizer first, as the weights take longest.
        let text = self.text.as_ref().map(|files| {
            let tokenizer = ClipTokenizer::open(&files.tokenizer)?;
            TextEncoder::new(tokenizer, ClipTextEncoder::open(&files.encoder)?)
        });
        Ok(Encoders { text: text.transpose()?, autoencoder: Autoencoder::open(&self.autoencoder)? })
    }
}
