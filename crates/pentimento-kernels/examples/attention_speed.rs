//! Prints how fast attention is here, in milliseconds (median of nine):
//! `cargo run --release -p pentimento-kernels --example attention_speed`.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "prints figures of shapes that fit")]
use pentimento_kernels::*;
use std::time::Instant;

const TANGENTS: usize = 7;

fn median_milliseconds(mut run: impl FnMut()) -> f64 {
    run();
    let mut milliseconds: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    milliseconds.sort_by(f64::total_cmp);
    milliseconds[4]
}

fn made(seed: usize, length: usize) -> Vec<f32> {
    (0..length).map(|at| ((at * 7919 + seed * 104_729) % 2003) as f32 / 600.0 - 1.6).collect()
}

fn main() {
    for [images, tokens, heads, head_channels] in [
        [64, 196, 8, 8],
        [64, 49, 8, 8],
        [64, 196, 1, 64],
        [8, 256, 1, 256],
        [8, 64, 1, 256],
        [4, 1024, 1, 64],
        [1, 196, 8, 8],
    ] {
        let shape = AttentionShape { images, tokens, channels: heads * head_channels, heads };
        let shape = shape.checked().expect("fits");
        let length = images * tokens * heads * head_channels;
        let [q, k, v, d] = [0, 1, 2, 3].map(|seed| made(seed, length));
        let [mut y, mut of_q, mut of_k, mut of_v] = [0; 4].map(|_| vec![0.0f32; length]);
        let forward = median_milliseconds(|| attention(&shape, &q, &k, &v, &mut y));
        let backward = median_milliseconds(|| {
            attention_backward(&shape, &q, &k, &v, &d, &mut of_q, &mut of_k, &mut of_v);
        });
        let [dq, dk, dv] = [4, 5, 6].map(|seed| made(seed, TANGENTS * length));
        let mut along = vec![0.0f32; TANGENTS * length];
        let tangent =
            median_milliseconds(|| attention_tangent(&shape, &q, &k, &v, &dq, &dk, &dv, &mut along));
        println!(
            "{images:3} images, {tokens:4} tokens, {heads} heads of {head_channels:3} channels: \
             forward {forward:7.3}, backward {backward:7.3}, {TANGENTS} tangents {tangent:8.3} ms"
        );
    }
}
