//! `pentimento scores`: what `attribute` wrote, to look at and to take elsewhere.

use super::print;
use crate::error::{ProgramError, in_shell, message, there_are_scores};
use crate::progress::say;
use anyhow::Result;
use pentimento_attribution::methods::Method;
use pentimento_run::Workspace;
use pentimento_run::gradients::QuerySet;
use pentimento_run::score_tables::{ImagesSince, KeptSet, KeptTable, ScoredImage};
use pentimento_run::words::first_of;
use std::path::Path;

/// What is printed.
pub(super) struct Shown {
    /// One query, or all.
    pub of: Option<String>,
    /// Training images of each.
    pub top: usize,
    /// Those with the smallest scores.
    pub bottom: bool,
}

/// Prints or exports the scores of one method.
pub(super) fn scores(
    workspace: &Workspace,
    method: Option<&str>,
    set: &QuerySet,
    shown: &Shown,
    export: Option<&Path>,
) -> Result<()> {
    let table = KeptTable::open(workspace, set, method)?;
    say_if_stale(workspace, &table)?;
    if let Some(file) = export {
        table.export(file)?;
        print(&format!("{}", file.display()))?;
        return Ok(());
    }
    let queries = table.queries(shown.of.as_deref())?;
    if queries.is_empty() {
        return Err(no_such_query(&table, shown.of.as_deref()).into());
    }
    print(&format!("{}, asked about {}", table.method, table.set.asked))?;
    // A table may be of a method that another version of the program had.
    if let Some(method) = Method::named(&table.method) {
        print(&format!("{}", method.statement()))?;
    }
    for query in queries {
        print(&format!("query {}, rank, training image, score:", query.name))?;
        let images = if shown.bottom { query.last(shown.top) } else { query.first(shown.top) };
        for ScoredImage { image, label, rank, score, interval } in images {
            let interval =
                interval.map_or(String::new(), |[low, high]| format!(" [{low:+.3e}, {high:+.3e}]"));
            let label = if label.is_empty() { label } else { format!("{label} ") };
            print(&format!("  {rank}. {image} {label}{score:+.3e}{interval}"))?;
        }
    }
    if let Some(others) = others(&table).filter(|_| shown.of.is_none()) {
        say(&format!("note: {others}"));
    }
    Ok(())
}

fn no_such_query(table: &KeptTable<'_>, of: Option<&str>) -> ProgramError {
    ProgramError::NoSuch {
        what: "query".into(),
        value: of.unwrap_or_default().into(),
        bound: format!(
            "the scores by `{}` asked about {} are of {}; leave out `--of` to see them all{}",
            table.method,
            table.set.asked,
            first_of(table.query_names()),
            others(table).map_or(String::new(), |others| format!("; {others}"))
        ),
    }
}

/// A sentence on the sets beside the one that is looked at, if there are any.
fn others(table: &KeptTable<'_>) -> Option<String> {
    let others = table.other_sets.iter().map(|set| (&set.asked, &set.methods));
    (!table.other_sets.is_empty()).then(|| there_are_scores(others))
}

/// The options that ask about a set again.
fn query_options(set: &KeptSet) -> String {
    let class = set.class.as_ref().map_or(String::new(), |class| format!(" --class {}", in_shell(class)));
    let prompt =
        set.prompt.as_ref().map_or(String::new(), |prompt| format!(" --prompt {}", in_shell(prompt)));
    format!(" --query {}{class}{prompt}", in_shell(&set.asked))
}

/// Says so if the scores are not those of today, or that cannot be known.
fn say_if_stale(workspace: &Workspace, table: &KeptTable<'_>) -> Result<()> {
    let staleness = table.staleness()?;
    let query = if table.set.is_samples() { String::new() } else { query_options(&table.set) };
    let again =
        format!("pentimento attribute {} --method {}{query}", workspace.run.root().display(), table.method);
    if staleness.made_with_changed {
        say(&format!(
            "warning: the recipe, the networks or the samples have changed since these scores were made: `{again}` makes \
             those of today"
        ));
    }
    match staleness.queries {
        ImagesSince::Same | ImagesSince::NotRecorded => {}
        ImagesSince::Changed => say(&format!(
            "warning: the images that were asked about have changed since these scores were made: `{again}` asks about those of \
             today"
        )),
        ImagesSince::NotOpened(error) => say(&format!(
            "note: the images that were asked about cannot be opened, so it is not known whether they are still those of these \
             scores: {}",
            message(&error.into())
        )),
    }
    match staleness.images {
        ImagesSince::Same | ImagesSince::NotRecorded => {}
        ImagesSince::Changed => say(&format!(
            "warning: the training images have changed since these scores were made: `{again}` scores those of today"
        )),
        ImagesSince::NotOpened(error) => say(&format!(
            "note: the training images cannot be opened, so it is not known whether they are still those of these scores: {}",
            message(&error.into())
        )),
    }
    Ok(())
}
