//! Sums of outer products of what goes into a layer: `sum a a'` over positions and draws.
//!
//! What goes into a convolution at one position is a patch, and neighbouring patches share most of their values. For 3x3
//! kernels of stride 1 the sum over all patches therefore follows from the inner products of the image with itself, moved
//! by up to two pixels, less the patches that are centred just outside the image: 13 products and four strips instead of
//! 45.

use super::CurvatureError;
use super::matrices::{shape, transposed, transposed_product};
use pentimento_diffusion::unet::LayerValues;
use pentimento_kernels::{ConvGeometry, conv2d_backward_weight_of_taps};

/// A kernel of all neighbours within two pixels. Of two opposite ones the products are each other's transpose, so the second
/// half of its taps, from the middle on, says all.
const NEIGHBOURS: ConvGeometry = ConvGeometry { kernel: 5, stride: 1, padding_before: 2, padding_after: 2 };

/// `sum a a'`, `[patch, patch]`, over the positions of all images; patches as [`Block`](super::Block) has them. Of this
/// symmetric matrix only what is on and above the diagonal is made, for 3x3 kernels; the rest is zero.
pub(super) fn sum_over_patches(
    input: &LayerValues<f32>,
    geometry: ConvGeometry,
) -> Result<Vec<f32>, CurvatureError> {
    let channels = input.sides[3];
    if geometry == ConvGeometry::POINTWISE {
        let rows = input.values().len() / channels.max(1);
        return transposed_product(input.values(), input.values(), rows, channels, channels);
    }
    if geometry == ConvGeometry::SAME_3X3 {
        return sum_by_neighbours(input);
    }
    let (patches, rows) = patches(input, geometry);
    let length = geometry.kernel * geometry.kernel * channels;
    transposed_product(&patches, &patches, rows, length, length)
}

/// The mean patch of each image, `[images, patch]`.
pub(super) fn mean_patches(input: &LayerValues<f32>, geometry: ConvGeometry) -> Vec<f32> {
    let [images, _, _, channels] = input.sides;
    let (patches, rows) = patches(input, geometry);
    let length = geometry.kernel * geometry.kernel * channels;
    let positions = (rows / images.max(1)).max(1);
    let mut means = Vec::with_capacity(images * length);
    for of_image in patches.chunks_exact((positions * length).max(1)) {
        let mut sum = vec![0.0f64; length];
        for patch in of_image.chunks_exact(length.max(1)) {
            for (sum, value) in sum.iter_mut().zip(patch) {
                *sum += f64::from(*value);
            }
        }
        means.extend(sum.into_iter().map(|sum| (sum / positions as f64) as f32));
    }
    means
}

/// All patches, `[images * positions, patch]`, and how many they are.
fn patches(input: &LayerValues<f32>, geometry: ConvGeometry) -> (Vec<f32>, usize) {
    let [images, height, width, channels] = input.sides;
    let sides = [height, width].map(|side| geometry.output_side(side).unwrap_or_default());
    let mut patches =
        Vec::with_capacity(images * sides[0] * sides[1] * geometry.kernel * geometry.kernel * channels);
    for image in input.values().chunks_exact((height * width * channels).max(1)) {
        for row in 0..sides[0] {
            for column in 0..sides[1] {
                let corner = [row, column]
                    .map(|at| (at * geometry.stride) as isize - geometry.padding_before as isize);
                let kernel = geometry.kernel as isize;
                let offsets = (0..kernel).flat_map(|down| (0..kernel).map(move |right| [down, right]));
                for [down, right] in offsets {
                    push_pixel(
                        &mut patches,
                        image,
                        [height, width, channels],
                        [corner[0] + down, corner[1] + right],
                    );
                }
            }
        }
    }
    (patches, images * sides[0] * sides[1])
}

/// Appends the values of a pixel, or zeros outside the image.
fn push_pixel(
    to: &mut Vec<f32>,
    image: &[f32],
    [height, width, channels]: [usize; 3],
    [row, column]: [isize; 2],
) {
    let inside = |at: isize, side: usize| usize::try_from(at).ok().filter(|&at| at < side);
    match inside(row, height).zip(inside(column, width)) {
        Some((row, column)) => {
            let first = (row * width + column) * channels;
            to.extend_from_slice(&image[first..first + channels]);
        }
        None => to.extend(std::iter::repeat_n(0.0, channels)),
    }
}

fn sum_by_neighbours(input: &LayerValues<f32>) -> Result<Vec<f32>, CurvatureError> {
    let [images, height, width, channels] = input.sides;
    // At tap (dy + 2) * 5 + dx + 2 the sum over pixels of x[pixel + (dy, dx)] x[pixel]'.
    const MIDDLE: usize = 12;
    let square = channels * channels;
    let mut moved = vec![0.0f32; 13 * square];
    let with_itself = shape(input.sides, channels, NEIGHBOURS)?;
    let taps = MIDDLE..25;
    conv2d_backward_weight_of_taps(&with_itself, taps, input.values(), input.values(), &mut moved);
    // The sum over patches that are centred anywhere, also outside: it depends on how far two pixels of the kernel are
    // apart and not on where they are. The second is not before the first, so these taps are from the middle on.
    let patch = 9 * channels;
    let mut sum = vec![0.0f32; patch * patch];
    for (first, second) in (0..9).flat_map(|first| (first..9).map(move |second| (first, second))) {
        let (down, right) = (second / 3 + 2 - first / 3, second % 3 + 2 - first % 3);
        let opposite =
            transposed(&moved[(down * 5 + right - MIDDLE) * square..][..square], channels, channels);
        add_square(&mut sum, &opposite, [first, second], channels, 1.0);
    }
    // Less those that are centred just outside: of these only one row or column of the kernel lies in the image, except
    // at the corners, which belong to the rows.
    let image_at = |image: usize, row: isize, column: isize, to: &mut Vec<f32>| {
        let values = &input.values()[image * height * width * channels..][..height * width * channels];
        push_pixel(to, values, [height, width, channels], [row, column]);
    };
    for (row, kernel_row) in [(0, 2), (height as isize - 1, 0)] {
        let mut strip = Vec::new();
        for image in 0..images {
            for centre in -1..=width as isize {
                (centre - 1..=centre + 1).for_each(|column| image_at(image, row, column, &mut strip));
            }
        }
        take_strip(&mut sum, &strip, [0, 1, 2].map(|right| kernel_row * 3 + right), channels)?;
    }
    for (column, kernel_column) in [(0, 2), (width as isize - 1, 0)] {
        let mut strip = Vec::new();
        for image in 0..images {
            for centre in 0..height as isize {
                (centre - 1..=centre + 1).for_each(|row| image_at(image, row, column, &mut strip));
            }
        }
        take_strip(&mut sum, &strip, [0, 1, 2].map(|down| down * 3 + kernel_column), channels)?;
    }
    Ok(sum)
}

/// Takes from a sum the outer products of rows that hold three pixels each, at three places of the kernel.
fn take_strip(
    sum: &mut [f32],
    strip: &[f32],
    places: [usize; 3],
    channels: usize,
) -> Result<(), CurvatureError> {
    let length = 3 * channels;
    let own = transposed_product(strip, strip, strip.len() / length, length, length)?;
    for (a, first) in places.into_iter().enumerate() {
        for (b, second) in places.into_iter().enumerate() {
            let square: Vec<f32> = (0..channels)
                .flat_map(|row| {
                    own[(a * channels + row) * length + b * channels..][..channels].iter().copied()
                })
                .collect();
            if first <= second {
                add_square(sum, &square, [first, second], channels, -1.0);
            }
        }
    }
    Ok(())
}

/// Adds `[channels, channels]`, times `factor`, where two pixels of the kernel meet.
fn add_square(sum: &mut [f32], square: &[f32], [first, second]: [usize; 2], channels: usize, factor: f32) {
    let patch = 9 * channels;
    for (row, line) in square.chunks_exact(channels).enumerate() {
        let place = (first * channels + row) * patch + second * channels;
        for (sum, value) in sum[place..place + channels].iter_mut().zip(line) {
            *sum += factor * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_noise::{Purpose, Stream};

    /// From the definition, in f64: patches one by one.
    #[test]
    fn moments_are_those_of_the_patches() {
        let valid = ConvGeometry { kernel: 3, stride: 2, padding_before: 0, padding_after: 1 };
        let halving = ConvGeometry { kernel: 3, stride: 2, padding_before: 1, padding_after: 1 };
        for (geometry, sides) in [
            (ConvGeometry::SAME_3X3, [2, 5, 7, 3]),
            (ConvGeometry::SAME_3X3, [3, 1, 1, 4]),
            (ConvGeometry::SAME_3X3, [1, 2, 1, 2]),
            (ConvGeometry::SAME_3X3, [2, 12, 9, 32]),
            (ConvGeometry::POINTWISE, [3, 4, 2, 5]),
            (valid, [2, 6, 4, 3]),
            (halving, [2, 5, 8, 3]),
        ] {
            let mut values = vec![0.0; sides.iter().product()];
            Stream::new(5, Purpose::Test, sides[1] as u32, 0).fill_normal(&mut values);
            values.iter_mut().for_each(|value| *value += 1.0);
            let input = LayerValues::new(values, sides);
            let [images, height, width, channels] = sides;
            let length = geometry.kernel * geometry.kernel * channels;
            let rows: Vec<usize> = [height, width].map(|side| geometry.output_side(side).unwrap()).to_vec();
            let (mut sum, mut means) = (vec![0.0f64; length * length], vec![0.0f64; images * length]);
            for image in 0..images {
                for (row, column) in
                    (0..rows[0]).flat_map(|row| (0..rows[1]).map(move |column| (row, column)))
                {
                    let value = |place: usize| {
                        let (tap, channel) = (place / channels, place % channels);
                        let at = |at: usize, tap: usize| {
                            (at * geometry.stride + tap).wrapping_sub(geometry.padding_before)
                        };
                        let (y, x) = (at(row, tap / geometry.kernel), at(column, tap % geometry.kernel));
                        let inside = y < height && x < width;
                        if inside {
                            f64::from(input.values()[((image * height + y) * width + x) * channels + channel])
                        } else {
                            0.0
                        }
                    };
                    for a in 0..length {
                        means[image * length + a] += value(a) / (rows[0] * rows[1]) as f64;
                        for b in 0..length {
                            sum[a * length + b] += value(a) * value(b);
                        }
                    }
                }
            }
            let scale = sum.iter().fold(0.0f64, |scale, value| scale.max(value.abs()));
            let found = sum_over_patches(&input, geometry).unwrap();
            let above = |place: &usize| place / length <= place % length;
            for place in (0..length * length).filter(above) {
                let (found, truth) = (&found[place], &sum[place]);
                assert!(
                    (f64::from(*found) - truth).abs() < 3e-6 * scale,
                    "{sides:?} {geometry:?} at {place}: {found}, {truth}"
                );
            }
            for (found, truth) in mean_patches(&input, geometry).iter().zip(&means) {
                assert!((f64::from(*found) - truth).abs() < 1e-5, "{sides:?} {geometry:?}: {found}, {truth}");
            }
        }
    }
}
