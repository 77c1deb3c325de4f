//! The same bytes on any machine: small runs of every kind, compared with the digests that `NUMERICS_VERSION` stands for.
//!
//! The list is `crates/pentimento-kernels/numerics/objects.txt`: the version, and of each object of each run the digest of its
//! bytes and its fingerprint. The runs are made with the widest instructions that this processor has, and a small one again
//! with each of the narrower ones.
//!
//! What goes through decompositions of the library faer is marked with `~` in the list. Its vector instructions are not ours
//! to choose: it takes AVX2 and FMA where they are, and what it does without them, or on ARM, has other last digits. Where
//! such objects differ, on a processor whose widest instructions are others than those that the list was made with, their
//! scores are compared by value with those in `numerics/values`.
//!
//! `PENTIMENTO_RECORD=1 cargo test --release --workspace --test numerics_net` writes list and values anew. It refuses to list
//! other bytes under the same fingerprint, unless the version was raised.
#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "helpers of tests may panic as tests do"
)]

#[path = "../common/mod.rs"]
mod common;
mod list;
mod pictures;
mod plans;
mod values;

use common::{program, succeed};
use list::{Key, List, Listed};
use pentimento::diffusion::NUMERICS_VERSION;
use pentimento_kernels::Instructions;
use plans::{NETWORK, PLANS, Plan, WITH_ALL_INSTRUCTIONS};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Objects that are not in the list.
const EXEMPT: [(&str, &str); 3] = [
    ("costs.json", "holds seconds"),
    ("recipe.toml", "holds the absolute paths of the images and of a checkpoint"),
    ("report.html", "holds the date, the machine, seconds and the program's version"),
];

/// The small latent pipelines.
const PIPELINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens_latent");

/// Objects whose fingerprint is not in the list.
const FINGERPRINT_EXEMPT: [(&str, &str); 1] = [("figures.json", "the program's version is in it")];

/// Whether an object follows from a decomposition by faer: the curvature, and scores with the kernel of features or with the
/// curvature. On a processor without AVX2 and FMA all others had the bytes of one that has them.
fn goes_through_faer(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let is_of_kernel = ["das.", "trak.", "influence."].iter().any(|method| file.starts_with(method));
    name.starts_with("curvature/") || name.starts_with("scores/") && is_of_kernel
}

#[test]
fn runs_have_the_bytes_of_this_version_of_the_numerics() {
    let sets = Instructions::available();
    let found = made_with(sets[0], &PLANS);
    if std::env::var("PENTIMENTO_RECORD").is_ok_and(|record| record == "1") {
        record(&found);
    }
    let expected = List::read(&fs::read_to_string(list_path()).unwrap());
    assert_eq!(
        expected.version, NUMERICS_VERSION,
        "the list of objects is of another version of the numerics: {RECORD_ANEW}"
    );
    compare(&expected, &found, sets[0]);
    let expected = expected.only(|(run, _)| run == WITH_ALL_INSTRUCTIONS);
    let plans = PLANS.iter().filter(|plan| plan.name == WITH_ALL_INSTRUCTIONS);
    for &narrower in &sets[1..] {
        compare(&expected, &made_with(narrower, plans.clone()), narrower);
    }
}

const RECORD_ANEW: &str =
    "`PENTIMENTO_RECORD=1 cargo test --release --workspace --test numerics_net` writes it anew";

fn numerics() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pentimento-kernels/numerics")
}

fn list_path() -> PathBuf {
    numerics().join("objects.txt")
}

/// Where the scores of an object are kept.
fn values_path((run, name): &Key) -> PathBuf {
    let file = name.trim_start_matches("scores/").replace('/', "-");
    numerics().join("values").join(format!("{run}-{file}"))
}

/// What was made: the list of it, and the array files of scores that may be compared by value.
struct Made {
    list: List,
    scores: BTreeMap<Key, Vec<u8>>,
}

/// Makes runs in a folder of their own.
fn made_with<'a>(instructions: Instructions, plans: impl IntoIterator<Item = &'a Plan>) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    pictures::write_images(folder.path());
    let list = List { version: NUMERICS_VERSION, processor: widest().into(), objects: BTreeMap::new() };
    let mut made = Made { list, scores: BTreeMap::new() };
    for plan in plans {
        if let Some(recipe) = plan.recipe {
            fs::write(at(&format!("{}.toml", plan.name)), recipe.replace("NETWORK", NETWORK.trim())).unwrap();
        }
        for command in plan.commands {
            let words = command
                .split_whitespace()
                .map(|word| word.replace("RUN", plan.name).replace("PIPELINES", PIPELINES));
            let mut command = program(words);
            // By relative paths, so that the folder is in no object.
            command.current_dir(folder.path()).env("PENTIMENTO_CACHE", at("cache"));
            succeed(command.env("PENTIMENTO_INSTRUCTIONS", instructions.name()));
        }
        add_objects(plan.name, &at(plan.name), &mut made);
    }
    made
}

/// The widest instructions of this processor.
fn widest() -> &'static str {
    Instructions::available()[0].name()
}

/// Adds the objects of a run, their digests taken of what lies on the disk.
fn add_objects(run: &str, folder: &Path, made: &mut Made) {
    let manifest = fs::read(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    for (name, entry) in manifest["objects"].as_object().unwrap() {
        if EXEMPT.iter().any(|(exempt, _)| exempt == name) {
            continue;
        }
        let bytes = fs::read(folder.join(name)).unwrap();
        let digest = blake3::hash(&bytes).to_string();
        assert_eq!(entry["blake3"], digest, "{run}/{name}");
        let without_fingerprint = FINGERPRINT_EXEMPT.iter().any(|(exempt, _)| exempt == name);
        let made_from = if without_fingerprint { "-" } else { entry["made_from"].as_str().unwrap() };
        let key = (run.to_owned(), name.clone());
        made.list.objects.insert(key.clone(), Listed { digest, made_from: made_from.into() });
        if goes_through_faer(name) && name.ends_with(".npy") {
            made.scores.insert(key, bytes);
        }
    }
}

/// Says of every object that differs which one it is.
fn compare(expected: &List, found: &Made, instructions: Instructions) {
    let is_other_processor = expected.processor != widest();
    let mut said = String::new();
    let keys: BTreeSet<_> = expected.objects.keys().chain(found.list.objects.keys()).collect();
    for key in keys {
        let (expected, is) = (expected.objects.get(key), found.list.objects.get(key));
        if expected == is {
            continue;
        }
        let what = match (expected, is) {
            (Some(_), None) if !key.1.starts_with("curvature/products/") => "is missing".into(),
            _ if is_other_processor && goes_through_faer(&key.1) => {
                let Some(scores) = found.scores.get(key) else { continue };
                let Some(what) = values::difference(&fs::read(values_path(key)).unwrap(), scores) else {
                    continue;
                };
                what
            }
            (Some(expected), Some(found)) if expected.made_from == found.made_from => "other bytes".into(),
            (Some(expected), Some(found)) if expected.digest == found.digest => {
                "another fingerprint of the same bytes: runs that people have would be made again".into()
            }
            (Some(_), Some(_)) => "other bytes, and another fingerprint".into(),
            (Some(_), None) => "is missing".into(),
            (None, _) => "is not in the list".into(),
        };
        writeln!(said, "  run `{}`: {}: {what}", key.0, key.1).unwrap();
    }
    assert!(
        said.is_empty(),
        "with {} instructions, objects differ from {}:\n{said}\
         If they should not, mend the change. If they should: raise NUMERICS_VERSION (crates/pentimento-kernels/src/lib.rs) \
         where bytes differ that follow from the same inputs, or the label of the fingerprint where only a form does; then \
         {RECORD_ANEW}.",
        instructions.name(),
        list_path().display(),
    );
}

/// Writes list and values anew.
fn record(found: &Made) {
    let before = fs::read_to_string(list_path()).map(|text| List::read(&text)).unwrap_or_default();
    if before.version == NUMERICS_VERSION && before.processor == found.list.processor {
        for (key, was) in &before.objects {
            let same = found.list.objects.get(key).is_none_or(|is| {
                is.digest == was.digest || is.made_from != was.made_from || is.made_from == "-"
            });
            assert!(
                same,
                "{}/{}: other bytes under the same fingerprint: raise NUMERICS_VERSION",
                key.0, key.1
            );
        }
    }
    let _ = fs::remove_dir_all(numerics().join("values"));
    fs::create_dir_all(numerics().join("values")).unwrap();
    for (key, scores) in &found.scores {
        fs::write(values_path(key), scores).unwrap();
    }
    fs::write(list_path(), found.list.to_text(goes_through_faer)).unwrap();
}
