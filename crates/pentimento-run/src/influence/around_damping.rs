//! Scores by influence functions at multiples of the damping.

use super::curvature_store::Curvatures;
use super::damping::dampings;
use super::influence_products::{HeldQueries, ProductsOf};
use super::query_gradients::QueryGradients;
use crate::error::Result;
use crate::gradients::{Queries, Subject};
use pentimento_attribution::curvature::{InfluenceKind, QueryMeasurement, predicted_changes};
use pentimento_attribution::methods::Method;
use pentimento_attribution::scores::ScoreRows;

/// Scores in so many groups of draws at multiples of the damping of each block, `[factors][queries][images]`; none for unlearning,
/// whose every multiple would measure all losses again. Gradients are taken once for all of them, apart from those of the
/// method's own scores, whose queries are kept in more parts: these differ by the rounding of one part, and by what conjugate gradients
/// that are stopped early make of it, as they are not linear in the query.
///
/// # Errors
///
/// As [`score_influence`](super::score_influence).
pub fn scores_around_damping(
    subject: &Subject<'_>,
    queries: &Queries,
    method: Method,
    kind: InfluenceKind,
    groups: usize,
    factors: &[f64],
) -> Result<Option<Vec<ScoreRows>>> {
    let InfluenceKind::Linear(measurement, inverse) = kind else { return Ok(None) };
    let subject = &subject.with_groups(groups);
    let curvatures = Curvatures::new(subject);
    let images = subject.training.images.len();
    let count = queries.images.len();
    let mut scores = vec![vec![vec![0.0; images]; count]; factors.len()];
    let networks = subject.networks.weights.len();
    for network in 0..networks {
        let measured = &curvatures.of(network)?;
        let (dampings, _) = &dampings(subject, measured);
        let gradients = QueryGradients::new(subject, queries, measurement, measured.shares)?;
        let held = &HeldQueries::default();
        let of = ProductsOf {
            subject,
            network,
            measured,
            dampings,
            factors,
            name: method.name,
            measurement,
            inverse,
            held,
        };
        let (products, _) = of.complete(&gradients, &queries.images)?;
        let seen = (0..images).filter(|&image| subject.networks.saw(network, image)).count();
        let is_drawn = measurement != QueryMeasurement::Trajectory;
        let blocks = subject.draws().blocks();
        let found = predicted_changes(&products, count * factors.len(), blocks, seen, is_drawn).scores;
        for (place, row) in found.iter().enumerate() {
            let (query, factor) = (place / factors.len(), place % factors.len());
            for (sum, score) in scores[factor][query].iter_mut().zip(row) {
                *sum += score / networks as f64;
            }
        }
    }
    Ok(Some(scores))
}
