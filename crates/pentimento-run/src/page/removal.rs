//! The page of one query without the images that a method names for it.

use super::heading;
use super::pooled_removal::capital;
use super::scores::Scores;
use super::statement;
use crate::error::Result;
use crate::gradients::{Queries, Subject};
use crate::removal::{OneImage, Removal, RemovedBy, VerifiedRemoval, name_of_one};
use crate::words::counted;
use pentimento_attribution::likeness::Likeness;
use pentimento_attribution::methods::Family;
use pentimento_report::{
    MethodView, RemovalView, RemovedView, ReportView, Statement, TrainingImageList, render,
};
use pentimento_store::Fingerprint;
use std::path::PathBuf;

/// Most images of a control that are shown; of the method all are.
const SHOWN_OF_CONTROL: usize = 20;

/// Writes the page of one query.
///
/// # Errors
///
/// If the page cannot be drawn or written.
pub fn report_removal(subject: &Subject<'_>, queries: &Queries, one: &OneImage) -> Result<PathBuf> {
    let tables = one.removals.iter().map(|removal| &removal.table).collect();
    let scores = Scores::new(subject, queries, tables)?;
    let html = render(&view(subject, &scores, one)?)?;
    let method = one.removals.first().map_or("", |removal| removal.table.method.name);
    let name = format!("{}.html", name_of_one(&queries.set, &one.found.query, method, one.found.count));
    let run = &subject.workspace.run;
    run.put(&name, Fingerprint::of("page of a removal").text(&html).finish(), html.as_bytes())?;
    Ok(run.root().join(name))
}

fn view(subject: &Subject<'_>, scores: &Scores<'_>, one: &OneImage) -> Result<ReportView> {
    let OneImage { found, query, place, removals, without } = one;
    let recipe = &subject.workspace.recipe;
    let removed = |(number, (row, removal)): (usize, (&RemovedBy, &Removal))| RemovedView {
        label: label(row, found),
        picture: without.get(number).map(|image| scores.picture(image)),
        distance: row.image_change,
        loss_change: row.loss_change,
        removed: list(scores, removal, *place),
    };
    let explained = |removal: &Removal| MethodView {
        name: removal.table.method.name.into(),
        explanation: super::explanations::explanation(recipe, &removal.table),
    };
    Ok(ReportView {
        title: format!("Does {} rest on these images?", query.title),
        what_this_is: format!(
            "The network was trained again without the {} that {} puts first for this picture, and, to compare, without as \
             many others.",
            counted(found.count, "training image"),
            found.rows.first().map_or("", |row| row.method)
        ),
        made_with: heading::made_with(recipe),
        distance_meaning: super::DISTANCE.into(),
        methods: removals.iter().map(explained).collect(),
        removal: Some(RemovalView {
            id: *place as u64,
            name: capital(&query.title),
            image: scores.picture(&query.picture),
            headline: found.headline.clone(),
            caution: VerifiedRemoval::CAUTION.into(),
            statement: Statement {
                behaviour: found.behaviour.clone(),
                intervention: found.intervention.clone(),
                training_process: found.training_process.clone(),
            },
            removals: found.rows.iter().zip(removals).enumerate().map(removed).collect(),
        }),
        recipe: recipe.to_text()?,
        ..ReportView::default()
    })
}

/// Completes "without ...".
fn label(row: &RemovedBy, found: &VerifiedRemoval) -> String {
    match row.is_control {
        false => format!("its {} by {}", counted(found.count, "image"), row.method),
        true => format!("{} by {}", counted(found.count, "image"), row.method),
    }
}

/// The images that were removed, the first ones first.
fn list(scores: &Scores<'_>, removal: &Removal, query: usize) -> TrainingImageList {
    let shown = if removal.is_control { SHOWN_OF_CONTROL } else { usize::MAX };
    let of = &removal.table.scores[query];
    let image = |(rank, &image): (usize, &usize)| scores.listed(&removal.table, image, rank, of[image]);
    TrainingImageList {
        title: match removal.table.method.family {
            Family::Likeness(Likeness::Random) => "Taken away at random".into(),
            _ => format!("Taken away by {}", removal.table.method.name),
        },
        explanation: match removal.images.len() {
            count if count > shown => format!("The first {shown} of {count}."),
            _ => String::new(),
        },
        statement: statement(removal.table.method.statement()),
        images: removal.images.iter().take(shown).enumerate().map(image).collect(),
        groups: Vec::new(),
    }
}
