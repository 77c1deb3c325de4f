//! Folders that are damaged, of another kind, or do not belong together: each is refused, and the error says where and what.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use pentimento_encoders::autoencoder::{Autoencoder, AutoencoderConfig};
use pentimento_encoders::{EncoderError, Encoders, PartFiles};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

const WEIGHTS: &str = "vae/diffusion_pytorch_model.safetensors";

/// A pipeline with a text encoder of this activation.
fn pipeline(activation: &str) -> TempDir {
    let has = |case: &Path| {
        std::fs::read_to_string(case.join("text_encoder/config.json"))
            .is_ok_and(|text| text.contains(&format!("\"hidden_act\": \"{activation}\"")))
    };
    let case =
        golden_cases().into_iter().find(|case| has(case) && case.join("tokenizer/merges.txt").is_file());
    copy_of(&case.unwrap())
}

fn refused(folder: &TempDir) -> EncoderError {
    match Encoders::open(folder.path(), None) {
        Ok(_) => panic!("was opened"),
        Err(error) => error,
    }
}

/// The error, without the path of the folder.
fn said(folder: &TempDir) -> String {
    refused(folder).to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[track_caller]
fn assert_says(folder: &TempDir, parts: &[&str]) {
    let said = said(folder);
    for part in parts {
        assert!(said.contains(part), "{said}: does not say {part:?}");
    }
}

#[test]
fn weights_that_are_no_numbers() {
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let folder = pipeline("quick_gelu");
        let path = folder.path().join(WEIGHTS);
        let mut tensors = tensors(&path);
        tensors.get_mut("encoder.mid_block.attentions.0.to_q.weight").unwrap().1[3] = value;
        write_tensors(&path, &tensors);
        let expected = format!(
            "{WEIGHTS}: tensor `encoder.mid_block.attentions.0.to_q.weight`: value 3 is {name}, not a finite number"
        );
        assert_eq!(said(&folder), expected);
    }
}

#[test]
fn tensors_that_are_missing_or_of_another_network() {
    let folder = pipeline("gelu");
    let path = folder.path().join(WEIGHTS);
    let stock = tensors(&path);
    let mut changed = stock.clone();
    changed.remove("quant_conv.bias");
    write_tensors(&path, &changed);
    assert_eq!(said(&folder), format!("{WEIGHTS}: tensor `quant_conv.bias`: is missing"));
    write_tensors(&path, &stock);
    edit(&folder.path().join("vae/config.json"), |config| {
        config.insert("use_quant_conv".into(), false.into());
    });
    assert_says(&folder, &[WEIGHTS, "2 in the file that it does not have", "quant_conv.bias"]);
    // What is passed over is passed over in its own place alone.
    let folder = pipeline("gelu");
    let path = folder.path().join("text_encoder/model.safetensors");
    let mut changed = tensors(&path);
    let ids = changed.remove("text_model.embeddings.position_ids").unwrap();
    changed.insert("text_model.encoder.more".into(), ids);
    write_tensors(&path, &changed);
    assert_says(&folder, &["text_encoder/model.safetensors", "text_model.encoder.more", "not part of"]);
}

#[test]
fn configurations_by_field_value_and_bound() {
    let cases: [(&str, Value, &[&str]); 20] = [
        ("_class_name", json!("AutoencoderTiny"), &["AutoencoderTiny", "AutoencoderKL and VQModel"]),
        (
            "down_block_types",
            json!(["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]),
            &["AttnDown", "supported is"],
        ),
        ("up_block_types", json!(["UpDecoderBlock2D"]), &["1 blocks", "2"]),
        ("block_out_channels", json!([4, 7]), &["7", "multiples of norm_num_groups = 2"]),
        ("block_out_channels", json!([]), &["0 levels", "1 to 16"]),
        ("layers_per_block", json!(0), &["0", "1 to 64"]),
        ("layers_per_block", json!("two"), &["\"two\"", "whole number"]),
        ("latent_channels", json!(0), &["0", "1 to 1024"]),
        ("norm_num_groups", json!(0), &["at least 1"]),
        ("act_fn", json!("mish"), &["mish", "silu"]),
        ("scaling_factor", json!(0.0), &["positive"]),
        ("scaling_factor", json!("NaN"), &["NaN", "number"]),
        ("latents_mean", json!([0.1, 0.2, 0.3, 0.4]), &["0.1", "one factor"]),
        ("latents_std", json!([0.1]), &["0.1", "one factor"]),
        ("mid_block_add_attention", json!(3), &["3", "true or false"]),
        ("norm_type", json!("spatial"), &["spatial", "group"]),
        ("num_vq_embeddings", json!(0), &["0", "1 to"]),
        ("vq_embed_dim", json!(0), &["0", "1 to 1024"]),
        ("in_channels", json!(-3), &["-3", "whole number"]),
        ("out_channels", json!(1e9), &["number"]),
    ];
    for (field, value, parts) in cases {
        let of_vq = ["norm_type", "num_vq_embeddings", "vq_embed_dim"].contains(&field);
        let mut object = json!({
            "_class_name": if of_vq { "VQModel" } else { "AutoencoderKL" },
            "block_out_channels": [4, 8], "norm_num_groups": 2,
            "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
            "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
        });
        assert!(AutoencoderConfig::from_json(&object.to_string(), "x").is_ok());
        object[field] = value;
        let said = AutoencoderConfig::from_json(&object.to_string(), "config.json").unwrap_err().to_string();
        assert!(said.starts_with(&format!("config.json: `{field}` is ")), "{said}");
        for part in parts {
            assert!(said.contains(part), "{said}: does not say {part:?}");
        }
    }
}

/// latent.md, 3: diffusers' default for one kind, and what the old networks of the other were trained with.
#[test]
fn what_an_absent_scaling_factor_means() {
    let config = |class: &str| {
        AutoencoderConfig::from_json(&json!({"_class_name": class, "later_key": 1}).to_string(), "x").unwrap()
    };
    let (kl, vq) = (config("AutoencoderKL"), config("VQModel"));
    assert_eq!((kl.scaling_factor(), kl.scaling_is_assumed()), (0.18215, false));
    assert_eq!((vq.scaling_factor(), vq.scaling_is_assumed()), (1.0, true));
    assert_eq!((kl.latent_channels(), vq.latent_channels()), (4, 3));
    assert_eq!(kl.unknown_keys, ["later_key"]);
}

#[test]
fn sizes_of_pictures() {
    let folder = pipeline("gelu");
    let Autoencoder::Kl(autoencoder) = Encoders::open(folder.path(), None).unwrap().autoencoder else {
        panic!()
    };
    let said = autoencoder.encode(&[0.0; 15 * 16 * 3], 15, 16).unwrap_err().to_string();
    assert!(said.contains("15x16") && said.contains("multiples of 2"), "{said}");
    let said = autoencoder.decode(&[], 200, 200).unwrap_err().to_string();
    assert!(said.contains("40000 pixels") && said.contains("16384"), "{said}");
    assert!(autoencoder.decode(&[], 0, 4).is_err());
}

#[test]
fn a_tokenizer_of_another_network() {
    let (first, second) = (pipeline("quick_gelu"), pipeline("gelu"));
    for (encoder, other, expected) in [
        (&second, &first, ["gelu", "`<|endoftext|>`, number 574", "number 0"]),
        (&first, &second, ["quick_gelu", "`!`, number 0", "prompt's end"]),
    ] {
        let folder = copy_of(encoder.path());
        std::fs::remove_dir_all(folder.path().join("tokenizer")).unwrap();
        std::fs::create_dir(folder.path().join("tokenizer")).unwrap();
        for entry in std::fs::read_dir(other.path().join("tokenizer")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path().join("tokenizer").join(entry.file_name())).unwrap();
        }
        assert!(matches!(refused(&folder), EncoderError::OtherPadding { .. }));
        assert_says(&folder, &expected);
    }
    // A token that was added, and an encoder without its embedding.
    let folder = pipeline("gelu");
    std::fs::write(folder.path().join("tokenizer/added_tokens.json"), r#"{"<sks>": 575}"#).unwrap();
    assert!(matches!(refused(&folder), EncoderError::UnknownToken { number: 575, vocabulary: 575, .. }));
    assert_says(&folder, &["tokenizer", "`<sks>`", "575", "text_encoder/config.json"]);
}

#[test]
fn tokenizers_that_are_cut_short() {
    let merges = "tokenizer/merges.txt";
    let stock = std::fs::read_to_string(pipeline("gelu").path().join(merges)).unwrap();
    for length in
        (0..stock.trim_end().len()).step_by(7).chain(stock.trim_end().len() - 3..stock.trim_end().len())
    {
        let folder = pipeline("gelu");
        std::fs::write(folder.path().join(merges), &stock.as_bytes()[..length]).unwrap();
        assert_says(&folder, &[merges]);
    }
    let folder = pipeline("gelu");
    std::fs::write(folder.path().join(merges), stock.lines().take(20).collect::<Vec<_>>().join("\n"))
        .unwrap();
    assert_says(&folder, &[merges, "no merge makes", "cut short"]);
    std::fs::remove_file(folder.path().join(merges)).unwrap();
    assert_says(&folder, &[merges, "does not exist"]);

    let vocabulary = "tokenizer/vocab.json";
    type Change = dyn Fn(&mut serde_json::Map<String, Value>);
    let edits: [(&Change, &[&str]); 4] = [
        (&|all| drop(all.remove("an")), &["merges.txt", "`an`", "not in the vocabulary"]),
        (&|all| drop(all.remove("Z</w>")), &["`Z</w>`", "not in the vocabulary"]),
        (&|all| drop(all.insert("an".into(), json!(-1))), &[vocabulary, "`an` is -1", "below 2^32"]),
        (&|all| drop(all.insert("an".into(), json!(5))), &[vocabulary, "same number"]),
    ];
    for (change, parts) in edits {
        let folder = pipeline("gelu");
        edit(&folder.path().join(vocabulary), change);
        assert_says(&folder, parts);
    }
    let folder = pipeline("gelu");
    edit(&folder.path().join(vocabulary), |all| drop(all.remove("<|endoftext|>")));
    assert_says(&folder, &["`<|endoftext|>`", "not in the vocabulary"]);
}

#[test]
fn tokenizers_of_another_kind() {
    let folder = pipeline("gelu");
    edit(&folder.path().join("tokenizer/tokenizer_config.json"), |config| {
        config.insert("tokenizer_class".into(), "T5Tokenizer".into());
    });
    assert_says(
        &folder,
        &["tokenizer/tokenizer_config.json", "`tokenizer_class`", "T5Tokenizer", "CLIPTokenizer"],
    );
    let only_whole = |change: &dyn Fn(&mut Value)| {
        let folder = copy_of(&case_with("tokenizer/tokenizer.json"));
        for name in ["vocab.json", "merges.txt"] {
            std::fs::remove_file(folder.path().join("tokenizer").join(name)).unwrap();
        }
        edit(&folder.path().join("tokenizer/tokenizer.json"), |whole| change(&mut whole["model"]));
        folder
    };
    assert!(Encoders::open(only_whole(&|_| ()).path(), None).is_ok());
    let folder = only_whole(&|model| model["type"] = "Unigram".into());
    assert_says(&folder, &["tokenizer.json", "`model.type`", "Unigram", "BPE"]);
    let folder = only_whole(&|model| model["end_of_word_suffix"] = Value::Null);
    assert_says(&folder, &["`model.end_of_word_suffix`", "null", "</w>"]);
    let folder = only_whole(&|model| model["merges"][4] = json!(["a"]));
    assert_says(&folder, &["`model.merges[4]`", "[\"a\"]"]);
    let folder = only_whole(&|model| drop(model["merges"].as_array_mut().unwrap().drain(30..)));
    assert_says(&folder, &["tokenizer.json", "no merge makes"]);
}

#[test]
fn text_encoders_of_another_kind() {
    let cases: [(&str, Value, &str); 7] = [
        ("model_type", json!("t5"), "clip_text_model"),
        ("hidden_act", json!("gelu_new"), "quick_gelu"),
        ("num_attention_heads", json!(5), "divide hidden_size, 32"),
        ("layer_norm_eps", json!(0), "positive"),
        ("max_position_embeddings", json!(1), "2 to"),
        ("vocab_size", json!(null), "whole number"),
        ("num_hidden_layers", json!(0), "1 to 256"),
    ];
    for (field, value, bound) in cases {
        let folder = pipeline("gelu");
        edit(&folder.path().join("text_encoder/config.json"), |config| {
            drop(config.insert(field.into(), value))
        });
        assert_says(&folder, &["text_encoder/config.json", &format!("`{field}`"), bound]);
    }
    let folder = pipeline("gelu");
    let text = Encoders::open(folder.path(), None).unwrap().text.unwrap();
    let said = text.embeddings(&["a"], 2).unwrap_err().to_string();
    assert!(said.contains("clip_skip is 2") && said.contains("below 2"), "{said}");
}

#[test]
fn pipelines_of_another_kind() {
    let folder = pipeline("gelu");
    let index = folder.path().join("model_index.json");
    edit(&index, |index| {
        drop(index.insert("text_encoder_2".into(), json!(["transformers", "CLIPTextModel"])))
    });
    assert_says(&folder, &["`text_encoder_2`", "`text_encoder` alone"]);
    edit(&index, |index| {
        index.insert("text_encoder_2".into(), json!([null, null]));
        index.insert("vae".into(), json!([null, null]));
    });
    assert_says(&folder, &["neither a `vae` nor a `vqvae`"]);
    edit(&index, |index| drop(index.insert("vqvae".into(), json!(["diffusers", "VQModel"]))));
    assert_says(&folder, &["vqvae/config.json", "does not exist"]);

    let folder = pipeline("gelu");
    std::fs::remove_file(folder.path().join("model_index.json")).unwrap();
    assert!(Encoders::open(folder.path(), None).unwrap().text.is_some());
    std::fs::remove_dir_all(folder.path().join("tokenizer")).unwrap();
    assert_says(&folder, &["a `text_encoder` and no `tokenizer`"]);
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert_says(&folder, &["does not exist"]);
}

#[test]
fn weights_that_are_no_safetensors() {
    let pickle = |part: &str, from: &str, to: &str| {
        let folder = pipeline("gelu");
        for entry in std::fs::read_dir(folder.path().join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                std::fs::remove_file(path).unwrap();
            }
        }
        // The first bytes of a pickle of the older kind.
        std::fs::write(folder.path().join(part).join(to), b"\x80\x02}q\x00.").unwrap();
        assert_says(&folder, &[to, "pickle", from]);
        assert!(matches!(refused(&folder), EncoderError::Pickle { .. }));
    };
    pickle("vae", "from diffusers import AutoencoderKL", "diffusion_pytorch_model.bin");
    pickle("text_encoder", "from transformers import CLIPTextModel", "pytorch_model.bin");

    let folder = pipeline("gelu");
    let path = folder.path().join(WEIGHTS);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_says(&folder, &[WEIGHTS, "cut short"]);
}

#[test]
fn variants_that_leave_a_choice() {
    let folder = pipeline("gelu");
    let vae = folder.path().join("vae");
    std::fs::rename(folder.path().join(WEIGHTS), vae.join("diffusion_pytorch_model.non_ema.safetensors"))
        .unwrap();
    assert_says(&folder, &["fp16", "non_ema"]);
    assert!(Encoders::open(folder.path(), Some("fp16")).is_ok());
    // Those of transformers have variants too.
    let text = folder.path().join("text_encoder");
    std::fs::rename(text.join("model.safetensors"), text.join("model.fp16.safetensors")).unwrap();
    let files = PartFiles::find(&text, None).unwrap();
    assert_eq!(files.weights, [text.join("model.fp16.safetensors")]);
}
