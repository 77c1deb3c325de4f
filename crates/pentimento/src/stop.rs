//! Ctrl-C and SIGTERM: stages look at a flag between steps, keep what they have, and end.

use crate::error::ProgramError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the program was asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Sets the flag on SIGINT and SIGTERM; a second signal ends the program at once.
    ///
    /// # Errors
    ///
    /// If the system refuses the handler.
    pub fn on_signals() -> std::io::Result<Self> {
        let stop = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop.0))?;
            signal_hook::flag::register(signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error once the flag is set.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Stopped`].
    pub fn check(&self) -> Result<(), ProgramError> {
        if self.is_set() { Err(ProgramError::Stopped) } else { Ok(()) }
    }
}
