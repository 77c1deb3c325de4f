//! How long a checkpoint takes to open, and the most memory that the process ever held, against the size of its values.
//!
//! `cargo run --release -p pentimento-diffusion --example load_checkpoint -- FOLDER`

use pentimento_diffusion::checkpoint::{CheckpointFiles, Selection};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

#[allow(clippy::print_stdout, reason = "an example says what it found")]
fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name a checkpoint's folder")?;
    let before = peak_memory_bytes();
    let started = Instant::now();
    let checkpoint = CheckpointFiles::find(Path::new(&folder), &Selection::default())?.open()?;
    let seconds = started.elapsed().as_secs_f64();
    let values = 4 * checkpoint.values.iter().map(Vec::len).sum::<usize>();
    println!("{seconds:.3} s for {:.1} MB of values", values as f64 / 1e6);
    if let (Some(before), Some(after)) = (before, peak_memory_bytes()) {
        let held = after - before;
        println!(
            "at most {:.1} MB held, {:.2} times the values",
            held as f64 / 1e6,
            held as f64 / values as f64
        );
    }
    Ok(())
}

/// The most memory that this process held so far, where the system tells.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| 1024 * kilobytes)
}
