//! `pentimento export`: a network of a run as a pipeline that diffusers opens, or an adapter as peft or diffusers has it.

use super::print;
use anyhow::Result;
use pentimento_run::checkpoint::export_network;
use std::path::Path;

/// Writes the files of a member and prints where they are.
pub(super) fn export(run: &Path, folder: &Path, member: Option<u32>) -> Result<()> {
    export_network(run, folder, member)?;
    print(&format!("{}", folder.display()))?;
    Ok(())
}
