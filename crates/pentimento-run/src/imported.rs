//! A network that was trained elsewhere, as member 0 of a run.

use super::train::{member_folder, weights_name};
use super::workspace::{RunOptions, Workspace};
use crate::binding::take_recipe;
use crate::error::{MadeBy, Result, RunError};
use crate::event::{Event, Reporter};
use crate::networks::Weights;
use crate::recipe::{CheckpointRecipe, EncodersRecipe, Origin, Recipe, USUAL_GUIDANCE};
use pentimento_diffusion::checkpoint::{
    Checkpoint, CheckpointFiles, NETWORK_FILES, SCHEDULER_FILES, network_files, scheduler_files,
};
use pentimento_diffusion::sampler::SamplingConfig;
use pentimento_diffusion::unet::{Architecture, SampleSize, UnetConfig};
use pentimento_store::{Digest, Fingerprint};
use std::path::{Path, PathBuf};

/// Name of the network's configuration in the run.
pub(crate) fn config_name() -> String {
    format!("{}/{}", member_folder(0), NETWORK_FILES[0])
}

/// The recipe of a checkpoint that was opened from `folder`, with what is remembered of its encoders.
///
/// # Errors
///
/// As [`Recipe::of_checkpoint`].
pub fn recipe_of(
    name: &str,
    folder: &Path,
    files: &CheckpointFiles,
    checkpoint: &Checkpoint,
    encoders: Option<EncodersRecipe>,
    overrides: &[String],
    reporter: &Reporter,
) -> Result<Recipe> {
    // Absolute, so that they can be found from elsewhere.
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
    let mut source = CheckpointRecipe {
        folder: absolute(folder),
        config: absolute(&files.config),
        weights: files.weights.iter().map(|path| absolute(path)).collect(),
        scheduler: absolute(&files.scheduler),
        sample_size: None,
        encoders,
    };
    let scheduler = &checkpoint.scheduler;
    // Files of schedulers say of clipping what is meant for pixels, or nothing at all.
    let clip = scheduler.sampling.clip && source.encoders.is_none();
    let sampling = SamplingConfig { clip, ..scheduler.sampling };
    let mut recipe = Recipe::of_checkpoint(name, &source, &scheduler.schedule, &sampling, overrides)?;
    let broken = |field: &str, value: String, bound: &str| {
        let (file, field, bound) = (folder.display().to_string(), field.into(), bound.into());
        Err(RunError::RecipeValue { file, field, value, bound })
    };
    if checkpoint.architecture.config().sample_size.is_none()
        && let Origin::Imported(said) = &recipe.origin
    {
        source.sample_size = said.sample_size;
    }
    if recipe.origin != Origin::Imported(source) {
        return broken("checkpoint", "set".into(), "what was opened, which no setting changes");
    }
    if recipe.schedule != scheduler.schedule {
        reporter.tell(Event::AnotherSchedule);
    }
    if checkpoint.architecture.config().cross_attention.is_some() {
        recipe.samples.guidance.get_or_insert(USUAL_GUIDANCE);
    }
    let data = &mut recipe.data;
    data.check_paths()?;
    for path in [&mut data.path, &mut data.images, &mut data.labels].into_iter().flatten() {
        *path = absolute(path);
    }
    Ok(recipe)
}

/// Writes a checkpoint into a run of its own, in f32 and under the names of today whatever it came in.
///
/// # Errors
///
/// [`RunError::AnotherNetwork`] if the folder is a run of something else; as writing to it.
pub fn import(
    folder: PathBuf,
    recipe: Recipe,
    checkpoint: &Checkpoint,
    options: RunOptions,
) -> Result<Workspace> {
    let network = checkpoint.architecture.config();
    if recipe.encoders().is_none() {
        refuse_what_is_no_picture(network)?;
    }
    recipe.samples.check(network)?;
    let network = network_files(&checkpoint.architecture, &checkpoint.values)?;
    let mut key = Fingerprint::of("imported network");
    for (_, bytes) in &network {
        key = key.bytes(Digest::of(bytes).as_bytes());
    }
    let key = key.finish();
    if folder.join("manifest.json").exists() {
        refuse_another_run(&folder, key)?;
    }
    let scheduler = scheduler_files(&recipe.schedule, &recipe.sampling);
    let workspace = Workspace::for_recipe(&folder, recipe, options)?;
    take_recipe(&workspace, None)?;
    let in_member = |(name, bytes): (&str, Vec<u8>)| (format!("{}/{name}", member_folder(0)), bytes);
    let network: Vec<_> = network.into_iter().map(in_member).collect();
    // Also what was damaged since: only the checkpoint can make it again.
    let is_whole = |name: &str| workspace.run.is_current(name, key) && workspace.run.path_of(name).is_ok();
    if !network.iter().all(|(name, _)| is_whole(name)) {
        workspace.run.put_many(network, key)?;
    }
    let mut key = Fingerprint::of("scheduler files");
    for (_, bytes) in &scheduler {
        key = key.bytes(bytes);
    }
    let scheduler: Vec<_> = scheduler.into_iter().map(in_member).collect();
    workspace.run.put_many(scheduler, key.finish())?;
    Ok(workspace)
}

/// Most channels of a picture: red, green, blue and alpha.
pub const MOST_CHANNELS: usize = 4;

/// Refuses a network for something else than pictures, such as pictures with a mask, or latents.
///
/// # Errors
///
/// [`RunError::RecipeValue`].
pub fn refuse_what_is_no_picture(network: &UnetConfig) -> Result<()> {
    if network.in_channels <= MOST_CHANNELS {
        return Ok(());
    }
    Err(RunError::RecipeValue {
        file: "config.json".into(),
        field: "in_channels".into(),
        value: network.in_channels.to_string(),
        bound: format!("1 to {MOST_CHANNELS}: others are no pictures"),
    })
}

/// A run keeps what it has: another network gets a run of its own.
fn refuse_another_run(folder: &Path, key: Fingerprint) -> Result<()> {
    let run = pentimento_store::Run::open_read_only(folder)?;
    if run.entry(&config_name()).is_some_and(|entry| entry.made_from == key) || run.names().is_empty() {
        return Ok(());
    }
    Err(RunError::AnotherNetwork { run: folder.to_path_buf() })
}

/// The imported network.
///
/// # Errors
///
/// [`RunError::Missing`] if it is not there.
pub fn architecture(workspace: &Workspace) -> Result<Architecture> {
    let name = config_name();
    if workspace.run.entry(&name).is_none() {
        return Err(not_yet(workspace));
    }
    let text = String::from_utf8(workspace.run.get(&name)?).map_err(RunError::damaged(&name))?;
    let (config, _) = UnetConfig::from_json(&text, &name)?;
    Ok(Architecture::new(&config)?)
}

/// The weights of the imported network.
///
/// # Errors
///
/// [`RunError::Missing`] if they are not there.
pub fn weights(workspace: &Workspace) -> Result<Weights> {
    let name = weights_name(0);
    match workspace.run.entry(&name) {
        Some(entry) => Ok(Weights { object: name, digest: entry.blake3 }),
        None => Err(not_yet(workspace)),
    }
}

fn not_yet(workspace: &Workspace) -> RunError {
    let source = match &workspace.recipe.origin {
        Origin::Imported(source) => Some(source.folder.clone()),
        Origin::Trained(_) | Origin::Bank(_) => None,
    };
    workspace.missing("the imported network".into(), MadeBy::Import(source))
}

/// Height and width of the images of a network whose configuration was read from `config`, which it takes.
///
/// # Errors
///
/// [`RunError::NoSampleSize`] if the configuration does not say, [`RunError::Diffusion`] if they do not pass through the network.
pub fn image_size(architecture: &Architecture, config: &Path) -> Result<[usize; 2]> {
    let network = architecture.config();
    let Some(SampleSize { height, width }) = network.sample_size else {
        return Err(RunError::NoSampleSize { config: config.to_path_buf() });
    };
    network.check_image(height, width, network.in_channels)?;
    Ok([height, width])
}

/// The files of a member of a run, by path relative to its folder.
pub const MEMBER_FILES: [&str; 4] =
    [SCHEDULER_FILES[0], SCHEDULER_FILES[1], NETWORK_FILES[0], NETWORK_FILES[1]];
