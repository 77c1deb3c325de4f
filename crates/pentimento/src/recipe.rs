//! A recipe says everything that decides a run's results. Every key has a default; a key that does not exist is an
//! error; the resolved recipe, with every default written out, is kept in the run.

mod influence;

pub use influence::{Eigenvalues, InfluenceDamping, InfluenceDampingRule, InfluenceRecipe};

use crate::error::ProgramError;
use pentimento_attribution::gradient::{MOST_GROUPS, NoiseSharing, RowPrecision};
use pentimento_data::{Channels, Preprocessing, PublicSet};
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::sampler::{Sampler, SamplingConfig};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::training::TrainingConfig;
use pentimento_diffusion::unet::UnetConfig;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The recipe file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the run: its folder under `runs/`, unless `--run` says another.
    pub name: String,
    /// What this run is, for the report.
    #[serde(default)]
    pub description: String,
    /// Every random choice follows from it.
    #[serde(default)]
    pub seed: u64,
    /// Which images.
    #[serde(default)]
    pub data: DataRecipe,
    /// The checkpoint that was imported, instead of `codes`, `model` and `training`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointRecipe>,
    /// Which member trains on which of them.
    #[serde(default)]
    pub codes: CodesRecipe,
    /// Keys of diffusers' `UNet2DModel`; sizes that follow from the images may be left out.
    #[serde(default)]
    pub model: toml::Table,
    /// The noise schedule.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// How a member is trained.
    #[serde(default)]
    pub training: TrainingConfig,
    /// How a sample is made.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// How many samples.
    #[serde(default)]
    pub samples: SamplesRecipe,
    /// What is asked about each sample.
    #[serde(default)]
    pub attribution: AttributionRecipe,
    /// How gradients are taken.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gradients: GradientRecipe,
    /// How influence functions are taken.
    #[serde(default, skip_serializing_if = "is_default")]
    pub influence: InfluenceRecipe,
    /// The classifier that names what a sample shows; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<ClassifierRecipe>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How gradients are taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradientRecipe {
    /// Timesteps of a group of draws, in equal distances; fewer, if the schedule has not as many for each group.
    pub timesteps: usize,
    /// Groups of draws, each with its own timesteps; scores without each in turn give their intervals.
    pub groups: usize,
    /// Whether images share their noise.
    pub noise: NoiseSharing,
    /// Whether each noise is used with both signs.
    pub antithetic: bool,
    /// What methods that follow the training take of training images; if absent, its own events where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draws: Option<TrainingDraws>,
    /// How gradients are made short.
    pub projection: Projection,
    /// Length Z of a projected gradient.
    pub dimension: usize,
    /// How features are kept.
    pub precision: RowPrecision,
    /// How many training images are scored for each query: those that look most like it, by the cosine of pixels. All, if
    /// absent: fewer save gradients, and miss what does not look alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<usize>,
    /// The damping of methods with a kernel; chosen from the data if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damping: Option<f64>,
}

/// Which draws methods that follow the training, such as TracIn, take of training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainingDraws {
    /// With those that the images met in training, and mirrored as they were: only of networks that were trained here.
    Replay,
    /// With the same ones as queries and all other methods.
    Fresh,
}

/// How gradients are made short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// By a sparse random projection to `dimension` numbers.
    #[default]
    Sparse,
    /// Not at all: for small networks and few images, whose gradients the disk holds.
    None,
}

impl Default for GradientRecipe {
    fn default() -> Self {
        Self {
            timesteps: 10,
            groups: 4,
            noise: NoiseSharing::default(),
            antithetic: false,
            draws: None,
            projection: Projection::default(),
            dimension: 2048,
            precision: RowPrecision::default(),
            candidates: None,
            damping: None,
        }
    }
}

impl GradientRecipe {
    /// Whether gradients are projected.
    pub fn is_projected(&self) -> bool {
        self.projection == Projection::Sparse
    }

    /// Length of a feature of a network with so many parameters.
    pub fn length_of(&self, parameters: usize) -> usize {
        if self.is_projected() { self.dimension } else { parameters }
    }
}

/// The recipe of an imported network without what only networks that are trained here have.
#[derive(Serialize)]
struct Imported<'a> {
    name: &'a str,
    description: &'a str,
    seed: &'a u64,
    data: &'a DataRecipe,
    checkpoint: &'a Option<CheckpointRecipe>,
    schedule: &'a ScheduleConfig,
    sampling: &'a SamplingConfig,
    samples: &'a SamplesRecipe,
    gradients: &'a GradientRecipe,
    #[serde(skip_serializing_if = "is_default_influence")]
    influence: &'a InfluenceRecipe,
}

fn is_default_influence(influence: &&InfluenceRecipe) -> bool {
    is_default(*influence)
}

/// Where an imported network comes from. What it computes follows from the weights in the run, not from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRecipe {
    /// The folder, as it was given.
    pub folder: PathBuf,
    /// The file of the configuration in it, which says which of several networks was taken.
    pub config: PathBuf,
    /// The files of the weights.
    pub weights: Vec<PathBuf>,
    /// The file of the scheduler.
    pub scheduler: PathBuf,
}

/// Which images a run trains on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// A public set, fetched when it is not in the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<PublicSet>,
    /// An IDX file of images instead of a public set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// The IDX file of their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// An image set of any layout that can be read, instead of a public set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// With `path`: the channels that images are brought to; if absent, grey if every image is, otherwise RGB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
    /// With `path`: red, green and blue behind transparent pixels; white if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<[u8; 3]>,
    /// Selection, crop, pad and resize.
    #[serde(default)]
    pub preprocessing: Preprocessing,
}

impl DataRecipe {
    /// Whether it says where images are.
    pub fn has_source(&self) -> bool {
        self.set.is_some() || self.path.is_some() || self.images.is_some() || self.labels.is_some()
    }
}

/// What shares a code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// Every image has its own.
    #[default]
    Image,
    /// All images of a class.
    Class,
    /// Groups by a table, `codes.table`.
    Table,
    /// What the set of `data.path` says: class folders, or a column `group`, `contributor` or `artist`.
    Source,
}

/// How codes are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeKind {
    /// Drawn at random, `members` long with `weight` ones.
    #[default]
    Drawn,
    /// Rows of a Walsh matrix; the number of members follows from the number of groups.
    Walsh,
}

/// Which member trains on which images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CodesRecipe {
    /// How codes are chosen.
    pub kind: CodeKind,
    /// What shares a code.
    pub groups: GroupBy,
    /// A CSV file `image,group`, with `groups = "table"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<PathBuf>,
    /// Length n of drawn codes: the number of members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<u32>,
    /// Weight h of drawn codes; half of n if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// How many samples a run makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplesRecipe {
    /// Number of samples; their ids are 0, 1, 2, ...
    pub count: usize,
    /// How many of them the report shows in detail.
    pub in_report: usize,
    /// Of which class they are, for a network that was trained with classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
}

impl Default for SamplesRecipe {
    fn default() -> Self {
        Self { count: 64, in_report: 24, class: None }
    }
}

/// What is asked about each sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttributionRecipe {
    /// For how many groups the exact counterfactual is made, drawn at random for each sample; all, if there are no more.
    pub counterfactuals: usize,
    /// For how many samples the approximations are compared with the exact counterfactuals.
    pub fidelity_samples: usize,
    /// Whether the paper's Jacobian (the tangents of all members in each step) is computed for these samples too; it
    /// costs n times the one-member Jacobian that the search uses.
    pub full_jacobian: bool,
    /// Length of each sample's list of most influential groups.
    pub top: usize,
    /// How many candidates of the linear stage the control variate ranks again.
    pub candidates: usize,
    /// How many of the list are made exactly, to check it.
    pub exact: usize,
}

impl Default for AttributionRecipe {
    fn default() -> Self {
        Self {
            counterfactuals: 64,
            fidelity_samples: 32,
            full_jacobian: true,
            top: 10,
            candidates: 32,
            exact: 3,
        }
    }
}

/// The classifier, trained on the `train` split of the same public set with the same crop, pad and resize.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierRecipe {
    /// Passes over the training images.
    pub epochs: usize,
}

impl Default for ClassifierRecipe {
    fn default() -> Self {
        Self { epochs: 1 }
    }
}

/// What only networks that are trained here have.
const SECTIONS_OF_TRAINING: [&str; 3] = ["codes", "model", "training"];

/// What a recipe's `data` needs.
pub(crate) const NO_SOURCE: &str = "it needs one of `set`, `path`, or both `images` and `labels`";

/// Fewest training images that a query is scored with, if not with all.
const FEWEST_CANDIDATES: usize = 16;

/// Longest recipe; those of this project have less than 2,000 bytes.
const LONGEST_BYTES: u64 = 1 << 20;

impl Recipe {
    /// Reads a recipe, with overrides such as `training.steps=100`.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Recipe`] naming the file and the place in it, [`ProgramError::RecipeValue`] naming the key, its
    /// value and the bound, [`ProgramError::Setting`] for an override that is none.
    pub fn parse(text: &str, file: &str, overrides: &[String]) -> Result<Self, ProgramError> {
        let bad =
            |error: toml::de::Error| ProgramError::Recipe { file: file.into(), message: error.to_string() };
        let recipe: Self = if overrides.is_empty() {
            toml::from_str(text).map_err(bad)?
        } else {
            let mut table: toml::Table = toml::from_str(text).map_err(bad)?;
            for setting in overrides {
                set(&mut table, setting)
                    .map_err(|problem| ProgramError::Setting { setting: setting.clone(), problem })?;
            }
            table.try_into().map_err(bad)?
        };
        recipe.validate().map_err(|BrokenBound { field, value, bound }| ProgramError::RecipeValue {
            file: file.into(),
            field,
            value,
            bound,
        })?;
        Ok(recipe)
    }

    /// The recipe of an imported network, with overrides.
    ///
    /// # Errors
    ///
    /// As [`Recipe::parse`].
    pub fn of_checkpoint(
        name: &str,
        checkpoint: &CheckpointRecipe,
        schedule: &ScheduleConfig,
        sampling: &SamplingConfig,
        overrides: &[String],
    ) -> Result<Self, ProgramError> {
        let file = checkpoint.folder.display().to_string();
        let broken =
            |error: toml::ser::Error| ProgramError::Recipe { file: file.clone(), message: error.to_string() };
        let mut table = toml::Table::new();
        table.insert("name".into(), name.into());
        for (key, value) in [
            ("checkpoint", toml::Table::try_from(checkpoint).map_err(broken)?),
            ("schedule", toml::Table::try_from(schedule).map_err(broken)?),
            ("sampling", toml::Table::try_from(sampling).map_err(broken)?),
        ] {
            table.insert(key.into(), value.into());
        }
        let text = toml::to_string(&table).map_err(broken)?;
        Self::parse(&text, &file, overrides)
    }

    /// Reads a recipe file.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Recipe`] if it cannot be read or is not a recipe.
    pub fn open(path: &Path, overrides: &[String]) -> Result<Self, ProgramError> {
        let file = path.display().to_string();
        let broken = |message: String| ProgramError::Recipe { file: file.clone(), message };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|recipe| recipe.take(LONGEST_BYTES + 1).read_to_string(&mut text))
            .map_err(|error| broken(error.to_string()))?;
        if text.len() as u64 > LONGEST_BYTES {
            return Err(broken(format!("longer than {LONGEST_BYTES} bytes, so it is no recipe")));
        }
        Self::parse(&text, &file, overrides)
    }

    /// The recipe as text, with every default.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Recipe`] if a value has no TOML form.
    pub fn to_text(&self) -> Result<String, ProgramError> {
        let bad = |error: toml::ser::Error| ProgramError::Recipe {
            file: self.name.clone(),
            message: error.to_string(),
        };
        if self.checkpoint.is_none() {
            return toml::to_string(self).map_err(bad);
        }
        let Self {
            name,
            description,
            seed,
            data,
            checkpoint,
            schedule,
            sampling,
            samples,
            gradients,
            influence,
            ..
        } = self;
        toml::to_string(&Imported {
            name,
            description,
            seed,
            data,
            checkpoint,
            schedule,
            sampling,
            samples,
            gradients,
            influence,
        })
        .map_err(bad)
    }

    fn validate(&self) -> Result<(), BrokenBound> {
        let broken = |field: &str, value: &dyn Display, bound: String| {
            Err(BrokenBound { field: field.into(), value: value.to_string(), bound })
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(plain) || self.name.starts_with('.') {
            let bound = "letters, digits, `-`, `_` and `.` make a folder's name".into();
            return broken("name", &format!("{:?}", self.name), bound);
        }
        let data = &self.data;
        if self.checkpoint.is_some() {
            let given = [
                self.codes != CodesRecipe::default(),
                !self.model.is_empty(),
                self.training != TrainingConfig::default(),
            ];
            if let Some((section, _)) = SECTIONS_OF_TRAINING.into_iter().zip(given).find(|(_, given)| *given)
            {
                let bound = "not with `checkpoint`: an imported network is not trained here".into();
                return broken(section, &"given", bound);
            }
        }
        match (&data.set, &data.path, &data.images, &data.labels) {
            (Some(_), None, None, None) | (None, Some(_), None, None) | (None, None, Some(_), Some(_)) => {}
            // An imported network can be sampled without its training images.
            (None, None, None, None) if self.checkpoint.is_some() => {}
            (set, path, images, labels) => {
                let given = [
                    ("set", set.is_some()),
                    ("path", path.is_some()),
                    ("images", images.is_some()),
                    ("labels", labels.is_some()),
                ];
                let given: Vec<&str> =
                    given.into_iter().filter_map(|(key, given)| given.then_some(key)).collect();
                let value = if given.is_empty() { "without a source".into() } else { given.join(" and ") };
                return broken("data", &value, NO_SOURCE.into());
            }
        }
        if data.path.is_none() {
            let only = || "only with `data.path`".into();
            if let Some(channels) = data.channels {
                return broken("data.channels", &format!("{channels:?}"), only());
            }
            if let Some(background) = data.background {
                return broken("data.background", &format!("{background:?}"), only());
            }
            if self.codes.groups == GroupBy::Source {
                return broken("codes.groups", &"\"source\"", only());
            }
        }
        let within = |section: &'static str| move |error| BrokenBound::of_section(section, error);
        self.training.validate().map_err(within("training"))?;
        self.schedule.validate().map_err(within("schedule"))?;
        Sampler::new(&self.schedule, self.sampling).map_err(within("sampling"))?;
        if self.samples.count == 0 || self.samples.count > 1 << 24 {
            return broken("samples.count", &self.samples.count, "1 to 16,777,216 samples".into());
        }
        let AttributionRecipe { counterfactuals, top, candidates, exact, .. } = self.attribution;
        for (field, value) in [
            ("attribution.counterfactuals", counterfactuals),
            ("attribution.top", top),
            ("attribution.candidates", candidates),
        ] {
            if value == 0 || value > 100_000 {
                return broken(field, &value, "1 to 100,000".into());
            }
        }
        for (field, value) in [("attribution.top", top), ("attribution.exact", exact)] {
            if value > candidates {
                let bound = format!("at most as many as `attribution.candidates`, {candidates}");
                return broken(field, &value, bound);
            }
        }
        if let Some(classifier) = self.classifier {
            if self.data.set.is_none() {
                let bound = "only with `data.set`, as it trains on the set's `train` split".into();
                return broken("classifier", &"given", bound);
            }
            if classifier.epochs == 0 || classifier.epochs > 1000 {
                return broken("classifier.epochs", &classifier.epochs, "1 to 1000".into());
            }
        }
        let GradientRecipe { timesteps, groups, dimension, candidates, damping, .. } = self.gradients;
        if !(1..=MOST_GROUPS).contains(&groups) {
            return broken("gradients.groups", &groups, format!("1 to {MOST_GROUPS}"));
        }
        if !(1..=1_000_000).contains(&timesteps) {
            return broken("gradients.timesteps", &timesteps, "1 to 1,000,000".into());
        }
        if !(16..=1 << 20).contains(&dimension) {
            return broken("gradients.dimension", &dimension, "16 to 1,048,576".into());
        }
        if let Some(candidates) = candidates.filter(|candidates| *candidates < FEWEST_CANDIDATES) {
            let bound = format!("at least {FEWEST_CANDIDATES}: a kernel of fewer tells nothing");
            return broken("gradients.candidates", &candidates, bound);
        }
        if let Some(damping) = damping.filter(|damping| !(*damping > 0.0 && damping.is_finite())) {
            return broken("gradients.damping", &damping, "a positive number".into());
        }
        let (timesteps, is_trained) = (self.schedule.num_train_timesteps, self.checkpoint.is_none());
        if let Some((field, value, bound)) = self.influence.broken(timesteps, is_trained) {
            return broken(field, &value, bound);
        }
        if self.checkpoint.is_some() {
            if self.gradients.draws == Some(TrainingDraws::Replay) {
                let bound =
                    "\"fresh\" with `checkpoint`: what an imported network met in its training is not known";
                return broken("gradients.draws", &"\"replay\"", bound.into());
            }
            return Ok(());
        }
        let codes = &self.codes;
        match (codes.groups, &codes.table) {
            (GroupBy::Table, None) => {
                let bound = "the name of a CSV file, as `codes.groups` is \"table\"".into();
                return broken("codes.table", &"missing", bound);
            }
            (GroupBy::Image | GroupBy::Class | GroupBy::Source, Some(table)) => {
                let bound = "only with `codes.groups = \"table\"`".into();
                return broken("codes.table", &format!("{table:?}"), bound);
            }
            _ => {}
        }
        match (codes.kind, codes.members, codes.weight) {
            (CodeKind::Drawn, None, _) => {
                broken("codes.members", &"missing", "the number of members n that drawn codes need".into())
            }
            (CodeKind::Walsh, Some(number), _) => {
                broken("codes.members", &number, "with `kind = \"walsh\"` it follows from the groups".into())
            }
            (CodeKind::Walsh, None, Some(number)) => {
                broken("codes.weight", &number, "with `kind = \"walsh\"` it follows from the groups".into())
            }
            _ => Ok(()),
        }
    }

    /// The network for images of this size.
    ///
    /// # Errors
    ///
    /// [`ProgramError::RecipeValue`] for keys that do not exist or values that contradict the images.
    pub fn unet(&self, height: usize, width: usize, channels: usize) -> Result<UnetConfig, ProgramError> {
        let file = || format!("recipe `{}`", self.name);
        let broken = |BrokenBound { field, value, bound }: BrokenBound| ProgramError::RecipeValue {
            file: file(),
            field,
            value,
            bound,
        };
        let json = serde_json::to_string(&self.model)
            .map_err(|error| ProgramError::Recipe { file: file(), message: error.to_string() })?;
        let (mut config, unknown) = UnetConfig::from_json(&json, "recipe, [model]")
            .map_err(|error| broken(BrokenBound::of_section("model", error)))?;
        if let Some(key) = unknown.first() {
            let value = self.model.get(key).map_or_else(String::new, ToString::to_string);
            let bound = "not a key of UNet2DModel".into();
            return Err(broken(BrokenBound { field: format!("model.{key}"), value, bound }));
        }
        for (key, value) in
            [("in_channels", &mut config.in_channels), ("out_channels", &mut config.out_channels)]
        {
            if self.model.contains_key(key) && *value != channels {
                let bound = format!("the images have {channels} channels");
                let (field, value) = (format!("model.{key}"), value.to_string());
                return Err(broken(BrokenBound { field, value, bound }));
            }
            *value = channels;
        }
        if config.sample_size.is_none() && height == width {
            config.sample_size = Some(height);
        }
        config
            .check_image(height, width, channels)
            .map_err(|error| broken(BrokenBound::of_section("model", error)))?;
        Ok(config)
    }
}

/// A key whose value breaks a bound, with its sections.
struct BrokenBound {
    field: String,
    value: String,
    bound: String,
}

impl BrokenBound {
    /// What a library found wrong with a section; its own names for it and its file are not the recipe's.
    fn of_section(section: &str, error: DiffusionError) -> Self {
        match error {
            DiffusionError::Config { field, value, bound, file } => {
                // The sampler also looks at the schedule, which was checked before.
                let section = if file == "noise schedule" { "schedule" } else { section };
                Self { field: format!("{section}.{field}"), value, bound }
            }
            DiffusionError::Image { height, width, channels, problem } => Self {
                field: section.into(),
                value: format!("given images of {height}x{width} with {channels} channels"),
                bound: problem,
            },
            other => Self { field: section.into(), value: "not usable".into(), bound: other.to_string() },
        }
    }
}

/// Applies `a.b=value` to a table; the value is TOML, or a string if it is not.
fn set(table: &mut toml::Table, setting: &str) -> Result<(), String> {
    let (path, value) = setting.split_once('=').ok_or("write it as `section.key=value`")?;
    let value = match value.trim().parse::<toml::Value>() {
        Ok(value) => value,
        // A whole line that is not TOML is a word, as in `codes.kind=drawn`. Of several lines the first may be a value
        // and the rest another setting; none of it is passed over.
        Err(error) if value.contains(['\n', '\r']) => {
            let text = error.message();
            return Err(format!("the value has several lines and is not one TOML value: {text}"));
        }
        Err(_) => toml::Value::String(value.into()),
    };
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut place = table;
    for key in keys {
        let entry = place.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = entry.as_table_mut().ok_or_else(|| format!("`{key}` is not a section"))?;
    }
    place.insert(last.into(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"small\"\n[data]\nset = \"mnist\"\n[codes]\nmembers = 8\n";

    fn with(settings: &[&str]) -> Result<Recipe, ProgramError> {
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        Recipe::parse(SMALL, "small.toml", &settings)
    }

    #[test]
    fn a_broken_bound_is_told_by_its_parts() {
        for (setting, broken_field, broken_value) in [
            ("name=../x", "name", "\"../x\""),
            ("training.steps=0", "training.steps", "0"),
            ("training.optimiser.beta1=1.5", "training.optimiser.beta1", "1.5"),
            ("training.keep_checkpoints=0", "training.keep_checkpoints", "0"),
            ("training.keep_checkpoints=1001", "training.keep_checkpoints", "1001"),
            ("schedule.beta_end=2.0", "schedule.beta_end", "2"),
            ("sampling.steps=1001", "sampling.steps", "1001"),
            ("samples.count=0", "samples.count", "0"),
            ("attribution.top=0", "attribution.top", "0"),
            ("attribution.top=33", "attribution.top", "33"),
            ("attribution.exact=33", "attribution.exact", "33"),
            ("gradients.candidates=15", "gradients.candidates", "15"),
            ("classifier.epochs=0", "classifier.epochs", "0"),
            ("data.images=x", "data", "set and images"),
            ("data.path=x", "data", "set and path"),
            ("data.channels=grey", "data.channels", "Grey"),
            ("data.background=[0, 0, 0]", "data.background", "[0, 0, 0]"),
            ("codes.groups=source", "codes.groups", "\"source\""),
            ("codes.table=x.csv", "codes.table", "\"x.csv\""),
            ("codes.groups=table", "codes.table", "missing"),
            ("codes.kind=walsh", "codes.members", "8"),
        ] {
            match with(&[setting]) {
                Err(ProgramError::RecipeValue { file, field, value, bound }) => {
                    assert_eq!(
                        (&file[..], &field[..], &value[..]),
                        ("small.toml", broken_field, broken_value)
                    );
                    assert!(!bound.is_empty(), "{setting}");
                }
                other => panic!("{setting}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_model_is_told_by_its_parts_too() {
        for (setting, broken_field, broken_value) in [
            ("model.block_channels=[8]", "model.block_channels", "[8]"),
            ("model.in_channels=3", "model.in_channels", "3"),
            ("model.norm_num_groups=0", "model.norm_num_groups", "0"),
        ] {
            match with(&[setting]).unwrap().unet(28, 28, 1) {
                Err(ProgramError::RecipeValue { file, field, value, .. }) => {
                    assert_eq!(
                        (&file[..], &field[..], &value[..]),
                        ("recipe `small`", broken_field, broken_value)
                    );
                }
                other => panic!("{setting}: {other:?}"),
            }
        }
    }

    #[test]
    fn settings_are_toml_values_or_words() {
        let recipe = with(&["seed= 9", "description=two words", "data.preprocessing.classes=[\n1,\n 2\n]"]);
        let recipe = recipe.unwrap();
        assert_eq!((recipe.seed, &recipe.description[..]), (9, "two words"));
        assert_eq!(recipe.data.preprocessing.classes, Some(vec![1, 2]));
        let recipe = with(&["description='''two\nlines'''"]).unwrap();
        assert_eq!(recipe.description, "two\nlines");
    }

    #[test]
    fn nothing_after_a_value_is_passed_over() {
        for setting in [
            "training.steps=3\nseed=9",
            "training.steps=3\n",
            "training.steps=3\r\nbatch=4",
            "description=\"a\"\n[samples]\ncount=1",
            "description=one\ntwo",
        ] {
            let error = with(&[setting]);
            if setting == "training.steps=3\n" {
                // A newline alone says nothing.
                assert_eq!(error.unwrap().training.steps, 3);
                continue;
            }
            match error {
                Err(ProgramError::Setting { setting: named, problem }) => {
                    assert_eq!(named, setting);
                    assert!(problem.contains("several lines"), "{problem}");
                }
                other => panic!("{setting}: {other:?}"),
            }
        }
    }
}
