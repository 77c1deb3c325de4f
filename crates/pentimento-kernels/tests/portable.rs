//! What is composed of Burn's operations, and differentiated by Burn, against the kernels and their backward passes, for
//! layers that the golden networks leave out or have once. In a file of its own: the switch is one for the process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use burn::tensor::{DType, Device, Element, Tensor, TensorData};
use common::*;
use pentimento_kernels::extension::{self, use_portable_bodies};
use pentimento_kernels::reference::Real;
use pentimento_kernels::*;

fn tensor<const D: usize, T: Real + Element>(seed: u64, shape: [usize; D], size: f64) -> Tensor<D> {
    let values = values(seed, shape.iter().product()).into_iter();
    let values: Vec<T> = values.map(|value| T::of(size * f64::from(value))).collect();
    Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), T::dtype()))
}

fn wide_of<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

const PIXELS: [usize; 4] = [2, 2, 3, 8];
const TEXT: [usize; 4] = [2, 1, 5, 8];
const DIRECTIONS: usize = 3;

/// A block of a transformer as Stable Diffusion has it, but for self-attention: norm, queries without bias, attention over a
/// text, the way out with a residual, norm, GEGLU, and at its end each form of GELU.
fn gradients<T: Real + Element>() -> Vec<Vec<f64>> {
    let lift = |tensor: Tensor<4>| tensor.autodiff().require_grad();
    let x = lift(tensor::<4, T>(1, PIXELS, 1.0));
    let text = lift(tensor::<4, T>(2, TEXT, 1.0));
    let [of_queries, of_keys, of_values, of_output] =
        [3, 4, 5, 6].map(|seed| lift(tensor::<4, T>(seed, [1, 1, 8, 8], 0.3)));
    let bias = tensor::<1, T>(7, [8], 0.3).autodiff().require_grad();
    let [scale, shift] = [8, 9].map(|seed| tensor::<1, T>(seed, [8], 1.0).autodiff().require_grad());
    let wide = lift(tensor::<4, T>(10, [1, 1, 8, 12], 0.3));
    let linear = |x: &Tensor<4>, weight: &Tensor<4>| {
        extension::conv2d(x.clone(), weight.clone(), None, ConvGeometry::POINTWISE)
    };
    let normalised = extension::layer_norm(x.clone(), scale.clone(), shift.clone(), 1e-5);
    let [queries, keys, values] =
        [linear(&normalised, &of_queries), linear(&text, &of_keys), linear(&text, &of_values)];
    let mixed = extension::attention(queries, keys, values, 2);
    let sum = extension::conv2d_with_residual(
        mixed,
        of_output.clone(),
        Some(bias.clone()),
        x.clone(),
        ConvGeometry::POINTWISE,
    );
    let sum =
        extension::conv2d_with_residual(sum, of_output.clone(), None, x.clone(), ConvGeometry::POINTWISE);
    let normalised = extension::layer_norm(sum, scale.clone(), shift.clone(), 1e-5);
    let gated = extension::geglu(linear(&normalised, &wide));
    let forms = [Gelu::Exact, Gelu::Tanh, Gelu::Quick].map(|form| extension::gelu(gated.clone(), form));
    let output = Tensor::cat(forms.to_vec(), 3);
    let cotangent = tensor::<4, T>(11, output.dims(), 1.0).autodiff();
    let mut results = vec![wide_of(output.clone().inner())];
    let gradients = (output * cotangent).sum().backward();
    for leaf in [&x, &text, &of_queries, &of_keys, &of_values, &of_output, &wide] {
        results.push(wide_of(leaf.grad(&gradients).unwrap()));
    }
    for leaf in [&bias, &scale, &shift] {
        results.push(wide_of(leaf.grad(&gradients).unwrap()));
    }
    results
}

/// The tangents of the same layers.
fn tangents<T: Real + Element>() -> Vec<Vec<f64>> {
    let along = |seed, [images, height, width, channels]: [usize; 4]| {
        tensor::<4, T>(seed, [DIRECTIONS * images, height, width, channels], 1.0)
    };
    let x = tensor::<4, T>(1, PIXELS, 1.0);
    let scale = tensor::<1, T>(2, [8], 1.0);
    let point = [x.clone(), tensor::<4, T>(3, TEXT, 1.0), tensor::<4, T>(4, TEXT, 1.0)];
    let moved = [along(5, PIXELS), along(6, TEXT), along(7, TEXT)];
    let mut results = vec![
        extension::layer_norm_tangent(x.clone(), scale, along(5, PIXELS), 1e-5),
        extension::geglu_tangent(x.clone(), along(5, PIXELS)),
        extension::attention_tangent(point.clone(), moved, 2),
        extension::attention_query_tangent(point, along(5, PIXELS), 2),
    ];
    for form in [Gelu::Exact, Gelu::Tanh, Gelu::Quick] {
        results.push(extension::gelu_tangent(x.clone(), along(5, PIXELS), form));
    }
    results.into_iter().map(wide_of).collect()
}

/// A convolution whose weight stands still in 16 bits, with its tangent and the gradient of its input.
fn beside_a_weight_of_16_bits() -> Vec<Vec<f64>> {
    let mut results = Vec::new();
    for dtype in [DType::F16, DType::BF16] {
        let weight = tensor::<4, f32>(1, [3, 3, 8, 5], 0.3).cast(dtype);
        let x = tensor::<4, f32>(2, PIXELS, 1.0);
        let tangent = extension::conv2d_tangent(x.clone(), weight.clone(), ConvGeometry::SAME_3X3);
        let x = x.autodiff().require_grad();
        let output = extension::conv2d(x.clone(), weight.autodiff(), None, ConvGeometry::SAME_3X3);
        results.extend([wide_of(tangent), wide_of(output.clone().inner())]);
        results.push(wide_of(x.grad(&output.square().sum().backward()).unwrap()));
    }
    results
}

/// In `f64` both sides compute the same in other orders, but that Burn's error function and softmax may have their own last
/// digits. In `f32` some ten layers follow each other, with sums of up to 36 products.
#[test]
fn layers_of_tokens() {
    let compare = |of: fn() -> Vec<Vec<f64>>, relative: f64| {
        use_portable_bodies(false);
        let by_kernels = of();
        use_portable_bodies(true);
        let portable = of();
        assert_eq!(by_kernels.len(), portable.len());
        for (place, (a, b)) in by_kernels.iter().zip(&portable).enumerate() {
            assert_eq!(a.len(), b.len(), "result {place}");
            let size = largest(a);
            assert!(size > 0.05, "result {place}: the test would show nothing");
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                assert!((a - b).abs() <= relative * size, "result {place}, value {at}: {a} and {b}");
            }
        }
    };
    compare(gradients::<f64>, 1e-10);
    compare(gradients::<f32>, 200.0 * EPSILON);
    compare(tangents::<f64>, 1e-10);
    compare(tangents::<f32>, 100.0 * EPSILON);
    compare(beside_a_weight_of_16_bits, 100.0 * EPSILON);
}
