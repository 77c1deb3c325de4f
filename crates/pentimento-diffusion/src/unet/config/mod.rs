//! `config.json` of `UNet2DModel`: the keys of diffusers with their defaults.

use super::sample_size::SampleSize;
use crate::DiffusionError;
use crate::error::from_object;
use crate::json;
use pentimento_kernels::MOST_TOKENS;
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
    /// `DownBlock2D` or `AttnDownBlock2D` for each level.
    pub down_block_types: Vec<String>,
    /// `UNetMidBlock2D` is the one kind that is supported.
    pub mid_block_type: Option<String>,
    /// `UpBlock2D` or `AttnUpBlock2D` for each level, the smallest images first.
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
    /// Channels of an attention head; one head if absent.
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
}

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

/// Keys that newer configurations of other networks give level by level. `UNet2DModel` has one value for all levels.
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
    file: &str,
) -> Result<(), DiffusionError> {
    let Some(serde_json::Value::Array(levels)) = object.get(key) else { return Ok(()) };
    let Some(first) = levels.first().filter(|first| levels.iter().all(|level| level == *first)) else {
        return Err(DiffusionError::Config {
            file: file.into(),
            field: key.into(),
            value: serde_json::Value::from(levels.clone()).to_string(),
            bound: "UNet2DModel has one number for all levels".into(),
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
        if let Some(class) = object.get("_class_name")
            && class != "UNet2DModel"
        {
            return Err(DiffusionError::Config {
                file: file.into(),
                field: "_class_name".into(),
                value: class.to_string(),
                bound: "supported is UNet2DModel".into(),
            });
        }
        let known = serde_json::to_value(Self::default()).map_err(|error| broken(error.to_string()))?;
        let unknown = object
            .keys()
            .filter(|key| !key.starts_with('_') && known.get(key.as_str()).is_none())
            .filter(|key| !KEYS_OF_MOVING_AVERAGES.contains(&key.as_str()))
            .cloned()
            .collect();
        for key in ONE_FOR_ALL_LEVELS {
            one_for_all_levels(&mut object, key, file)?;
        }
        let config: Self = from_object(object, file)?;
        config.validate(file)?;
        Ok((config, unknown))
    }

    /// The `config.json` that diffusers reads.
    pub fn to_json(&self) -> String {
        let mut object = serde_json::Map::new();
        object.insert("_class_name".into(), "UNet2DModel".into());
        object.insert("_diffusers_version".into(), "0.30.0".into());
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) {
            object.extend(fields);
        }
        let mut text = serde_json::to_string_pretty(&object).unwrap_or_default();
        text.push('\n');
        text
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

    /// Checks that samples can be of this class, or of none.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] naming the class and what the network knows.
    pub fn check_class(&self, class: Option<u32>) -> Result<(), DiffusionError> {
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

    /// Refuses by name what this project cannot run, and sizes that do not fit together.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] with `file` as the place.
    pub fn validate(&self, file: &str) -> Result<(), DiffusionError> {
        let bad = |field: &str, value: String, bound: String| {
            Err(DiffusionError::Config { file: file.into(), field: field.into(), value, bound })
        };
        let only = |field: &str, value: &str, accepted: &[&str]| {
            if accepted.contains(&value) {
                Ok(())
            } else {
                bad(field, format!("`{value}`"), format!("supported are {}", accepted.join(", ")))
            }
        };
        only("time_embedding_type", &self.time_embedding_type, &["positional"])?;
        only("mid_block_type", self.mid_block_type.as_deref().unwrap_or("null"), &["UNetMidBlock2D"])?;
        only("downsample_type", &self.downsample_type, &["conv", "resnet"])?;
        only("upsample_type", &self.upsample_type, &["conv", "resnet"])?;
        only("act_fn", &self.act_fn, &["silu", "swish"])?;
        only("resnet_time_scale_shift", &self.resnet_time_scale_shift, &["default", "scale_shift"])?;
        only("class_embed_type", self.class_embed_type.as_deref().unwrap_or("null"), &["null", "timestep"])?;
        if let Some(classes) = self.num_class_embeds
            && !(1..=1_000_000).contains(&classes)
        {
            return bad("num_class_embeds", classes.to_string(), "1 to 1,000,000 classes".into());
        }
        if self.downsample_padding > 1 {
            return bad(
                "downsample_padding",
                self.downsample_padding.to_string(),
                "supported are 0 and 1".into(),
            );
        }
        let levels = self.block_out_channels.len();
        if levels == 0 || levels > 16 {
            return bad("block_out_channels", format!("{levels} levels"), "1 to 16 levels".into());
        }
        for (field, types, accepted) in [
            ("down_block_types", &self.down_block_types, ["DownBlock2D", "AttnDownBlock2D"]),
            ("up_block_types", &self.up_block_types, ["UpBlock2D", "AttnUpBlock2D"]),
        ] {
            if types.len() != levels {
                let bound = format!("as many as block_out_channels has, {levels}");
                return bad(field, format!("{} blocks", types.len()), bound);
            }
            for name in types {
                only(field, name, &accepted)?;
            }
        }
        if !(1..=64).contains(&self.layers_per_block) {
            return bad("layers_per_block", self.layers_per_block.to_string(), "1 to 64".into());
        }
        for (field, channels) in [("in_channels", self.in_channels), ("out_channels", self.out_channels)] {
            if !(1..=1024).contains(&channels) {
                return bad(field, channels.to_string(), "1 to 1024".into());
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("dropout", self.dropout.to_string(), "at least 0 and below 1".into());
        }
        if self.norm_num_groups == 0 {
            return bad("norm_num_groups", "0".into(), "at least 1".into());
        }
        if !(self.norm_eps > 0.0 && self.norm_eps.is_finite()) {
            return bad("norm_eps", self.norm_eps.to_string(), "a positive number".into());
        }
        if !(self.mid_block_scale_factor > 0.0 && self.mid_block_scale_factor.is_finite()) {
            return bad(
                "mid_block_scale_factor",
                self.mid_block_scale_factor.to_string(),
                "a positive number".into(),
            );
        }
        for (level, &width) in self.block_out_channels.iter().enumerate() {
            if width == 0 || width > 8192 || width % self.norm_num_groups != 0 {
                let bound = format!("multiples of norm_num_groups = {} up to 8192", self.norm_num_groups);
                return bad("block_out_channels", width.to_string(), bound);
            }
            let head = self.attention_head_dim.unwrap_or(width);
            if self.attends(level) && (head == 0 || width % head != 0) {
                return bad(
                    "attention_head_dim",
                    head.to_string(),
                    format!("a divisor of the width {width}"),
                );
            }
        }
        let embedding = self.time_embedding_width();
        if embedding == 0 || embedding > 16_384 {
            let bound = "1 to 16384; four times the first of block_out_channels if absent";
            return bad("time_embedding_dim", embedding.to_string(), bound.into());
        }
        let half = self.block_out_channels[0] / 2;
        if half == 0 || half as f64 - self.freq_shift <= 0.0 {
            return bad(
                "freq_shift",
                self.freq_shift.to_string(),
                format!("below half the first width, {half}"),
            );
        }
        if let Some(groups) = self.attn_norm_num_groups
            && (groups == 0 || !self.block_out_channels[levels - 1].is_multiple_of(groups))
        {
            return bad("attn_norm_num_groups", groups.to_string(), "a divisor of the last width".into());
        }
        Ok(())
    }

    /// The finest level that attends, counted from 0, and how many pixels it has for images of this size.
    fn finest_attention(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        (0..self.block_out_channels.len())
            .find(|&level| self.attends(level))
            .map(|level| (level, (height >> level.min(16)).saturating_mul(width >> level.min(16))))
    }

    /// Whether a level has attention, on either way or between them.
    fn attends(&self, level: usize) -> bool {
        let Attends { down, middle, up } = self.attention(level);
        down || middle || up
    }

    /// Where a level has attention; levels are counted from that of the largest images.
    pub(crate) fn attention(&self, level: usize) -> Attends {
        let levels = self.block_out_channels.len();
        let by_name = |kind: Option<&String>| kind.is_some_and(|kind| kind.starts_with("Attn"));
        Attends {
            down: by_name(self.down_block_types.get(level)),
            middle: self.add_attention && level + 1 == levels,
            // The last level is the first one on the way back.
            up: by_name(self.up_block_types.get(levels - 1 - level)),
        }
    }

    /// Checks that images of this size pass through: each level but the last halves them, and no level attends over more
    /// than [`MOST_TOKENS`] pixels.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Image`] naming the size and the divisor.
    pub fn check_image(&self, height: usize, width: usize, channels: usize) -> Result<(), DiffusionError> {
        let halvings = self.block_out_channels.len().saturating_sub(1);
        let divisor = 1usize << halvings.min(16);
        let problem = if channels != self.in_channels {
            format!("the network takes {} channels", self.in_channels)
        } else if height == 0
            || width == 0
            || !height.is_multiple_of(divisor)
            || !width.is_multiple_of(divisor)
        {
            format!(
                "the network halves its images {halvings} times, so height and width must be multiples of {divisor}"
            )
        } else if let Some((level, tokens)) =
            self.finest_attention(height, width).filter(|&(_, tokens)| tokens > MOST_TOKENS)
        {
            format!(
                "level {level} of the network attends over {tokens} pixels, of which it takes at most {MOST_TOKENS}: \
                 take blocks without attention there"
            )
        } else {
            return Ok(());
        };
        Err(DiffusionError::Image { height, width, channels, problem })
    }
}
