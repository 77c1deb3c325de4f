//! What is there already is not made again; what a changed recipe or a damaged file concerns is, and nothing else.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{
    Laboratory, assert_equal_runs, assert_names, assert_verified, fail, listed, objects, program,
    run_command, succeed,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// When each object of a run was written.
fn written(run: &Path) -> BTreeMap<String, SystemTime> {
    let when = |name: &String| fs::metadata(run.join(name)).unwrap().modified().unwrap();
    listed(run).into_iter().map(|name| (name.clone(), when(&name))).collect()
}

fn changed(before: &BTreeMap<String, SystemTime>, after: &BTreeMap<String, SystemTime>) -> Vec<String> {
    after
        .iter()
        .filter(|(name, when)| before.get(*name) != Some(*when))
        .map(|(name, _)| name.clone())
        .collect()
}

fn weights(run: &Path, member: usize) -> PathBuf {
    run.join(format!("members/{member:03}/unet/diffusion_pytorch_model.safetensors"))
}

#[test]
fn a_second_run_makes_nothing_again() {
    let laboratory = Laboratory::new();
    for recipe in [laboratory.class_recipe(), laboratory.image_recipe()] {
        let run = laboratory.path(&format!("run-of-{}", recipe.file_stem().unwrap().display()));
        let first = succeed(&mut run_command(&recipe, &run, &[]));
        let before = written(&run);
        let started = Instant::now();
        let second = succeed(&mut run_command(&recipe, &run, &["--threads", "1", "--batch", "3"]));
        // Nothing to compute takes milliseconds; the bound allows for a busy machine.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(changed(&before, &written(&run)), [""; 0]);
        // The figures are told again from what is there, and no stage says that it worked.
        assert_eq!(first.stdout, second.stdout);
        assert_eq!(second.stderr, "");
        for stage in ["sample", "attribute", "report"] {
            succeed(&mut program([Path::new(stage), &run]));
        }
        succeed(&mut program([Path::new("train"), &run]));
        assert_eq!(changed(&before, &written(&run)), [""; 0]);
    }
}

#[test]
fn more_samples_keep_the_members_and_the_full_shards() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    let before = written(&run);
    succeed(&mut run_command(&recipe, &run, &["--set", "samples.count=21"]));
    let changed = changed(&before, &written(&run));
    let kept = |name: &String| {
        name.starts_with("members/")
            || ["data.json", "codes.npy", "samples/000000.png", "samples/shard-00000.safetensors"]
                .contains(&name.as_str())
            || name == "attribution/shard-00000.safetensors"
    };
    assert!(!changed.iter().any(kept), "{changed:?}");
    assert!(changed.contains(&"samples/000020.png".into()), "{changed:?}");
    assert!(changed.contains(&"attribution/shard-00001.safetensors".into()), "{changed:?}");
    assert_verified(&run);

    // The run is what the changed recipe gives from scratch.
    let fresh = laboratory.path("fresh");
    succeed(&mut run_command(&recipe, &fresh, &["--set", "samples.count=21"]));
    assert_equal_runs(&objects(&fresh), &run);
}

#[test]
fn more_training_makes_members_and_samples_again() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    succeed(&mut run_command(&recipe, &run, &["--set", "training.steps=13"]));
    let fresh = laboratory.path("fresh");
    succeed(&mut run_command(&recipe, &fresh, &["--set", "training.steps=13"]));
    assert_equal_runs(&objects(&fresh), &run);
}

#[test]
fn a_damaged_member_is_found_and_made_again_when_it_is_deleted() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    let intact = objects(&run);
    let file = weights(&run, 1);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();

    let name = "members/001/unet/diffusion_pytorch_model.safetensors";
    assert_names(&fail(&mut program([Path::new("verify"), &run]), 1), &[name, "blake3", "1 problem"]);
    for command in ["sample", "attribute", "report"] {
        assert_names(&fail(&mut program([Path::new(command), &run]), 1), &[name, "is damaged", "blake3"]);
    }
    assert_names(&fail(&mut run_command(&recipe, &run, &[]), 1), &[name, "is damaged"]);

    // A length that is wrong, and a file that is gone, are seen without reading it, and the member is trained again.
    fs::write(&file, &bytes[..middle]).unwrap();
    assert_names(&fail(&mut program([Path::new("verify"), &run]), 1), &[name, "length"]);
    let said = fail(&mut program([Path::new("sample"), &run]), 42);
    assert_names(&said, &["member 1", "pentimento train"]);
    succeed(&mut program([Path::new("train"), &run]));
    assert_equal_runs(&intact, &run);

    fs::remove_file(&file).unwrap();
    assert_names(&fail(&mut program([Path::new("verify"), &run]), 1), &[name, "does not exist"]);
    let when = fs::metadata(weights(&run, 0)).unwrap().modified().unwrap();
    succeed(&mut run_command(&recipe, &run, &[]));
    assert_equal_runs(&intact, &run);
    assert_eq!(when, fs::metadata(weights(&run, 0)).unwrap().modified().unwrap(), "member 0 was intact");
    assert_verified(&run);
}

#[test]
fn a_deleted_picture_is_made_again() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    let intact = objects(&run);
    fs::remove_file(run.join("samples/000017.png")).unwrap();
    assert_names(&fail(&mut program([Path::new("verify"), &run]), 1), &["samples/000017.png"]);
    succeed(&mut program([Path::new("sample"), &run]));
    assert_equal_runs(&intact, &run);
    assert_verified(&run);
}
