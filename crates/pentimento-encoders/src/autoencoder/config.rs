//! `config.json` of `AutoencoderKL` and of `VQModel`: the keys of diffusers with their defaults.

use crate::error::{bad_field, within};
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::error::from_object;
use pentimento_diffusion::json;
use pentimento_kernels::MOST_TOKENS;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The kinds of autoencoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoencoderClass {
    /// `AutoencoderKL`: latents are drawn from a normal distribution.
    #[default]
    Kl,
    /// `VQModel`: latents are replaced by the nearest codes before they are decoded.
    Vq,
}

impl AutoencoderClass {
    /// Its name in diffusers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kl => "AutoencoderKL",
            Self::Vq => "VQModel",
        }
    }
}

/// Configuration of an autoencoder, key by key as diffusers writes it. A missing key has diffusers' default, but for
/// `scaling_factor` of a `VQModel` (see [`Self::scaling_factor`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoencoderConfig {
    /// `_class_name` of the file.
    #[serde(skip)]
    pub class: AutoencoderClass,
    /// Channels of the pictures that are encoded.
    pub in_channels: usize,
    /// Channels of the pictures that come back.
    pub out_channels: usize,
    /// `DownEncoderBlock2D` for each level.
    pub down_block_types: Vec<String>,
    /// `UpDecoderBlock2D` for each level.
    pub up_block_types: Vec<String>,
    /// Width of each level, the one of the whole picture first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// `silu` is the one kind that is supported.
    pub act_fn: String,
    /// Channels of the latents; 4 in an `AutoencoderKL` and 3 in a `VQModel` if absent.
    pub latent_channels: Option<usize>,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Whether there is an attention between encoder and latents, and between latents and decoder.
    pub mid_block_add_attention: bool,
    /// As it stands in the file; [`Self::scaling_factor`] has what is meant where it is absent.
    #[serde(rename = "scaling_factor")]
    pub written_scaling_factor: Option<f64>,
    /// `AutoencoderKL`: subtracted from the latents before they are scaled; 0 if absent.
    pub shift_factor: Option<f64>,
    /// `AutoencoderKL`: must be absent.
    pub latents_mean: Option<Value>,
    /// `AutoencoderKL`: must be absent.
    pub latents_std: Option<Value>,
    /// `AutoencoderKL`: whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// `AutoencoderKL`: whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// `VQModel`: number of codes.
    pub num_vq_embeddings: usize,
    /// `VQModel`: channels of a code, and so of the network's latents; as `latent_channels` if absent.
    pub vq_embed_dim: Option<usize>,
    /// `VQModel`: `group` is the one kind that is supported.
    pub norm_type: String,
    /// `VQModel`: about latents that are codes already, which no diffusion network here makes.
    pub lookup_from_codebook: bool,
    /// Only for cutting large pictures into tiles.
    pub sample_size: Option<Value>,
    /// Only for half precision; here everything is computed in `f32`.
    pub force_upcast: Option<bool>,
    /// Keys of the file that are not known, to be warned about.
    #[serde(skip)]
    pub unknown_keys: Vec<String>,
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        Self {
            class: AutoencoderClass::Kl,
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec!["DownEncoderBlock2D".into()],
            up_block_types: vec!["UpDecoderBlock2D".into()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: "silu".into(),
            latent_channels: None,
            norm_num_groups: 32,
            mid_block_add_attention: true,
            written_scaling_factor: None,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            num_vq_embeddings: 256,
            vq_embed_dim: None,
            norm_type: "group".into(),
            lookup_from_codebook: false,
            sample_size: None,
            force_upcast: None,
            unknown_keys: Vec::new(),
        }
    }
}

impl AutoencoderConfig {
    /// Reads a `config.json`, which errors call `file`.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] for text that is not a JSON object, [`DiffusionError::Config`] for a value that is not
    /// supported.
    pub fn from_json(text: &str, file: &str) -> Result<Self, DiffusionError> {
        let broken = |problem: String| DiffusionError::File {
            file: file.into(),
            problem: format!("not a configuration of an autoencoder: {problem}"),
        };
        let object = json::object(text).map_err(broken)?;
        let class = match object.get("_class_name").and_then(Value::as_str) {
            Some("AutoencoderKL") => AutoencoderClass::Kl,
            Some("VQModel") => AutoencoderClass::Vq,
            other => {
                let value = other.unwrap_or("absent");
                return Err(bad_field(file, "_class_name", value, "supported are AutoencoderKL and VQModel"));
            }
        };
        let known = serde_json::to_value(Self::default()).map_err(|error| broken(error.to_string()))?;
        let is_unknown = |key: &&String| !key.starts_with('_') && known.get(key.as_str()).is_none();
        let unknown_keys = object.keys().filter(is_unknown).cloned().collect();
        let config = Self { class, unknown_keys, ..from_object(object, file)? };
        config.validate(file)?;
        Ok(config)
    }

    /// Checks every value; errors call the configuration `file`.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`].
    pub fn validate(&self, file: &str) -> Result<(), DiffusionError> {
        let bad = |field: &str, value: String, bound: String| Err(bad_field(file, field, value, bound));
        let levels = self.block_out_channels.len();
        if !(1..=16).contains(&levels) {
            return bad("block_out_channels", format!("{levels} levels"), "1 to 16 levels".into());
        }
        for (field, types, supported) in [
            ("down_block_types", &self.down_block_types, "DownEncoderBlock2D"),
            ("up_block_types", &self.up_block_types, "UpDecoderBlock2D"),
        ] {
            if types.len() != levels {
                let bound = format!("as many as block_out_channels has, {levels}");
                return bad(field, format!("{} blocks", types.len()), bound);
            }
            if let Some(other) = types.iter().find(|kind| *kind != supported) {
                return bad(field, other.clone(), format!("supported is {supported}"));
            }
        }
        if self.norm_num_groups == 0 {
            return bad("norm_num_groups", "0".into(), "at least 1".into());
        }
        for &width in &self.block_out_channels {
            if !(1..=8192).contains(&width) || width % self.norm_num_groups != 0 {
                let bound = format!("multiples of norm_num_groups = {} up to 8192", self.norm_num_groups);
                return bad("block_out_channels", width.to_string(), bound);
            }
        }
        within(file, "layers_per_block", self.layers_per_block, 1..=64)?;
        within(file, "in_channels", self.in_channels, 1..=1024)?;
        within(file, "out_channels", self.out_channels, 1..=1024)?;
        within(file, "latent_channels", self.encoded_channels(), 1..=1024)?;
        // `swish` is another name for the same function.
        if !["silu", "swish"].contains(&self.act_fn.as_str()) {
            return bad("act_fn", self.act_fn.clone(), "supported is silu".into());
        }
        let factor = self.scaling_factor();
        if !(factor.is_finite() && factor > 0.0) {
            return bad("scaling_factor", factor.to_string(), "a positive number".into());
        }
        match self.class {
            AutoencoderClass::Kl => self.validate_kl(file),
            AutoencoderClass::Vq => self.validate_vq(file),
        }
    }

    fn validate_kl(&self, file: &str) -> Result<(), DiffusionError> {
        if !self.shift_factor().is_finite() {
            return Err(bad_field(file, "shift_factor", self.shift_factor(), "a number"));
        }
        for (field, value) in [("latents_mean", &self.latents_mean), ("latents_std", &self.latents_std)] {
            if let Some(value) = value {
                let bound = "supported are autoencoders whose latents have one factor for all channels";
                return Err(bad_field(file, field, value, bound));
            }
        }
        Ok(())
    }

    fn validate_vq(&self, file: &str) -> Result<(), DiffusionError> {
        within(file, "num_vq_embeddings", self.num_vq_embeddings, 1..=1 << 20)?;
        within(file, "vq_embed_dim", self.latent_channels(), 1..=1024)?;
        if self.norm_type != "group" {
            let bound = "supported is group (`spatial` is the decoder of MoVQ)";
            return Err(bad_field(file, "norm_type", &self.norm_type, bound));
        }
        Ok(())
    }

    /// The channels between encoder and quantisation, `latent_channels`.
    pub(super) fn encoded_channels(&self) -> usize {
        self.latent_channels.unwrap_or(match self.class {
            AutoencoderClass::Kl => 4,
            AutoencoderClass::Vq => 3,
        })
    }

    /// Channels of the latents that a diffusion network sees.
    pub fn latent_channels(&self) -> usize {
        match self.class {
            AutoencoderClass::Kl => self.encoded_channels(),
            AutoencoderClass::Vq => self.vq_embed_dim.unwrap_or(self.encoded_channels()),
        }
    }

    /// What the latents are multiplied by before a diffusion network sees them.
    ///
    /// Where the key is absent, 0.18215 for an `AutoencoderKL`, as in diffusers. For a `VQModel` it is 1: diffusers would take
    /// 0.18215 there too, but the networks whose files lack the key are older than the key and were trained on latents as they
    /// are (`CompVis/ldm-celebahq-256`; issue 6725 of diffusers). Whoever opens such a file says so
    /// ([`Self::scaling_is_assumed`]).
    pub fn scaling_factor(&self) -> f64 {
        self.written_scaling_factor.unwrap_or(match self.class {
            AutoencoderClass::Kl => 0.18215,
            AutoencoderClass::Vq => 1.0,
        })
    }

    /// Whether [`Self::scaling_factor`] is not in the file and differs from what today's diffusers would take.
    pub fn scaling_is_assumed(&self) -> bool {
        self.class == AutoencoderClass::Vq && self.written_scaling_factor.is_none()
    }

    /// What is subtracted from the latents before they are scaled.
    pub fn shift_factor(&self) -> f64 {
        match self.class {
            AutoencoderClass::Kl => self.shift_factor.unwrap_or(0.0),
            AutoencoderClass::Vq => 0.0,
        }
    }

    /// How many pixels of a picture's side make one of its latent's.
    pub fn factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Height and width of the latents of pictures of a size.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Image`] if the sides are not multiples of [`factor`](Self::factor), or the picture is too large.
    pub fn latent_size(&self, height: usize, width: usize) -> Result<[usize; 2], DiffusionError> {
        let factor = self.factor();
        let is_multiple = |side: usize| side > 0 && side.is_multiple_of(factor);
        if !(is_multiple(height) && is_multiple(width)) {
            let problem =
                format!("the autoencoder takes pictures whose height and width are multiples of {factor}");
            return Err(DiffusionError::Image { height, width, channels: self.in_channels, problem });
        }
        let latent = [height / factor, width / factor];
        self.check_size(latent)?;
        Ok(latent)
    }

    /// Height and width of the pictures of latents of a size.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Image`] if it is empty or too large.
    pub fn picture_size(&self, height: usize, width: usize) -> Result<[usize; 2], DiffusionError> {
        self.check_size([height, width])?;
        Ok([height, width].map(|side| side * self.factor()))
    }

    /// Checks the size of latents by what attention and convolutions take.
    fn check_size(&self, [height, width]: [usize; 2]) -> Result<(), DiffusionError> {
        // Wider than any value inside of a picture: an image of a convolution has fewer than 2^32 values.
        const MOST_VALUES: usize = 1 << 32;
        let bad = |problem: String| {
            Err(DiffusionError::Image { height, width, channels: self.latent_channels(), problem })
        };
        let pixels = height.saturating_mul(width);
        let widest = self.block_out_channels.iter().max().copied().unwrap_or(1).max(self.in_channels);
        let most = pixels.saturating_mul(self.factor() * self.factor()).saturating_mul(widest);
        if pixels == 0 {
            bad("latents have at least one pixel".into())
        } else if self.mid_block_add_attention && pixels > MOST_TOKENS {
            bad(format!(
                "the autoencoder attends over {pixels} pixels of its latents, of which it takes at most {MOST_TOKENS}"
            ))
        } else if most >= MOST_VALUES {
            bad("a picture would have 2^32 values or more inside the autoencoder".into())
        } else {
            Ok(())
        }
    }
}
