//! A recipe says everything that decides a run's results. Every key has a default; a key that does not exist is an
//! error; the resolved recipe, with every default written out, is kept in the run.
//!
//! A file for each section, with its defaults and its bounds: `data`, `codes`, `bank`, `base`, `adapter`, `encoders`, `samples`, `attribution`, `gradients`,
//! `influence`, `classifier`. `origin` is where the networks come from, `file` the form in which all of it is written and
//! read, `overrides` what replaces a value of it.

mod adapter;
mod attribution;
mod bank;
mod base;
mod bound;
mod classifier;
mod codes;
mod data;
mod encoders;
mod file;
mod gradients;
mod influence;
mod origin;
mod overrides;
mod paths;
mod samples;

pub use adapter::{AdapterRecipe, TextAdapterRecipe};
pub use attribution::AttributionRecipe;
pub use bank::{BankRecipe, SubsetChoice, SubsetsRecipe};
pub use base::{AdapterShape, BaseFiles, BaseRecipe, OnBaseRecipe};
pub use classifier::ClassifierRecipe;
pub use codes::{CodeKind, CodesRecipe, GroupBy};
pub use data::{DataRecipe, LatentChoice, NO_SOURCE};
pub use encoders::{AutoencoderRecipe, EncodersRecipe, TextEncoderRecipe};
pub use gradients::{GradientRecipe, Projection, TrainingDraws};
pub use influence::{
    Eigenvalues, InfluenceDamping, InfluenceDampingRule, InfluenceRecipe, InfluenceTimesteps,
};
pub use origin::{CheckpointRecipe, Origin, TrainedNetwork, TrainedRecipe, unet};
pub use overrides::TAKE_OUT;
pub use samples::SamplesRecipe;
pub(crate) use samples::USUAL_GUIDANCE;

use crate::base::is_to_be_found as base_to_be_found;
use crate::error::{BankError, RunError};
use bound::{BrokenBound, broken};
use file::RecipeFile;
use pentimento_attribution::ensemble::Space;
use pentimento_diffusion::sampler::{Sampler, SamplingConfig};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::training::TrainingConfig;
use pentimento_diffusion::unet::Architecture;
use std::io::Read as _;
use std::path::Path;

/// Longest recipe; those of this project have less than 2,000 bytes.
const LONGEST_BYTES: u64 = 1 << 20;

/// What a recipe file says, with every default.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Name of the run: its folder under `runs/`, unless `--run` says another.
    pub name: String,
    /// What this run is, for the report.
    pub description: String,
    /// Every random choice follows from it.
    pub seed: u64,
    /// Which images.
    pub data: DataRecipe,
    /// Where the networks come from: the sections `codes`, `model` or `base` with or without `adapter`, and `training`; or `checkpoint`.
    pub origin: Origin,
    /// The noise schedule.
    pub schedule: ScheduleConfig,
    /// How a sample is made.
    pub sampling: SamplingConfig,
    /// How many samples.
    pub samples: SamplesRecipe,
    /// What is asked about each sample of an ensemble.
    pub attribution: AttributionRecipe,
    /// How gradients are taken.
    pub gradients: GradientRecipe,
    /// How influence functions are taken.
    pub influence: InfluenceRecipe,
    /// The classifier that names what a sample shows; absent: none.
    pub classifier: Option<ClassifierRecipe>,
}

impl Recipe {
    /// Reads a recipe, with overrides such as `training.steps=100`. A network that it names for members to begin with is looked for, unless the
    /// recipe has its files already.
    ///
    /// # Errors
    ///
    /// [`RunError::Recipe`] naming the file and the place in it, [`RunError::RecipeValue`] naming the key, its
    /// value and the bound, [`RunError::ClassifierWithoutSet`], [`RunError::Setting`] for an override that is none; as
    /// [`open_checkpoint`](crate::checkpoint::open_checkpoint).
    pub fn parse(text: &str, file: &str, overrides: &[String]) -> Result<Self, RunError> {
        Self::parse_in(text, file, overrides, None)
    }

    /// The same; relative paths in the text are those in a folder, and relative paths in overrides those in the working
    /// folder.
    fn parse_in(
        text: &str,
        file: &str,
        overrides: &[String],
        folder: Option<&Path>,
    ) -> Result<Self, RunError> {
        let bad = |error: toml::de::Error| RunError::Recipe { file: file.into(), message: error.to_string() };
        let mut table: toml::Table = toml::from_str(text).map_err(bad)?;
        let is_as_it_stands = overrides.is_empty() && folder.is_none() && !base_to_be_found(&table);
        let parsed: RecipeFile = if is_as_it_stands {
            // Errors then name the place in the text.
            toml::from_str(text).map_err(bad)?
        } else {
            if let Some(folder) = folder {
                paths::resolve(&mut table, folder);
            }
            for setting in overrides {
                overrides::set(&mut table, setting)
                    .map_err(|problem| RunError::Setting { setting: setting.clone(), problem })?;
            }
            if folder.is_some() {
                paths::resolve(&mut table, Path::new(""));
            }
            if base_to_be_found(&table) {
                crate::base::find(&mut table)?;
            }
            table.try_into().map_err(bad)?
        };
        let checked = || -> Result<Self, BrokenBound> {
            let recipe = parsed.into_recipe()?;
            recipe.validate()?;
            Ok(recipe)
        };
        let recipe = checked().map_err(|BrokenBound { field, value, bound }| {
            let file = file.into();
            RunError::RecipeValue { file, field, value, bound }
        })?;
        match recipe.classifier.and_then(|_| ClassifierRecipe::does_not_fit(&recipe.data)) {
            Some(keys) => Err(RunError::ClassifierWithoutSet { file: file.into(), keys }),
            None => Ok(recipe),
        }
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
    ) -> Result<Self, RunError> {
        let file = checkpoint.folder.display().to_string();
        let broken =
            |error: toml::ser::Error| RunError::Recipe { file: file.clone(), message: error.to_string() };
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

    /// Reads a recipe file. Paths in it are relative to its folder, and those in overrides to the working folder; in the recipe
    /// they are absolute, so that they hold wherever the run is asked again.
    ///
    /// # Errors
    ///
    /// [`RunError::Recipe`] if it cannot be read or is not a recipe.
    pub fn open(path: &Path, overrides: &[String]) -> Result<Self, RunError> {
        let file = path.display().to_string();
        let broken = |message: String| RunError::Recipe { file: file.clone(), message };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|recipe| recipe.take(LONGEST_BYTES + 1).read_to_string(&mut text))
            .map_err(|error| broken(error.to_string()))?;
        if text.len() as u64 > LONGEST_BYTES {
            return Err(broken(format!("longer than {LONGEST_BYTES} bytes, so it is no recipe")));
        }
        Self::parse_in(&text, &file, overrides, Some(path.parent().unwrap_or(Path::new(""))))
    }

    /// The recipe as text, with every default.
    ///
    /// # Errors
    ///
    /// [`RunError::Recipe`] if a value has no TOML form.
    pub fn to_text(&self) -> Result<String, RunError> {
        toml::to_string(&RecipeFile::of(self))
            .map_err(|error| RunError::Recipe { file: self.name.clone(), message: error.to_string() })
    }

    /// The encoders of an imported pipeline, or of that of the network that members begin with; none where networks work on pictures.
    pub fn encoders(&self) -> Option<&EncodersRecipe> {
        match &self.origin {
            Origin::Imported(checkpoint) => checkpoint.encoders.as_deref(),
            Origin::Trained(trained) => trained.on_base()?.base.files.encoders.as_deref(),
            Origin::Bank(_) => None,
        }
    }

    /// What the networks work on.
    pub fn space(&self) -> Space {
        if self.encoders().is_some() { Space::Latents } else { Space::Pixels }
    }

    /// The network that the members of an ensemble begin with, if it is one that is there.
    pub fn on_base(&self) -> Option<&OnBaseRecipe> {
        match &self.origin {
            Origin::Trained(trained) => trained.on_base(),
            Origin::Imported(_) | Origin::Bank(_) => None,
        }
    }

    /// The network beneath the members of an ensemble, if these are adapters.
    pub fn beneath_members(&self) -> Option<&BaseRecipe> {
        self.on_base().filter(|on_base| on_base.adapter.is_some()).map(|on_base| &on_base.base)
    }

    /// How networks are trained here; not at all if they were imported.
    pub fn training(&self) -> Option<&TrainingConfig> {
        match &self.origin {
            Origin::Trained(trained) => Some(&trained.training),
            Origin::Bank(bank) => Some(&bank.training),
            Origin::Imported(_) => None,
        }
    }

    /// The adapter of an imported network, if the run is about one.
    pub fn adapter(&self) -> Option<&AdapterRecipe> {
        match &self.origin {
            Origin::Imported(checkpoint) => checkpoint.adapter.as_deref(),
            Origin::Trained(_) | Origin::Bank(_) => None,
        }
    }

    /// How the ensemble is trained, for whoever needs codes. `run` is what the message calls the run.
    ///
    /// # Errors
    ///
    /// [`RunError::NoCodes`] for an imported network.
    pub fn trained(&self, run: &Path) -> Result<&TrainedRecipe, RunError> {
        match &self.origin {
            Origin::Trained(trained) => Ok(trained),
            Origin::Imported(_) => Err(RunError::NoCodes { run: run.display().to_string() }),
            Origin::Bank(_) => Err(BankError::IsBank { run: run.display().to_string() }.into()),
        }
    }

    /// Refuses images `[height, width, channels]` of so many classes that the network cannot take, or the classifier, which
    /// is trained last.
    ///
    /// # Errors
    ///
    /// [`RunError::RecipeValue`] for a network that does not fit; as the classifier's bounds.
    pub fn check_images(&self, shape: [usize; 3], classes: usize) -> Result<(), RunError> {
        if let Some(model) = self.origin.model() {
            Architecture::new(&unet(model, &self.name, shape)?)?;
        }
        if let Some(classifier) = self.classifier {
            classifier.config(self.seed, classes, shape).validate()?;
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), BrokenBound> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(plain) || self.name.starts_with('.') {
            let bound = "letters, digits, `-`, `_` and `.` make a folder's name";
            return broken("name", format!("{:?}", self.name), bound);
        }
        self.data.validate(&self.origin)?;
        self.origin.validate(&self.data)?;
        self.schedule.validate().map_err(BrokenBound::of_section("schedule"))?;
        Sampler::new(&self.schedule, self.sampling).map_err(BrokenBound::of_section("sampling"))?;
        if self.encoders().is_some() && self.sampling.clip {
            return broken(
                "sampling.clip",
                true,
                "false where a network works on latents, which have no range",
            );
        }
        if self.encoders().is_none() && self.data.latents == LatentChoice::Sample {
            return broken("data.latents", "sample", "only where a network works on latents");
        }
        self.samples.validate()?;
        self.attribution.validate()?;
        if let Some(classifier) = self.classifier {
            classifier.validate()?;
        }
        self.gradients.validate(&self.origin)?;
        self.influence.validate(self.schedule.num_train_timesteps, &self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"small\"\n[data]\nset = \"mnist\"\n[codes]\nmembers = 8\n";

    pub(super) fn with(settings: &[&str]) -> Result<Recipe, RunError> {
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
            ("data.images=x", "data", "images"),
            ("data.background=[0, 0, 0]", "data.background", "[0, 0, 0]"),
            ("codes.groups=source", "codes.groups", "\"source\""),
            ("codes.table=x.csv", "codes.table", "\"x.csv\""),
            ("codes.groups=table", "codes.table", "missing"),
            ("codes.kind=walsh", "codes.members", "8"),
        ] {
            match with(&[setting]) {
                Err(RunError::RecipeValue { file, field, value, bound }) => {
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
            match with(&[setting]).unwrap().check_images([28, 28, 1], 10) {
                Err(RunError::RecipeValue { file, field, value, .. }) => {
                    assert_eq!(
                        (&file[..], &field[..], &value[..]),
                        ("recipe `small`", broken_field, broken_value)
                    );
                }
                other => panic!("{setting}: {other:?}"),
            }
        }
    }

    /// Runs hold the fingerprint of the text, so it may not change by a byte. Both texts are what version 0.1.0 wrote.
    #[test]
    fn the_text_has_every_default_and_reads_as_the_same_recipe() {
        // What is asked of codes is not asked of an imported network.
        let with_attribution = format!("{IMPORTED}[attribution]\ntop = 3\n");
        for (given, text) in [(GIVEN, TRAINED), (&with_attribution, IMPORTED)] {
            let recipe = Recipe::parse(given, "given.toml", &[]).unwrap();
            assert_eq!(recipe.to_text().unwrap(), text);
            assert_eq!(Recipe::parse(text, "recipe.toml", &[]).unwrap().to_text().unwrap(), text);
        }
    }

    #[test]
    fn a_checkpoint_leaves_no_room_for_training() {
        for (setting, broken_field, broken_value) in [
            ("codes.members=8", "codes", "given"),
            ("model.layers_per_block=1", "model", "given"),
            ("training.steps=3", "training", "given"),
            ("gradients.draws=replay", "gradients.draws", "\"replay\""),
            ("influence.damping=training", "influence.damping", "\"training\""),
        ] {
            match Recipe::parse(IMPORTED, "recipe.toml", &[setting.into()]) {
                Err(RunError::RecipeValue { field, value, .. }) => {
                    assert_eq!((&field[..], &value[..]), (broken_field, broken_value));
                }
                other => panic!("{setting}: {other:?}"),
            }
        }
        // Where nothing else is given than by default, nothing is refused; a key that does not exist is.
        let default = Recipe::parse(IMPORTED, "recipe.toml", &["training.steps=10000".into()]).unwrap();
        assert_eq!(default.to_text().unwrap(), IMPORTED);
        for setting in ["training.stepz=1", "checkpoint.color=1", "colour=1"] {
            let unknown = Recipe::parse(IMPORTED, "recipe.toml", &[setting.into()]);
            assert!(matches!(unknown, Err(RunError::Recipe { .. })), "{setting}: {unknown:?}");
        }
        let no_codes = default.trained(Path::new("runs/x")).unwrap_err();
        assert!(matches!(&no_codes, RunError::NoCodes { run } if run == "runs/x"), "{no_codes:?}");
    }

    const GIVEN: &str = r#"
name = "classes"
seed = 7
[data]
set = "mnist"
[codes]
kind = "walsh"
groups = "class"
[model]
block_out_channels = [8, 16]
down_block_types = ["DownBlock2D", "DownBlock2D"]
up_block_types = ["UpBlock2D", "UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
[classifier]
"#;
    const TRAINED: &str = include_str!("trained.toml");
    const IMPORTED: &str = include_str!("imported.toml");
}
