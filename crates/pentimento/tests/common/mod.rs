//! What the tests of the program share: a tiny image set that they draw themselves, recipes for it, and the program.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test uses a part of it; helpers of tests may panic as tests do"
)]

pub use pentimento_testing::image_files::idx;
use pentimento_testing::image_files::npy;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Images of the set, 8 x 8, in three classes one after another.
pub const IMAGES: usize = 60;
const SIDE: usize = 8;
const CLASSES: usize = 3;

/// Objects whose bytes say when and how fast a run was made: `costs.json` holds seconds, and the report shows them with
/// the date and the machine. All others follow from the recipe.
const MADE_WHEN: [&str; 2] = ["costs.json", "report.html"];

/// Whether an object is a page of an evaluation, which shows date and machine as the report does.
fn is_page_of_removal(name: &str) -> bool {
    name.starts_with("evaluation/removal") && name.ends_with(".html")
}

/// A folder with the image set, for recipes and runs.
pub struct Laboratory {
    folder: TempDir,
}

/// What a run that went well printed and took.
pub struct Finished {
    pub stdout: String,
    pub stderr: String,
}

impl Laboratory {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let laboratory = Self { folder };
        fs::write(laboratory.path("images"), idx(0x803, &[IMAGES, SIDE, SIDE], &pixels())).unwrap();
        fs::write(laboratory.path("labels"), idx(0x801, &[IMAGES], &labels())).unwrap();
        laboratory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the recipe of a bank of the images, whose subsets and seeds are said in TOML.
    pub fn bank_recipe(&self, subsets: &str) -> PathBuf {
        let recipe = self.path("bank.toml");
        let text = format!(
            r#"
name = "bank"
seed = 7
[data]
images = {images:?}
labels = {labels:?}
[bank]
{subsets}
[model]
block_out_channels = [8, 16]
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
[training]
steps = 12
batch = 8
learning_rate = 1e-3
[sampling]
steps = 4
"#,
            images = self.path("images"),
            labels = self.path("labels"),
        );
        fs::write(&recipe, text).unwrap();
        recipe
    }

    /// Writes a recipe whose groups are the three classes: n = 3 members by Walsh codes.
    pub fn class_recipe(&self) -> PathBuf {
        self.recipe("classes", "kind = \"walsh\"\ngroups = \"class\"", "")
    }

    /// Writes a recipe whose groups are the first 20 images (C(6, 3) = 20: every code is used), which are searched.
    pub fn image_recipe(&self) -> PathBuf {
        self.recipe("drawn", "kind = \"drawn\"\nmembers = 6\nweight = 3", "[data.preprocessing]\nfirst = 20")
    }

    fn recipe(&self, name: &str, codes: &str, preprocessing: &str) -> PathBuf {
        let text = format!(
            r#"
name = "{name}"
seed = 7
[data]
images = {images:?}
labels = {labels:?}
{preprocessing}
[codes]
{codes}
[model]
block_out_channels = [8, 16]
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
[training]
steps = 12
batch = 8
learning_rate = 1e-3
ema_decay = 0.9
[sampling]
steps = 4
[samples]
count = 20
in_report = 2
[attribution]
counterfactuals = 4
fidelity_samples = 3
top = 5
candidates = 8
exact = 2
"#,
            images = self.path("images"),
            labels = self.path("labels"),
        );
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, text).unwrap();
        path
    }
}

/// The program with arguments, its output kept.
pub fn program<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pentimento"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `pentimento run RECIPE --run RUN`, with more arguments.
pub fn run_command(recipe: &Path, run: &Path, more: &[&str]) -> Command {
    let mut command = program([Path::new("run"), recipe, Path::new("--run"), run]);
    command.args(more);
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must end with success.
pub fn succeed(command: &mut Command) -> Finished {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let finished = Finished { stdout: text(&stdout), stderr: text(&stderr) };
    assert!(status.success(), "{command:?}: {status}\n{}\n{}", finished.stdout, finished.stderr);
    finished
}

/// Runs a command that must fail with this exit code, without a panic, and gives what it says of it.
pub fn fail(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {}\n{said}", output.status);
    assert_no_panic(&said);
    said
}

pub fn assert_no_panic(stderr: &str) {
    for word in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
        assert!(!stderr.contains(word), "{stderr}");
    }
}

/// Asserts that a message has all these words.
pub fn assert_names(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

/// Asserts that `pentimento verify` finds nothing damaged and no leftover.
pub fn assert_verified(run: &Path) {
    let finished = succeed(&mut program([Path::new("verify"), run]));
    assert_eq!(finished.stderr, "", "leftovers");
}

/// Copies a folder with what it holds.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Names of the objects that the manifest of a run lists.
pub fn listed(run: &Path) -> Vec<String> {
    let Ok(manifest) = fs::read(run.join("manifest.json")) else { return Vec::new() };
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    manifest["objects"].as_object().unwrap().keys().cloned().collect()
}

/// Every object of a run that follows from its recipe alone, read from the disk.
pub fn objects(run: &Path) -> BTreeMap<String, Vec<u8>> {
    listed(run)
        .into_iter()
        .filter(|name| !MADE_WHEN.contains(&name.as_str()) && !is_page_of_removal(name))
        .map(|name| {
            let bytes = fs::read(run.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, bytes)
        })
        .collect()
}

/// Asserts that two runs have the same objects with the same bytes.
pub fn assert_equal_runs(expected: &BTreeMap<String, Vec<u8>>, run: &Path) {
    let found = objects(run);
    let names = |objects: &BTreeMap<String, Vec<u8>>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(&found), "{}", run.display());
    for (name, bytes) in expected {
        // Not `assert_eq`, which would print both files.
        assert!(bytes == &found[name], "{}: `{name}` has other bytes", run.display());
    }
}

/// Asserts that a finished run has all kinds of objects, so that comparing two runs compares something.
pub fn assert_complete(objects: &BTreeMap<String, Vec<u8>>, members: usize, samples: usize) {
    let count = |start: &str, end: &str| {
        objects.keys().filter(|name| name.starts_with(start) && name.ends_with(end)).count()
    };
    assert_eq!(count("members/", ".safetensors"), members);
    assert_eq!(count("members/", "losses.npy"), members);
    assert_eq!(count("samples/", ".png"), samples);
    assert_eq!(count("samples/", ".safetensors"), samples.div_ceil(16));
    assert_eq!(count("attribution/", ".safetensors"), samples.div_ceil(16));
    for name in ["recipe.toml", "data.json", "codes.npy", "figures.json"] {
        assert!(objects.contains_key(name), "{name}");
    }
}

pub fn labels() -> Vec<u8> {
    (0..IMAGES).map(|image| (image / (IMAGES / CLASSES)) as u8).collect()
}

/// A bar for each image: upright, lying or slanted by class, its place and brightness by number, so that no two are equal.
pub fn pixels() -> Vec<u8> {
    let mut pixels = Vec::new();
    for image in 0..IMAGES {
        let (class, number) = (image / (IMAGES / CLASSES), image % (IMAGES / CLASSES));
        let (place, brightness) = (number % SIDE, 255 - 4 * number as u8);
        for row in 0..SIDE {
            for column in 0..SIDE {
                let on_bar = match class {
                    0 => column == place,
                    1 => row == place,
                    _ => (row + column) % SIDE == place,
                };
                pixels.push(if on_bar { brightness } else { 0 });
            }
        }
    }
    pixels
}

/// An array file of images `[images, 8, 8]` in 8 bits.
pub fn write_images(path: &Path, images: &[Vec<u8>]) {
    fs::write(path, npy(&[images.len(), 8, 8], &images.concat())).unwrap();
}
