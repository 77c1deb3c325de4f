//! What the tensors of an adapter are called.

use std::fmt;

/// How an adapter's file names its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterForm {
    /// `base_model.model.MODULE.lora_A.weight`, with `adapter_config.json`: peft.
    Peft,
    /// `unet.MODULE.lora_A.weight`: diffusers since 2024.
    Diffusers,
    /// `unet.MODULE.lora.down.weight`: diffusers of 2023, and its training scripts after that.
    DiffusersOlder,
    /// `ATTENTION.processor.to_q_lora.down.weight`: diffusers until the middle of 2023.
    AttentionProcessors,
    /// `lora_unet_MODULE_WITH_UNDERSCORES.lora_down.weight` and `.alpha`: sd-scripts of kohya.
    Kohya,
}

impl fmt::Display for AdapterForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Peft => "peft",
            Self::Diffusers => "diffusers",
            Self::DiffusersOlder => "diffusers in 2023",
            Self::AttentionProcessors => "attention processors of diffusers before 2023-07",
            Self::Kohya => "kohya's sd-scripts",
        })
    }
}

/// A text encoder of a pipeline; SDXL has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TextEncoder {
    /// `text_encoder`.
    First,
    /// `text_encoder_2`.
    Second,
}

/// Which network of a pipeline a tensor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Network {
    Unet,
    Text(TextEncoder),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// A.
    Down,
    /// B.
    Up,
    Alpha,
}

/// What the name of a tensor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) network: Network,
    /// The layer, as the file has it: kohya's have `_` for `.`.
    pub(super) module: String,
    pub(super) part: Part,
    /// None for alpha, which several forms have.
    pub(super) form: Option<AdapterForm>,
}

/// Pieces of names of what is not done, and what each is.
const NOT_DONE: [(&str, &str); 10] = [
    ("dora_scale", "DoRA, which also scales each row of a layer"),
    ("lora_magnitude_vector", "DoRA, which also scales each row of a layer"),
    ("lokr_", "LoKr, whose parts are Kronecker products"),
    ("hada_", "LoHa, whose parts are products by element"),
    ("lora_mid", "a convolution in three parts (LoCon by Tucker decomposition)"),
    ("lora_B.bias", "a bias beside B"),
    ("lora.up.bias", "a bias beside B"),
    ("lora_up.bias", "a bias beside B"),
    ("lora_embedding_", "a part for a table of tokens"),
    ("transformer.", "a part for a diffusion transformer, which is no U-Net"),
];

/// How names of the first code of Stable Diffusion begin, which trainers kept for SDXL.
const OF_LDM: [&str; 3] = ["lora_unet_input_blocks_", "lora_unet_middle_block_", "lora_unet_output_blocks_"];

const PREFIXES: [(&str, Network); 8] = [
    ("base_model.model.", Network::Unet),
    ("unet.", Network::Unet),
    ("text_encoder.", Network::Text(TextEncoder::First)),
    ("text_encoder_2.", Network::Text(TextEncoder::Second)),
    ("lora_unet_", Network::Unet),
    ("lora_te_", Network::Text(TextEncoder::First)),
    ("lora_te1_", Network::Text(TextEncoder::First)),
    ("lora_te2_", Network::Text(TextEncoder::Second)),
];

const ENDINGS: [(&str, Part, Option<AdapterForm>); 11] = [
    (".lora_A.weight", Part::Down, Some(AdapterForm::Diffusers)),
    (".lora_B.weight", Part::Up, Some(AdapterForm::Diffusers)),
    (".lora.down.weight", Part::Down, Some(AdapterForm::DiffusersOlder)),
    (".lora.up.weight", Part::Up, Some(AdapterForm::DiffusersOlder)),
    // Of text encoders.
    (".lora_linear_layer.down.weight", Part::Down, Some(AdapterForm::DiffusersOlder)),
    (".lora_linear_layer.up.weight", Part::Up, Some(AdapterForm::DiffusersOlder)),
    ("_lora.down.weight", Part::Down, Some(AdapterForm::AttentionProcessors)),
    ("_lora.up.weight", Part::Up, Some(AdapterForm::AttentionProcessors)),
    (".lora_down.weight", Part::Down, Some(AdapterForm::Kohya)),
    (".lora_up.weight", Part::Up, Some(AdapterForm::Kohya)),
    (".alpha", Part::Alpha, None),
];

/// Reads the name of a tensor; the error is what is wrong with it.
pub(super) fn named(name: &str) -> Result<Named, String> {
    if let Some((piece, what)) = NOT_DONE.iter().find(|(piece, _)| name.contains(piece)) {
        return Err(format!("`{piece}` is {what}; supported are A and B of LoRA"));
    }
    if OF_LDM.iter().any(|prefix| name.starts_with(prefix)) {
        let problem = "it has the names of the first code of Stable Diffusion, which trainers keep for SDXL, and networks of SDXL \
                       are not supported";
        return Err(problem.into());
    }
    let (prefix, network) =
        PREFIXES.into_iter().find(|(prefix, _)| name.starts_with(prefix)).unwrap_or(("", Network::Unet));
    let rest = &name[prefix.len()..];
    let found = ENDINGS.into_iter().find_map(|(ending, part, form)| {
        let module = rest.strip_suffix(ending)?;
        (!module.is_empty()).then_some((module, part, form))
    });
    let Some((module, part, form)) = found else {
        return Err("is no part of an adapter in a form that is known".into());
    };
    let form = match form {
        Some(AdapterForm::Diffusers) if prefix == "base_model.model." => Some(AdapterForm::Peft),
        other => other,
    };
    let module = match form {
        Some(AdapterForm::AttentionProcessors) => of_processor(module),
        _ => module.into(),
    };
    Ok(Named { network, module, part, form })
}

/// The layer of `ATTENTION.processor.to_q`.
fn of_processor(name: &str) -> String {
    match name.rsplit_once(".processor.") {
        Some((attention, "to_out")) => format!("{attention}.to_out.0"),
        Some((attention, layer)) => format!("{attention}.{layer}"),
        None => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_form() {
        let unet = |module: &str, part, form| Named {
            network: Network::Unet,
            module: module.into(),
            part,
            form: Some(form),
        };
        let cases = [
            ("base_model.model.a.to_q.lora_A.weight", unet("a.to_q", Part::Down, AdapterForm::Peft)),
            ("unet.a.to_q.lora_B.weight", unet("a.to_q", Part::Up, AdapterForm::Diffusers)),
            ("a.to_q.lora_B.weight", unet("a.to_q", Part::Up, AdapterForm::Diffusers)),
            ("unet.a.to_out.0.lora.up.weight", unet("a.to_out.0", Part::Up, AdapterForm::DiffusersOlder)),
            (
                "a.attn1.processor.to_out_lora.down.weight",
                unet("a.attn1.to_out.0", Part::Down, AdapterForm::AttentionProcessors),
            ),
            (
                "unet.a.attn1.processor.to_k_lora.up.weight",
                unet("a.attn1.to_k", Part::Up, AdapterForm::AttentionProcessors),
            ),
            ("lora_unet_a_to_q.lora_up.weight", unet("a_to_q", Part::Up, AdapterForm::Kohya)),
            (
                "lora_te2_text_model_q_proj.alpha",
                Named {
                    network: Network::Text(TextEncoder::Second),
                    module: "text_model_q_proj".into(),
                    part: Part::Alpha,
                    form: None,
                },
            ),
            (
                "text_encoder.a.q_proj.lora_linear_layer.down.weight",
                Named {
                    network: Network::Text(TextEncoder::First),
                    ..unet("a.q_proj", Part::Down, AdapterForm::DiffusersOlder)
                },
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(named(name), Ok(expected), "{name}");
        }
        for name in [".alpha", "unet.lora_A.weight", "unet.a.to_q.weight", "lora_unet_a.diff", ""] {
            assert!(named(name).is_err(), "{name}");
        }
    }
}
