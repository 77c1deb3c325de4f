//! `pentimento verify`: every object of a run against its length and digest.

use super::print;
use crate::error::how_to_make_again;
use crate::progress::say;
use anyhow::Result;
use pentimento_run::workspace::refuse_what_is_no_run;
use std::path::Path;

/// Prints what is damaged, and how it is made again.
pub(super) fn verify(folder: &Path) -> Result<()> {
    refuse_what_is_no_run(folder)?;
    let mut run = pentimento_store::Run::open_read_only(folder)?;
    let mut problems = run.verify()?;
    if !problems.is_empty() {
        // Another process may have replaced objects meanwhile: what is damaged is so when it is read again.
        let before: Vec<String> = problems.iter().map(ToString::to_string).collect();
        run = pentimento_store::Run::open_read_only(folder)?;
        problems = run.verify()?;
        problems.retain(|problem| before.contains(&problem.to_string()));
    }
    let (unlisted, damaged): (Vec<_>, Vec<_>) = problems
        .into_iter()
        .partition(|problem| matches!(problem, pentimento_store::Problem::Unlisted { .. }));
    for file in &unlisted {
        say(&format!("note: {file} in the manifest, so no stage reads it"));
    }
    for problem in &damaged {
        say(&problem.to_string());
        if let pentimento_store::Problem::Object { name, .. } = problem
            && let Some(advice) = how_to_make_again(&folder.join(name))
        {
            say(&format!("  what to do: {advice}"));
        }
    }
    if damaged.is_empty() {
        print(&format!("{}: {} objects, all as the manifest says", folder.display(), run.names().len()))?;
        return Ok(());
    }
    let problems = if damaged.len() == 1 { "problem" } else { "problems" };
    anyhow::bail!("{}: {} {problems}", folder.display(), damaged.len())
}
