//! How influence functions are taken.

use super::bound::{BrokenBound, broken};
use super::origin::Origin;
use pentimento_attribution::curvature::{QueryMeasurement, WeightSharing};
use pentimento_attribution::gradient::{Measurement, NoiseSharing};
use serde::{Deserialize, Serialize};

/// How the curvature of a network is measured and inverted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InfluenceRecipe {
    /// Training images, evenly chosen, on which the curvature is measured; all, if there are fewer.
    pub images: usize,
    /// Draws of each of them: half for the factors, half for the eigenvalues. Even.
    pub draws: usize,
    /// How a layer that acts at many positions shares its weight among them.
    pub sharing: WeightSharing,
    /// Which eigenvalues the curvature has.
    pub eigenvalues: Eigenvalues,
    /// What is added before it is inverted; from the training if absent, or a share of each block's mean eigenvalue if
    /// nothing is known of the training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damping: Option<InfluenceDamping>,
    /// Where in the schedule training images and the losses of queries are asked.
    pub timesteps: InfluenceTimesteps,
    /// The only timestep of queries' draws, with as many noises as there would be timesteps; if absent, losses are asked where
    /// training images are, and other measures in equal distances. Trajectories have timesteps of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_timestep: Option<usize>,
    /// Whether training images and queries share one noise per timestep, or each has its own; each its own if absent. Shared ones
    /// make predicted changes too large, and order images no better: on a bank of MNIST, with 40 draws, `influence-cg` has 45.9 and
    /// 59.4 % of a linear datamodelling score with its own and 33.2 and 53.5 with shared ones (docs/results/banks.md).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseSharing>,
    /// Length of the step that unlearns a query, in Newton steps for one image of the training set. A whole one leaves the
    /// region where losses follow their derivatives; a hundredth is what Wang et al. (2024, 2025) take.
    pub unlearning_step: f64,
    /// Steps of conjugate gradients, for `influence-cg`; 5 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cg_steps: Option<usize>,
    /// Pseudo-gradients of which the whole curvature is the mean there; 4,000 if absent, or as many as fit into 2 GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cg_gradients: Option<usize>,
}

/// Within five steps the linear datamodelling score of a sketch had gained what it gained within ten (PyTorch, MNIST 16x16,
/// 173,209 parameters, 8,000 pseudo-gradients).
const CG_STEPS: usize = 5;
const CG_GRADIENTS: usize = 4000;
/// What pseudo-gradients may take in memory, a byte for each parameter.
const MOST_CG_BYTES: usize = 2 << 30;

/// Which eigenvalues a curvature has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Eigenvalues {
    /// EK-FAC: measured in the directions of the factors.
    #[default]
    Corrected,
    /// K-FAC: products of those of the factors.
    Kronecker,
}

/// Where in the schedule images are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InfluenceTimesteps {
    /// In equal distances.
    Even,
    /// In proportion to the network's loss in each tenth of the schedule, which is met while the curvature is measured. Each draw counts
    /// by the inverse, so scores are the same but for their noise.
    #[default]
    ByLoss,
}

/// Where a damping comes from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`damping` is a number, \"training\" or \"block\"")]
pub enum InfluenceDamping {
    /// The same number for all blocks.
    Number(f64),
    /// A rule.
    Rule(InfluenceDampingRule),
}

/// A rule by which a damping is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InfluenceDampingRule {
    /// `1 / (eta K)` of the training, in each block's own scale.
    Training,
    /// A hundredth of each block's mean eigenvalue.
    Block,
}

impl Default for InfluenceRecipe {
    fn default() -> Self {
        Self {
            images: 2000,
            draws: 24,
            sharing: WeightSharing::default(),
            eigenvalues: Eigenvalues::default(),
            damping: None,
            timesteps: InfluenceTimesteps::default(),
            query_timestep: None,
            noise: None,
            unlearning_step: 0.01,
            cg_steps: None,
            cg_gradients: None,
        }
    }
}

impl InfluenceRecipe {
    /// Whether images share their noise.
    pub fn noise(&self) -> NoiseSharing {
        self.noise.unwrap_or(NoiseSharing::PerImage)
    }

    /// Whether the draws of queries, of which something is measured, lie where those of training images do: if it is their loss, or if both
    /// share their noise.
    pub fn asks_by_loss(&self, measurement: QueryMeasurement) -> bool {
        let is_loss = measurement == QueryMeasurement::OfImage(Measurement::Loss);
        self.query_timestep.is_none() && (is_loss || self.noise() == NoiseSharing::Shared)
    }

    /// Steps of conjugate gradients.
    pub fn steps(&self) -> usize {
        self.cg_steps.unwrap_or(CG_STEPS)
    }

    /// Pseudo-gradients of a network of so many parameters.
    pub fn pseudo_gradients(&self, parameters: usize) -> usize {
        self.cg_gradients.unwrap_or(CG_GRADIENTS.min(MOST_CG_BYTES / parameters.max(1)))
    }

    /// `timesteps` is how many the schedule has.
    pub(super) fn validate(&self, timesteps: usize, origin: &Origin) -> Result<(), BrokenBound> {
        if self.images == 0 {
            return broken("influence.images", self.images, "1 or more");
        }
        if self.draws < 2 || !self.draws.is_multiple_of(2) || self.draws > 100_000 {
            return broken("influence.draws", self.draws, "an even number from 2 to 100,000");
        }
        if let Some(timestep) = self.query_timestep.filter(|&timestep| timestep >= timesteps) {
            let bound = format!("below {timesteps}, as the schedule has so many");
            return broken("influence.query_timestep", timestep, bound);
        }
        if self.cg_steps.is_some_and(|steps| steps == 0 || steps > 10_000) {
            return broken("influence.cg_steps", self.steps(), "1 to 10,000");
        }
        if self.cg_gradients.is_some_and(|count| count == 0 || count > 10_000_000) {
            return broken("influence.cg_gradients", self.pseudo_gradients(1), "1 to 10,000,000");
        }
        let step = self.unlearning_step;
        if !(step > 0.0 && step.is_finite()) {
            return broken("influence.unlearning_step", format!("{step:?}"), "a positive number");
        }
        match (self.damping, origin) {
            (Some(InfluenceDamping::Number(damping)), _) if !(damping >= 0.0 && damping.is_finite()) => {
                let bound = "zero or a positive number, \"training\" or \"block\"";
                broken("influence.damping", format!("{damping:?}"), bound)
            }
            (Some(InfluenceDamping::Rule(InfluenceDampingRule::Training)), Origin::Imported(_)) => broken(
                "influence.damping",
                "\"training\"",
                "only for networks that are trained here; of an imported one the number of steps and the learning rate are not \
                 known: a number, or \"block\"",
            ),
            _ => Ok(()),
        }
    }
}
