//! What this machine could do at most, which every other figure is a fraction of.

use crate::timing::Timing;
use crate::{MeasureError, Result};
use pentimento_kernels::{Instructions, multiply_adds_in_registers};
use pentimento_run::Stop;
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Bytes that are read to measure the memory. Far more than the caches of most processors; the size is printed, as on
/// some servers the last cache is of that order (480 MiB where this was written) though a guest has only a part of it.
pub const BUFFER_BYTES: usize = 1 << 30;

/// About 20 ms on one thread of a processor of today.
const ROUNDS: u64 = 5_000_000;

/// The processor and its limits.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor's name, or its architecture where it has none to tell.
    pub processor: String,
    /// Threads that everything is measured with.
    pub threads: usize,
    /// The instructions that the kernels use.
    pub instructions: Instructions,
    /// Operations per second of fused multiply-adds between registers, the best of many repetitions.
    pub operations_per_second: f64,
    /// Bytes per second when reading a buffer of [`BUFFER_BYTES`], the best of some repetitions.
    pub bytes_per_second: f64,
}

impl Machine {
    /// Measures this machine for about a second and a half.
    ///
    /// # Errors
    ///
    /// If the user stops it or there is no memory for the buffer.
    pub fn measure(stop: &Stop) -> Result<Self> {
        let mut operations = 0.0;
        let registers = Timing::of(stop, Duration::from_millis(500), || {
            operations = multiply_adds_in_registers(ROUNDS);
            Ok(())
        })?;
        let mut buffer: Vec<u64> = Vec::new();
        buffer
            .try_reserve_exact(BUFFER_BYTES / size_of::<u64>())
            .map_err(|_| MeasureError::NoMemory { bytes: BUFFER_BYTES })?;
        buffer.resize(BUFFER_BYTES / size_of::<u64>(), 1);
        let memory = Timing::of(stop, Duration::from_millis(500), || {
            // Integers, so that the compiler may sum many at once.
            let sum: u64 = buffer.par_chunks(1 << 16).map(|part| part.iter().sum::<u64>()).sum();
            std::hint::black_box(sum);
            Ok(())
        })?;
        Ok(Self {
            processor: processor(),
            threads: rayon::current_num_threads(),
            instructions: Instructions::detect(),
            operations_per_second: operations / registers.least(),
            bytes_per_second: BUFFER_BYTES as f64 / memory.least(),
        })
    }
}

/// How much of the machine others use while something is measured: two threads that wait for each other lose more than
/// that share.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    started: Instant,
    busy_by_others: Option<f64>,
}

impl Watch {
    /// Starts to watch.
    pub fn start() -> Self {
        Self { started: Instant::now(), busy_by_others: busy_by_others() }
    }

    /// Share of all processors' time since the start, from 0 to 1; nothing where the system does not tell.
    pub fn share_of_others(&self) -> Option<f64> {
        let busy = busy_by_others()? - self.busy_by_others?;
        let processors = std::thread::available_parallelism().ok()?.get() as f64;
        Some((busy / (self.started.elapsed().as_secs_f64() * processors)).clamp(0.0, 1.0))
    }
}

/// Seconds of processor time, over all processors, that were neither idle nor this process's.
fn busy_by_others() -> Option<f64> {
    let [all, own] = ["/proc/stat", "/proc/self/stat"].map(std::fs::read_to_string);
    seconds_of_others(&all.ok()?, &own.ok()?)
}

/// The same from the texts of `/proc/stat` and `/proc/self/stat`, which count in hundredths of a second.
fn seconds_of_others(all: &str, own: &str) -> Option<f64> {
    let ticks = |text: &str| text.parse::<f64>().ok();
    // user, nice, system, idle, waiting, interrupts (hard, soft), stolen by another guest.
    let all: Vec<f64> = all.lines().next()?.split_whitespace().skip(1).map_while(ticks).collect();
    let busy: f64 = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|place| all.get(place)).sum();
    // The name of the program stands in brackets and may have spaces; user and system time are fields 14 and 15.
    let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
    Some((busy - ticks(fields.get(11)?)? - ticks(fields.get(12)?)?) / 100.0)
}

fn processor() -> String {
    let file = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = file.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.and_then(|rest| rest.split_once(':')).map(|(_, name)| name.trim().to_string());
    name.unwrap_or_else(|| std::env::consts::ARCH.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By proc(5): busy are 100 + 20 + 3 + 4 + 5 + 6 ticks of all, of which 30 + 8 are this process's.
    #[test]
    fn own_work_is_not_that_of_others() {
        let all = "cpu  100 20 3 9999 9999 4 5 6 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let own = "77 (a (b) c) S 1 1 1 0 -1 4194304 12 13 14 15 30 8 0 0 20 0 1 0";
        assert_eq!(seconds_of_others(all, own), Some(1.0));
        assert_eq!(seconds_of_others("", own), None);
        assert_eq!(seconds_of_others(all, "77 (a) S 1 1"), None);
    }
}
