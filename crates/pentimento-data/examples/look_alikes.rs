//! How many pairs of images of a set have perceptual hashes that differ in so many bits, and how many would by chance: if
//! each hash were any 31 of 63 bits. Prints some pairs of each kind, to look at: `cargo run --release -p pentimento-data --example look_alikes -- PATH`. This is what
//! `NEAR_DUPLICATE_BITS` was chosen by.

#![allow(clippy::print_stdout, reason = "an example that prints")]

use std::path::Path;
use std::time::Instant;

use pentimento_data::{
    ImageSource as _, OpenOptions, default_cache_dir, near_duplicates, open, perceptual_hash,
};

/// Bits of a hash that are in use, and how many of them are set: those above their median.
const HASH_BITS: [u32; 2] = [63, 31];
/// Pairs that are printed of each kind.
const EXAMPLES: usize = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give the path of a set")?;
    let started = Instant::now();
    let options = OpenOptions { cache_dir: Some(default_cache_dir()?), ..OpenOptions::default() };
    let source = open(Path::new(&path), &options, &mut |event| println!("{event}"))?;
    println!("opened in {:.2} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let images = (0..source.len()).map(|index| source.image(index));
    let hashes = images.map(|image| perceptual_hash(&image?)).collect::<Result<Vec<u64>, _>>()?;
    println!("decoded and hashed in {:.2} s", started.elapsed().as_secs_f64());
    let pairs = hashes.len() as f64 * (hashes.len() as f64 - 1.0) / 2.0;
    let [bits_in_use, set] = HASH_BITS;
    let binomial = |n: u32, k: u32| (0..k).map(|i| f64::from(n - i) / f64::from(i + 1)).product::<f64>();
    let started = Instant::now();
    let (_, found) = near_duplicates(&hashes, 12, 1_000_000);
    println!("compared in {:.2} s", started.elapsed().as_secs_f64());
    // Hashes with equally many bits differ in an even number.
    for half in 0..=6 {
        let chance =
            pairs * binomial(set, half) * binomial(bits_in_use - set, half) / binomial(bits_in_use, set);
        let same: Vec<_> = found.iter().filter(|pair| pair.bits == 2 * half).collect();
        println!("{} bits: {} pairs, by chance {chance:.3}", 2 * half, same.len());
        let step = (same.len() / EXAMPLES).max(1);
        for pair in same.iter().step_by(step).take(EXAMPLES) {
            println!("  {} and {}", source.key(pair.first), source.key(pair.second));
        }
    }
    Ok(())
}
