//! Pipelines with an autoencoder and a text encoder, of which the network that removes noise is opened.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::latent_cases;
use pentimento_diffusion::checkpoint::{CheckpointFiles, Selection};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

/// A copy of the files of a pipeline over texts, without those of its other parts.
fn copied() -> (tempfile::TempDir, PathBuf) {
    let case = latent_cases().into_iter().find(|case| case.golden.has("text.hidden")).unwrap();
    let to = tempfile::tempdir().unwrap();
    for file in ["model_index.json", "unet/config.json", WEIGHTS, "scheduler/scheduler_config.json"] {
        let target = to.path().join(file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(Path::new(&case.name).join(file), target).unwrap();
    }
    let folder = to.path().to_path_buf();
    (to, folder)
}

fn change(folder: &Path, changes: &[(&str, Value)]) {
    let file = folder.join("unet/config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    for (key, value) in changes {
        config[*key] = value.clone();
    }
    // Not over the file, which has the permissions of what it was copied from.
    fs::remove_file(&file).unwrap();
    fs::write(file, config.to_string()).unwrap();
}

fn denoiser(folder: &Path, variant: Option<&str>) -> Result<Vec<Vec<f32>>, String> {
    let selection = Selection { variant: variant.map(String::from), ..Selection::default() };
    let files = CheckpointFiles::find_denoiser(folder, &selection).map_err(|error| error.to_string())?;
    files.open().map(|checkpoint| checkpoint.values_in_f32()).map_err(|error| error.to_string())
}

/// Who asks for a network that makes pictures by itself is not given one that makes latents or waits for a text.
#[test]
fn a_part_of_a_pipeline_is_not_the_whole() {
    let (_kept, folder) = copied();
    let find = |folder: &Path| {
        CheckpointFiles::find(folder, &Selection::default()).map(drop).map_err(|error| error.to_string())
    };
    let whole = find(&folder).unwrap_err();
    assert!(whole.contains("model_index.json: the pipeline has a `vae`"), "{whole}");
    let alone = find(&folder.join("unet")).unwrap_err();
    assert!(alone.contains("config.json: `_class_name` is \"UNet2DConditionModel\""), "{alone}");
    assert!(alone.contains("supported is UNet2DModel"), "{alone}");
    denoiser(&folder, None).unwrap();
    denoiser(&folder.join("unet"), None).unwrap();
}

#[test]
fn networks_that_take_more_than_noise_are_named() {
    let (_kept, folder) = copied();
    for (channels, expected) in [
        (9, "fills a hole in a picture (inpainting)"),
        (8, "changes pictures as a text says (InstructPix2Pix)"),
        (7, "enlarges pictures"),
        (5, "makes pictures of a depth map"),
    ] {
        change(&folder, &[("in_channels", json!(channels))]);
        let error = denoiser(&folder, None).unwrap_err();
        let start = format!("config.json: `in_channels` is {channels}: supported is 4");
        assert!(error.contains(&start) && error.contains(expected), "{error}");
    }
    change(&folder, &[("in_channels", json!(6))]);
    let error = denoiser(&folder, None).unwrap_err();
    assert!(error.contains("`out_channels` is 4: fewer than in_channels, 6"), "{error}");
    change(&folder, &[("in_channels", json!(4)), ("out_channels", json!(8))]);
    let error = denoiser(&folder, None).unwrap_err();
    assert!(error.contains("learned a variance"), "{error}");
    change(&folder, &[("out_channels", json!(4)), ("addition_embed_type", json!("text_time"))]);
    let error = denoiser(&folder, None).unwrap_err();
    assert!(error.contains("`addition_embed_type` is \"text_time\"") && error.contains("XL"), "{error}");
}

/// The file without a name is taken whatever lies beside it; where there are only named ones, a person says which.
#[test]
fn variants() {
    let (_kept, folder) = copied();
    let values = denoiser(&folder, None).unwrap();
    let named = |variant: &str| folder.join(format!("unet/diffusion_pytorch_model.{variant}.safetensors"));
    fs::write(named("fp16"), b"not looked at").unwrap();
    assert_eq!(denoiser(&folder, None).unwrap(), values);
    let error = denoiser(&folder, Some("fp16")).unwrap_err();
    assert!(error.contains("fp16.safetensors"), "{error}");
    fs::rename(folder.join(WEIGHTS), named("non_ema")).unwrap();
    let error = denoiser(&folder, None).unwrap_err();
    assert!(error.contains("only in variants: fp16, non_ema"), "{error}");
    assert_eq!(denoiser(&folder, Some("non_ema")).unwrap(), values);
}

/// A tensor that is not there is named, and so is one of another network.
#[test]
fn other_weights() {
    let (_kept, folder) = copied();
    change(&folder, &[("cross_attention_dim", json!(48))]);
    let error = denoiser(&folder, None).unwrap_err();
    assert!(error.contains("attn2.to_k.weight"), "{error}");
    change(&folder, &[("cross_attention_dim", json!(32)), ("transformer_layers_per_block", json!(2))]);
    let error = denoiser(&folder, None).unwrap_err();
    assert!(error.contains("transformer_blocks.1."), "{error}");
}
