//! The trained ensemble of a run.

use crate::stages::data::CodedData;
use crate::stages::train::{architecture, open_member, trained_members};
use crate::stages::workspace::{Workspace, fingerprint_of_computed};
use anyhow::Result;
use pentimento_diffusion::mixture::Mixture;
use pentimento_diffusion::sampler::Sampler;
use pentimento_store::Fingerprint;

/// Identifies the members of a run and how they are sampled, without opening any weights.
///
/// It holds the digests of the weights and not what the members were made from: whoever trained a member, what is made
/// with it follows from its bytes and from the numerics of the program that makes it.
///
/// # Errors
///
/// [`ProgramError::NotYet`](crate::error::ProgramError::NotYet) if they are not trained.
pub fn ensemble_fingerprint(workspace: &Workspace, data: &CodedData) -> Result<Fingerprint> {
    let recipe = &workspace.recipe;
    let architecture = architecture(workspace, data)?;
    let mut ensemble = fingerprint_of_computed("ensemble").text(&architecture.config().to_json());
    for (_, weights) in trained_members(workspace, data, &architecture)? {
        ensemble = ensemble.bytes(weights.as_bytes());
    }
    Ok(ensemble.json(&recipe.schedule)?.json(&recipe.sampling)?.json(&recipe.seed)?.finish())
}

/// The trained ensemble of a run, ready to sample.
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
    /// [`ProgramError::NotYet`](crate::error::ProgramError::NotYet) if they are not trained.
    pub fn open(workspace: &Workspace, data: &CodedData) -> Result<Self> {
        let fingerprint = ensemble_fingerprint(workspace, data)?;
        let architecture = architecture(workspace, data)?;
        let members = trained_members(workspace, data, &architecture)?
            .into_iter()
            .map(|(name, _)| open_member(workspace, &architecture, &name))
            .collect::<Result<_>>()?;
        let recipe = &workspace.recipe;
        let (height, width) = (data.images.height(), data.images.width());
        let mixture = Mixture::new(architecture, members, height, width, workspace.batch())?;
        let sampler = Sampler::new(&recipe.schedule, recipe.sampling)?;
        Ok(Self { mixture, sampler, fingerprint, seed: recipe.seed })
    }
}
