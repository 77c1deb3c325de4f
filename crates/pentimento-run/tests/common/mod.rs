//! A small image set, a recipe for it, and everything that a run can hold.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part of it; helpers of tests may panic as tests do"
)]

use pentimento_attribution::methods::Method;
use pentimento_run::data::coded_data;
use pentimento_run::error::Result;
use pentimento_run::gradients::{QuerySet, Subject, TrainingImages};
use pentimento_run::networks::Networks;
use pentimento_run::scores::score;
use pentimento_run::{Recipe, RunOptions, Workspace, analyse, page, train};
use pentimento_store::{Digest, Run};
pub use pentimento_testing::image_files::idx;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const IMAGES: usize = 30;
const SIDE: usize = 8;
const CLASSES: usize = 3;

/// Methods whose scores a run of [`everything`] has.
pub const METHODS: [&str; 4] = ["tracin", "d-trak", "influence", "unlearning"];
/// Whom it is asked about.
pub const QUERIES: &str = "3,17";

/// A folder with the image set, for runs.
pub struct Laboratory(TempDir);

impl Laboratory {
    pub fn new() -> Self {
        let laboratory = Self(tempfile::tempdir().unwrap());
        fs::write(laboratory.path("images"), idx(0x803, &[IMAGES, SIDE, SIDE], &pixels())).unwrap();
        let labels: Vec<u8> = (0..IMAGES).map(|image| (image * CLASSES / IMAGES) as u8).collect();
        fs::write(laboratory.path("labels"), idx(0x801, &[IMAGES], &labels)).unwrap();
        laboratory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Opens or begins the run of the recipe.
    pub fn begin(&self, name: &str, options: RunOptions) -> Workspace {
        self.begin_with(name, "seed = 7", options)
    }

    /// The same with another line in the recipe.
    pub fn begin_with(&self, name: &str, line: &str, options: RunOptions) -> Workspace {
        self.begin_drawing(name, line, "timesteps = 3\ngroups = 2", options)
    }

    /// The same with what the recipe says of gradients, and behind that of influence.
    pub fn begin_drawing(&self, name: &str, line: &str, gradients: &str, options: RunOptions) -> Workspace {
        self.begin_with_influence(name, line, &format!("{gradients}\n[influence]"), options)
    }

    /// The same with what the recipe says of gradients, the heading of influence, and what it says of that.
    pub fn begin_with_influence(
        &self,
        name: &str,
        line: &str,
        gradients: &str,
        options: RunOptions,
    ) -> Workspace {
        let text = format!(
            r#"
name = "small"
{line}
[data]
images = {images:?}
labels = {labels:?}
[codes]
kind = "walsh"
groups = "class"
[model]
block_out_channels = [8, 16]
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
[training]
steps = 8
batch = 8
learning_rate = 1e-3
keep_checkpoints = 2
[sampling]
steps = 3
[samples]
count = 20
in_report = 2
[attribution]
counterfactuals = 3
fidelity_samples = 3
[gradients]
{gradients}
images = 16
draws = 40
"#,
            images = self.path("images"),
            labels = self.path("labels"),
        );
        let recipe = Recipe::parse(&text, "small", &[]).unwrap();
        Workspace::for_recipe(&self.path(name), recipe, options).unwrap()
    }
}

/// Every stage of a run, with scores by all [`METHODS`].
pub fn everything(workspace: &Workspace) -> Result<()> {
    let data = coded_data(workspace)?;
    train::train(workspace, &data, None)?;
    let networks = &Networks::trained(workspace, &data)?;
    analyse::sample(workspace, networks)?;
    analyse::attribute(workspace, &data, networks)?;
    page::report(workspace, &data, networks)?;
    write_scores(workspace, networks, QUERIES.parse().unwrap(), &METHODS)
}

/// Scores by some methods for a set of queries, in the run.
pub fn write_scores(
    workspace: &Workspace,
    networks: &Networks<'_>,
    set: QuerySet,
    methods: &[&str],
) -> Result<()> {
    let training = &TrainingImages::open(workspace, networks)?;
    let subject = Subject::new(workspace, networks, training);
    let queries = set.make_and_open(&subject)?;
    for name in methods {
        let table = score(&subject, &queries, Method::named(name).unwrap(), None)?;
        table.write(workspace, &queries.set.name())?;
    }
    Ok(())
}

/// What is said of the pictures that [`captioned_pictures`] writes.
pub const CAPTIONS: [&str; 4] = ["a cat", "", "the green house", "a cat"];

/// A folder of four pictures of 16x16 pixels with their captions beside them, none like another.
pub fn captioned_pictures(folder: &Path) -> PathBuf {
    let path = folder.join("pictures");
    fs::create_dir(&path).unwrap();
    for (place, caption) in CAPTIONS.iter().enumerate() {
        let pixels: Vec<u8> = (0..16 * 16 * 3).map(|value| ((value * (place + 3)) % 251) as u8).collect();
        image::save_buffer(path.join(format!("{place}.png")), &pixels, 16, 16, image::ColorType::Rgb8)
            .unwrap();
        fs::write(path.join(format!("{place}.txt")), caption).unwrap();
    }
    path
}

/// The digest of every object that follows from the recipe alone: the costs are seconds, and the page shows them.
pub fn digests(run: &Path) -> BTreeMap<String, Digest> {
    let run = Run::open_read_only(run).unwrap();
    assert!(run.verify().unwrap().is_empty());
    let names =
        run.names().into_iter().filter(|name| !["costs.json", "report.html"].contains(&name.as_str()));
    names.map(|name| (name.clone(), run.entry(&name).unwrap().blake3)).collect()
}

/// A bar for each image, its place and brightness by number.
pub fn pixels() -> Vec<u8> {
    let mut pixels = Vec::new();
    for image in 0..IMAGES {
        for row in 0..SIDE {
            for column in 0..SIDE {
                let on_bar = match image * CLASSES / IMAGES {
                    0 => column == image % SIDE,
                    1 => row == image % SIDE,
                    _ => (row + column) % SIDE == image % SIDE,
                };
                pixels.push(if on_bar { 255 - 4 * image as u8 } else { 0 });
            }
        }
    }
    pixels
}
