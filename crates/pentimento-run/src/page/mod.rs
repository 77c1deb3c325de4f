//! The page: turns what a run found into what a person reads.
//!
//! It has parts for what there is. Of an ensemble that was asked about its own samples there are counterfactuals; wherever
//! methods were asked there are tables of scores; of samples of an ensemble there may be both.
//!
//! * `counterfactuals`: the samples of an ensemble, made again without groups of training images; `code_lists`: the training
//!   images that codes point to; `measures`: the figures; `training`: losses and costs.
//! * `scores`: the training images that methods put first; `explanations` and `dampings`: how those came about.
//! * `removal`: a query made again by networks that were trained without some images; `pooled_removal`: many samples. Each is a
//!   page of its own.
//! * `heading`: who made the page.

mod code_lists;
mod counterfactuals;
mod dampings;
mod explanations;
mod heading;
mod measures;
mod pooled_removal;
mod removal;
mod scores;
mod training;

pub use explanations::statement;
pub use heading::machine;
pub use pooled_removal::report_removal_of_many;
pub use removal::report_removal;
pub use training::CURVE_POINTS;

use crate::analyse::analysis_fingerprint;
use crate::classify::train_classifier;
use crate::data::CodedData;
use crate::error::Result;
use crate::event::Event;
use crate::figures::Figures;
use crate::gradients::{Queries, QuerySet, ScoreTable, Subject};
use crate::networks::Networks;
use crate::recipe::Origin;
use crate::workspace::Workspace;
use counterfactuals::Counterfactuals;
use pentimento_attribution::ensemble::Space;
use pentimento_report::{MethodView, ReportView, render};
use pentimento_store::Fingerprint;
use scores::{Scores, baselines};
use std::path::PathBuf;

/// Name of the page in a run.
const REPORT: &str = "report.html";
/// Name of the figures in a run.
const FIGURES: &str = "figures.json";
/// Training images shown in each list.
pub const IMAGES_SHOWN: usize = 10;

/// How far two pictures are apart.
const DISTANCE: &str = "the Euclidean distance between all values of two pictures, black −1 and white 1";

/// How far two samples are apart.
fn distance_meaning(space: Space) -> &'static str {
    match space {
        Space::Pixels => DISTANCE,
        Space::Latents => {
            "the Euclidean distance between all values of two latents, which are what networks made and pictures are decoded from"
        }
    }
}

/// A page that was written.
pub struct Reported {
    /// The page.
    pub path: PathBuf,
    /// The figures of an ensemble, if the page is about its samples.
    pub figures: Option<Figures>,
}

/// Measures an ensemble and writes `figures.json` and `report.html`, the page of its samples, if they are not there.
///
/// # Errors
///
/// [`RunError::Missing`](crate::error::RunError::Missing) if an earlier stage is missing.
pub fn report(workspace: &Workspace, data: &CodedData, networks: &Networks<'_>) -> Result<Reported> {
    let classifier = train_classifier(workspace)?;
    let key = fingerprint(workspace, data, networks, classifier)?;
    let run = &workspace.run;
    let path = run.root().join(REPORT);
    // A page that was damaged is no result; it is made again, as its parts are there.
    if run.is_current(REPORT, key)
        && run.is_current(FIGURES, key)
        && let (Ok(figures), Ok(_)) = (run.get(FIGURES), run.get(REPORT))
    {
        return Ok(Reported { path, figures: Some(serde_json::from_slice(&figures)?) });
    }
    workspace.reporter().tell(Event::Reporting);
    let counterfactuals = Counterfactuals::read(workspace, data, networks)?;
    let html = render(&view(workspace, Some(&counterfactuals), None)?)?;
    let figures = counterfactuals.figures;
    run.put_many([(FIGURES, serde_json::to_vec_pretty(&figures)?), (REPORT, html.into_bytes())], key)?;
    Ok(Reported { path, figures: Some(figures) })
}

/// Writes the page of some queries with the tables of their scores: `report.html` for samples, another name for others. Of
/// samples of an ensemble it has their counterfactuals too.
///
/// # Errors
///
/// As [`report`]; if an image cannot be compared, or the page cannot be drawn or written.
pub fn report_scores(subject: &Subject<'_>, queries: &Queries, tables: &[ScoreTable]) -> Result<Reported> {
    let (workspace, run) = (subject.workspace, &subject.workspace.run);
    let name = match &queries.set {
        QuerySet::Samples => REPORT.to_owned(),
        other => format!("report-{}.html", other.name()),
    };
    let baselines = baselines(subject, queries, tables)?;
    let scores = Scores::new(subject, queries, tables.iter().chain(&baselines).collect())?;
    let counterfactuals = match subject.networks.trained_on.filter(|_| queries.set == QuerySet::Samples) {
        Some(data) => {
            let classifier = train_classifier(workspace)?;
            let key = fingerprint(workspace, data, subject.networks, classifier)?;
            workspace.reporter().tell(Event::Reporting);
            let read = Counterfactuals::read(workspace, data, subject.networks)?;
            run.put(FIGURES, key, &serde_json::to_vec_pretty(&read.figures)?)?;
            Some(read)
        }
        None => None,
    };
    let html = render(&view(workspace, counterfactuals.as_ref(), Some(&scores))?)?;
    run.put(&name, Fingerprint::of("report with scores").text(&html).finish(), html.as_bytes())?;
    let figures = counterfactuals.map(|read| read.figures);
    Ok(Reported { path: run.root().join(name), figures })
}

fn fingerprint(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
    classifier: Option<Fingerprint>,
) -> Result<Fingerprint> {
    Ok(Fingerprint::of("report")
        .text(env!("CARGO_PKG_VERSION"))
        .fingerprint(analysis_fingerprint(workspace, data, networks)?)
        .json(&classifier.map(|classifier| classifier.to_string()))?
        .text(&workspace.recipe.to_text()?)
        .finish())
}

/// Whether the page and the figures of an ensemble's samples are there, made with this classifier.
///
/// # Errors
///
/// As [`analysis_fingerprint`].
pub fn is_reported(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
    classifier: Option<Fingerprint>,
) -> Result<bool> {
    let key = fingerprint(workspace, data, networks, classifier)?;
    Ok([REPORT, FIGURES].iter().all(|name| workspace.run.is_current(name, key)))
}

/// The page of what there is: counterfactuals, scores, or both of the same samples.
fn view(
    workspace: &Workspace,
    counterfactuals: Option<&Counterfactuals<'_>>,
    scores: Option<&Scores<'_>>,
) -> Result<ReportView> {
    let recipe = &workspace.recipe;
    let mut view = match (counterfactuals, scores) {
        (Some(counterfactuals), _) => of_ensemble(counterfactuals)?,
        (None, Some(scores)) => of_queries(scores),
        (None, None) => ReportView::default(),
    };
    if let Some(scores) = scores {
        // Below the counterfactuals of a sample, if it has any.
        for (query, sample) in view.samples.iter_mut().enumerate() {
            sample.training_image_lists.extend(scores.lists(query));
        }
        let explained = |table: &&ScoreTable| MethodView {
            name: table.method.name.into(),
            explanation: explanations::explanation(recipe, table),
        };
        view.methods.extend(scores.tables.iter().map(explained));
        view.damping_curves =
            scores.tables.iter().flat_map(|table| dampings::dampings(recipe, table)).collect();
    }
    view.made_with = heading::made_with(recipe);
    view.recipe = recipe.to_text()?;
    Ok(view)
}

/// An ensemble's samples, and what is known of the ensemble.
fn of_ensemble(page: &Counterfactuals<'_>) -> Result<ReportView> {
    let Counterfactuals { workspace, data, samples, figures, classifier, .. } = page;
    let members = data.codes.members();
    let of_sample = |(at, sample)| page.sample(at, sample);
    Ok(ReportView {
        title: format!("What {} generated pictures rest on", samples.len()),
        what_this_is: workspace.recipe.description.clone(),
        headline_figures: measures::headlines(figures, data),
        interval_meaning: measures::INTERVALS.into(),
        distance_meaning: distance_meaning(workspace.recipe.space()).into(),
        members: Some(members),
        methods: measures::approximations(figures),
        samples: samples.iter().enumerate().map(of_sample).collect::<Result<_>>()?,
        group_table: measures::group_table(page),
        fidelity: measures::fidelity(figures),
        method_comparisons: measures::comparisons(figures),
        stage_agreement: measures::agreement(figures),
        loss_curves: training::loss_curves(workspace, members)?,
        stage_costs: training::costs(workspace),
        duplicates_note: Some(training::duplicates(data, classifier.as_ref())),
        commands: vec![format!("pentimento run {}/recipe.toml", workspace.run.root().display())],
        ..ReportView::default()
    })
}

/// Queries of which nothing but scores is known.
fn of_queries(scores: &Scores<'_>) -> ReportView {
    let count = scores.queries.images.len();
    let description = &scores.workspace.recipe.description;
    ReportView {
        title: match count {
            1 => "What a picture rests on".into(),
            count => format!("What {count} pictures rest on"),
        },
        what_this_is: match (&scores.queries.set, &scores.workspace.recipe.origin) {
            _ if !description.is_empty() => description.clone(),
            (QuerySet::Samples, _) => {
                "Pictures made by an imported network, and the training images to which its gradients point.".into()
            }
            (_, Origin::Imported(_) | Origin::Bank(_)) => {
                "Pictures that were given, and the training images to which a network's gradients point.".into()
            }
            (_, Origin::Trained(_)) => {
                "Pictures that were given, and the training images to which the gradients of an ensemble point.".into()
            }
        },
        interval_meaning: scores.interval_meaning().into(),
        samples: (0..count).map(|query| scores.sample(query)).collect(),
        ..ReportView::default()
    }
}
