//! The encoders of an imported pipeline.

use super::adapter::TextAdapterRecipe;
use pentimento_store::Digest;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the encoders of a pipeline lie. They are not copied into the run; whoever opens one compares its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodersRecipe {
    /// Between pictures and the latents that the network works on.
    pub autoencoder: AutoencoderRecipe,
    /// From texts to what the network is told; none for a network that is told none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextEncoderRecipe>,
}

/// The files of an autoencoder, and what its pictures are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderRecipe {
    /// Its `config.json`.
    pub config: PathBuf,
    /// Its weights.
    pub weights: Vec<PathBuf>,
    /// A digest of these files.
    pub digest: Digest,
    /// Channels of a picture.
    pub channels: usize,
    /// Pixels of a picture's side for each of its latent's.
    pub factor: usize,
}

/// The files of a text encoder and of its tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextEncoderRecipe {
    /// Its `config.json`.
    pub config: PathBuf,
    /// Its weights.
    pub weights: Vec<PathBuf>,
    /// The folder of the tokenizer.
    pub tokenizer: PathBuf,
    /// A digest of the files of both, and of the adapter's.
    pub digest: Digest,
    /// What an adapter adds to the text encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<TextAdapterRecipe>,
}
