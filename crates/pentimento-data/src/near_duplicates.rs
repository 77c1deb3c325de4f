//! Images that look alike: a perceptual hash of 64 bits, all pairs whose hashes differ in few of them, and those among
//! these pairs whose pixels hardly differ.
//!
//! The hash is the usual one of the discrete cosine transform (Zauner, "Implementation and Benchmarking of Perceptual Image
//! Hash Functions", 2010): the image in grey, averaged to 32 x 32 pixels, its 8 x 8 lowest frequencies; a bit is set where
//! a coefficient is above their median. The first one, the mean brightness, is left out, so 63 bits are in use. Brightness,
//! contrast, size and recompression change few bits; mirroring and turning change many.

use std::f64::consts::PI;
use std::sync::LazyLock;

use rayon::prelude::*;

use crate::error::DataError;
use crate::image::Image;
use crate::preprocessing::PreparedSet;
use crate::resize::{ImageResizer, ResizeFilter};
use crate::source::{Meter, Tell, Work};

/// Pairs that differ in at most so many bits are reported. Measured on the 50,000 training images of CIFAR-10
/// (`examples/look_alikes.rs`, 12 evenly chosen pairs of each kind looked at): 11 of 12 pairs that differ in 4 bits show the
/// same picture, 7 of 12 that differ in 6, 5 of 12 in 8, 1 of 12 in 10. Half of the bits in use are set in every hash, so
/// distances are even.
pub const NEAR_DUPLICATE_BITS: u32 = 4;

/// Largest root mean square difference of two images that are nearly the same, of 255. Of pairs of different images whose
/// hashes agree, among 4000 each, the closest digits of MNIST differ by 11.1 (6.6 at 14x14 pixels), the closest clothes of
/// Fashion-MNIST by 20.7 (13.8). JPEG of quality 90 changes a digit by 2.3 in the median and a picture of CIFAR-10 by 5.3. So
/// not every copy that was compressed is found, and two images that someone drew are not taken for one.
const MAX_DIFFERENCE: f64 = 6.0;

/// Side of the image whose frequencies are taken.
const SIDE: usize = 32;
/// Lowest frequencies in each direction that make bits.
const FREQUENCIES: usize = 8;

/// The perceptual hash of an image of 1 or 3 channels.
///
/// # Errors
/// If the image cannot be resized.
pub fn perceptual_hash(image: &Image) -> Result<u64, DataError> {
    let channels = image.channels();
    let grey: Vec<u8> = image
        .pixels()
        .chunks_exact(channels)
        .map(|pixel| match *pixel {
            [red, green, blue] => {
                ((299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue) + 500) / 1000) as u8
            }
            [first, ..] => first,
            [] => 0,
        })
        .collect();
    let mut small = Vec::with_capacity(SIDE * SIDE);
    ImageResizer::new([image.height(), image.width()], [SIDE, SIDE], 1, ResizeFilter::Bilinear)?
        .resize_into(&grey, &mut small)?;
    Ok(hash_of(&small))
}

/// cos(pi k (x + 1/2) / 32) by k and x.
static COSINES: LazyLock<Vec<[f64; SIDE]>> = LazyLock::new(|| {
    let cosine = |frequency: usize, place: usize| {
        libm::cos(PI * frequency as f64 * (place as f64 + 0.5) / SIDE as f64)
    };
    (0..FREQUENCIES).map(|frequency| std::array::from_fn(|place| cosine(frequency, place))).collect()
});

/// Of `SIDE` x `SIDE` grey pixels.
fn hash_of(pixels: &[u8]) -> u64 {
    // First along rows, then along columns.
    let rows: Vec<[f64; FREQUENCIES]> = pixels
        .chunks_exact(SIDE)
        .map(|row| {
            std::array::from_fn(|frequency| {
                row.iter().zip(&COSINES[frequency]).map(|(&pixel, cosine)| f64::from(pixel) * cosine).sum()
            })
        })
        .collect();
    let mut coefficients = [0.0; FREQUENCIES * FREQUENCIES];
    for (place, coefficient) in coefficients.iter_mut().enumerate() {
        let (vertical, horizontal) = (place / FREQUENCIES, place % FREQUENCIES);
        *coefficient =
            rows.iter().zip(&COSINES[vertical]).map(|(row, cosine)| row[horizontal] * cosine).sum();
    }
    let mut sorted = coefficients[1..].to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    coefficients.iter().skip(1).fold(0, |hash, &coefficient| hash << 1 | u64::from(coefficient > median))
}

/// Two images that look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearPair {
    /// Position of the one.
    pub first: usize,
    /// Position of the other, further back.
    pub second: usize,
    /// In how many bits their hashes differ.
    pub bits: u32,
}

/// Rows of the comparison that are worked on together.
const ROWS: usize = 256;

/// The number of pairs whose hashes differ in at most `bits` bits, and the first `limit` of them in order of their
/// positions.
///
/// Every pair is compared, as a comparison is one exclusive or and one count of bits, and no index has to be right.
pub fn near_duplicates(hashes: &[u64], bits: u32, limit: usize) -> (u64, Vec<NearPair>) {
    near_duplicates_telling(hashes, bits, limit, &mut |_| {})
}

/// [`near_duplicates`], and tells how far it is once that takes longer than a moment.
pub(crate) fn near_duplicates_telling(
    hashes: &[u64],
    bits: u32,
    limit: usize,
    tell: &mut Tell<'_>,
) -> (u64, Vec<NearPair>) {
    let (mut count, mut pairs) = (0, Vec::new());
    // Rows get shorter, so pairs are counted.
    let pairs_before = |row: usize| row * (2 * hashes.len()).saturating_sub(row + 1) / 2;
    let mut meter = Meter::new(Work::Pairing, pairs_before(hashes.len()));
    for start in (0..hashes.len()).step_by(ROWS) {
        let rows: Vec<(u64, Vec<NearPair>)> = (start..hashes.len().min(start + ROWS))
            .into_par_iter()
            .map(|first| {
                let (mut count, mut pairs) = (0, Vec::new());
                for (second, other) in hashes.iter().enumerate().skip(first + 1) {
                    let differing = (hashes[first] ^ other).count_ones();
                    if differing <= bits {
                        count += 1;
                        if pairs.len() < limit {
                            pairs.push(NearPair { first, second, bits: differing });
                        }
                    }
                }
                (count, pairs)
            })
            .collect();
        for (more, found) in rows {
            count += more;
            pairs.extend(found.into_iter().take(limit - pairs.len()));
        }
        meter.set(pairs_before(hashes.len().min(start + ROWS)), tell);
    }
    (count, pairs)
}

/// For each image the position of the first one that is nearly the same: directly, or through images each of which is
/// nearly the same as the next. Its own position if there is none before it.
///
/// # Errors
/// If an image cannot be resized for its hash.
pub fn nearly_the_same(images: &PreparedSet) -> Result<Vec<usize>, DataError> {
    let hash = |index: usize| {
        let pixels = images.image(index).to_vec();
        perceptual_hash(&Image::new(images.height(), images.width(), images.channels(), pixels)?)
    };
    let hashes = (0..images.len()).map(hash).collect::<Result<Vec<u64>, _>>()?;
    let (_, pairs) = near_duplicates(&hashes, NEAR_DUPLICATE_BITS, usize::MAX);
    let mut earlier: Vec<usize> = (0..images.len()).collect();
    for NearPair { first, second, .. } in pairs {
        if root_mean_square_difference(images.image(first), images.image(second)) <= MAX_DIFFERENCE {
            let (one, other) = (earliest(&earlier, first), earliest(&earlier, second));
            earlier[one.max(other)] = one.min(other);
        }
    }
    Ok((0..images.len()).map(|index| earliest(&earlier, index)).collect())
}

/// Goes from an image to an earlier one, and on, until there is none before it.
fn earliest(earlier: &[usize], mut index: usize) -> usize {
    while earlier[index] != index {
        index = earlier[index];
    }
    index
}

fn root_mean_square_difference(one: &[u8], other: &[u8]) -> f64 {
    let squares: f64 = one.iter().zip(other).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    (squares / one.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageSet;
    use crate::preprocessing::{Preprocessing, prepare};
    use proptest::prelude::*;

    fn picture(height: usize, width: usize, draw: impl Fn(f64, f64) -> f64) -> Image {
        let pixels = (0..height * width)
            .map(|place| {
                let (y, x) = ((place / width) as f64 / height as f64, (place % width) as f64 / width as f64);
                draw(y, x).clamp(0.0, 255.0) as u8
            })
            .collect();
        Image::new(height, width, 1, pixels).unwrap()
    }

    fn blob(y: f64, x: f64) -> f64 {
        let waves = libm::sin(9.0 * x + 3.0 * y) + libm::sin(4.0 * y - 5.0 * x * y) + libm::cos(14.0 * x * x);
        128.0 + 30.0 * waves
    }

    #[test]
    fn size_brightness_and_contrast_change_few_bits_and_mirroring_many() {
        let hash = perceptual_hash(&picture(96, 128, blob)).unwrap();
        let distance = |image: &Image| (hash ^ perceptual_hash(image).unwrap()).count_ones();
        assert!(distance(&picture(48, 64, blob)) <= NEAR_DUPLICATE_BITS);
        assert!(distance(&picture(96, 128, |y, x| blob(y, x) + 20.0)) <= NEAR_DUPLICATE_BITS);
        assert!(distance(&picture(96, 128, |y, x| 30.0 + 0.7 * blob(y, x))) <= NEAR_DUPLICATE_BITS);
        assert!(distance(&picture(96, 128, |y, x| blob(y, 1.0 - x))) > 16);
        assert!(distance(&picture(96, 128, |y, x| blob(x, y))) > 16);
    }

    /// A horizontal wave of frequency k has one coefficient, in column k of the first row; all others are 0 but for
    /// rounding to bytes, so its bit is among those above the median.
    #[test]
    fn a_wave_sets_the_bit_of_its_frequency() {
        for frequency in 1..FREQUENCIES {
            let wave =
                |place: usize| 128.0 + 100.0 * libm::cos(PI * frequency as f64 * (place as f64 + 0.5) / 32.0);
            let pixels: Vec<u8> = (0..SIDE * SIDE).map(|place| wave(place % SIDE) as u8).collect();
            let bit = 63 - frequency;
            assert_eq!(hash_of(&pixels) >> bit & 1, 1, "{frequency}");
        }
    }

    #[test]
    fn copies_in_colour_and_grey_hash_alike() {
        let grey = picture(20, 20, blob);
        let rgb = Image::new(20, 20, 3, grey.pixels().iter().flat_map(|&byte| [byte; 3]).collect()).unwrap();
        assert_eq!(perceptual_hash(&grey).unwrap(), perceptual_hash(&rgb).unwrap());
    }

    /// Pictures that differ by one number in all pixels, so that this number is their root mean square difference, and hashes
    /// leave the mean out.
    #[test]
    fn pictures_that_differ_by_at_most_six_are_nearly_the_same_also_over_others() {
        let other = |y: f64, x: f64| blob(1.0 - x, 0.7 * y);
        let pictures = [
            picture(16, 16, other),
            picture(16, 16, |y, x| blob(y, x) + 7.0),
            picture(16, 16, blob),
            picture(16, 16, |y, x| blob(y, x) + 6.0),
            picture(16, 16, |y, x| other(y, x) + 7.0),
        ];
        let pixels = pictures.iter().flat_map(|image| image.pixels().to_vec()).collect();
        let set = ImageSet::new(16, 16, 1, pixels, vec![0; 5]).unwrap();
        let set = prepare(&set, &Preprocessing::default()).unwrap();
        assert_eq!(nearly_the_same(&set).unwrap(), [0, 1, 1, 1, 4]);
    }

    proptest! {
        #[test]
        fn exactly_the_near_pairs_are_found(hashes in prop::collection::vec(0_u64..256, 0..60), bits in 0_u32..4) {
            let mut expected = Vec::new();
            for first in 0..hashes.len() {
                for second in first + 1..hashes.len() {
                    let differing = (0..64).filter(|bit| hashes[first] >> bit & 1 != hashes[second] >> bit & 1).count();
                    if differing <= bits as usize {
                        expected.push(NearPair { first, second, bits: differing as u32 });
                    }
                }
            }
            prop_assert_eq!(near_duplicates(&hashes, bits, usize::MAX), (expected.len() as u64, expected.clone()));
            let first: Vec<_> = expected.iter().copied().take(3).collect();
            prop_assert_eq!(near_duplicates(&hashes, bits, 3), (expected.len() as u64, first));
        }
    }
}
