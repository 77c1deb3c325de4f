//! `pentimento pieces`, `make` and `adopt`: the parts of a run, wherever they are made.

use super::print;
use crate::error::message;
use crate::progress::say;
use anyhow::Result;
use pentimento_run::bank::bank_data;
use pentimento_run::data::coded_data;
use pentimento_run::drive::Adoption;
use pentimento_run::gradients::QuerySet;
use pentimento_run::piece::PieceName;
use pentimento_run::recipe::Origin;
use pentimento_run::{RunError, RunOptions, Workspace, stages};
use std::path::{Path, PathBuf};

/// Prints a line for every piece, and says of which stages they are not known yet.
pub(super) fn list(workspace: &Workspace, methods: &[String], queries: &QuerySet) -> Result<()> {
    let methods: Vec<&str> = methods.iter().map(String::as_str).collect();
    let names = match stages::names(workspace, &methods) {
        Err(error @ RunError::Missing { .. }) => {
            say(&format!("note: the pieces of methods are not known yet: {}", message(&error.into())));
            stages::names(workspace, &[])?
        }
        names => names?,
    };
    for name in names {
        match stages::list(workspace, &name, queries) {
            Ok(pieces) => {
                for (piece, is_there) in pieces {
                    print(&format!("{piece} {}", if is_there { "there" } else { "missing" }))?;
                }
            }
            Err(error @ RunError::Missing { .. }) => {
                say(&format!("note: the pieces of `{name}` are not known yet: {}", message(&error.into())));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Begins the run of a recipe, so that its pieces can be listed and made.
pub(super) fn begin(workspace: &Workspace) -> Result<()> {
    match workspace.recipe.origin {
        Origin::Bank(_) => bank_data(workspace).map(drop)?,
        Origin::Trained(_) | Origin::Imported(_) => coded_data(workspace).map(drop)?,
    }
    Ok(())
}

/// Makes one piece and prints its name.
pub(super) fn make(
    run: &Path,
    piece: &PieceName,
    queries: &QuerySet,
    into: Option<&Path>,
    options: RunOptions,
) -> Result<()> {
    // The run of a piece that goes elsewhere may be in use, by other machines too.
    let workspace = match into {
        Some(_) => Workspace::open_read_only(run, options)?,
        None => Workspace::open(run, options)?,
    };
    let was_made = stages::make(&workspace, piece, queries, into)?;
    if !was_made {
        say(&format!("{piece} is there already"));
    }
    print(&piece.to_string())?;
    Ok(())
}

/// Takes over what folders have of a run, and prints what it took. What it does not take stays where it is, and the rest is
/// taken all the same.
pub(super) fn adopt(workspace: &Workspace, folders: &[PathBuf], queries: &QuerySet) -> Result<()> {
    // What one folder lacks another one may have: folders with pieces that come too early are asked again.
    let mut taken = Vec::new();
    let mut asked: Vec<&PathBuf> = folders.iter().collect();
    while !asked.is_empty() {
        let (mut progress, mut early) = (false, Vec::new());
        for folder in asked {
            let found = stages::adopt(workspace, folder, queries)?;
            progress |= found.iter().any(|(_, adoption)| matches!(adoption, Adoption::Adopted));
            if found.iter().any(|(_, adoption)| matches!(adoption, Adoption::TooEarly(_))) {
                early.push((folder, found));
            } else {
                taken.push((folder, found));
            }
        }
        asked = if progress { early.iter().map(|(folder, _)| *folder).collect() } else { Vec::new() };
        let again = !asked.is_empty();
        for (folder, found) in early {
            let done = |(_, adoption): &(PieceName, Adoption)| matches!(adoption, Adoption::Adopted);
            // The rest is said when it is asked again.
            let found: Vec<_> = if again { found.into_iter().filter(done).collect() } else { found };
            if !found.is_empty() {
                taken.push((folder, found));
            }
        }
    }
    let mut refused = 0;
    for (folder, found) in taken {
        let place = folder.display();
        if found.is_empty() {
            say(&format!("note: {place} has no piece of this run"));
        }
        for (piece, adoption) in found {
            let reason = match adoption {
                Adoption::Adopted => {
                    print(&piece.to_string())?;
                    continue;
                }
                Adoption::WasThere => {
                    say(&format!("{piece} is there already"));
                    continue;
                }
                Adoption::NotThere => continue,
                Adoption::Foreign => {
                    "was made from something else than this run's recipe, images, networks or queries, or the run has a \
                     part of it"
                        .to_owned()
                }
                Adoption::Unfinished => "is not finished; the same `make` goes on with it".to_owned(),
                Adoption::Damaged(error) => {
                    format!("is damaged: {error}; copy it again, or delete the file and make the piece again")
                }
                Adoption::TooEarly(error) => {
                    format!("comes too early, with all of its stage: {}", message(&error.into()))
                }
            };
            refused += 1;
            say(&format!("{piece} of {place} {reason}: it stays there"));
        }
    }
    match refused {
        0 => Ok(()),
        refused => anyhow::bail!("{refused} of the pieces were not taken"),
    }
}
