//! Prints how fast the layers on tokens are here at the shapes of Stable Diffusion 1.x at 256 pixels, in milliseconds (median
//! of nine): `cargo run --release -p pentimento-kernels --example token_speed`.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "prints figures of shapes that fit")]
use pentimento_kernels::*;
use std::time::Instant;

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
    for (side, channels) in [(32, 320), (16, 640), (8, 1280)] {
        let tokens = 4 * side * side;
        let shape = LayerNormShape { tokens, channels, epsilon: 1e-5 }.checked().expect("fits");
        let [x, d, mut y] = [0, 1, 2].map(|seed| made(seed, tokens * channels));
        let [scale, shift, mut of_scale, mut of_shift] = [3, 4, 5, 6].map(|seed| made(seed, channels));
        let forward = median_milliseconds(|| layer_norm(&shape, &x, &scale, &shift, &mut y));
        let backward = median_milliseconds(|| {
            layer_norm_backward(&shape, &x, &scale, &d, &mut y, &mut of_scale, &mut of_shift);
        });
        println!(
            "layer norm, {tokens:4} tokens of {channels:4}: forward {forward:.3}, backward {backward:.3} ms"
        );

        let inner = 4 * channels;
        let [x, mut of_x] = [7, 8].map(|seed| made(seed, tokens * 2 * inner));
        let [d, mut y] = [9, 10].map(|seed| made(seed, tokens * inner));
        let forward = median_milliseconds(|| geglu(inner, &x, &mut y));
        let backward = median_milliseconds(|| geglu_backward(inner, &x, &d, &mut of_x));
        println!(
            "GEGLU,      {tokens:4} tokens of {inner:4}: forward {forward:.3}, backward {backward:.3} ms"
        );

        for (name, images, height, width, input, output) in [
            ("queries", 4, side, side, channels, channels),
            ("keys of a text", 4, 1, 77, 768, channels),
            ("to values and gates", 4, side, side, channels, 2 * inner),
            ("back", 4, side, side, inner, channels),
        ] {
            let shape = ConvShape::new([images, height, width, input], output, ConvGeometry::POINTWISE);
            let shape = shape.expect("fits");
            let rows = images * height * width;
            let (x, w, mut y) = (made(11, rows * input), made(12, input * output), made(13, rows * output));
            let mut of_x = x.clone();
            let forward = median_milliseconds(|| conv2d(&shape, &x, &w, None, &mut y));
            let backward = median_milliseconds(|| conv2d_backward_input(&shape, &y, &w, &mut of_x));
            let operations = 2.0 * (rows * input * output) as f64 * 1e-6;
            println!(
                "linear, {name}, {rows} x {input} x {output}: forward {forward:.3}, input gradient {backward:.3} ms, \
                 {:.0} and {:.0} GFLOP/s",
                operations / forward,
                operations / backward
            );
        }
    }
}
