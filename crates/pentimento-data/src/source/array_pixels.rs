//! The numbers of an array of images, as bytes: what they are, the range that they have, and how they are converted.
//!
//! | numbers | range found | byte |
//! | --- | --- | --- |
//! | unsigned, 8 bits | | as it is |
//! | unsigned, 16 bits | above 255 | `(255 x + 32767) / 65535` rounded down, the nearest of 256 levels |
//! | floating-point | within [0, 1] | `255 x` rounded to the nearest, ties to even, as NumPy does |
//! | floating-point | within [-1, 1], some below 0 | `127.5 (x + 1)` rounded likewise |
//!
//! Any other range is refused: it would be guessed which number is white.

use std::fmt;
use std::io::Read;

use super::decode::to_8_bits;
use super::place::Place;
use crate::error::DataError;

/// Numbers that are read at once.
const CHUNK_NUMBERS: usize = 1 << 14;

/// What an array's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Unsigned, 8 bits.
    Bytes,
    /// Unsigned, 16 bits.
    Words { is_little: bool },
    /// Floating-point of 2, 4 or 8 bytes.
    Floats { bytes: usize, is_little: bool },
}

impl Numbers {
    /// Of a kind as NumPy writes it, such as `<f4`; none for others.
    pub(super) fn of_kind(kind: &str) -> Option<Self> {
        let is_little = !kind.starts_with('>');
        match kind.get(1..)? {
            "u1" => Some(Self::Bytes),
            "u2" => Some(Self::Words { is_little }),
            "f2" => Some(Self::Floats { bytes: 2, is_little }),
            "f4" => Some(Self::Floats { bytes: 4, is_little }),
            "f8" => Some(Self::Floats { bytes: 8, is_little }),
            _ => None,
        }
    }

    /// Bytes of one number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Bytes => 1,
            Self::Words { .. } => 2,
            Self::Floats { bytes, .. } => bytes,
        }
    }

    fn value(self, number: &[u8]) -> f64 {
        let mut little = [0; 8];
        let is_little = match self {
            Self::Bytes => true,
            Self::Words { is_little } | Self::Floats { is_little, .. } => is_little,
        };
        for (place, &byte) in number.iter().take(8).enumerate() {
            little[if is_little { place } else { number.len() - 1 - place }] = byte;
        }
        let bits = u64::from_le_bytes(little);
        match self {
            Self::Floats { bytes: 2, .. } => half::f16::from_bits(bits as u16).to_f64(),
            Self::Floats { bytes: 4, .. } => f64::from(f32::from_bits(bits as u32)),
            Self::Floats { .. } => f64::from_bits(bits),
            // At most 16 bits.
            Self::Bytes | Self::Words { .. } => bits as f64,
        }
    }
}

/// What the numbers of an array were, and how they became bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Conversion {
    /// Unsigned integers of 16 bits; 65535 is white.
    SixteenBits,
    /// Floating-point numbers; 1 is white.
    Floats {
        /// Whether -1 is black; otherwise 0 is.
        is_signed: bool,
        /// The lowest and the highest that there are.
        found: [f64; 2],
    },
}

impl fmt::Display for Conversion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SixteenBits => formatter.write_str("the numbers have 16 bits: 65535 is taken for white"),
            Self::Floats { is_signed, found: [lowest, highest] } => {
                let (range, formula) =
                    if *is_signed { ("[-1, 1]", "127.5 (x + 1)") } else { ("[0, 1]", "255 x") };
                write!(
                    formatter,
                    "the numbers are from {lowest} to {highest}: they are taken for images in {range}, bytes by {formula}"
                )
            }
        }
    }
}

/// How numbers become bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pixels {
    numbers: Numbers,
    pub(super) conversion: Option<Conversion>,
}

impl Pixels {
    /// Finds out by reading all numbers; `position` says where one is, by its place in the array.
    pub(super) fn find(
        numbers: Numbers,
        count: usize,
        reader: &mut dyn Read,
        place: &Place,
        position: &dyn Fn(usize) -> String,
    ) -> Result<Self, DataError> {
        if numbers == Numbers::Bytes || count == 0 {
            return Ok(Self { numbers, conversion: None });
        }
        let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut chunk = vec![0; CHUNK_NUMBERS * numbers.bytes()];
        let mut seen = 0;
        while seen < count {
            let taken = CHUNK_NUMBERS.min(count - seen);
            let bytes = &mut chunk[..taken * numbers.bytes()];
            reader.read_exact(bytes).map_err(|source| place.io("read", source))?;
            for (offset, number) in bytes.chunks_exact(numbers.bytes()).enumerate() {
                let value = numbers.value(number);
                if !value.is_finite() {
                    let field = "the number";
                    let value = format!("{value} in {}", position(seen + offset));
                    return Err(place.broken(
                        field,
                        value,
                        "finite; `numpy.isfinite` finds all that are not",
                    ));
                }
                lowest = lowest.min(value);
                highest = highest.max(value);
            }
            seen += taken;
        }
        let conversion = match numbers {
            Numbers::Bytes => None,
            Numbers::Words { .. } if highest <= 255.0 && highest > 0.0 => {
                let bound = "above 255 somewhere, as 65535 is white; if 255 is, save `x.astype('uint8')`";
                return Err(place.broken("the highest number of 16 bits", highest, bound));
            }
            Numbers::Words { .. } => Some(Conversion::SixteenBits),
            Numbers::Floats { .. } if lowest >= -1.0 && highest <= 1.0 => {
                Some(Conversion::Floats { is_signed: lowest < 0.0, found: [lowest, highest] })
            }
            Numbers::Floats { .. } => {
                let bound = if lowest >= 0.0 && highest <= 255.0 {
                    "[0, 1] or [-1, 1]; images in [0, 255] are read as bytes, `x.round().astype('uint8')`"
                } else {
                    "[0, 1] or [-1, 1]; if these are images, save bytes, \
                     `((x - low) / (high - low) * 255).round().astype('uint8')` with the numbers of black and white; \
                     latents are none: decode them first"
                };
                return Err(place.broken(
                    "the range of the numbers",
                    format!("[{lowest}, {highest}]"),
                    bound,
                ));
            }
        };
        Ok(Self { numbers, conversion })
    }

    /// Bytes of one number.
    pub(super) fn number_bytes(&self) -> usize {
        self.numbers.bytes()
    }

    /// The bytes of some numbers.
    pub(super) fn convert(&self, numbers: Vec<u8>) -> Vec<u8> {
        let values = || numbers.chunks_exact(self.numbers.bytes()).map(|number| self.numbers.value(number));
        let byte = |value: f64| value.round_ties_even().clamp(0.0, 255.0) as u8;
        match self.conversion {
            None => numbers,
            Some(Conversion::SixteenBits) => values().map(|value| to_8_bits(value as u16)).collect(),
            Some(Conversion::Floats { is_signed: false, .. }) => values().map(|x| byte(255.0 * x)).collect(),
            Some(Conversion::Floats { is_signed: true, .. }) => {
                values().map(|x| byte(127.5 * (x + 1.0))).collect()
            }
        }
    }
}
