//! `config.json` of `CLIPTextModel`: the keys of transformers with their defaults.

use crate::error::{bad_field, within};
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::error::from_object;
use pentimento_diffusion::json;
use serde::Deserialize;

/// What stands between the two layers of a block that are not attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Activation {
    /// `x sigmoid(1.702 x)`: the encoders that OpenAI trained (Stable Diffusion 1).
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    /// `x` times the normal distribution function: OpenCLIP's encoders (Stable Diffusion 2).
    #[serde(rename = "gelu")]
    Gelu,
}

impl Activation {
    /// Its name in transformers.
    pub fn name(self) -> &'static str {
        match self {
            Self::QuickGelu => "quick_gelu",
            Self::Gelu => "gelu",
        }
    }
}

/// Configuration of a text encoder, key by key as transformers writes it. Keys that decide nothing here are left out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Number of tokens that have an embedding.
    pub vocab_size: usize,
    /// Width of a token's state.
    pub hidden_size: usize,
    /// Width between the two layers of a block that are not attention.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Heads of an attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Number of tokens of a prompt.
    pub max_position_embeddings: usize,
    /// `quick_gelu` or `gelu`.
    pub hidden_act: Activation,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f64,
    /// The token whose state stands for the whole prompt; 2, which old files have, means the token of the largest number.
    pub eos_token_id: u32,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49_407,
        }
    }
}

impl ClipTextConfig {
    /// Reads a `config.json`, which errors call `file`.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] for text that is not a JSON object, [`DiffusionError::Config`] for a value that is not
    /// supported.
    pub fn from_json(text: &str, file: &str) -> Result<Self, DiffusionError> {
        let object = json::object(text).map_err(|problem| DiffusionError::File {
            file: file.into(),
            problem: format!("not a configuration of a text encoder: {problem}"),
        })?;
        let kind = object.get("model_type");
        if kind.is_none_or(|kind| kind != "clip_text_model") {
            let value = kind.map_or_else(|| "absent".into(), ToString::to_string);
            return Err(bad_field(file, "model_type", value, "supported is clip_text_model"));
        }
        let config: Self = from_object(object, file)?;
        config.validate(file)?;
        Ok(config)
    }

    /// Checks every value; errors call the configuration `file`.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`].
    pub fn validate(&self, file: &str) -> Result<(), DiffusionError> {
        within(file, "vocab_size", self.vocab_size, 2..=1 << 24)?;
        within(file, "hidden_size", self.hidden_size, 1..=8192)?;
        within(file, "intermediate_size", self.intermediate_size, 1..=16_384)?;
        within(file, "num_hidden_layers", self.num_hidden_layers, 1..=256)?;
        within(file, "max_position_embeddings", self.max_position_embeddings, 2..=4096)?;
        if self.num_attention_heads == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let bound = format!("it must divide hidden_size, {}", self.hidden_size);
            return Err(bad_field(file, "num_attention_heads", self.num_attention_heads, bound));
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps.is_finite()) {
            return Err(bad_field(
                file,
                "layer_norm_eps",
                self.layer_norm_eps,
                "it must be a positive number",
            ));
        }
        Ok(())
    }
}
