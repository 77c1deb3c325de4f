//! The layers on tokens, composed of Burn's operations.

use super::beside;
use crate::Gelu;
use burn::tensor::{Tensor, activation};
use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// `x_hat`, and the inverse deviation of each token.
fn normalised(input: Tensor<4>, epsilon: f64) -> [Tensor<4>; 2] {
    let centred = input.clone() - input.mean_dim(3);
    let variance = (centred.clone() * centred.clone()).mean_dim(3);
    let deviation = (variance + epsilon).sqrt().recip();
    [centred * deviation.clone(), deviation]
}

/// `[1, 1, 1, channels]`.
fn of_channels(values: Tensor<1>) -> Tensor<4> {
    let [channels] = values.dims();
    values.reshape([1, 1, 1, channels])
}

pub(in super::super) fn layer_norm(
    input: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    epsilon: f64,
) -> Tensor<4> {
    let [x_hat, _] = normalised(input, epsilon);
    x_hat * of_channels(scale) + of_channels(shift)
}

/// The weight s of `z * s(z)`.
fn weight(z: Tensor<4>, form: Gelu) -> Tensor<4> {
    match form {
        Gelu::Exact => ((z * FRAC_1_SQRT_2).erf() + 1.0) * 0.5,
        Gelu::Tanh => {
            let cube = z.clone() * z.clone() * z.clone() * 0.044715;
            activation::sigmoid((z + cube) * (8.0 / PI).sqrt())
        }
        Gelu::Quick => activation::sigmoid(z * 1.702),
    }
}

/// The slope of `z * s(z)`.
fn slope(z: Tensor<4>, form: Gelu) -> Tensor<4> {
    let s = weight(z.clone(), form);
    let of_sigmoid = s.clone() * (-s.clone() + 1.0);
    let square = z.clone() * z.clone();
    let of_weight = match form {
        Gelu::Exact => (square * -0.5).exp() * (1.0 / (2.0 * PI).sqrt()),
        Gelu::Tanh => of_sigmoid * (8.0 / PI).sqrt() * (square * (3.0 * 0.044715) + 1.0),
        Gelu::Quick => of_sigmoid * 1.702,
    };
    s + z * of_weight
}

pub(in super::super) fn gelu(input: Tensor<4>, form: Gelu) -> Tensor<4> {
    input.clone() * weight(input, form)
}

/// Values and gates.
fn halves(input: Tensor<4>) -> [Tensor<4>; 2] {
    let channels = input.dims()[3] / 2;
    [input.clone().narrow(3, 0, channels), input.narrow(3, channels, channels)]
}

pub(in super::super) fn geglu(input: Tensor<4>) -> Tensor<4> {
    let [values, gates] = halves(input);
    values * gelu(gates, Gelu::Exact)
}

fn directions(input: &Tensor<4>, tangent: &Tensor<4>) -> usize {
    tangent.dims()[0] / input.dims()[0].max(1)
}

/// The derivative of [`layer_norm`] at `input` along `tangent`, `[images * tangents, height, width, channels]`.
pub(in super::super) fn layer_norm_tangent(
    input: Tensor<4>,
    scale: Tensor<1>,
    tangent: Tensor<4>,
    epsilon: f64,
) -> Tensor<4> {
    let tangents = directions(&input, &tangent);
    let [x_hat, deviation] = normalised(input, epsilon).map(|values| beside(values, tangents));
    let along = (x_hat.clone() * tangent.clone()).mean_dim(3);
    (tangent.clone() - tangent.mean_dim(3) - x_hat * along) * deviation * of_channels(scale)
}

/// The derivative of [`gelu`] at `input` along `tangent`.
pub(in super::super) fn gelu_tangent(input: Tensor<4>, tangent: Tensor<4>, form: Gelu) -> Tensor<4> {
    let tangents = directions(&input, &tangent);
    beside(slope(input, form), tangents) * tangent
}

/// The derivative of [`geglu`] at `input` along `tangent`.
pub(in super::super) fn geglu_tangent(input: Tensor<4>, tangent: Tensor<4>) -> Tensor<4> {
    let tangents = directions(&input, &tangent);
    let [values, gates] = halves(input);
    let of_value = beside(gelu(gates.clone(), Gelu::Exact), tangents);
    let of_gate = beside(values * slope(gates, Gelu::Exact), tangents);
    let [values, gates] = halves(tangent);
    values * of_value + gates * of_gate
}
