//! Opening a diffusers checkpoint, and `pentimento import`: making a run of it.

use super::print;
use crate::arguments::{CheckpointArguments, NetworkChoice};
use crate::error::ProgramError;
use crate::progress::say;
use anyhow::Result;
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::{Checkpoint, CheckpointFiles, NetworkFolder, Selection, Unclear};
use pentimento_diffusion::sampler::SamplerKind;
use pentimento_diffusion::schedule::TimestepSpacing;
use pentimento_run::RunOptions;
use pentimento_run::data::glance_at_images;
use pentimento_run::imported::{image_size, import as write_run, recipe_of};
use std::path::{Path, PathBuf};

/// Finds and opens a checkpoint, saying on stderr what of it is passed over.
///
/// # Errors
///
/// As [`CheckpointFiles::find`] and [`CheckpointFiles::open`]; where the folder leaves a choice, with the option that makes it.
pub(super) fn open(arguments: &CheckpointArguments) -> Result<(CheckpointFiles, Checkpoint)> {
    let selection = Selection {
        network: arguments.network.map(|choice| match choice {
            NetworkChoice::Unet => NetworkFolder::Unet,
            NetworkChoice::UnetEma => NetworkFolder::UnetEma,
        }),
        variant: arguments.variant.clone(),
        scheduler: arguments.scheduler.clone(),
    };
    let files = CheckpointFiles::find(&arguments.folder, &selection).map_err(|error| match error {
        DiffusionError::Unclear { folder, what } => {
            let advice = advice(&what, &arguments.folder);
            anyhow::Error::new(ProgramError::UnclearCheckpoint { folder, what, advice })
        }
        other => other.into(),
    })?;
    let checkpoint = files.open()?;
    for (file, keys) in
        [(&files.config, &checkpoint.unknown_keys), (&files.scheduler, &checkpoint.scheduler.unknown_keys)]
    {
        for key in keys {
            say(&format!("warning: {}: `{key}` is not known and is passed over", file.display()));
        }
    }
    Ok((files, checkpoint))
}

fn advice(what: &Unclear, folder: &Path) -> String {
    match what {
        Unclear::Network => "say `--network unet` or `--network unet_ema`".into(),
        Unclear::Variant(names) => {
            format!(
                "say {}",
                names.iter().map(|name| format!("`--variant {name}`")).collect::<Vec<_>>().join(" or ")
            )
        }
        Unclear::Scheduler => "name its file with `--scheduler FILE`".into(),
        Unclear::Checkpoint(names) => {
            let last = names.last().map_or_else(String::new, |name| folder.join(name).display().to_string());
            format!("name one, such as {last}")
        }
    }
}

/// Makes a run of a checkpoint and prints where it is.
pub(super) fn import(
    arguments: &CheckpointArguments,
    run: Option<PathBuf>,
    overrides: &[String],
    options: RunOptions,
) -> Result<()> {
    let (files, checkpoint) = open(arguments)?;
    let name = name_of_run(&run, &arguments.folder);
    let recipe = recipe_of(&name, &arguments.folder, &files, &checkpoint, overrides, &options.reporter)?;
    let folder = run.unwrap_or_else(|| super::default_folder(&recipe));
    let (architecture, sampling) = (&checkpoint.architecture, recipe.sampling);
    say(&format!(
        "{} parameters, images with {}; samples by {} in {} steps",
        architecture.parameter_count(),
        match architecture.config().in_channels {
            1 => "one channel".into(),
            several => format!("{several} channels"),
        },
        match sampling.sampler {
            SamplerKind::Ddpm => "DDPM",
            SamplerKind::Ddim => "DDIM",
        },
        sampling.steps,
    ));
    if sampling.sampler == SamplerKind::Ddim && sampling.spacing == TimestepSpacing::Linspace {
        say(
            "warning: with `linspace`, diffusers' DDIM steps as if the timesteps that it visits were evenly spaced; here \
             each step goes to the next one visited, so samples differ from those of diffusers",
        );
    }
    // A wrong set is refused here, and not after hours of sampling.
    let size = image_size(architecture)?;
    if let Some(found) = glance_at_images(&recipe.data, &options.reporter)?.filter(|&found| found != size) {
        let ([height, width], [found_height, found_width]) = (size, found);
        say(&format!(
            "warning: the first image of the set is {found_height}x{found_width} as it would be prepared, the network takes \
             {height}x{width}; `data.preprocessing` brings images to a size, and without it `attribute` refuses them"
        ));
    }
    let workspace = write_run(folder, recipe, &checkpoint, options)?;
    print(&format!("{}", workspace.run.root().display()))?;
    Ok(())
}

/// The last part of a path, with what no folder of a run may have replaced.
fn name_of_run(run: &Option<PathBuf>, folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
    let last = run.as_deref().unwrap_or(&absolute).file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = last.chars().map(plain).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "imported".into() } else { name.into() }
}
