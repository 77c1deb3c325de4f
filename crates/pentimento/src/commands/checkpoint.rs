//! Opening a diffusers checkpoint, and `pentimento import`: making a run of it.

use super::print;
use crate::arguments::{CheckpointArguments, NetworkChoice};
use anyhow::Result;
use pentimento_diffusion::checkpoint::{NetworkFolder, Selection};
use pentimento_run::checkpoint::{OpenCheckpoint, import_checkpoint, open_checkpoint};
use pentimento_run::{Reporter, RunOptions};
use std::path::PathBuf;

/// Finds and opens the checkpoint that a person names, with the adapter that goes with it.
pub(super) fn open(arguments: &CheckpointArguments, reporter: &Reporter) -> Result<OpenCheckpoint> {
    let opened = open_checkpoint(&arguments.folder, &selection(arguments), reporter)?;
    match &arguments.lora {
        Some(adapter) => Ok(opened.with_adapter(adapter, reporter)?),
        None => Ok(opened),
    }
}

/// What a person says of the choices that a folder leaves.
pub(super) fn selection(arguments: &CheckpointArguments) -> Selection {
    Selection {
        network: arguments.network.map(|choice| match choice {
            NetworkChoice::Unet => NetworkFolder::Unet,
            NetworkChoice::UnetEma => NetworkFolder::UnetEma,
        }),
        variant: arguments.variant.clone(),
        config: arguments.config.clone(),
        scheduler: arguments.scheduler.clone(),
    }
}

/// Makes a run of a checkpoint and prints where it is.
pub(super) fn import(
    arguments: &CheckpointArguments,
    run: Option<PathBuf>,
    overrides: &[String],
    options: RunOptions,
) -> Result<()> {
    let opened = open(arguments, &options.reporter)?;
    let workspace = import_checkpoint(&opened, run.as_deref(), overrides, options)?;
    print(&format!("{}", workspace.run.root().display()))?;
    Ok(())
}
