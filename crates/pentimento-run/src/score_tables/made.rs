//! Scores by a method that is named.

use super::no_table;
use crate::data::coded_data_if_trained;
use crate::error::Result;
use crate::gradients::{QuerySet, ScoreTable, Subject, TrainingImages};
use crate::networks::Networks;
use crate::scores::{check, score};
use crate::workspace::Workspace;
use pentimento_attribution::methods::Method;

/// Scores every training image of a run for every image that is asked about, by the method with this name, and keeps the
/// table in the run. Samples that are asked about and gradients that are missing are made; those that are there are used.
///
/// # Errors
///
/// [`RunError::NoSuch`](crate::error::RunError::NoSuch) if no method has this name,
/// [`OtherUse`](crate::error::RunError::OtherUse) if it does not apply to these images,
/// [`NoTrainingImages`](crate::error::RunError::NoTrainingImages) if the recipe names none,
/// [`Stopped`](crate::error::RunError::Stopped) once the stop flag is set: what is finished is kept.
pub fn score_training_images(workspace: &Workspace, method: &str, set: QuerySet) -> Result<ScoreTable> {
    // Before anything is opened.
    let method = Method::named(method).filter(Method::writes_table).ok_or_else(|| no_table(method))?;
    let data = coded_data_if_trained(workspace)?;
    let networks = &Networks::open(workspace, data.as_ref())?;
    let training = &TrainingImages::open(workspace, networks)?;
    let subject = Subject::new(workspace, networks, training);
    // Before samples are made.
    check(&subject, &set, method, None)?;
    let queries = set.make_and_open(&subject)?;
    let table = score(&subject, &queries, method, None)?;
    table.write(workspace, &queries.set.name())?;
    Ok(table)
}
