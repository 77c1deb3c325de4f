//! The files of encoders: what a run remembers of them, and whether they are still what they were.

use crate::checkpoint::OpenEncoders;
use crate::error::{Result, RunError};
use crate::recipe::{AutoencoderRecipe, EncodersRecipe, TextEncoderRecipe};
use pentimento_encoders::{PartFiles, TextFiles};
use pentimento_store::Digest;
use std::fs::File;
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

/// What a run remembers of the encoders of a pipeline; those of texts only for a network that is told texts.
///
/// # Errors
///
/// If a file cannot be read.
pub(crate) fn remembered(opened: &OpenEncoders, is_told_texts: bool) -> Result<EncodersRecipe> {
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
    let of_text = |files: &TextFiles| -> Result<TextEncoderRecipe> {
        Ok(TextEncoderRecipe {
            config: absolute(&files.encoder.config),
            weights: files.encoder.weights.iter().map(|path| absolute(path)).collect(),
            tokenizer: absolute(&files.tokenizer),
            digest: digest_of_text(files)?,
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
    /// [`RunError::EncoderGone`] and [`RunError::OtherEncoder`] if they are not.
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
        compare("text encoder", &self.config, digest_of_text(&files), self.digest)?;
        Ok(files)
    }
}

/// Refuses files that are gone, or others than at the import.
fn compare(part: &'static str, config: &Path, found: Result<Digest>, wanted: Digest) -> Result<()> {
    match found {
        Ok(found) if found == wanted => Ok(()),
        Ok(_) => Err(RunError::OtherEncoder { part, path: config.to_path_buf() }),
        Err(RunError::Io { path, source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(RunError::EncoderGone { part, path })
        }
        Err(error) => Err(error),
    }
}

fn digest_of_part(files: &PartFiles) -> Result<Digest> {
    digest_of(std::iter::once(&files.config).chain(&files.weights).cloned())
}

fn digest_of_text(files: &TextFiles) -> Result<Digest> {
    let of_tokenizer =
        TOKENIZER_FILES.iter().map(|name| files.tokenizer.join(name)).filter(|path| path.is_file());
    let encoder = std::iter::once(&files.encoder.config).chain(&files.encoder.weights).cloned();
    digest_of(encoder.chain(of_tokenizer))
}

/// A digest of the contents of some files, in their order.
fn digest_of(files: impl Iterator<Item = PathBuf>) -> Result<Digest> {
    let mut digests = Vec::new();
    for path in files {
        let file = File::open(&path).map_err(RunError::io("open", &path))?;
        let digest = Digest::of_reader(file).map_err(RunError::io("read", &path))?;
        digests.extend_from_slice(digest.as_bytes());
    }
    Ok(Digest::of(&digests))
}

/// So that it can be found from elsewhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}
