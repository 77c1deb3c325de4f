//! Ensembles of networks that are told classes: trained under labels, sampled by class, ablated and asked.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use std::fs;
use std::path::Path;

const SHARD: &str = "samples/shard-00000.safetensors";

/// Settings as options of a command.
fn set<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    settings.iter().flat_map(|&setting| ["--set", setting]).collect()
}

#[test]
fn members_are_trained_and_sampled_under_classes() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    // Class 3 has no images, and stands for none.
    let told = ["model.num_class_embeds=4", "training.condition_dropout=0.2", "samples.count=4"];
    let settings = set(&[&told[..], &["samples.class=1"]].concat());
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &settings));
    assert_verified(&run);
    let made = objects(&run);
    let again = laboratory.path("again");
    succeed(&mut run_command(
        &recipe,
        &again,
        &[&settings[..], &["--threads", "1", "--batch", "1"]].concat(),
    ));
    assert_equal_runs(&made, &again);
    succeed(program([Path::new("ablate"), &run]).args(["--sample", "1", "--groups", "1"]));
    // Of another class a sample is another, by the same members; without classes the members are others.
    let other = laboratory.path("other");
    succeed(&mut run_command(&recipe, &other, &set(&[&told[..], &["samples.class=2"]].concat())));
    let member = "members/001/unet/diffusion_pytorch_model.safetensors";
    assert!(fs::read(other.join(member)).unwrap() == made[member]);
    assert!(fs::read(other.join(SHARD)).unwrap() != made[SHARD]);
    let labels = laboratory.path("exchanged");
    fs::write(
        &labels,
        idx(0x801, &[IMAGES], &common::labels().iter().map(|&label| (label + 1) % 3).collect::<Vec<_>>()),
    )
    .unwrap();
    let exchanged = laboratory.path("run-of-exchanged");
    let labels = format!("data.labels={labels:?}");
    let settings = set(&[&told[..], &["samples.class=1", &labels]].concat());
    succeed(program([Path::new("train"), &recipe, Path::new("--run"), &exchanged]).args(settings));
    assert!(fs::read(exchanged.join(member)).unwrap() != made[member], "labels decide nothing");
}

/// Where every class is dropped, training is as if all images were of the class that stands for none, and so is what follows the
/// training.
#[test]
fn what_follows_the_training_is_under_its_conditions() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.image_recipe();
    let none = laboratory.path("none");
    fs::write(&none, idx(0x801, &[IMAGES], &[3; IMAGES])).unwrap();
    let none = format!("data.labels={none:?}");
    let scores = |name: &str, more: &str| {
        let run = laboratory.path(name);
        let settings = set(&[
            "model.num_class_embeds=4",
            "samples.class=0",
            "samples.count=2",
            "training.keep_checkpoints=2",
            "gradients.groups=2",
            "gradients.timesteps=2",
            "gradients.dimension=512",
            more,
        ]);
        succeed(program([Path::new("train"), &recipe, Path::new("--run"), &run]).args(settings));
        succeed(program([Path::new("attribute"), &run]).args(["--method", "tracin,trak"]));
        let of = |method: &str| fs::read(run.join(format!("scores/samples/{method}.npy"))).unwrap();
        (of("tracin"), of("trak"))
    };
    let (dropped, none) = (scores("dropped", "training.condition_dropout=1.0"), scores("of-none", &none));
    assert!(dropped.0 == none.0, "the same events");
    assert!(dropped.1 != none.1, "other methods take images under their own classes");
}

#[test]
fn what_is_refused() {
    let laboratory = Laboratory::new();
    let (recipe, run) = (laboratory.class_recipe(), laboratory.path("run"));
    let refused = |settings: &[&str], words: &[&str]| {
        let command = &mut program([Path::new("train"), &recipe, Path::new("--run"), &run]);
        assert_names(&fail(command.args(set(settings)), 42), words);
        assert!(listed(&run).is_empty(), "nothing is made of what is refused");
    };
    refused(&["model.num_class_embeds=4"], &["samples.class", "absent", "0 to 3"]);
    refused(&["model.num_class_embeds=4", "samples.class=4"], &["samples.class", "below 4"]);
    refused(&["samples.class=1"], &["samples.class", "without classes"]);
    refused(&["model.num_class_embeds=2", "samples.class=1"], &["label 2 of image", "classes 0 to 1"]);
    let last = ["model.num_class_embeds=3", "samples.class=1", "training.condition_dropout=0.1"];
    refused(&last, &["training.condition_dropout", "one class more", "2"]);
    refused(&["training.condition_dropout=0.1"], &["condition_dropout", "no classes or texts"]);
}
