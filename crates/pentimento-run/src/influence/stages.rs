//! The stages of influence functions by their names, for whoever makes one piece.

use super::curvature_store::Measurement as CurvatureMeasurement;
use super::damping::dampings;
use super::influence_products::{HeldQueries, ProductsOf};
use super::query_gradients::QueryGradients;
use super::unlearning::UnlearningOf;
use crate::error::Result;
use crate::gradients::{Queries, Subject};
use crate::piece::Stage;
use crate::stages::no_such_stage;
use pentimento_attribution::curvature::{InfluenceKind, QueryMeasurement};
use pentimento_attribution::gradient::{Measurement, batches};

/// Does something with a stage of a network's curvature: `factors`, `decomposition` or `eigenvalues`.
///
/// # Errors
///
/// [`RunError::Missing`](crate::RunError::Missing) for eigenvalues without the bases in which they are measured.
pub fn with_curvature_stage<R>(
    subject: &Subject<'_>,
    network: usize,
    what: &str,
    then: impl FnOnce(&dyn Stage) -> Result<R>,
) -> Result<R> {
    let measurement = CurvatureMeasurement::new(subject, network)?;
    match what {
        "factors" => then(&measurement.factors()),
        "decomposition" => then(&measurement.decomposition()),
        "eigenvalues" => match measurement.kept_bases()? {
            Some(kept) => then(&measurement.eigenvalues_in(&kept.bases)),
            None => Err(measurement.missing("bases of the curvature")),
        },
        other => Err(no_such_stage(subject.workspace, &format!("curvature/{network}/{other}"))),
    }
}

/// Does something with the stage of a method that goes through a network's curvature, which has to be there; of products, with
/// that of the batch of groups of draws that begins with `first`, none if there is no such batch.
///
/// # Errors
///
/// [`RunError::Missing`](crate::RunError::Missing) without the curvature.
pub fn with_influence_stage<R>(
    subject: &Subject<'_>,
    network: usize,
    method: &str,
    kind: InfluenceKind,
    queries: &Queries,
    first: usize,
    then: impl FnOnce(&dyn Stage) -> Result<R>,
) -> Result<Option<R>> {
    let measured = &CurvatureMeasurement::new(subject, network)?.kept_curvature()?;
    let (dampings, _) = &dampings(subject, measured);
    match kind {
        InfluenceKind::Linear(measurement, inverse) => {
            let gradients = QueryGradients::new(subject, queries, measurement, measured.shares)?;
            let (name, held) = (method, &HeldQueries::default());
            let factors = &[1.0];
            let of = ProductsOf {
                subject,
                network,
                measured,
                dampings,
                factors,
                name,
                measurement,
                inverse,
                held,
            };
            let groups = batches(subject.draws().groups).into_iter().find(|groups| groups.start == first);
            let Some(groups) = groups else { return Ok(None) };
            then(&of.stage(&gradients, &queries.images, groups)?).map(Some)
        }
        InfluenceKind::Unlearning(_) => {
            let loss = QueryMeasurement::OfImage(Measurement::Loss);
            let gradients = QueryGradients::new(subject, queries, loss, measured.shares)?;
            let of = UnlearningOf { subject, network, measured, dampings };
            then(&of.stage(&gradients, &queries.images)?).map(Some)
        }
    }
}
