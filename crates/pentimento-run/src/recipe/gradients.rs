//! How gradients are taken.

use super::bound::{BrokenBound, broken};
use super::origin::Origin;
use pentimento_attribution::gradient::{MOST_GROUPS, NoiseSharing, RowPrecision};
use serde::{Deserialize, Serialize};

/// Fewest training images that a query is scored with, if not with all.
const FEWEST_CANDIDATES: usize = 16;

/// How gradients are taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradientRecipe {
    /// Timesteps of a group of draws, in equal distances; fewer, if the schedule has not as many for each group.
    pub timesteps: usize,
    /// Groups of draws, each with its own timesteps; scores without each in turn give their intervals.
    pub groups: usize,
    /// Whether images share their noise.
    pub noise: NoiseSharing,
    /// Whether each noise is used with both signs.
    pub antithetic: bool,
    /// What methods that follow the training take of training images; if absent, its own events where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draws: Option<TrainingDraws>,
    /// How gradients are made short.
    pub projection: Projection,
    /// Length Z of a projected gradient.
    pub dimension: usize,
    /// How features are kept.
    pub precision: RowPrecision,
    /// How many training images are scored for each query: those that look most like it, by the cosine of pixels. All, if
    /// absent: fewer save gradients, and miss what does not look alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<usize>,
    /// The damping of methods with a kernel; chosen from the data if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damping: Option<f64>,
}

/// With which timesteps and noise methods that follow the training, such as TracIn, ask about training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainingDraws {
    /// With those that the images met in training, and mirrored as they were: only of networks that were trained here.
    Replay,
    /// With the same ones as queries and all other methods.
    Fresh,
}

/// How gradients are made short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// By a sparse random projection to `dimension` numbers.
    #[default]
    Sparse,
    /// Not at all: for small networks and few images, whose gradients the disk holds.
    None,
}

impl Default for GradientRecipe {
    fn default() -> Self {
        Self {
            timesteps: 10,
            groups: 4,
            noise: NoiseSharing::default(),
            antithetic: false,
            draws: None,
            projection: Projection::default(),
            dimension: 2048,
            precision: RowPrecision::default(),
            candidates: None,
            damping: None,
        }
    }
}

impl GradientRecipe {
    /// Whether gradients are projected.
    pub fn is_projected(&self) -> bool {
        self.projection == Projection::Sparse
    }

    /// Length of a feature of a network with so many parameters.
    pub fn length_of(&self, parameters: usize) -> usize {
        if self.is_projected() { self.dimension } else { parameters }
    }

    pub(super) fn validate(&self, origin: &Origin) -> Result<(), BrokenBound> {
        let Self { timesteps, groups, dimension, candidates, damping, draws, .. } = *self;
        if !(1..=MOST_GROUPS).contains(&groups) {
            return broken("gradients.groups", groups, format!("1 to {MOST_GROUPS}"));
        }
        if !(1..=1_000_000).contains(&timesteps) {
            return broken("gradients.timesteps", timesteps, "1 to 1,000,000");
        }
        if !(16..=1 << 20).contains(&dimension) {
            return broken("gradients.dimension", dimension, "16 to 1,048,576");
        }
        if let Some(candidates) = candidates.filter(|candidates| *candidates < FEWEST_CANDIDATES) {
            let bound = format!("at least {FEWEST_CANDIDATES}: a kernel of fewer tells nothing");
            return broken("gradients.candidates", candidates, bound);
        }
        if let Some(damping) = damping.filter(|damping| !(*damping > 0.0 && damping.is_finite())) {
            return broken("gradients.damping", damping, "a positive number");
        }
        match (origin, draws) {
            (Origin::Imported(_), Some(TrainingDraws::Replay)) => broken(
                "gradients.draws",
                "\"replay\"",
                "\"fresh\" with `checkpoint`: what an imported network met in its training is not known",
            ),
            _ => Ok(()),
        }
    }
}
