//! The ensemble of a run, ready to sample.

use crate::encoders::{NO_PROMPT, texts_of_samples};
use crate::error::Result;
use crate::networks::Networks;
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::{BaseRun, full_weights};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::Sampler;
use pentimento_store::Fingerprint;

/// The networks of a run with their weights in memory; of an imported network it is that one alone.
pub struct Ensemble {
    /// The members.
    pub mixture: Mixture,
    /// The update rule.
    pub sampler: Sampler,
    /// What samples are made of, in turn, for networks that are told texts.
    conditions: Vec<Condition>,
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
        recipe.samples.check(networks.architecture.config())?;
        let texts = texts_of_samples(workspace, networks)?;
        let conditions: Vec<Condition> =
            recipe.samples.prompts.iter().map(|prompt| texts.condition(prompt)).collect();
        let condition = conditions.first().cloned().unwrap_or(recipe.samples.class.into());
        let mut mixture =
            Mixture::new(networks.architecture.clone(), parameters, height, width, workspace.batch())?
                .under(condition)?;
        if let Some(guidance) = recipe.samples.guided().filter(|_| networks.knows_texts()) {
            mixture = mixture.guided(guidance, texts.condition(NO_PROMPT))?;
        }
        let sampler = Sampler::new(&recipe.schedule, recipe.sampling)?;
        Ok(Self { mixture, sampler, conditions, fingerprint: networks.fingerprint, seed: recipe.seed })
    }

    /// How samples are made: by all members with one weight, of their prompts.
    pub fn trajectories(&self, samples: impl IntoIterator<Item = u32>) -> Vec<Trajectory> {
        let weights = full_weights(self.mixture.members());
        samples.into_iter().map(|sample| self.trajectory(sample, weights.clone())).collect()
    }

    /// A sample by members with these weights, of its prompt.
    pub fn trajectory(&self, sample: u32, weights: Vec<f64>) -> Trajectory {
        Trajectory { sample, weights, condition: self.condition(sample) }
    }

    /// The trajectories of samples, of their prompts, with what every member said along them.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`](crate::error::RunError::Stopped) once it is asked to stop.
    pub fn base_run(&self, workspace: &Workspace, samples: &[u32]) -> Result<BaseRun<f32>> {
        let conditions = samples.iter().map(|&sample| self.condition(sample)).collect();
        let go_on = |_: usize| workspace.options.stop.check();
        BaseRun::under(&self.mixture, &self.sampler, self.seed, (samples, conditions), go_on)
    }

    /// Under which condition a sample is made: prompts take turns; without them all have that of the mixture.
    fn condition(&self, sample: u32) -> Option<Condition> {
        self.conditions.get(sample as usize % self.conditions.len().max(1)).cloned()
    }
}
