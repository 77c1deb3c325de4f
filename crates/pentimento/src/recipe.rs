//! A recipe says everything that decides a run's results. Every key has a default; a key that does not exist is an
//! error; the resolved recipe, with every default written out, is kept in the run.

use crate::error::ProgramError;
use pentimento_data::{Preprocessing, PublicSet};
use pentimento_diffusion::sampler::SamplingConfig;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::training::TrainingConfig;
use pentimento_diffusion::unet::UnetConfig;
use serde::{Deserialize, Serialize};
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
    pub data: DataRecipe,
    /// Which member trains on which of them.
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
    /// The classifier that names what a sample shows; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<ClassifierRecipe>,
}

/// Which images a run trains on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Selection, crop, pad and resize.
    #[serde(default)]
    pub preprocessing: Preprocessing,
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
}

impl Default for SamplesRecipe {
    fn default() -> Self {
        Self { count: 64, in_report: 24 }
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

impl Recipe {
    /// Reads a recipe, with overrides such as `training.steps=100`.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Recipe`] naming the file and the place in it.
    pub fn parse(text: &str, file: &str, overrides: &[String]) -> Result<Self, ProgramError> {
        let bad = |message: String| ProgramError::Recipe { file: file.into(), message };
        let recipe: Self = if overrides.is_empty() {
            toml::from_str(text).map_err(|error| bad(error.to_string()))?
        } else {
            let mut table: toml::Table = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
            for setting in overrides {
                set(&mut table, setting).map_err(bad)?;
            }
            table.try_into().map_err(|error: toml::de::Error| bad(error.to_string()))?
        };
        recipe.validate().map_err(bad)?;
        Ok(recipe)
    }

    /// Reads a recipe file.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Recipe`] if it cannot be read or is not a recipe.
    pub fn open(path: &Path, overrides: &[String]) -> Result<Self, ProgramError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ProgramError::Recipe { file: file.clone(), message: error.to_string() })?;
        Self::parse(&text, &file, overrides)
    }

    /// The recipe as text, with every default.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Recipe`] if a value has no TOML form.
    pub fn to_text(&self) -> Result<String, ProgramError> {
        toml::to_string(self)
            .map_err(|error| ProgramError::Recipe { file: self.name.clone(), message: error.to_string() })
    }

    fn validate(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(plain) || self.name.starts_with('.') {
            return Err(format!(
                "`name` is {:?}: letters, digits, `-`, `_` and `.` make a folder's name",
                self.name
            ));
        }
        let data = &self.data;
        match (&data.set, &data.images, &data.labels) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => {}
            _ => return Err("`data` needs either `set`, or both `images` and `labels`".into()),
        }
        self.training.validate().map_err(|error| error.to_string())?;
        self.schedule.validate().map_err(|error| error.to_string())?;
        pentimento_diffusion::sampler::Sampler::new(&self.schedule, self.sampling)
            .map_err(|error| error.to_string())?;
        if self.samples.count == 0 || self.samples.count > 1 << 24 {
            return Err(format!("`samples.count` is {}: 1 to 16,777,216 samples", self.samples.count));
        }
        let attribution = &self.attribution;
        for (key, value) in [
            ("counterfactuals", attribution.counterfactuals),
            ("top", attribution.top),
            ("candidates", attribution.candidates),
        ] {
            if value == 0 || value > 100_000 {
                return Err(format!("`attribution.{key}` is {value}: 1 to 100,000"));
            }
        }
        if attribution.top > attribution.candidates {
            return Err(format!(
                "`attribution.top` is {}: at most as many as `attribution.candidates`, {}",
                attribution.top, attribution.candidates
            ));
        }
        if attribution.exact > attribution.candidates {
            return Err(format!(
                "`attribution.exact` is {}: at most as many as `attribution.candidates`, {}",
                attribution.exact, attribution.candidates
            ));
        }
        if let Some(classifier) = self.classifier {
            if self.data.set.is_none() {
                return Err("`classifier` needs `data.set`: it trains on the set's `train` split".into());
            }
            if classifier.epochs == 0 || classifier.epochs > 1000 {
                return Err(format!("`classifier.epochs` is {}: 1 to 1000", classifier.epochs));
            }
        }
        if self.codes.groups == GroupBy::Table && self.codes.table.is_none() {
            return Err("`codes.groups` is \"table\", so `codes.table` must name a CSV file".into());
        }
        if self.codes.groups != GroupBy::Table && self.codes.table.is_some() {
            return Err("`codes.table` is given, so `codes.groups` must be \"table\"".into());
        }
        match self.codes.kind {
            CodeKind::Drawn if self.codes.members.is_none() => {
                Err("`codes.members` is missing: drawn codes need the number of members n".into())
            }
            CodeKind::Walsh if self.codes.members.is_some() || self.codes.weight.is_some() => Err(
                "`codes.members` and `codes.weight` follow from the number of groups with `kind = \"walsh\"`"
                    .into(),
            ),
            _ => Ok(()),
        }
    }

    /// The network for images of this size.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Recipe`] for keys that do not exist or sizes that contradict the images.
    pub fn unet(&self, height: usize, width: usize, channels: usize) -> Result<UnetConfig, ProgramError> {
        let bad = |message: String| ProgramError::Recipe { file: format!("recipe `{}`", self.name), message };
        let json = serde_json::to_string(&self.model).map_err(|error| bad(error.to_string()))?;
        let (mut config, unknown) =
            UnetConfig::from_json(&json, "recipe, [model]").map_err(|error| bad(error.to_string()))?;
        if let Some(key) = unknown.first() {
            return Err(bad(format!("`model.{key}` is not a key of UNet2DModel")));
        }
        for (key, value) in
            [("in_channels", &mut config.in_channels), ("out_channels", &mut config.out_channels)]
        {
            if self.model.contains_key(key) && *value != channels {
                return Err(bad(format!(
                    "`model.{key}` is {value}, but the images have {channels} channels"
                )));
            }
            *value = channels;
        }
        if config.sample_size.is_none() && height == width {
            config.sample_size = Some(height);
        }
        config.check_image(height, width, channels).map_err(|error| bad(error.to_string()))?;
        Ok(config)
    }
}

/// Applies `a.b=value` to a table; the value is TOML, or a string if it is not.
fn set(table: &mut toml::Table, setting: &str) -> Result<(), String> {
    let (path, value) = setting
        .split_once('=')
        .ok_or_else(|| format!("`--set {setting}`: write it as `section.key=value`"))?;
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.into()));
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut place = table;
    for key in keys {
        let entry = place.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = entry.as_table_mut().ok_or_else(|| format!("`--set {setting}`: `{key}` is not a section"))?;
    }
    place.insert(last.into(), value);
    Ok(())
}
