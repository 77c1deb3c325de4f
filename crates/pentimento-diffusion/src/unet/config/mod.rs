//! `config.json` of a U-Net: the keys of diffusers' `UNet2DModel` with their defaults, and what `UNet2DConditionModel` has
//! beyond them (`cross_attention`). `validate` refuses what cannot be run, `images` sizes that do not pass through.

mod cross_attention;
mod images;
mod validate;

pub use cross_attention::CrossAttention;

use super::sample_size::SampleSize;
use crate::DiffusionError;
use crate::condition::{Condition, TextEmbedding};
use crate::error::from_object;
use crate::json;
use pentimento_noise::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// Configuration of the network, key by key as diffusers writes it. A missing key has diffusers' default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnetConfig {
    /// Height and width of the images.
    pub sample_size: Option<SampleSize>,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Whether the input is moved from [0, 1] to [-1, 1] first.
    pub center_input_sample: bool,
    /// `positional` is the one kind that is supported.
    pub time_embedding_type: String,
    /// Width of the time embedding; four times the first block's width if absent.
    pub time_embedding_dim: Option<usize>,
    /// Shift in the frequencies of the sinusoidal embedding.
    pub freq_shift: f64,
    /// Cosines before sines in the sinusoidal embedding.
    pub flip_sin_to_cos: bool,
    /// `DownBlock2D` or `AttnDownBlock2D` for each level; with [`Self::cross_attention`] `CrossAttnDownBlock2D`.
    pub down_block_types: Vec<String>,
    /// `UNetMidBlock2D` is the one kind that is supported; with [`Self::cross_attention`] `UNetMidBlock2DCrossAttn`.
    pub mid_block_type: Option<String>,
    /// `UpBlock2D` or `AttnUpBlock2D` for each level, the smallest images first; with [`Self::cross_attention`]
    /// `CrossAttnUpBlock2D`.
    pub up_block_types: Vec<String>,
    /// Width of each level.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level on the way down; one more on the way up.
    pub layers_per_block: usize,
    /// What the middle block's residual sums are divided by.
    pub mid_block_scale_factor: f64,
    /// 1: the same padding on all sides of a downsampling convolution; 0: right and bottom only.
    pub downsample_padding: usize,
    /// How blocks with attention halve their images: `conv`, or `resnet` for a residual block.
    pub downsample_type: String,
    /// How blocks with attention double their images: `conv`, or `resnet` for a residual block.
    pub upsample_type: String,
    /// Dropout in training; kept for diffusers, not applied by this project's training.
    pub dropout: f64,
    /// `silu` is the one kind that is supported.
    pub act_fn: String,
    /// Channels of an attention head; one head if absent. Not of transformers, see [`CrossAttention::heads`].
    pub attention_head_dim: Option<usize>,
    /// Groups of the group norms.
    pub norm_num_groups: usize,
    /// Groups of the middle attention's norm, if it differs.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance in every group norm.
    pub norm_eps: f64,
    /// `default`: the time embedding is added; `scale_shift`: it scales and shifts.
    pub resnet_time_scale_shift: String,
    /// Whether the middle block has an attention.
    pub add_attention: bool,
    /// `timestep`: classes are embedded as timesteps are. Absent: see [`Self::num_class_embeds`].
    pub class_embed_type: Option<String>,
    /// Rows of a table of class embeddings, if `class_embed_type` is absent; no classes if both are.
    pub num_class_embeds: Option<usize>,
    /// Only used by time embeddings that are not supported.
    pub num_train_timesteps: Option<usize>,
    /// How blocks attend over a text, which makes the network a `UNet2DConditionModel`.
    #[serde(skip)]
    pub cross_attention: Option<CrossAttention>,
}

/// The two classes of diffusers that are one network here.
const PLAIN: &str = "UNet2DModel";
const CONDITIONAL: &str = "UNet2DConditionModel";

/// Tokens of a text where nobody says how many: what CLIP gives.
const USUAL_TOKENS: usize = 77;

/// Keys with which diffusers keeps count of a moving average of weights (`EMAModel`); they decide nothing here.
const KEYS_OF_MOVING_AVERAGES: [&str; 8] = [
    "decay",
    "inv_gamma",
    "min_decay",
    "optimization_step",
    "power",
    "update_after_step",
    "use_ema_warmup",
    "foreach",
];

/// Keys that newer configurations give level by level. `UNet2DModel` has one value for all levels, and other networks are
/// supported with one.
const ONE_FOR_ALL_LEVELS: [&str; 8] = [
    "attention_head_dim",
    "layers_per_block",
    "norm_num_groups",
    "attn_norm_num_groups",
    "mid_block_scale_factor",
    "downsample_padding",
    "norm_eps",
    "dropout",
];

/// Takes the value that a list holds once for each level.
fn one_for_all_levels(
    object: &mut serde_json::Map<String, serde_json::Value>,
    key: &str,
    class: &str,
    file: &str,
) -> Result<(), DiffusionError> {
    let Some(serde_json::Value::Array(levels)) = object.get(key) else { return Ok(()) };
    let Some(first) = levels.first().filter(|first| levels.iter().all(|level| level == *first)) else {
        return Err(DiffusionError::Config {
            file: file.into(),
            field: key.into(),
            value: serde_json::Value::from(levels.clone()).to_string(),
            bound: format!("{class} has one number for all levels"),
        });
    };
    let first = first.clone();
    object.insert(key.into(), first);
    Ok(())
}

/// Where a level has attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attends {
    /// On the way to smaller images.
    pub(crate) down: bool,
    /// Between the two ways, which only the last level has.
    pub(crate) middle: bool,
    /// On the way back.
    pub(crate) up: bool,
}

impl Default for UnetConfig {
    fn default() -> Self {
        let names = |names: [&str; 4]| names.map(String::from).to_vec();
        Self {
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: "positional".into(),
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: names(["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"]),
            mid_block_type: Some("UNetMidBlock2D".into()),
            up_block_types: names(["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]),
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: "conv".into(),
            upsample_type: "conv".into(),
            dropout: 0.0,
            act_fn: "silu".into(),
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: "default".into(),
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
            cross_attention: None,
        }
    }
}

impl UnetConfig {
    /// Reads a `config.json`; keys that are not known are returned by name, to be warned about.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] for text that is not such a JSON object, [`DiffusionError::Config`] for a value that
    /// is not supported.
    pub fn from_json(text: &str, file: &str) -> Result<(Self, Vec<String>), DiffusionError> {
        let broken = |problem: String| DiffusionError::File {
            file: file.into(),
            problem: format!("not a configuration of UNet2DModel: {problem}"),
        };
        let mut object = json::object(text).map_err(broken)?;
        let class = object.get("_class_name").cloned().unwrap_or_else(|| PLAIN.into());
        let (class, cross_attention) = match class.as_str() {
            Some(PLAIN) => (PLAIN, None),
            Some(CONDITIONAL) => (CONDITIONAL, Some(CrossAttention::taken_from(&mut object, file)?)),
            _ => {
                return Err(DiffusionError::Config {
                    file: file.into(),
                    field: "_class_name".into(),
                    value: class.to_string(),
                    bound: format!("supported are {PLAIN} and {CONDITIONAL}"),
                });
            }
        };
        let known = serde_json::to_value(Self::default()).map_err(|error| broken(error.to_string()))?;
        let unknown = object
            .keys()
            .filter(|key| !key.starts_with('_') && known.get(key.as_str()).is_none())
            .filter(|key| !KEYS_OF_MOVING_AVERAGES.contains(&key.as_str()))
            .cloned()
            .collect();
        for key in ONE_FOR_ALL_LEVELS {
            one_for_all_levels(&mut object, key, class, file)?;
        }
        let config = Self { cross_attention, ..from_object(object, file)? };
        config.validate(file)?;
        Ok((config, unknown))
    }

    /// The `config.json` that diffusers reads.
    pub fn to_json(&self) -> String {
        let mut object = serde_json::Map::new();
        object.insert("_class_name".into(), self.class_name().into());
        object.insert("_diffusers_version".into(), "0.30.0".into());
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) {
            object.extend(fields);
        }
        if let Some(cross) = &self.cross_attention {
            cross.put_into(&mut object);
        }
        let mut text = serde_json::to_string_pretty(&object).unwrap_or_default();
        text.push('\n');
        text
    }

    /// What diffusers calls the network.
    pub fn class_name(&self) -> &'static str {
        if self.cross_attention.is_some() { CONDITIONAL } else { PLAIN }
    }

    /// Width of the time embedding.
    pub fn time_embedding_width(&self) -> usize {
        let first = self.block_out_channels.first().copied().unwrap_or(0);
        // Saturating, so that an absurd width is refused below and not wrapped into an ordinary one.
        self.time_embedding_dim.unwrap_or(first.saturating_mul(4))
    }

    /// Which classes the network can be told: below this number. None if it was trained without classes.
    pub fn classes(&self) -> Option<u32> {
        match (self.class_embed_type.as_deref(), self.num_class_embeds) {
            // Any number can be embedded as a timestep is; those that the network saw are not written down.
            (Some(_), _) => Some(u32::MAX),
            (None, classes) => classes.map(|classes| classes as u32),
        }
    }

    /// Checks that samples can be made under this condition: a class or a text if the network was trained with such.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] naming what is missing, not known or of another width.
    pub fn check_condition(&self, condition: &Condition) -> Result<(), DiffusionError> {
        let of_text = |value: String, bound: String| {
            let (file, field) = ("recipe".into(), "samples.prompts".into());
            Err(DiffusionError::Config { file, field, value, bound })
        };
        let width = self.cross_attention.as_ref().map(|cross| cross.text_width);
        match (condition, width) {
            (Condition::Text(text), Some(width)) if text.width() == width => Ok(()),
            (Condition::Text(text), Some(width)) => of_text(
                format!("embedded with {} values for each token", text.width()),
                format!("{width} values, as cross_attention_dim of the network says: another text encoder's"),
            ),
            (Condition::Text(_), None) => {
                of_text("set".into(), "left out, as the network was trained without texts".into())
            }
            (Condition::None, Some(_)) => {
                of_text("absent".into(), "a text, as the network was trained with texts".into())
            }
            (Condition::Class(class), _) => self.check_known_class(Some(*class)),
            (Condition::None, None) => self.check_known_class(None),
        }
    }

    /// Some condition that the network can be told, where any will do: to measure time or memory, or to compare a network
    /// with itself. The text is noise.
    pub fn any_condition(&self) -> Condition {
        match &self.cross_attention {
            Some(cross) => {
                let mut states = vec![0.0; USUAL_TOKENS * cross.text_width];
                Stream::new(0, Purpose::Test, 0, 0).fill_normal(&mut states);
                Condition::Text(TextEmbedding::new(states, cross.text_width))
            }
            None => self.classes().map_or(Condition::None, |_| Condition::Class(0)),
        }
    }

    /// Checks that samples can be of this class, or of none, and under no other condition.
    ///
    /// # Errors
    ///
    /// As [`check_condition`](Self::check_condition).
    pub fn check_class(&self, class: Option<u32>) -> Result<(), DiffusionError> {
        self.check_condition(&class.into())
    }

    fn check_known_class(&self, class: Option<u32>) -> Result<(), DiffusionError> {
        let (value, bound) = match (class, self.classes()) {
            (None, None) => return Ok(()),
            (Some(class), Some(classes)) if class < classes => return Ok(()),
            (Some(class), Some(classes)) => (class.to_string(), format!("below {classes}")),
            (Some(class), None) => {
                (class.to_string(), "left out, as the network was trained without classes".into())
            }
            (None, Some(classes)) => {
                let known =
                    if classes == u32::MAX { String::new() } else { format!(", 0 to {}", classes - 1) };
                (
                    "absent".into(),
                    format!("the number of a class{known}, as the network was trained with classes"),
                )
            }
        };
        Err(DiffusionError::Config { file: "recipe".into(), field: "samples.class".into(), value, bound })
    }

    /// Whether residual blocks scale and shift by the time embedding instead of adding it.
    pub fn scale_shift(&self) -> bool {
        self.resnet_time_scale_shift == "scale_shift"
    }

    /// Whether a level has attention, on either way or between them.
    fn attends(&self, level: usize) -> bool {
        let Attends { down, middle, up } = self.attention(level);
        down || middle || up
    }

    /// Where a level has attention; levels are counted from that of the largest images.
    pub(crate) fn attention(&self, level: usize) -> Attends {
        let levels = self.block_out_channels.len();
        let by_name = |kind: Option<&String>| {
            kind.is_some_and(|kind| kind.starts_with("Attn") || kind.starts_with("CrossAttn"))
        };
        Attends {
            down: by_name(self.down_block_types.get(level)),
            middle: self.add_attention && level + 1 == levels,
            // The last level is the first one on the way back.
            up: by_name(self.up_block_types.get(levels - 1 - level)),
        }
    }
}
