//! The ensemble of a run, ready to sample.

use crate::error::Result;
use crate::networks::Networks;
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::full_weights;
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::Sampler;
use pentimento_store::Fingerprint;

/// The networks of a run with their weights in memory; of an imported network it is that one alone.
pub struct Ensemble {
    /// The members.
    pub mixture: Mixture,
    /// The update rule.
    pub sampler: Sampler,
    /// Identifies the members and how they are sampled: [`Networks::fingerprint`].
    pub fingerprint: Fingerprint,
    /// Seed of the recorded noise.
    pub seed: u64,
}

impl Ensemble {
    /// Opens the weights of all networks. To know whether there is anything to do, [`Networks`] are enough and cheap.
    ///
    /// # Errors
    ///
    /// If weights are damaged.
    pub fn open(workspace: &Workspace, networks: &Networks<'_>) -> Result<Self> {
        let parameters = networks.weights.iter().map(|weights| networks.parameters(workspace, weights));
        let parameters = parameters.collect::<Result<_>>()?;
        let (recipe, [height, width]) = (&workspace.recipe, networks.size);
        let mixture =
            Mixture::new(networks.architecture.clone(), parameters, height, width, workspace.batch())?
                .of_class(recipe.samples.class)?;
        let sampler = Sampler::new(&recipe.schedule, recipe.sampling)?;
        Ok(Self { mixture, sampler, fingerprint: networks.fingerprint, seed: recipe.seed })
    }

    /// How samples are made: by all members with one weight.
    pub fn trajectories(&self, samples: impl IntoIterator<Item = u32>) -> Vec<Trajectory> {
        let weights = full_weights(self.mixture.members());
        let of_sample = |sample| Trajectory { sample, weights: weights.clone(), condition: None };
        samples.into_iter().map(of_sample).collect()
    }
}
