//! All stages of a run, one after another.

use crate::analyse::{attribute, sample};
use crate::data::coded_data_if_trained;
use crate::error::Result;
use crate::gradients::{QuerySet, ScoreTable, Subject, TrainingImages};
use crate::networks::Networks;
use crate::page::{Reported, report, report_scores};
use crate::scores::{check, score, usual_method};
use crate::train::train;
use crate::workspace::Workspace;
use std::slice;

/// What a run came to.
pub struct Finished {
    /// The scores of the samples by the usual method, if the network was imported and its training images are known.
    pub scores: Option<Scored>,
    /// The page; none if there is nothing to say of the samples of an imported network.
    pub page: Option<Reported>,
}

/// A table of scores with what its numbers are about.
pub struct Scored {
    /// The scores.
    pub table: ScoreTable,
    /// The training images that were scored.
    pub training: TrainingImages,
    /// Parameters of the network in which gradients were taken.
    pub parameters: usize,
}

/// Everything that a recipe asks for; what is there already is not made again. An ensemble is trained, sampled, attributed by
/// its codes and reported; an imported network is sampled and, if the recipe names its training images, these are scored and
/// reported.
///
/// # Errors
///
/// [`RunError::Stopped`](crate::error::RunError::Stopped) once it is asked to stop: finished pieces are kept. As every stage.
pub fn everything(workspace: &Workspace) -> Result<Finished> {
    let data = coded_data_if_trained(workspace)?;
    if let Some(data) = &data {
        train(workspace, data, None)?;
    }
    let networks = &Networks::open(workspace, data.as_ref())?;
    if let Some(data) = &data {
        sample(workspace, networks)?;
        attribute(workspace, data, networks)?;
        return Ok(Finished { scores: None, page: Some(report(workspace, data, networks)?) });
    }
    if !workspace.recipe.data.has_source() {
        sample(workspace, networks)?;
        return Ok(Finished { scores: None, page: None });
    }
    // Images that do not fit are refused before samples are made.
    let training = TrainingImages::open(workspace, networks)?;
    let subject = &Subject::new(workspace, networks, &training);
    let parameters = networks.architecture.parameter_count();
    let method = usual_method(&workspace.recipe, parameters);
    check(subject, &QuerySet::Samples, method, None)?;
    let queries = QuerySet::Samples.make_and_open(subject)?;
    let table = score(subject, &queries, method, None)?;
    table.write(workspace, &queries.set.name())?;
    let page = report_scores(subject, &queries, slice::from_ref(&table))?;
    Ok(Finished { scores: Some(Scored { table, training, parameters }), page: Some(page) })
}
