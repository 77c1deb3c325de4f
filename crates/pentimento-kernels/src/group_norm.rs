//! Group normalisation over `[images, pixels, channels]`, with or without SiLU behind it.
//!
//! `x_hat = (x - mean) / sqrt(variance + epsilon)` over the pixels and the channels of one group of one image,
//! `z = scale * x_hat + shift`, output `z` or `silu(z)` (Wu and He 2018). Sums run over pixels first, channel by
//! channel, then over the channels of a group in f64: an order that no thread or vector width changes.

use crate::activation::{sigmoid, silu_slope};
use crate::lanes::for_each_instruction_set;
use crate::{ShapeError, fixed_sum_pair};
use rayon::prelude::*;

/// Sizes and settings of one group normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormShape {
    /// Number of images.
    pub images: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Number of groups; divides `channels`.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether SiLU follows.
    pub silu: bool,
}

impl GroupNormShape {
    /// Checks that the groups divide the channels.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if they do not, or a size is zero.
    pub fn checked(self) -> Result<Self, ShapeError> {
        if self.groups == 0
            || self.pixels == 0
            || self.channels == 0
            || !self.channels.is_multiple_of(self.groups)
        {
            return Err(ShapeError(format!(
                "group_norm: {} groups do not divide {} channels, or an image is empty",
                self.groups, self.channels
            )));
        }
        Ok(self)
    }

    fn image_length(&self) -> usize {
        self.pixels * self.channels
    }

    fn channels_per_group(&self) -> usize {
        self.channels / self.groups
    }

    fn values_per_group(&self) -> f64 {
        (self.pixels * self.channels_per_group()) as f64
    }

    /// Length of the statistics that the forward pass returns: mean and inverse deviation, per image and channel.
    pub fn statistics_length(&self) -> usize {
        self.images * 2 * self.channels
    }

    /// Replaces each channel's value by the mean over its group: the sum over channels divided by all values.
    fn group_means(&self, per_channel: &mut [f32]) {
        for group in per_channel.chunks_exact_mut(self.channels_per_group()) {
            let sum: f64 = group.iter().map(|&value| f64::from(value)).sum();
            group.fill((sum / self.values_per_group()) as f32);
        }
    }
}

/// Forward pass; `statistics` receives what the other passes need, `[images, 2, channels]`.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
pub fn group_norm(
    shape: &GroupNormShape,
    input: &[f32],
    scale: &[f32],
    shift: &[f32],
    output: &mut [f32],
    statistics: &mut [f32],
) {
    check(shape, input.len(), scale.len(), shift.len(), statistics.len());
    assert_eq!(output.len(), input.len());
    let length = shape.image_length();
    output
        .par_chunks_exact_mut(length)
        .zip(input.par_chunks_exact(length))
        .zip(statistics.par_chunks_exact_mut(2 * shape.channels))
        .for_each(|((output, input), statistics)| {
            image_statistics(shape, input, statistics);
            let (mean, deviation) = statistics.split_at(shape.channels);
            let (a, b) = affine(mean, deviation, scale, shift);
            if shape.silu { apply_silu(input, &a, &b, output) } else { apply(input, &a, &b, output) }
        });
}

/// The statistics alone, for whoever has no use for the output.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
pub fn group_norm_statistics(shape: &GroupNormShape, input: &[f32], statistics: &mut [f32]) {
    check(shape, input.len(), shape.channels, shape.channels, statistics.len());
    input
        .par_chunks_exact(shape.image_length())
        .zip(statistics.par_chunks_exact_mut(2 * shape.channels))
        .for_each(|(input, statistics)| image_statistics(shape, input, statistics));
}

/// Mean and inverse deviation of each channel's group.
fn image_statistics(shape: &GroupNormShape, input: &[f32], statistics: &mut [f32]) {
    let (mean, deviation) = statistics.split_at_mut(shape.channels);
    channel_sums(input, mean);
    shape.group_means(mean);
    channel_squares(input, mean, deviation);
    shape.group_means(deviation);
    for inverse in deviation.iter_mut() {
        *inverse = (1.0 / (f64::from(*inverse) + shape.epsilon).sqrt()) as f32;
    }
}

/// `z = a * x + b` per channel.
fn affine(mean: &[f32], deviation: &[f32], scale: &[f32], shift: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let a: Vec<f32> = deviation.iter().zip(scale).map(|(d, s)| d * s).collect();
    let b = a.iter().zip(mean).zip(shift).map(|((a, m), s)| (-m).mul_add(*a, *s)).collect();
    (a, b)
}

fn check(shape: &GroupNormShape, input: usize, scale: usize, shift: usize, statistics: usize) {
    assert_eq!(input, shape.images * shape.image_length(), "length of a group norm's input");
    assert_eq!((scale, shift), (shape.channels, shape.channels), "length of a group norm's scale and shift");
    assert_eq!(statistics, shape.statistics_length(), "length of a group norm's statistics");
}

for_each_instruction_set! {
    fn channel_sums(input: &[f32], sums: &mut [f32]) {
        sums.fill(0.0);
        for row in input.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

for_each_instruction_set! {
    fn channel_squares(input: &[f32], mean: &[f32], sums: &mut [f32]) {
        sums.fill(0.0);
        for row in input.chunks_exact(sums.len()) {
            for ((sum, value), mean) in sums.iter_mut().zip(row).zip(mean) {
                let centred = value - mean;
                *sum = centred.mul_add(centred, *sum);
            }
        }
    }
}

for_each_instruction_set! {
    fn apply(input: &[f32], a: &[f32], b: &[f32], output: &mut [f32]) {
        for (target, row) in output.chunks_exact_mut(a.len()).zip(input.chunks_exact(a.len())) {
            for (((y, x), a), b) in target.iter_mut().zip(row).zip(a).zip(b) {
                *y = x.mul_add(*a, *b);
            }
        }
    }
}

for_each_instruction_set! {
    fn apply_silu(input: &[f32], a: &[f32], b: &[f32], output: &mut [f32]) {
        for (target, row) in output.chunks_exact_mut(a.len()).zip(input.chunks_exact(a.len())) {
            for (((y, x), a), b) in target.iter_mut().zip(row).zip(a).zip(b) {
                let z = x.mul_add(*a, *b);
                *y = z * sigmoid(z);
            }
        }
    }
}

/// Backward pass: gradients with respect to the input, the scale and the shift.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
#[allow(clippy::too_many_arguments, reason = "four inputs and three outputs")]
pub fn group_norm_backward(
    shape: &GroupNormShape,
    input: &[f32],
    scale: &[f32],
    shift: &[f32],
    statistics: &[f32],
    output_gradient: &[f32],
    input_gradient: &mut [f32],
    scale_gradient: &mut [f32],
    shift_gradient: &mut [f32],
) {
    check(shape, input.len(), scale.len(), shift.len(), statistics.len());
    assert_eq!((output_gradient.len(), input_gradient.len()), (input.len(), input.len()));
    let (length, channels) = (shape.image_length(), shape.channels);
    // Per image: the sums of dz and of dz * x_hat over pixels, which are also the image's share of both gradients.
    let mut sums = vec![0.0; shape.images * 2 * channels];
    input_gradient
        .par_chunks_exact_mut(length)
        .zip(input.par_chunks_exact(length))
        .zip(output_gradient.par_chunks_exact(length))
        .zip(statistics.par_chunks_exact(2 * channels))
        .zip(sums.par_chunks_exact_mut(2 * channels))
        .for_each(|((((gradient, input), upstream), statistics), sums)| {
            let (mean, deviation) = statistics.split_at(channels);
            let (a, b) = affine(mean, deviation, scale, shift);
            let (plain, with_x_hat) = sums.split_at_mut(channels);
            let norm = ImageNorm { mean, deviation, a: &a, b: &b };
            if shape.silu {
                slope_and_sums(input, upstream, &norm, gradient, plain, with_x_hat);
            } else {
                gradient.copy_from_slice(upstream);
                normalised_sums(input, gradient, mean, deviation, plain, with_x_hat);
            }
            let weighted = |values: &[f32]| -> Vec<f32> {
                let mut means: Vec<f32> = values.iter().zip(scale).map(|(v, s)| v * s).collect();
                shape.group_means(&mut means);
                means
            };
            let (first, second) = (weighted(plain), weighted(with_x_hat));
            centre(input, &a, mean, deviation, &first, &second, gradient);
        });
    fixed_sum_pair(shape.images, shift_gradient, scale_gradient, |image| {
        sums[image * 2 * channels..][..2 * channels].split_at(channels)
    });
}

for_each_instruction_set! {
    /// `direction *= silu'(a * x + b)`.
    fn times_slope(input: &[f32], a: &[f32], b: &[f32], direction: &mut [f32]) {
        for (target, row) in direction.chunks_exact_mut(a.len()).zip(input.chunks_exact(a.len())) {
            for (((d, x), a), b) in target.iter_mut().zip(row).zip(a).zip(b) {
                *d *= silu_slope(x.mul_add(*a, *b));
            }
        }
    }
}

/// The coefficients of one image, per channel: `x_hat = (x - mean) * deviation`, `z = a * x + b`.
struct ImageNorm<'a> {
    mean: &'a [f32],
    deviation: &'a [f32],
    a: &'a [f32],
    b: &'a [f32],
}

for_each_instruction_set! {
    /// `gradient = upstream * silu'(z)`, and per channel the sums of it and of it times `x_hat` over pixels.
    fn slope_and_sums(input: &[f32], upstream: &[f32], norm: &ImageNorm<'_>, gradient: &mut [f32], plain: &mut [f32], with_x_hat: &mut [f32]) {
        let channels = norm.mean.len();
        let (mean, deviation) = (&norm.mean[..channels], &norm.deviation[..channels]);
        let (a, b) = (&norm.a[..channels], &norm.b[..channels]);
        let (plain, with_x_hat) = (&mut plain[..channels], &mut with_x_hat[..channels]);
        plain.fill(0.0);
        with_x_hat.fill(0.0);
        let rows = input.chunks_exact(channels).zip(upstream.chunks_exact(channels));
        for ((row, upstream), gradient) in rows.zip(gradient.chunks_exact_mut(channels)) {
            for c in 0..channels {
                let direction = upstream[c] * silu_slope(row[c].mul_add(a[c], b[c]));
                gradient[c] = direction;
                plain[c] += direction;
                with_x_hat[c] = direction.mul_add((row[c] - mean[c]) * deviation[c], with_x_hat[c]);
            }
        }
    }
}

for_each_instruction_set! {
    /// Per channel: the sum of `direction` and of `direction * x_hat` over pixels.
    fn normalised_sums(input: &[f32], direction: &[f32], mean: &[f32], deviation: &[f32], plain: &mut [f32], with_x_hat: &mut [f32]) {
        let channels = mean.len();
        let (deviation, plain, with_x_hat) = (&deviation[..channels], &mut plain[..channels], &mut with_x_hat[..channels]);
        plain.fill(0.0);
        with_x_hat.fill(0.0);
        for (row, direction) in input.chunks_exact(channels).zip(direction.chunks_exact(channels)) {
            for c in 0..channels {
                let x_hat = (row[c] - mean[c]) * deviation[c];
                plain[c] += direction[c];
                with_x_hat[c] = direction[c].mul_add(x_hat, with_x_hat[c]);
            }
        }
    }
}

for_each_instruction_set! {
    /// `direction = a * direction - deviation * (first + x_hat * second)`.
    fn centre(input: &[f32], a: &[f32], mean: &[f32], deviation: &[f32], first: &[f32], second: &[f32], direction: &mut [f32]) {
        let channels = a.len();
        let (mean, deviation, first, second) = (&mean[..channels], &deviation[..channels], &first[..channels], &second[..channels]);
        for (row, target) in input.chunks_exact(channels).zip(direction.chunks_exact_mut(channels)) {
            for c in 0..channels {
                let x_hat = (row[c] - mean[c]) * deviation[c];
                target[c] = a[c].mul_add(target[c], -deviation[c] * x_hat.mul_add(second[c], first[c]));
            }
        }
    }
}

/// Tangent: the derivative of the output along `tangent`, `[images, tangents, pixels, channels]`.
///
/// # Panics
///
/// If a slice has not the length that `shape` and the number of tangents say.
pub fn group_norm_tangent(
    shape: &GroupNormShape,
    input: &[f32],
    scale: &[f32],
    shift: &[f32],
    statistics: &[f32],
    tangent: &[f32],
    output: &mut [f32],
) {
    check(shape, input.len(), scale.len(), shift.len(), statistics.len());
    assert_eq!(output.len(), tangent.len());
    if input.is_empty() {
        return;
    }
    let (length, channels) = (shape.image_length(), shape.channels);
    let tangents = tangent.len() / input.len();
    assert_eq!(tangent.len(), tangents * input.len(), "length of a group norm's tangent");
    output.par_chunks_exact_mut(length).zip(tangent.par_chunks_exact(length)).enumerate().for_each(
        |(index, (output, tangent))| {
            let image = index / tangents;
            let input = &input[image * length..][..length];
            let (mean, deviation) = statistics[image * 2 * channels..][..2 * channels].split_at(channels);
            let (a, b) = affine(mean, deviation, scale, shift);
            let (mut first, mut second) = (vec![0.0; channels], vec![0.0; channels]);
            normalised_sums(input, tangent, mean, deviation, &mut first, &mut second);
            shape.group_means(&mut first);
            shape.group_means(&mut second);
            // dz = scale * deviation * (dx - first - x_hat * second)
            for c in 0..channels {
                first[c] *= scale[c];
                second[c] *= scale[c];
            }
            output.copy_from_slice(tangent);
            centre(input, &a, mean, deviation, &first, &second, output);
            if shape.silu {
                times_slope(input, &a, &b, output);
            }
        },
    );
}
