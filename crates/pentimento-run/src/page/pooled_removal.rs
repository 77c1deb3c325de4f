//! The page of many samples without the images that methods name for them.

use super::heading;
use crate::error::Result;
use crate::removal::{Effect, PooledRemoval, RemovedForMany};
use crate::workspace::Workspace;
use pentimento_report::{
    PooledMeasurementView, PooledRemovalView, PooledRowView, ReportView, Statement, render,
};
use pentimento_store::Fingerprint;
use std::f64::consts::LN_10;
use std::path::PathBuf;

/// Name of the page in a run.
const PAGE: &str = "evaluation/removal.html";

/// Writes the page of what removals did to many samples.
///
/// # Errors
///
/// If the page cannot be drawn or written.
pub fn report_removal_of_many(workspace: &Workspace, found: &PooledRemoval) -> Result<PathBuf> {
    let html = render(&view(workspace, found)?)?;
    let run = &workspace.run;
    run.put(PAGE, Fingerprint::of("page of a removal").text(&html).finish(), html.as_bytes())?;
    Ok(run.root().join(PAGE))
}

fn view(workspace: &Workspace, found: &PooledRemoval) -> Result<ReportView> {
    let recipe = &workspace.recipe;
    let measured = |title: &str, of: fn(&RemovedForMany) -> &Effect| {
        let row = |row: &RemovedForMany| {
            let Effect { targets, controls, test, .. } = of(row);
            PooledRowView {
                label: row.method.into(),
                targets: targets.clone(),
                controls: controls.clone(),
                area_under_curve: test.area_under_curve,
                log10_p: test.ln_p_value / LN_10,
            }
        };
        let comparisons = |row: &RemovedForMany| -> Vec<String> { of(row).comparisons(row.method) };
        PooledMeasurementView {
            title: capital(title),
            removals: found.rows.iter().map(row).collect(),
            comparisons: found.rows.iter().flat_map(comparisons).collect(),
        }
    };
    Ok(ReportView {
        title: format!("{} samples without the images they are said to rest on", found.targets.len()),
        what_this_is: format!(
            "The network was trained again without {} of {} training images: those that a method puts first for {} of its samples, \
             and, to compare, as many others. {} more samples were looked at, for which nothing was taken away.",
            found.count,
            found.images,
            found.targets.len(),
            found.controls.len()
        ),
        made_with: heading::made_with(recipe),
        distance_meaning: super::DISTANCE.into(),
        pooled_removal: Some(PooledRemovalView {
            headline: found.headline.clone(),
            caution: PooledRemoval::CAUTION.into(),
            statement: Statement {
                behaviour: found.behaviour.clone(),
                intervention: found.intervention.clone(),
                training_process: found.training_process.clone(),
            },
            measured: RemovedForMany::MEASURED.map(|(title, of)| measured(title, of)).into(),
        }),
        recipe: recipe.to_text()?,
        ..ReportView::default()
    })
}

/// A text that begins a sentence.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
