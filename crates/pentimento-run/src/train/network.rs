//! Training one network in a run, resumable at any moment: a member of an ensemble, or a network of a bank.

use crate::error::{Result, RunError};
use crate::event::Progress;
use crate::workspace::Workspace;
use pentimento_diffusion::training::{StateSummary, Trainer, TrainingImages};
use pentimento_diffusion::{DiffusionError, NUMERICS_VERSION};
use pentimento_store::{Fingerprint, Run};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Where the state of an unfinished training is kept.
pub struct Saving<'a> {
    /// The run.
    pub run: &'a Run,
    /// The object.
    pub state: &'a str,
    /// What the network follows from.
    pub made_from: Fingerprint,
}

impl Saving<'_> {
    /// Trains a network to its end. Its state is written from time to time, and when the workspace is asked to stop.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`] after the state was written; as training, and those of `after_step`.
    pub fn train_to_the_end(
        &self,
        workspace: &Workspace,
        trainer: &mut Trainer,
        images: &TrainingImages<'_>,
        mut after_step: impl FnMut(&Trainer, f32) -> Result<()>,
    ) -> Result<()> {
        let mut written = Instant::now();
        while !trainer.is_finished() {
            let stopping = workspace.options.stop.is_set();
            if stopping || written.elapsed() >= workspace.options.checkpoint_every {
                self.run.put(self.state, self.made_from, &trainer.state()?)?;
                written = Instant::now();
                if stopping {
                    return Err(RunError::Stopped);
                }
            }
            let loss = trainer.train_step(images)?;
            after_step(trainer, loss)?;
        }
        Ok(())
    }
}

/// Refuses a trained network that is not finite: the loss of a step is that of the weights before it, so nothing has looked at
/// those of the last step.
///
/// # Errors
///
/// [`DiffusionError::Diverged`] with the number of the network.
pub fn check_finite(trainer: &Trainer, network: usize) -> Result<()> {
    match trainer.member().iter().flatten().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => {
            let (step, loss) = (trainer.steps_done(), f64::from(*value));
            Err(DiffusionError::Diverged { member: network, step, loss }.into())
        }
    }
}

/// Steps that some interrupted trainings have done, from the states that they left, by name.
///
/// Refuses trainings that another version of the numerics began, before any network trains on: one has the bytes of
/// one version or of another, and not of a mixture that nobody could make again.
///
/// # Errors
///
/// [`RunError::UnfinishedByOtherNumerics`] if another version of the program began one; as reading a state.
pub fn steps_of_states(run: &Run, states: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<u64> {
    let (mut steps, mut others) = (0, Vec::new());
    for (name, bytes) in states {
        let state = StateSummary::read(&bytes, &name)?;
        steps += state.steps as u64;
        if state.numerics_version != NUMERICS_VERSION {
            others.push((run.root().join(name), state.numerics_version));
        }
    }
    if others.is_empty() {
        return Ok(steps);
    }
    Err(RunError::UnfinishedByOtherNumerics { states: others, own: NUMERICS_VERSION })
}

/// What the rate of steps is told from, over all networks.
#[derive(Debug)]
pub struct Rate {
    began: Instant,
    steps: AtomicU64,
    images: AtomicU64,
}

impl Rate {
    /// Steps that were done before.
    pub fn new(before: u64) -> Self {
        Self { began: Instant::now(), steps: AtomicU64::new(before), images: AtomicU64::new(0) }
    }

    /// Counts a step of so many images.
    pub fn tell_step(&self, progress: &Progress, batch: usize, network: &str, loss: f32) {
        let done = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        let images = self.images.fetch_add(batch as u64, Ordering::Relaxed) + batch as u64;
        let seconds = self.began.elapsed().as_secs_f64().max(1e-9);
        let rate = images as f64 / seconds;
        progress.set(done, &format!("{rate:.0} images/s, loss {loss:.4} ({network})"));
    }
}
