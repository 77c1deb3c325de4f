//! How gradients are taken.

use super::bound::{BrokenBound, broken};
use super::origin::Origin;
use pentimento_attribution::gradient::{NoiseSharing, RowPrecision, groups_per_block};
use serde::{Deserialize, Serialize};

/// Fewest training images that a query is scored with, if not with all.
const FEWEST_CANDIDATES: usize = 16;

/// Most groups of draws that a recipe may ask for.
const MOST_GROUPS: usize = 1024;

/// How gradients are taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradientRecipe {
    /// Timesteps of a group of draws, in equal distances (for influence functions by `influence.timesteps`); fewer, if the schedule has not as many for each group.
    pub timesteps: usize,
    /// Groups of draws, each with its own timesteps; scores without some in turn give their intervals. As many as it takes, if
    /// absent: four, and again as many as there are, until `reliability` is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
    /// Which share of what tells training images apart is to be no noise of the draws, where `groups` is absent.
    pub reliability: f64,
    /// Most draws of a training image that are taken for it. With 400, four groups of ten timesteps are doubled three times: nobody
    /// waits longer than eight times what the first 40 draws take (1,000 images of 16x16 by `influence`, a network of
    /// 173,209 parameters, 2 cores: 200 draws took 1 min 43 s).
    pub most_draws: usize,
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
            groups: None,
            reliability: 0.9,
            most_draws: 400,
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
        let Self {
            timesteps, groups, reliability, most_draws, dimension, candidates, damping, draws, ..
        } = *self;
        let fit = |groups: usize| groups <= MOST_GROUPS && groups_per_block(groups).is_some();
        if let Some(groups) = groups.filter(|&groups| !fit(groups)) {
            let bound = format!(
                "1 to 8, or a number up to {MOST_GROUPS} that can be cut into at most 8 equal parts of 2, 4, 8, ... groups, such as \
                 16 or 20"
            );
            return broken("gradients.groups", groups, bound);
        }
        if !(reliability > 0.0 && reliability < 1.0) {
            return broken("gradients.reliability", format!("{reliability:?}"), "between 0 and 1");
        }
        if !(1..=1_000_000).contains(&most_draws) {
            return broken("gradients.most_draws", most_draws, "1 to 1,000,000");
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
