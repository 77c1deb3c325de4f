//! `verify-removal` and `evaluate removal`: whole commands on small images.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use std::fs;
use std::path::{Path, PathBuf};

const WRONG_INPUT: i32 = 42;
const WRONG_USAGE: i32 = 2;

/// A bank of the test's 60 images with one half, and its network on all images as a run of its own.
fn bank_and_run(laboratory: &Laboratory) -> [PathBuf; 2] {
    let recipe = laboratory.bank_recipe("subsets = 1");
    let [bank, run, images] = ["bank", "run", "set.npy"].map(|name| laboratory.path(name));
    succeed(&mut program([Path::new("bank"), &recipe, Path::new("--run"), &bank]));
    write_images(&images, &pixels().chunks(64).map(<[u8]>::to_vec).collect::<Vec<_>>());
    let mut import = program([Path::new("import"), &bank.join("networks/0000-0"), Path::new("--run"), &run]);
    let images = format!("data.path={images:?}");
    for setting in
        [&images, "samples.count=6", "sampling.steps=4", "gradients.timesteps=2", "gradients.groups=2"]
    {
        import.args(["--set", setting]);
    }
    succeed(&mut import);
    [bank, run]
}

#[test]
fn one_image_and_many_are_made_again_without_what_a_method_names() {
    let laboratory = Laboratory::new();
    let [bank, run] = bank_and_run(&laboratory);
    let verify = |more: &[&str]| {
        let mut command = program([Path::new("verify-removal"), &run, Path::new("--bank"), &bank]);
        command.args(["--draws", "4", "--top", "7"]).args(more);
        command
    };
    // Without scores nobody knows which method is meant; with those of one it is that one.
    let said = fail(&mut verify(&["--query", "2"]), WRONG_INPUT);
    assert_names(&said, &["the table of scores", "pentimento attribute"]);
    succeed(program([Path::new("attribute"), &run]).args(["--method", "das"]));
    let said = succeed(&mut verify(&["--query", "2"]));
    assert_names(
        &said.stdout,
        &[
            "behaviour: the loss of a query, mean over 4 shared draws; and its image",
            "intervention: training without 7 of 60 images, chosen by das, random, pixel-cosine",
            "training process: from first weights, by the bank's recipe, seed 0: one training for each removal",
            "sample 2, whose loss is",
            "Without its 7 images by das the picture changes by",
            ", without 7 random ones by",
            "one draw",
            "removal-2-das-7.html",
        ],
    );
    let page = fs::read_to_string(run.join("evaluation/removal-2-das-7.html")).unwrap();
    assert_names(
        &page,
        &[
            "Does sample 2 rest on these images?",
            "Without its 7 images by das",
            "one draw of what might have happened",
        ],
    );
    // The picture, three made again and where they differ; seven images of each removal.
    assert_eq!(page.matches("<img ").count(), 1 + 3 * 2 + 3 * 7);
    let found = fs::read(run.join("evaluation/removal-2-das-7.json")).unwrap();
    let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
    assert_eq!(found["rows"][1]["method"], "random");
    let weights = run.join(found["rows"][1]["network"].as_str().unwrap()).join("unet/config.json");
    assert!(weights.exists(), "{}", weights.display());

    // Again: the same, and nothing is trained.
    let again = succeed(verify(&["--query", "2"]).args(["--threads", "1"]));
    assert_eq!(again.stdout, said.stdout);
    assert!(!again.stderr.contains("networks of"), "{}", again.stderr);

    // A held-out picture or a training image is not made again.
    let said = succeed(&mut verify(&["--query", "17", "--from", "3,17", "--method", "random"]));
    assert_names(
        &said.stdout,
        &["training image 17", "by random the loss of the picture changes by", "removal-images-"],
    );
    assert!(!said.stdout.contains("change of the image"), "{}", said.stdout);

    let many = |more: &[&str]| {
        let mut command = program(["evaluate", "removal"]);
        command.arg(&run).arg("--bank").arg(&bank).args(["--draws", "4"]).args(more);
        command
    };
    let judged = ["--queries", "3", "--controls", "3", "--method", "das,trak"];
    let said = succeed(&mut many(&judged));
    assert_names(
        &said.stdout,
        &[
            "intervention: training without 6 of 60 images, chosen by das, trak, random, pixel-cosine, for 3 samples together",
            "change of the image, mean of 3 targets and of 3 controls",
            "change of the weighted loss",
            "area under curve",
            "das against random:",
            "trak against pixel-cosine:",
        ],
    );
    let before = objects(&run);
    assert_eq!(succeed(many(&judged).args(["--threads", "1"])).stdout, said.stdout);
    assert_equal_runs(&before, &run);
    assert_verified(&run);

    // A network of another length is trained again.
    let name =
        before.keys().find(|name| name.contains("removals/") && name.ends_with(".safetensors")).unwrap();
    fs::write(run.join(name), b"x").unwrap();
    succeed(&mut many(&judged));
    assert_equal_runs(&before, &run);
    // Of the same length: nobody knows it before it is read, and then it is said what makes it again.
    let mut bytes = fs::read(run.join(name)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(run.join(name), bytes).unwrap();
    let mut other_draws = program(["evaluate", "removal"]);
    other_draws.arg(&run).arg("--bank").arg(&bank).args(["--draws", "8"]).args(judged);
    let said = fail(&mut other_draws, 1);
    assert_names(&said, &["removals/", "delete `", "pentimento verify-removal"]);
}

#[test]
fn what_cannot_be_asked_is_said_with_what_can() {
    let laboratory = Laboratory::new();
    let [bank, run] = bank_and_run(&laboratory);
    let verify = |run: &Path, bank: &Path, more: &[&str]| {
        let mut command = program([Path::new("verify-removal"), run, Path::new("--bank"), bank]);
        command.args(["--query", "0", "--method", "random"]).args(more);
        command
    };
    let said = fail(&mut verify(&run, &bank, &["--top", "60"]), WRONG_INPUT);
    assert_names(&said, &["removing 60 of 60 training images leaves none", "--top"]);
    fail(&mut verify(&run, &bank, &["--top", "0"]), WRONG_USAGE);
    let said = fail(&mut verify(&run, &run, &[]), WRONG_INPUT);
    assert_names(&said, &["it is no bank"]);
    let half = laboratory.path("half");
    let images = format!("data.path={:?}", laboratory.path("set.npy"));
    let network = bank.join("networks/0001-0");
    succeed(program([Path::new("import"), &network, Path::new("--run"), &half]).args(["--set", &images]));
    let said = fail(&mut verify(&half, &bank, &[]), WRONG_INPUT);
    assert_names(&said, &["networks/0001-0", "`random 0`", "pentimento import", "networks/0000-0"]);
    let (recipe, ensemble) = (laboratory.image_recipe(), laboratory.path("ensemble"));
    succeed(&mut program([Path::new("train"), &recipe, Path::new("--run"), &ensemble]));
    for (run, bank) in [(&ensemble, &bank), (&run, &ensemble)] {
        let said = fail(&mut verify(run, bank, &[]), WRONG_INPUT);
        assert_names(&said, &["encoded ensemble", "pentimento ablate"]);
    }
    let said = fail(verify(&run, &bank, &["--query", "9"]).arg("--method=das"), WRONG_USAGE);
    assert_names(&said, &["--query"]);
    let mut unknown = program([Path::new("verify-removal"), &run, Path::new("--bank"), &bank]);
    let said = fail(unknown.args(["--query", "9", "--method", "random", "--top", "3"]), WRONG_INPUT);
    assert_names(&said, &["query `9` does not exist", "0, 1, 2, 3, 4, 5"]);
    let mut many = program(["evaluate", "removal"]);
    let said = fail(many.arg(&run).arg("--bank").arg(&bank), WRONG_INPUT);
    assert_names(&said, &["it makes 6 samples", "20 targets and 20 controls", "samples.count=40"]);
}
