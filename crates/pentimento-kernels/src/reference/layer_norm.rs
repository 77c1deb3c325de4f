//! Layer normalisation as plain loops.

use super::Real;
use crate::LayerNormShape;

/// `x_hat` of one token and its inverse deviation.
fn normalised<T: Real>(shape: &LayerNormShape, token: &[T]) -> (Vec<T>, T) {
    let count = T::of(shape.channels as f64);
    let mean = token.iter().copied().sum::<T>() / count;
    let variance = token.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / count;
    let inverse = T::of(1.0 / (variance.wide() + shape.epsilon).sqrt());
    (token.iter().map(|&x| (x - mean) * inverse).collect(), inverse)
}

/// `inverse * (direction - mean of direction - x_hat * mean of direction * x_hat)`.
fn projected<T: Real>(x_hat: &[T], inverse: T, direction: &[T]) -> Vec<T> {
    let count = T::of(x_hat.len() as f64);
    let plain = direction.iter().copied().sum::<T>() / count;
    let along = direction.iter().zip(x_hat).map(|(&d, &x)| d * x).sum::<T>() / count;
    direction.iter().zip(x_hat).map(|(&d, &x)| inverse * (d - plain - x * along)).collect()
}

/// See [`crate::layer_norm`].
pub fn layer_norm<T: Real>(shape: &LayerNormShape, input: &[T], scale: &[T], shift: &[T]) -> Vec<T> {
    let mut output = Vec::with_capacity(input.len());
    for token in input.chunks_exact(shape.channels) {
        let (x_hat, _) = normalised(shape, token);
        output.extend(x_hat.iter().zip(scale).zip(shift).map(|((&x, &scale), &shift)| x * scale + shift));
    }
    output
}

/// See [`crate::layer_norm_backward`]; returns the gradients of input, scale and shift.
pub fn layer_norm_backward<T: Real>(
    shape: &LayerNormShape,
    input: &[T],
    scale: &[T],
    output_gradient: &[T],
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let mut of_input = Vec::with_capacity(input.len());
    let (mut of_scale, mut of_shift) = (vec![T::of(0.0); shape.channels], vec![T::of(0.0); shape.channels]);
    let tokens = input.chunks_exact(shape.channels).zip(output_gradient.chunks_exact(shape.channels));
    for (token, upstream) in tokens {
        let (x_hat, inverse) = normalised(shape, token);
        for channel in 0..shape.channels {
            of_scale[channel] += upstream[channel] * x_hat[channel];
            of_shift[channel] += upstream[channel];
        }
        let direction: Vec<T> = upstream.iter().zip(scale).map(|(&d, &scale)| d * scale).collect();
        of_input.extend(projected(&x_hat, inverse, &direction));
    }
    (of_input, of_scale, of_shift)
}

/// See [`crate::layer_norm_tangent`].
pub fn layer_norm_tangent<T: Real>(
    shape: &LayerNormShape,
    input: &[T],
    scale: &[T],
    tangent: &[T],
) -> Vec<T> {
    let mut output = Vec::with_capacity(tangent.len());
    for (token, tangent) in input.chunks_exact(shape.channels).zip(tangent.chunks_exact(shape.channels)) {
        let (x_hat, inverse) = normalised(shape, token);
        let direction = projected(&x_hat, inverse, tangent);
        output.extend(direction.iter().zip(scale).map(|(&d, &scale)| d * scale));
    }
    output
}
