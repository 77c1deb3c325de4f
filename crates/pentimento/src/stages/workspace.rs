//! A run folder with its recipe: what every stage works on.

use crate::error::ProgramError;
use crate::recipe::Recipe;
use crate::stop::Stop;
use anyhow::{Context, Result};
use pentimento_store::{Fingerprint, Run};
use std::path::{Path, PathBuf};

/// What a command may choose that changes no result.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Images that pass through a network at once.
    pub batch: Option<usize>,
    /// A folder with the files of a public set, instead of fetching them.
    pub data_from: Option<PathBuf>,
}

/// An open run.
pub struct Workspace {
    /// The folder.
    pub run: Run,
    /// The resolved recipe.
    pub recipe: Recipe,
    /// Set on Ctrl-C.
    pub stop: Stop,
    /// What changes no result.
    pub options: RunOptions,
}

/// Name of the recipe inside a run.
const RECIPE: &str = "recipe.toml";

impl Workspace {
    /// Opens or creates the run of a recipe. A changed recipe takes the old one's place; stages then make again what
    /// it changes, and nothing else.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, see [`pentimento_store::StoreError`].
    pub fn for_recipe(folder: &Path, recipe: Recipe, stop: Stop, options: RunOptions) -> Result<Self> {
        let mut run = Run::create_or_open(folder)?;
        run.clean()?;
        let text = recipe.to_text()?;
        run.put(RECIPE, Fingerprint::of("recipe").text(&text).finish(), text.as_bytes())?;
        Ok(Self { run, recipe, stop, options })
    }

    /// Opens an existing run for writing.
    ///
    /// # Errors
    ///
    /// If there is no run in this folder, or it cannot be used.
    pub fn open(folder: &Path, stop: Stop, options: RunOptions) -> Result<Self> {
        if !folder.join("manifest.json").exists() {
            return Err(ProgramError::NoSuch {
                what: "run".into(),
                value: folder.display().to_string(),
                bound: "a run is a folder that `pentimento run RECIPE` made".into(),
            }
            .into());
        }
        let run = Run::create_or_open(folder)?;
        let recipe = Self::read_recipe(&run)?;
        Ok(Self { run, recipe, stop, options })
    }

    fn read_recipe(run: &Run) -> Result<Recipe> {
        let text = String::from_utf8(run.get(RECIPE)?).context("recipe.toml is not UTF-8")?;
        Ok(Recipe::parse(&text, RECIPE, &[])?)
    }

    /// Images that pass through a network at once.
    pub fn batch(&self) -> usize {
        // Measured on 2 cores with the quickstart's network: 16 to 128 are within 5 % of each other.
        self.options.batch.unwrap_or(64)
    }
}
