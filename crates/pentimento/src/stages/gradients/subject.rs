//! Which networks are asked, at which moments of their training, and what of their gradients is kept.

use super::feature_store::row_key;
use super::training_images::TrainingImages;
use crate::recipe::TrainingDraws;
use crate::stages::analyse::{Ensemble, Members};
use crate::stages::data::CodedData;
use crate::stages::imported;
use crate::stages::train;
use crate::stages::workspace::Workspace;
use anyhow::Result;
use pentimento_attribution::gradient::{DrawPlan, FeatureExtractor, Method, RowKey, SparseProjection};
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::device::chosen_device_kind;
use pentimento_diffusion::unet::Architecture;
use pentimento_store::{Digest, Fingerprint};
use std::ops::Range;

/// A network that a method asks.
pub struct Network<'a> {
    /// Its weights: the object's name, and the digest of its bytes.
    pub weights: (String, Digest),
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

/// What a run's scores by gradients are about.
pub struct Subject<'a> {
    /// The run.
    pub workspace: &'a Workspace,
    /// The training images.
    pub training: &'a TrainingImages,
    /// The networks that sample: the imported one, or all members.
    pub members: Members<'a>,
    /// What they have in common.
    pub architecture: Architecture,
    /// Their weights: the object's name, and the digest of its bytes.
    pub networks: Vec<(String, Digest)>,
    /// Height and width of the images.
    pub size: [usize; 2],
}

impl<'a> Subject<'a> {
    /// An imported network.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub fn imported(workspace: &'a Workspace, training: &'a TrainingImages) -> Result<Self> {
        let architecture = imported::architecture(workspace)?;
        let size = imported::image_size(&architecture)?;
        let (members, networks) = (Members::Imported, imported::weights(workspace)?);
        Ok(Self { workspace, training, members, architecture, networks, size })
    }

    /// All members of an ensemble that was trained here; scores are the average of theirs.
    ///
    /// # Errors
    ///
    /// [`NotYet`](crate::error::ProgramError::NotYet) if one is missing.
    pub fn trained(
        workspace: &'a Workspace,
        data: &'a CodedData,
        training: &'a TrainingImages,
    ) -> Result<Self> {
        let architecture = train::architecture(workspace, data)?;
        let networks = train::trained_members(workspace, data, &architecture)?;
        let size = [data.images.height(), data.images.width()];
        Ok(Self { workspace, training, members: Members::Trained(data), architecture, networks, size })
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
    /// [`NotYet`](crate::error::ProgramError::NotYet) if one is missing.
    pub fn networks_of(&self, method: Method) -> Result<Vec<Network<'a>>> {
        let share = 1.0 / self.networks.len().max(1) as f64;
        let Members::Trained(data) = self.members else { return Ok(self.ends(share)) };
        if !method.follows_training {
            return Ok(self.ends(share));
        }
        let training = self.workspace.recipe.training;
        let mut networks = Vec::new();
        for member in 0..data.codes.members() {
            let images = data.member_images(member)?.len().max(1);
            let batch = if training.replacement { training.batch } else { training.batch.min(images) };
            let mut begin = 0;
            for (end, object, digest) in
                train::kept_weights(self.workspace, data, &self.architecture, member)?
            {
                let rates: f64 = (begin..end).map(|step| training.learning_rate_at(step)).sum();
                networks.push(Network {
                    weights: (object, digest),
                    factor: share * rates * batch as f64 / images as f64,
                    training: Some(PartOfTraining { data, member, steps: begin..end }),
                });
                begin = end;
            }
        }
        Ok(networks)
    }

    fn ends(&self, factor: f64) -> Vec<Network<'a>> {
        let network =
            |weights: &(String, Digest)| Network { weights: weights.clone(), factor, training: None };
        self.networks.iter().map(network).collect()
    }

    /// Whether methods that follow the training take the events of training images instead of draws.
    pub fn replays(&self) -> bool {
        matches!(self.members, Members::Trained(_))
            && self.workspace.recipe.gradients.draws != Some(TrainingDraws::Fresh)
    }

    /// What takes gradients of a network by a method, and what makes them short, unless the recipe keeps them whole.
    ///
    /// # Errors
    ///
    /// As opening the network.
    pub fn extractor(
        &self,
        weights: &str,
        method: Method,
    ) -> Result<(FeatureExtractor<'_>, Option<SparseProjection>)> {
        let Self { workspace, architecture, .. } = self;
        let extractor = FeatureExtractor::new(
            architecture,
            train::open_member(workspace, architecture, weights)?,
            &workspace.recipe.schedule,
            method.measurement,
            method.unit_length,
        );
        let (parameters, seed) = (architecture.parameter_count(), workspace.recipe.seed);
        let is_projected = workspace.recipe.gradients.is_projected();
        Ok((extractor, is_projected.then(|| SparseProjection::new(parameters, self.dimension(), seed))))
    }

    /// Height, width and channels of the images.
    pub fn shape(&self) -> [usize; 3] {
        [self.size[0], self.size[1], self.architecture.config().in_channels]
    }

    /// Whether the networks are told the class of an image.
    pub fn knows_classes(&self) -> bool {
        self.architecture.config().classes().is_some()
    }

    /// Whether a network was trained on a training image.
    pub fn saw(&self, network: usize, image: usize) -> bool {
        match self.members {
            Members::Imported => true,
            Members::Trained(data) => {
                let group = data.groups.group_of()[image];
                data.codes.code(group).is_some_and(|code| code.trains(network as u32))
            }
        }
    }

    /// What a network is told of a training image's class.
    pub fn class_of(&self, image: usize) -> Option<u32> {
        self.knows_classes().then(|| self.training.images.labels()[image])
    }

    /// The digest of what networks are shown of a training image.
    pub fn image_key(&self, image: usize) -> RowKey {
        row_key(&self.training.images.scaled(image), self.class_of(image))
    }

    /// Timesteps and noise. Of a schedule with few timesteps all are taken.
    pub fn draws(&self) -> DrawPlan {
        let settings = self.workspace.recipe.gradients;
        let total = self.workspace.recipe.schedule.num_train_timesteps;
        let groups = settings.groups.min(total);
        DrawPlan {
            timesteps: settings.timesteps.min(total / groups),
            groups,
            antithetic: settings.antithetic,
            sharing: settings.noise,
            seed: self.workspace.recipe.seed,
        }
    }

    /// Length of a feature.
    pub fn dimension(&self) -> usize {
        self.workspace.recipe.gradients.length_of(self.architecture.parameter_count())
    }

    /// Says what the features of one network by a method follow from, but for the image: two features that are compared
    /// have this in common to the letter. It is kept with them.
    ///
    /// # Errors
    ///
    /// If the schedule cannot be written, which does not happen.
    pub fn features_of(&self, network: Digest, method: Method) -> Result<String> {
        Ok(self.features(network, method)?.to_string())
    }

    /// The same of training images as a member met them in its training.
    ///
    /// # Errors
    ///
    /// As [`features_of`](Self::features_of).
    pub fn replayed_features_of(&self, network: Digest, method: Method, member: u32) -> Result<String> {
        let mut features = self.features(network, method)?;
        features["replayed_of_member"] = member.into();
        Ok(features.to_string())
    }

    fn features(&self, network: Digest, method: Method) -> Result<serde_json::Value> {
        let (recipe, settings) = (&self.workspace.recipe, self.workspace.recipe.gradients);
        Ok(serde_json::json!({
            "network": Fingerprint::of("network")
                .text(&self.architecture.config().to_json())
                .bytes(network.as_bytes())
                .finish()
                .to_string(),
            "schedule": serde_json::to_value(&recipe.schedule)?,
            "measurement": method.measurement.name(),
            "unit_length": method.unit_length,
            "timesteps": self.draws().timesteps,
            "groups": self.draws().groups,
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

    /// The networks, ready to sample.
    ///
    /// # Errors
    ///
    /// As opening them.
    pub fn ensemble(&self) -> Result<Ensemble> {
        Ensemble::open(self.workspace, self.members)
    }
}
