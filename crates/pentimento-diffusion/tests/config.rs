//! `config.json` of diffusers' U-Net, and the names and sizes that follow from it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::*;
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::unet::{Architecture, SampleSize, UnetConfig};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const CIFAR_CONFIG: &str = include_str!("fixtures/ddpm-cifar10-32.unet.config.json");

/// Name and shape of each tensor: a fixture's first line counts, the others read `name [sides]`.
fn listed(fixture: &str) -> (usize, BTreeMap<String, Vec<usize>>) {
    let mut lines = fixture.lines();
    let mut head = lines.next().unwrap().split(' ');
    let [tensors, word, count] = [0; 3].map(|_| head.next().unwrap());
    assert_eq!(word, "tensors");
    let shapes: BTreeMap<_, _> = lines
        .map(|line| {
            let (name, sides) = line.split_once(' ').unwrap();
            let sides = sides.trim_matches(['[', ']']).split(", ").map(|side| side.parse().unwrap());
            (name.to_string(), sides.collect())
        })
        .collect();
    assert_eq!(shapes.len(), tensors.parse::<usize>().unwrap());
    (count.parse().unwrap(), shapes)
}

fn check_names(config: &UnetConfig, fixture: &str) -> usize {
    let architecture = Architecture::new(config).unwrap();
    let (count, expected) = listed(fixture);
    let found: BTreeMap<String, Vec<usize>> =
        architecture.parameters().iter().map(|spec| (spec.name.clone(), spec.disk_shape.clone())).collect();
    assert_eq!(found.len(), architecture.parameters().len(), "no name twice");
    assert_eq!(found, expected);
    assert_eq!(architecture.parameter_count(), count);
    count
}

/// google/ddpm-cifar10-32: names, shapes and the 35.7 million parameters of its model card.
#[test]
fn names_and_shapes_of_ddpm_cifar10() {
    let (config, unknown) = UnetConfig::from_json(CIFAR_CONFIG, "config.json").unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(check_names(&config, include_str!("fixtures/ddpm-cifar10-32.tensors.txt")), 35_746_307);
    let scale_shift = UnetConfig { resnet_time_scale_shift: "scale_shift".into(), ..config };
    check_names(&scale_shift, include_str!("fixtures/unet_scale_shift.tensors.txt"));
}

#[test]
fn golden_configurations() {
    for case in &golden_cases() {
        let text = String::from_utf8(read(&format!("{case}/unet/config.json"))).unwrap();
        let (config, unknown) = UnetConfig::from_json(&text, "config.json").unwrap();
        assert!(unknown.is_empty(), "{case}: {unknown:?}");
        // Every value as diffusers wrote it; it writes whole numbers where a float is meant.
        let (ours, theirs): (Value, Value) =
            (serde_json::from_str(&config.to_json()).unwrap(), serde_json::from_str(&text).unwrap());
        for (key, value) in theirs.as_object().unwrap().iter().filter(|(key, _)| !key.starts_with('_')) {
            let same = ours[key] == *value || (value.is_number() && ours[key].as_f64() == value.as_f64());
            assert!(same, "{case}: `{key}` is {} instead of {value}", ours[key]);
        }
        let golden: Value = serde_json::from_slice(&read(&format!("{case}/golden.json"))).unwrap();
        assert_eq!(
            Architecture::new(&config).unwrap().parameter_count() as u64,
            golden["parameters"].as_u64().unwrap()
        );
    }
}

#[test]
fn a_written_configuration_is_read_back() {
    let config = UnetConfig {
        center_input_sample: true,
        time_embedding_dim: Some(20),
        freq_shift: 1.0,
        flip_sin_to_cos: false,
        mid_block_scale_factor: 2.0,
        downsample_padding: 0,
        dropout: 0.1,
        attn_norm_num_groups: Some(4),
        norm_eps: 1e-6,
        add_attention: false,
        ..tiny_config()
    };
    let (read, unknown) = UnetConfig::from_json(&config.to_json(), "config.json").unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(read, config);
}

/// A missing key has the default of `UNet2DModel.__init__`.
#[test]
fn missing_keys_have_the_defaults_of_diffusers() {
    let (config, _) = UnetConfig::from_json("{}", "config.json").unwrap();
    let written: Value = serde_json::from_str(&config.to_json()).unwrap();
    let expected = json!({
        "sample_size": null, "in_channels": 3, "out_channels": 3, "center_input_sample": false,
        "time_embedding_type": "positional", "time_embedding_dim": null, "freq_shift": 0.0, "flip_sin_to_cos": true,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        "mid_block_type": "UNetMidBlock2D",
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "block_out_channels": [224, 448, 672, 896], "layers_per_block": 2, "mid_block_scale_factor": 1.0,
        "downsample_padding": 1, "downsample_type": "conv", "upsample_type": "conv", "dropout": 0.0,
        "act_fn": "silu", "attention_head_dim": 8, "norm_num_groups": 32, "attn_norm_num_groups": null,
        "norm_eps": 1e-5, "resnet_time_scale_shift": "default", "add_attention": true, "class_embed_type": null,
        "num_class_embeds": null, "num_train_timesteps": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(written[key], *value, "`{key}`");
    }
    assert_eq!(
        written.as_object().unwrap().len(),
        expected.as_object().unwrap().len() + 2,
        "and two keys with _"
    );
}

/// The tiny configuration with some keys set.
fn changed(changes: &Value) -> Result<(UnetConfig, Vec<String>), DiffusionError> {
    let mut object: Value = serde_json::from_str(&tiny_config().to_json()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        object[key] = value.clone();
    }
    UnetConfig::from_json(&object.to_string(), "unet/config.json")
}

#[test]
fn unknown_keys_are_returned() {
    let (config, unknown) = changed(&json!({"wings": 2, "decay": 0.9999, "_name_or_path": "x"})).unwrap();
    assert_eq!(config, tiny_config());
    assert_eq!(unknown, ["wings"]);
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    for (field, value) in [
        ("time_embedding_type", json!("fourier")),
        ("time_embedding_type", json!("learned")),
        ("mid_block_type", json!(null)),
        ("mid_block_type", json!("UNetMidBlock2DCrossAttn")),
        ("downsample_type", json!("wavelet")),
        ("upsample_type", json!("wavelet")),
        ("act_fn", json!("gelu")),
        ("resnet_time_scale_shift", json!("ada_group")),
        ("class_embed_type", json!("identity")),
        ("num_class_embeds", json!(0)),
        ("downsample_padding", json!(2)),
        ("block_out_channels", json!([])),
        ("block_out_channels", json!([4, 7])),
        ("block_out_channels", json!([0, 8])),
        ("block_out_channels", json!([4, 8194])),
        ("time_embedding_dim", json!(0)),
        ("time_embedding_dim", json!(16_385)),
        ("down_block_types", json!(["DownBlock2D"])),
        ("down_block_types", json!(["DownBlock2D", "CrossAttnDownBlock2D"])),
        ("up_block_types", json!(["UpBlock2D", "UpBlock2D", "UpBlock2D"])),
        ("up_block_types", json!(["SkipUpBlock2D", "UpBlock2D"])),
        ("layers_per_block", json!(0)),
        ("layers_per_block", json!(65)),
        ("in_channels", json!(0)),
        ("out_channels", json!(0)),
        ("out_channels", json!(1025)),
        ("norm_num_groups", json!(0)),
        ("norm_eps", json!(0.0)),
        ("norm_eps", json!(-1e-5)),
        ("mid_block_scale_factor", json!(0.0)),
        ("attention_head_dim", json!(0)),
        ("attention_head_dim", json!(3)),
        ("freq_shift", json!(2.0)),
        ("attn_norm_num_groups", json!(0)),
        ("attn_norm_num_groups", json!(3)),
    ] {
        match changed(&json!({field: value})) {
            Err(DiffusionError::Config { file, field: named, value: shown, bound }) => {
                assert_eq!((file.as_str(), named.as_str()), ("unet/config.json", field), "{value}");
                assert!(!shown.is_empty() && !bound.is_empty());
            }
            other => panic!("`{field}` = {value}: {other:?}"),
        }
    }
    let error = changed(&json!({"act_fn": "gelu"})).unwrap_err();
    assert_eq!(error.to_string(), "unet/config.json: `act_fn` is `gelu`: supported are silu, swish");
}

/// Widths whose product with four wraps around.
#[test]
fn absurd_widths_are_refused() {
    for width in [usize::MAX, 1 << 62, (1 << 62) + 2] {
        let error = changed(&json!({"block_out_channels": [width, 8]})).unwrap_err();
        assert!(matches!(error, DiffusionError::Config { .. }), "{error}");
    }
}

#[test]
fn text_that_is_no_configuration() {
    for text in ["", "[]", "3"] {
        match UnetConfig::from_json(text, "unet/config.json") {
            Err(error @ DiffusionError::File { .. }) => {
                assert!(error.to_string().starts_with("unet/config.json: not a configuration"), "{error}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for (text, key) in [
        ("{\"in_channels\": \"three\"}", "in_channels"),
        ("{\"in_channels\": -1}", "in_channels"),
        ("{\"sample_size\": [32, 16, 8]}", "sample_size"),
        ("{\"sample_size\": \"32\"}", "sample_size"),
    ] {
        match UnetConfig::from_json(text, "unet/config.json") {
            Err(DiffusionError::Config { file, field, .. }) => {
                assert_eq!((file.as_str(), field.as_str()), ("unet/config.json", key));
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

/// diffusers writes one number for a square, and `[height, width]` for what is none.
#[test]
fn sizes_of_images_are_read_and_written_as_diffusers_writes_them() {
    for (written, height, width, again) in [
        (json!(32), 32, 32, json!(32)),
        (json!([32, 32]), 32, 32, json!(32)),
        (json!([8, 16]), 8, 16, json!([8, 16])),
    ] {
        let (config, _) = changed(&json!({"sample_size": written})).unwrap();
        assert_eq!(config.sample_size, Some(SampleSize { height, width }));
        let text: Value = serde_json::from_str(&config.to_json()).unwrap();
        assert_eq!(text["sample_size"], again);
    }
}

/// Newer configurations of other networks have a list with a number for each level.
#[test]
fn lists_of_one_number_for_all_levels() {
    let (config, unknown) =
        changed(&json!({"attention_head_dim": [4, 4], "layers_per_block": [1, 1], "norm_num_groups": [2]}))
            .unwrap();
    assert_eq!((config.attention_head_dim, config.layers_per_block, config.norm_num_groups), (Some(4), 1, 2));
    assert!(unknown.is_empty(), "{unknown:?}");
    for (key, value) in [("attention_head_dim", json!([2, 4])), ("layers_per_block", json!([]))] {
        let error = changed(&json!({key: value})).unwrap_err();
        let text = format!("unet/config.json: `{key}` is {value}: UNet2DModel has one number for all levels");
        assert_eq!(error.to_string(), text);
    }
}

/// The key, its value and what it must be.
#[test]
fn values_of_another_kind_are_told_in_words() {
    for (changes, text) in [
        (json!({"in_channels": "three"}), "`in_channels` is \"three\": it must be a whole number, 0 or more"),
        (json!({"in_channels": -1}), "`in_channels` is -1: it must be a whole number, 0 or more"),
        (json!({"norm_eps": null}), "`norm_eps` is null: it must be a number"),
        (json!({"add_attention": 1}), "`add_attention` is 1: it must be true or false"),
        (json!({"act_fn": ["silu"]}), "`act_fn` is [\"silu\"]: it must be a text"),
        (json!({"block_out_channels": 4}), "`block_out_channels` is 4: it must be a list"),
        (
            json!({"block_out_channels": [4, "x"]}),
            "`block_out_channels[1]` is \"x\": it must be a whole number, 0 or more",
        ),
        (json!({"sample_size": {}}), "`sample_size` is {}: it must be one number, or [height, width]"),
    ] {
        assert_eq!(changed(&changes).unwrap_err().to_string(), format!("unet/config.json: {text}"));
    }
}

/// Python's `json` writes numbers that are not finite; a key that nobody reads may have one.
#[test]
fn numbers_that_are_not_finite() {
    let text = "\u{feff}{\"in_channels\": 1, \"out_channels\": 1, \"wings\": -Infinity}";
    let (config, unknown) = UnetConfig::from_json(text, "config.json").unwrap();
    assert_eq!((config.in_channels, unknown), (1, vec!["wings".to_owned()]));
    let error = UnetConfig::from_json("{\"norm_eps\": NaN}", "config.json").unwrap_err();
    assert_eq!(error.to_string(), "config.json: `norm_eps` is \"NaN\": it must be a number");
}

proptest! {
    #![proptest_config(cases(400))]

    /// A damaged file is an error or a configuration that is valid; never a panic.
    #[test]
    fn damaged_configurations(changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..128), 1..6)) {
        let mut bytes = CIFAR_CONFIG.as_bytes().to_vec();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let text = String::from_utf8(bytes).unwrap();
        if let Ok((config, _)) = UnetConfig::from_json(&text, "config.json") {
            prop_assert!(Architecture::new(&config).is_ok());
        }
    }
}

#[test]
fn sizes_of_images() {
    let config = UnetConfig {
        block_out_channels: vec![4, 4, 4],
        down_block_types: vec!["DownBlock2D".into(); 3],
        up_block_types: vec!["UpBlock2D".into(); 3],
        ..tiny_config()
    };
    config.validate("model").unwrap();
    for (height, width) in [(4, 4), (8, 12), (28, 28)] {
        config.check_image(height, width, 1).unwrap();
    }
    for (height, width) in [(6, 8), (8, 6), (0, 8), (8, 0), (1, 1), (14, 14)] {
        let error = config.check_image(height, width, 1).unwrap_err();
        let text = format!(
            "images of {height}x{width} with 1 channels: the network halves its images 2 times, so height and width must \
             be multiples of 4"
        );
        assert_eq!(error.to_string(), text);
    }
    let error = config.check_image(8, 8, 3).unwrap_err();
    assert!(error.to_string().contains("with 3 channels: the network takes 1 channels"), "{error}");
    // A configuration that no one has checked.
    let empty = UnetConfig { block_out_channels: Vec::new(), ..config };
    assert!(empty.check_image(3, 3, 1).is_ok());
    assert!(Architecture::new(&empty).is_err());
}
