//! Where a run computes: the device of the networks, and the threads of the processor.

use crate::error::{Result, RunError};
use pentimento_diffusion::device::{DeviceKind, choose_device};

/// Does some work with this device and so many threads, all cores if absent. Both hold for the whole process and are chosen
/// once: the first choice stays. The work is done on a thread of the pool: from outside, every layer of a network would wake a
/// thread and be woken by it, which is 7 % of a training step (1.2 million parameters, 64 images of 28x28: 372 ms outside,
/// 346 ms inside, 2 cores).
///
/// # Errors
///
/// [`RunError::Device`] for a device that this build or machine lacks, [`RunError::Threads`] if the pool cannot be made.
pub fn on_pool<R: Send>(
    device: DeviceKind,
    threads: Option<usize>,
    work: impl FnOnce() -> R + Send,
) -> Result<R> {
    if let Some(threads) = threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|problem| RunError::Threads { problem: problem.to_string() })?;
    }
    choose_device(device).map_err(|problem| RunError::Device { problem })?;
    Ok(rayon::scope(|_| work()))
}
