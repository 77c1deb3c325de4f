//! Every fast kernel against the plain loops in `f64`, over random shapes.

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

/// Error bound of a chain of `length` fused multiply-adds whose terms have the absolute values that sum up to
/// `magnitude`: each step rounds once, so the error is at most `length / 2 * EPSILON * magnitude` (Higham, Accuracy and
/// Stability of Numerical Algorithms, 2002, section 3.1). It is a bound, not a guess: nothing is tuned.
fn chain_bounds(length: usize, magnitudes: &[f64]) -> Vec<f64> {
    magnitudes.iter().map(|magnitude| (length + 1) as f64 * 0.5 * EPSILON * magnitude).collect()
}

fn absolute(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value).abs()).collect()
}

/// The weight of the backward pass: taps mirrored, channels exchanged.
fn mirrored(shape: &ConvShape, weight: &[f64]) -> Vec<f64> {
    let (depth, columns) = (shape.input_channels, shape.output_channels);
    (0..weight.len())
        .map(|at| {
            let (tap, k, column) = (at / (depth * columns), at / depth % columns, at % depth);
            weight[((8 - tap) * depth + column) * columns + k]
        })
        .collect()
}

fn check_convolution(shape: &ConvShape, seed: u64) {
    let (inputs, weights, outputs) = conv_lengths(shape);
    let (x, w, d) = (values(seed, inputs), values(seed + 1, weights), values(seed + 2, outputs));
    let bias = values(seed + 3, shape.output_channels);
    let taps = shape.geometry.kernel * shape.geometry.kernel;
    let (x_abs, w_abs, d_abs, bias_abs) = (absolute(&x), absolute(&w), absolute(&d), absolute(&bias));

    // Transforms of Winograd's algorithm: at most three roundings in each of two directions for input and output, six
    // for the weight with its constants; then the chain over channels or tiles, and what is added.
    const OF_TRANSFORMS: usize = 2 * (3 + 3 + 6);
    let (largest_output, largest_gradient) = if winograd::possible(shape) {
        winograd::largest_sums(shape, &wide(&x), &wide(&w), &wide(&d))
    } else {
        (0.0, 0.0)
    };
    let transformed = |chain: usize, sum: f64| (chain + OF_TRANSFORMS + 3) as f64 * 0.5 * EPSILON * sum;
    let allowed = |bounds: Vec<f64>, transformed: f64| -> Vec<f64> {
        bounds.into_iter().map(|bound| bound.max(transformed)).collect()
    };
    let output_allowance = transformed(shape.input_channels, largest_output);

    // What is added beside the bias: one value per image and channel, or one per output.
    let wide_embedding = values(seed + 4, shape.images * shape.output_channels);
    for embedding in [&wide_embedding[..shape.output_channels], &wide_embedding] {
        let residual = values(seed + 5, outputs);
        let addends =
            ConvAddends { bias: Some(&bias), embedding: Some(embedding), residual: Some(&residual) };
        let mut output = vec![f32::NAN; outputs];
        conv2d_with(shape, &x, &w, &addends, &mut output);
        let sum = |[x, w, bias, embedding, residual]: [&[f64]; 5]| {
            let addends =
                ConvAddends { bias: Some(bias), embedding: Some(embedding), residual: Some(residual) };
            reference::conv2d_with(shape, x, w, &addends)
        };
        let truth = sum([&wide(&x), &wide(&w), &wide(&bias), &wide(embedding), &wide(&residual)]);
        let magnitudes = sum([&x_abs, &w_abs, &bias_abs, &absolute(embedding), &absolute(&residual)]);
        let bounds = chain_bounds(taps * shape.input_channels + 3, &magnitudes);
        // Bias, embedding and residual are at most 1.5 each.
        let bounds = allowed(bounds, output_allowance + 3.0 * EPSILON * 4.5);
        assert_each_within("conv2d_with", &output, &truth, &bounds);
    }

    // One product per tap and channel, after the bias.
    let depth = taps * shape.input_channels + 1;
    for with_bias in [true, false] {
        let mut output = vec![f32::NAN; outputs];
        conv2d(shape, &x, &w, with_bias.then_some(&bias), &mut output);
        let wide_bias = wide(&bias);
        let truth = reference::conv2d(shape, &wide(&x), &wide(&w), with_bias.then_some(&wide_bias));
        let magnitudes = reference::conv2d(shape, &x_abs, &w_abs, with_bias.then_some(&bias_abs));
        let bounds = allowed(chain_bounds(depth, &magnitudes), output_allowance);
        assert_each_within("conv2d", &output, &truth, &bounds);
    }

    let mut gradient = vec![f32::NAN; inputs];
    conv2d_backward_input(shape, &d, &w, &mut gradient);
    let truth = reference::conv2d_backward_input(shape, &wide(&d), &wide(&w));
    let magnitudes = reference::conv2d_backward_input(shape, &d_abs, &w_abs);
    let backward_allowance = if winograd::possible(shape) {
        let back = [shape.images, shape.height, shape.width, shape.output_channels];
        let back = ConvShape::new(back, shape.input_channels, shape.geometry).unwrap();
        let (largest, _) = winograd::largest_sums(&back, &wide(&d), &mirrored(shape, &wide(&w)), &wide(&x));
        transformed(shape.output_channels, largest)
    } else {
        0.0
    };
    let bounds = allowed(chain_bounds(taps * shape.output_channels, &magnitudes), backward_allowance);
    assert_each_within("conv2d_backward_input", &gradient, &truth, &bounds);

    // One product per output pixel of an image, then one addition per image, and the eight chunks of images.
    let mut gradient = vec![f32::NAN; weights];
    conv2d_backward_weight(shape, &x, &d, &mut gradient);
    let truth = reference::conv2d_backward_weight(shape, &wide(&x), &wide(&d));
    let magnitudes = reference::conv2d_backward_weight(shape, &x_abs, &d_abs);
    let rows = shape.output_height() * shape.output_width() + shape.images + 8;
    let bounds = allowed(chain_bounds(rows, &magnitudes), transformed(rows, largest_gradient));
    assert_each_within("conv2d_backward_weight", &gradient, &truth, &bounds);

    let mut gradient = vec![f32::NAN; shape.output_channels];
    bias_backward(shape.images, &d, &mut gradient);
    let truth = reference::bias_backward(shape.output_channels, &wide(&d));
    let magnitudes = reference::bias_backward(shape.output_channels, &d_abs);
    assert_each_within("bias_backward", &gradient, &truth, &chain_bounds(rows, &magnitudes));
}

/// What the errors of a group normalisation grow with.
struct NormConditions {
    /// Largest `1 / sqrt(variance + epsilon)`.
    inverse: f64,
    /// Largest `|x| / sqrt(variance + epsilon)`: how much the mean cancels.
    cancellation: f64,
    scale: f64,
}

fn norm_conditions(shape: &GroupNormShape, input: &[f64], scale: &[f64]) -> NormConditions {
    // With scale one, shift zero and no SiLU, `x_hat` of two values of a group gives the group's deviation back; here
    // it is simpler to take it from its definition.
    let per_group = shape.channels / shape.groups;
    let mut inverse = 0.0f64;
    for image in input.chunks_exact(shape.pixels * shape.channels) {
        for group in 0..shape.groups {
            let members: Vec<f64> = (image.chunks_exact(shape.channels))
                .flat_map(|pixel| pixel[group * per_group..(group + 1) * per_group].iter().copied())
                .collect();
            let mean = members.iter().sum::<f64>() / members.len() as f64;
            let variance =
                members.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / members.len() as f64;
            inverse = inverse.max(1.0 / (variance + shape.epsilon).sqrt());
        }
    }
    NormConditions { inverse, cancellation: largest(input) * inverse, scale: largest(scale) }
}

/// Sums over pixels are plain chains, which may lose one unit in the last place per pixel; about 16 more operations
/// follow. Both count against the largest terms, which for a group of almost equal values are far larger than what is
/// left of them.
fn check_group_norm(shape: &GroupNormShape, tangents: usize, offset: f32, seed: u64) {
    let length = shape.images * shape.pixels * shape.channels;
    let x: Vec<f32> = values(seed, length).into_iter().map(|x| x + offset).collect();
    let (scale, shift) = (values(seed + 1, shape.channels), values(seed + 2, shape.channels));
    let (wide_x, wide_scale, wide_shift) = (wide(&x), wide(&scale), wide(&shift));
    let conditions = norm_conditions(shape, &wide_x, &wide_scale);
    let roundings = (shape.pixels + 16) as f64 * EPSILON;
    let z_error = roundings * (conditions.cancellation * conditions.scale + largest(&wide_shift));

    let (mut output, mut statistics) = (vec![f32::NAN; length], vec![f32::NAN; shape.statistics_length()]);
    group_norm(shape, &x, &scale, &shift, &mut output, &mut statistics);
    let truth = reference::group_norm(shape, &wide_x, &wide_scale, &wide_shift);
    // SiLU's slope is at most 1.1.
    assert_within("group_norm", &output, &truth, 1.1 * z_error);

    // A derivative has terms of the size `scale / deviation * (1 + x_hat^2) * direction`; SiLU's slope at a z that is
    // wrong by `z_error` is wrong by half of it.
    let direction_error = |direction: &[f64]| {
        let terms = conditions.inverse * conditions.scale * largest(direction);
        3.0 * terms
            * (roundings * (1.0 + conditions.cancellation) * (1.0 + conditions.cancellation) + z_error)
    };

    let d = values(seed + 3, length);
    let mut of_input = vec![f32::NAN; length];
    let (mut of_scale, mut of_shift) = (vec![f32::NAN; shape.channels], vec![f32::NAN; shape.channels]);
    group_norm_backward(
        shape,
        &x,
        &scale,
        &shift,
        &statistics,
        &d,
        &mut of_input,
        &mut of_scale,
        &mut of_shift,
    );
    let (true_input, true_scale, true_shift) =
        reference::group_norm_backward(shape, &wide_x, &wide_scale, &wide_shift, &wide(&d));
    assert_within("group norm's input gradient", &of_input, &true_input, direction_error(&wide(&d)));
    let summed = (shape.images * shape.pixels) as f64 * largest(&wide(&d));
    let x_hat_error = roundings * (1.0 + conditions.cancellation) + 0.5 * z_error;
    assert_within("group norm's scale gradient", &of_scale, &true_scale, 3.0 * summed * x_hat_error);
    assert_within(
        "group norm's shift gradient",
        &of_shift,
        &true_shift,
        summed * (2.0 * roundings + z_error),
    );

    let u = values(seed + 4, tangents * length);
    let mut along = vec![f32::NAN; u.len()];
    group_norm_tangent(shape, &x, &scale, &shift, &statistics, &u, &mut along);
    let truth = reference::group_norm_tangent(shape, &wide_x, &wide_scale, &wide_shift, &wide(&u));
    assert_within("group_norm_tangent", &along, &truth, direction_error(&wide(&u)));
}

/// Errors of an attention, from those of its parts. A score is a chain of `depth` products, a weight is wrong by twice
/// the error of a score (relative to itself), and every further sum over `n` terms adds `n` half units.
fn check_attention(shape: &AttentionShape, tangents: usize, seed: u64) {
    check_attention_of_size(1.0, shape, tangents, seed);
}

/// The same with queries and keys that are `size` times as large.
fn check_attention_of_size(size: f32, shape: &AttentionShape, tangents: usize, seed: u64) {
    let [of_queries, of_keys] = attention_lengths(shape);
    let [mut q, d] = [0, 3].map(|number| values(seed + number, of_queries));
    let [mut k, v] = [1, 2].map(|number| values(seed + number, of_keys));
    for value in q.iter_mut().chain(&mut k) {
        *value *= size;
    }
    let [wq, wk, wv, wd] = [&q, &k, &v, &d].map(|values| wide(values));
    let (depth, keys) = ((shape.channels / shape.heads) as f64, shape.keys as f64);
    let root = depth.sqrt();
    let largest_score = root * largest(&wq) * largest(&wk);
    let weight_error = EPSILON * ((depth + 4.0) * largest_score + keys + 8.0);

    let mut output = vec![f32::NAN; of_queries];
    attention(shape, &q, &k, &v, &mut output);
    let truth = reference::attention(shape, &wq, &wk, &wv);
    assert_within("attention", &output, &truth, largest(&wv) * (weight_error + keys * EPSILON));

    let mut of_q = vec![f32::NAN; of_queries];
    let [mut of_k, mut of_v] = [0; 2].map(|_| vec![f32::NAN; of_keys]);
    attention_backward(shape, &q, &k, &v, &d, &mut of_q, &mut of_k, &mut of_v);
    let (true_q, true_k, true_v) = reference::attention_backward(shape, &wq, &wk, &wv, &wd);
    // The derivative of the scores is `weight * (product - mean)` with products of `depth` terms.
    let product = depth * largest(&wd) * largest(&wv);
    let score_error = 2.0 * product * (2.0 * weight_error + (depth + 2.0 * keys) * EPSILON) / root;
    assert_within("attention's query gradient", &of_q, &true_q, score_error * largest(&wk));
    // A key's weights, unlike a query's, need not add up to one, and are as many as there are queries.
    let queries = shape.queries as f64;
    let over_queries = 1.0 + queries * EPSILON;
    let key_error = queries * over_queries * score_error * largest(&wq);
    assert_within("attention's key gradient", &of_k, &true_k, key_error);
    let value_error = queries * largest(&wd) * (weight_error + queries.max(keys) * EPSILON);
    assert_within("attention's value gradient", &of_v, &true_v, value_error);

    let dq = values(seed + 5, tangents * of_queries);
    let [dk, dv] = [6, 7].map(|number| values(seed + number, tangents * of_keys));
    let [wdq, wdk, wdv] = [&dq, &dk, &dv].map(|values| wide(values));
    let mut along = vec![f32::NAN; tangents * of_queries];
    attention_tangent(shape, &q, &k, &v, &dq, &dk, &dv, &mut along);
    let truth = reference::attention_tangent(shape, &wq, &wk, &wv, &wdq, &wdk, &wdv);
    let product = depth * (largest(&wdq) * largest(&wk) + largest(&wq) * largest(&wdk));
    let score_error = 2.0 * product * (2.0 * weight_error + (depth + 2.0 * keys) * EPSILON) / root;
    let tolerance = score_error * largest(&wv) + largest(&wdv) * (weight_error + keys * EPSILON);
    assert_within("attention_tangent", &along, &truth, tolerance);
    attention_query_tangent(shape, &q, &k, &v, &dq, &mut along);
    let truth = reference::attention_query_tangent(shape, &wq, &wk, &wv, &wdq);
    assert_within("attention_query_tangent", &along, &truth, score_error * largest(&wv));
}

/// Sums over channels are at most `channels / 32 + 5` roundings deep, and some eight more operations follow. Both count
/// against the largest terms, as for group normalisations.
fn check_layer_norm(shape: &LayerNormShape, offset: f32, seed: u64) {
    let length = shape.tokens * shape.channels;
    let x: Vec<f32> = values(seed, length).into_iter().map(|x| x + offset).collect();
    let (scale, shift) = (values(seed + 1, shape.channels), values(seed + 2, shape.channels));
    let (wide_x, wide_scale, wide_shift) = (wide(&x), wide(&scale), wide(&shift));
    // A token is a pixel of its own image with one group.
    let as_groups = GroupNormShape {
        images: shape.tokens,
        pixels: 1,
        channels: shape.channels,
        groups: 1,
        epsilon: shape.epsilon,
        silu: false,
    };
    let conditions = norm_conditions(&as_groups, &wide_x, &wide_scale);
    let roundings = (shape.channels as f64 / 32.0 + 16.0) * EPSILON;

    let mut output = vec![f32::NAN; length];
    layer_norm(shape, &x, &scale, &shift, &mut output);
    let truth = reference::layer_norm(shape, &wide_x, &wide_scale, &wide_shift);
    let error = roundings * (conditions.cancellation * conditions.scale + largest(&wide_shift));
    assert_within("layer_norm", &output, &truth, error);

    let spread = 1.0 + conditions.cancellation;
    let direction_error = |direction: &[f64]| {
        3.0 * conditions.inverse * conditions.scale * largest(direction) * roundings * spread * spread
    };
    let d = values(seed + 3, length);
    let mut of_input = vec![f32::NAN; length];
    let [mut of_scale, mut of_shift] = [0; 2].map(|_| vec![f32::NAN; shape.channels]);
    layer_norm_backward(shape, &x, &scale, &d, &mut of_input, &mut of_scale, &mut of_shift);
    let (true_input, true_scale, true_shift) =
        reference::layer_norm_backward(shape, &wide_x, &wide_scale, &wide(&d));
    assert_within("layer norm's input gradient", &of_input, &true_input, direction_error(&wide(&d)));
    let tokens = shape.tokens as f64;
    let summed = tokens * largest(&wide(&d));
    let scale_error = summed * spread * (3.0 * roundings + tokens * EPSILON);
    assert_within("layer norm's scale gradient", &of_scale, &true_scale, scale_error);
    assert_within("layer norm's shift gradient", &of_shift, &true_shift, summed * tokens * EPSILON);

    let u = values(seed + 4, length);
    let mut along = vec![f32::NAN; length];
    layer_norm_tangent(shape, &x, &scale, &u, &mut along);
    let truth = reference::layer_norm_tangent(shape, &wide_x, &wide_scale, &wide(&u));
    assert_within("layer_norm_tangent", &along, &truth, direction_error(&wide(&u)));
}

/// What a form of GELU and its slope may be off by at z. The exact weight is a product of an exponential, good to two units
/// in the last place at an exponent that is itself rounded, and of a polynomial of ten terms that add up to at most 2.3 times
/// its value; the others are sigmoids of a rounded argument.
fn gelu_error(form: Gelu, z: f64) -> [f64; 2] {
    let exponent = match form {
        Gelu::Exact => 0.5 * z * z,
        Gelu::Tanh => 1.6 * z.abs() * (1.0 + 0.0447 * z * z),
        Gelu::Quick => 1.702 * z.abs(),
    };
    // The weight of negative z, and what is not weighed of positive z, fall like this.
    let fall = libm::exp(-exponent);
    let relative = EPSILON * (8.0 + 2.0 * exponent);
    let weight = relative * fall + if z > 0.0 { 2.0 * EPSILON } else { 0.0 };
    // The slope of the exact weight falls as fast. A sigmoid s has s (1 - s), where what is left of 1 is rounded like 1.
    let of_weight = relative * fall + if z > 0.0 && form != Gelu::Exact { EPSILON } else { 0.0 };
    let steepness = exponent / z.abs().max(1e-3) + 2.0;
    let slope = weight + 2.0 * steepness * z.abs() * of_weight;
    // Of weight and slope the sum is rounded, and then its product with a direction.
    // At e^-87 the exponential ends.
    [z.abs() * (weight + 1e-37), slope + 2.0 * EPSILON]
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn wide_convolutions(shape in wide_conv_shapes(13, 9, 50), seed in any::<u32>()) {
        check_convolution(&shape, u64::from(seed));
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn convolutions(shape in conv_shapes(5, 7, 40), seed in any::<u32>()) {
        check_convolution(&shape, u64::from(seed));
    }

    #[test]
    fn concatenation_and_split(
        pixels in 1usize..3000, channels in 1usize..9, more in 1usize..9, seed in any::<u32>(),
    ) {
        let (first, second) = (values(u64::from(seed), pixels * channels), values(7, pixels * more));
        let mut both = vec![f32::NAN; pixels * (channels + more)];
        concatenate(channels, more, &first, &second, &mut both);
        for (pixel, row) in both.chunks_exact(channels + more).enumerate() {
            prop_assert_eq!(&row[..channels], &first[pixel * channels..][..channels]);
            prop_assert_eq!(&row[channels..], &second[pixel * more..][..more]);
        }
        let (mut head, mut tail) = (vec![f32::NAN; first.len()], vec![f32::NAN; second.len()]);
        split(channels, more, &both, &mut head, &mut tail);
        prop_assert_eq!((head, tail), (first, second));
    }

    #[test]
    fn group_norms(
        shape in norm_shapes(5, 30),
        tangents in 1usize..=3,
        offset in prop::sample::select(vec![0.0f32, 0.0, 5.0, -40.0]),
        seed in any::<u32>(),
    ) {
        check_group_norm(&shape, tangents, offset, u64::from(seed));
    }

    #[test]
    fn attentions(shape in attention_shapes(4, 36), tangents in 1usize..=3, seed in any::<u32>()) {
        check_attention(&shape, tangents, u64::from(seed));
    }

    #[test]
    fn layer_norms(
        shape in layer_norm_shapes(100),
        offset in prop::sample::select(vec![0.0f32, 0.0, 5.0, -40.0]),
        seed in any::<u32>(),
    ) {
        check_layer_norm(&shape, offset, u64::from(seed));
    }

    #[test]
    fn gelus_and_their_slopes(
        z in prop::collection::vec(prop_oneof![-6.0f32..6.0, -30.0f32..30.0], 1..70),
        form in prop::sample::select(vec![Gelu::Exact, Gelu::Tanh, Gelu::Quick]),
        seed in any::<u32>(),
    ) {
        let d = values(u64::from(seed), z.len());
        let [mut output, mut along] = [0; 2].map(|_| vec![f32::NAN; z.len()]);
        gelu(form, &z, &mut output);
        gelu_times_slope(form, &z, &d, &mut along);
        let errors = z.iter().map(|&z| gelu_error(form, f64::from(z)));
        let (of_values, of_slopes): (Vec<f64>, Vec<f64>) =
            errors.zip(&d).map(|([value, slope], d)| (value, slope * f64::from(d.abs()))).unzip();
        assert_each_within("gelu", &output, &reference::gelu(form, &wide(&z)), &of_values);
        let truth = reference::gelu_times_slope(form, &wide(&z), &wide(&d));
        assert_each_within("gelu_times_slope", &along, &truth, &of_slopes);
    }

    /// GEGLU is products of two and three of what is checked above: two more roundings for each.
    #[test]
    fn geglus((rows, channels) in (1usize..50, 1usize..70), seed in any::<u32>()) {
        let seed = u64::from(seed);
        let length = rows * channels;
        let [x, u] = [0, 1].map(|number| {
            values(seed + number, 2 * length).into_iter().map(|value| 3.0 * value).collect::<Vec<f32>>()
        });
        let d = values(seed + 2, length);
        let [mut y, mut along] = [0; 2].map(|_| vec![f32::NAN; length]);
        let mut gradient = vec![f32::NAN; 2 * length];
        geglu(channels, &x, &mut y);
        geglu_backward(channels, &x, &d, &mut gradient);
        geglu_tangent(channels, &x, &u, &mut along);
        // Values and gates are below 4.5, a slope below 1.2; the errors of GELU and its slope are largest in the middle.
        let [of_value, of_slope] = [0, 1].map(|which| {
            (-450..=450).map(|at| gelu_error(Gelu::Exact, f64::from(at) / 100.0)[which]).fold(0.0, f64::max)
        });
        let of_value = of_value + 2.0 * EPSILON * 4.5;
        let of_slope = of_slope + 2.0 * EPSILON * 1.2;
        assert_within("geglu", &y, &reference::geglu(channels, &wide(&x)), 4.5 * of_value);
        let truth = reference::geglu_backward(channels, &wide(&x), &wide(&d));
        assert_within("geglu_backward", &gradient, &truth, 1.5 * (4.5 * of_slope).max(of_value));
        let truth = reference::geglu_tangent(channels, &wide(&x), &wide(&u));
        assert_within("geglu_tangent", &along, &truth, 4.5 * (of_value + 4.5 * of_slope) + EPSILON * 4.5 * 10.0);
    }

    /// SiLU is `z / (1 + e^-z)` with an exponential good to two units in the last place: a few units in all.
    #[test]
    fn silu_and_its_slope(z in prop::collection::vec(-90.0f32..90.0, 1..70), seed in any::<u32>()) {
        let d = values(u64::from(seed), z.len());
        let (mut output, mut along) = (vec![f32::NAN; z.len()], vec![f32::NAN; z.len()]);
        silu(&z, &mut output);
        silu_times_slope(&z, &d, &mut along);
        let truth = reference::silu(&wide(&z));
        // Below the smallest normal number only an absolute error makes sense.
        let bounds: Vec<f64> = truth.iter().map(|y| 8.0 * EPSILON * y.abs() + 1e-36).collect();
        assert_each_within("silu", &output, &truth, &bounds);
        // The slope vanishes near z = -1.28, so its error is against its largest value.
        let truth = reference::silu_times_slope(&wide(&z), &wide(&d));
        let bounds: Vec<f64> = (z.iter().zip(&d))
            .map(|(&z, &d)| {
                let size = (1.0 + f64::from(z).abs()) * libm::exp(f64::from(z.min(0.0)));
                8.0 * EPSILON * f64::from(d).abs() * size.max(1e-30)
            })
            .collect();
        assert_each_within("silu_times_slope", &along, &truth, &bounds);
    }

    /// Copies are exact; a sum of four numbers rounds three times.
    #[test]
    fn upsampling(
        (images, height, width, channels) in (1usize..=4, 1usize..=6, 1usize..=6, 1usize..=20),
        seed in any::<u32>(),
    ) {
        let x = values(u64::from(seed), images * height * width * channels);
        let at = |image: usize, y: usize, x: usize, c: usize, height: usize, width: usize| {
            ((image * height + y) * width + x) * channels + c
        };
        let mut up = vec![f32::NAN; 4 * x.len()];
        upsample_nearest(width, channels, &x, &mut up);
        let d = values(u64::from(seed) + 1, up.len());
        let mut down = vec![f32::NAN; x.len()];
        upsample_nearest_backward(width, channels, &d, &mut down);
        let mut sums = vec![0.0f64; x.len()];
        for image in 0..images {
            for row in 0..2 * height {
                for column in 0..2 * width {
                    for c in 0..channels {
                        let from = at(image, row / 2, column / 2, c, height, width);
                        let to = at(image, row, column, c, 2 * height, 2 * width);
                        prop_assert_eq!(up[to], x[from]);
                        sums[from] += f64::from(d[to]);
                    }
                }
            }
        }
        assert_within("upsample_nearest_backward", &down, &sums, 3.0 * EPSILON * 6.0);
    }
}

/// Widths of several panels with a rest, more rows than a tile, and deep sums.
#[test]
fn convolutions_of_real_layers() {
    let cases = [
        ([1, 9, 9, 33], 70, ConvGeometry::SAME_3X3),
        ([2, 8, 8, 64], 96, ConvGeometry::POINTWISE),
        ([2, 8, 8, 48], 48, ConvGeometry { kernel: 3, stride: 2, padding_before: 1, padding_after: 1 }),
        ([2, 8, 8, 48], 48, ConvGeometry { kernel: 3, stride: 2, padding_before: 0, padding_after: 1 }),
        ([11, 1, 1, 40], 24, ConvGeometry::POINTWISE),
        // So many tiles that the gradient of the weight takes several groups of them.
        ([16, 28, 28, 32], 32, ConvGeometry::SAME_3X3),
        ([9, 28, 28, 1], 16, ConvGeometry::SAME_3X3),
        ([1, 14, 14, 16], 1, ConvGeometry::SAME_3X3),
        // Weights so large that rows are multiplied with one block of them after another: several of columns, several of depth, taps
        // that a whole tile lacks.
        ([3, 2, 9, 600], 500, ConvGeometry::POINTWISE),
        ([2, 3, 5, 1400], 200, ConvGeometry::POINTWISE),
        ([2, 1, 9, 1536], 177, ConvGeometry::POINTWISE),
        ([1, 2, 2, 190], 170, ConvGeometry::SAME_3X3),
        ([2, 4, 4, 200], 180, ConvGeometry { kernel: 3, stride: 2, padding_before: 1, padding_after: 1 }),
    ];
    for (seed, (input, output, geometry)) in cases.into_iter().enumerate() {
        check_convolution(&ConvShape::new(input, output, geometry).unwrap(), seed as u64);
    }
}

#[test]
fn attentions_of_real_layers() {
    let cases = [(49, 49, 64, 1), (196, 196, 32, 4), (64, 64, 40, 5), (256, 77, 80, 2), (16, 77, 160, 2)];
    for (seed, (queries, keys, channels, heads)) in cases.into_iter().enumerate() {
        let shape = AttentionShape { images: 1, queries, keys, channels, heads };
        check_attention(&shape.checked().unwrap(), 2, seed as u64);
    }
}

/// Around the lengths of vectors, blocks of queries and tiles of keys and channels.
#[test]
fn attentions_at_the_borders_of_vectors() {
    for tokens in [1, 2, 13, 14, 15, 16, 17, 28, 29, 31, 32, 33, 48, 49, 65] {
        for head_channels in [1, 3, 7, 8, 9, 15, 16, 17, 24, 40] {
            for heads in [1, 3] {
                for keys in [tokens, 1, 77 - tokens] {
                    let channels = heads * head_channels;
                    let shape = AttentionShape { images: 2, queries: tokens, keys, channels, heads };
                    check_attention(&shape.checked().unwrap(), 3, (tokens * 100 + head_channels) as u64);
                }
            }
        }
    }
}

/// Scores between -10,000 and 10,000, where `exp` of a score itself would overflow.
#[test]
fn attentions_with_large_scores() {
    for (tokens, head_channels, heads) in [(1, 8, 1), (15, 1, 2), (33, 8, 2), (49, 24, 1)] {
        let channels = heads * head_channels;
        let shape = AttentionShape { images: 1, queries: tokens, keys: tokens, channels, heads };
        // The largest score is about `sqrt(channels) * (1.5 * size)^2`.
        let size = (1e4 / (head_channels as f32).sqrt()).sqrt() / 1.5;
        check_attention_of_size(size, &shape.checked().unwrap(), 2, tokens as u64);
    }
}

/// A group of equal values has no variance: its output is the shift, and nothing divides by zero.
#[test]
fn a_constant_image_normalises_to_the_shift() {
    let shape = GroupNormShape { images: 2, pixels: 9, channels: 6, groups: 2, epsilon: 1e-5, silu: false };
    let x = vec![0.75f32; 2 * 9 * 6];
    let (scale, shift) = (values(1, 6), values(2, 6));
    let (mut output, mut statistics) = (vec![f32::NAN; x.len()], vec![f32::NAN; shape.statistics_length()]);
    group_norm(&shape, &x, &scale, &shift, &mut output, &mut statistics);
    let truth: Vec<f64> = wide(&shift).into_iter().cycle().take(x.len()).collect();
    // 0.75 is a short binary number, so the mean is exact; what is left is one rounding of `shift - a * mean`, whose
    // terms are at most 1.5 * 316 * 0.75.
    assert_within("group norm of a constant", &output, &truth, 0.5 * EPSILON * 1.5 * 316.3 * 0.75 + EPSILON);
}

/// A token of equal values has no variance: its output is the shift.
#[test]
fn a_constant_token_normalises_to_the_shift() {
    let shape = LayerNormShape { tokens: 3, channels: 37, epsilon: 1e-5 };
    let (scale, shift) = (values(1, 37), values(2, 37));
    let mut output = vec![f32::NAN; 3 * 37];
    layer_norm(&shape, &[0.75; 3 * 37], &scale, &shift, &mut output);
    for token in output.chunks_exact(37) {
        assert_eq!(token, shift);
    }
}

/// Far from zero GELU is the identity or zero, and nothing overflows on the way.
#[test]
fn gelus_of_large_values() {
    for form in [Gelu::Exact, Gelu::Tanh, Gelu::Quick] {
        let z = [100.0f32, 1e4, 1e10, -100.0, -1e4];
        let [mut output, mut slope] = [[f32::NAN; 5]; 2];
        gelu(form, &z, &mut output);
        gelu_times_slope(form, &z, &[1.0; 5], &mut slope);
        assert_eq!(output[..3], z[..3], "{form:?}");
        assert!(output[3..].iter().all(|y| y.abs() < 1e-30), "{form:?}: {output:?}");
        assert!(
            slope.iter().zip([1.0, 1.0, 1.0, 0.0, 0.0]).all(|(s, one)| (s - one).abs() < 1e-10),
            "{slope:?}"
        );
        gelu(form, &[f32::NAN; 5], &mut output);
        assert!(output.iter().all(|y| y.is_nan()), "{form:?} hides what is no number");
    }
}

/// Scores far apart: softmax becomes a choice, without overflow.
#[test]
fn an_attention_with_huge_scores_chooses() {
    let shape = AttentionShape { images: 1, queries: 3, keys: 3, channels: 2, heads: 1 }.checked().unwrap();
    let q = [1e6f32, 0.0, 0.0, 1e6, -1e6, 0.0];
    let k = [1e6f32, 0.0, 0.0, 1e6, -1e6, 0.0];
    let v = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let mut output = [f32::NAN; 6];
    attention(&shape, &q, &k, &v, &mut output);
    assert_eq!(output, v);
}
