//! What a page tells of the making of an ensemble: losses, costs, equal training images.

use crate::classify::TrainedClassifier;
use crate::costs::Costs;
use crate::data::CodedData;
use crate::error::Result;
use crate::train::losses;
use crate::workspace::Workspace;
use pentimento_data::exact_duplicates;
use pentimento_report::{LossCurve, LossPoint, StageCost};

/// Points of a loss curve on the page; each is the mean of the steps around it.
pub const CURVE_POINTS: usize = 120;

/// The loss of every member.
///
/// # Errors
///
/// If the losses of one cannot be read.
pub(super) fn loss_curves(workspace: &Workspace, members: u32) -> Result<Vec<LossCurve>> {
    (0..members).map(|member| loss_curve(workspace, member)).collect()
}

/// What all pieces of each kind cost.
pub(super) fn costs(workspace: &Workspace) -> Vec<StageCost> {
    let cost = |(stage, (seconds, units))| StageCost { stage, seconds, note: format!("{units} made") };
    Costs::read(&workspace.run).total().into_iter().map(cost).collect()
}

fn loss_curve(workspace: &Workspace, member: u32) -> Result<LossCurve> {
    let losses = losses(workspace, member)?;
    let chunk = losses.len().div_ceil(CURVE_POINTS).max(1);
    let points = losses
        .chunks(chunk)
        .enumerate()
        .map(|(index, values)| LossPoint {
            step: (index * chunk + values.len() / 2) as u64,
            loss: values.iter().map(|&loss| f64::from(loss)).sum::<f64>() / values.len() as f64,
        })
        .collect();
    Ok(LossCurve { name: format!("member {member}"), points })
}

/// What was found about equal training images, and how good the classifier is.
pub(super) fn duplicates(data: &CodedData, classifier: Option<&TrainedClassifier>) -> String {
    let duplicates = exact_duplicates(data.images.ids());
    let classifier = classifier.map_or(String::new(), |trained| {
        format!(
            " The classifier names {:.2} % of {} test images rightly.",
            100.0 * trained.accuracy.test,
            trained.accuracy.test_images
        )
    });
    if duplicates.is_empty() {
        return format!("No two of the {} training images are equal.{classifier}", data.images.len());
    }
    let extra: usize = duplicates.iter().map(|group| group.len() - 1).sum();
    format!(
        "{extra} of the {} training images have the same pixels as an earlier one: leaving out one of such a set does not \
         remove what the others teach.{classifier}",
        data.images.len()
    )
}
