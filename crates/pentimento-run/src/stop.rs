//! A flag that stages look at between steps: once it is set, they keep what they have, and end.

use crate::error::{Result, RunError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether to stop. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The flag itself, for whoever sets it from a signal handler.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Asks all stages to stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once the flag is set.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`].
    pub fn check(&self) -> Result<()> {
        if self.is_set() { Err(RunError::Stopped) } else { Ok(()) }
    }
}
