//! Whether networks are trained one after another or side by side.

use crate::error::Result;
use crate::event::Event;
use crate::workspace::Workspace;
use pentimento_diffusion::side_by_side::side_by_side;
use pentimento_diffusion::training::{Trainer, TrainingImages};
use std::time::Instant;

/// Steps that each way of using the cores is tried for before one is chosen.
pub const TRIAL_STEPS: usize = 3;

/// Tries both ways of using the cores for a few steps and takes the faster: one network after another with all threads,
/// or one network per thread. Both give the same bytes. `networks` are to be trained, of which `fresh` is one.
pub fn choose_lanes(
    workspace: &Workspace,
    networks: usize,
    fresh: &(dyn Fn() -> Result<Trainer> + Sync),
    images: &TrainingImages<'_>,
) -> Result<usize> {
    let threads = rayon::current_num_threads();
    let lanes = threads.min(networks);
    // Fewer networks left than threads: side by side would leave cores idle.
    if lanes < 2 || lanes < threads {
        return Ok(1);
    }
    let trial = || -> Result<f64> {
        let mut trainer = fresh()?;
        // The first step also pays for memory that later ones reuse.
        trainer.train_step(images)?;
        let started = Instant::now();
        for _ in 0..TRIAL_STEPS {
            workspace.options.stop.check()?;
            trainer.train_step(images)?;
        }
        Ok(started.elapsed().as_secs_f64())
    };
    let together = trial()?;
    let slowest = side_by_side(lanes, |_| trial())?.into_iter().fold(0.0, f64::max);
    // Members that do not fill a last round leave threads idle in it.
    let rounds = networks.div_ceil(lanes) as f64;
    let faster_apart = rounds * slowest <= networks as f64 * together;
    let per_step = |seconds: f64| 1000.0 * seconds / TRIAL_STEPS as f64;
    workspace.reporter().tell(Event::TrainingTried {
        one_at_a_time_ms: per_step(together),
        lanes,
        side_by_side_ms: per_step(slowest),
        apart: faster_apart,
    });
    Ok(if faster_apart { lanes } else { 1 })
}
