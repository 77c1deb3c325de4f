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
    for [images, queries, keys, heads, head_channels] in [
        [64, 196, 196, 8, 8],
        [64, 49, 49, 8, 8],
        [64, 196, 196, 1, 64],
        [8, 256, 256, 1, 256],
        [8, 64, 64, 1, 256],
        [4, 1024, 1024, 1, 64],
        [1, 196, 196, 8, 8],
        // Stable Diffusion 1.x at 256 pixels: its pixels over themselves and over a text.
        [1, 1024, 1024, 8, 40],
        [1, 1024, 77, 8, 40],
        [1, 256, 256, 8, 80],
        [1, 256, 77, 8, 80],
    ] {
        let shape = AttentionShape { images, queries, keys, channels: heads * head_channels, heads };
        let shape = shape.checked().expect("fits");
        let [of_queries, of_keys] = [queries, keys].map(|tokens| images * tokens * heads * head_channels);
        let [q, d] = [0, 3].map(|seed| made(seed, of_queries));
        let [k, v] = [1, 2].map(|seed| made(seed, of_keys));
        let [mut y, mut of_q] = [0; 2].map(|_| vec![0.0f32; of_queries]);
        let [mut of_k, mut of_v] = [0; 2].map(|_| vec![0.0f32; of_keys]);
        let forward = median_milliseconds(|| attention(&shape, &q, &k, &v, &mut y));
        let backward = median_milliseconds(|| {
            attention_backward(&shape, &q, &k, &v, &d, &mut of_q, &mut of_k, &mut of_v);
        });
        let dq = made(4, TANGENTS * of_queries);
        let [dk, dv] = [5, 6].map(|seed| made(seed, TANGENTS * of_keys));
        let mut along = vec![0.0f32; TANGENTS * of_queries];
        let tangent = if queries == keys {
            median_milliseconds(|| attention_tangent(&shape, &q, &k, &v, &dq, &dk, &dv, &mut along))
        } else {
            median_milliseconds(|| attention_query_tangent(&shape, &q, &k, &v, &dq, &mut along))
        };
        println!(
            "{images:3} images, {queries:4} queries, {keys:4} keys, {heads} heads of {head_channels:3} channels: \
             forward {forward:7.3}, backward {backward:7.3}, {TANGENTS} tangents {tangent:8.3} ms"
        );
    }
}
