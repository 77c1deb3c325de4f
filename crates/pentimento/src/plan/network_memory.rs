//! How much memory the recipe's networks take on this machine, measured by real calls and real training steps.

use super::benches::{Bench, ClassifierBench, SideBySide, lanes, trainer, with_images};
use super::work::Work;
use crate::progress::say;
use anyhow::{Context, Result};
use pentimento_diffusion::mixture::CallShape;
use pentimento_diffusion::training::Trainer;
use pentimento_run::Stop;
use pentimento_run::memory::ProcessMemory;
use pentimento_run::train::TRIAL_STEPS;

/// Memory that calls of networks take beyond their results, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkMemory {
    /// What the process holds with the images open, before there is a network.
    pub before: u64,
    /// A call with one image.
    pub one_image: u64,
    /// The largest call.
    pub largest_call: u64,
    /// Images of that call, tangents counted as images.
    pub largest_images: usize,
    /// Training, the way that takes more.
    pub training: u64,
    /// What the allocator keeps of it afterwards.
    pub kept: u64,
    /// The classifier's calls.
    pub classifier: u64,
}

impl NetworkMemory {
    /// A call with so many images, on the line through the two calls that were measured.
    pub fn call(&self, images: usize) -> u64 {
        let span = self.largest_images.saturating_sub(1).max(1) as f64;
        let slope = self.largest_call.saturating_sub(self.one_image) as f64 / span;
        self.one_image + (slope * images.saturating_sub(1) as f64).ceil() as u64
    }
}

/// Measures how much memory networks take: small calls first, then larger ones, training last, so that what the
/// allocator keeps of one is not more than the next one needs. None where the system does not tell.
///
/// # Errors
///
/// As making and training networks.
pub fn measure_memory(work: &Work<'_>, stop: &Stop) -> Result<Option<NetworkMemory>> {
    let Some(before) = ProcessMemory::now() else { return Ok(None) };
    say("calibrating: memory");
    let before = before.resident;
    let growth = |call: &mut dyn FnMut() -> Result<()>| -> Result<u64> {
        stop.check()?;
        ProcessMemory::restart_peak();
        call()?;
        Ok(ProcessMemory::now().map_or(0, |now| now.peak.saturating_sub(before)))
    };
    let bench = Bench::new(work)?;
    let members = work.sizes.members;
    let one_image = growth(&mut || bench.call(0, CallShape { images: 1, directions: 0 }))?;
    let forward = CallShape { images: work.sizes.batch, directions: 0 };
    let tangents = CallShape { images: (work.sizes.batch / (members + 1)).max(1), directions: members };
    let largest_images = forward.images.max(tangents.images * (members + 1));
    let largest_call = growth(&mut || bench.call(0, forward))?.max(growth(&mut || bench.call(0, tangents))?);
    drop(bench);
    let classifier = match ClassifierBench::new(work) {
        Some(bench) => growth(&mut || bench.step().and(bench.predict()).map(|_| ()))?,
        None => 0,
    };
    let mut training = 0;
    if !work.situation.remaining.training_steps.is_empty() {
        let steps = |trainer: &mut Trainer| -> Result<()> {
            for _ in 0..=TRIAL_STEPS {
                stop.check()?;
                with_images(work, 0, |images| Ok(trainer.train_step(images)?))?;
            }
            Ok(())
        };
        let mut trainer = trainer(work, 0)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().context("cannot start a thread")?;
        let alone = growth(&mut || pool.install(|| steps(&mut trainer)))?;
        training = growth(&mut || steps(&mut trainer))?;
        drop(trainer);
        if lanes(work) > 0 {
            // Side by side, each thread holds as much as one alone, though hardly at the same moment in a few steps.
            let mut side_by_side = SideBySide::new(work, lanes(work))?;
            let few = growth(&mut || (0..TRIAL_STEPS).try_for_each(|_| side_by_side.step(work).map(|_| ())))?;
            training = training.max(few).max(alone * lanes(work) as u64);
        }
    }
    let kept = ProcessMemory::now().map_or(0, |now| now.resident.saturating_sub(before));
    Ok(Some(NetworkMemory { before, one_image, largest_call, largest_images, training, kept, classifier }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_calls_grows_with_their_images() {
        let memory = NetworkMemory {
            before: 0,
            one_image: 10,
            largest_call: 640,
            largest_images: 64,
            training: 0,
            kept: 0,
            classifier: 0,
        };
        assert_eq!([1, 2, 64].map(|images| memory.call(images)), [10, 20, 640]);
    }
}
