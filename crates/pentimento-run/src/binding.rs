//! A run is bound to its recipe: what another recipe made is not replaced unless that is asked for.

use crate::analyse::{attribution_of_others, samples_of_others};
use crate::data::CodedData;
use crate::error::{Result, RunError};
use crate::event::Event;
use crate::imported;
use crate::networks::Networks;
use crate::piece::{Piece, Stage};
use crate::train::{Training, member_folder};
use crate::words::counted;
use crate::workspace::Workspace;
use pentimento_store::Run;

/// What follows from samples and networks and is not made again by itself.
const DERIVED: [&str; 4] = ["scores/", "ablations/", "figures.json", "report"];

/// Takes the recipe of a workspace as that of its run, and removes what lies beyond it. `data` are the images of an ensemble.
///
/// # Errors
///
/// [`RunError::WouldReplace`] if finished pieces would be made again, unless the workspace may replace them; as writing to
/// the run.
pub fn take_recipe(workspace: &Workspace, data: Option<&CodedData>) -> Result<()> {
    let run = &workspace.run;
    let changes = workspace.recipe_changes()?;
    if changes.is_none() && members_of_others(workspace, data)? == 0 {
        return Ok(());
    }
    let replaced = replaced(workspace, data)?;
    if !replaced.is_empty() && !workspace.options.replace {
        return Err(RunError::WouldReplace {
            run: run.root().to_path_buf(),
            what: replaced,
            changes: changes.map(|changes| changes.now_says),
        });
    }
    workspace.save_recipe()?;
    let mut gone = Vec::new();
    if !replaced.is_empty() {
        gone.extend(remove(run, |name| DERIVED.iter().any(|start| name.starts_with(start)))?);
    }
    if let Some(data) = data {
        let beyond = |name: &str| {
            let member = name.strip_prefix("members/").and_then(|rest| rest.split('/').next()?.parse().ok());
            member.is_some_and(|member: u32| member >= data.codes.members())
        };
        gone.extend(remove(run, beyond)?);
    }
    if !gone.is_empty() {
        workspace.reporter().tell(Event::RemovedBeyondRecipe { objects: &gone });
    }
    Ok(())
}

fn remove(run: &Run, is_gone: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let names: Vec<String> = run.names().into_iter().filter(|name| is_gone(name)).collect();
    for name in &names {
        run.remove(name)?;
    }
    Ok(names)
}

/// The finished work that the recipe would make again, in words such as "3 trained members".
fn replaced(workspace: &Workspace, data: Option<&CodedData>) -> Result<Vec<String>> {
    let run = &workspace.run;
    let mut found = Vec::new();
    let mut note = |count: usize, noun: &str, of: &str| {
        if count > 0 {
            found.push(counted(count, noun) + of);
        }
    };
    if let Some(data) = data {
        let stage = Training::new(workspace, data);
        let members = members_of_others(workspace, Some(data))?;
        let beyond = (data.codes.members()..).take_while(|&member| has_member(run, member)).count();
        note(members + beyond, "trained member", "");
        note(stage.unfinished_of_others(run)?, "member", " in training");
    } else if imported::weights(workspace).is_err() {
        return Ok(found);
    }
    let networks = match data {
        Some(_) => match Networks::open(workspace, data) {
            Ok(networks) => Some(networks),
            // Members that are to be made again have not made anything of this recipe.
            Err(RunError::Missing { .. }) => None,
            Err(error) => return Err(error),
        },
        // Of an imported network nothing is known while what it stands on is gone.
        None => Some(Networks::open(workspace, None)?),
    };
    note(samples_of_others(workspace, networks.as_ref())?, "shard", " of samples");
    if let Some(data) = data {
        note(attribution_of_others(workspace, data, networks.as_ref())?, "shard", " of counterfactuals");
    }
    Ok(found)
}

/// How many members of a run are those of another recipe or other images; not those beyond the number of members.
fn members_of_others(workspace: &Workspace, data: Option<&CodedData>) -> Result<usize> {
    let Some(data) = data else { return Ok(0) };
    let pieces = Training::new(workspace, data).pieces()?;
    Ok(pieces.iter().filter(|piece| is_of_other(piece, &workspace.run)).count())
}

fn has_member(run: &Run, member: u32) -> bool {
    let folder = format!("{}/", member_folder(member));
    run.names().iter().any(|name| name.starts_with(&folder))
}

/// Whether a run has an object of a piece that was made from something else.
fn is_of_other(piece: &Piece, run: &Run) -> bool {
    piece
        .objects
        .iter()
        .any(|object| run.entry(object).is_some_and(|entry| entry.made_from != piece.made_from))
}
