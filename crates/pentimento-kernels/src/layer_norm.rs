//! Layer normalisation: each token by itself, over its channels (Ba et al. 2016).
//!
//! `x_hat = (x - mean) / sqrt(variance + epsilon)`, output `scale * x_hat + shift`. A token is read from memory once: its
//! mean, its variance and what follows are computed while it lies in the nearest cache, and the backward pass and the
//! tangent compute them again.
//!
//! A sum over channels consists of 32 sums, the first one of channels 0, 32, 64 and so on, which are then added in pairs: an
//! order that no vector width changes.

use crate::lanes::for_each_instruction_set;
use crate::memory::Buffer;
use crate::{ShapeError, fixed_sum_pair};
use rayon::prelude::*;

/// Sizes of one layer normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormShape {
    /// Number of tokens, of all images together.
    pub tokens: usize,
    /// Channels of a token.
    pub channels: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LayerNormShape {
    /// Checks that a token has channels.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if it has none.
    pub fn checked(self) -> Result<Self, ShapeError> {
        if self.channels == 0 {
            return Err(ShapeError("layer_norm: a token has no channels".into()));
        }
        Ok(self)
    }

    fn check(&self, lengths: &[usize], of_channels: &[usize]) {
        for &length in lengths {
            assert_eq!(length, self.tokens * self.channels, "length of a layer norm's tokens");
        }
        for &length in of_channels {
            assert_eq!(length, self.channels, "length of a layer norm's scale or shift");
        }
    }
}

/// Tokens that one task works on, and whose shares in the gradients of scale and shift are added up first.
const TOKENS_OF_A_TASK: usize = 32;

/// Sums that a sum over channels consists of: two vectors of the widest kind, as one alone would wait for itself.
const SUMS: usize = 32;

/// The sum over channels, where `term` adds what the values of one channel give.
#[inline(always)]
fn sum<const N: usize>(values: [&[f32]; N], term: impl Fn([f32; N], f32) -> f32) -> f32 {
    let mut sums = [0.0f32; SUMS];
    let parts = values.map(|values| values.as_chunks::<SUMS>());
    for place in 0..parts[0].0.len() {
        let chunks = parts.map(|(chunks, _)| &chunks[place]);
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum = term(chunks.map(|chunk| chunk[lane]), *sum);
        }
    }
    for lane in 0..parts[0].1.len() {
        sums[lane] = term(parts.map(|(_, rest)| rest[lane]), sums[lane]);
    }
    let mut width = SUMS / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Mean and inverse deviation of a token.
#[inline(always)]
fn statistics(token: &[f32], epsilon: f64) -> [f32; 2] {
    let count = token.len() as f64;
    let mean = (f64::from(sum([token], |[x], sum| sum + x)) / count) as f32;
    let squares = sum([token], |[x], sum| (x - mean).mul_add(x - mean, sum));
    [mean, (1.0 / (f64::from(squares) / count + epsilon).sqrt()) as f32]
}

/// Normalises every token; scale and shift are `[channels]`.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
pub fn layer_norm(shape: &LayerNormShape, input: &[f32], scale: &[f32], shift: &[f32], output: &mut [f32]) {
    shape.check(&[input.len(), output.len()], &[scale.len(), shift.len()]);
    let length = TOKENS_OF_A_TASK * shape.channels;
    output
        .par_chunks_mut(length)
        .zip(input.par_chunks(length))
        .for_each(|(output, input)| normalise(shape.epsilon, input, scale, shift, output));
}

for_each_instruction_set! {
    fn normalise(epsilon: f64, input: &[f32], scale: &[f32], shift: &[f32], output: &mut [f32]) {
        let channels = scale.len();
        for (output, token) in output.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
            let [mean, inverse] = statistics(token, epsilon);
            for (((y, x), scale), shift) in output.iter_mut().zip(token).zip(scale).zip(shift) {
                *y = ((x - mean) * inverse).mul_add(*scale, *shift);
            }
        }
    }
}

/// Gradients with respect to the input, the scale and the shift.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
#[allow(clippy::too_many_arguments, reason = "three inputs and three outputs")]
pub fn layer_norm_backward(
    shape: &LayerNormShape,
    input: &[f32],
    scale: &[f32],
    output_gradient: &[f32],
    input_gradient: &mut [f32],
    scale_gradient: &mut [f32],
    shift_gradient: &mut [f32],
) {
    let channels = shape.channels;
    shape.check(
        &[input.len(), output_gradient.len(), input_gradient.len()],
        &[scale.len(), scale_gradient.len(), shift_gradient.len()],
    );
    let length = TOKENS_OF_A_TASK * channels;
    let tasks = shape.tokens.div_ceil(TOKENS_OF_A_TASK);
    // The shares of each task: of the shift, then of the scale.
    let mut sums = Buffer::new(tasks * 2 * channels);
    input_gradient
        .par_chunks_mut(length)
        .zip(input.par_chunks(length))
        .zip(output_gradient.par_chunks(length))
        .zip(sums.values().par_chunks_exact_mut(2 * channels))
        .for_each(|(((gradient, input), upstream), sums)| {
            let (of_shift, of_scale) = sums.split_at_mut(channels);
            differentiate(shape.epsilon, input, scale, upstream, gradient, of_shift, of_scale);
        });
    let sums = sums.as_slice();
    fixed_sum_pair(tasks, shift_gradient, scale_gradient, |task| {
        sums[task * 2 * channels..][..2 * channels].split_at(channels)
    });
}

/// `inverse * (direction - mean of direction - x_hat * mean of direction * x_hat)` for one token, given the two means.
#[inline(always)]
fn centred(x_hat: f32, direction: f32, [plain, along]: [f32; 2], inverse: f32) -> f32 {
    inverse * x_hat.mul_add(-along, direction - plain)
}

for_each_instruction_set! {
    fn differentiate(epsilon: f64, input: &[f32], scale: &[f32], upstream: &[f32], gradient: &mut [f32], of_shift: &mut [f32], of_scale: &mut [f32]) {
        let channels = scale.len();
        let (of_shift, of_scale) = (&mut of_shift[..channels], &mut of_scale[..channels]);
        of_shift.fill(0.0);
        of_scale.fill(0.0);
        let tokens = input.chunks_exact(channels).zip(upstream.chunks_exact(channels));
        for (gradient, (token, upstream)) in gradient.chunks_exact_mut(channels).zip(tokens) {
            let [mean, inverse] = statistics(token, epsilon);
            let (token, upstream, gradient) = (&token[..channels], &upstream[..channels], &mut gradient[..channels]);
            let plain = sum([upstream, scale], |[d, scale], sum| d.mul_add(scale, sum));
            let along = sum([token, upstream, scale], |[x, d, scale], sum| (d * scale).mul_add((x - mean) * inverse, sum));
            let means = [plain, along].map(|sum| sum / channels as f32);
            for c in 0..channels {
                let x_hat = (token[c] - mean) * inverse;
                gradient[c] = centred(x_hat, upstream[c] * scale[c], means, inverse);
                of_shift[c] += upstream[c];
                of_scale[c] = upstream[c].mul_add(x_hat, of_scale[c]);
            }
        }
    }
}

/// The derivative of the output along a tangent of the input.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
pub fn layer_norm_tangent(
    shape: &LayerNormShape,
    input: &[f32],
    scale: &[f32],
    tangent: &[f32],
    output: &mut [f32],
) {
    shape.check(&[input.len(), tangent.len(), output.len()], &[scale.len()]);
    let length = TOKENS_OF_A_TASK * shape.channels;
    output
        .par_chunks_mut(length)
        .zip(input.par_chunks(length))
        .zip(tangent.par_chunks(length))
        .for_each(|((output, input), tangent)| along(shape.epsilon, input, scale, tangent, output));
}

for_each_instruction_set! {
    fn along(epsilon: f64, input: &[f32], scale: &[f32], tangent: &[f32], output: &mut [f32]) {
        let channels = scale.len();
        let tokens = input.chunks_exact(channels).zip(tangent.chunks_exact(channels));
        for (output, (token, tangent)) in output.chunks_exact_mut(channels).zip(tokens) {
            let [mean, inverse] = statistics(token, epsilon);
            let (token, tangent, output) = (&token[..channels], &tangent[..channels], &mut output[..channels]);
            let plain = sum([tangent], |[u], sum| sum + u);
            let along = sum([token, tangent], |[x, u], sum| u.mul_add((x - mean) * inverse, sum));
            let means = [plain, along].map(|sum| sum / channels as f32);
            for c in 0..channels {
                output[c] = scale[c] * centred((token[c] - mean) * inverse, tangent[c], means, inverse);
            }
        }
    }
}
