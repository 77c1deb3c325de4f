//! Whether networks are trained one after another or side by side.

use crate::error::Result;
use crate::event::Event;
use crate::workspace::Workspace;
use pentimento_diffusion::side_by_side::side_by_side;
use pentimento_diffusion::training::{Trainer, TrainingImages};
use std::time::Instant;

/// Steps that each way of using the cores is tried for before one is chosen.
pub const TRIAL_STEPS: usize = 3;

/// How long steps take in both ways of using the cores: one network after another with all threads, or one network per thread. Both
/// give the same bytes.
pub struct Tried {
    /// Seconds of a step of one network alone.
    together: f64,
    /// Networks side by side, and seconds of a step of the slowest of them; none if there are fewer networks than threads, as
    /// cores would be idle.
    apart: Option<(usize, f64)>,
    networks: usize,
}

impl Tried {
    /// Tries a few steps. `networks` are to be trained, of which `fresh` is one.
    ///
    /// # Errors
    ///
    /// As training; if it is asked to stop.
    pub fn new(
        workspace: &Workspace,
        networks: usize,
        fresh: &(dyn Fn() -> Result<Trainer> + Sync),
        images: &TrainingImages<'_>,
    ) -> Result<Self> {
        let trial = || -> Result<f64> {
            let mut trainer = fresh()?;
            // The first step also pays for memory that later ones reuse.
            trainer.train_step(images)?;
            let started = Instant::now();
            for _ in 0..TRIAL_STEPS {
                workspace.options.stop.check()?;
                trainer.train_step(images)?;
            }
            Ok(started.elapsed().as_secs_f64() / TRIAL_STEPS as f64)
        };
        let together = trial()?;
        let slowest = |lanes| -> Result<(usize, f64)> {
            Ok((lanes, side_by_side(lanes, |_| trial())?.into_iter().fold(0.0, f64::max)))
        };
        Ok(Self { together, apart: lanes_of(networks).map(slowest).transpose()?, networks })
    }

    /// Seconds of a step of every network, one after another and side by side. Networks that do not fill a last round leave threads
    /// idle in it.
    fn seconds(&self) -> (f64, Option<f64>) {
        let apart = self.apart.map(|(lanes, slowest)| self.networks.div_ceil(lanes) as f64 * slowest);
        (self.networks as f64 * self.together, apart)
    }

    /// Seconds of a step of every network, in the faster way.
    pub fn fastest(&self) -> f64 {
        let (together, apart) = self.seconds();
        apart.map_or(together, |apart| apart.min(together))
    }
}

/// Networks that could be trained side by side, of so many; none if cores would be idle then.
fn lanes_of(networks: usize) -> Option<usize> {
    let threads = rayon::current_num_threads();
    (threads >= 2 && networks >= threads).then_some(threads)
}

/// Tries both ways of using the cores and takes the faster. `networks` are to be trained, of which `fresh` is one.
pub fn choose_lanes(
    workspace: &Workspace,
    networks: usize,
    fresh: &(dyn Fn() -> Result<Trainer> + Sync),
    images: &TrainingImages<'_>,
) -> Result<usize> {
    if lanes_of(networks).is_none() {
        return Ok(1);
    }
    let tried = Tried::new(workspace, networks, fresh, images)?;
    let (Some((lanes, slowest)), (together, Some(apart))) = (tried.apart, tried.seconds()) else {
        return Ok(1);
    };
    let is_faster_apart = apart <= together;
    workspace.reporter().tell(Event::TrainingTried {
        one_at_a_time_ms: 1000.0 * tried.together,
        lanes,
        side_by_side_ms: 1000.0 * slowest,
        apart: is_faster_apart,
    });
    Ok(if is_faster_apart { lanes } else { 1 })
}
