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
use std::time::SystemTime;

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
        let second = succeed(&mut run_command(&recipe, &run, &["--threads", "1", "--batch", "3"]));
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

/// How the ensemble samples is told to diffusers in every member's folder, and no member is trained again for it.
#[test]
fn other_sampling_keeps_the_members_but_for_their_scheduler() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    for (settings, index_class, scheduler_class, variance, clip) in [
        (
            ["--set", "sampling.variance=fixed_large", "--set", "sampling.clip=false", "--replace"],
            "DDPMPipeline",
            "DDPMScheduler",
            serde_json::json!("fixed_large"),
            false,
        ),
        (
            ["--set", "sampling.sampler=ddim", "--set", "sampling.steps=5", "--replace"],
            "DDIMPipeline",
            "DDIMScheduler",
            serde_json::Value::Null,
            true,
        ),
    ] {
        let before = written(&run);
        succeed(&mut run_command(&recipe, &run, &settings));
        let changed = changed(&before, &written(&run));
        for member in ["members/000/", "members/001/", "members/002/"] {
            let files: Vec<&str> = changed.iter().filter_map(|name| name.strip_prefix(member)).collect();
            assert_eq!(files, ["model_index.json", "scheduler/scheduler_config.json"]);
            let json = |file: &str| -> serde_json::Value {
                serde_json::from_slice(&fs::read(run.join(member).join(file)).unwrap()).unwrap()
            };
            assert_eq!(json("model_index.json")["_class_name"], index_class);
            let scheduler = json("scheduler/scheduler_config.json");
            assert_eq!(scheduler["_class_name"], scheduler_class);
            assert_eq!((&scheduler["variance_type"], &scheduler["clip_sample"]), (&variance, &clip.into()));
        }
        assert!(changed.contains(&"samples/000000.png".into()), "{changed:?}");
        let fresh = laboratory.path(scheduler_class);
        succeed(&mut run_command(&recipe, &fresh, &settings));
        assert_equal_runs(&objects(&fresh), &run);
    }
    // What diffusers is not told, such as the number of steps, leaves the files alone.
    let before = written(&run);
    succeed(&mut run_command(
        &recipe,
        &run,
        &["--set", "sampling.sampler=ddim", "--set", "sampling.steps=6", "--replace"],
    ));
    let changed = changed(&before, &written(&run));
    assert!(!changed.iter().any(|name| name.starts_with("members/")), "{changed:?}");
}

#[test]
fn more_training_makes_members_and_samples_again() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    succeed(&mut run_command(&recipe, &run, &["--set", "training.steps=13", "--replace"]));
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
    // Where everything is current, nothing reads the weights; what does, refuses them.
    for command in ["sample", "attribute", "report"] {
        succeed(&mut program([Path::new(command), &run]));
    }
    let picture = run.join("samples/000003.png");
    fs::remove_file(&picture).unwrap();
    assert_names(&fail(&mut program([Path::new("sample"), &run]), 1), &[name, "is damaged", "blake3"]);
    assert_names(&fail(&mut run_command(&recipe, &run, &[]), 1), &[name, "is damaged"]);
    fs::write(&picture, &intact["samples/000003.png"]).unwrap();

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

/// Every kind of object that a stage reads: what is said about a damaged one is true.
#[test]
fn a_damaged_object_is_made_again_as_the_message_says() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    let intact = objects(&run);
    for (name, command) in [
        // The report is not current without them, so that it is made from the rest.
        ("members/001/unet/diffusion_pytorch_model.safetensors", "sample"),
        ("members/002/losses.npy", "report"),
        ("attribution/shard-00001.safetensors", "report"),
        ("recipe.toml", "sample"),
    ] {
        let file = run.join(name);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, &bytes).unwrap();
        // A stage reads only what it needs: its own object is taken away, so that it needs the damaged one.
        let gone = if command == "sample" { "samples/000000.png" } else { "report.html" };
        fs::remove_file(run.join(gone)).unwrap();
        let said = fail(&mut program([Path::new(command), &run]), 1);
        let file = file.display();
        let again = if name == "recipe.toml" {
            format!("`pentimento run RECIPE --run {}`", run.display())
        } else {
            format!("`pentimento run {}`", run.display())
        };
        assert_names(
            &said,
            &[&format!("`{file}` is damaged"), &format!("what to do: delete `{file}`"), &again],
        );
        let said = fail(&mut program([Path::new("verify"), &run]), 1);
        assert_names(&said, &[&format!("what to do: delete `{file}`"), &again]);

        fs::remove_file(run.join(name)).unwrap();
        let source = if name == "recipe.toml" { &recipe } else { &run };
        succeed(&mut run_command(source, &run, &[]));
        assert_verified(&run);
        assert_equal_runs(&intact, &run);
    }
}

/// The page and its figures follow from what is there, so nobody has to delete them.
#[test]
fn a_damaged_page_is_made_again() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    succeed(&mut run_command(&laboratory.class_recipe(), &run, &[]));
    let intact = objects(&run);
    for name in ["figures.json", "report.html"] {
        let whole = fs::read(run.join(name)).unwrap();
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(run.join(name), &bytes).unwrap();
        succeed(&mut program([Path::new("report"), &run]));
        assert_eq!(fs::read(run.join(name)).unwrap(), whole, "{name}");
        assert_equal_runs(&intact, &run);
        assert_verified(&run);
    }
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
