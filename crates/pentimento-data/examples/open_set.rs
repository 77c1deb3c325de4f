//! How long it takes to open a set: for the first time, again, and again with every file read.
//!
//! `cargo run --release -p pentimento-data --example open_set -- PATH` (`docs/benchmarks/opening.md`). The index is kept in a
//! folder that is removed afterwards.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::path::Path;
use std::time::{Duration, Instant};

use pentimento_data::{DataError, ImageSource as _, OpenOptions, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a set")?;
    let cache = tempfile::tempdir()?;
    let seconds = |verify: bool| -> Result<(usize, f64), DataError> {
        let started = Instant::now();
        let options = OpenOptions { cache_dir: Some(cache.path().into()), verify, ..OpenOptions::default() };
        let source = open(Path::new(&path), &options, &mut |_| {})?;
        Ok((source.len(), started.elapsed().as_secs_f64()))
    };
    let (images, first) = seconds(false)?;
    println!("{images} images");
    println!("for the first time: {first:.2} s");
    // Files that were written a moment ago are read once more.
    std::thread::sleep(Duration::from_secs(3));
    for (what, verify) in
        [("again", false), ("again", false), ("again", false), ("with every file read", true)]
    {
        println!("{what}: {:.2} s", seconds(verify)?.1);
    }
    Ok(())
}
