//! Scores by influence functions and by unlearning, with intervals.

use super::curvature_store::{MeasuredCurvature, curvature};
use super::damping::dampings;
use super::forecast::forecast;
use super::influence_products::ProductsOf;
use super::query_gradients::{QueryGradients, check_trajectory};
use super::unlearning::UnlearningOf;
use crate::error::{Result, RunError};
use crate::event::Event;
use crate::gradients::{
    Details, GradientsTaken, InfluenceDetails, InfluenceNote, Queries, QuerySet, ScoreTable, Subject,
};
use pentimento_attribution::curvature::{InfluenceKind, QueryMeasurement, loss_increases, predicted_changes};
use pentimento_attribution::gradient::{Measurement, Spread};
use pentimento_attribution::methods::Method;
use pentimento_attribution::scores::Scores;

/// Refuses a method that cannot be asked about some queries, before anything is computed.
///
/// # Errors
///
/// [`RunError::OtherUse`] for the trajectory of an image that was not generated, or of a sampler without noise.
pub fn check_influence(subject: &Subject<'_>, set: &QuerySet, kind: InfluenceKind) -> Result<()> {
    match kind {
        InfluenceKind::Linear(QueryMeasurement::Trajectory, _) => check_trajectory(subject, set),
        _ => Ok(()),
    }
}

/// Scores every training image for every query through the curvature of each network, which is measured if it is not in the
/// run. Several networks are averaged; one that never saw an image does not depend on it.
///
/// # Errors
///
/// [`Stopped`](crate::error::RunError::Stopped) on Ctrl-C, what is finished is kept; what the curvature, the damping or the
/// queries do not allow.
pub fn score_influence(
    subject: &Subject<'_>,
    queries: &Queries,
    method: Method,
    kind: InfluenceKind,
) -> Result<ScoreTable> {
    forecast(subject, queries, method, kind)?.tell(subject.workspace.reporter());
    let mut scores = Scores::default();
    let mut note: Option<InfluenceNote> = None;
    let share = 1.0 / subject.networks.weights.len().max(1) as f64;
    for network in 0..subject.networks.weights.len() {
        let measured = curvature(subject, network)?;
        let (dampings, of_network) = dampings(subject, &measured);
        measured.curvature.check(&dampings).map_err(|error| RunError::RecipeValue {
            file: "recipe".into(),
            field: "influence.damping".into(),
            value: of_network.dampings[0].to_string(),
            bound: error.to_string(),
        })?;
        let (found, residual) =
            score_network(subject, network, &measured, &dampings, queries, method.name, kind)?;
        scores.add(share, &found);
        note.get_or_insert(InfluenceNote { residual, ..of_network });
    }
    if let Some((query, image)) = scores.first_not_finite() {
        let step = subject.workspace.recipe.influence.unlearning_step;
        return Err(RunError::RecipeValue {
            file: method.name.into(),
            field: format!("the score of training image {}", subject.training.images.source_indices()[image]),
            value: format!("not finite for {}", queries.images[query].title),
            bound: match kind {
                InfluenceKind::Unlearning => {
                    format!("a shorter step is needed than `influence.unlearning_step` = {step}")
                }
                InfluenceKind::Linear(..) => {
                    "the network's output is so large that products of its gradients overflow".into()
                }
            },
        });
    }
    if let Some(query) = scores.first_flat_query() {
        let query = &queries.images[query].title;
        subject.workspace.reporter().tell(Event::FlatScores { method: method.name, query });
    }
    let Scores { scores, replicates, self_influence } = scores;
    Ok(ScoreTable {
        spread: Spread::new(replicates),
        details: Details::Influence(InfluenceDetails {
            taken: GradientsTaken::new(subject, subject.networks.architecture.parameter_count()),
            self_influence,
            note,
        }),
        ..ScoreTable::plain(subject, queries, method, scores)?
    })
}

/// What one network says, and the mean of what conjugate gradients left of the queries, if they were taken.
fn score_network(
    subject: &Subject<'_>,
    network: usize,
    measured: &MeasuredCurvature,
    dampings: &[f64],
    queries: &Queries,
    name: &str,
    kind: InfluenceKind,
) -> Result<(Scores, Option<f64>)> {
    let saw: Vec<bool> =
        (0..subject.training.images.len()).map(|image| subject.networks.saw(network, image)).collect();
    let (count, groups) = (queries.images.len(), subject.draws().groups);
    match kind {
        InfluenceKind::Linear(measurement, inverse) => {
            let gradients = QueryGradients::new(subject, &queries.set, &queries.images, measurement)?;
            let queries_have_draws = measurement != QueryMeasurement::Trajectory;
            let of = ProductsOf {
                subject,
                network,
                measured,
                dampings,
                measurement: name,
                queries_have_draws,
                inverse,
            };
            let (products, residual) = of.complete(&gradients, &queries.images)?;
            let seen = saw.iter().filter(|&&saw| saw).count();
            Ok((predicted_changes(&products, count, groups, seen, queries_have_draws), residual))
        }
        InfluenceKind::Unlearning => {
            let loss = QueryMeasurement::OfImage(Measurement::Loss);
            let gradients = QueryGradients::new(subject, &queries.set, &queries.images, loss)?;
            let of = UnlearningOf { subject, network, measured, dampings };
            Ok((loss_increases(&of.complete(&gradients, &queries.images)?, groups, &saw), None))
        }
    }
}
