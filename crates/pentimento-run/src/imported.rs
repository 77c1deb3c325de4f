//! A network that was trained elsewhere, as member 0 of a run.

use super::train::{member_folder, weights_name};
use super::workspace::{RunOptions, Workspace};
use crate::adapters;
use crate::binding::take_recipe;
use crate::error::{MadeBy, PartError, Result, RunError};
use crate::event::{Event, Reporter};
use crate::networks::Weights;
use crate::part_files::absolute;
use crate::recipe::{CheckpointRecipe, Origin, Recipe, USUAL_GUIDANCE};
use pentimento_diffusion::checkpoint::{
    Checkpoint, NETWORK_FILES, SCHEDULER_FILES, network_files, scheduler_files,
};
use pentimento_diffusion::sampler::SamplingConfig;
use pentimento_diffusion::unet::{Architecture, SampleSize, StoredValues, UnetConfig};
use pentimento_store::{Digest, Fingerprint};
use std::path::{Path, PathBuf};

/// Name of the network's configuration in the run.
pub(crate) fn config_name() -> String {
    format!("{}/{}", member_folder(0), NETWORK_FILES[0])
}

/// The recipe of a checkpoint that was opened, which comes from `source`; `folder` is what messages call it.
///
/// # Errors
///
/// As [`Recipe::of_checkpoint`].
pub fn recipe_of(
    name: &str,
    folder: &Path,
    mut source: CheckpointRecipe,
    checkpoint: &Checkpoint,
    overrides: &[String],
    reporter: &Reporter,
) -> Result<Recipe> {
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
        *path = absolute(path.as_path());
    }
    Ok(recipe)
}

/// Writes a checkpoint into a run of its own, in f32 and under the names of today whatever it came in; of one with an adapter the
/// adapter, and of the network beneath it only its configuration.
///
/// # Errors
///
/// [`PartError::AnotherNetwork`] if the folder is a run of something else; as writing to it.
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
    let in_member = |(name, bytes): (&str, Vec<u8>)| (format!("{}/{name}", member_folder(0)), bytes);
    let mut key = Fingerprint::of("imported network");
    let mut scheduler = scheduler_files(&recipe.schedule, &recipe.sampling).to_vec();
    if recipe.encoders().is_some() || recipe.adapter().is_some() {
        // No pipeline lies there, only what belongs to one.
        scheduler.retain(|(name, _)| *name != SCHEDULER_FILES[0]);
    }
    let network = match recipe.adapter() {
        None => {
            let values = checkpoint.values.iter().map(StoredValues::to_f32);
            network_files(&checkpoint.architecture, values)?.map(in_member).to_vec()
        }
        Some(adapter) => {
            key = key.bytes(adapter.base.as_bytes());
            let mut objects = adapters::objects(checkpoint)?;
            objects.push((config_name(), network.to_json().into_bytes()));
            objects
        }
    };
    for (_, bytes) in &network {
        key = key.bytes(Digest::of(bytes).as_bytes());
    }
    let key = key.finish();
    if folder.join("manifest.json").exists() {
        refuse_another_run(&folder, key)?;
    }
    let workspace = Workspace::for_recipe(&folder, recipe, options)?;
    take_recipe(&workspace, None)?;
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
    Err(PartError::AnotherNetwork { run: folder.to_path_buf() }.into())
}

/// The imported network, with its adapter if the run is about one.
///
/// # Errors
///
/// [`RunError::Missing`] if it is not there; [`PartError::Gone`] and [`PartError::Other`] for the network beneath an adapter.
pub fn architecture(workspace: &Workspace) -> Result<Architecture> {
    let name = config_name();
    if workspace.run.entry(&name).is_none() {
        return Err(not_yet(workspace));
    }
    let text = String::from_utf8(workspace.run.get(&name)?).map_err(RunError::damaged(&name))?;
    let (config, _) = UnetConfig::from_json(&text, &name)?;
    let network = Architecture::new(&config)?;
    match &workspace.recipe.origin {
        Origin::Imported(source @ CheckpointRecipe { adapter: Some(adapter), .. }) => {
            adapters::over(workspace, source, adapter, &network)
        }
        _ => Ok(network),
    }
}

/// The weights of the imported network, or of the adapter that the run is about.
///
/// # Errors
///
/// [`RunError::Missing`] if they are not there.
pub fn weights(workspace: &Workspace) -> Result<Weights> {
    if let Some(adapter) = workspace.recipe.adapter() {
        let [_, object] = adapters::object_names(0);
        if workspace.run.entry(&object).is_none() {
            return Err(not_yet(workspace));
        }
        return Ok(Weights { object, digest: adapters::digest(workspace, adapter)? });
    }
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
/// [`PartError::NoSampleSize`] if the configuration does not say, [`RunError::Diffusion`] if they do not pass through the network.
pub fn image_size(architecture: &Architecture, config: &Path) -> Result<[usize; 2]> {
    let network = architecture.config();
    let Some(SampleSize { height, width }) = network.sample_size else {
        return Err(PartError::NoSampleSize { config: config.to_path_buf() }.into());
    };
    network.check_image(height, width, network.in_channels)?;
    Ok([height, width])
}

/// The files of a member of a run, by path relative to its folder.
pub const MEMBER_FILES: [&str; 4] =
    [SCHEDULER_FILES[0], SCHEDULER_FILES[1], NETWORK_FILES[0], NETWORK_FILES[1]];
