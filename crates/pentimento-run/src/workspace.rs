//! A run folder with its recipe: what every stage works on.

use crate::error::{MadeBy, Result, RunError};
use crate::event::{Event, Reporter};
use crate::known_sets::KnownSets;
use crate::recipe::Recipe;
use crate::stop::{Stop, TimeAllowed};
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::device::{DeviceKind, chosen_device_kind};
use pentimento_store::{Fingerprint, FingerprintBuilder, Run, StoreError};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the state of a member in training is written, unless [`RunOptions`] say otherwise.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// What may be chosen that changes no result.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Images that pass through a network at once.
    pub batch: Option<usize>,
    /// A folder with the files of a public set, instead of fetching them.
    pub data_from: Option<PathBuf>,
    /// Whether what another recipe made in the run may be made again by this one.
    pub replace: bool,
    /// Whether every file of an image set is read to see if it is what it was, and time stamps are not trusted.
    pub verify_files: bool,
    /// A member in training is written to the run this often; a kill loses at most so much work.
    pub checkpoint_every: Duration,
    /// Once it is set, stages keep what they have and end.
    pub stop: Stop,
    /// Until when more draws may be taken than in the first round. It changes nothing of what is computed, but where it ends.
    pub time_allowed: TimeAllowed,
    /// What is told of events.
    pub reporter: Reporter,
    /// The image sets of which all was told before.
    pub known_sets: KnownSets,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            batch: None,
            data_from: None,
            replace: false,
            verify_files: false,
            checkpoint_every: CHECKPOINT_EVERY,
            stop: Stop::default(),
            time_allowed: TimeAllowed::default(),
            reporter: Reporter::silent(),
            known_sets: KnownSets::default(),
        }
    }
}

impl RunOptions {
    /// Images that pass through a network at once.
    pub fn batch(&self) -> usize {
        // Measured on 2 cores with the quickstart's network: 16 to 128 are within 5 % of each other.
        self.batch.unwrap_or(64)
    }
}

/// An open run.
pub struct Workspace {
    /// The folder.
    pub run: Run,
    /// The resolved recipe.
    pub recipe: Recipe,
    /// What changes no result.
    pub options: RunOptions,
}

/// Begins the fingerprint of an object that this program computes: another version of its numerics makes it again, and so
/// does another kind of device, whose last digits differ.
pub fn fingerprint_of_computed(label: &str) -> FingerprintBuilder {
    computed_by(NUMERICS_VERSION, chosen_device_kind(), label)
}

fn computed_by(numerics_version: u32, device: DeviceKind, label: &str) -> FingerprintBuilder {
    let builder = Fingerprint::of(label).bytes(&numerics_version.to_le_bytes());
    match device {
        DeviceKind::Cpu => builder,
        other => builder.bytes(format!("{other:?}").as_bytes()),
    }
}

/// Where the stages write; leftovers of a killed process are looked for here and nowhere else.
const OBJECT_FOLDERS: [&str; 12] = [
    "members/",
    "networks/",
    "latents/",
    "texts/",
    "samples/",
    "attribution/",
    "classifier/",
    "scores/",
    "ablations/",
    "features/",
    "curvature/",
    "evaluation/",
];

/// Name of the recipe inside a run.
const RECIPE: &str = "recipe.toml";

/// The images of a run are known: its recipe is written to it once they were opened. One that was edited since says nothing.
fn add_known(run: &Run, options: &RunOptions) {
    let text = run.get(RECIPE).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(Ok(recipe)) = text.map(|text| Recipe::parse(&text, RECIPE, &[])) {
        options.known_sets.add(&recipe.data);
    }
}

impl Workspace {
    /// Opens or creates the run of a recipe. A changed recipe takes the old one's place as soon as
    /// it is known to fit its images; stages then make again what it changes, and nothing else.
    ///
    /// # Errors
    ///
    /// If the folder cannot be used, see [`pentimento_store::StoreError`].
    pub fn for_recipe(folder: &Path, recipe: Recipe, options: RunOptions) -> Result<Self> {
        let run = open_cleaned(folder)?;
        add_known(&run, &options);
        Ok(Self { run, recipe, options })
    }

    /// What the recipe says otherwise than that of the run; none if they are the same.
    ///
    /// # Errors
    ///
    /// As reading the run.
    pub(crate) fn recipe_changes(&self) -> Result<Option<RecipeChanges>> {
        let text = self.recipe.to_text()?;
        let before = match self.run.get(RECIPE) {
            Ok(before) => String::from_utf8_lossy(&before).into_owned(),
            // A new run, or a recipe that was edited in its place.
            Err(StoreError::NotListed { .. } | StoreError::Missing { .. } | StoreError::Corrupt { .. }) => {
                return Ok(Some(RecipeChanges::default()));
            }
            Err(error) => return Err(error.into()),
        };
        Ok((before != text).then(|| RecipeChanges::between(&before, &text)))
    }

    /// Writes the recipe to the run, if it is not there. Called once the recipe is known to fit its images, so that one
    /// that does not leaves the run as it was.
    ///
    /// # Errors
    ///
    /// As writing to the run.
    pub(crate) fn save_recipe(&self) -> Result<()> {
        let Some(changes) = self.recipe_changes()? else { return Ok(()) };
        for line in &changes.now_says {
            self.reporter().tell(Event::RecipeSays(line));
        }
        for line in &changes.no_longer_says {
            self.reporter().tell(Event::RecipeNoLongerSays(line));
        }
        let text = self.recipe.to_text()?;
        self.run.put(RECIPE, Fingerprint::of("recipe").text(&text).finish(), text.as_bytes())?;
        Ok(())
    }

    /// Opens an existing run for writing.
    ///
    /// # Errors
    ///
    /// If there is no run in this folder, or it cannot be used.
    pub fn open(folder: &Path, options: RunOptions) -> Result<Self> {
        refuse_what_is_no_run(folder)?;
        let run = open_cleaned(folder)?;
        let recipe = Self::read_recipe(&run)?;
        add_known(&run, &options);
        Ok(Self { run, recipe, options })
    }

    /// Opens an existing run to look at it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_read_only(folder: &Path, options: RunOptions) -> Result<Self> {
        refuse_what_is_no_run(folder)?;
        let run = Run::open_read_only(folder)?;
        let recipe = Self::read_recipe(&run)?;
        add_known(&run, &options);
        Ok(Self { run, recipe, options })
    }

    fn read_recipe(run: &Run) -> Result<Recipe> {
        let text = match run.get(RECIPE) {
            Err(StoreError::NotListed { .. }) if run.is_being_replaced(RECIPE) => {
                return Err(RunError::RecipeBeingReplaced { run: run.root().to_path_buf() });
            }
            Err(StoreError::NotListed { .. }) => {
                return Err(RunError::NoRecipe { run: run.root().to_path_buf() });
            }
            Ok(bytes) => String::from_utf8(bytes).map_err(RunError::damaged(RECIPE))?,
            Err(damaged @ StoreError::Corrupt { .. }) => {
                // One that was edited is a changed recipe; one that cannot be read is damaged.
                return Recipe::open(&run.root().join(RECIPE), &[]).map_err(|_| damaged.into());
            }
            Err(error) => return Err(error.into()),
        };
        Recipe::parse(&text, RECIPE, &[])
    }

    /// Images that pass through a network at once.
    pub fn batch(&self) -> usize {
        self.options.batch()
    }

    /// Refuses a sample that the recipe does not make.
    ///
    /// # Errors
    ///
    /// [`RunError::NoSuch`].
    pub fn check_sample(&self, sample: u32) -> Result<()> {
        let count = self.recipe.samples.count;
        if (sample as usize) < count {
            return Ok(());
        }
        let bound = format!("samples are 0 to {}", count - 1);
        Err(RunError::NoSuch { what: "sample".into(), value: sample.to_string(), bound })
    }

    /// What is told of events.
    pub fn reporter(&self) -> &Reporter {
        &self.options.reporter
    }

    /// The failure of whatever needs something that the run lacks.
    pub fn missing(&self, what: String, made_by: MadeBy) -> RunError {
        RunError::Missing { what, run: self.run.root().to_path_buf(), made_by }
    }
}

/// What a recipe says otherwise than one before, line by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecipeChanges {
    /// Lines that the one before did not have.
    pub now_says: Vec<String>,
    /// Lines of the one before whose keys are gone.
    pub no_longer_says: Vec<String>,
}

impl RecipeChanges {
    fn between(before: &str, now: &str) -> Self {
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let is_new = |line: &&str| !before.lines().any(|old| old == *line);
        let is_gone = |old: &&str| old.contains('=') && !now.lines().any(|line| key(line) == key(old));
        Self {
            now_says: now.lines().filter(is_new).map(str::to_owned).collect(),
            no_longer_says: before.lines().filter(is_gone).map(str::to_owned).collect(),
        }
    }
}

/// Refuses a place inside a run: what lies there and is no object of it is removed as a leftover.
///
/// # Errors
///
/// [`RunError::InsideARun`].
pub(crate) fn refuse_inside_a_run(place: &Path) -> Result<(), RunError> {
    let absolute = std::path::absolute(place).unwrap_or_else(|_| place.to_path_buf());
    match absolute.ancestors().skip(1).find(|folder| folder.join("manifest.json").is_file()) {
        Some(run) => Err(RunError::InsideARun { path: place.to_path_buf(), run: run.to_path_buf() }),
        None => Ok(()),
    }
}

/// The folder of a recipe's run, if no other is named.
pub fn default_folder(recipe: &Recipe) -> PathBuf {
    Path::new("runs").join(&recipe.name)
}

/// Opens a run for writing, without what a killed process left in it.
pub(crate) fn open_cleaned(folder: &Path) -> Result<Run> {
    let mut run = Run::create_or_open(folder)?;
    run.clean(|name| OBJECT_FOLDERS.iter().any(|folder| name.starts_with(folder)))?;
    Ok(run)
}

/// Refuses a folder that no run was made in.
///
/// # Errors
///
/// [`RunError::NoSuch`].
pub fn refuse_what_is_no_run(folder: &Path) -> Result<(), RunError> {
    if folder.join("manifest.json").exists() {
        return Ok(());
    }
    Err(RunError::NoRun { run: folder.to_path_buf() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_computed_has_another_fingerprint() {
        let own = fingerprint_of_computed("samples").finish();
        assert_eq!(own, computed_by(NUMERICS_VERSION, DeviceKind::Cpu, "samples").finish());
        assert_ne!(own, computed_by(NUMERICS_VERSION + 1, DeviceKind::Cpu, "samples").finish());
        assert_ne!(own, computed_by(NUMERICS_VERSION, DeviceKind::Cuda, "samples").finish());
        assert_ne!(own, Fingerprint::of("samples").finish());
    }
}
