//! A flag that stages look at between steps: once it is set, they keep what they have, and end.

use crate::error::{Result, RunError};
use std::fmt;
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

/// Whether the time is used that a person allows for what could go on, such as taking more draws. Clones share it.
#[derive(Clone, Default)]
pub struct TimeAllowed(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl TimeAllowed {
    /// The time until `is_used` says that it is over. Any thread may ask, and often.
    pub fn until(is_used: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_used)))
    }

    /// Whether it is used; never, if nothing was said.
    pub fn is_used(&self) -> bool {
        self.0.as_ref().is_some_and(|is_used| is_used())
    }
}

impl fmt::Debug for TimeAllowed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TimeAllowed")
    }
}
