//! How long a network takes to open, alone or beneath an adapter, and the most memory that the process ever held, against the size
//! of the network's files.
//!
//! `cargo run --release -p pentimento-diffusion --example load_checkpoint -- FOLDER [ADAPTER]`

use pentimento_diffusion::checkpoint::{AdapterFiles, CheckpointFiles, Selection};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

#[allow(clippy::print_stdout, reason = "an example says what it found")]
fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name a checkpoint's folder")?;
    let adapter = std::env::args().nth(2);
    let before = peak_memory_bytes();
    let started = Instant::now();
    let files = CheckpointFiles::find_denoiser(Path::new(&folder), &Selection::default())?;
    let mut checkpoint = files.open()?;
    if let Some(adapter) = adapter {
        let adapter = AdapterFiles::find(Path::new(&adapter))?.read(&checkpoint.architecture)?;
        checkpoint = checkpoint.with_adapter(adapter)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let lengths = files.weights.iter().map(|path| Ok(path.metadata()?.len()));
    let length = lengths.sum::<Result<u64, std::io::Error>>()?;
    let trained = checkpoint.architecture.parameter_count();
    println!("{seconds:.3} s for {:.1} MB of weights; {trained} values are trained", length as f64 / 1e6);
    if let (Some(before), Some(after)) = (before, peak_memory_bytes()) {
        let held = after - before;
        println!(
            "at most {:.1} MB held, {:.2} times the files",
            held as f64 / 1e6,
            held as f64 / length as f64
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
