//! `config.json` of `UNet2DConditionModel`: what published files describe, and what is refused by name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::tiny_config;
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use pentimento_diffusion::unet::{Architecture, UnetConfig};
use serde_json::{Value, json};

fn read(config: &Value) -> Result<UnetConfig, String> {
    match UnetConfig::from_json(&config.to_string(), "unet/config.json") {
        Ok((config, unknown)) => {
            assert!(unknown.is_empty(), "{unknown:?}");
            Ok(config)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Stable Diffusion 1.5, with the keys of its file.
fn stable_diffusion() -> Value {
    json!({
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu",
        "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": false,
        "cross_attention_dim": 768, "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0,
        "down_block_types":
            ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-05,
        "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    })
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut config = stable_diffusion();
    for (key, value) in changes {
        config[*key] = value.clone();
    }
    config
}

/// Numbers of parameters and of tensors that diffusers counts for them.
#[test]
fn published_networks() {
    let second = [
        ("attention_head_dim", json!([5, 10, 20, 20])),
        ("cross_attention_dim", json!(1024)),
        ("use_linear_projection", json!(true)),
        ("upcast_attention", json!(true)),
    ];
    let of_coco = [
        ("block_out_channels", json!([128, 256, 256, 256])),
        ("cross_attention_dim", json!(1024)),
        ("sample_size", json!(16)),
        ("only_cross_attention", json!(false)),
        ("num_class_embeds", Value::Null),
    ];
    for (changes, parameters, tensors) in
        [(&[][..], 859_520_964, 686), (&second, 865_910_724, 686), (&of_coco, 57_373_316, 684)]
    {
        let config = read(&with(changes)).unwrap();
        let architecture = Architecture::new(&config).unwrap();
        let names: std::collections::BTreeSet<_> =
            architecture.parameters().iter().map(|spec| &spec.name).collect();
        assert_eq!((architecture.parameter_count(), names.len()), (parameters, tensors), "{changes:?}");
        assert_eq!(read(&serde_json::from_str(&config.to_json()).unwrap()).unwrap(), config);
    }
    // A missing key has the default of `UNet2DConditionModel.__init__`, which is Stable Diffusion 1 over wider texts.
    let defaults = read(&json!({ "_class_name": "UNet2DConditionModel" })).unwrap();
    assert_eq!(
        defaults,
        read(&with(&[("cross_attention_dim", json!(1280)), ("sample_size", Value::Null)])).unwrap()
    );
}

/// `attention_head_dim` counts heads, whatever its name says, and widths that they do not divide are refused.
#[test]
fn heads_are_counted() {
    let cross = |config: &Value| read(config).unwrap().cross_attention.unwrap();
    assert_eq!(cross(&stable_diffusion()).heads, [8; 4]);
    assert_eq!(cross(&with(&[("attention_head_dim", json!([5, 10, 20, 20]))])).heads, [5, 10, 20, 20]);
    for (value, expected) in [
        (json!(7), "`attention_head_dim` is 7: a divisor of the width 320"),
        (json!(0), "`attention_head_dim` is 0: "),
        (json!([8, 8]), "`attention_head_dim` is [8, 8]: one number, or one for each of 4 levels"),
        (json!("8"), "`attention_head_dim` is \"8\": it must be one number, or one for each level"),
        (Value::Null, "`attention_head_dim` is null: "),
    ] {
        let error = read(&with(&[("attention_head_dim", value)])).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = read(&with(&[("cross_attention_dim", json!([768, 768, 768, 1024]))])).unwrap_err();
    assert!(error.contains("one width for all levels"), "{error}");
    let error = read(&with(&[("transformer_layers_per_block", json!([1, 0, 1, 1]))])).unwrap_err();
    assert!(error.contains("`transformer_layers_per_block` is 0: 1 to 64"), "{error}");
}

#[test]
fn other_networks_are_refused_by_name() {
    for (key, value) in [
        ("addition_embed_type", json!("text_time")),
        ("attention_type", json!("gated")),
        ("class_embeddings_concat", json!(true)),
        ("conv_in_kernel", json!(5)),
        ("conv_out_kernel", json!(1)),
        ("cross_attention_norm", json!("layer_norm")),
        ("dual_cross_attention", json!(true)),
        ("encoder_hid_dim", json!(2048)),
        ("encoder_hid_dim_type", json!("text_proj")),
        ("mid_block_only_cross_attention", json!(true)),
        ("num_attention_heads", json!(8)),
        ("only_cross_attention", json!([false, true, true, true])),
        ("resnet_out_scale_factor", json!(0.5)),
        ("resnet_skip_time_act", json!(true)),
        ("reverse_transformer_layers_per_block", json!([1, 1, 1, 1])),
        ("time_cond_proj_dim", json!(256)),
        ("time_embedding_act_fn", json!("silu")),
        ("time_embedding_type", json!("fourier")),
        ("timestep_post_act", json!("silu")),
        ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn")),
        ("mid_block_type", Value::Null),
        (
            "down_block_types",
            json!(["SimpleCrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"]),
        ),
        ("down_block_types", json!(["AttnDownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D"])),
        ("up_block_types", json!(["UpBlock2D", "ResnetUpsampleBlock2D", "UpBlock2D", "UpBlock2D"])),
        ("class_embed_type", json!("projection")),
        ("num_class_embeds", json!(1000)),
        ("act_fn", json!("gelu")),
    ] {
        let error = read(&with(&[(key, value)])).unwrap_err();
        assert!(error.starts_with(&format!("unet/config.json: `{key}` is ")), "{key}: {error}");
    }
    // The same keys as they stand in files where they change nothing.
    let neutral = [
        ("addition_embed_type", Value::Null),
        ("addition_embed_type_num_heads", json!(64)),
        ("addition_time_embed_dim", Value::Null),
        ("attention_type", json!("default")),
        ("conv_in_kernel", json!(3)),
        ("dual_cross_attention", json!(false)),
        ("only_cross_attention", json!([false, false, false, false])),
        ("projection_class_embeddings_input_dim", Value::Null),
        ("resnet_out_scale_factor", json!(1.0)),
        ("resnet_time_scale_shift", json!("default")),
        ("upcast_attention", Value::Null),
        ("layers_per_block", json!([2, 2, 2, 2])),
        ("transformer_layers_per_block", json!(1)),
        ("use_linear_projection", json!(false)),
    ];
    assert_eq!(read(&with(&neutral)).unwrap(), read(&stable_diffusion()).unwrap());
    let error = read(&with(&[("layers_per_block", json!([2, 2, 2, 3]))])).unwrap_err();
    assert!(error.contains("UNet2DConditionModel has one number for all levels"), "{error}");
}

/// Sides that do not halve evenly pass, since images take the size of what they are joined with on their way back.
#[test]
fn images_of_odd_sides() {
    let config = read(&stable_diffusion()).unwrap();
    for (height, width) in [(64, 64), (7, 10), (1, 1), (33, 96)] {
        config.check_image(height, width, 4).unwrap();
    }
    assert!(config.check_image(0, 8, 4).is_err() && config.check_image(8, 8, 3).is_err());
    // 129 x 128 pixels are more than attention takes.
    let error = config.check_image(129, 128, 4).unwrap_err().to_string();
    assert!(error.contains("level 0 of the network attends over 16512 pixels"), "{error}");
    let uneven = read(&with(&[("downsample_padding", json!(0))])).unwrap();
    assert!(uneven.check_image(7, 10, 4).is_err());
    uneven.check_image(8, 16, 4).unwrap();
}

#[test]
fn conditions_that_a_network_does_not_know() {
    let text = |width| Condition::Text(TextEmbedding::new(vec![0.5; 77 * width], width));
    let over_text = read(&stable_diffusion()).unwrap();
    let with_classes = UnetConfig { num_class_embeds: Some(3), ..tiny_config() };
    let refused = |config: &UnetConfig, condition: &Condition| {
        config.check_condition(condition).unwrap_err().to_string()
    };
    over_text.check_condition(&text(768)).unwrap();
    over_text.check_condition(&over_text.any_condition()).unwrap();
    with_classes.check_condition(&Condition::Class(2)).unwrap();
    with_classes.check_condition(&with_classes.any_condition()).unwrap();
    tiny_config().check_condition(&Condition::None).unwrap();
    assert_eq!(tiny_config().any_condition(), Condition::None);
    for (error, expected) in [
        (refused(&over_text, &Condition::None), "`samples.prompts` is absent: a text"),
        (refused(&over_text, &Condition::Class(1)), "`samples.class` is 1: left out"),
        (refused(&over_text, &text(1024)), "1024 values for each token: 768 values, as cross_attention_dim"),
        (refused(&tiny_config(), &text(768)), "`samples.prompts` is set: left out"),
        (refused(&tiny_config(), &Condition::Class(0)), "`samples.class` is 0: left out"),
        (refused(&with_classes, &Condition::Class(3)), "`samples.class` is 3: below 3"),
        (refused(&with_classes, &Condition::None), "`samples.class` is absent"),
        (refused(&with_classes, &text(768)), "`samples.prompts` is set: left out"),
        (over_text.check_class(None).unwrap_err().to_string(), "`samples.prompts` is absent"),
    ] {
        assert!(error.contains(expected), "{error}");
    }
}
