//! GELU and GEGLU as plain loops.

use super::{Real, sigmoid};
use crate::Gelu;

/// The weight s of `z * s(z)` and its slope.
fn weight<T: Real>(form: Gelu, z: T) -> [T; 2] {
    let factor = match form {
        Gelu::Exact => {
            let z = z.wide();
            let density = libm::exp(-0.5 * z * z) / (2.0 * std::f64::consts::PI).sqrt();
            return [0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2), density].map(T::of);
        }
        Gelu::Tanh => T::of((8.0 / std::f64::consts::PI).sqrt()),
        Gelu::Quick => T::of(1.702),
    };
    let cube = T::of(if form == Gelu::Tanh { 0.044715 } else { 0.0 });
    let one = T::of(1.0);
    let s = sigmoid(factor * (z + cube * z * z * z));
    [s, s * (one - s) * factor * (one + T::of(3.0) * cube * z * z)]
}

fn value<T: Real>(form: Gelu, z: T) -> T {
    z * weight(form, z)[0]
}

fn slope<T: Real>(form: Gelu, z: T) -> T {
    let [weight, of_weight] = weight(form, z);
    weight + z * of_weight
}

/// See [`crate::gelu`].
pub fn gelu<T: Real>(form: Gelu, input: &[T]) -> Vec<T> {
    input.iter().map(|&z| value(form, z)).collect()
}

/// See [`crate::gelu_times_slope`].
pub fn gelu_times_slope<T: Real>(form: Gelu, input: &[T], direction: &[T]) -> Vec<T> {
    input.iter().zip(direction).map(|(&z, &d)| d * slope(form, z)).collect()
}

/// The values and the gates of each row, side by side.
fn pairs<T: Real>(channels: usize, input: &[T]) -> impl Iterator<Item = (T, T)> {
    input
        .chunks_exact(2 * channels)
        .flat_map(move |row| (0..channels).map(move |c| (row[c], row[channels + c])))
}

/// See [`crate::geglu`].
pub fn geglu<T: Real>(channels: usize, input: &[T]) -> Vec<T> {
    pairs(channels, input).map(|(of, gate)| of * value(Gelu::Exact, gate)).collect()
}

/// See [`crate::geglu_backward`].
pub fn geglu_backward<T: Real>(channels: usize, input: &[T], output_gradient: &[T]) -> Vec<T> {
    let mut gradient = vec![T::of(0.0); input.len()];
    for (place, ((of, gate), &d)) in pairs(channels, input).zip(output_gradient).enumerate() {
        let (row, channel) = (place / channels, place % channels);
        gradient[row * 2 * channels + channel] = d * value(Gelu::Exact, gate);
        gradient[row * 2 * channels + channels + channel] = d * of * slope(Gelu::Exact, gate);
    }
    gradient
}

/// See [`crate::geglu_tangent`].
pub fn geglu_tangent<T: Real>(channels: usize, input: &[T], tangent: &[T]) -> Vec<T> {
    let both = pairs(channels, input).zip(pairs(channels, tangent));
    both.map(|((of, gate), (of_value, of_gate))| {
        of_value * value(Gelu::Exact, gate) + of * slope(Gelu::Exact, gate) * of_gate
    })
    .collect()
}
