//! Prints how fast the convolution kernels are here, in GFLOP/s: `cargo run --release --example speed -p pentimento-kernels`.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "prints figures of shapes that fit")]
use pentimento_kernels::*;
use std::time::Instant;

fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut seconds: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[3]
}

fn main() {
    for (images, side, input, output, geometry) in [
        (64, 28, 32, 32, ConvGeometry::SAME_3X3),
        (64, 14, 64, 64, ConvGeometry::SAME_3X3),
        (64, 14, 16, 16, ConvGeometry::SAME_3X3),
        (64, 28, 16, 16, ConvGeometry::SAME_3X3),
        (64, 28, 48, 16, ConvGeometry::SAME_3X3),
        (64, 14, 32, 32, ConvGeometry::SAME_3X3),
        (64, 7, 32, 32, ConvGeometry::SAME_3X3),
        (64, 7, 64, 64, ConvGeometry::SAME_3X3),
        (64, 14, 128, 64, ConvGeometry::SAME_3X3),
        (8, 32, 128, 128, ConvGeometry::SAME_3X3),
        (8, 8, 256, 256, ConvGeometry::SAME_3X3),
        (8, 16, 128, 256, ConvGeometry::SAME_3X3),
        (64, 14, 64, 64, ConvGeometry::POINTWISE),
        (1, 28, 32, 32, ConvGeometry::SAME_3X3),
    ] {
        let shape = ConvShape::new([images, side, side, input], output, geometry).expect("fits");
        let x = vec![0.5f32; images * side * side * input];
        let w = vec![0.1f32; geometry.kernel * geometry.kernel * input * output];
        let mut y = vec![0.0f32; images * side * side * output];
        let mut dx = x.clone();
        let mut dw = w.clone();
        let flops = 2.0 * (x.len() * geometry.kernel * geometry.kernel * output) as f64;
        let forward = median(|| conv2d(&shape, &x, &w, None, &mut y));
        let backward = median(|| conv2d_backward_input(&shape, &y, &w, &mut dx));
        let weights = median(|| conv2d_backward_weight(&shape, &x, &y, &mut dw));
        println!(
            "{images:3} images {side}x{side} {input:3} -> {output:3}, kernel {}: forward {:.0}, input {:.0}, weight {:.0} GFLOP/s",
            geometry.kernel,
            flops / forward * 1e-9,
            flops / backward * 1e-9,
            flops / weights * 1e-9
        );
    }
    let shape =
        GroupNormShape { images: 64, pixels: 784, channels: 32, groups: 8, epsilon: 1e-5, silu: true };
    let x = vec![0.5f32; 64 * 784 * 32];
    let (mut y, mut s) = (x.clone(), vec![0.0; shape.statistics_length()]);
    let (a, b) = (vec![1.0; 32], vec![0.0; 32]);
    let seconds = median(|| group_norm(&shape, &x, &a, &b, &mut y, &mut s));
    println!("group norm with SiLU: {:.2} GB/s of input", x.len() as f64 * 4e-9 / seconds);
    let attention_shape = AttentionShape { images: 64, queries: 196, keys: 196, channels: 64, heads: 1 };
    let q = vec![0.1f32; 64 * 196 * 64];
    let mut o = q.clone();
    let seconds = median(|| attention(&attention_shape, &q, &q, &q, &mut o));
    println!("attention 196 tokens: {:.0} GFLOP/s", 4.0 * 64.0 * 196.0 * 196.0 * 64.0 / seconds * 1e-9);
}
