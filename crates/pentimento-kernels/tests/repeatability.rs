//! The same bytes on every instruction set, for every number of threads and for every cut into batches.

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

/// Runs in a thread pool of its own.
fn with_threads<R: Send>(threads: usize, run: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

/// The results of one kernel, as bits: zero and minus zero differ, and a NaN equals itself.
type Bits = Vec<(&'static str, Vec<u32>)>;

#[track_caller]
fn assert_same(case: &str, left: &[(&str, Vec<u32>)], right: &[(&str, Vec<u32>)]) {
    for ((what, left), (_, right)) in left.iter().zip(right) {
        assert_eq!(left.len(), right.len(), "{case}, {what}: number of values");
        if let Some(place) = (0..left.len()).find(|&place| left[place] != right[place]) {
            let [a, b] = [left, right].map(|bits| f32::from_bits(bits[place]));
            panic!("{case}, {what}[{place}]: {a:e} and {b:e}");
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Values with what may go astray: both zeros, and products that vanish.
fn awkward_values(seed: u64, length: usize) -> Vec<f32> {
    let odd = [0.0, -0.0, 1e-30, -1e-30, 0.0, 1e-44];
    let mut made = values(seed, length);
    for (place, value) in made.iter_mut().enumerate() {
        if (place as u64 + seed).is_multiple_of(3) {
            *value = odd[(place + seed as usize) / 3 % odd.len()];
        }
    }
    made
}

fn convolution(shape: &ConvShape, seed: u64) -> Bits {
    let (inputs, weights, outputs) = conv_lengths(shape);
    let (x, w, d) =
        (awkward_values(seed, inputs), awkward_values(seed + 1, weights), awkward_values(seed + 2, outputs));
    let bias = awkward_values(seed + 3, shape.output_channels);
    let [mut y, mut plain] = [0; 2].map(|_| vec![f32::NAN; outputs]);
    let (mut of_x, mut of_w) = (vec![f32::NAN; inputs], vec![f32::NAN; weights]);
    let mut of_bias = vec![f32::NAN; shape.output_channels];
    conv2d(shape, &x, &w, Some(&bias), &mut y);
    conv2d(shape, &x, &w, None, &mut plain);
    conv2d_backward_input(shape, &d, &w, &mut of_x);
    conv2d_backward_weight(shape, &x, &d, &mut of_w);
    bias_backward(shape.images, &d, &mut of_bias);
    vec![
        ("conv2d", bits(&y)),
        ("conv2d without bias", bits(&plain)),
        ("conv2d_backward_input", bits(&of_x)),
        ("conv2d_backward_weight", bits(&of_w)),
        ("bias_backward", bits(&of_bias)),
    ]
}

/// The images `range` of `[images, ...]`.
fn cut<T>(all: &[T], images: usize, range: std::ops::Range<usize>) -> &[T] {
    let length = all.len() / images;
    &all[range.start * length..range.end * length]
}

fn group_normalisation(
    shape: &GroupNormShape,
    tangents: usize,
    seed: u64,
    range: std::ops::Range<usize>,
) -> Bits {
    let length = shape.images * shape.pixels * shape.channels;
    let (x, d, u) = (values(seed, length), values(seed + 1, length), values(seed + 2, tangents * length));
    let (scale, shift) = (values(seed + 3, shape.channels), values(seed + 4, shape.channels));
    let [x, d, u] = [&x, &d, &u].map(|all| cut(all, shape.images, range.clone()));
    let shape = &GroupNormShape { images: range.len(), ..*shape };
    let (mut y, mut statistics) = (vec![f32::NAN; x.len()], vec![f32::NAN; shape.statistics_length()]);
    group_norm(shape, x, &scale, &shift, &mut y, &mut statistics);
    let mut of_x = vec![f32::NAN; x.len()];
    let [mut of_scale, mut of_shift] = [0; 2].map(|_| vec![f32::NAN; shape.channels]);
    group_norm_backward(shape, x, &scale, &shift, &statistics, d, &mut of_x, &mut of_scale, &mut of_shift);
    let mut along = vec![f32::NAN; u.len()];
    group_norm_tangent(shape, x, &scale, &shift, &statistics, u, &mut along);
    vec![
        ("group_norm", bits(&y)),
        ("statistics", bits(&statistics)),
        ("input gradient", bits(&of_x)),
        ("group_norm_tangent", bits(&along)),
        ("scale gradient", bits(&of_scale)),
        ("shift gradient", bits(&of_shift)),
    ]
}

fn attentions(shape: &AttentionShape, tangents: usize, seed: u64, range: std::ops::Range<usize>) -> Bits {
    let [of_queries, of_keys] = attention_lengths(shape);
    let [q, d] = [0, 3].map(|number| values(seed + number, of_queries));
    let [k, v] = [1, 2].map(|number| values(seed + number, of_keys));
    let dq = values(seed + 4, tangents * of_queries);
    let [dk, dv] = [5, 6].map(|number| values(seed + number, tangents * of_keys));
    let [q, k, v, d, dq, dk, dv] =
        [&q, &k, &v, &d, &dq, &dk, &dv].map(|all| cut(all, shape.images, range.clone()));
    let shape = &AttentionShape { images: range.len(), ..*shape };
    let [mut y, mut of_q] = [0; 2].map(|_| vec![f32::NAN; q.len()]);
    let [mut of_k, mut of_v] = [0; 2].map(|_| vec![f32::NAN; k.len()]);
    attention(shape, q, k, v, &mut y);
    attention_backward(shape, q, k, v, d, &mut of_q, &mut of_k, &mut of_v);
    let [mut along, mut of_queries_alone] = [0; 2].map(|_| vec![f32::NAN; dq.len()]);
    attention_tangent(shape, q, k, v, dq, dk, dv, &mut along);
    attention_query_tangent(shape, q, k, v, dq, &mut of_queries_alone);
    vec![
        ("attention", bits(&y)),
        ("query gradient", bits(&of_q)),
        ("key gradient", bits(&of_k)),
        ("value gradient", bits(&of_v)),
        ("attention_tangent", bits(&along)),
        ("attention_query_tangent", bits(&of_queries_alone)),
    ]
}

/// The layers that treat each token by itself, for some of the tokens.
fn layers_of_tokens(shape: &LayerNormShape, seed: u64, range: std::ops::Range<usize>) -> Bits {
    let (tokens, channels) = (shape.tokens, shape.channels);
    let [x, d, u] = [0, 1, 2].map(|number| awkward_values(seed + number, tokens * channels));
    let [scale, shift] = [3, 4].map(|number| values(seed + number, channels));
    let [wide_x, wide_u] = [5, 6].map(|number| awkward_values(seed + number, 2 * tokens * channels));
    let [x, d, u, wide_x, wide_u] = [&x, &d, &u, &wide_x, &wide_u].map(|all| cut(all, tokens, range.clone()));
    let shape = &LayerNormShape { tokens: range.len(), ..*shape };
    let [mut y, mut of_x, mut along, mut glu, mut along_glu] = [0; 5].map(|_| vec![f32::NAN; x.len()]);
    let mut of_wide_x = vec![f32::NAN; wide_x.len()];
    let [mut of_scale, mut of_shift] = [0; 2].map(|_| vec![f32::NAN; channels]);
    layer_norm(shape, x, &scale, &shift, &mut y);
    layer_norm_backward(shape, x, &scale, d, &mut of_x, &mut of_scale, &mut of_shift);
    layer_norm_tangent(shape, x, &scale, u, &mut along);
    geglu(channels, wide_x, &mut glu);
    geglu_backward(channels, wide_x, d, &mut of_wide_x);
    geglu_tangent(channels, wide_x, wide_u, &mut along_glu);
    let mut all = vec![
        ("layer_norm", bits(&y)),
        ("layer norm's input gradient", bits(&of_x)),
        ("layer_norm_tangent", bits(&along)),
        ("geglu", bits(&glu)),
        ("geglu_backward", bits(&of_wide_x)),
        ("geglu_tangent", bits(&along_glu)),
    ];
    for form in [Gelu::Exact, Gelu::Tanh, Gelu::Quick] {
        gelu(form, x, &mut y);
        gelu_times_slope(form, x, d, &mut along);
        all.extend([("gelu", bits(&y)), ("gelu_times_slope", bits(&along))]);
    }
    // Sums over tokens.
    all.extend([("scale gradient", bits(&of_scale)), ("shift gradient", bits(&of_shift))]);
    all
}

/// One result from the results of single images.
fn joined(images: usize, of_image: impl Fn(usize) -> Bits) -> Bits {
    let mut all = of_image(0);
    for image in 1..images {
        for ((_, whole), (_, part)) in all.iter_mut().zip(of_image(image)) {
            whole.extend(part);
        }
    }
    all
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn convolutions_on_every_instruction_set(
        shape in prop_oneof![conv_shapes(3, 7, 40), wide_conv_shapes(3, 9, 50)], seed in 0u64..1000) {
        let (inputs, weights, outputs) = conv_lengths(&shape);
        let (x, w) = (awkward_values(seed, inputs), awkward_values(seed + 1, weights));
        let bias = awkward_values(seed + 3, shape.output_channels);
        for bias in [Some(&bias[..]), None] {
            let results: Vec<Vec<f32>> = Instructions::available()
                .into_iter()
                .map(|instructions| {
                    let mut output = vec![f32::NAN; outputs];
                    conv2d_on(instructions, &shape, &x, &w, bias, &mut output);
                    output
                })
                .collect();
            for (other, instructions) in results.iter().zip(Instructions::available()) {
                assert_same_bytes(&format!("conv2d on {instructions:?}"), &results[0], other);
            }
        }
    }

    #[test]
    fn any_number_of_threads(
        conv in prop_oneof![conv_shapes(5, 9, 20), wide_conv_shapes(15, 9, 40)],
        norm in norm_shapes(5, 20),
        heads in attention_shapes(4, 36),
        tokens in layer_norm_shapes(100),
        seed in 0u64..1000,
    ) {
        let run = || {
            let mut all = convolution(&conv, seed);
            all.extend(layers_of_tokens(&tokens, seed, 0..tokens.tokens));
            all.extend(group_normalisation(&norm, 2, seed, 0..norm.images));
            all.extend(attentions(&heads, 2, seed, 0..heads.images));
            all
        };
        let one = with_threads(1, run);
        for threads in [2, 3] {
            assert_same(&format!("{threads} threads"), &one, &with_threads(threads, run));
        }
    }

    /// Five images at once against one by one, for every result that belongs to an image.
    #[test]
    fn any_cut_into_batches(
        conv in prop_oneof![conv_shapes(5, 7, 20), wide_conv_shapes(15, 9, 40)],
        norm in norm_shapes(5, 20),
        heads in attention_shapes(5, 36),
        tokens in layer_norm_shapes(40),
        seed in 0u64..1000,
    ) {
        let together = layers_of_tokens(&tokens, seed, 0..tokens.tokens);
        let apart = joined(tokens.tokens, |token| layers_of_tokens(&tokens, seed, token..token + 1));
        let of_tokens = together.len() - 2;
        assert_same("layers of tokens", &together[..of_tokens], &apart[..of_tokens]);

        let together = group_normalisation(&norm, 2, seed, 0..norm.images);
        let apart = joined(norm.images, |image| group_normalisation(&norm, 2, seed, image..image + 1));
        // The last two are sums over images.
        assert_same("group norm", &together[..4], &apart[..4]);

        let together = attentions(&heads, 2, seed, 0..heads.images);
        let apart = joined(heads.images, |image| attentions(&heads, 2, seed, image..image + 1));
        assert_same("attention", &together, &apart);

        // A shape of one-pixel images holds them as rows of one image, so the cut is made on the tensors.
        let (inputs, weights, outputs) = conv_lengths(&conv);
        let images = inputs / (conv.input_channels * conv.width * conv.height);
        let sides = |images: usize| [images, conv.height, conv.width, conv.input_channels];
        let shape_of = |images: usize| ConvShape::new(sides(images), conv.output_channels, conv.geometry).unwrap();
        let (x, w, d) = (awkward_values(seed, inputs), awkward_values(seed + 1, weights), awkward_values(seed + 2, outputs));
        let bias = awkward_values(seed + 3, conv.output_channels);
        let run = |range: std::ops::Range<usize>| {
            let shape = shape_of(range.len());
            let (x, d) = (cut(&x, images, range.clone()), cut(&d, images, range));
            let (mut y, mut of_x) = (vec![f32::NAN; d.len()], vec![f32::NAN; x.len()]);
            conv2d(&shape, x, &w, Some(&bias), &mut y);
            conv2d_backward_input(&shape, d, &w, &mut of_x);
            vec![("conv2d", bits(&y)), ("conv2d_backward_input", bits(&of_x))]
        };
        assert_same("convolution", &run(0..images), &joined(images, |image| run(image..image + 1)));
    }

    /// One-pixel images under a linear layer, the shape of a time embedding.
    #[test]
    fn linear_layers_in_batches(
        (images, input, output) in (2usize..40, 1usize..40, 1usize..40),
        seed in 0u64..1000,
    ) {
        let shape_of = |images| ConvShape::new([images, 1, 1, input], output, ConvGeometry::POINTWISE).unwrap();
        let (x, w) = (awkward_values(seed, images * input), awkward_values(seed + 1, input * output));
        let bias = awkward_values(seed + 2, output);
        let mut together = vec![f32::NAN; images * output];
        conv2d(&shape_of(images), &x, &w, Some(&bias), &mut together);
        for (x, together) in x.chunks_exact(input).zip(together.chunks_exact(output)) {
            let mut alone = vec![f32::NAN; output];
            conv2d(&shape_of(1), x, &w, Some(&bias), &mut alone);
            assert_same_bytes("linear", &alone, together);
        }
    }

    #[test]
    fn elementwise_kernels_in_pieces(images in 2usize..5, height in 1usize..9, channels in 1usize..20, seed in 0u64..1000) {
        let width = 3;
        let length = height * width * channels;
        let (x, d) = (awkward_values(seed, images * length), awkward_values(seed + 1, 4 * images * length));
        let run = |range: std::ops::Range<usize>| {
            let (x, d) = (cut(&x, images, range.clone()), cut(&d, images, range));
            let [mut y, mut slope, mut down] = [0; 3].map(|_| vec![f32::NAN; x.len()]);
            let mut up = vec![f32::NAN; d.len()];
            silu(x, &mut y);
            silu_times_slope(x, x, &mut slope);
            upsample_nearest(width, channels, x, &mut up);
            upsample_nearest_backward(width, channels, d, &mut down);
            vec![("silu", bits(&y)), ("slope", bits(&slope)), ("up", bits(&up)), ("down", bits(&down))]
        };
        let together = with_threads(3, || run(0..images));
        assert_same("elementwise", &together, &with_threads(1, || joined(images, |image| run(image..image + 1))));
    }
}

/// The sign of a zero: a bias of minus zero under an image of zeros, in tiles that lie in the padding or not.
#[test]
fn zeros_have_one_sign() {
    for geometry in [
        ConvGeometry { kernel: 3, stride: 1, padding_before: 2, padding_after: 2 },
        ConvGeometry { kernel: 3, stride: 2, padding_before: 2, padding_after: 2 },
        ConvGeometry { kernel: 1, stride: 1, padding_before: 2, padding_after: 2 },
    ] {
        let shape = ConvShape::new([1, 5, 5, 3], 2, geometry).unwrap();
        let (inputs, weights, outputs) = conv_lengths(&shape);
        let (x, w) = (vec![0.0f32; inputs], values(1, weights));
        let run = |instructions| {
            let mut output = vec![f32::NAN; outputs];
            conv2d_on(instructions, &shape, &x, &w, Some(&[-0.0, -0.0]), &mut output);
            output
        };
        let first = with_threads(1, || run(Instructions::detect()));
        for instructions in Instructions::available() {
            for threads in [1, 3] {
                let other = with_threads(threads, || run(instructions));
                assert_same_bytes(
                    &format!("{geometry:?} on {instructions:?}, {threads} threads"),
                    &first,
                    &other,
                );
            }
        }
    }
}

/// A layer whose weights are so large that their columns are taken in groups gives the bytes that each column has alone, for any
/// number of threads.
#[test]
fn wide_layers_column_by_column() {
    let (images, tokens, input, output) = (3, 17, 600, 500);
    let shape_of =
        |columns| ConvShape::new([images, 1, tokens, input], columns, ConvGeometry::POINTWISE).unwrap();
    let (x, w) = (awkward_values(1, images * tokens * input), awkward_values(2, input * output));
    let (bias, residual) = (awkward_values(3, output), awkward_values(4, images * tokens * output));
    let embedding = awkward_values(5, images * output);
    let addends = ConvAddends { bias: Some(&bias), embedding: Some(&embedding), residual: Some(&residual) };
    let together = |threads| {
        with_threads(threads, || {
            let mut together = vec![f32::NAN; images * tokens * output];
            conv2d_with(&shape_of(output), &x, &w, &addends, &mut together);
            together
        })
    };
    let whole = together(1);
    assert_same_bytes("on 3 threads", &together(3), &whole);
    // Eight columns at a time go the way of small layers.
    for first in (0..output).step_by(8) {
        let columns = first..output.min(first + 8);
        let of = |values: &[f32]| -> Vec<f32> {
            values.chunks_exact(output).flat_map(|row| row[columns.clone()].to_vec()).collect()
        };
        let (bias, embedding, residual) = (of(&bias), of(&embedding), of(&residual));
        let addends =
            ConvAddends { bias: Some(&bias), embedding: Some(&embedding), residual: Some(&residual) };
        let mut alone = vec![f32::NAN; images * tokens * columns.len()];
        conv2d_with(&shape_of(columns.len()), &x, &of(&w), &addends, &mut alone);
        assert_same_bytes("some columns", &alone, &of(&whole));
    }
}
