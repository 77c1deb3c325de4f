//! Resizing with antialiasing, to the same bytes on every processor.
//!
//! The filters are separable and stretched by the scale when an image shrinks, so every source pixel counts. The work
//! is done by `fast_image_resize` on 16-bit integers: a byte v enters as 16384 + 128 v and a result r leaves as
//! (r - 16384) / 128, rounded half up and clamped to a byte. So the first of the two passes keeps seven bits after the
//! point and its overshoots, where passes over bytes would round and clamp in between: the box filter from 2 x 2
//! pixels to one is exactly the mean of the four, rounded half up.
//!
//! The weights are fixed-point integers and the sums 64-bit integers, so neither the order of a sum nor the width of
//! a vector register can change a byte. The weights themselves come from additions, multiplications and divisions in
//! f64, which IEEE 754 defines to the last bit, except for the sine in Lanczos, which is therefore taken from `libm`.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U16;
use fast_image_resize::{Filter, FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::image::MAX_IMAGE_PIXELS;

/// How the pixels under a new pixel are weighted; all are antialiased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResizeFilter {
    /// The mean of the area: support 0.5 pixels.
    Box,
    /// A triangle: support 1 pixel. What most diffusion training scripts use.
    #[default]
    Bilinear,
    /// Catmull-Rom, the cubic with a = -0.5: support 2 pixels.
    Bicubic,
    /// A sinc windowed by a sinc: support 3 pixels.
    Lanczos3,
}

/// What is added so that overshoots below 0 stay representable, in 1/128 of a byte step. Half a byte range on either
/// side; the negative lobes of Lanczos, the largest, reach 0.27.
const OFFSET: u16 = 16384;
/// Steps per step of a byte.
const STEPS: u16 = 128;

/// Resizes images of one shape to another, channel by channel; keeps its buffers from image to image.
///
/// The library is generic over the kind of pixel, and its code is compiled here: one kind instead of one for each
/// number of channels cut a build of the tests from 155 s to 20 s on 2 cores.
pub(crate) struct ImageResizer {
    /// `[height, width]`
    from: [u32; 2],
    channels: usize,
    options: ResizeOptions,
    resizer: Resizer,
    /// One channel before and after.
    source: Vec<U16>,
    target: TypedImage<'static, U16>,
    /// What lies between two passes that are made one after the other; none if the library makes both.
    between: Option<TypedImage<'static, U16>>,
}

/// The library makes the pass along the rows first. Of a high strip that becomes wide, what lies between the passes would
/// take all memory; then the pass along the columns is made before, to this size `[height, width]`. One of the two orders
/// always fits, because both images have at most [`MAX_IMAGE_PIXELS`].
fn columns_first(from: [usize; 2], to: [usize; 2]) -> Option<[usize; 2]> {
    (from[0].saturating_mul(to[1]) > MAX_IMAGE_PIXELS).then_some([to[0], from[1]])
}

impl ImageResizer {
    /// From and to `[height, width]`; their pixels are already bounded.
    pub(crate) fn new(
        from: [usize; 2],
        to: [usize; 2],
        channels: usize,
        filter: ResizeFilter,
    ) -> Result<Self, DataError> {
        let filter = match filter {
            ResizeFilter::Box => FilterType::Box,
            ResizeFilter::Bilinear => FilterType::Bilinear,
            ResizeFilter::Bicubic => FilterType::CatmullRom,
            ResizeFilter::Lanczos3 => {
                FilterType::Custom(Filter::new("Lanczos3", lanczos3, 3.0).map_err(resize_error)?)
            }
        };
        Ok(Self {
            from: from.map(|side| side as u32),
            channels,
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)),
            resizer: Resizer::new(),
            source: Vec::new(),
            target: TypedImage::new(to[1] as u32, to[0] as u32),
            between: columns_first(from, to)
                .map(|[height, width]| TypedImage::new(width as u32, height as u32)),
        })
    }

    /// Appends the resized image to `output`.
    pub(crate) fn resize_into(&mut self, pixels: &[u8], output: &mut Vec<u8>) -> Result<(), DataError> {
        let start = output.len();
        output.resize(start + self.target.pixels().len() * self.channels, 0);
        for channel in 0..self.channels {
            let bytes = pixels.iter().skip(channel).step_by(self.channels);
            self.source.clear();
            self.source.extend(bytes.map(|&byte| U16::new(OFFSET + STEPS * u16::from(byte))));
            let source =
                TypedImageRef::new(self.from[1], self.from[0], &self.source).map_err(resize_error)?;
            match &mut self.between {
                None => self.resizer.resize_typed(&source, &mut self.target, &self.options),
                Some(between) => self
                    .resizer
                    .resize_typed(&source, between, &self.options)
                    .and_then(|()| self.resizer.resize_typed(between, &mut self.target, &self.options)),
            }
            .map_err(resize_error)?;
            let resized = output[start..].iter_mut().skip(channel).step_by(self.channels);
            for (byte, value) in resized.zip(self.target.pixels()) {
                let steps = value.0.saturating_sub(OFFSET);
                // Half a byte step more, then down; at most (65535 - 16384 + 64) / 128 = 384.
                *byte = u8::try_from((steps + STEPS / 2) / STEPS).unwrap_or(u8::MAX);
            }
        }
        Ok(())
    }
}

fn resize_error(source: impl std::error::Error + Send + Sync + 'static) -> DataError {
    DataError::Resize { source: Box::new(source) }
}

/// sinc(x) sinc(x / 3) for |x| < 3, 0 beyond.
fn lanczos3(x: f64) -> f64 {
    if x.abs() < 3.0 { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

/// sin(pi x) / (pi x)
fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let angle = std::f64::consts::PI * x;
    libm::sin(angle) / angle
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resize(
        pixels: &[u8],
        from: [usize; 2],
        to: [usize; 2],
        channels: usize,
        filter: ResizeFilter,
    ) -> Vec<u8> {
        let mut output = Vec::new();
        ImageResizer::new(from, to, channels, filter).unwrap().resize_into(pixels, &mut output).unwrap();
        output
    }

    /// The kernels from their published definitions: Keys 1981 (cubic, a = -0.5), Duchon 1979 (Lanczos).
    fn kernel(filter: ResizeFilter, x: f64) -> f64 {
        let x = x.abs();
        match filter {
            // Half-open, so that of two pixels at equal distance one counts.
            ResizeFilter::Box => unreachable!("tested by exact means"),
            ResizeFilter::Bilinear => (1.0 - x).max(0.0),
            ResizeFilter::Bicubic if x < 1.0 => 1.5 * x.powi(3) - 2.5 * x.powi(2) + 1.0,
            ResizeFilter::Bicubic if x < 2.0 => -0.5 * x.powi(3) + 2.5 * x.powi(2) - 4.0 * x + 2.0,
            ResizeFilter::Bicubic => 0.0,
            ResizeFilter::Lanczos3 if x == 0.0 => 1.0,
            ResizeFilter::Lanczos3 if x < 3.0 => {
                let angle = std::f64::consts::PI * x;
                3.0 * libm::sin(angle) * libm::sin(angle / 3.0) / (angle * angle)
            }
            ResizeFilter::Lanczos3 => 0.0,
        }
    }

    /// Weights of all `from` pixels for the new pixel `index`: the kernel around its centre, stretched when shrinking.
    fn weights(from: usize, to: usize, index: usize, filter: ResizeFilter) -> Vec<f64> {
        let scale = from as f64 / to as f64;
        let centre = (index as f64 + 0.5) * scale;
        let raw: Vec<_> =
            (0..from).map(|pixel| kernel(filter, (pixel as f64 + 0.5 - centre) / scale.max(1.0))).collect();
        let sum: f64 = raw.iter().sum();
        raw.into_iter().map(|weight| weight / sum).collect()
    }

    /// The two-dimensional weighted mean in f64, without rounding or clamping in between.
    fn reference(
        pixels: &[u8],
        from: [usize; 2],
        to: [usize; 2],
        channels: usize,
        filter: ResizeFilter,
    ) -> Vec<f64> {
        let mut output = Vec::new();
        for row in 0..to[0] {
            let row_weights = weights(from[0], to[0], row, filter);
            for column in 0..to[1] {
                let column_weights = weights(from[1], to[1], column, filter);
                for channel in 0..channels {
                    let mut sum = 0.0;
                    for (y, row_weight) in row_weights.iter().enumerate() {
                        for (x, column_weight) in column_weights.iter().enumerate() {
                            let value = pixels[(y * from[1] + x) * channels + channel];
                            sum += row_weight * column_weight * f64::from(value);
                        }
                    }
                    output.push(sum.clamp(0.0, 255.0));
                }
            }
        }
        output
    }

    fn images() -> impl Strategy<Value = (Vec<u8>, [usize; 2], [usize; 2], usize)> {
        ([1_usize..24, 1..24], [1_usize..24, 1..24], 1_usize..=4).prop_flat_map(|(from, to, channels)| {
            // Random bytes, and black and white for the largest overshoots.
            let byte = prop_oneof![any::<u8>(), Just(0), Just(255)];
            let pixels = prop::collection::vec(byte, from[0] * from[1] * channels);
            (pixels, Just(from), Just(to), Just(channels))
        })
    }

    #[test]
    fn a_high_strip_becomes_a_wide_one_with_little_memory() {
        assert_eq!(columns_first([1 << 20, 1], [1, 256]), None);
        assert_eq!(columns_first([1 << 20, 1], [2, 512]), Some([2, 1]));
        assert_eq!(columns_first([1, 1 << 20], [512, 1]), None);
        // The upper half is 10, the lower one 200.
        let pixels = [[10; 1 << 19], [200; 1 << 19]].concat();
        let resized = resize(&pixels, [1 << 20, 1], [2, 512], 1, ResizeFilter::Box);
        assert_eq!(resized, [[10; 512], [200; 512]].concat());
    }

    proptest! {
        #[test]
        fn smooth_filters_are_the_weighted_mean_of_their_definition((pixels, from, to, channels) in images()) {
            for filter in [ResizeFilter::Bilinear, ResizeFilter::Bicubic, ResizeFilter::Lanczos3] {
                let resized = resize(&pixels, from, to, channels, filter);
                let expected = reference(&pixels, from, to, channels, filter);
                prop_assert_eq!(resized.len(), expected.len());
                for (&value, exact) in resized.iter().zip(expected) {
                    // Half a byte step for the final rounding; half of 1/128 for the rounding of the second pass,
                    // and for that of the first, whose errors the second weighs by absolute weights that sum to
                    // less than 2 (1.54 for Lanczos halfway between two pixels).
                    let bound = 0.5 + (1.0 + 2.0) * 0.5 / f64::from(STEPS);
                    prop_assert!(
                        (f64::from(value) - exact).abs() <= bound,
                        "{:?} {:?} -> {:?}: {} for {}", filter, from, to, value, exact
                    );
                }
            }
        }

        #[test]
        fn box_to_half_the_size_is_the_mean_of_four_rounded_half_up(
            (pixels, from, channels) in ([1_usize..16, 1..16], 1_usize..=4).prop_flat_map(|(half, channels)| {
                let from = half.map(|side| 2 * side);
                (prop::collection::vec(any::<u8>(), from[0] * from[1] * channels), Just(from), Just(channels))
            })
        ) {
            let to = from.map(|side| side / 2);
            let resized = resize(&pixels, from, to, channels, ResizeFilter::Box);
            let at = |y: usize, x: usize, channel: usize| u32::from(pixels[(y * from[1] + x) * channels + channel]);
            for y in 0..to[0] {
                for x in 0..to[1] {
                    for channel in 0..channels {
                        let sum = at(2 * y, 2 * x, channel)
                            + at(2 * y, 2 * x + 1, channel)
                            + at(2 * y + 1, 2 * x, channel)
                            + at(2 * y + 1, 2 * x + 1, channel);
                        prop_assert_eq!(u32::from(resized[(y * to[1] + x) * channels + channel]), (sum + 2) / 4);
                    }
                }
            }
        }

        #[test]
        fn an_even_image_stays_even(value: u8, from in [1_usize..40, 1..40], to in [1_usize..40, 1..40]) {
            for filter in [ResizeFilter::Box, ResizeFilter::Bilinear, ResizeFilter::Bicubic, ResizeFilter::Lanczos3] {
                let resized = resize(&vec![value; from[0] * from[1]], from, to, 1, filter);
                prop_assert_eq!(resized, vec![value; to[0] * to[1]]);
            }
        }
    }

    #[test]
    fn a_size_that_stays_keeps_every_byte() {
        let pixels: Vec<u8> = (0..=255).collect();
        for filter in
            [ResizeFilter::Box, ResizeFilter::Bilinear, ResizeFilter::Bicubic, ResizeFilter::Lanczos3]
        {
            assert_eq!(resize(&pixels, [16, 16], [16, 16], 1, filter), pixels);
        }
    }
}
