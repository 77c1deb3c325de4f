//! What scores by a method will take on this machine, from some of the work that was done to be timed.

use crate::event::{Event, Reporter};
use crate::memory::ProcessMemory;

/// Seconds from which on a forecast is told unasked.
const LEAST_SECONDS: f64 = 5.0;

/// Images whose gradients are taken without a forecast.
pub(crate) const FEW_IMAGES: usize = 8;

/// A forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// The method.
    pub method: &'static str,
    /// What is missing, in words; empty if nothing is.
    pub work: String,
    /// Seconds, if the machine stays as busy as it was.
    pub seconds: f64,
    /// The most that the process will hold, in bytes; none on systems that do not tell what it holds.
    pub memory: Option<u64>,
    /// What it takes at the most, if scores may need more draws than the first ones.
    pub more: Option<MoreDraws>,
}

/// More draws than the first ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MoreDraws {
    /// Draws of each image at the most.
    pub draws: usize,
    /// Seconds of all of them, the first ones with them.
    pub seconds: f64,
}

impl Forecast {
    /// The forecast of a method that will hold so many bytes beside what this process has held so far, the timed work
    /// included.
    pub(crate) fn new(method: &'static str, work: String, seconds: f64, bytes: usize) -> Self {
        // What the allocator keeps differs from run to run: a small one held 5 % more than the timed work and its arrays.
        let with_spare = |bytes: u64| bytes + bytes / 10;
        let memory = ProcessMemory::now().map(|now| with_spare(now.peak + bytes as u64));
        Self { method, work, seconds, memory, more: None }
    }

    /// The same of a method that may need more draws.
    pub(crate) fn with_more(self, more: Option<MoreDraws>) -> Self {
        Self { more, ..self }
    }

    /// Of a method that has nothing left to compute, or that computes so little that nobody waits.
    pub(crate) fn nothing(method: &'static str) -> Self {
        Self::new(method, String::new(), 0.0, 0)
    }

    /// Tells it, if the work takes long enough for that to be of use.
    pub(crate) fn tell(&self, reporter: &Reporter) {
        if self.more.map_or(self.seconds, |more| more.seconds) > LEAST_SECONDS {
            reporter.tell(Event::Forecast(self));
        }
    }
}
