//! The golden cases: pipelines that diffusers and transformers wrote, and what they computed in float64. What is checked
//! follows from the files of a case.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use pentimento_diffusion::checkpoint::{AdapterFiles, TextEncoderPart};
use pentimento_encoders::autoencoder::{Autoencoder, AutoencoderKl, VqModel};
use pentimento_encoders::text::{ClipTokenizer, TextEncoder};
use pentimento_encoders::{Encoders, PartFiles};
use serde_json::Value;
use std::path::Path;

fn open(folder: &Path, variant: Option<&str>) -> Autoencoder {
    Autoencoder::open(&PartFiles::find(folder, variant).unwrap()).unwrap()
}

fn check_kl(what: &str, autoencoder: &AutoencoderKl, golden: &Golden) {
    let (images, [height, width]) = golden.images("vae.images");
    let moments = autoencoder.encode(&images, height, width).unwrap();
    let channels = autoencoder.config().latent_channels();
    let (expected, _) = golden.images("vae.moments");
    let (mut mean, mut log_variance) = (Vec::new(), Vec::new());
    for pixel in expected.chunks_exact(2 * channels) {
        mean.extend_from_slice(&pixel[..channels]);
        log_variance.extend_from_slice(&pixel[channels..]);
    }
    assert_close(&format!("{what}: mean"), &moments.mean, &mean);
    assert_close(&format!("{what}: log of the variance"), &moments.log_variance, &log_variance);
    let (mode, [height, width]) = golden.images("vae.mode");
    assert_close(&format!("{what}: mode"), &moments.mode(), &mode);
    let sample = moments.sample(&golden.images("vae.noise").0);
    assert_close(&format!("{what}: sample"), &sample, &golden.images("vae.sample").0);
    let decoded = autoencoder.decode(&mode, height, width).unwrap();
    assert_close(&format!("{what}: decoded"), &decoded, &golden.images("vae.decoded").0);
    if golden.has("vae_wide.images") {
        let (images, [height, width]) = golden.images("vae_wide.images");
        let (mode, [latent_height, latent_width]) = golden.images("vae_wide.mode");
        let found = autoencoder.encode(&images, height, width).unwrap().mode();
        assert_close(&format!("{what}: wide mode"), &found, &mode);
        let decoded = autoencoder.decode(&mode, latent_height, latent_width).unwrap();
        assert_close(&format!("{what}: wide decoded"), &decoded, &golden.images("vae_wide.decoded").0);
    }
}

fn check_vq(what: &str, autoencoder: &VqModel, golden: &Golden) {
    let (images, [height, width]) = golden.images("vae.images");
    let (mode, [latent_height, latent_width]) = golden.images("vae.mode");
    let latents = autoencoder.encode(&images, height, width).unwrap();
    assert_close(&format!("{what}: latents"), &latents, &mode);
    let codes = autoencoder.nearest_codes(&mode);
    let expected: Vec<usize> = golden.values("vae.codes").iter().map(|code| *code as usize).collect();
    assert_eq!(codes, expected, "{what}");
    assert_eq!(autoencoder.codes(&codes), golden.images("vae.quantised").0, "{what}");
    let decoded = autoencoder.decode(&latents, latent_height, latent_width).unwrap();
    assert_close(&format!("{what}: decoded"), &decoded, &golden.images("vae.decoded").0);
}

#[test]
fn autoencoders() {
    let (mut kl, mut vq, mut old) = (0, 0, 0);
    for case in golden_cases() {
        for part in ["vae", "vqvae", "old_names"] {
            let folder = case.join(part);
            if !folder.join("config.json").is_file() {
                continue;
            }
            let (what, golden) = (folder.display().to_string(), Golden::read(&case));
            match open(&folder, None) {
                Autoencoder::Kl(autoencoder) => {
                    check_kl(&what, &autoencoder, &golden);
                    kl += 1;
                }
                Autoencoder::Vq(autoencoder) => {
                    check_vq(&what, &autoencoder, &golden);
                    vq += 1;
                }
            }
            old += usize::from(part == "old_names");
        }
    }
    assert!(kl > old && vq > 0 && old > 0, "{kl} {vq} {old}");
}

/// A variant in half precision gives what its values give in single precision.
#[test]
fn half_precision_is_read_as_the_values_it_holds() {
    let name = "diffusion_pytorch_model.safetensors";
    let folder = case_with("vae/diffusion_pytorch_model.fp16.safetensors").join("vae");
    let mut rounded = tensors(&folder.join(name));
    for (_, values) in rounded.values_mut() {
        for value in values {
            *value = half::f16::from_f32(*value).to_f32();
        }
    }
    let copy = copy_of(&folder);
    write_tensors(&copy.path().join(name), &rounded);
    let images = values(2 * 16 * 16 * 3, 1);
    let latents = |autoencoder: &Autoencoder| bits(&autoencoder.latents(&images, 16, 16).unwrap());
    let half = latents(&open(&folder, Some("fp16")));
    assert_eq!(half, latents(&open(copy.path(), None)));
    assert_ne!(half, latents(&open(&folder, None)));
    // A variant that a part lacks, as most parts lack `non_ema`, leaves the one without a name.
    assert_eq!(latents(&open(&folder, Some("non_ema"))), latents(&open(&folder, None)));
    // The only variant that there is needs no name.
    std::fs::remove_file(copy.path().join(name)).unwrap();
    assert_eq!(half, latents(&open(copy.path(), None)));
}

fn prompts(case: &Path) -> (Vec<String>, Vec<Vec<u32>>) {
    let golden: Value = serde_json::from_slice(&std::fs::read(case.join("golden.json")).unwrap()).unwrap();
    let texts = golden["prompts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned());
    let ids = golden["untruncated_ids"].as_array().unwrap().iter();
    let ids = ids.map(|ids| ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect());
    (texts.collect(), ids.collect())
}

fn check_ids(what: &str, tokenizer: &ClipTokenizer, case: &Path) {
    let (prompts, untruncated) = prompts(case);
    let golden = Golden::read(case);
    let length = golden.shape("text.ids")[1];
    let expected: Vec<u32> = golden.values("text.ids").iter().map(|id| *id as u32).collect();
    for ((prompt, untruncated), padded) in prompts.iter().zip(&untruncated).zip(expected.chunks_exact(length))
    {
        assert_eq!(&tokenizer.ids(prompt), untruncated, "{what}: {prompt}");
        assert_eq!(tokenizer.padded_ids(prompt, length), padded, "{what}: {prompt}");
    }
}

#[test]
fn tokens() {
    let (mut from_one, mut from_two) = (0, 0);
    for case in golden_cases().iter().filter(|case| case.join("tokenizer").is_dir()) {
        let what = case.display().to_string();
        check_ids(&what, &ClipTokenizer::open(&case.join("tokenizer")).unwrap(), case);
        // Every way in which the folder can be read.
        let copy = copy_of(&case.join("tokenizer"));
        let has = |name: &str| case.join("tokenizer").join(name).is_file();
        let both = has("vocab.json") && has("merges.txt");
        if both && has("tokenizer.json") {
            std::fs::remove_file(copy.path().join("tokenizer.json")).unwrap();
            check_ids(&format!("{what}, two files"), &ClipTokenizer::open(copy.path()).unwrap(), case);
            let copy = copy_of(&case.join("tokenizer"));
            for name in ["vocab.json", "merges.txt", "special_tokens_map.json"] {
                let _ = std::fs::remove_file(copy.path().join(name));
            }
            check_ids(&format!("{what}, one file"), &ClipTokenizer::open(copy.path()).unwrap(), case);
            from_one += 1;
        }
        from_two += usize::from(both);
    }
    assert!(from_one > 0 && from_two > from_one);
}

#[test]
fn text_encoders() {
    let mut pooled = 0;
    for case in golden_cases().iter().filter(|case| case.join("text_encoder/config.json").is_file()) {
        let text = Encoders::open(case, None).unwrap().text.unwrap();
        let what = case.display().to_string();
        let golden = Golden::read(case);
        let (texts, _) = prompts(case);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let hidden = text.embeddings(&texts, 0).unwrap();
        assert_eq!([texts.len(), text.length(), text.width()], golden.shape("text.hidden"));
        assert_close(&format!("{what}: hidden"), &hidden, golden.values("text.hidden"));
        if golden.has("text.hidden_clip_skip_1") {
            let skipped = text.embeddings(&texts[..2], 1).unwrap();
            assert_close(&format!("{what}: clip_skip"), &skipped, golden.values("text.hidden_clip_skip_1"));
        }
        if golden.has("text.pooled") {
            let ids: Vec<u32> = golden.values("text.ids").iter().map(|id| *id as u32).collect();
            let found = text.encoder().pooled(&ids, text.length(), &hidden);
            assert_close(&format!("{what}: pooled"), &found, golden.values("text.pooled"));
            pooled += 1;
        }
    }
    assert!(pooled > 0);
}

/// A pipeline's folder gives the same parts as their own folders.
#[test]
fn pipelines() {
    let (mut with_text, mut without_text) = (0, 0);
    for case in golden_cases().iter().filter(|case| case.join("model_index.json").is_file()) {
        let encoders = Encoders::open(case, None).unwrap();
        let part = ["vae", "vqvae"].into_iter().find(|part| case.join(part).is_dir()).unwrap();
        let own = open(&case.join(part), None);
        let (images, [height, width]) = Golden::read(case).images("vae.images");
        let latents = |autoencoder: &Autoencoder| bits(&autoencoder.latents(&images, height, width).unwrap());
        assert_eq!(latents(&encoders.autoencoder), latents(&own));
        let has_text = case.join("text_encoder").is_dir();
        assert_eq!(encoders.text.as_ref().map(TextEncoder::width).is_some(), has_text);
        with_text += usize::from(has_text);
        without_text += usize::from(!has_text);
    }
    assert!(with_text > 0 && without_text > 0);
}

/// What adapters add to text encoders, wherever a golden answer of one lies beside its folder.
#[test]
fn text_encoders_with_adapters() {
    let mut found = 0;
    for case in golden_cases() {
        let golden = Golden::read(&case);
        for folder in case.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
        {
            let name = format!("{}.text.hidden", folder.file_name().unwrap().to_str().unwrap());
            if !golden.has(&name) {
                continue;
            }
            let said: Value =
                serde_json::from_slice(&std::fs::read(case.join("golden.json")).unwrap()).unwrap();
            let base = case.with_file_name(said["base"].as_str().unwrap());
            let files = AdapterFiles::find(&folder).unwrap();
            let parts = files.read_text_encoders().unwrap();
            let text = Encoders::open(&base, None).unwrap().text.unwrap();
            let (texts, _) = prompts(&base);
            // Of the first prompts alone.
            let texts: Vec<&str> = texts.iter().take(golden.shape(&name)[0]).map(String::as_str).collect();
            let plain = text.embeddings(&texts, 0).unwrap();
            let text = text.with_adapter(&parts, &files.weights).unwrap();
            let hidden = text.embeddings(&texts, 0).unwrap();
            assert_close(&name, &hidden, golden.values(&name));
            assert_ne!(bits(&plain), bits(&hidden), "{name}: the adapter adds nothing");
            refuses_other_layers(&base, &parts, &files.weights);
            found += 1;
        }
    }
    assert!(found > 0, "no adapter of a text encoder");
}

fn refuses_other_layers(base: &Path, parts: &[TextEncoderPart], file: &Path) {
    let refused = |part: TextEncoderPart| {
        let text = Encoders::open(base, None).unwrap().text.unwrap();
        text.with_adapter(&[part], file).unwrap_err().to_string()
    };
    let layer = TextEncoderPart { module: "text_model_encoder_layers_99_mlp_fc1".into(), ..parts[0].clone() };
    let said = refused(layer);
    assert!(said.contains("layers_99") && said.contains("no such layer"), "{said}");
    let mut narrower = parts[0].clone();
    narrower.down.truncate(narrower.down.len() - narrower.rank);
    let said = refused(narrower);
    assert!(said.contains(&parts[0].module) && said.contains("another text encoder"), "{said}");
}
