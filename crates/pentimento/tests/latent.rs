//! Pipelines whose networks work on latents, without prompts and with them: imported, sampled, decoded, asked by every method, shown
//! on a page; and what is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;
mod latent_pipelines;

use common::*;
use latent_pipelines::*;
use std::fs;
use std::path::Path;

#[test]
fn latents_without_prompts() {
    let laboratory = Laboratory::new();
    let (case, run) = (pipeline("ldm_uncond"), laboratory.path("run"));
    let images = laboratory.path("pictures");
    write_pictures(&case, "features.images", &images, None);
    let settings = settings(&images, &[]);
    let said = succeed(import(&case, &run).args(&settings)).stderr;
    assert_names(&said, &["45259 parameters", "latents with 3 channels of pictures of 16x16", "DDIM"]);
    let said = succeed(&mut program([Path::new("run"), &run])).stdout;
    assert_names(&said, &["sample 0: ", "report.html"]);
    let said =
        succeed(program([Path::new("attribute"), &run]).args(["--method", &methods().join(",")])).stdout;
    assert_names(&said, &["scores/samples/das.parquet", "scores/samples/influence.parquet"]);
    assert_verified(&run);
    let made = objects(&run);
    check_latents(&case, &made, "features.images");
    check_samples(&case, &made, 3);

    // One by one and by one thread, in another run: the same bytes.
    let again = laboratory.path("again");
    succeed(import(&case, &again).args(&settings));
    let one = ["--threads", "1", "--batch", "1"];
    succeed(program([Path::new("run"), &again]).args(one));
    succeed(program([Path::new("attribute"), &again]).args(["--method", &methods().join(",")]).args(one));
    assert_equal_but_the_recipe(&made, &again);

    // Pictures that are asked about are encoded, training images are not again.
    let queries = laboratory.path("queries");
    write_pictures(&case, "features.queries", &queries, None);
    let attribute = |run: &Path| {
        let mut command = program([Path::new("attribute"), run, Path::new("--query"), &queries]);
        command.args(["--method", "d-trak"]);
        command
    };
    succeed(&mut attribute(&run));
    let latents = |run: &Path| listed(run).into_iter().filter(|name| name.starts_with("latents/")).count();
    assert_eq!((latents(&again), latents(&run)), (1, 2));
    let said = fail(attribute(&run).args(["--prompt", "a cat"]), 42);
    assert_names(&said, &["prompt", "a cat", "trained without texts"]);
    // The network takes the place of that in the pipeline, so no list of parts is written.
    assert!(!run.join("members/000/model_index.json").exists());
    let recipe = run.join("recipe.toml");
    let edited = fs::read_to_string(&recipe).unwrap().replace("in_report = 24", "in_report = 23");
    for (name, text) in [("exported", None), ("exported-after-editing", Some(edited))] {
        if let Some(text) = text {
            fs::write(&recipe, text).unwrap();
        }
        let exported = laboratory.path(name);
        succeed(&mut program([Path::new("export"), &run, &exported]));
        assert!(exported.join("unet/config.json").exists() && !exported.join("model_index.json").exists());
    }
    let pieces = succeed(&mut program([Path::new("pieces"), &run])).stdout;
    assert_names(&pieces, &["latents/0 there", "sample/0 there"]);
    assert!(!pieces.contains("texts/"), "{pieces}");
}

#[test]
fn latents_of_prompts() {
    for name in ["sd_conv", "sd_linear"] {
        let laboratory = Laboratory::new();
        let (case, run) = (pipeline(name), laboratory.path("run"));
        let images = laboratory.path("pictures");
        write_pictures(&case, "features.images", &images, Some("features.condition"));
        let settings =
            settings(&images, &["samples.prompts=[\"a green house\", \"the dog\"]", "sampling.steps=5"]);
        succeed(import(&case, &run).args(&settings));
        let recipe = fs::read_to_string(run.join("recipe.toml")).unwrap();
        assert_names(&recipe, &["guidance = 7.5", "clip = false", "[checkpoint.encoders.text]"]);
        // Before anything is encoded, a forecast has that too.
        let forecast = succeed(&mut program([Path::new("plan"), &run])).stdout;
        assert_names(
            &forecast,
            &["encoding pictures", "6 pictures to latents", "encoding texts", "5 texts", "d-trak"],
        );
        assert_eq!(
            listed(&run).iter().filter(|name| !name.starts_with("members/")).collect::<Vec<_>>(),
            ["recipe.toml"]
        );
        let said = succeed(&mut program([Path::new("run"), &run])).stdout;
        assert_names(
            &said,
            &["sample 0 (“a green house”): ", "sample 1 (“the dog”): ", "sample 2 (“a green house”): "],
        );
        let page = fs::read_to_string(run.join("report.html")).unwrap();
        assert_names(&page, &["“a green house”", "“the dog”", "impressionism, post impressionism"]);
        let made = objects(&run);
        check_latents(&case, &made, "features.images");
        check_samples(&case, &made, 3);
        check_texts(&case, &made, "features.condition");
        let asked = ["--method", "tracin,das,influence"];
        succeed(program([Path::new("attribute"), &run]).args(asked));
        let made = objects(&run);

        let again = laboratory.path("again");
        succeed(import(&case, &again).args(&settings));
        let one = ["--threads", "1", "--batch", "1"];
        succeed(program([Path::new("run"), &again]).args(one));
        succeed(program([Path::new("attribute"), &again]).args(asked).args(one));
        assert_equal_but_the_recipe(&made, &again);

        // Without guidance a sample is another one; so is one of another prompt.
        let plain = laboratory.path("plain");
        succeed(import(&case, &plain).args(&settings).args(["--set", "samples.guidance=1.0"]));
        succeed(&mut program([Path::new("sample"), &plain]));
        let shard = "samples/shard-00000.safetensors";
        assert!(fs::read(plain.join(shard)).unwrap() != made[shard], "guidance decides nothing");

        queries_with_prompts(&laboratory, &case, &run);
    }
}

/// Latents are drawn if the recipe says so: by the formula of `DiagonalGaussianDistribution`, which the goldens of the encoders hold, with
/// the noise that the table of purposes promises.
#[test]
fn latents_that_are_drawn() {
    let laboratory = Laboratory::new();
    let (case, run) = (pipeline("sd_conv"), laboratory.path("run"));
    let images = laboratory.path("pictures");
    write_pictures(&case, "features.images", &images, Some("features.condition"));
    let drawn = ["sampling.steps=3", "data.latents=sample", "seed=5"];
    let with_prompt = settings(&images, &[&drawn[..], &["samples.prompts=[\"the dog\"]"]].concat());
    succeed(import(&case, &run).args(&with_prompt));
    let asked = ["--method", "tracin"];
    succeed(program([Path::new("attribute"), &run]).args(asked));
    let made = objects(&run);
    check_drawn_latents(&case, &made, "features.images", 5);

    let again = laboratory.path("again");
    succeed(import(&case, &again).args(&with_prompt));
    succeed(program([Path::new("attribute"), &again]).args(asked).args(["--threads", "1", "--batch", "1"]));
    assert_equal_but_the_recipe(&made, &again);

    // What has nothing to draw from, and what has no latents.
    let (case, quantised) = (pipeline("ldm_uncond"), laboratory.path("quantised"));
    succeed(import(&case, &quantised).args(settings(&images, &drawn)));
    let said = fail(program([Path::new("attribute"), &quantised]).args(asked), 42);
    assert_names(&said, &["data.latents", "VQModel", "mode"]);
    let pixels = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/plain");
    let said = fail(import(&pixels, &laboratory.path("pixels")).args(["--set", "data.latents=sample"]), 42);
    assert_names(&said, &["data.latents", "works on latents"]);
}

/// A query's prompt is its caption, or what is said of all of them, and decides the scores.
fn queries_with_prompts(laboratory: &Laboratory, case: &Path, run: &Path) {
    let (bare, captioned) = (laboratory.path("bare"), laboratory.path("captioned"));
    write_pictures(case, "features.queries", &bare, None);
    write_pictures(case, "features.queries", &captioned, Some("features.query_condition"));
    let ask = |queries: &Path| {
        let mut command = program([Path::new("attribute"), run, Path::new("--query"), queries]);
        command.args(["--method", "tracin"]);
        command
    };
    let said = fail(&mut ask(&bare), 42);
    assert_names(&said, &["without captions", "trained with texts", "--prompt"]);
    let said = succeed(ask(&bare).args(["--prompt", "the dog"])).stdout;
    assert_names(&said, &["(“the dog”): "]);
    let said = succeed(ask(&bare).args(["--prompt", ""])).stdout;
    assert_names(&said, &["(no prompt): "]);
    let said = succeed(&mut ask(&captioned)).stdout;
    assert_names(&said, &["(“impressionism, post impressionism <|endoftext|> art”): "]);
    // Of all others it is known what they show.
    for query in ["samples", "held-out:2", "0"] {
        let mut asked = program([Path::new("attribute"), run]);
        let said = fail(asked.args(["--query", query, "--prompt", "the dog", "--method", "tracin"]), 42);
        assert_names(&said, &["prompt “the dog”", &format!("`{query}`"), "have their own"]);
    }
    let scores: Vec<Vec<u8>> = listed(run)
        .into_iter()
        .filter(|name| name.starts_with("scores/path-") && name.ends_with("/tracin.npy"))
        .map(|name| fs::read(run.join(name)).unwrap())
        .collect();
    assert_eq!(scores.len(), 3);
    assert!(scores[0] != scores[1] && scores[1] != scores[2] && scores[0] != scores[2]);
    // What was asked is kept, and asked again.
    let shown = succeed(
        program([Path::new("scores"), run, Path::new("--query"), &bare]).args(["--prompt", "the dog"]),
    );
    assert!(!shown.stderr.contains("warning"), "{}", shown.stderr);
}

#[test]
fn what_is_refused() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    let (sd, sd2, ldm) = (pipeline("sd_conv"), pipeline("sd_linear"), pipeline("ldm_uncond"));
    let prompt = "samples.prompts=[\"a cat\"]";
    let refused = |case: &Path, settings: &[&str], words: &[&str]| {
        let mut command = import(case, &run);
        for setting in settings {
            command.args(["--set", setting]);
        }
        assert_names(&fail(&mut command, 42), words);
        assert!(!run.exists(), "nothing is written for what is refused");
    };
    refused(&sd, &[], &["samples.prompts", "absent", "trained with texts"]);
    refused(&sd, &[prompt, "samples.class=1"], &["samples.class", "without classes"]);
    refused(&sd, &[prompt, "samples.guidance=-1.0"], &["samples.guidance", "0 to 1000"]);
    refused(&ldm, &[prompt], &["samples.prompts", "trained without texts"]);
    refused(&ldm, &["samples.guidance=7.5"], &["samples.guidance", "trained without texts"]);
    refused(&ldm, &["sampling.clip=true"], &["sampling.clip", "latents"]);
    refused(&sd.join("unet"), &[prompt, "samples.count=1"], &["told texts", "whole pipeline"]);
    // Captions: none, and none of that name.
    let bare = laboratory.path("bare");
    write_pictures(&sd, "features.images", &bare, None);
    let data = format!("data.path={bare:?}");
    refused(&sd, &[prompt, &data], &["captions", "none"]);
    refused(&sd, &[prompt, &data, "data.captions=nothing"], &["nothing"]);
    refused(&sd, &[prompt, "data.set=mnist"], &["captions", "this set has none"]);
    refused(&sd, &[prompt, "data.captions=txt"], &["data.captions", "data.path"]);

    // Parts of other pipelines, and damaged ones.
    let mixed = laboratory.path("mixed");
    let mix = |part: &str, from: &Path| {
        let _ = fs::remove_dir_all(&mixed);
        copy(&sd2, &mixed);
        fs::remove_dir_all(mixed.join(part)).unwrap();
        copy(&from.join(part), &mixed.join(part));
    };
    mix("tokenizer", &sd);
    refused(&mixed, &[prompt], &["pad_token", "tokenizer of the same pipeline"]);
    mix("unet", &sd2);
    let config = mixed.join("unet/config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"in_channels\": 4", "\"in_channels\": 9")).unwrap();
    refused(&mixed, &[prompt], &["in_channels", "9", "inpainting"]);
    mix("vae", &sd2);
    fs::remove_file(mixed.join("vae/diffusion_pytorch_model.fp16.safetensors")).unwrap();
    let weights = mixed.join("vae/diffusion_pytorch_model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut damaged = whole.clone();
    damaged[header..header + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, damaged).unwrap();
    refused(&mixed, &[prompt], &["vae", "NaN"]);

    // An encoder that became another one, and one that is gone.
    fs::write(&weights, &whole).unwrap();
    succeed(import(&mixed, &run).args(["--set", prompt, "--set", "samples.count=1"]));
    let mut other = whole.clone();
    other[header] ^= 1;
    fs::write(&weights, other).unwrap();
    let said = fail(&mut program([Path::new("sample"), &run]), 42);
    assert_names(&said, &["vae/config.json", "another one than the run began with", "pentimento import"]);
    fs::remove_file(&weights).unwrap();
    let said = fail(&mut program([Path::new("sample"), &run]), 42);
    assert_names(&said, &["autoencoder of the run", "nothing exists", "pentimento import"]);
    fs::write(&weights, whole).unwrap();
    succeed(&mut program([Path::new("sample"), &run]));
}

/// Autoencoders that are older than the key have latents as they are; today's diffusers takes others, so that is said.
#[test]
fn a_scaling_that_is_not_written_is_said() {
    let laboratory = Laboratory::new();
    let (old, run) = (laboratory.path("old"), laboratory.path("run"));
    copy(&pipeline("ldm_uncond"), &old);
    let config = old.join("vqvae/config.json");
    let text = fs::read_to_string(&config).unwrap();
    let without: String = text.lines().filter(|line| !line.contains("scaling_factor")).collect();
    fs::write(&config, without).unwrap();
    let said = succeed(import(&old, &run).args(["--set", "samples.count=1"])).stderr;
    assert_names(&said, &["vqvae/config.json", "`scaling_factor` is absent, and 1 is taken", "0.18215"]);
}

#[test]
fn the_doctor_looks_at_all_parts() {
    let laboratory = Laboratory::new();
    for name in ["ldm_uncond", "sd_conv", "sd_linear"] {
        let case = pipeline(name);
        let said = succeed(&mut program([Path::new("doctor"), &case])).stdout;
        assert_names(
            &said,
            &["opened", "alone and in a batch", "agrees with differences", "gradients reach"],
        );
        assert!(!said.contains("PROBLEM"), "{said}");
        let images = laboratory.path(name);
        let texts = case.join("text_encoder").is_dir().then_some("features.condition");
        write_pictures(&case, "features.images", &images, texts);
        // Networks that were never trained on anything know no images.
        let output = program([Path::new("doctor"), &case, Path::new("--data"), &images]).output().unwrap();
        let said = text(&output.stdout);
        assert_no_panic(&text(&output.stderr));
        assert_names(
            &said,
            &["16x16, as the network takes them", "encoding and decoding loses", "of 6 of the images"],
        );
        assert_eq!(said.contains("without their captions"), texts.is_some(), "{said}");
    }
}
