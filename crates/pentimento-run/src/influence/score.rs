//! Scores by influence functions and by unlearning, with intervals.

use super::curvature_store::{Curvatures, MeasuredCurvature};
use super::damping::dampings;
use super::forecast::forecast_with;
use super::influence_products::{HeldQueries, ProductsOf};
use super::query_gradients::{QueryDraws, QueryGradients, check_trajectory};
use super::unlearning::{UnlearningOf, unlearning_draws};
use crate::error::{Result, RunError};
use crate::event::Event;
use crate::gradients::{
    Details, GradientsTaken, InRounds, InfluenceDetails, InfluenceNote, Queries, QuerySet, ScoreTable,
    Subject, in_rounds,
};
use pentimento_attribution::curvature::{
    InfluenceKind, Inverse, QueryMeasurement, loss_changes, predicted_changes,
};
use pentimento_attribution::gradient::{Measurement, Spread, TimestepShares};
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
    let curvatures = Curvatures::new(subject);
    forecast_with(&curvatures, subject, queries, method, kind)?.tell(subject.workspace.reporter());
    let networks = subject.networks.weights.len();
    let held: Vec<HeldQueries> = (0..networks).map(|_| HeldQueries::default()).collect();
    let of_round = |subject: &Subject<'_>| -> Result<Round> {
        let is_drawn = !matches!(kind, InfluenceKind::Linear(QueryMeasurement::Trajectory, _));
        let query_draws = is_drawn.then(|| QueryDraws::of_kind(subject, kind).count(&subject.draws()));
        let mut scores = Scores::default();
        let mut note: Option<InfluenceNote> = None;
        let share = 1.0 / networks.max(1) as f64;
        for (network, held) in held.iter().enumerate() {
            let measured = &curvatures.of(network)?;
            let (dampings, of_network) = &dampings(subject, measured);
            measured.curvature.check(dampings).map_err(|error| RunError::RecipeValue {
                file: "recipe".into(),
                field: "influence.damping".into(),
                value: of_network.dampings[0].to_string(),
                bound: error.to_string(),
            })?;
            let of = Asked { subject, network, measured, dampings, queries, name: method.name, held };
            let (found, solution) = of.scores(kind)?;
            scores.add(share, &found);
            let note = note.get_or_insert(InfluenceNote { query_draws, ..of_network.clone() });
            if let Some(Solution { residual, last_step }) = solution {
                *note.residual.get_or_insert(0.0) += share * residual;
                *note.last_step.get_or_insert(0.0) += share * last_step;
            }
        }
        Ok(Round { spread: Spread::new(std::mem::take(&mut scores.replicates)), scores, note })
    };
    // What one query costs to unlearn is the losses of all training images: their draws are a fixed number.
    let adapts = !matches!(kind, InfluenceKind::Unlearning(_));
    let InRounds { found, draws, ended_by } = in_rounds(subject, method.name, adapts, of_round, |round| {
        (round.scores.scores.as_slice(), &round.spread)
    })?;
    let Round { scores, spread, note } = found;
    if let Some((query, image)) = scores.first_not_finite() {
        let step = subject.workspace.recipe.influence.unlearning_step;
        return Err(RunError::RecipeValue {
            file: method.name.into(),
            field: format!("the score of training image {}", subject.training.images.source_indices()[image]),
            value: format!("not finite for {}", queries.images[query].title),
            bound: match kind {
                InfluenceKind::Unlearning(_) => {
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
    let Scores { scores, self_influence, .. } = scores;
    let parameters = subject.networks.architecture.parameter_count();
    let by_loss = note.as_ref().is_some_and(|note| note.timestep_shares != TimestepShares::EVEN);
    let draws = if adapts { draws } else { unlearning_draws(subject, by_loss) };
    Ok(ScoreTable {
        spread,
        details: Details::Influence(InfluenceDetails {
            taken: GradientsTaken::new(subject, &draws, ended_by, parameters),
            self_influence,
            note,
        }),
        ..ScoreTable::plain(subject, queries, method, scores)?
    })
}

/// What a round of draws gave.
struct Round {
    scores: Scores,
    spread: Spread,
    note: Option<InfluenceNote>,
}

/// How far conjugate gradients came, mean over queries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Solution {
    /// What is left of a query, as a share of it.
    pub residual: f64,
    /// What the last step added to the solution along the query, as a share of what all steps did.
    pub last_step: f64,
}

/// One network that is asked.
struct Asked<'a> {
    subject: &'a Subject<'a>,
    network: usize,
    measured: &'a MeasuredCurvature,
    dampings: &'a [f64],
    queries: &'a Queries,
    /// Of the method.
    name: &'a str,
    held: &'a HeldQueries,
}

impl Asked<'_> {
    /// What the network says, and how far conjugate gradients came, if they were taken.
    fn scores(&self, kind: InfluenceKind) -> Result<(Scores, Option<Solution>)> {
        let Self { subject, network, measured, dampings, queries, name, held } = *self;
        let saw: Vec<bool> =
            (0..subject.training.images.len()).map(|image| subject.networks.saw(network, image)).collect();
        let (count, blocks) = (queries.images.len(), subject.draws().blocks());
        match kind {
            InfluenceKind::Linear(measurement, inverse) => {
                let gradients = QueryGradients::new(subject, queries, measurement, measured.shares)?;
                let of = ProductsOf {
                    subject,
                    network,
                    measured,
                    dampings,
                    factors: &[1.0],
                    name,
                    measurement,
                    inverse,
                    held,
                };
                let (products, solution) = of.complete(&gradients, &queries.images)?;
                let seen = saw.iter().filter(|&&saw| saw).count();
                let is_drawn = measurement != QueryMeasurement::Trajectory;
                let mut scores = predicted_changes(&products, count, blocks, seen, is_drawn);
                if inverse == Inverse::Whole {
                    // What an image does to itself went through the blocks: another number than its scores.
                    scores.self_influence.fill(f64::NAN);
                }
                Ok((scores, solution))
            }
            InfluenceKind::Unlearning(change) => {
                let loss = QueryMeasurement::OfImage(Measurement::Loss);
                let gradients = QueryGradients::new(subject, queries, loss, measured.shares)?;
                let of = UnlearningOf { subject, network, measured, dampings };
                let losses = of.complete(&gradients, &queries.images, change)?;
                Ok((loss_changes(&losses, change, blocks, &saw), None))
            }
        }
    }
}
