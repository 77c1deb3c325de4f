//! What of a configuration can be run.

use super::UnetConfig;
use crate::DiffusionError;

/// The kinds of blocks that are supported.
#[derive(Clone, Copy)]
struct KindsOfBlocks {
    middle: &'static str,
    down: [&'static str; 2],
    up: [&'static str; 2],
}

const KINDS_OF_BLOCKS: KindsOfBlocks = KindsOfBlocks {
    middle: "UNetMidBlock2D",
    down: ["DownBlock2D", "AttnDownBlock2D"],
    up: ["UpBlock2D", "AttnUpBlock2D"],
};

const KINDS_OF_BLOCKS_OVER_TEXT: KindsOfBlocks = KindsOfBlocks {
    middle: "UNetMidBlock2DCrossAttn",
    down: ["DownBlock2D", "CrossAttnDownBlock2D"],
    up: ["UpBlock2D", "CrossAttnUpBlock2D"],
};

/// The values and gates of a transformer are eight times as wide as its block, and no layer has more than 16,384 channels.
const WIDEST_TRANSFORMER: usize = 2048;

impl UnetConfig {
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
        let kinds = match self.cross_attention {
            None => KINDS_OF_BLOCKS,
            Some(_) => KINDS_OF_BLOCKS_OVER_TEXT,
        };
        only("mid_block_type", self.mid_block_type.as_deref().unwrap_or("null"), &[kinds.middle])?;
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
            ("down_block_types", &self.down_block_types, kinds.down),
            ("up_block_types", &self.up_block_types, kinds.up),
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
            // In `UNet2DModel` the key is the width of a head, in `UNet2DConditionModel` the number of heads.
            let head = match &self.cross_attention {
                None => self.attention_head_dim.unwrap_or(width),
                Some(cross) => cross.heads.get(level).copied().unwrap_or(0),
            };
            if self.attends(level) && (head == 0 || width % head != 0) {
                return bad(
                    "attention_head_dim",
                    head.to_string(),
                    format!("a divisor of the width {width}"),
                );
            }
            if self.cross_attention.is_some() && self.attends(level) && width > WIDEST_TRANSFORMER {
                let bound = format!("at most {WIDEST_TRANSFORMER} where blocks attend over a text");
                return bad("block_out_channels", width.to_string(), bound);
            }
        }
        if let Some(cross) = &self.cross_attention {
            cross.validate(levels, file)?;
            if self.classes().is_some() {
                let field =
                    if self.class_embed_type.is_some() { "class_embed_type" } else { "num_class_embeds" };
                return bad(
                    field,
                    "set".into(),
                    "absent: a network is told a text or a class, not both".into(),
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
}
