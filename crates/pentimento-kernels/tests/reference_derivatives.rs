//! The references themselves: their derivatives against central differences in `f64`, and backward passes against
//! tangents: `<u, J v> = <J' u, v>`, for the references and for the fast kernels.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::*;
use pentimento_kernels::*;
use proptest::prelude::*;

/// Step of the central differences. Their error is about `STEP^2` times a third derivative, 1e-10, plus the rounding
/// of `f64` divided by the step, 1e-11.
const STEP: f64 = 1e-5;
/// What the differences may be off by, relative to the sum of what was added up: ten times the larger error.
const TOLERANCE: f64 = 1e-8;

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

/// Size of the terms of a dot product.
fn magnitude(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| (a * b).abs()).sum::<f64>() + 1e-3
}

/// Derivative of `function` at `point` along `direction`.
fn along(function: impl Fn(&[f64]) -> Vec<f64>, point: &[f64], direction: &[f64]) -> Vec<f64> {
    let moved = |step: f64| -> Vec<f64> { point.iter().zip(direction).map(|(x, d)| x + step * d).collect() };
    let (up, down) = (function(&moved(STEP)), function(&moved(-STEP)));
    up.iter().zip(&down).map(|(up, down)| (up - down) / (2.0 * STEP)).collect()
}

/// `gradient` must be that of `<cotangent, function>`: along a random direction and along single coordinates.
#[track_caller]
fn assert_gradient(
    what: &str,
    function: impl Fn(&[f64]) -> Vec<f64>,
    point: &[f64],
    cotangent: &[f64],
    gradient: &[f64],
) {
    assert_eq!(gradient.len(), point.len(), "{what}: number of values");
    // What a difference of two rounded values leaves, divided by the step.
    let rounding = f64::EPSILON * magnitude(cotangent, &function(point)) / STEP;
    let check = |direction: &[f64]| {
        let moved = along(&function, point, direction);
        let (expected, claimed) = (dot(cotangent, &moved), dot(gradient, direction));
        let tolerance =
            TOLERANCE * (magnitude(cotangent, &moved) + magnitude(gradient, direction)) + rounding;
        assert!((expected - claimed).abs() <= tolerance, "{what}: {claimed} instead of {expected}");
    };
    check(&wide_values(99, point.len()));
    // Single coordinates, at most twelve of them, spread over all.
    for place in (0..point.len()).step_by(point.len().div_ceil(12).max(1)) {
        let mut direction = vec![0.0; point.len()];
        direction[place] = 1.0;
        check(&direction);
    }
}

#[track_caller]
fn assert_close(what: &str, computed: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(computed.len(), expected.len(), "{what}: number of values");
    for (place, (a, b)) in computed.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}[{place}]: {a} instead of {b}");
    }
}

/// `<u, J v>` and `<J' u, v>` of the fast kernels may differ by the rounding of their terms.
#[track_caller]
fn assert_adjoint(what: &str, pairs: [(&[f64], &[f64]); 2], roundings: f64) {
    assert_adjoint_but_for(what, pairs, roundings, 0.0);
}

/// [`assert_adjoint`] where J and J' are differences of terms that may cancel wholly, so that the products say nothing of their
/// rounding: `cancelled` is what that amounts to.
#[track_caller]
fn assert_adjoint_but_for(what: &str, pairs: [(&[f64], &[f64]); 2], roundings: f64, cancelled: f64) {
    let [(u, jv), (ju, v)] = pairs;
    let (left, right) = (dot(u, jv), dot(ju, v));
    let tolerance = roundings * (magnitude(u, jv) + magnitude(ju, v)) + cancelled;
    assert!(
        (left - right).abs() <= tolerance,
        "{what}: {left} and {right} differ by more than {tolerance:e}"
    );
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn convolution(shape in conv_shapes(3, 5, 6), seed in any::<u32>()) {
        let seed = u64::from(seed);
        let (inputs, weights, outputs) = conv_lengths(&shape);
        let (x, w, u) = (wide_values(seed, inputs), wide_values(seed + 1, weights), wide_values(seed + 2, outputs));
        let bias = wide_values(seed + 3, shape.output_channels);
        assert_gradient(
            "input", |x| reference::conv2d(&shape, x, &w, Some(&bias)), &x, &u,
            &reference::conv2d_backward_input(&shape, &u, &w),
        );
        assert_gradient(
            "weight", |w| reference::conv2d(&shape, &x, w, Some(&bias)), &w, &u,
            &reference::conv2d_backward_weight(&shape, &x, &u),
        );
        assert_gradient(
            "bias", |bias| reference::conv2d(&shape, &x, &w, Some(bias)), &bias, &u,
            &reference::bias_backward(shape.output_channels, &u),
        );
    }

    #[test]
    fn group_norm_with_and_without_silu(shape in norm_shapes(3, 9), tangents in 1usize..=3, seed in any::<u32>()) {
        // A large epsilon, so that third derivatives stay of ordinary size in groups of almost equal values.
        let shape = GroupNormShape { epsilon: 0.5, ..shape };
        let seed = u64::from(seed);
        let length = shape.images * shape.pixels * shape.channels;
        let (x, u) = (wide_values(seed, length), wide_values(seed + 1, length));
        let (scale, shift) = (wide_values(seed + 2, shape.channels), wide_values(seed + 3, shape.channels));
        let (of_x, of_scale, of_shift) = reference::group_norm_backward(&shape, &x, &scale, &shift, &u);
        assert_gradient("input", |x| reference::group_norm(&shape, x, &scale, &shift), &x, &u, &of_x);
        assert_gradient("scale", |scale| reference::group_norm(&shape, &x, scale, &shift), &scale, &u, &of_scale);
        assert_gradient("shift", |shift| reference::group_norm(&shape, &x, &scale, shift), &shift, &u, &of_shift);

        // Tangents of an image lie side by side: direction `number` of image `image` is at `image * tangents + number`.
        let image_length = length / shape.images;
        let directions = wide_values(seed + 4, tangents * length);
        let derivatives = reference::group_norm_tangent(&shape, &x, &scale, &shift, &directions);
        for number in 0..tangents {
            let pick = |all: &[f64]| -> Vec<f64> {
                all.chunks_exact(image_length).skip(number).step_by(tangents).flatten().copied().collect()
            };
            let expected = along(|x| reference::group_norm(&shape, x, &scale, &shift), &x, &pick(&directions));
            assert_close("group_norm_tangent", &pick(&derivatives), &expected, 20.0 * TOLERANCE);
        }
    }

    #[test]
    fn attention_of_several_heads(shape in attention_shapes(2, 5), tangents in 1usize..=3, seed in any::<u32>()) {
        let seed = u64::from(seed);
        let [of_queries, of_keys] = attention_lengths(&shape);
        let [q, u] = [0, 3].map(|number| wide_values(seed + number, of_queries));
        let [k, v] = [1, 2].map(|number| wide_values(seed + number, of_keys));
        let (of_q, of_k, of_v) = reference::attention_backward(&shape, &q, &k, &v, &u);
        assert_gradient("queries", |q| reference::attention(&shape, q, &k, &v), &q, &u, &of_q);
        assert_gradient("keys", |k| reference::attention(&shape, &q, k, &v), &k, &u, &of_k);
        assert_gradient("values", |v| reference::attention(&shape, &q, &k, v), &v, &u, &of_v);

        let dq = wide_values(seed + 4, tangents * of_queries);
        let [dk, dv] = [5, 6].map(|number| wide_values(seed + number, tangents * of_keys));
        let derivatives = reference::attention_tangent(&shape, &q, &k, &v, &dq, &dk, &dv);
        let of_queries_alone = reference::attention_query_tangent(&shape, &q, &k, &v, &dq);
        for number in 0..tangents {
            let pick = |all: &[f64]| -> Vec<f64> {
                let image_length = all.len() / shape.images / tangents;
                all.chunks_exact(image_length).skip(number).step_by(tangents).flatten().copied().collect()
            };
            let point = [q.clone(), k.clone(), v.clone()].concat();
            let direction = [pick(&dq), pick(&dk), pick(&dv)].concat();
            let all_three = |point: &[f64]| {
                let (queries, others) = point.split_at(of_queries);
                let (keys, values) = others.split_at(of_keys);
                reference::attention(&shape, queries, keys, values)
            };
            // Sums over up to 35 channels of products of the size 2.
            assert_close("attention_tangent", &pick(&derivatives), &along(all_three, &point, &direction), 1e-6);
            let expected = along(|q| reference::attention(&shape, q, &k, &v), &q, &pick(&dq));
            assert_close("attention_query_tangent", &pick(&of_queries_alone), &expected, 1e-6);
        }
    }

    #[test]
    fn layer_norm_of_several_tokens((tokens, channels) in (1usize..=6, 1usize..=40), seed in any::<u32>()) {
        // A large epsilon, as for group normalisations.
        let shape = LayerNormShape { tokens, channels, epsilon: 0.5 };
        let seed = u64::from(seed);
        let [x, u, v] = [0, 1, 2].map(|number| wide_values(seed + number, tokens * channels));
        let [scale, shift] = [3, 4].map(|number| wide_values(seed + number, channels));
        let (of_x, of_scale, of_shift) = reference::layer_norm_backward(&shape, &x, &scale, &u);
        assert_gradient("input", |x| reference::layer_norm(&shape, x, &scale, &shift), &x, &u, &of_x);
        assert_gradient("scale", |scale| reference::layer_norm(&shape, &x, scale, &shift), &scale, &u, &of_scale);
        assert_gradient("shift", |shift| reference::layer_norm(&shape, &x, &scale, shift), &shift, &u, &of_shift);
        let expected = along(|x| reference::layer_norm(&shape, x, &scale, &shift), &x, &v);
        let found = reference::layer_norm_tangent(&shape, &x, &scale, &v);
        assert_close("layer_norm_tangent", &found, &expected, 20.0 * TOLERANCE);
    }

    #[test]
    fn slopes_of_gelu_and_geglu(
        z in prop::collection::vec(-8.0f64..8.0, 1..20),
        (rows, channels) in (1usize..=4, 1usize..=6),
        seed in any::<u32>(),
    ) {
        let seed = u64::from(seed);
        for form in [Gelu::Exact, Gelu::Tanh, Gelu::Quick] {
            let u = wide_values(seed, z.len());
            assert_gradient("gelu", |z| reference::gelu(form, z), &z, &u, &reference::gelu_times_slope(form, &z, &u));
        }
        let [x, v] = [1, 2].map(|number| wide_values(seed + number, 2 * rows * channels));
        let u = wide_values(seed + 3, rows * channels);
        let of_x = reference::geglu_backward(channels, &x, &u);
        assert_gradient("geglu", |x| reference::geglu(channels, x), &x, &u, &of_x);
        let expected = along(|x| reference::geglu(channels, x), &x, &v);
        let found = reference::geglu_tangent(channels, &x, &v);
        assert_close("geglu_tangent", &found, &expected, 20.0 * TOLERANCE);
    }

    #[test]
    fn silu_slope(z in prop::collection::vec(-20.0f64..20.0, 1..20), seed in any::<u32>()) {
        let u = wide_values(u64::from(seed), z.len());
        assert_gradient("silu", reference::silu, &z, &u, &reference::silu_times_slope(&z, &u));
    }

    /// Tangent and backward pass of the fast kernels belong to the same matrix.
    #[test]
    fn fast_kernels_are_adjoint(
        conv in conv_shapes(3, 6, 20),
        norm in norm_shapes(3, 12),
        heads in attention_shapes(2, 36),
        tokens in layer_norm_shapes(40),
        seed in any::<u32>(),
    ) {
        let seed = u64::from(seed);
        // The derivative of a convolution is the convolution without bias.
        let (inputs, weights, outputs) = conv_lengths(&conv);
        let (dx, w, u) = (values(seed, inputs), values(seed + 1, weights), values(seed + 2, outputs));
        let (mut forward, mut backward) = (vec![0.0; outputs], vec![0.0; inputs]);
        conv2d(&conv, &dx, &w, None, &mut forward);
        conv2d_backward_input(&conv, &u, &w, &mut backward);
        let mut of_weight = vec![0.0; weights];
        conv2d_backward_weight(&conv, &dx, &u, &mut of_weight);
        // Chains of at most 9 * 20 products, each rounding once.
        let roundings = 200.0 * EPSILON;
        let [wide_u, wide_forward] = [wide(&u), wide(&forward)];
        assert_adjoint("conv2d", [(&wide_u, &wide_forward), (&wide(&backward), &wide(&dx))], roundings);
        assert_adjoint("conv2d, weight", [(&wide_u, &wide_forward), (&wide(&of_weight), &wide(&w))], roundings);

        let norm = GroupNormShape { epsilon: 1e-2, ..norm };
        let length = norm.images * norm.pixels * norm.channels;
        let [x, dx, u] = [3, 4, 5].map(|number| values(seed + number, length));
        let (scale, shift) = (values(seed + 6, norm.channels), values(seed + 7, norm.channels));
        let (mut y, mut statistics) = (vec![0.0; length], vec![0.0; norm.statistics_length()]);
        group_norm(&norm, &x, &scale, &shift, &mut y, &mut statistics);
        let mut forward = vec![0.0; length];
        group_norm_tangent(&norm, &x, &scale, &shift, &statistics, &dx, &mut forward);
        let (mut backward, mut first, mut second) = (vec![0.0; length], scale.clone(), shift.clone());
        group_norm_backward(&norm, &x, &scale, &shift, &statistics, &u, &mut backward, &mut first, &mut second);
        // The deviation is at least 0.1 and |x| at most 1.5: terms cancel to one part in 15 * 15.
        let roundings = 225.0 * 30.0 * EPSILON;
        // In a group of one value the derivative is zero, and what is left of it are roundings of scale * dx / deviation: about
        // four in each direction.
        let largest_scale = scale.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let cancelled = 8.0 * EPSILON * magnitude(&wide(&u), &wide(&dx)) * f64::from(largest_scale) / 0.1;
        let pairs = [(&wide(&u)[..], &wide(&forward)[..]), (&wide(&backward), &wide(&dx))];
        assert_adjoint_but_for("group_norm", pairs, roundings, cancelled);

        let [of_queries, of_keys] = attention_lengths(&heads);
        let [q, dq, u] = [8, 11, 14].map(|number| values(seed + number, of_queries));
        let [k, v, dk, dv] = [9, 10, 12, 13].map(|number| values(seed + number, of_keys));
        let mut forward = vec![0.0; of_queries];
        attention_tangent(&heads, &q, &k, &v, &dq, &dk, &dv, &mut forward);
        let mut of_q = vec![0.0; of_queries];
        let [mut of_k, mut of_v] = [0; 2].map(|_| vec![0.0; of_keys]);
        attention_backward(&heads, &q, &k, &v, &u, &mut of_q, &mut of_k, &mut of_v);
        let mut of_queries_alone = vec![0.0; of_queries];
        attention_query_tangent(&heads, &q, &k, &v, &dq, &mut of_queries_alone);
        // Scores of up to 35 products of the size 2.25.
        let pairs = [(&wide(&u)[..], &wide(&of_queries_alone)[..]), (&wide(&of_q), &wide(&dq))];
        assert_adjoint("attention, queries", pairs, 500.0 * EPSILON);
        let backward = wide(&[of_q, of_k, of_v].concat());
        let direction = wide(&[dq, dk, dv].concat());
        assert_adjoint("attention", [(&wide(&u), &wide(&forward)), (&backward, &direction)], 500.0 * EPSILON);

        // As for group normalisations; a token of one channel is a group of one value.
        let tokens = LayerNormShape { epsilon: 1e-2, ..tokens };
        let length = tokens.tokens * tokens.channels;
        let [x, dx, u] = [15, 16, 17].map(|number| values(seed + number, length));
        let scale = values(seed + 18, tokens.channels);
        let mut forward = vec![0.0; length];
        layer_norm_tangent(&tokens, &x, &scale, &dx, &mut forward);
        let (mut backward, mut first, mut second) = (vec![0.0; length], scale.clone(), scale.clone());
        layer_norm_backward(&tokens, &x, &scale, &u, &mut backward, &mut first, &mut second);
        let largest_scale = scale.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let cancelled = 8.0 * EPSILON * magnitude(&wide(&u), &wide(&dx)) * f64::from(largest_scale) / 0.1;
        let pairs = [(&wide(&u)[..], &wide(&forward)[..]), (&wide(&backward), &wide(&dx))];
        assert_adjoint_but_for("layer_norm", pairs, 225.0 * 30.0 * EPSILON, cancelled);

        // The tokens as rows of values and gates.
        let channels = tokens.channels;
        let [x, dx] = [19, 20].map(|number| values(seed + number, 2 * length));
        geglu_tangent(channels, &x, &dx, &mut forward);
        let mut backward = vec![0.0; 2 * length];
        geglu_backward(channels, &x, &u, &mut backward);
        let pairs = [(&wide(&u)[..], &wide(&forward)[..]), (&wide(&backward), &wide(&dx))];
        // Sums of two products of three factors each.
        assert_adjoint("geglu", pairs, 8.0 * EPSILON);
    }

    /// The transposed upsampling is the transpose.
    #[test]
    fn upsampling_is_adjoint((images, height, width, channels) in (1usize..4, 1usize..5, 1usize..5, 1usize..9)) {
        let (x, u) = (wide_values(1, images * height * width * channels), wide_values(2, 4 * images * height * width * channels));
        let (mut up, mut down) = (vec![0.0; u.len()], vec![0.0; x.len()]);
        upsample_nearest(width, channels, &x, &mut up);
        upsample_nearest_backward(width, channels, &u, &mut down);
        assert_adjoint("upsample_nearest", [(&u, &up), (&down, &x)], 1e-14);
    }
}
