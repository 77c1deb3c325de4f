//! From prompts to embeddings: the tokenizer and the text encoder of CLIP.

mod adapter;
mod byte_pairs;
mod config;
mod encoder;
mod layers;
mod tokenizer;
mod tokenizer_files;

pub use config::{Activation, ClipTextConfig};
pub use encoder::ClipTextEncoder;
pub use tokenizer::ClipTokenizer;

use crate::EncoderError;
use pentimento_diffusion::checkpoint::TextEncoderPart;
use std::path::Path;

/// The token that OpenCLIP pads with; `!` has this number in its vocabulary.
const ZERO: u32 = 0;

/// A text encoder and the tokenizer that belongs to it.
#[derive(Clone, Debug)]
pub struct TextEncoder {
    tokenizer: ClipTokenizer,
    encoder: ClipTextEncoder,
}

impl TextEncoder {
    /// Puts the two together.
    ///
    /// # Errors
    ///
    /// [`EncoderError::UnknownToken`] and [`EncoderError::OtherPadding`] if they do not belong together. The vocabularies of
    /// Stable Diffusion 1 and 2 are the same, so that of the two only the padding tells a mistake: nothing else would, as no
    /// token is masked.
    pub fn new(tokenizer: ClipTokenizer, encoder: ClipTextEncoder) -> Result<Self, EncoderError> {
        let vocabulary = encoder.config().vocab_size;
        let (token, number) = tokenizer.last_token();
        if number as usize >= vocabulary {
            return Err(EncoderError::UnknownToken {
                tokenizer: tokenizer.folder().into(),
                token: token.into(),
                number,
                encoder: encoder.name().into(),
                vocabulary,
            });
        }
        let activation = encoder.config().hidden_act;
        let (token, number) = tokenizer.padding();
        let (fits, expected) = match activation {
            Activation::QuickGelu => (number != ZERO, "the token of a prompt's end"),
            Activation::Gelu => (number == ZERO, "the token number 0, `!`"),
        };
        if !fits {
            return Err(EncoderError::OtherPadding {
                tokenizer: tokenizer.folder().into(),
                token: token.into(),
                number,
                encoder: encoder.name().into(),
                activation: activation.name(),
                expected,
            });
        }
        Ok(Self { tokenizer, encoder })
    }

    /// The encoder with what an adapter adds to it; errors name the adapter's `file`.
    ///
    /// # Errors
    ///
    /// As [`ClipTextEncoder::with_adapter`].
    pub fn with_adapter(self, parts: &[TextEncoderPart], file: &Path) -> Result<Self, EncoderError> {
        Ok(Self { encoder: self.encoder.with_adapter(parts, file)?, ..self })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        &self.tokenizer
    }

    /// The text encoder.
    pub fn encoder(&self) -> &ClipTextEncoder {
        &self.encoder
    }

    /// Tokens of a prompt, with padding.
    pub fn length(&self) -> usize {
        let longest = self.encoder.config().max_position_embeddings;
        self.tokenizer.longest().map_or(longest, |length| length.min(longest))
    }

    /// Width of a token's embedding.
    pub fn width(&self) -> usize {
        self.encoder.config().hidden_size
    }

    /// Whether a prompt has more tokens than its embedding: the last ones are cut off.
    pub fn cuts(&self, prompt: &str) -> bool {
        self.tokenizer.ids(prompt).len() > self.length()
    }

    /// The embeddings of prompts, `[prompts, length, width]`; see [`ClipTextEncoder::hidden_states`] for `clip_skip`.
    ///
    /// # Errors
    ///
    /// [`EncoderError::ClipSkip`].
    pub fn embeddings(&self, prompts: &[&str], clip_skip: usize) -> Result<Vec<f32>, EncoderError> {
        let length = self.length();
        let ids: Vec<u32> =
            prompts.iter().flat_map(|prompt| self.tokenizer.padded_ids(prompt, length)).collect();
        self.encoder.hidden_states(&ids, length, clip_skip)
    }
}
