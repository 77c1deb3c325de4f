//! Which networks are asked, and what of their gradients is kept.

use super::feature_store::row_key;
use super::training_images::TrainingImages;
use crate::stages::analyse::{Ensemble, Members};
use crate::stages::data::CodedData;
use crate::stages::imported;
use crate::stages::train;
use crate::stages::workspace::Workspace;
use anyhow::Result;
use pentimento_attribution::gradient::{DrawPlan, Method, RowKey};
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::device::chosen_device_kind;
use pentimento_diffusion::unet::Architecture;
use pentimento_store::{Digest, Fingerprint};

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

    /// Timesteps and noise. A schedule with few timesteps is looked at in all of them.
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
        })
        .to_string())
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
