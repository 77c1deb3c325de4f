//! The commands of the README, in order, with small stand-ins for what they name: none fails for somebody who copies it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use pentimento_testing::image_files::npy;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is not run, and why.
const NOT_RUN: [(&str, &str); 2] = [
    ("pentimento data fetch cifar10", "it needs the network"),
    ("pentimento bench", "it works for more than a minute, and nothing makes it shorter"),
];

/// The parts of the README that have commands, in an order in which each finds the runs that it asks about.
const PARTS: [&str; 4] =
    ["Use it", "Somebody else's checkpoint", "On several machines", "Image sets it reads"];

/// Parts whose commands are not run here: `evaluate.rs` asks the same of a small bank, and `latent.rs`,
/// `adapters.rs` and `adapter_ensembles.rs` of small pipelines.
const PARTS_RUN_ELSEWHERE: [&str; 3] =
    ["Does a ranking hold?", "Latents and prompts", "Ensembles that begin with a network"];

/// A part of each line of commands, with what is said instead of it.
const STAND_INS: [(&str, &str); 3] =
    [("--data cifar10", "--data cifar"), ("17,4711", "17,41"), ("~/pictures", "pictures")];

/// What makes a run small: the beginning of commands, and the settings that follow theirs.
const SMALL: [(&str, &str, &[&str]); 4] = [
    (
        "recipes/mnist-classes.toml",
        "samples.count=128",
        &[
            "attribution.fidelity_samples=2",
            "training.steps=4",
            "data.images=digits",
            "data.labels=digit-labels",
        ],
    ),
    (
        "recipes/mnist-codes.toml",
        "samples.count=8",
        &[
            "attribution.counterfactuals=4",
            "attribution.fidelity_samples=2",
            "attribution.candidates=10",
            "training.steps=4",
            "data.images=digits",
            "data.labels=digit-labels",
        ],
    ),
    (
        "recipes/own-images.toml",
        "samples.count=2",
        &[
            "attribution.fidelity_samples=1",
            "training.steps=4",
            "data.preprocessing.cover={height=8,width=8}",
        ],
    ),
    (
        "import",
        "samples.count=4",
        &[
            "gradients.dimension=64",
            "gradients.timesteps=2",
            "gradients.most_draws=16",
            "influence.cg_gradients=1000",
            "data.path=cifar",
        ],
    ),
];

/// Every line of a block of code of the README that begins with the program's name, below the heading that it is under.
fn commands_of_the_readme() -> Vec<(String, String)> {
    let text = include_str!("../../../README.md").replace("\\\n", " ");
    let (mut heading, mut in_code, mut commands) = (String::new(), false, Vec::new());
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if in_code && line.starts_with("pentimento ") {
            let command = line.split(" #").next().unwrap().trim();
            commands.push((heading.clone(), command.to_owned()));
        } else if !in_code && line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
    }
    commands
}

/// A folder with what the README's commands name: recipes, pictures, digits, a network and its images.
fn stand_ins() -> Laboratory {
    let laboratory = Laboratory::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::create_dir(laboratory.path("recipes")).unwrap();
    for recipe in ["mnist-classes.toml", "mnist-codes.toml", "own-images.toml"] {
        fs::copy(root.join("recipes").join(recipe), laboratory.path("recipes").join(recipe)).unwrap();
    }
    let digits: Vec<u8> = (0..IMAGES).map(|image| (image % 10) as u8).collect();
    fs::write(laboratory.path("digits"), idx(0x803, &[IMAGES, 8, 8], &pixels())).unwrap();
    fs::write(laboratory.path("digit-labels"), idx(0x801, &[IMAGES], &digits)).unwrap();
    // Pictures of two sizes.
    fs::create_dir(laboratory.path("pictures")).unwrap();
    for image in 0..12 {
        let (pixels, width) = (&pixels()[64 * image..64 * (image + 1)], if image < 6 { 8 } else { 4 });
        let mut png = Vec::new();
        let height = 64 / width;
        PngEncoder::new(&mut png).write_image(pixels, width, height, ExtendedColorType::L8).unwrap();
        fs::write(laboratory.path("pictures").join(format!("{image}.png")), png).unwrap();
    }
    let network = laboratory.path("ddpm-cifar10-32");
    for file in [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json",
    ] {
        let target = network.join(file);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(root.join("tests/goldens/ddpm_cifar_like").join(file), target).unwrap();
    }
    let cifar = laboratory.path("cifar");
    fs::create_dir(&cifar).unwrap();
    let count = 45;
    let colours: Vec<u8> = (0..count * 12 * 12 * 3).map(|place: usize| (place * place / 7) as u8).collect();
    let labels: Vec<u8> = (0..count).map(|image| (image % 3) as u8).collect();
    fs::write(cifar.join("images.npy"), npy(&[count, 12, 12, 3], &colours)).unwrap();
    fs::write(cifar.join("labels.npy"), npy(&[count], &labels)).unwrap();
    laboratory
}

/// A command with its stand-ins and what makes it small.
fn small(laboratory: &Laboratory, line: &str) -> Command {
    assert!(!line.contains(['\'', '"', '$']), "{line}: words of a shell that this test does not know");
    let line = STAND_INS.iter().fold(line.to_owned(), |line, (named, instead)| line.replace(named, instead));
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let mut command = program(&words);
    let folder = laboratory.path("");
    command.current_dir(&folder).env("HOME", &folder).env("PENTIMENTO_CACHE", laboratory.path("cache"));
    if let Some((first, samples, settings)) =
        SMALL.iter().find(|(first, ..)| words.iter().any(|word| word == first))
    {
        let mut all = vec![*samples, "sampling.steps=2"];
        if *first != "import" {
            all.extend(["samples.in_report=2", "training.batch=8", "training.warmup_steps=1"]);
        }
        if settings.contains(&"data.images=digits") {
            // What these recipes say of a public set.
            command.args(["--unset", "classifier", "--unset", "data.preprocessing.split"]);
        }
        for setting in all.iter().chain(*settings) {
            command.args(["--set", setting]);
        }
    }
    command
}

#[test]
fn the_commands_of_the_readme_run_in_order() {
    let laboratory = stand_ins();
    let mut commands = commands_of_the_readme();
    for part in PARTS_RUN_ELSEWHERE {
        let all = commands.len();
        commands.retain(|(of, _)| of != part);
        assert!(commands.len() < all, "no part is called `{part}`");
    }
    let without_part: Vec<_> = commands.iter().filter(|(part, _)| !PARTS.contains(&part.as_str())).collect();
    assert!(without_part.is_empty(), "add their part to the list: {without_part:?}");
    for (line, why) in NOT_RUN {
        assert!(
            commands.iter().any(|(_, command)| command == line),
            "`{line}` ({why}) is in the list for nothing"
        );
    }
    // What other commands ask about, and no line makes.
    succeed(&mut small(&laboratory, "pentimento run recipes/mnist-codes.toml"));
    fs::copy(laboratory.path("runs/mnist-codes/codes.npy"), laboratory.path("further.npy")).unwrap();
    let mut run = 0;
    for (_, line) in PARTS.iter().flat_map(|part| commands.iter().filter(move |(of, _)| of == part)) {
        if NOT_RUN.iter().any(|(other, _)| line == other) {
            continue;
        }
        let mut command = small(&laboratory, line);
        if line.starts_with("pentimento doctor") {
            // It finds that the stand-in was not trained on the images.
            assert_names(&fail(&mut command, 42), &["1 problem"]);
        } else {
            succeed(&mut command);
        }
        run += 1;
    }
    assert_eq!(run + NOT_RUN.len(), commands.len());
    let made: Vec<PathBuf> = [
        "runs/mnist-classes/report.html",
        "runs/cifar/report.html",
        "runs/own-images/report.html",
        "seven/attribution/shard-00007.safetensors",
        "member-3/unet/config.json",
        "sheet.png",
    ]
    .into_iter()
    .map(|name| laboratory.path(name))
    .collect();
    let absent: Vec<_> = made.iter().filter(|file| !file.exists()).collect();
    assert!(absent.is_empty(), "{absent:?}");
}
