//! Which networks are asked, at which moments of their training, and what of their gradients is kept.

use super::rounds::Rounds;
use super::row_key::{noise_id, row_key};
use super::training_images::TrainingImages;
use crate::data::CodedData;
use crate::error::{Result, RunError};
use crate::networks::{Networks, Weights};
use crate::recipe::TrainingDraws;
use crate::train::kept_weights;
use crate::workspace::Workspace;
use pentimento_attribution::gradient::{
    DrawPlan, FeatureExtractor, GradientMethod, RowKey, SparseProjection, TimestepShares,
};
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::device::chosen_device_kind;
use pentimento_noise::{Purpose, Stream};
use pentimento_store::{Digest, Fingerprint};
use std::ops::Range;

/// A network that a method asks.
pub struct Network<'a> {
    /// Its weights.
    pub weights: Weights,
    /// What its scores are multiplied with before those of all networks are added up.
    pub factor: f64,
    /// The part of its training that it stands for, if that is known and the method follows it.
    pub training: Option<PartOfTraining<'a>>,
}

/// The steps of a member's training from one of its checkpoints to the next.
pub struct PartOfTraining<'a> {
    /// The training images.
    pub data: &'a CodedData,
    /// The member.
    pub member: u32,
    /// The steps; the checkpoint is what the last of them made.
    pub steps: Range<usize>,
}

/// What a run's scores are about: which networks are asked, and which images the scores are for.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The run.
    pub workspace: &'a Workspace,
    /// The networks that sample; scores are the average of theirs.
    pub networks: &'a Networks<'a>,
    /// The training images.
    pub training: &'a TrainingImages,
    /// Groups of draws.
    groups: usize,
    /// Whether the time that was allowed may end the work.
    ends_in_time: bool,
}

impl<'a> Subject<'a> {
    /// A run's networks and training images, with the draws of the first round.
    pub fn new(workspace: &'a Workspace, networks: &'a Networks<'a>, training: &'a TrainingImages) -> Self {
        let groups = Rounds::of(&workspace.recipe).first;
        Self { workspace, networks, training, groups, ends_in_time: false }
    }

    /// The same in a later round, with more groups of draws, which is left if the time that was allowed is used.
    pub(super) fn in_round(&self, groups: usize) -> Self {
        Self { groups, ends_in_time: true, ..*self }
    }

    /// The same with so many groups of draws.
    pub(crate) fn with_groups(&self, groups: usize) -> Self {
        Self { groups, ends_in_time: false, ..*self }
    }

    /// The same with the most draws that there may be.
    pub(crate) fn in_last_round(&self) -> Self {
        self.with_groups(Rounds::of(&self.workspace.recipe).most)
    }

    /// Whether to go on.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`] once it is asked to stop, or if this is a round that may end in time and the time is used.
    pub(crate) fn check(&self) -> Result<()> {
        self.workspace.options.stop.check()?;
        if self.ends_in_time && self.workspace.options.time_allowed.is_used() {
            return Err(RunError::Stopped);
        }
        Ok(())
    }

    /// The networks that a method asks: every member at the end of its training, all with the same factor, or for a method
    /// that follows the training, at each of the checkpoints that were kept.
    ///
    /// The factor of a checkpoint is then the learning rate, summed over the steps since the one before, times the share of
    /// the member's images that are in a batch (Xie et al. 2024, whose rate is constant): in proportion to what plain gradient
    /// descent would have changed the loss by. The rate of the checkpoint's own step would say little of the steps before it, as a rate that
    /// falls to zero ends there.
    ///
    /// # Errors
    ///
    /// [`Missing`](crate::error::RunError::Missing) if one is missing.
    pub fn networks_of(&self, method: GradientMethod) -> Result<Vec<Network<'a>>> {
        let share = 1.0 / self.networks.weights.len().max(1) as f64;
        let Some(data) = self.networks.trained_on.filter(|_| method.follows_training) else {
            let at_the_end =
                |weights: &Weights| Network { weights: weights.clone(), factor: share, training: None };
            return Ok(self.networks.weights.iter().map(at_the_end).collect());
        };
        let training = data.trained.training;
        let mut networks = Vec::new();
        for member in 0..data.codes.members() {
            let images = data.member_images(member)?.len().max(1);
            let batch = if training.replacement { training.batch } else { training.batch.min(images) };
            let mut begin = 0;
            for (end, weights) in kept_weights(self.workspace, data, member)? {
                let rates: f64 = (begin..end).map(|step| training.learning_rate_at(step)).sum();
                networks.push(Network {
                    weights,
                    factor: share * rates * batch as f64 / images as f64,
                    training: Some(PartOfTraining { data, member, steps: begin..end }),
                });
                begin = end;
            }
        }
        Ok(networks)
    }

    /// Whether methods that follow the training take the events of training images instead of draws.
    pub fn replays(&self) -> bool {
        self.networks.trained_on.is_some()
            && self.workspace.recipe.gradients.draws != Some(TrainingDraws::Fresh)
    }

    /// What takes gradients of a network by a method, and what makes them short, unless the recipe keeps them whole.
    ///
    /// # Errors
    ///
    /// As opening the network.
    pub fn extractor(
        &self,
        weights: &Weights,
        method: GradientMethod,
    ) -> Result<(FeatureExtractor<'_>, Option<SparseProjection>)> {
        let Self { workspace, networks, .. } = self;
        let architecture = &networks.architecture;
        let extractor = FeatureExtractor::new(
            architecture,
            networks.parameters(workspace, weights)?,
            &workspace.recipe.schedule,
            method.measurement,
            method.unit_length,
        );
        let (parameters, seed) = (architecture.parameter_count(), workspace.recipe.seed);
        let is_projected = workspace.recipe.gradients.is_projected();
        Ok((extractor, is_projected.then(|| SparseProjection::new(parameters, self.dimension(), seed))))
    }

    /// Height, width and channels of what the networks are shown.
    pub fn shape(&self) -> [usize; 3] {
        self.networks.image_shape()
    }

    /// Height, width and channels of the pictures that people see.
    pub fn picture_shape(&self) -> [usize; 3] {
        self.networks.picture_shape
    }

    /// Whether the networks are told the class of an image.
    pub fn knows_classes(&self) -> bool {
        self.networks.knows_classes()
    }

    /// What the work on one of several networks is called.
    pub fn work_on(&self, what: &str, network: usize, networks: usize) -> String {
        if networks > 1 { format!("{what}, network {} of {networks}", network + 1) } else { what.to_owned() }
    }

    /// What a network is told of a training image in a group of draws: of several captions the groups take turns, beginning with
    /// one that is drawn.
    pub fn condition_of(&self, image: usize, group: usize) -> Condition {
        let mut conditions = self.training.conditions(image);
        let count = conditions.len();
        if count < 2 {
            return conditions.pop().unwrap_or_default();
        }
        let id = noise_id(&self.image_key(image));
        let first =
            Stream::new(self.workspace.recipe.seed, Purpose::CaptionChoice, id, 0).below(0, count as u64);
        conditions.swap_remove((first as usize + group) % count)
    }

    /// The digest of what networks are shown and told of a training image.
    pub fn image_key(&self, image: usize) -> RowKey {
        row_key(&self.training.input(image), &self.training.conditions(image))
    }

    /// Timesteps and noise of this round, everywhere in the schedule alike. Of a schedule with few timesteps all are taken.
    pub fn draws(&self) -> DrawPlan {
        let settings = self.workspace.recipe.gradients;
        DrawPlan {
            timesteps: Rounds::of(&self.workspace.recipe).timesteps,
            groups: self.groups,
            antithetic: settings.antithetic,
            sharing: settings.noise,
            shares: TimestepShares::EVEN,
            seed: self.workspace.recipe.seed,
        }
    }

    /// Length of a feature.
    pub fn dimension(&self) -> usize {
        self.workspace.recipe.gradients.length_of(self.networks.architecture.parameter_count())
    }

    /// Says what the features of one network by a method in some groups of draws follow from, but for the image: two features
    /// that are compared have this in common to the letter, but for the groups. It is kept with them.
    ///
    /// # Errors
    ///
    /// If the schedule cannot be written, which does not happen.
    pub fn features_of(
        &self,
        network: Digest,
        method: GradientMethod,
        groups: &Range<usize>,
    ) -> Result<String> {
        Ok(self.features(network, method, groups)?.to_string())
    }

    /// The same of training images as a member met them in its training.
    ///
    /// # Errors
    ///
    /// As [`features_of`](Self::features_of).
    pub fn replayed_features_of(
        &self,
        network: Digest,
        method: GradientMethod,
        member: u32,
    ) -> Result<String> {
        let mut features = self.features(network, method, &(0..self.groups))?;
        features["replayed_of_member"] = member.into();
        Ok(features.to_string())
    }

    fn features(
        &self,
        network: Digest,
        method: GradientMethod,
        groups: &Range<usize>,
    ) -> Result<serde_json::Value> {
        let (recipe, settings) = (&self.workspace.recipe, self.workspace.recipe.gradients);
        Ok(serde_json::json!({
            "network": Fingerprint::of("network")
                .text(&self.networks.architecture.config().to_json())
                .bytes(network.as_bytes())
                .finish()
                .to_string(),
            "schedule": serde_json::to_value(&recipe.schedule)?,
            "measurement": method.measurement.name(),
            "unit_length": method.unit_length,
            "timesteps": self.draws().timesteps,
            "groups": [groups.start, groups.end],
            "antithetic": settings.antithetic,
            "noise": serde_json::to_value(settings.noise)?,
            "projection": serde_json::to_value(settings.projection)?,
            "dimension": self.dimension(),
            "precision": serde_json::to_value(settings.precision)?,
            "seed": recipe.seed,
            "numerics": NUMERICS_VERSION,
            "device": format!("{:?}", chosen_device_kind()),
        }))
    }
}
