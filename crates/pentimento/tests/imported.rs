//! A checkpoint that diffusers wrote, as a run: import, sample, export, doctor, and what is refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use pentimento_testing::skipped;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(name)
}

fn import(from: &Path, run: &Path, more: &[&str]) -> Command {
    let mut command = program([Path::new("import"), from, Path::new("--run"), run]);
    command.args(["--set", "gradients.groups=4"]).args(more);
    command
}

#[test]
fn a_checkpoint_is_imported_sampled_and_exported() {
    let laboratory = Laboratory::new();
    let (run, again) = (laboratory.path("run"), laboratory.path("again"));
    let few = ["--set", "samples.count=3"];
    let imported = succeed(&mut import(&golden("goldens/plain"), &run, &few));
    assert_names(&imported.stderr, &["44969 parameters", "one channel", "DDPM", "20 steps"]);
    succeed(&mut program([Path::new("sample"), &run]));
    assert_verified(&run);
    let made = objects(&run);
    assert!(made.contains_key("samples/shard-00000.safetensors") && made.contains_key("samples/000002.png"));

    // The old attention names hold the same network, so the same samples, one by one or many at once.
    let old = golden("goldens/plain/old_names");
    let scheduler = golden("goldens/plain/scheduler");
    let from = ["--scheduler", scheduler.to_str().unwrap(), "--set", "samples.count=3"];
    succeed(&mut import(&old, &again, &from));
    succeed(program([Path::new("sample"), &again]).args(["--batch", "1", "--threads", "1"]));
    for (name, bytes) in &made {
        // The recipe says where it came from.
        assert!(name == "recipe.toml" || objects(&again)[name] == *bytes, "{name}");
    }

    let exported = laboratory.path("exported");
    succeed(&mut program([Path::new("export"), &run, &exported]));
    for file in
        ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
    {
        assert_eq!(fs::read(exported.join(file)).unwrap(), made[&format!("members/000/{file}")], "{file}");
    }
    // What was exported is a checkpoint, and the same one.
    succeed(&mut import(&exported, &run, &few));
    assert_equal_runs_but_the_recipe(&made, &run);
    let said = fail(&mut program([Path::new("export"), &run, &exported]), 42);
    assert_names(
        &said,
        &["exists already and is not empty", "name a folder that is empty or does not exist yet"],
    );
}

fn assert_equal_runs_but_the_recipe(expected: &std::collections::BTreeMap<String, Vec<u8>>, run: &Path) {
    let mut found = objects(run);
    found.insert("recipe.toml".into(), expected["recipe.toml"].clone());
    assert!(*expected == found);
}

#[test]
fn what_is_refused() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    // A training checkpoint with a moving average: a question, never a guess.
    let training = laboratory.path("checkpoint-500");
    for network in ["unet", "unet_ema"] {
        copy(&golden("goldens/plain/unet"), &training.join(network));
    }
    let scheduler = golden("goldens/plain/scheduler/scheduler_config.json");
    let scheduler = ["--scheduler", scheduler.to_str().unwrap()];
    let said = fail(&mut import(&training, &run, &scheduler), 42);
    assert_names(&said, &["`unet` and `unet_ema`", "--network unet_ema"]);
    let said = fail(&mut import(&training, &run, &["--network", "unet_ema"]), 42);
    assert_names(&said, &["scheduler_config.json", "--scheduler FILE"]);
    assert!(!run.exists(), "nothing is written for a checkpoint that does not open");
    succeed(import(&training, &run, &scheduler).args(["--network", "unet_ema"]));

    // The run of one network takes no other, and answers no question of codes.
    let said = fail(&mut import(&golden("goldens/ddpm_cifar_like"), &run, &[]), 42);
    assert_names(&said, &["run is a run of another network; name another folder with `--run`"]);
    assert_names(&fail(&mut program([Path::new("codes"), &run]), 42), &["imported", "codes"]);
    let said = fail(&mut program([Path::new("plan"), &run]), 42);
    assert_names(&said, &["attribution needs the training images", "--set data.path=PATH"]);
    let said = fail(program([Path::new("search"), &run]).args(["--sample", "0"]), 42);
    assert_names(&said, &["imported", "codes"]);
    let said = fail(
        &mut import(
            &training,
            &run,
            &["--network", "unet", scheduler[0], scheduler[1], "--set", "training.steps=3"],
        ),
        42,
    );
    assert_names(&said, &["training", "not with `checkpoint`"]);
    let said = fail(
        import(&training, &laboratory.path("other"), &scheduler).args([
            "--network",
            "unet",
            "--set",
            "samples.class=1",
        ]),
        42,
    );
    assert_names(&said, &["samples.class", "trained without classes"]);

    // A network without classes is one thing, a class that a network does not know another.
    let with_classes = golden("goldens_configurations/class_table");
    let classes = laboratory.path("classes");
    let count = ["--set", "samples.count=1"];
    succeed(import(&with_classes, &classes, &scheduler).args(count).args(["--set", "samples.class=4"]));
    succeed(&mut program([Path::new("sample"), &classes]));
    let said = fail(import(&with_classes, &classes, &scheduler).args(["--set", "samples.class=5"]), 42);
    assert_names(&said, &["samples.class", "5", "below 5"]);
    let said = fail(&mut import(&with_classes, &laboratory.path("none"), &scheduler), 42);
    assert_names(&said, &["samples.class", "absent"]);
}

#[test]
fn the_doctor_tells_sound_from_damaged() {
    let laboratory = Laboratory::new();
    let doctor = |folder: &Path| program([Path::new("doctor"), folder]);
    for case in ["plain", "ddpm_cifar_like", "scale_shift_heads"] {
        let said = succeed(&mut doctor(&golden("goldens").join(case))).stdout;
        assert_names(
            &said,
            &["opened", "alone and in a batch", "agrees with differences", "gradients reach"],
        );
        assert!(!said.contains("PROBLEM"), "{said}");
    }
    let damaged = laboratory.path("damaged");
    copy(&golden("goldens/plain"), &damaged);
    let file = damaged.join("unet/diffusion_pytorch_model.safetensors");
    let whole = fs::read(&file).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;

    let mut bytes = whole.clone();
    bytes[header..header + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, &bytes).unwrap();
    assert_names(
        &fail(&mut doctor(&damaged), 42),
        &["diffusion_pytorch_model.safetensors", "value 0 is NaN"],
    );
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert_names(&fail(&mut doctor(&damaged), 42), &["diffusion_pytorch_model.safetensors", "cut short"]);
    // Weights that are numbers, but too large to compute with.
    bytes.copy_from_slice(&whole);
    for value in bytes[header..].as_chunks_mut::<4>().0 {
        *value = 1e30f32.to_le_bytes();
    }
    fs::write(&file, &bytes).unwrap();
    let output = doctor(&damaged).output().unwrap();
    assert_eq!(output.status.code(), Some(42));
    assert_names(&text(&output.stdout), &["PROBLEM  outputs are infinite or not numbers"]);
    assert_no_panic(&text(&output.stderr));
}

/// Scores of a data set, by every method, written, printed and on a page; the same bytes however they were made.
#[test]
fn training_images_are_scored_and_reported() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    let data = |name: &str| format!("data.{name}={:?}", laboratory.path(name));
    let (images, labels) = (data("images"), data("labels"));
    let settings =
        ["samples.count=3", &images, &labels, "gradients.dimension=512", "influence.cg_gradients=1000"]
            .map(|setting| ["--set", setting])
            .concat();
    succeed(&mut import(&golden("goldens/plain"), &run, &settings));
    let finished = succeed(&mut program([Path::new("run"), &run]));
    assert_names(&finished.stdout, &["sample 0: ", "sample 2: ", "report.html"]);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert_names(&page, &["influence-cg", "Look most like it"]);
    for method in ["tracin", "retrac", "trak", "das", "d-trak"] {
        let said =
            succeed(program([Path::new("attribute"), &run]).args(["--method", method, "--top", "2"])).stdout;
        assert_names(&said, &["sample 0: ", &format!("scores/samples/{method}.parquet")]);
    }
    let made = objects(&run);
    // 60 images and 3 samples, one after another: f32 of `[samples, images]` after the header.
    let scores = &made["scores/samples/d-trak.npy"];
    assert_eq!(scores.len(), 128 + 4 * 3 * IMAGES);
    // Both tables of features lie in one folder, a file of rows and its ledger each.
    let rows: Vec<&String> = made.keys().filter(|name| name.starts_with("features/square-")).collect();
    assert_eq!(rows.len(), 4, "{rows:?}");
    let rows =
        rows.iter().find(|name| name.contains("/groups-4/") && name.ends_with(".arrow")).unwrap().as_str();

    // In another run, by other threads and batches, with a shard lost on the way: the same bytes.
    let again = laboratory.path("again");
    succeed(&mut import(&golden("goldens/plain"), &again, &settings));
    let attribute = |run: &Path| {
        let mut command = program([Path::new("attribute"), run]);
        command.args(["--threads", "1", "--batch", "3", "--method", "d-trak,influence-cg"]);
        command
    };
    succeed(&mut attribute(&again));
    let usual = "scores/samples/influence-cg.npy";
    assert!(fs::read(again.join(usual)).unwrap() == made[usual]);
    assert!(fs::read(again.join("scores/samples/d-trak.npy")).unwrap() == *scores);
    fs::remove_file(again.join(rows)).unwrap();
    succeed(&mut attribute(&again));
    assert!(fs::read(again.join("scores/samples/d-trak.npy")).unwrap() == *scores);
    assert!(fs::read(again.join(rows)).unwrap() == made[rows]);
    // A row that was damaged on the disk is found by its digest, said, and made again.
    let mut damaged = made[rows].clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(again.join(rows), damaged).unwrap();
    let said = succeed(&mut attribute(&again)).stderr;
    assert_names(&said, &[rows, "damaged", "made again"]);
    assert!(fs::read(again.join(rows)).unwrap() == made[rows]);
    assert!(fs::read(again.join("scores/samples/d-trak.npy")).unwrap() == *scores);

    // What does not fit is said.
    let said = fail(program([Path::new("attribute"), &run]).args(["--method", "jacobian"]), 42);
    assert_names(&said, &["jacobian", "trained with codes", "`d-trak`"]);
    let other = laboratory.path("other");
    assert_names(
        &fail(&mut import(&golden("goldens/ddpm_cifar_like"), &other, &settings), 42),
        &["8x8 with 3 channels", "12x12 with 3 channels", "data.preprocessing"],
    );
    let bare = laboratory.path("bare");
    succeed(&mut import(&golden("goldens/plain"), &bare, &["--set", "samples.count=1"]));
    assert_names(&fail(&mut attribute(&bare), 42), &["`data`", "data.set"]);
    for setting in ["gradients.timesteps=0", "gradients.dimension=1", "gradients.damping=0.0"] {
        let said = fail(&mut import(&golden("goldens/plain"), &bare, &["--set", setting]), 42);
        assert_names(&said, &[setting.split('=').next().unwrap()]);
    }
}

/// A network with classes is asked about images of classes that it knows, and about no others.
#[test]
fn classes_of_images() {
    let laboratory = Laboratory::new();
    let (network, run) = (golden("goldens_configurations/class_table"), laboratory.path("run"));
    let scheduler = golden("goldens/plain/scheduler");
    let attribute = || program([Path::new("attribute"), &run]);
    let folder = |name: &str, labels: Option<u32>| {
        let path = laboratory.path(name);
        fs::create_dir(&path).unwrap();
        let images: Vec<u8> = pixels().into_iter().take(6 * 64).collect();
        fs::write(path.join("images-idx3-ubyte"), idx(0x803, &[6, 8, 8], &images)).unwrap();
        let labels: Vec<u8> = (0..6).map(|image| image.min(labels.unwrap_or(0)) as u8).collect();
        fs::write(path.join("labels-idx1-ubyte"), idx(0x801, &[6], &labels)).unwrap();
        path
    };
    let import_with = |path: &Path| {
        let mut command = import(&network, &run, &["--set", "samples.class=1", "--set", "samples.count=1"]);
        command.args(["--scheduler", scheduler.to_str().unwrap(), "--set", "gradients.dimension=64"]);
        command.args(["--set", &format!("data.images={:?}", path.join("images-idx3-ubyte"))]);
        command.args(["--set", &format!("data.labels={:?}", path.join("labels-idx1-ubyte"))]);
        command
    };
    succeed(&mut import_with(&folder("known", Some(4))));
    succeed(&mut attribute());
    // Told when the images are named, and not after hours of sampling.
    let said = fail(&mut import_with(&folder("unknown", Some(5))), 42);
    assert_names(&said, &["label 5 of image 5", "classes 0 to 4"]);
}

#[test]
fn damage_and_what_was_not_asked() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    let plain = golden("goldens/plain");
    let few = ["--set", "samples.count=1"];
    succeed(&mut import(&plain, &run, &few));
    // What only the checkpoint can make again is made again from it.
    for name in ["members/000/unet/config.json", "members/000/unet/diffusion_pytorch_model.safetensors"] {
        let whole = fs::read(run.join(name)).unwrap();
        let mut damaged = whole.clone();
        damaged[20] ^= 1;
        for bytes in [Some(damaged), None] {
            match bytes {
                Some(bytes) => fs::write(run.join(name), bytes).unwrap(),
                None => fs::remove_file(run.join(name)).unwrap(),
            }
            let said = fail(&mut program([Path::new("sample"), &run]), 1);
            assert_names(&said, &["pentimento import", "goldens/plain"]);
            succeed(&mut import(&plain, &run, &few));
            assert!(fs::read(run.join(name)).unwrap() == whole, "{name}");
        }
    }
    succeed(&mut program([Path::new("sample"), &run]));
    // A recipe that says less than before says so.
    let said = succeed(&mut import(&plain, &run, &["--set", "samples.class=0"][..0])).stderr;
    assert_names(&said, &["count = 64"]);
    let said = fail(&mut import(&plain, &run, &["--set", "checkpoint.folder=/"]), 42);
    assert_names(&said, &["`checkpoint`", "no setting changes"]);
    let said = fail(&mut import(&plain, &run, &["--set", "data.path=nowhere"]), 42);
    assert_names(&said, &["data.path", "nowhere", "nothing exists"]);
    let said = succeed(&mut import(&plain, &run, &["--set", "schedule.beta_end=0.1", "--replace"])).stderr;
    assert_names(&said, &["not that of the checkpoint's scheduler"]);

    // Weights that are numbers, but make none.
    let broken = laboratory.path("broken");
    copy(&plain, &broken);
    let file = broken.join("unet/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for value in bytes[header..].as_chunks_mut::<4>().0 {
        *value = 1e30f32.to_le_bytes();
    }
    fs::write(&file, bytes).unwrap();
    let other = laboratory.path("other");
    succeed(&mut import(&broken, &other, &few));
    let said = fail(&mut program([Path::new("sample"), &other]), 42);
    assert_names(&said, &["sample 0", "not a number", "doctor"]);
    assert!(!other.join("samples/000000.png").exists());
}

/// The script says itself what it compares; here it is only given a run.
#[test]
fn diffusers_makes_the_same_images() {
    let python = std::env::var("PENTIMENTO_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python).args(["-c", "import torch, diffusers, safetensors"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        let why =
            format!("{python} has no torch and diffusers (PENTIMENTO_PYTHON names another interpreter)");
        return skipped("python-torch", why);
    }
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    // Spaced as diffusers spaces, which DDIM needs, and once with another prediction.
    for setting in [
        "sampling.sampler=ddpm",
        "schedule.prediction_type=v_prediction",
        "sampling={steps=5, sampler=\"ddim\", spacing=\"leading\"}",
    ] {
        let more = ["--set", setting, "--set", "samples.count=2", "--replace"];
        succeed(&mut run_command(&laboratory.class_recipe(), &run, &more));
        let script = golden("interop/exported_sample.py");
        let output = Command::new(&python)
            .arg(script)
            .args([Path::new(env!("CARGO_BIN_EXE_pentimento")), &run])
            .output()
            .unwrap();
        let said = text(&output.stdout);
        assert!(
            output.status.success() && said.contains("\"passed\": true"),
            "{said}{}",
            text(&output.stderr)
        );
    }
}
