//! How long a value takes: `cargo bench -p pentimento-noise`.
//!
//! The figure to hold is 40 ns a normal: a training step uses about 50,000, which then are 2 ms beside some hundred.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::hint::black_box;
use std::time::Instant;

use pentimento_noise::{Purpose, Stream};

const VALUES: usize = 50_000;
const REPEATS: u32 = 100;

fn main() {
    let mut buffer = vec![0.0_f32; VALUES];
    report("normal, f32", |step| {
        Stream::new(1, Purpose::Test, 0, step).fill_normal(&mut buffer);
        black_box(&buffer);
    });
    report("uniform, f32", |step| {
        Stream::new(1, Purpose::Test, 0, step).fill_uniform(&mut buffer);
        black_box(&buffer);
    });
    report("element of a permutation", |step| {
        black_box(Stream::new(1, Purpose::Test, 0, step).permutation(VALUES as u32));
    });
}

/// Prints the best of `REPEATS` runs, which other work on the machine disturbs least.
fn report(name: &str, mut fill: impl FnMut(u32)) {
    let best = (0..REPEATS)
        .map(|step| {
            let start = Instant::now();
            fill(step);
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("{name}: {:.1} ns", best.as_secs_f64() * 1e9 / VALUES as f64);
}
