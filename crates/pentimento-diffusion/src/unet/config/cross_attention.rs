//! What `UNet2DConditionModel` has beyond `UNet2DModel`: transformers that attend over a text.

use crate::DiffusionError;
use crate::error::from_object;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How the blocks of a network attend over a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossAttention {
    /// Values of each token of the text (`cross_attention_dim`).
    pub text_width: usize,
    /// Heads of each level, largest images first. diffusers calls their number `attention_head_dim` here.
    pub heads: Vec<usize>,
    /// Blocks of each transformer of a level (`transformer_layers_per_block`).
    pub transformer_blocks: Vec<usize>,
    /// Linear layers around a transformer, and not convolutions with a kernel of one pixel. The two compute the same and lie
    /// otherwise on disk.
    pub linear_projection: bool,
}

/// Its keys as they are written, with the defaults of diffusers.
#[derive(Deserialize)]
#[serde(default)]
struct Keys {
    cross_attention_dim: OfLevels,
    attention_head_dim: OfLevels,
    transformer_layers_per_block: OfLevels,
    use_linear_projection: Option<bool>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            cross_attention_dim: OfLevels::Equal(1280),
            attention_head_dim: OfLevels::Equal(8),
            transformer_layers_per_block: OfLevels::Equal(1),
            use_linear_projection: None,
        }
    }
}

/// One number for all levels, or one for each.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "one number, or one for each level")]
enum OfLevels {
    Equal(usize),
    Each(Vec<usize>),
}

/// Keys that mean another network unless they hold this value or null, and what that network is.
const OTHER_NETWORKS: [(&str, &str, &str); 18] = [
    (
        "addition_embed_type",
        "null",
        "networks that are told sizes or images as well (Stable Diffusion XL) are not supported",
    ),
    ("attention_type", "default", "networks with boxes (GLIGEN) are not supported"),
    ("class_embeddings_concat", "false", "supported is false"),
    ("conv_in_kernel", "3", "supported is 3"),
    ("conv_out_kernel", "3", "supported is 3"),
    ("cross_attention_norm", "null", "supported is null"),
    ("dual_cross_attention", "false", "supported is false"),
    ("encoder_hid_dim", "null", "networks that project their text first are not supported"),
    ("encoder_hid_dim_type", "null", "networks that project their text first are not supported"),
    ("mid_block_only_cross_attention", "false", "supported is false"),
    ("num_attention_heads", "null", "diffusers takes the number of heads from attention_head_dim"),
    ("only_cross_attention", "false", "supported is false"),
    ("resnet_out_scale_factor", "1", "supported is 1"),
    ("resnet_skip_time_act", "false", "supported is false"),
    ("reverse_transformer_layers_per_block", "null", "supported is null"),
    (
        "time_cond_proj_dim",
        "null",
        "networks that are told the guidance (distilled ones, LCM) are not supported",
    ),
    ("time_embedding_act_fn", "null", "supported is null"),
    ("timestep_post_act", "null", "supported is null"),
];

/// Keys that decide nothing here: products are computed in at least f32, and the others belong to networks that are refused.
const WITHOUT_MEANING: [&str; 4] = [
    "upcast_attention",
    "addition_embed_type_num_heads",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
];

/// Keys of `UNet2DModel` that this class lacks.
const OF_PLAIN_NETWORKS: [&str; 5] =
    ["add_attention", "attn_norm_num_groups", "downsample_type", "num_train_timesteps", "upsample_type"];

impl CrossAttention {
    /// Takes its keys out of those of a `config.json`, and puts in the defaults of this class where they are not those of
    /// `UNet2DModel`.
    pub(super) fn taken_from(object: &mut Map<String, Value>, file: &str) -> Result<Self, DiffusionError> {
        let bad = |field: &str, value: String, bound: String| DiffusionError::Config {
            file: file.into(),
            field: field.into(),
            value,
            bound,
        };
        for (key, accepted, bound) in OTHER_NETWORKS {
            if let Some(value) = object.remove(key)
                && !is_accepted(&value, accepted)
            {
                return Err(bad(key, value.to_string(), bound.into()));
            }
        }
        for key in WITHOUT_MEANING {
            object.remove(key);
        }
        for (key, value) in [
            ("in_channels", json!(4)),
            ("out_channels", json!(4)),
            ("block_out_channels", json!([320, 640, 1280, 1280])),
            ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
            ("down_block_types", json!([CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, "DownBlock2D"])),
            ("up_block_types", json!(["UpBlock2D", CROSS_UP, CROSS_UP, CROSS_UP])),
        ] {
            object.entry(key).or_insert(value);
        }
        let levels = object.get("block_out_channels").and_then(Value::as_array).map_or(0, Vec::len);
        let own = [
            "cross_attention_dim",
            "attention_head_dim",
            "transformer_layers_per_block",
            "use_linear_projection",
        ];
        let keys: Keys = from_object(own.iter().filter_map(|key| object.remove_entry(*key)).collect(), file)?;
        let of_levels = |key: &str, numbers: OfLevels| match numbers {
            OfLevels::Equal(number) => Ok(vec![number; levels]),
            OfLevels::Each(numbers) if numbers.len() == levels => Ok(numbers),
            OfLevels::Each(numbers) => Err(bad(
                key,
                format!("{numbers:?}"),
                format!("one number, or one for each of {levels} levels"),
            )),
        };
        let heads = of_levels("attention_head_dim", keys.attention_head_dim)?;
        let transformer_blocks =
            of_levels("transformer_layers_per_block", keys.transformer_layers_per_block)?;
        let widths = of_levels("cross_attention_dim", keys.cross_attention_dim)?;
        let text_width = widths.first().copied().unwrap_or(0);
        if widths.iter().any(|width| *width != text_width) {
            let bound = "supported is one width for all levels".into();
            return Err(bad("cross_attention_dim", format!("{widths:?}"), bound));
        }
        let linear_projection = keys.use_linear_projection.unwrap_or(false);
        Ok(Self { text_width, heads, transformer_blocks, linear_projection })
    }

    /// Makes the keys of `UNet2DModel` those of this class, as diffusers reads them.
    pub(super) fn put_into(&self, object: &mut Map<String, Value>) {
        for key in OF_PLAIN_NETWORKS {
            object.remove(key);
        }
        object.insert("attention_head_dim".into(), json!(self.heads));
        object.insert("transformer_layers_per_block".into(), json!(self.transformer_blocks));
        object.insert("cross_attention_dim".into(), json!(self.text_width));
        object.insert("use_linear_projection".into(), json!(self.linear_projection));
    }

    /// Checks numbers that no other part of the configuration bounds.
    pub(super) fn validate(&self, levels: usize, file: &str) -> Result<(), DiffusionError> {
        let bad = |field: &str, value: String, bound: String| {
            Err(DiffusionError::Config { file: file.into(), field: field.into(), value, bound })
        };
        for (field, numbers) in
            [("attention_head_dim", &self.heads), ("transformer_layers_per_block", &self.transformer_blocks)]
        {
            if numbers.len() != levels {
                return bad(field, format!("{numbers:?}"), format!("one for each of {levels} levels"));
            }
        }
        if let Some(blocks) = self.transformer_blocks.iter().find(|blocks| !(1..=64).contains(*blocks)) {
            return bad("transformer_layers_per_block", blocks.to_string(), "1 to 64".into());
        }
        if !(1..=16_384).contains(&self.text_width) {
            return bad("cross_attention_dim", self.text_width.to_string(), "1 to 16384".into());
        }
        Ok(())
    }
}

const CROSS_DOWN: &str = "CrossAttnDownBlock2D";
const CROSS_UP: &str = "CrossAttnUpBlock2D";

/// Whether a value is null or is written like this; of a list each of its values.
fn is_accepted(value: &Value, accepted: &str) -> bool {
    match value {
        Value::Null => true,
        Value::Array(levels) => levels.iter().all(|level| is_accepted(level, accepted)),
        Value::String(text) => text == accepted,
        Value::Number(number) => {
            accepted.parse::<f64>().is_ok_and(|accepted| number.as_f64() == Some(accepted))
        }
        Value::Bool(flag) => accepted == if *flag { "true" } else { "false" },
        Value::Object(_) => false,
    }
}
