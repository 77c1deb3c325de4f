//! The ensemble of a run.

use crate::data::CodedData;
use crate::error::Result;
use crate::imported;
use crate::train::{architecture, open_member, trained_members};
use crate::workspace::{Workspace, fingerprint_of_computed};
use pentimento_diffusion::mixture::Mixture;
use pentimento_diffusion::sampler::Sampler;
use pentimento_diffusion::unet::Architecture;
use pentimento_store::{Digest, Fingerprint};

/// The networks that a run samples with.
#[derive(Clone, Copy)]
pub enum Members<'a> {
    /// Those that it trained on these images.
    Trained(&'a CodedData),
    /// The one that was imported.
    Imported,
}

impl<'a> From<&'a CodedData> for Members<'a> {
    fn from(data: &'a CodedData) -> Self {
        Self::Trained(data)
    }
}

impl Members<'_> {
    fn architecture(self, workspace: &Workspace) -> Result<Architecture> {
        match self {
            Self::Trained(data) => architecture(workspace, data),
            Self::Imported => imported::architecture(workspace),
        }
    }

    /// The weights of every member: the object's name, and the digest of its bytes.
    fn weights(self, workspace: &Workspace, architecture: &Architecture) -> Result<Vec<(String, Digest)>> {
        match self {
            Self::Trained(data) => trained_members(workspace, data, architecture),
            Self::Imported => imported::weights(workspace),
        }
    }

    /// Height and width of the images.
    fn image_size(self, architecture: &Architecture) -> Result<[usize; 2]> {
        match self {
            Self::Trained(data) => Ok([data.images.height(), data.images.width()]),
            Self::Imported => imported::image_size(architecture),
        }
    }
}

/// Identifies the members of a run and how they are sampled, without opening any weights.
///
/// It holds the digests of the weights and not what the members were made from: whoever trained a member, what is made
/// with it follows from its bytes and from the numerics of the program that makes it.
///
/// # Errors
///
/// [`RunError::NotYet`](crate::error::RunError::NotYet) if they are not there.
pub fn ensemble_fingerprint<'a>(
    workspace: &Workspace,
    members: impl Into<Members<'a>>,
) -> Result<Fingerprint> {
    let (recipe, members) = (&workspace.recipe, members.into());
    let architecture = members.architecture(workspace)?;
    let mut ensemble = fingerprint_of_computed("ensemble").text(&architecture.config().to_json());
    for (_, weights) in members.weights(workspace, &architecture)? {
        ensemble = ensemble.bytes(weights.as_bytes());
    }
    let ensemble = ensemble.json(&recipe.schedule)?.json(&recipe.sampling)?.json(&recipe.seed)?;
    // Most networks know no classes.
    Ok(match recipe.samples.class {
        Some(class) => ensemble.json(&class)?.finish(),
        None => ensemble.finish(),
    })
}

/// The ensemble of a run, ready to sample; of an imported network it is that one alone.
pub struct Ensemble {
    /// The members.
    pub mixture: Mixture,
    /// The update rule.
    pub sampler: Sampler,
    /// Identifies the members and how they are sampled: [`ensemble_fingerprint`].
    pub fingerprint: Fingerprint,
    /// Seed of the recorded noise.
    pub seed: u64,
}

impl Ensemble {
    /// Opens the members of a run. To know whether there is anything to do, [`ensemble_fingerprint`] is enough and cheap.
    ///
    /// # Errors
    ///
    /// [`RunError::NotYet`](crate::error::RunError::NotYet) if they are not there.
    pub fn open<'a>(workspace: &Workspace, members: impl Into<Members<'a>>) -> Result<Self> {
        let members = members.into();
        let fingerprint = ensemble_fingerprint(workspace, members)?;
        let architecture = members.architecture(workspace)?;
        let [height, width] = members.image_size(&architecture)?;
        let parameters = members
            .weights(workspace, &architecture)?
            .into_iter()
            .map(|(name, _)| open_member(workspace, &architecture, &name))
            .collect::<Result<_>>()?;
        let recipe = &workspace.recipe;
        let mixture = Mixture::new(architecture, parameters, height, width, workspace.batch())?
            .of_class(recipe.samples.class)?;
        let sampler = Sampler::new(&recipe.schedule, recipe.sampling)?;
        Ok(Self { mixture, sampler, fingerprint, seed: recipe.seed })
    }
}
