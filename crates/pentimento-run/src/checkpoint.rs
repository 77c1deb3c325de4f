//! Diffusers checkpoints: opening one, and making a run of it. `export` writes a network of a run as one.

mod export;

pub use export::export_network;
pub use pentimento_diffusion::checkpoint::{NetworkFolder, Selection};

use crate::adapters::OpenAdapter;
use crate::encoders::remembered;
use crate::error::{Result, RunError};
use crate::event::{Event, Reporter};
use crate::imported::{image_size, import, recipe_of, refuse_what_is_no_picture};
use crate::network_images::TakenImages;
use crate::part_files::absolute;
use crate::recipe::{CheckpointRecipe, Origin, Recipe};
use crate::workspace::{RunOptions, Workspace, default_folder};
use pentimento_diffusion::checkpoint::{Checkpoint, CheckpointFiles, checkpoints_inside};
use pentimento_diffusion::sampler::SamplerKind;
use pentimento_diffusion::schedule::TimestepSpacing;
use pentimento_diffusion::unet::UnetConfig;
use pentimento_diffusion::untrained::untrained;
use pentimento_encoders::{EncoderFiles, Encoders};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// A checkpoint that was found and read.
#[derive(Clone, Debug)]
pub struct OpenCheckpoint {
    /// The folder, as it was given.
    pub folder: PathBuf,
    /// Its files.
    pub files: CheckpointFiles,
    /// Network, noise schedule and sampler.
    pub checkpoint: Checkpoint,
    /// What stands around the network in its pipeline; none of a network that makes pictures by itself.
    pub encoders: Option<OpenEncoders>,
    /// The adapter that the network has, if one was opened beside it.
    pub adapter: Option<OpenAdapter>,
}

/// The encoders of a pipeline.
#[derive(Clone, Debug)]
pub struct OpenEncoders {
    /// Their files.
    pub files: EncoderFiles,
    /// Autoencoder and text encoder.
    pub encoders: Encoders,
}

/// Finds and opens a checkpoint: a pipeline with all that stands around its network, a flat folder or a training checkpoint. Keys that
/// are passed over are told.
///
/// # Errors
///
/// As [`CheckpointFiles::find_denoiser`], [`CheckpointFiles::open`], [`EncoderFiles::find`] and [`EncoderFiles::open`];
/// [`RunError::RecipeValue`] for a network and encoders that do not belong together; where the folder leaves a choice that `selection` does not
/// make, [`Unclear`](pentimento_diffusion::DiffusionError::Unclear).
pub fn open_checkpoint(folder: &Path, selection: &Selection, reporter: &Reporter) -> Result<OpenCheckpoint> {
    let files = CheckpointFiles::find_denoiser(folder, selection)?;
    let of_encoders = EncoderFiles::find_if_any(folder, selection.variant.as_deref())?;
    let checkpoint = files.open()?;
    // The network first: of a pipeline that is not supported it tells most.
    let open =
        |files: EncoderFiles| -> Result<OpenEncoders> { Ok(OpenEncoders { encoders: files.open()?, files }) };
    let encoders = of_encoders.map(open).transpose()?;
    check_together(checkpoint.architecture.config(), &files.config, encoders.as_ref())?;
    let inside = checkpoints_inside(folder)?;
    if !inside.is_empty() {
        reporter.tell(Event::CheckpointsInside { folder, checkpoints: &inside });
    }
    if files.config.parent() != files.weights.first().and_then(|file| file.parent()) {
        reporter.tell(Event::ConfigFromElsewhere { config: &files.config });
    }
    if !checkpoint.prefix.is_empty() {
        reporter.tell(Event::PrefixTakenOff { prefix: &checkpoint.prefix });
    }
    if let Some(class) = &checkpoint.scheduler.sampled_otherwise {
        reporter.tell(Event::SampledByDdim { class });
    }
    if let Some(sample_max_value) = checkpoint.scheduler.clipped_instead {
        reporter.tell(Event::ClippedInstead { sample_max_value });
    }
    for (file, keys) in
        [(&files.config, &checkpoint.unknown_keys), (&files.scheduler, &checkpoint.scheduler.unknown_keys)]
    {
        for key in keys {
            reporter.tell(Event::UnknownKey { file, key });
        }
    }
    if let Some(OpenEncoders { files, encoders }) = &encoders {
        let (file, config) = (&files.autoencoder.config, encoders.autoencoder.config());
        for key in &config.unknown_keys {
            reporter.tell(Event::UnknownKey { file, key });
        }
        if config.scaling_is_assumed() {
            reporter.tell(Event::ScalingAssumed { config: file, factor: config.scaling_factor() });
        }
    }
    Ok(OpenCheckpoint { folder: folder.to_path_buf(), files, checkpoint, encoders, adapter: None })
}

/// Refuses a network and encoders of which one does not take what the other gives.
fn check_together(network: &UnetConfig, file: &Path, encoders: Option<&OpenEncoders>) -> Result<()> {
    let refuse = |field: &str, value: String, bound: String| {
        Err(RunError::RecipeValue { file: file.display().to_string(), field: field.into(), value, bound })
    };
    let text = encoders.and_then(|opened| opened.encoders.text.as_ref());
    match (&network.cross_attention, text) {
        (None, _) => {}
        (Some(_), None) => {
            let bound = "it is told texts, and nothing beside it makes embeddings of texts: name the folder of its whole pipeline, \
                         with `vae`, `text_encoder` and `tokenizer`";
            return refuse("_class_name", format!("{:?}", network.class_name()), bound.into());
        }
        (Some(cross), Some(text)) if cross.text_width == text.width() => {}
        (Some(cross), Some(text)) => {
            let bound = format!(
                "the text encoder beside it gives {} values for each token: it is another network's",
                text.width()
            );
            return refuse("cross_attention_dim", cross.text_width.to_string(), bound);
        }
    }
    let Some(autoencoder) = encoders.map(|opened| opened.encoders.autoencoder.config()) else {
        return Ok(());
    };
    let latent = autoencoder.latent_channels();
    if network.in_channels != latent {
        let bound = format!("the latents of the autoencoder beside it have {latent}");
        return refuse("in_channels", network.in_channels.to_string(), bound);
    }
    if autoencoder.in_channels != autoencoder.out_channels {
        let bound = format!(
            "the autoencoder takes pictures with {} channels and gives {}",
            autoencoder.in_channels, autoencoder.out_channels
        );
        return refuse("in_channels", network.in_channels.to_string(), bound);
    }
    Ok(())
}

/// Makes a run of a checkpoint in the folder `run`, or in that of its name if absent, and opens it. `settings` replace values
/// of its recipe, such as `sampling.steps=50` or `data.path="/images"`. What the run has already is kept.
///
/// # Errors
///
/// [`RunError::Setting`] and [`RunError::RecipeValue`] for settings that do not fit, [`PartError::AnotherNetwork`](crate::error::PartError::AnotherNetwork) if the
/// folder is the run of one, as reading the images that the recipe names, and as writing to the run.
pub fn import_checkpoint(
    opened: &OpenCheckpoint,
    run: Option<&Path>,
    settings: &[String],
    options: RunOptions,
) -> Result<Workspace> {
    let OpenCheckpoint { folder, files, checkpoint, encoders, .. } = opened;
    let name = name_of_run(run, folder);
    let recipe = recipe_of(&name, folder, source_of(opened)?, checkpoint, settings, &options.reporter)?;
    let checkpoint = &with_size_of(&recipe, checkpoint)?;
    let run = run.map_or_else(|| default_folder(&recipe), Path::to_path_buf);
    let (architecture, sampling) = (&checkpoint.architecture, recipe.sampling);
    let [height, width] = image_size(architecture, &files.config)?;
    let channels = architecture.config().in_channels;
    let pictures = match encoders.as_ref().map(|opened| opened.encoders.autoencoder.config()) {
        Some(autoencoder) => {
            let [height, width] = autoencoder.picture_size(height, width)?;
            Some([height, width, autoencoder.in_channels])
        }
        None => None,
    };
    options.reporter.tell(Event::Importing {
        parameters: architecture.parameter_count(),
        channels,
        pictures,
        sampling,
    });
    if sampling.sampler == SamplerKind::Ddim && sampling.spacing == TimestepSpacing::Linspace {
        options.reporter.tell(Event::UnevenSteps);
    }
    // A wrong set is refused here, and not after hours of sampling.
    if pictures.is_none() {
        refuse_what_is_no_picture(architecture.config())?;
    }
    if let Some(sign) = untrained(architecture, &checkpoint.values) {
        options.reporter.tell(Event::Untrained { sign });
    }
    if recipe.data.has_source() {
        let shape = pictures.unwrap_or([height, width, channels]);
        TakenImages::of(shape, architecture).check_recipe(&recipe.data, &options)?;
    }
    import(run, recipe, checkpoint, options)
}

/// Where a checkpoint comes from, by paths that are found from elsewhere too.
fn source_of(opened: &OpenCheckpoint) -> Result<CheckpointRecipe> {
    let OpenCheckpoint { folder, files, checkpoint, encoders, adapter } = opened;
    let is_told_texts = checkpoint.architecture.config().cross_attention.is_some();
    let remembered = |opened: &OpenEncoders| remembered(opened, is_told_texts, adapter.as_ref());
    Ok(CheckpointRecipe {
        folder: absolute(folder),
        config: absolute(&files.config),
        weights: files.weights.iter().map(|path| absolute(path)).collect(),
        scheduler: absolute(&files.scheduler),
        sample_size: None,
        encoders: encoders.as_ref().map(remembered).transpose()?.map(Box::new),
        adapter: opened.adapter_recipe()?.map(Box::new),
    })
}

/// The checkpoint with the size of its images that the recipe says, where its own configuration says none.
fn with_size_of<'a>(recipe: &Recipe, checkpoint: &'a Checkpoint) -> Result<Cow<'a, Checkpoint>> {
    let Origin::Imported(CheckpointRecipe { sample_size: Some(size), .. }) = recipe.origin else {
        return Ok(Cow::Borrowed(checkpoint));
    };
    let config = UnetConfig { sample_size: Some(size), ..checkpoint.architecture.config().clone() };
    Ok(Cow::Owned(Checkpoint {
        architecture: checkpoint.architecture.with_config(&config)?,
        ..checkpoint.clone()
    }))
}

/// The last part of a path, with what no folder of a run may have replaced.
fn name_of_run(run: Option<&Path>, folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
    let last = run.unwrap_or(&absolute).file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = last.chars().map(plain).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "imported".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_run_is_one_that_a_recipe_takes() {
        let of = |run: Option<&str>, folder: &str| name_of_run(run.map(Path::new), Path::new(folder));
        assert_eq!(of(None, "/models/cats"), "cats");
        assert_eq!(of(Some("elsewhere/my run"), "/models/cats"), "my-run");
        assert_eq!(of(None, "/models/..hidden"), "hidden");
        assert_eq!(of(None, "/models/éä"), "--");
        assert_eq!(of(None, "/"), "imported");
        assert_eq!(of(Some("/models/..."), "/"), "imported");
    }
}
