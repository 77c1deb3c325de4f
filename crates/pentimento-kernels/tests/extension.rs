//! The kernels behind Burn's tensors: the same bytes as the slice functions, and gradients through automatic
//! differentiation that are those of the references.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use burn::tensor::{DType, Device, Element, Tensor, TensorData, s};
use common::*;
use pentimento_kernels::extension::{self, GroupNormSettings};
use pentimento_kernels::reference::Real;
use pentimento_kernels::*;

fn tensor<const D: usize, T: Element>(values: &[T], shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (&Device::flex(), T::dtype()))
}

fn values_of<const D: usize, T: Element>(tensor: Tensor<D>) -> Vec<T> {
    tensor.into_data().try_into_vec().unwrap()
}

const SETTINGS: GroupNormSettings = GroupNormSettings { groups: 3, epsilon: 1e-5, silu: true };

#[test]
fn a_convolution_has_the_bytes_of_the_kernel() {
    for (sides, output, geometry) in [
        ([2, 5, 7, 3], 17, ConvGeometry::SAME_3X3),
        ([2, 6, 6, 20], 5, ConvGeometry { kernel: 3, stride: 2, padding_before: 0, padding_after: 1 }),
        ([6, 1, 1, 20], 5, ConvGeometry::POINTWISE),
    ] {
        let shape = ConvShape::new(sides, output, geometry).unwrap();
        let (inputs, weights, outputs) = conv_lengths(&shape);
        let (x, w, b) = (values(1, inputs), values(2, weights), values(3, output));
        let weight = tensor(&w, [geometry.kernel, geometry.kernel, sides[3], output]);
        let mut expected = vec![f32::NAN; outputs];
        conv2d(&shape, &x, &w, Some(&b), &mut expected);
        let side = |length| geometry.output_side(length).unwrap();
        let result =
            extension::conv2d(tensor(&x, sides), weight.clone(), Some(tensor(&b, [output])), geometry);
        assert_eq!(result.dims(), [sides[0], side(sides[1]), side(sides[2]), output]);
        assert_same_bytes("conv2d", &values_of(result), &expected);
        conv2d(&shape, &x, &w, None, &mut expected);
        let result = extension::conv2d(tensor(&x, sides), weight.clone(), None, geometry);
        assert_same_bytes("conv2d without bias", &values_of(result), &expected);
        let result = extension::conv2d_tangent(tensor(&x, sides), weight, geometry);
        assert_same_bytes("conv2d_tangent", &values_of(result), &expected);
    }
}

/// What all layers with a weight make of it: outputs, tangents, and under automatic differentiation the gradient of the input.
fn all_with(weight: &Tensor<4>, sides: [usize; 4], geometry: ConvGeometry) -> Vec<Vec<f32>> {
    let (input, output) = (sides.iter().product(), weight.dims()[3]);
    let x = || tensor(&values(1, input), sides);
    let (bias, embedding) =
        (tensor(&values(3, output), [output]), tensor(&values(4, output), [1, 1, 1, output]));
    let plain = extension::conv2d(x(), weight.clone(), Some(bias.clone()), geometry);
    let shape = plain.dims();
    let residual = || tensor(&values(5, shape.iter().product()), shape);
    let tracked = x().autodiff().require_grad();
    let tracked_output = extension::conv2d(tracked.clone(), weight.clone().autodiff(), None, geometry);
    let gradients = (tracked_output.clone() * residual().autodiff()).sum().backward();
    vec![
        values_of(plain),
        values_of(extension::conv2d(x(), weight.clone(), None, geometry)),
        values_of(extension::conv2d_with_embedding(x(), weight.clone(), Some(bias), embedding, geometry)),
        values_of(extension::conv2d_with_residual(x(), weight.clone(), None, residual(), geometry)),
        values_of(extension::conv2d_tangent(x(), weight.clone(), geometry)),
        values_of(extension::conv2d_tangent_with_residual(x(), weight.clone(), residual(), geometry)),
        values_of(tracked_output),
        values_of(tracked.grad(&gradients).unwrap()),
    ]
}

/// A weight in 16 bits gives the bytes of the same weight in f32: through products and through Winograd's transform, packed as a whole
/// and in groups of columns, with a rest in every vector.
#[test]
fn a_weight_of_16_bits_has_the_bytes_of_the_same_weight_in_32() {
    for (sides, output, geometry) in [
        ([2, 5, 7, 3], 17, ConvGeometry::SAME_3X3),
        ([2, 9, 8, 19], 37, ConvGeometry::SAME_3X3),
        ([2, 6, 6, 20], 5, ConvGeometry { kernel: 3, stride: 2, padding_before: 0, padding_after: 1 }),
        ([6, 1, 1, 20], 5, ConvGeometry::POINTWISE),
        ([1, 1, 9, 520], 1031, ConvGeometry::POINTWISE),
    ] {
        let shape = [geometry.kernel, geometry.kernel, sides[3], output];
        let w = values(2, shape.iter().product());
        for dtype in [DType::F16, DType::BF16] {
            let rounded = tensor(&w, shape).cast(dtype);
            assert_eq!(rounded.dtype(), dtype);
            let wide = rounded.clone().cast(DType::F32);
            let (of_rounded, of_wide) =
                (all_with(&rounded, sides, geometry), all_with(&wide, sides, geometry));
            for (place, (rounded, wide)) in of_rounded.iter().zip(&of_wide).enumerate() {
                assert_same_bytes(&format!("{dtype:?}, {sides:?}, result {place}"), rounded, wide);
            }
        }
    }
}

#[test]
fn a_group_norm_has_the_bytes_of_the_kernel() {
    let sides = [2, 3, 4, 6];
    for silu in [true, false] {
        let shape = GroupNormShape { images: 2, pixels: 12, channels: 6, groups: 3, epsilon: 1e-5, silu };
        let settings = GroupNormSettings { silu, ..SETTINGS };
        let (x, u, a, b) = (values(1, 144), values(2, 3 * 144), values(3, 6), values(4, 6));
        let (mut y, mut statistics) = (vec![f32::NAN; 144], vec![f32::NAN; shape.statistics_length()]);
        group_norm(&shape, &x, &a, &b, &mut y, &mut statistics);
        let (scale, shift) = (tensor(&a, [6]), tensor(&b, [6]));
        let result = extension::group_norm(tensor(&x, sides), scale.clone(), shift.clone(), settings);
        assert_same_bytes("group_norm", &values_of(result), &y);
        let mut along = vec![f32::NAN; u.len()];
        group_norm_tangent(&shape, &x, &a, &b, &statistics, &u, &mut along);
        let result = extension::group_norm_tangent(
            tensor(&x, sides),
            scale,
            shift,
            tensor(&u, [6, 3, 4, 6]),
            settings,
        );
        assert_same_bytes("group_norm_tangent", &values_of(result), &along);
    }
}

#[test]
fn an_attention_has_the_bytes_of_the_kernel() {
    // Six pixels over themselves and over five parts of a text.
    for (keys, of_keys) in [(6, [2, 2, 3, 8]), (5, [2, 1, 5, 8])] {
        let of_queries = [2, 2, 3, 8];
        let shape = AttentionShape { images: 2, queries: 6, keys, channels: 8, heads: 2 };
        let lengths = [96, 2 * keys * 8, 2 * keys * 8];
        let made = |seed: u64, copies: usize| -> [Vec<f32>; 3] {
            [0, 1, 2].map(|place| values(seed + place as u64, copies * lengths[place]))
        };
        let (points, directions) = (made(1, 1), made(4, 2));
        let ([q, k, v], [dq, dk, dv]) = (&points, &directions);
        let tensors = |[q, k, v]: &[Vec<f32>; 3], copies: usize| -> [Tensor<4>; 3] {
            let copied = |[images, rest @ ..]: [usize; 4]| [copies * images, rest[0], rest[1], rest[2]];
            let (of_queries, of_keys) = (copied(of_queries), copied(of_keys));
            [tensor(q, of_queries), tensor(k, of_keys), tensor(v, of_keys)]
        };
        let mut expected = vec![f32::NAN; 96];
        attention(&shape, q, k, v, &mut expected);
        let point = tensors(&points, 1);
        let [a, b, c] = point.clone();
        assert_same_bytes("attention", &values_of(extension::attention(a, b, c, 2)), &expected);
        let mut expected = vec![f32::NAN; 2 * 96];
        attention_tangent(&shape, q, k, v, dq, dk, dv, &mut expected);
        let along = tensors(&directions, 2);
        let result = extension::attention_tangent(point.clone(), along.clone(), 2);
        assert_same_bytes("attention_tangent", &values_of(result), &expected);
        attention_query_tangent(&shape, q, k, v, dq, &mut expected);
        let [of_queries, _, _] = along;
        let result = extension::attention_query_tangent(point, of_queries, 2);
        assert_same_bytes("attention_query_tangent", &values_of(result), &expected);
    }
}

/// Two images of six tokens each, with three directions of each image.
#[test]
fn layers_of_tokens_have_the_bytes_of_the_kernels() {
    let (sides, along, channels) = ([2, 2, 3, 10], [6, 2, 3, 10], 10);
    let (x, u) = (values(1, 120), values(2, 360));
    let (scale, shift) = (values(3, channels), values(4, channels));
    let mut expected = vec![f32::NAN; 120];
    let shape = LayerNormShape { tokens: 12, channels, epsilon: 1e-5 };
    layer_norm(&shape, &x, &scale, &shift, &mut expected);
    let of_scale = || tensor::<1, f32>(&scale, [channels]);
    let result = extension::layer_norm(tensor(&x, sides), of_scale(), tensor(&shift, [channels]), 1e-5);
    assert_same_bytes("layer_norm", &values_of(result), &expected);
    gelu(Gelu::Tanh, &x, &mut expected);
    let result = extension::gelu(tensor(&x, sides), Gelu::Tanh);
    assert_same_bytes("gelu", &values_of(result), &expected);
    let mut halves = vec![f32::NAN; 60];
    geglu(5, &x, &mut halves);
    let result = extension::geglu(tensor(&x, sides));
    assert_eq!(result.dims(), [2, 2, 3, 5]);
    assert_same_bytes("geglu", &values_of(result), &halves);

    // Direction `number` of image `image` belongs to that image.
    let points: Vec<f32> = x.chunks_exact(60).flat_map(|image| image.repeat(3)).collect();
    let mut expected = vec![f32::NAN; 360];
    layer_norm_tangent(&LayerNormShape { tokens: 36, ..shape }, &points, &scale, &u, &mut expected);
    let result = extension::layer_norm_tangent(tensor(&x, sides), of_scale(), tensor(&u, along), 1e-5);
    assert_same_bytes("layer_norm_tangent", &values_of(result), &expected);
    gelu_times_slope(Gelu::Quick, &points, &u, &mut expected);
    let result = extension::gelu_tangent(tensor(&x, sides), tensor(&u, along), Gelu::Quick);
    assert_same_bytes("gelu_tangent", &values_of(result), &expected);
    let mut halves = vec![f32::NAN; 180];
    geglu_tangent(5, &points, &u, &mut halves);
    let result = extension::geglu_tangent(tensor(&x, sides), tensor(&u, along));
    assert_eq!(result.dims(), [6, 2, 3, 5]);
    assert_same_bytes("geglu_tangent", &values_of(result), &halves);
}

#[test]
fn small_layers_have_the_bytes_of_the_kernels() {
    let sides = [2, 3, 5, 7];
    let x = values(1, 210);
    let mut expected = vec![f32::NAN; 210];
    silu(&x, &mut expected);
    assert_same_bytes("silu", &values_of(extension::silu(tensor(&x, sides))), &expected);
    let mut expected = vec![f32::NAN; 4 * 210];
    upsample_nearest(5, 7, &x, &mut expected);
    let result = extension::upsample_nearest(tensor(&x, sides));
    assert_eq!(result.dims(), [2, 6, 10, 7]);
    assert_same_bytes("upsample_nearest", &values_of(result), &expected);
    let y = values(2, 90);
    let mut expected = vec![f32::NAN; 300];
    concatenate(7, 3, &x, &y, &mut expected);
    let result = extension::concatenate_channels(tensor(&x, sides), tensor(&y, [2, 3, 5, 3]));
    assert_eq!(result.dims(), [2, 3, 5, 10]);
    assert_same_bytes("concatenate_channels", &values_of(result), &expected);
}

/// What is added to a convolution has the bytes of the kernel, with one embedding for all images and one for each.
#[test]
fn addends_have_the_bytes_of_the_kernel() {
    for (input, output) in [(3, 4), (17, 33)] {
        let sides = [2, 5, 4, input];
        let shape = ConvShape::new(sides, output, ConvGeometry::SAME_3X3).unwrap();
        let (inputs, weights, outputs) = conv_lengths(&shape);
        let (x, w, b, r) = (values(1, inputs), values(2, weights), values(3, output), values(4, outputs));
        let weight = || tensor(&w, [3, 3, input, output]);
        let mut expected = vec![f32::NAN; outputs];
        for embeddings in [1, 2] {
            let e = values(5, embeddings * output);
            let addends = ConvAddends { bias: Some(&b), embedding: Some(&e), residual: None };
            conv2d_with(&shape, &x, &w, &addends, &mut expected);
            let embedding = tensor(&e, [embeddings, 1, 1, output]);
            let bias = tensor(&b, [output]);
            let result = extension::conv2d_with_embedding(
                tensor(&x, sides),
                weight(),
                Some(bias),
                embedding,
                ConvGeometry::SAME_3X3,
            );
            assert_same_bytes("conv2d_with_embedding", &values_of(result), &expected);
        }
        let residual = || tensor(&r, [2, 5, 4, output]);
        let addends = ConvAddends { bias: Some(&b), embedding: None, residual: Some(&r) };
        conv2d_with(&shape, &x, &w, &addends, &mut expected);
        let bias = tensor(&b, [output]);
        let result = extension::conv2d_with_residual(
            tensor(&x, sides),
            weight(),
            Some(bias),
            residual(),
            ConvGeometry::SAME_3X3,
        );
        assert_same_bytes("conv2d_with_residual", &values_of(result), &expected);
        conv2d_with(&shape, &x, &w, &ConvAddends { bias: None, ..addends }, &mut expected);
        let result = extension::conv2d_tangent_with_residual(
            tensor(&x, sides),
            weight(),
            residual(),
            ConvGeometry::SAME_3X3,
        );
        assert_same_bytes("conv2d_tangent_with_residual", &values_of(result), &expected);
    }
}

/// Each tangent is that of its own image, in both float types.
#[test]
fn tangents_of_silu_are_those_of_their_images() {
    let (x, u) = (values(1, 2 * 12), values(2, 2 * 3 * 12));
    let expected: Vec<f64> = (0..u.len())
        .flat_map(|at| {
            let point = x[at / 36 * 12 + at % 12];
            reference::silu_times_slope(&[f64::from(point)], &[f64::from(u[at])])
        })
        .collect();
    let result = extension::silu_tangent(tensor(&x, [2, 2, 3, 2]), tensor(&u, [6, 2, 3, 2]));
    assert_within("silu_tangent", &values_of::<4, f32>(result), &expected, 10.0 * EPSILON);
    let result = extension::silu_tangent(tensor(&wide(&x), [2, 2, 3, 2]), tensor(&wide(&u), [6, 2, 3, 2]));
    let result: Vec<f64> = values_of(result);
    assert!(result.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-14));
}

/// Views into other tensors: transposed, and beginning in the middle.
#[test]
fn views_are_read_through_their_strides() {
    let geometry = ConvGeometry::SAME_3X3;
    let (x, w, b) = (values(1, 3 * 4 * 5 * 6), values(2, 9 * 6 * 4), values(3, 4));
    let (weight, bias) = (tensor(&w, [3, 3, 6, 4]), tensor(&b, [4]));
    let input: Tensor<4> = tensor(&x, [3, 4, 5, 6]);
    let run = |input: Tensor<4>| {
        values_of::<4, f32>(extension::conv2d(input, weight.clone(), Some(bias.clone()), geometry))
    };
    let whole = run(input.clone());
    let tail = run(input.clone().slice(s![1..3]));
    assert_same_bytes("the last two images", &tail, &whole[4 * 5 * 4..]);
    // The same values, stored as [images, channels, height, width].
    let channels_first: Vec<f32> = (0..x.len())
        .map(|at| {
            let (image, channel, pixel) = (at / 120, at % 120 / 20, at % 20);
            x[image * 120 + pixel * 6 + channel]
        })
        .collect();
    let view = tensor::<4, f32>(&channels_first, [3, 6, 4, 5]).permute([0, 2, 3, 1]);
    assert_same_bytes("a permuted view", &run(view.clone()), &whole);
    let silu_of = |input: Tensor<4>| values_of::<4, f32>(extension::silu(input));
    assert_same_bytes("silu of a view", &silu_of(view.clone()), &silu_of(input.clone()));
    let up = |input: Tensor<4>| values_of::<4, f32>(extension::upsample_nearest(input));
    assert_same_bytes("upsampling of a view", &up(view), &up(input));
}

/// The parameters of a little network that uses every layer, and its first convolution twice.
struct Little<T> {
    input: Vec<T>,
    weight: Vec<T>,
    bias: Vec<T>,
    scale: Vec<T>,
    shift: Vec<T>,
    embedding: Vec<T>,
    last_weight: Vec<T>,
    last_bias: Vec<T>,
    cotangent: Vec<T>,
}

const INPUT: [usize; 4] = [2, 4, 3, 6];
const OUTPUT: [usize; 4] = [2, 4, 3, 5];
const DOWN: ConvGeometry = ConvGeometry { kernel: 3, stride: 2, padding_before: 1, padding_after: 1 };
const HEADS: usize = 2;

fn little<T: Real>() -> Little<T> {
    let made = |seed: u64, length: usize, size: f64| -> Vec<T> {
        values(seed, length).into_iter().map(|value| T::of(size * f64::from(value))).collect()
    };
    Little {
        input: made(1, 2 * 4 * 3 * 6, 1.0),
        // Weights of the size 1 / sqrt(inputs), as in real networks.
        weight: made(2, 9 * 6 * 6, 0.2),
        bias: made(3, 6, 0.5),
        scale: made(4, 6, 1.0),
        shift: made(5, 6, 0.5),
        embedding: made(6, 2 * 6, 1.0),
        last_weight: made(7, 9 * 12 * 5, 0.2),
        last_bias: made(8, 5, 0.5),
        cotangent: made(9, 2 * 4 * 3 * 5, 1.0),
    }
}

fn wide_of<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.wide()).collect()
}

fn add(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().zip(right).map(|(a, b)| a + b).collect()
}

/// The gradients of `<cotangent, network(input)>`, by the backward passes of the references, written out by hand.
/// Order: input, weight, bias, scale, shift, embedding, last weight, last bias.
fn gradients_by_hand<T: Real>(network: &Little<T>) -> [Vec<f64>; 8] {
    let [x, w, b, scale, shift, e, last_w, d] = [
        &network.input,
        &network.weight,
        &network.bias,
        &network.scale,
        &network.shift,
        &network.embedding,
        &network.last_weight,
        &network.cotangent,
    ]
    .map(|values| wide_of(values));
    let conv = ConvShape::new(INPUT, 6, ConvGeometry::SAME_3X3).unwrap();
    let norm = GroupNormShape { images: 2, pixels: 12, channels: 6, groups: 3, epsilon: 1e-5, silu: true };
    let heads = AttentionShape { images: 2, queries: 12, keys: 12, channels: 6, heads: HEADS };
    let down = ConvShape::new([2, 8, 6, 12], 5, DOWN).unwrap();

    // h1 = conv(x) + e; h2 = conv(group_norm(h1)); a = attention(h1, h2, h2); r = conv(a) + h2;
    // y = conv_down(upsample(silu((r, h1))))
    let h0 = reference::conv2d(&conv, &x, &w, Some(&b));
    let h1: Vec<f64> = h0.iter().enumerate().map(|(at, h)| h + e[at / 72 * 6 + at % 6]).collect();
    let n = reference::group_norm(&norm, &h1, &scale, &shift);
    let h2 = reference::conv2d(&conv, &n, &w, Some(&b));
    let a = reference::attention(&heads, &h1, &h2, &h2);
    let r = add(&reference::conv2d(&conv, &a, &w, Some(&b)), &h2);
    let s_in: Vec<f64> =
        r.chunks_exact(6).zip(h1.chunks_exact(6)).flat_map(|(r, h)| [r, h].concat()).collect();
    let s = reference::silu(&s_in);
    let mut up = vec![0.0; 4 * s.len()];
    upsample_nearest(3, 12, &s, &mut up);

    let of_last_w = reference::conv2d_backward_weight(&down, &up, &d);
    let of_last_b = reference::bias_backward(5, &d);
    let of_up = reference::conv2d_backward_input(&down, &d, &last_w);
    let mut of_s = vec![0.0; s.len()];
    upsample_nearest_backward(3, 12, &of_up, &mut of_s);
    let of_both = reference::silu_times_slope(&s_in, &of_s);
    let of_r: Vec<f64> = of_both.chunks_exact(12).flat_map(|row| row[..6].to_vec()).collect();
    let of_skip: Vec<f64> = of_both.chunks_exact(12).flat_map(|row| row[6..].to_vec()).collect();
    let of_a = reference::conv2d_backward_input(&conv, &of_r, &w);
    let (of_q, of_k, of_v) = reference::attention_backward(&heads, &h1, &h2, &h2, &of_a);
    let of_h2 = add(&of_r, &add(&of_k, &of_v));
    let of_n = reference::conv2d_backward_input(&conv, &of_h2, &w);
    let (of_h1, of_scale, of_shift) = reference::group_norm_backward(&norm, &h1, &scale, &shift, &of_n);
    let of_h1 = add(&add(&of_h1, &of_q), &of_skip);
    let of_w = add(
        &reference::conv2d_backward_weight(&conv, &n, &of_h2),
        &reference::conv2d_backward_weight(&conv, &x, &of_h1),
    );
    let of_w = add(&of_w, &reference::conv2d_backward_weight(&conv, &a, &of_r));
    let of_b = add(&reference::bias_backward(6, &of_h2), &reference::bias_backward(6, &of_h1));
    let of_b = add(&of_b, &reference::bias_backward(6, &of_r));
    let mut of_e = vec![0.0; 12];
    for (at, value) in of_h1.iter().enumerate() {
        of_e[at / 72 * 6 + at % 6] += value;
    }
    let of_x = reference::conv2d_backward_input(&conv, &of_h1, &w);
    [of_x, of_w, of_b, of_scale, of_shift, of_e, of_last_w, of_last_b]
}

/// The same through Burn; `tracked` says which of the eight are leaves, in the same order.
fn gradients_by_burn<T: Real + Element>(network: &Little<T>, tracked: [bool; 8]) -> [Option<Vec<f64>>; 8] {
    fn leaf<const D: usize, T: Element>(values: &[T], shape: [usize; D], tracked: bool) -> Tensor<D> {
        let tensor = tensor(values, shape).autodiff();
        if tracked { tensor.require_grad() } else { tensor }
    }
    let settings = GroupNormSettings { groups: 3, epsilon: 1e-5, silu: true };
    let x = leaf(&network.input, INPUT, tracked[0]);
    let w = leaf(&network.weight, [3, 3, 6, 6], tracked[1]);
    let b = leaf(&network.bias, [6], tracked[2]);
    let scale = leaf(&network.scale, [6], tracked[3]);
    let shift = leaf(&network.shift, [6], tracked[4]);
    let e = leaf(&network.embedding, [2, 1, 1, 6], tracked[5]);
    let last_w = leaf(&network.last_weight, [3, 3, 12, 5], tracked[6]);
    let last_b = leaf(&network.last_bias, [5], tracked[7]);
    const SAME: ConvGeometry = ConvGeometry::SAME_3X3;
    let h1 = extension::conv2d_with_embedding(x.clone(), w.clone(), Some(b.clone()), e.clone(), SAME);
    let n = extension::group_norm(h1.clone(), scale.clone(), shift.clone(), settings);
    let h2 = extension::conv2d(n, w.clone(), Some(b.clone()), SAME);
    let a = extension::attention(h1.clone(), h2.clone(), h2.clone(), HEADS);
    let r = extension::conv2d_with_residual(a, w.clone(), Some(b.clone()), h2, SAME);
    let s = extension::silu(extension::concatenate_channels(r, h1));
    let y = extension::conv2d(extension::upsample_nearest(s), last_w.clone(), Some(last_b.clone()), DOWN);
    let cotangent = tensor(&network.cotangent, OUTPUT).autodiff();
    let gradients = (y * cotangent).sum().backward();
    let of = |data: Option<TensorData>| data.map(|data| wide_of(&data.try_into_vec::<T>().unwrap()));
    [
        of(x.grad(&gradients).map(Tensor::into_data)),
        of(w.grad(&gradients).map(Tensor::into_data)),
        of(b.grad(&gradients).map(Tensor::into_data)),
        of(scale.grad(&gradients).map(Tensor::into_data)),
        of(shift.grad(&gradients).map(Tensor::into_data)),
        of(e.grad(&gradients).map(Tensor::into_data)),
        of(last_w.grad(&gradients).map(Tensor::into_data)),
        of(last_b.grad(&gradients).map(Tensor::into_data)),
    ]
}

const NAMES: [&str; 8] =
    ["input", "weight", "bias", "scale", "shift", "embedding", "last weight", "last bias"];

fn check_gradients<T: Real + Element>(tracked: [bool; 8], relative: f64) {
    let network = little::<T>();
    let expected = gradients_by_hand(&network);
    let found = gradients_by_burn(&network, tracked);
    for (((name, tracked), expected), found) in NAMES.iter().zip(tracked).zip(&expected).zip(&found) {
        let Some(found) = found else {
            assert!(!tracked, "no gradient of {name} arrived");
            continue;
        };
        assert!(tracked, "{name} is not tracked and got a gradient");
        assert_eq!(found.len(), expected.len(), "{name}");
        let size = largest(expected);
        assert!(size > 0.1, "{name}: the test would show nothing");
        for (place, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!((a - b).abs() <= relative * size, "{name}[{place}]: {a} instead of {b}");
        }
    }
}

/// In `f64` both sides run the same loops in other orders. In `f32` some seven layers with sums of up to 54 products
/// follow each other, which may cost a few hundred roundings.
#[test]
fn gradients_of_a_composition() {
    assert_eq!(f64::dtype(), DType::F64);
    check_gradients::<f64>([true; 8], 1e-10);
    check_gradients::<f32>([true; 8], 200.0 * EPSILON);
}

/// Each of the eight alone, and all but one: an untracked parent gets no gradient and does not stop the others'.
#[test]
fn untracked_parents() {
    for place in 0..8 {
        let mut one = [false; 8];
        one[place] = true;
        check_gradients::<f64>(one, 1e-10);
        check_gradients::<f64>(one.map(|tracked| !tracked), 1e-10);
    }
}

/// Nothing tracked: the result is the plain one and no gradient exists.
#[test]
fn nothing_tracked() {
    let network = little::<f32>();
    let (x, w, b) = (&network.input, &network.weight, &network.bias);
    let run = |lift: fn(Tensor<4>) -> Tensor<4>| {
        let input = lift(tensor(x, INPUT));
        let (weight, bias) = (lift(tensor(w, [3, 3, 6, 6])), tensor::<1, f32>(b, [6]));
        let bias = if input.clone().is_autodiff() { bias.autodiff() } else { bias };
        extension::conv2d(input, weight, Some(bias), ConvGeometry::SAME_3X3)
    };
    let plain = values_of::<4, f32>(run(|tensor| tensor));
    let lifted = run(|tensor| tensor.autodiff());
    assert_same_bytes("under automatic differentiation", &values_of(lifted.inner()), &plain);
}
