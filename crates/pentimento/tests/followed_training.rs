//! Checkpoints of a training, and scores that follow it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use pentimento::diffusion::training::{TrainingConfig, TrainingEvents};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

fn train(recipe: &Path, run: &Path, more: &[&str]) -> Command {
    let mut command = program([Path::new("train"), recipe, Path::new("--run"), run]);
    command.args(more);
    command
}

fn attribute(run: &Path, more: &[&str]) -> Command {
    let mut command = program([Path::new("attribute"), run]);
    command.args(more);
    command
}

fn weights(run: &Path, member: usize) -> Vec<u8> {
    fs::read(run.join(format!("members/{member:03}/unet/diffusion_pytorch_model.safetensors"))).unwrap()
}

fn checkpoint(run: &Path, member: usize, steps: usize) -> Vec<u8> {
    fs::read(run.join(format!("members/{member:03}/checkpoints/{steps:06}.safetensors"))).unwrap()
}

/// Bytes in front of the values of an `.npy` file.
fn header(bytes: &[u8]) -> usize {
    10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))
}

/// `[queries][images]` as `attribute` wrote them, of 60 images.
fn scores(run: &Path, set: &str, method: &str) -> Vec<Vec<f32>> {
    let bytes = fs::read(run.join(format!("scores/{set}/{method}.npy"))).unwrap();
    let values: Vec<f32> =
        bytes[header(&bytes)..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert!(!values.is_empty() && values.len().is_multiple_of(IMAGES));
    values.chunks(IMAGES).map(<[f32]>::to_vec).collect()
}

fn description(run: &Path, method: &str) -> serde_json::Value {
    let bytes = fs::read(run.join(format!("scores/samples/{method}.json"))).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Cheap scores of two samples.
const FEW: [&str; 10] = [
    "--set",
    "samples.count=2",
    "--set",
    "gradients.timesteps=3",
    "--set",
    "gradients.groups=2",
    "--set",
    "gradients.dimension=512",
    "--set",
    "gradients.precision=f32",
];

/// The weights that are kept after some steps are the member of a training of so many steps; keeping them changes no member.
#[test]
fn checkpoints_are_the_members_of_shorter_trainings() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let plain = laboratory.path("plain");
    succeed(&mut train(&recipe, &plain, &["--set", "training.steps=40"]));
    let kept = laboratory.path("kept");
    let more = ["--set", "training.steps=40", "--set", "training.keep_checkpoints=4", "--threads", "1"];
    succeed(&mut train(&recipe, &kept, &more));
    let half = laboratory.path("half");
    succeed(&mut train(&recipe, &half, &["--set", "training.steps=20"]));
    for member in 0..3 {
        assert!(weights(&plain, member) == weights(&kept, member), "member {member}");
        assert!(weights(&half, member) == checkpoint(&kept, member, 20), "member {member} after 20 steps");
        assert!(checkpoint(&kept, member, 10) != checkpoint(&kept, member, 30));
    }
    assert_eq!(listed(&kept).iter().filter(|name| name.contains("/checkpoints/")).count(), 3 * 3);
    let expected = objects(&kept);

    // One that is lost is made again, and what an earlier recipe kept goes with it.
    fs::remove_file(kept.join("members/001/checkpoints/000020.safetensors")).unwrap();
    succeed(&mut train(&recipe, &kept, &more));
    assert_equal_runs(&expected, &kept);
    let fewer = ["--set", "training.steps=40", "--set", "training.keep_checkpoints=2", "--replace"];
    succeed(&mut train(&recipe, &kept, &fewer));
    assert_eq!(listed(&kept).iter().filter(|name| name.contains("/checkpoints/")).count(), 3);
    assert_verified(&kept);
}

/// Scores over two checkpoints are those of the first, as if the training had ended there, and of the second for its half of
/// the steps.
#[test]
fn scores_of_checkpoints_add_up() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    for method in ["tracin", "retrac"] {
        let of = |name: &str, more: &[&str]| {
            let run = laboratory.path(&format!("{method}-{name}"));
            let fresh = ["--set", "gradients.draws=fresh"];
            succeed(&mut train(&recipe, &run, &[&FEW[..], &fresh, more].concat()));
            // Training images, as samples of other members are other images.
            succeed(&mut attribute(&run, &["--method", method, "--query", "3,30"]));
            let set = fs::read_dir(run.join("scores")).unwrap();
            let set = set.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let set = set.into_iter().find(|name| name.starts_with("images-")).unwrap();
            scores(&run, &set, method)
        };
        let both = of("both", &["--set", "training.steps=12", "--set", "training.keep_checkpoints=2"]);
        let first = of("first", &["--set", "training.steps=6"]);
        let end = of("end", &["--set", "training.steps=12"]);
        for query in 0..2 {
            let largest = both[query].iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            for image in 0..IMAGES {
                let sum = first[query][image] + end[query][image] / 2.0;
                let error = (both[query][image] - sum).abs() / largest;
                assert!(error < 1e-5, "{method}, image {image}: {} and {sum}", both[query][image]);
            }
        }
    }
}

/// Images that no member has met score exactly nothing, all others something; every event is taken once.
#[test]
fn images_that_were_not_seen_score_nothing() {
    const STEPS: usize = 2;
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    let training = ["--set", "training.steps=2", "--set", "training.keep_checkpoints=2"];
    let more = [&FEW[..], &training, &["--set", "training.horizontal_flip=true"]].concat();
    succeed(&mut train(&recipe, &run, &more));

    // Class i is seen by the members of its code.
    let codes = fs::read(run.join("codes.npy")).unwrap();
    let codes: Vec<u64> =
        codes[header(&codes)..].as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    let config =
        TrainingConfig { steps: STEPS, batch: 8, horizontal_flip: true, ..TrainingConfig::default() };
    let (mut met, mut events_of_all) = (BTreeSet::new(), 0);
    for member in 0..3u32 {
        let own: Vec<usize> =
            (0..IMAGES).filter(|image| codes[usize::from(labels()[*image])] >> member & 1 == 1).collect();
        let mut events = TrainingEvents::new(&config, 1000, own.len(), 7, member);
        for event in (0..STEPS).flat_map(|step| events.of_step(step)) {
            met.insert(own[event.image as usize]);
            events_of_all += 1;
        }
    }
    assert!(met.len() > 20 && met.len() < IMAGES, "{}", met.len());
    for method in ["tracin", "retrac"] {
        let said = succeed(&mut attribute(&run, &["--method", method, "--threads", "1"])).stdout;
        assert_names(&said, &["2 checkpoints", &format!("{events_of_all} events of training")]);
        for scores in scores(&run, "samples", method) {
            for (image, score) in scores.iter().enumerate() {
                assert_eq!(*score != 0.0, met.contains(&image), "{method}, image {image}: {score}");
            }
        }
        let said = description(&run, method);
        assert_eq!(said["replayed_events"], events_of_all);
        assert_eq!(said["checkpoints"], serde_json::json!([1, 2]));
    }
    // Other methods take the end of the training, and all images.
    succeed(&mut attribute(&run, &["--method", "trak"]));
    assert!(scores(&run, "samples", "trak").concat().iter().all(|score| *score != 0.0));
    assert_eq!(description(&run, "trak")["checkpoints"], serde_json::Value::Null);

    // With other threads the same bytes.
    let other = laboratory.path("other");
    succeed(&mut train(&recipe, &other, &[&more[..], &["--threads", "2"]].concat()));
    succeed(&mut attribute(&other, &["--method", "tracin,retrac,trak", "--threads", "2", "--batch", "3"]));
    let kept = |run: &Path| -> BTreeMap<String, Vec<u8>> {
        let mut objects = objects(run);
        objects.retain(|name, _| name.starts_with("features/") || name.starts_with("scores/"));
        objects
    };
    assert!(kept(&run) == kept(&other), "other bytes");

    // Of images that were met more often, at most as many events as there are draws are taken, evenly.
    let long = laboratory.path("long");
    let training = ["--set", "training.steps=40", "--set", "gradients.timesteps=1"];
    succeed(&mut train(&recipe, &long, &[&FEW[..], &training].concat()));
    let said = succeed(&mut attribute(&long, &["--method", "tracin"])).stdout;
    assert_names(&said, &["at most 2 of an image"]);
    let events = description(&long, "tracin")["replayed_events"].as_u64().unwrap();
    // Each member has 20 or 40 images, and each image is met at least twice in 320 places.
    let images: usize = (0..3)
        .map(|member| {
            (0..IMAGES).filter(|image| codes[usize::from(labels()[*image])] >> member & 1 == 1).count()
        })
        .sum();
    assert_eq!(events, 2 * images as u64);
}

#[test]
fn what_an_imported_network_met_is_not_known() {
    let laboratory = Laboratory::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/plain");
    let mut import = program([Path::new("import"), &golden, Path::new("--run"), &laboratory.path("run")]);
    let said = fail(import.args(["--set", "gradients.draws=replay"]), 42);
    assert_names(&said, &["gradients.draws", "\"fresh\"", "imported network"]);
}
