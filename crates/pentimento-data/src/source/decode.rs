//! From the bytes of an image file to 8-bit pixels, and from any number of channels to the wanted one.
//!
//! - 16 bits become 8 by `(255 v + 32767) / 65535` rounded down: the nearest of 256 levels.
//! - The EXIF orientation is applied, so an image is as a viewer shows it.
//! - Palettes are expanded; colour profiles and gamma are ignored, as training scripts do. Of an animation, or of several
//!   pages, the first picture counts.
//! - Alpha is composed on a background, in 8 bits: `(a c + (255 - a) b + 127) / 255` rounded down.
//! - RGB becomes grey by the luma of ITU-R BT.601 in 16-bit fixed point, `(19595 R + 38470 G + 7471 B + 32768) / 65536`
//!   rounded down, which is Pillow's `convert("L")`.
//!
//! The number of pixels is checked before they are decoded, and that a large picture has data at all. A file that is cut
//! short is an error also where a decoder would fill in what is missing.

use std::io::Cursor;
use std::sync::{Mutex, PoisonError};

use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{
    AnimationDecoder as _, ColorType, DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader,
    Limits,
};
use serde::{Deserialize, Serialize};

use super::formats::{convertible, format_of};
use super::place::Place;
use super::{jpeg, tiff};
use crate::error::DataError;
use crate::image::{Image, MAX_IMAGE_PIXELS, broken_size};

/// Most bytes of one encoded image; an uncompressed one of the largest size with 16 bits a channel has as many.
pub(crate) const MAX_ENCODED_BYTES: u64 = (MAX_IMAGE_PIXELS * 8) as u64;

/// Images with more pixels are decoded one at a time, however many processors there are, as each takes up to 2 GB on its way.
const MANY_PIXELS: usize = 1 << 26;
/// Held while such an image is decoded. What decodes it starts no thread that could wait for it.
static LARGE: Mutex<()> = Mutex::new(());
/// Pixels of such an image that a byte of its file stands for at most. One colour with one bit a pixel is the emptiest PNG, with
/// 8256 of them: deflate leaves at least one byte of 1032.
const MAX_PIXELS_A_BYTE: usize = 1 << 14;

/// What is broken where a format is none that is read; [`DamageKind`](super::damage::DamageKind) tells it by this.
pub(crate) const FORMAT: &str = "the format";

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

    /// Those of so many channels; none for other numbers than 1 and 3.
    pub fn of_count(count: usize) -> Option<Self> {
        [Self::Grey, Self::Rgb].into_iter().find(|channels| channels.count() == count)
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
    /// An image file.
    Encoded(Vec<u8>),
    /// Pixels as they are.
    Pixels(Image),
}

/// An 8-bit image with the channels that it has.
pub(crate) struct Decoded {
    pub(crate) image: Image,
    /// Whether it is the first of several pictures in its file.
    pub(crate) is_first_of_several: bool,
}

impl Raw {
    /// Bytes in memory.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Encoded(bytes) => bytes.len(),
            Self::Pixels(image) => image.pixels().len(),
        }
    }

    /// The 8-bit image.
    pub(crate) fn decode(self, place: &Place) -> Result<Decoded, DataError> {
        match self {
            Self::Encoded(bytes) => decode(&bytes, place),
            Self::Pixels(image) => Ok(Decoded { image, is_first_of_several: false }),
        }
    }
}

fn decode(bytes: &[u8], place: &Place) -> Result<Decoded, DataError> {
    let mut reader = ImageReader::new(Cursor::new(bytes));
    let format = format_of(bytes).map_err(|(value, bound)| place.broken(FORMAT, value, bound))?;
    reader.set_format(format);
    reader.limits(limits());
    let refused = |error| refused(error, bytes, format, place);
    let mut decoder = reader.into_decoder().map_err(refused)?;
    let (width, height) = decoder.dimensions();
    let size = [height as usize, width as usize];
    if let Some((field, value, bound)) = broken_size(size) {
        return Err(place.broken(field, value, bound));
    }
    let pixels = size[0] * size[1];
    let is_large = pixels > MANY_PIXELS;
    if is_large && bytes.len() < pixels / MAX_PIXELS_A_BYTE {
        let bound = format!("at least {} bytes for {height} x {width} pixels", pixels / MAX_PIXELS_A_BYTE);
        return Err(place.broken("the length of the image data", format!("{} bytes", bytes.len()), bound));
    }
    // What another thread left behind when it panicked is nothing.
    let _alone = is_large.then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    // A file does not say which of its numbers is white.
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(of_kind(kind_of(bytes, format, "floating-point samples"), format, place));
    }
    match format {
        ImageFormat::Jpeg => jpeg::check_end(bytes, place)?,
        ImageFormat::WebP => check_webp_length(bytes, place)?,
        // Their decoders refuse what is missing.
        _ => {}
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(refused)?;
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
        other => return Err(of_kind(format!("{:?}", other.color()), format, place)),
    };
    let is_first_of_several = has_several(bytes, format);
    Ok(Decoded { image: Image::new(height, width, channels, pixels)?, is_first_of_several })
}

/// What the decoder refuses: a kind of file that it does not know, or contents that are damaged.
fn refused(error: ImageError, bytes: &[u8], format: ImageFormat, place: &Place) -> DataError {
    let kind = if format == ImageFormat::Jpeg { jpeg::kind_not_read(bytes) } else { None };
    match (error, kind) {
        // The decoder of JPEG says it in several ways.
        (_, Some(kind)) => of_kind(kind, format, place),
        (ImageError::Unsupported(cause), None) => {
            of_kind(kind_of(bytes, format, &cause.to_string()), format, place)
        }
        (error, None) => place.undecodable(error),
    }
}

/// What a file that is not read is, in words; `otherwise` where its header is not looked at.
fn kind_of(bytes: &[u8], format: ImageFormat, otherwise: &str) -> String {
    if format == ImageFormat::Tiff { tiff::kind_of(bytes) } else { otherwise.into() }
}

fn of_kind(kind: String, format: ImageFormat, place: &Place) -> DataError {
    let mut remedy = convertible(format);
    if kind.contains("floating-point") {
        remedy.push_str(", or save its numbers, between 0 and 1, as an array (.npy)");
    }
    DataError::Kind { place: place.to_string(), format: format!("{format:?}").to_uppercase(), kind, remedy }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ENCODED_BYTES);
    limits
}

/// Whether a file that was decoded has more than its first picture.
fn has_several(bytes: &[u8], format: ImageFormat) -> bool {
    let file = || Cursor::new(bytes);
    match format {
        ImageFormat::Png => {
            // Its animation is announced by a chunk of its own; without the name there is none.
            bytes.windows(4).take(1 << 16).any(|name| name == b"acTL")
                && PngDecoder::with_limits(file(), limits()).is_ok_and(|png| png.is_apng().unwrap_or(false))
        }
        ImageFormat::WebP => WebPDecoder::new(file()).is_ok_and(|webp| webp.has_animation()),
        ImageFormat::Gif => GifDecoder::new(file()).is_ok_and(|gif| gif.into_frames().nth(1).is_some()),
        ImageFormat::Tiff => tiff::has_more_pages(bytes),
        _ => false,
    }
}

/// The nearest of 256 levels.
pub(crate) fn to_8_bits(value: u16) -> u8 {
    ((u32::from(value) * 255 + 32767) / 65535) as u8
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

/// Whether an image has an alpha channel that lets something shine through.
pub(crate) fn is_transparent(image: &Image) -> bool {
    let channels = image.channels();
    let alphas = || image.pixels().iter().skip(channels - 1).step_by(channels);
    matches!(channels, 2 | 4) && alphas().any(|&alpha| alpha < 255)
}

/// Whether the channels of an image without alpha differ in some pixel.
pub(crate) fn has_colour(image: &Image) -> bool {
    image.channels() == 3
        && image.pixels().chunks_exact(3).any(|pixel| pixel[0] != pixel[1] || pixel[0] != pixel[2])
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
