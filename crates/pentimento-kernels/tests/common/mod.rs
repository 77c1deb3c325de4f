//! What the tests of the kernels share: made-up values, shapes, and the measure of an error.

#![allow(dead_code, reason = "every test file uses its own part")]

pub mod winograd;

use pentimento_kernels::{AttentionShape, ConvGeometry, ConvShape, GroupNormShape, LayerNormShape};
use proptest::prelude::*;

/// Distance from 1 to the next `f32`; one rounding is wrong by at most half of it.
pub const EPSILON: f64 = f32::EPSILON as f64;

/// This many random cases. A failing case is printed with its smallest form; nothing is written into the sources.
pub fn cases(number: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(number) }
}

/// `length` values between -1.5 and 1.5, by SplitMix64 (Steele et al. 2014): the same for the same seed.
pub fn values(seed: u64, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (0..length).map(|_| ((next() >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 3.0).collect()
}

/// The same values in `f64`.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// `length` values in `f64`.
pub fn wide_values(seed: u64, length: usize) -> Vec<f64> {
    wide(&values(seed, length))
}

/// The largest absolute value.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// Asserts that no entry is wrong by more than `tolerance`.
#[track_caller]
pub fn assert_within(what: &str, computed: &[f32], truth: &[f64], tolerance: f64) {
    assert_each_within(what, computed, truth, &vec![tolerance; truth.len()]);
}

/// Asserts that no entry is wrong by more than its own tolerance.
#[track_caller]
pub fn assert_each_within(what: &str, computed: &[f32], truth: &[f64], tolerances: &[f64]) {
    assert_eq!(computed.len(), truth.len(), "{what}: number of values");
    for (place, ((&value, &truth), &tolerance)) in computed.iter().zip(truth).zip(tolerances).enumerate() {
        let error = (f64::from(value) - truth).abs();
        assert!(
            error <= tolerance,
            "{what}[{place}] is {value}, not {truth}: off by {error:e} > {tolerance:e}"
        );
    }
}

/// Asserts equality byte by byte; zero and minus zero differ.
#[track_caller]
pub fn assert_same_bytes(what: &str, left: &[f32], right: &[f32]) {
    assert_eq!(left.len(), right.len(), "{what}: number of values");
    for (place, (a, b)) in left.iter().zip(right).enumerate() {
        assert_eq!(a.to_bits(), b.to_bits(), "{what}[{place}]: {a:e} and {b:e}");
    }
}

/// Number of values of a convolution's input, weight and output.
pub fn conv_lengths(shape: &ConvShape) -> (usize, usize, usize) {
    let taps = shape.geometry.kernel * shape.geometry.kernel;
    (
        shape.images * shape.height * shape.width * shape.input_channels,
        taps * shape.input_channels * shape.output_channels,
        shape.images * shape.output_height() * shape.output_width() * shape.output_channels,
    )
}

/// Every kernel, stride and padding of a U-Net and some that it does not have.
pub fn geometries() -> impl Strategy<Value = ConvGeometry> {
    (prop::sample::select(vec![1usize, 3]), 1usize..=2, 0usize..=2, 0usize..=2).prop_map(
        |(kernel, stride, padding_before, padding_after)| ConvGeometry {
            kernel,
            stride,
            padding_before,
            padding_after,
        },
    )
}

/// Convolutions of up to `side` pixels and `channels` channels that fit.
pub fn conv_shapes(images: usize, side: usize, channels: usize) -> impl Strategy<Value = ConvShape> {
    (geometries(), 1..=images, 1..=side, 1..=side, 1..=channels, 1..=channels).prop_filter_map(
        "the kernel fits",
        |(geometry, images, height, width, input, output)| {
            ConvShape::new([images, height, width, input], output, geometry).ok()
        },
    )
}

/// Convolutions that keep an image's size, with channels enough for whole vectors and a rest.
pub fn wide_conv_shapes(images: usize, side: usize, channels: usize) -> impl Strategy<Value = ConvShape> {
    (1..=images, 4..=side, 4..=side, 16..=channels, 16..=channels).prop_map(
        |(images, height, width, input, output)| {
            ConvShape::new([images, height, width, input], output, ConvGeometry::SAME_3X3).unwrap()
        },
    )
}

/// Group normalisations of up to `pixels` pixels, one to six groups of one to seven channels.
pub fn norm_shapes(images: usize, pixels: usize) -> impl Strategy<Value = GroupNormShape> {
    (
        1..=images,
        1..=pixels,
        1usize..=6,
        1usize..=7,
        prop::sample::select(vec![1e-6, 1e-5, 1e-2]),
        any::<bool>(),
    )
        .prop_map(|(images, pixels, groups, per_group, epsilon, silu)| {
            GroupNormShape { images, pixels, channels: groups * per_group, groups, epsilon, silu }
                .checked()
                .unwrap()
        })
}

/// Layer normalisations of up to `tokens` tokens, with channels for no, one and several vectors and a rest.
pub fn layer_norm_shapes(tokens: usize) -> impl Strategy<Value = LayerNormShape> {
    (1..=tokens, 1usize..=150, prop::sample::select(vec![1e-6, 1e-5, 1e-2])).prop_map(
        |(tokens, channels, epsilon)| LayerNormShape { tokens, channels, epsilon }.checked().unwrap(),
    )
}

/// Attentions of up to `tokens` queries over themselves or over up to `tokens` keys, one to three heads of one to 35
/// channels.
pub fn attention_shapes(images: usize, tokens: usize) -> impl Strategy<Value = AttentionShape> {
    (1..=images, 1..=tokens, prop::option::of(1..=tokens), 1usize..=3, 1usize..=35).prop_map(
        |(images, queries, keys, heads, head_channels)| {
            let keys = keys.unwrap_or(queries);
            AttentionShape { images, queries, keys, channels: heads * head_channels, heads }
                .checked()
                .unwrap()
        },
    )
}

/// Number of values of an attention's queries, and of its keys.
pub fn attention_lengths(shape: &AttentionShape) -> [usize; 2] {
    [shape.queries, shape.keys].map(|tokens| shape.images * tokens * shape.channels)
}
