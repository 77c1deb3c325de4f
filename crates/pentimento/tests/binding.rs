//! A run is bound to its recipe: what another recipe made is not replaced unasked, and nothing of it stays unseen.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::*;
use std::fs;
use std::path::Path;

fn run_set(run: &Path, more: &[&str]) -> std::process::Command {
    let mut command = program([Path::new("run"), run]);
    command.args(more);
    command
}

/// What a writer leaves that is killed while it replaces the recipe: a reader does not say that there is none.
#[test]
fn a_recipe_that_is_being_replaced_is_not_called_missing() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    succeed(&mut run_command(&laboratory.class_recipe(), &run, &[]));
    let before = objects(&run);
    let file = run.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let entry = manifest["objects"]["recipe.toml"].clone();
    manifest["pending"] = serde_json::json!({"recipe.toml": {"temporary": ".tmp-recipe", "entry": entry}});
    fs::write(&file, manifest.to_string()).unwrap();
    let report = format!("`pentimento report {}`", run.display());
    let said = fail(&mut program([Path::new("scores"), &run]), 75);
    assert_names(&said, &["its recipe is being replaced", &report]);
    succeed(&mut program([Path::new("report"), &run]));
    assert_equal_runs(&before, &run);
}

#[test]
fn another_recipe_replaces_nothing_unless_it_is_told_to() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    succeed(&mut run_command(&laboratory.image_recipe(), &run, &[]));
    let before = objects(&run);
    let classes = laboratory.class_recipe();
    let said = fail(&mut run_command(&classes, &run, &[]), 42);
    assert_names(
        &said,
        &["6 trained members", "2 shards of samples", "--replace", "--run", "groups = \"class\""],
    );
    assert_eq!(objects(&run), before);

    // Told to, it leaves nothing of the other: no member beyond its own, no scores, no page.
    succeed(program([Path::new("attribute"), &run]).args(["--method", "second-order"]));
    let said = succeed(&mut run_command(&classes, &run, &["--replace"])).stderr;
    assert_names(&said, &["removed what followed from the recipe before", "members/003/"]);
    let fresh = laboratory.path("fresh");
    succeed(&mut run_command(&classes, &fresh, &[]));
    assert_equal_runs(&objects(&fresh), &run);
    let exported = laboratory.path("exported");
    let said = fail(program([Path::new("export"), &run, &exported]).args(["--member", "5"]), 42);
    assert_names(&said, &["member 5", "3"]);

    // More samples are no other work.
    succeed(&mut run_command(&classes, &run, &["--set", "samples.count=23"]));
    let other = fail(&mut run_command(&classes, &run, &["--set", "sampling.steps=3"]), 42);
    assert_names(&other, &["shards of samples", "steps = 3"]);
    assert!(!other.contains("trained member"), "{other}");
}

#[test]
fn an_imported_run_keeps_what_is_set_and_takes_an_edited_recipe() {
    let laboratory = Laboratory::new();
    let run = laboratory.path("run");
    let network = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/plain");
    let import = [Path::new("import"), &network, Path::new("--run"), &run];
    succeed(program(import).args(["--set", "samples.count=2"]));
    succeed(&mut run_set(&run, &["--set", "seed=9"]));
    let recipe = || fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(recipe().contains("seed = 9"));
    let of_nine = fs::read(run.join("samples/000000.png")).unwrap();

    assert_names(&fail(&mut run_set(&run, &["--set", "seed=7"]), 42), &["1 shard of samples", "seed = 7"]);
    assert_eq!(fs::read(run.join("samples/000000.png")).unwrap(), of_nine);
    fs::write(run.join("recipe.toml"), recipe().replace("seed = 9", "seed = 7")).unwrap();
    let said = fail(&mut program([Path::new("verify"), &run]), 1);
    assert_names(&said, &["recipe.toml", "if you have edited it", "pentimento run"]);
    assert_names(&fail(&mut run_set(&run, &[]), 42), &["1 shard of samples", "--replace"]);
    succeed(&mut run_set(&run, &["--replace"]));
    assert_verified(&run);
    assert_ne!(fs::read(run.join("samples/000000.png")).unwrap(), of_nine);
    assert!(recipe().contains("seed = 7"));
}

#[test]
fn a_run_works_from_any_folder_and_says_which_images_it_misses() {
    let laboratory = Laboratory::new();
    let (run, elsewhere) = (laboratory.path("run"), laboratory.path("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    let file = laboratory.class_recipe();
    let text = fs::read_to_string(&file).unwrap();
    let relative = |name: &str| format!("{name} = {:?}", laboratory.path(name));
    let text = text.replace(&relative("images"), "images = \"images\"");
    fs::write(&file, text.replace(&relative("labels"), "labels = \"labels\"")).unwrap();
    // Paths of a recipe are those of its folder.
    succeed(run_command(&file, &run, &[]).current_dir(&elsewhere));
    succeed(program([Path::new("report"), &run]).current_dir("/"));

    let moved = laboratory.path("moved");
    fs::rename(laboratory.path("images"), &moved).unwrap();
    let said = fail(&mut program([Path::new("report"), &run]), 42);
    assert_names(
        &said,
        &["`data.images`", laboratory.path("images").to_str().unwrap(), "--set data.images=PATH"],
    );
    // The same images elsewhere make nothing again.
    let before = objects(&run);
    let here =
        ["--set", "data.images=moved", "--set", &format!("data.labels={:?}", laboratory.path("labels"))];
    succeed(run_set(&run, &here).current_dir(laboratory.path("")));
    let changed: Vec<String> = objects(&run)
        .into_iter()
        .filter(|(name, bytes)| before[name] != *bytes)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(changed, ["recipe.toml"]);
}
