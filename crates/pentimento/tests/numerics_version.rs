//! What another version of the program computed is not mixed with what this one computes, and nothing of worth is lost.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod common;

use common::{
    Laboratory, assert_equal_runs, assert_names, assert_verified, fail, objects, program, run_command,
    succeed,
};
use pentimento::diffusion::NUMERICS_VERSION;
use pentimento::diffusion::arrays::ArrayWriter;
use pentimento::store::Run;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// When the weights of each of three members were written.
fn written(run: &Path) -> Vec<SystemTime> {
    let weights = |member| run.join(format!("members/{member:03}/unet/diffusion_pytorch_model.safetensors"));
    (0..3).map(|member| fs::metadata(weights(member)).unwrap().modified().unwrap()).collect()
}

/// Replaces an object by other bytes that are made from the same.
fn replace(run: &Path, name: &str, bytes: &[u8]) {
    let store = Run::create_or_open(run).unwrap();
    let key = store.entry("members/000/losses.npy").unwrap().made_from;
    let key = store.entry(name).map_or(key, |entry| entry.made_from);
    store.put(name, key, bytes).unwrap();
}

#[test]
fn members_of_another_version_are_kept_and_said() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    let recorded: serde_json::Value =
        serde_json::from_slice(&fs::read(run.join("members/002/training.json")).unwrap()).unwrap();
    assert_eq!(recorded["numerics_version"], NUMERICS_VERSION);
    let (intact, when) = (objects(&run), written(&run));

    let other = NUMERICS_VERSION + 1;
    replace(&run, "members/001/training.json", format!("{{\"numerics_version\": {other}}}").as_bytes());
    Run::create_or_open(&run).unwrap().remove("members/002/training.json").unwrap();
    let said = succeed(&mut run_command(&recipe, &run, &[])).stderr;
    assert_names(
        &said,
        &[
            &format!("trained by numerics version {other}, kept as they are: members/001."),
            "did not record its numerics version, kept as they are: members/002.",
            &format!("computes with version {NUMERICS_VERSION}"),
        ],
    );
    assert!(!said.contains("members/000"), "{said}");
    assert_eq!(written(&run), when);

    // As the note says: the folders deleted, the members are trained again, and nothing is said any more.
    for member in ["members/001", "members/002"] {
        fs::remove_dir_all(run.join(member)).unwrap();
    }
    succeed(&mut run_command(&recipe, &run, &[]));
    assert_eq!(succeed(&mut run_command(&recipe, &run, &[])).stderr, "");
    assert_equal_runs(&intact, &run);
}

#[test]
fn an_unfinished_training_of_another_version_is_refused_until_it_is_deleted() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    let (intact, when) = (objects(&run), written(&run));
    // Two members in training, one by another version and one by a version that recorded none.
    let mut states = BTreeMap::new();
    for (member, version) in [(1, Some(NUMERICS_VERSION + 1)), (2, None)] {
        let mut arrays = ArrayWriter::default();
        arrays.put_f32("losses", &[2], &[0.5, 0.25]);
        if let Some(version) = version {
            arrays.put_u32("numerics_version", &[1], &[version]);
        }
        let name = format!("members/{member:03}/training_state.safetensors");
        let store = Run::create_or_open(&run).unwrap();
        let key = store.entry(&format!("members/{member:03}/losses.npy")).unwrap().made_from;
        store.remove(&format!("members/{member:03}/losses.npy")).unwrap();
        store.put(&name, key, &arrays.to_bytes("state", None).unwrap()).unwrap();
        states.insert(run.join(name), version);
    }
    let said = fail(&mut run_command(&recipe, &run, &[]), 42);
    for (file, version) in &states {
        let version = version.map_or("not recorded".into(), |version| format!("version {version}"));
        assert_names(&said, &[&format!("`{}` ({version})", file.display())]);
    }
    assert_names(&said, &["this program's", "delete the files"]);
    assert_eq!(written(&run), when, "no member was trained on");

    for file in states.keys() {
        fs::remove_file(file).unwrap();
    }
    succeed(&mut program([Path::new("train"), &run]));
    succeed(&mut run_command(&recipe, &run, &[]));
    assert_equal_runs(&intact, &run);
    assert_verified(&run);
}

/// What is made with a member follows from its bytes: another version may have trained it to other last digits.
#[test]
fn samples_and_attribution_follow_the_bytes_of_the_members() {
    let laboratory = Laboratory::new();
    let recipe = laboratory.class_recipe();
    let run = laboratory.path("run");
    succeed(&mut run_command(&recipe, &run, &[]));
    let (before, when) = (objects(&run), written(&run));
    let name = "members/001/unet/diffusion_pytorch_model.safetensors";
    // A bit of the last weight of the file.
    let mut bytes = before[name].clone();
    let place = bytes.len() - 2;
    bytes[place] ^= 0x20;
    replace(&run, name, &bytes);
    succeed(&mut run_command(&recipe, &run, &[]));
    let after = objects(&run);
    let shards = |objects: &BTreeMap<String, Vec<u8>>| -> Vec<(String, Vec<u8>)> {
        let shard = |name: &str| name.starts_with("samples/shard") || name.starts_with("attribution/");
        objects.clone().into_iter().filter(|(name, _)| shard(name)).collect()
    };
    assert_eq!(shards(&before).len(), 4);
    for ((name, before), (_, after)) in shards(&before).iter().zip(&shards(&after)) {
        assert!(before != after, "{name} is not made again");
    }
    assert_eq!((written(&run)[0], written(&run)[2]), (when[0], when[2]));

    // The member as it was: everything else follows.
    replace(&run, name, &before[name]);
    succeed(&mut run_command(&recipe, &run, &[]));
    assert_equal_runs(&before, &run);
}
