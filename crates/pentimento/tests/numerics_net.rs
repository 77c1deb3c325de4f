//! The same bytes on any machine: small runs of every kind, compared with the digests that `NUMERICS_VERSION` stands for.
//!
//! The list is `crates/pentimento-kernels/numerics/objects.txt`: the version, and of each object of each run the digest of its
//! bytes and its fingerprint. The runs are made with the widest instructions that this processor has and again with the
//! narrower ones. `PENTIMENTO_RECORD=1 cargo test --release --test numerics_net` writes the list anew; it refuses to
//! replace bytes under the same fingerprint by others, unless the version was raised.
#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "helpers of tests may panic as tests do"
)]

mod common;

use common::{idx, program, succeed};
use pentimento::diffusion::NUMERICS_VERSION;
use pentimento_kernels::Instructions;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Objects that are not in the list.
const EXEMPT: [(&str, &str); 2] = [
    ("costs.json", "holds seconds"),
    ("report.html", "holds the date, the machine, seconds and the program's version"),
];

/// Objects of single runs that are not in the list.
const EXEMPT_IN_A_RUN: [(&str, &str, &str); 1] =
    [("imported", "recipe.toml", "holds the absolute path of the checkpoint and of the images")];

/// Objects whose fingerprint is not in the list.
const FINGERPRINT_EXEMPT: [(&str, &str); 1] = [("figures.json", "the program's version is in it")];

/// What a run is about, and the commands that make it; `RUN` stands for its folder.
struct Plan {
    name: &'static str,
    recipe: Option<&'static str>,
    commands: &'static [&'static str],
}

/// The only run that is made with narrower instructions too, where a multiplication is up to thirty times slower.
const WITH_ALL_INSTRUCTIONS: &str = "small";

/// Networks of all recipes: wide enough for Winograd's kernels, with attention and with convolutions that change the size.
const NETWORK: &str = r#"
block_out_channels = [16, 32]
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
"#;

const PLANS: [Plan; 5] = [
    Plan {
        name: "classes",
        recipe: Some(
            r#"
name = "classes"
seed = 7
[data]
images = "images"
labels = "labels"
[codes]
kind = "walsh"
groups = "class"
[model]
NETWORK
[training]
steps = 6
batch = 24
learning_rate = 1e-3
warmup_steps = 2
ema_decay = 0.9
[sampling]
steps = 4
[samples]
count = 3
in_report = 2
[attribution]
fidelity_samples = 2
top = 3
"#,
        ),
        commands: &[
            "run classes.toml --run RUN",
            "attribute RUN --method jacobian,second-order",
            "ablate RUN --sample 1 --groups 0",
        ],
    },
    Plan {
        name: "codes",
        recipe: Some(
            r#"
name = "codes"
seed = 8
[data]
path = "colours.npy"
[data.preprocessing]
first = 20
resize = { height = 8, width = 8 }
[codes]
kind = "drawn"
members = 6
weight = 3
[model]
NETWORK
resnet_time_scale_shift = "scale_shift"
[schedule]
beta_schedule = "squaredcos_cap_v2"
prediction_type = "v_prediction"
[training]
steps = 3
batch = 8
learning_rate = 1e-3
decay = "cosine"
[sampling]
steps = 3
sampler = "ddim"
spacing = "leading"
[samples]
count = 2
in_report = 1
[attribution]
counterfactuals = 4
fidelity_samples = 1
candidates = 6
exact = 2
top = 4
"#,
        ),
        commands: &["run codes.toml --run RUN"],
    },
    Plan {
        name: "imported",
        recipe: None,
        commands: &[
            "export classes imported-checkpoint --member 2",
            "import imported-checkpoint --run RUN --set samples.count=2 --set sampling.steps=4 --set data.path=grey.npy \
             --set data.preprocessing.first=40 --set gradients.timesteps=2 --set gradients.groups=2 \
             --set gradients.dimension=256 --set influence.draws=2 --set influence.images=20",
            "attribute RUN --method das,trak,influence,pixel-cosine,patches",
            "attribute RUN --method das --query 3,17",
        ],
    },
    Plan {
        name: "checkpoints",
        recipe: Some(
            r#"
name = "checkpoints"
seed = 9
[data]
images = "images"
labels = "labels"
[data.preprocessing]
first_per_class = 12
[codes]
kind = "walsh"
groups = "class"
[model]
NETWORK
[training]
steps = 4
batch = 8
learning_rate = 1e-3
replacement = true
horizontal_flip = true
keep_checkpoints = 2
optimiser = { weight_decay = 0.01 }
[sampling]
steps = 3
variance = "fixed_large"
[samples]
count = 2
[gradients]
timesteps = 2
groups = 2
dimension = 256
precision = "f32"
"#,
        ),
        commands: &["train checkpoints.toml --run RUN", "attribute RUN --method tracin"],
    },
    Plan {
        name: "small",
        recipe: Some(
            r#"
name = "small"
seed = 10
[data]
images = "images"
labels = "labels"
[data.preprocessing]
classes = [0, 1]
first_per_class = 3
[codes]
kind = "drawn"
members = 2
weight = 1
groups = "class"
[model]
NETWORK
[training]
steps = 2
batch = 24
learning_rate = 1e-3
replacement = true
[sampling]
steps = 2
[samples]
count = 1
in_report = 1
[attribution]
fidelity_samples = 1
[gradients]
timesteps = 1
groups = 2
dimension = 64
[influence]
draws = 2
"#,
        ),
        commands: &["run small.toml --run RUN", "attribute RUN --method das,tracin,influence,patches"],
    },
];

/// The digest of an object's bytes, and its fingerprint or why it is not in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    digest: String,
    made_from: String,
}

/// Objects by run and name.
type List = BTreeMap<(String, String), Listed>;

#[test]
fn runs_have_the_bytes_of_this_version_of_the_numerics() {
    let sets = Instructions::available();
    let found = made_with(sets[0], &PLANS);
    if std::env::var("PENTIMENTO_RECORD").is_ok_and(|record| record == "1") {
        record(&found);
    }
    let (version, expected) = read(&fs::read_to_string(list_path()).unwrap());
    assert_eq!(
        version, NUMERICS_VERSION,
        "the list of objects is of another version of the numerics: {RECORD_ANEW}"
    );
    compare(&expected, &found, sets[0]);
    let small = |list: List| -> List {
        list.into_iter().filter(|((run, _), _)| run == WITH_ALL_INSTRUCTIONS).collect()
    };
    let (expected, plans) = (small(expected), PLANS.iter().filter(|plan| plan.name == WITH_ALL_INSTRUCTIONS));
    for &narrower in &sets[1..] {
        compare(&expected, &made_with(narrower, plans.clone()), narrower);
    }
}

const RECORD_ANEW: &str = "`PENTIMENTO_RECORD=1 cargo test --release --test numerics_net` writes it anew";

fn list_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pentimento-kernels/numerics/objects.txt")
}

/// Makes runs in a folder of their own.
fn made_with<'a>(instructions: Instructions, plans: impl IntoIterator<Item = &'a Plan>) -> List {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_images(&at(""));
    let mut found = List::new();
    for plan in plans {
        if let Some(recipe) = plan.recipe {
            fs::write(at(&format!("{}.toml", plan.name)), recipe.replace("NETWORK", NETWORK.trim())).unwrap();
        }
        for command in plan.commands {
            let words = command.split_whitespace().map(|word| word.replace("RUN", plan.name));
            let mut command: Command = program(words);
            command.current_dir(folder.path());
            command.env("PENTIMENTO_CACHE", at("cache")).env("PENTIMENTO_INSTRUCTIONS", instructions.name());
            succeed(&mut command);
        }
        add_objects(plan.name, &at(plan.name), &mut found);
    }
    found
}

/// Adds the objects of a run, their digests taken of what lies on the disk.
fn add_objects(run: &str, folder: &Path, found: &mut List) {
    let manifest = fs::read(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    for (name, entry) in manifest["objects"].as_object().unwrap() {
        let is_exempt = EXEMPT.iter().any(|(exempt, _)| exempt == name)
            || EXEMPT_IN_A_RUN.iter().any(|(of, exempt, _)| of == &run && exempt == name);
        if is_exempt {
            continue;
        }
        let digest = blake3::hash(&fs::read(folder.join(name)).unwrap()).to_string();
        assert_eq!(entry["blake3"], digest, "{run}/{name}");
        let made_from = match FINGERPRINT_EXEMPT.iter().any(|(exempt, _)| exempt == name) {
            true => "-".to_owned(),
            false => entry["made_from"].as_str().unwrap().to_owned(),
        };
        found.insert((run.to_owned(), name.clone()), Listed { digest, made_from });
    }
}

/// Says of every object that differs which one it is.
fn compare(expected: &List, found: &List, instructions: Instructions) {
    let mut said = String::new();
    let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for key in keys {
        let what = match (expected.get(key), found.get(key)) {
            (Some(expected), Some(found)) if expected == found => continue,
            (Some(expected), Some(found)) if expected.made_from == found.made_from => "other bytes",
            (Some(expected), Some(found)) if expected.digest == found.digest => {
                "another fingerprint of the same bytes: runs that people have would be made again"
            }
            (Some(_), Some(_)) => "other bytes, and another fingerprint",
            (Some(_), None) => "is missing",
            _ => "is not in the list",
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

/// Writes the list anew.
fn record(found: &List) {
    let before = fs::read_to_string(list_path()).map(|text| read(&text)).unwrap_or_default();
    if before.0 == NUMERICS_VERSION {
        for (key, was) in &before.1 {
            let same = found.get(key).is_none_or(|is| {
                is.digest == was.digest || is.made_from != was.made_from || is.made_from == "-"
            });
            assert!(
                same,
                "{}/{}: other bytes under the same fingerprint: raise NUMERICS_VERSION",
                key.0, key.1
            );
        }
    }
    let mut text = format!(
        "numerics version {NUMERICS_VERSION}\n# Written by crates/pentimento/tests/numerics_net.rs: run, object, digest of its \
         bytes, fingerprint\n"
    );
    for ((run, name), Listed { digest, made_from }) in found {
        writeln!(text, "{run} {name} {digest} {made_from}").unwrap();
    }
    fs::write(list_path(), text).unwrap();
}

/// The version and the objects of a list.
fn read(text: &str) -> (u32, List) {
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("numerics version ")).unwrap();
    let objects = lines.filter(|line| !line.starts_with('#')).map(|line| {
        let [run, name, digest, made_from] =
            line.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
        ((run, name), Listed { digest, made_from })
    });
    (version.parse().unwrap(), objects.collect())
}

const IMAGES: usize = 72;
const SIDE: usize = 8;

/// Writes the image sets: in grey as IDX files with three classes and as an array, and larger ones in colour.
fn write_images(folder: &Path) {
    let grey: Vec<u8> = (0..IMAGES).flat_map(|image| picture(image / (IMAGES / 3), image, SIDE, 1)).collect();
    let labels: Vec<u8> = (0..IMAGES).map(|image| (image / (IMAGES / 3)) as u8).collect();
    fs::write(folder.join("images"), idx(0x803, &[IMAGES, SIDE, SIDE], &grey)).unwrap();
    fs::write(folder.join("labels"), idx(0x801, &[IMAGES], &labels)).unwrap();
    fs::write(folder.join("grey.npy"), npy(&format!("({IMAGES}, {SIDE}, {SIDE})"), &grey)).unwrap();
    let colours: Vec<u8> = (0..24).flat_map(|image| picture(image % 3, image, 12, 3)).collect();
    fs::write(folder.join("colours.npy"), npy("(24, 12, 12, 3)", &colours)).unwrap();
}

/// A bar on a ground that rises: upright, lying or slanted by kind, its place and brightness by number.
fn picture(kind: usize, number: usize, side: usize, channels: usize) -> Vec<u8> {
    let mut pixels = Vec::new();
    for row in 0..side {
        for column in 0..side {
            let at = [column, row, (row + column) % side][kind];
            for channel in 0..channels {
                let ground = (row * 5 + column * 3 + number * (channel + 1)) % 64;
                let bar = if at == number % side { 191 - number - 20 * channel } else { 0 };
                pixels.push((ground + bar) as u8);
            }
        }
    }
    pixels
}

/// An array file of bytes.
fn npy(shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
    header.extend(std::iter::repeat_n(' ', 63 - (10 + header.len()) % 64));
    header.push('\n');
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}
