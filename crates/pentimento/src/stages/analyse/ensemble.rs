//! The trained ensemble of a run.

use crate::stages::data::CodedData;
use crate::stages::train::{architecture, open_members};
use crate::stages::workspace::Workspace;
use anyhow::Result;
use pentimento_diffusion::mixture::Mixture;
use pentimento_diffusion::sampler::Sampler;
use pentimento_store::Fingerprint;

/// The trained ensemble of a run, ready to sample.
pub struct Ensemble {
    /// The members.
    pub mixture: Mixture,
    /// The update rule.
    pub sampler: Sampler,
    /// Identifies the members and the update rule.
    pub fingerprint: Fingerprint,
    /// Seed of the recorded noise.
    pub seed: u64,
}

impl Ensemble {
    /// Opens the members of a run.
    ///
    /// # Errors
    ///
    /// [`ProgramError::NotYet`](crate::error::ProgramError::NotYet) if they are not trained.
    pub fn open(workspace: &Workspace, data: &CodedData) -> Result<Self> {
        let architecture = architecture(workspace, data)?;
        let (members, fingerprint) = open_members(workspace, data, &architecture)?;
        let recipe = &workspace.recipe;
        let (height, width) = (data.images.height(), data.images.width());
        let mixture = Mixture::new(architecture, members, height, width, workspace.batch())?;
        let sampler = Sampler::new(&recipe.schedule, recipe.sampling)?;
        let fingerprint = Fingerprint::of("ensemble")
            .fingerprint(fingerprint)
            .json(&recipe.schedule)?
            .json(&recipe.sampling)?
            .json(&recipe.seed)?
            .finish();
        Ok(Self { mixture, sampler, fingerprint, seed: recipe.seed })
    }
}
