//! From the bytes of a PNG, JPEG or WebP file to 8-bit pixels, and from any number of channels to the wanted one.
//!
//! - 16 bits become 8 by `(255 v + 32767) / 65535` rounded down: the nearest of 256 levels.
//! - The EXIF orientation is applied, so an image is as a viewer shows it.
//! - Palettes are expanded; colour profiles and gamma are ignored, as training scripts do. Of an animation the first
//!   picture counts.
//! - Alpha is composed on a background, in 8 bits: `(a c + (255 - a) b + 127) / 255` rounded down.
//! - RGB becomes grey by the luma of ITU-R BT.601 in 16-bit fixed point, `(19595 R + 38470 G + 7471 B + 32768) / 65536`
//!   rounded down, which is Pillow's `convert("L")`.
//!
//! Sides are checked before pixels are decoded. A file that is cut short is an error also where a decoder would fill in
//! what is missing.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::error::DataError;
use crate::image::{Image, MAX_SIDE_PIXELS};

/// Most bytes of one encoded image; an uncompressed one of the largest size with 16 bits a channel has as many.
pub(crate) const MAX_ENCODED_BYTES: u64 = (MAX_SIDE_PIXELS * MAX_SIDE_PIXELS * 8) as u64;

/// The channels that images are brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// One channel.
    Grey,
    /// Three channels.
    Rgb,
}

impl Channels {
    /// 1 or 3.
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
        }
    }
}

/// How decoded images are brought to one number of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Colours {
    /// The channels wanted; if not given, grey if every image of the set is, otherwise RGB.
    pub channels: Option<Channels>,
    /// What shows through transparent pixels, as red, green and blue.
    pub background: [u8; 3],
}

impl Default for Colours {
    /// White, and channels as the set has them.
    fn default() -> Self {
        Self { channels: None, background: [255; 3] }
    }
}

/// What a reader finds for one image.
pub(crate) enum Raw {
    /// A PNG, JPEG or WebP file.
    Encoded(Vec<u8>),
    /// Pixels as they are.
    Pixels(Image),
}

impl Raw {
    /// Bytes in memory.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Encoded(bytes) => bytes.len(),
            Self::Pixels(image) => image.pixels().len(),
        }
    }

    /// The 8-bit image with the channels that it has.
    pub(crate) fn decode(self, place: &Place) -> Result<Image, DataError> {
        match self {
            Self::Encoded(bytes) => decode(&bytes, place),
            Self::Pixels(image) => Ok(image),
        }
    }
}

fn decode(bytes: &[u8], place: &Place) -> Result<Image, DataError> {
    let mut reader = ImageReader::new(Cursor::new(bytes));
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) => format,
        Ok(other) => return Err(place.broken("the format", format!("{other:?}"), "PNG, JPEG or WebP")),
        Err(_) => {
            let start: Vec<u8> = bytes.iter().copied().take(8).collect();
            let value =
                if start.is_empty() { "empty".into() } else { format!("unknown (first bytes {start:02x?})") };
            return Err(place.broken("the format", value, "PNG, JPEG or WebP"));
        }
    };
    reader.set_format(format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ENCODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| place.undecodable(error))?;
    let (width, height) = decoder.dimensions();
    for (field, side) in [("image width", width), ("image height", height)] {
        if side == 0 || side as usize > MAX_SIDE_PIXELS {
            return Err(place.broken(field, side, format!("between 1 and {MAX_SIDE_PIXELS}")));
        }
    }
    match format {
        ImageFormat::Jpeg => check_jpeg_end(bytes, place)?,
        ImageFormat::WebP => check_webp_length(bytes, place)?,
        // Its decoder refuses rows that are missing and chunks whose checksum is wrong.
        _ => {}
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(|error| place.undecodable(error))?;
    decoded.apply_orientation(orientation);
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let narrow = |values: Vec<u16>| values.into_iter().map(to_8_bits).collect();
    let (channels, pixels) = match decoded {
        DynamicImage::ImageLuma8(image) => (1, image.into_raw()),
        DynamicImage::ImageLumaA8(image) => (2, image.into_raw()),
        DynamicImage::ImageRgb8(image) => (3, image.into_raw()),
        DynamicImage::ImageRgba8(image) => (4, image.into_raw()),
        DynamicImage::ImageLuma16(image) => (1, narrow(image.into_raw())),
        DynamicImage::ImageLumaA16(image) => (2, narrow(image.into_raw())),
        DynamicImage::ImageRgb16(image) => (3, narrow(image.into_raw())),
        DynamicImage::ImageRgba16(image) => (4, narrow(image.into_raw())),
        other => {
            return Err(place.broken(
                "the kind of pixel",
                format!("{:?}", other.color()),
                "8 or 16 bits a channel",
            ));
        }
    };
    Image::new(height, width, channels, pixels)
}

/// The nearest of 256 levels.
pub(crate) fn to_8_bits(value: u16) -> u8 {
    ((u32::from(value) * 255 + 32767) / 65535) as u8
}

/// The decoder fills what a truncated JPEG lacks with grey. A whole one ends its last scan with the marker EOI; inside a
/// scan, a byte 0xff is followed by 0x00 or a restart marker (ITU-T T.81, B.1.1.2).
fn check_jpeg_end(bytes: &[u8], place: &Place) -> Result<(), DataError> {
    let cut = || place.broken("the JPEG data", "cut short: there is no end-of-image marker", "whole");
    let mut position = 2;
    loop {
        let (&byte, &marker) = bytes.get(position).zip(bytes.get(position + 1)).ok_or_else(cut)?;
        position += match (byte, marker) {
            (0xff, 0xd9) => return Ok(()),
            // A fill byte before a marker.
            (0xff, 0xff) => 1,
            // Without a length of their own.
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => 2,
            (0xff, _) => 2 + segment_length(bytes, position).ok_or_else(cut)?,
            // Compressed data.
            _ => 1,
        };
    }
}

fn segment_length(bytes: &[u8], marker: usize) -> Option<usize> {
    let (&high, &low) = bytes.get(marker + 2).zip(bytes.get(marker + 3))?;
    Some(usize::from(high) << 8 | usize::from(low))
}

/// A WebP file says its length in the RIFF header.
fn check_webp_length(bytes: &[u8], place: &Place) -> Result<(), DataError> {
    let announced = bytes.get(4..8).and_then(|size| size.try_into().ok()).map_or(0, u32::from_le_bytes);
    let needed = u64::from(announced) + 8;
    if (bytes.len() as u64) < needed {
        return Err(place.broken(
            "the length of the WebP data",
            format!("{} bytes", bytes.len()),
            format!("{needed} bytes"),
        ));
    }
    Ok(())
}

/// Whether an image stays grey on this background: it has no colour, and none shines through.
pub(crate) fn is_grey(image: &Image, background: [u8; 3]) -> bool {
    let [red, green, blue] = background;
    image.channels() == 1 || image.channels() == 2 && red == green && green == blue
}

/// Composes alpha on the background and brings an image to 1 or 3 channels.
pub(crate) fn to_channels(image: Image, wanted: Channels, background: [u8; 3]) -> Result<Image, DataError> {
    if image.channels() == wanted.count() {
        return Ok(image);
    }
    let composed = |colour: u8, alpha: u8, behind: u8| {
        let (colour, alpha, behind) = (u32::from(colour), u32::from(alpha), u32::from(behind));
        ((alpha * colour + (255 - alpha) * behind + 127) / 255) as u8
    };
    let [red, green, blue] = background;
    let rgb = |pixel: &[u8]| match *pixel {
        [grey] => [grey; 3],
        [grey, alpha] => background.map(|behind| composed(grey, alpha, behind)),
        [r, g, b] => [r, g, b],
        [r, g, b, alpha] => [composed(r, alpha, red), composed(g, alpha, green), composed(b, alpha, blue)],
        // An image has 1 to 4 channels.
        _ => [0; 3],
    };
    let pixels = image.pixels().chunks_exact(image.channels());
    let pixels = match wanted {
        Channels::Rgb => pixels.flat_map(rgb).collect(),
        Channels::Grey => pixels.map(|pixel| luma(rgb(pixel))).collect(),
    };
    Image::new(image.height(), image.width(), wanted.count(), pixels)
}

/// The three weights add up to 65536, so equal channels keep their value.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((19595 * u32::from(red) + 38470 * u32::from(green) + 7471 * u32::from(blue) + 32768) >> 16) as u8
}
