//! The files of encoders: what a run remembers of them, and whether they are still what they were.

use crate::adapters::OpenAdapter;
use crate::checkpoint::OpenEncoders;
use crate::error::{Result, RunError};
use crate::part_files::{absolute, compare, digest_of};
use crate::recipe::{AutoencoderRecipe, EncodersRecipe, TextAdapterRecipe, TextEncoderRecipe};
use pentimento_encoders::{PartFiles, TextFiles};
use pentimento_store::Digest;
use std::path::{Path, PathBuf};

/// The files of a tokenizer that decide what becomes of a text.
const TOKENIZER_FILES: [&str; 6] = [
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
];

/// What a run remembers of the encoders of a pipeline; those of texts only for a network that is told texts, with what an adapter adds
/// to them.
///
/// # Errors
///
/// If a file cannot be read.
pub(crate) fn remembered(
    opened: &OpenEncoders,
    is_told_texts: bool,
    adapter: Option<&OpenAdapter>,
) -> Result<EncodersRecipe> {
    let OpenEncoders { files, encoders } = opened;
    let of_pictures = encoders.autoencoder.config();
    let PartFiles { config, weights } = &files.autoencoder;
    let autoencoder = AutoencoderRecipe {
        config: absolute(config),
        weights: weights.iter().map(|path| absolute(path)).collect(),
        digest: digest_of_part(&files.autoencoder)?,
        channels: of_pictures.in_channels,
        factor: of_pictures.factor(),
    };
    let adapter = adapter.filter(|adapter| !adapter.of_text.is_empty());
    let adapter = adapter.map(|adapter| absolute(&adapter.files.weights));
    let of_adapter = |weights: &PathBuf| -> Result<TextAdapterRecipe> {
        Ok(TextAdapterRecipe { weights: weights.clone(), digest: digest_of([weights.as_path()])? })
    };
    let of_text = |files: &TextFiles| -> Result<TextEncoderRecipe> {
        Ok(TextEncoderRecipe {
            config: absolute(&files.encoder.config),
            weights: files.encoder.weights.iter().map(|path| absolute(path)).collect(),
            tokenizer: absolute(&files.tokenizer),
            digest: digest_of_text(files, adapter.as_deref())?,
            adapter: adapter.as_ref().map(of_adapter).transpose()?,
        })
    };
    let text = files.text.as_ref().filter(|_| is_told_texts).map(of_text).transpose()?;
    Ok(EncodersRecipe { autoencoder, text })
}

impl AutoencoderRecipe {
    /// Its files, as they were at the import.
    ///
    /// # Errors
    ///
    /// [`PartError::Gone`](crate::error::PartError::Gone) and [`PartError::Other`](crate::error::PartError::Other) if they are not.
    pub(crate) fn files(&self) -> Result<PartFiles> {
        let files = PartFiles { config: self.config.clone(), weights: self.weights.clone() };
        compare("autoencoder", &self.config, digest_of_part(&files), self.digest)?;
        Ok(files)
    }
}

impl TextEncoderRecipe {
    /// Its files and those of the tokenizer, as they were at the import.
    ///
    /// # Errors
    ///
    /// As [`AutoencoderRecipe::files`].
    pub(crate) fn files(&self) -> Result<TextFiles> {
        let encoder = PartFiles { config: self.config.clone(), weights: self.weights.clone() };
        let files = TextFiles { encoder, tokenizer: self.tokenizer.clone() };
        let adapter = self.adapter.as_ref();
        if let Some(TextAdapterRecipe { weights, digest }) = adapter {
            compare("adapter of the text encoder", weights, digest_of([weights.as_path()]), *digest)?;
        }
        let found = digest_of_text(&files, adapter.map(|adapter| adapter.weights.as_path()));
        compare("text encoder", &self.config, found, self.digest)?;
        Ok(files)
    }
}

fn digest_of_part(files: &PartFiles) -> Result<Digest> {
    digest_of(paths_of(files))
}

fn paths_of(files: &PartFiles) -> impl Iterator<Item = &Path> {
    std::iter::once(files.config.as_path()).chain(files.weights.iter().map(|path| path.as_path()))
}

/// That of a text encoder and its tokenizer, and of the file of the adapter that is added to it.
fn digest_of_text(files: &TextFiles, adapter: Option<&Path>) -> Result<Digest> {
    let of_tokenizer = TOKENIZER_FILES.map(|name| files.tokenizer.join(name));
    let of_tokenizer: Vec<&Path> =
        of_tokenizer.iter().map(|path| path.as_path()).filter(|path| path.is_file()).collect();
    if of_tokenizer.is_empty() {
        let nothing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(RunError::io("open", &files.tokenizer)(nothing));
    }
    digest_of(paths_of(&files.encoder).chain(of_tokenizer).chain(adapter))
}
