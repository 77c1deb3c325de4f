//! Writing a network of a run for other programs.

use crate::adapters;
use crate::base::BaseNetwork;
use crate::error::{Result, RunError};
use crate::imported::{self, MEMBER_FILES};
use crate::train::member_folder;
use crate::workspace::{RunOptions, Workspace, refuse_inside_a_run, refuse_what_is_no_run};
use pentimento_diffusion::checkpoint::{
    ADAPTER_FILES, SCHEDULER_FILES, adapter_as_diffusers, weights_from_bytes,
};
use pentimento_store::Run;
use std::fs;
use std::path::Path;

/// Writes a network of a run as a pipeline that diffusers opens, or of a pipeline with encoders its network and scheduler without the
/// list of parts, into a folder that is empty or does not exist yet; an adapter as a folder that peft opens, or where the name ends
/// with `.safetensors` as a file that diffusers opens, with its scale in the header. Each file is compared with its digest. The
/// member may be left out if the run has only one.
///
/// What an adapter has for a text encoder is not written: it was not the run's.
///
/// # Errors
///
/// [`RunError::NoMember`] if there is no such member, or it is not said which; [`RunError::Occupied`] if the place holds
/// something; as reading the run and writing the files.
pub fn export_network(run_folder: &Path, place: &Path, member: Option<u32>) -> Result<()> {
    refuse_what_is_no_run(run_folder)?;
    let run = Run::open_read_only(run_folder)?;
    let recipe = match Workspace::open_read_only(run_folder, RunOptions::default()) {
        Ok(workspace) => Some(workspace.recipe),
        // A folder of pieces, whose members are networks all the same.
        Err(RunError::NoRecipe { .. }) => None,
        Err(error) => return Err(error),
    };
    let is_adapter = recipe
        .as_ref()
        .is_some_and(|recipe| recipe.adapter().is_some() || recipe.beneath_members().is_some());
    // Of a pipeline with encoders the network is one part, which takes the place of that part in the pipeline.
    let has_encoders = recipe.is_some_and(|recipe| recipe.encoders().is_some());
    let is_pipeline = |file: &&str| *file == SCHEDULER_FILES[0];
    let files: Vec<&str> =
        MEMBER_FILES.into_iter().filter(|file| !(has_encoders && is_pipeline(file))).collect();
    let has = |member: u32| match is_adapter {
        true => adapters::object_names(member).iter().all(|name| run.entry(name).is_some()),
        false => {
            let is_there = |file: &&str| run.entry(&format!("{}/{file}", member_folder(member))).is_some();
            files.iter().all(is_there)
        }
    };
    let members: Vec<u32> = (0..).take_while(|&member| has(member)).collect();
    let member = match (member, members.as_slice()) {
        (Some(member), _) if has(member) => member,
        (None, &[only]) => only,
        (member, members) => {
            let run = run_folder.to_path_buf();
            return Err(RunError::NoMember { member, members: members.len(), run });
        }
    };
    refuse_inside_a_run(place)?;
    let occupied = place.read_dir().map(|mut entries| entries.next().is_some());
    if occupied.unwrap_or(place.exists()) {
        return Err(RunError::Occupied { path: place.to_path_buf() });
    }
    if is_adapter {
        return export_adapter(&run, run_folder, member, place);
    }
    for file in &files {
        write(&place.join(file), &run.get(&format!("{}/{file}", member_folder(member)))?)?;
    }
    Ok(())
}

fn export_adapter(run: &Run, run_folder: &Path, member: u32, place: &Path) -> Result<()> {
    let names = adapters::object_names(member);
    if place.extension().is_none_or(|ending| ending != "safetensors") {
        for (name, file) in names.iter().zip(ADAPTER_FILES) {
            write(&place.join(file), &run.get(name)?)?;
        }
        return Ok(());
    }
    let workspace = Workspace::open_read_only(run_folder, RunOptions::default())?;
    let architecture = match workspace.recipe.on_base() {
        Some(on_base) => BaseNetwork::of(on_base)?.of_members()?.clone(),
        None => imported::architecture(&workspace)?,
    };
    let [_, weights] = names;
    let values = weights_from_bytes(&architecture, &run.get(&weights)?, &weights)?;
    write(place, &adapter_as_diffusers(&architecture, &values)?)
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).map_err(RunError::io("make", folder))?;
    fs::write(file, bytes).map_err(RunError::io("write", file))
}
