//! What networks without some images make of queries, beside the network that saw all.

use super::remade::Remaking;
use crate::error::Result;
use crate::evaluate::{MeasuringOutcomes, Outcomes};
use crate::gradients::{Query, Subject};
use crate::networks::NetworksAlike;
use pentimento_attribution::ensemble::approximation::clamped_distance;

/// What the first of several networks, which saw all images, and the others make of queries.
pub struct Measured {
    /// Draws at which losses were measured.
    pub draws: usize,
    /// By each network.
    pub outcomes: Vec<Outcomes>,
    /// The queries made again by each network but the first, not clamped: `[networks][queries]`. Empty if they are no samples.
    pub images: Vec<Vec<Vec<f32>>>,
    /// How far each is from the query: the Euclidean distance after the final clamp. Empty as `images`.
    pub image_change: Vec<Vec<f64>>,
}

impl Measured {
    /// Measures queries on networks, at about so many draws each; `samples` are their ids, if they are samples of the run.
    ///
    /// # Errors
    ///
    /// As measuring and sampling.
    pub(super) fn new(
        subject: &Subject<'_>,
        networks: &NetworksAlike<'_>,
        queries: &[Query],
        samples: Option<Vec<u32>>,
        draws: usize,
    ) -> Result<Self> {
        let stage = MeasuringOutcomes::new(subject.workspace, networks, queries, draws);
        let (draws, outcomes) = (stage.draws(), stage.complete()?);
        let images = match samples {
            None => Vec::new(),
            Some(samples) => {
                let [_, without @ ..] = networks.weights.as_slice() else {
                    return Ok(Self { draws, outcomes, images: Vec::new(), image_change: Vec::new() });
                };
                // The first one made the samples that are there.
                let others = NetworksAlike { weights: without.to_vec(), ..*networks };
                Remaking::new(subject.workspace, &others, samples).complete()?
            }
        };
        let distance =
            |(image, query): (&Vec<f32>, &Query)| f64::from(clamped_distance(&query.picture, image));
        let image_change =
            images.iter().map(|of_network| of_network.iter().zip(queries).map(distance).collect()).collect();
        Ok(Self { draws, outcomes, images, image_change })
    }

    /// How much larger the loss of a query is by a network, by its number from 0 among those without images, than by the network
    /// that saw all: of the loss, and of the weighted loss.
    pub fn loss_change(&self, without: usize, query: usize) -> [f64; 2] {
        let (all, other) = (&self.outcomes[0], &self.outcomes[without + 1]);
        [other.loss[query] - all.loss[query], other.weighted_loss[query] - all.weighted_loss[query]]
    }
}
