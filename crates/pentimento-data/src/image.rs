//! Decoded images, sets of them, and their identity.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::DataError;
use crate::hexadecimal;

/// Most pixels of one image, height times width: 268 million, enough for panoramas and for sensors of 200 megapixels. The
/// bound keeps a wrong setting or a damaged header from asking for all memory.
pub const MAX_IMAGE_PIXELS: usize = 1 << 28;
/// Largest height or width. Only a strip of less than 16 pixels can be longer, and the weights with which it is resized would
/// take gigabytes.
pub(crate) const MAX_SIDE: usize = 1 << 24;

/// Largest number of channels: grey, grey with alpha, RGB, RGBA.
const MAX_CHANNELS: usize = 4;

/// One decoded image: bytes of shape `[height, width, channels]`, row by row, channels last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Image {
    /// An image of the given shape.
    ///
    /// # Errors
    /// If a side is 0 or beyond all use, there are more than [`MAX_IMAGE_PIXELS`] or not 1 to 4 channels, or `pixels` has another length than
    /// the product.
    pub fn new(height: usize, width: usize, channels: usize, pixels: Vec<u8>) -> Result<Self, DataError> {
        check_length(checked_image_len(height, width, channels)?, pixels.len())?;
        Ok(Self { height, width, channels, pixels })
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of channels, 1 to 4.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The bytes, `[height, width, channels]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The identity of this image.
    pub fn id(&self) -> ImageId {
        ImageId::of(self.height, self.width, self.channels, &self.pixels)
    }
}

/// Many images of one shape, with their labels: bytes of shape `[images, height, width, channels]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl ImageSet {
    /// A set of `labels.len()` images whose pixels follow one another.
    ///
    /// # Errors
    /// As [`Image::new`], for all images together.
    pub fn new(
        height: usize,
        width: usize,
        channels: usize,
        pixels: Vec<u8>,
        labels: Vec<u32>,
    ) -> Result<Self, DataError> {
        let image_len = checked_image_len(height, width, channels)?;
        let total = image_len.checked_mul(labels.len()).ok_or_else(|| DataError::Value {
            field: "the number of images",
            value: labels.len().to_string(),
            bound: format!("at most {}", usize::MAX / image_len),
        })?;
        check_length(total, pixels.len())?;
        Ok(Self { height, width, channels, pixels, labels })
    }

    /// Height of every image in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width of every image in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of channels, 1 to 4.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// All bytes, `[images, height, width, channels]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes of one image, `[height, width, channels]`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len), as slices do.
    pub fn image(&self, index: usize) -> &[u8] {
        let image_len = self.height * self.width * self.channels;
        &self.pixels[index * image_len..(index + 1) * image_len]
    }

    /// One image by itself.
    ///
    /// # Panics
    /// As [`image`](Self::image).
    pub fn to_image(&self, index: usize) -> Image {
        let Self { height, width, channels, .. } = *self;
        Image { height, width, channels, pixels: self.image(index).to_vec() }
    }

    /// The identity of one image.
    ///
    /// # Panics
    /// As [`image`](Self::image).
    pub fn id(&self, index: usize) -> ImageId {
        ImageId::of(self.height, self.width, self.channels, self.image(index))
    }

    /// The label of one image.
    ///
    /// # Panics
    /// As [`image`](Self::image).
    pub fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// The labels of all images.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }
}

/// What is wrong where an image has too many pixels.
pub(crate) const PIXELS: &str = "the number of pixels";
/// What is wrong where it has none, or a side that is too long.
pub(crate) const SIDES: [&str; 2] = ["image height", "image width"];

/// What is wrong with a height and a width, if anything: the field, its value and its bound.
pub(crate) fn broken_size(sides: [usize; 2]) -> Option<(&'static str, String, String)> {
    let [height, width] = sides;
    if let Some((field, side)) = SIDES.into_iter().zip(sides).find(|&(_, side)| side == 0 || side > MAX_SIDE)
    {
        return Some((field, side.to_string(), format!("between 1 and {MAX_SIDE}")));
    }
    let fits = height.checked_mul(width).is_some_and(|pixels| pixels <= MAX_IMAGE_PIXELS);
    let bound = format!("at most {MAX_IMAGE_PIXELS}");
    (!fits).then(|| (PIXELS, format!("{height} x {width}"), bound))
}

/// `height * width * channels`, after checking each.
fn checked_image_len(height: usize, width: usize, channels: usize) -> Result<usize, DataError> {
    if let Some((field, value, bound)) = broken_size([height, width]) {
        return Err(DataError::Value { field, value, bound });
    }
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(DataError::Value {
            field: "number of channels",
            value: channels.to_string(),
            bound: format!("between 1 and {MAX_CHANNELS}"),
        });
    }
    Ok(height * width * channels)
}

fn check_length(expected: usize, length: usize) -> Result<(), DataError> {
    if length == expected {
        return Ok(());
    }
    Err(DataError::Value {
        field: "the number of pixel bytes",
        value: length.to_string(),
        bound: format!("{expected}, the product of the dimensions"),
    })
}

/// The identity of an image: a 256-bit BLAKE3 hash of its decoded pixels.
///
/// Hashed are height, width and channels, each as a little-endian 32-bit integer, then the bytes row by row with
/// channels last. Neither the file name, nor the position in a set, nor the compression enters. As text it is 64
/// lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId([u8; 32]);

impl ImageId {
    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The sides are at most [`MAX_IMAGE_PIXELS`], so 32 bits hold them.
    fn of(height: usize, width: usize, channels: usize, pixels: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for dimension in [height, width, channels] {
            hasher.update(&(dimension as u32).to_le_bytes());
        }
        Self(hasher.update(pixels).finalize().into())
    }
}

impl From<[u8; 32]> for ImageId {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal::write(&self.0, formatter)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ImageId({self})")
    }
}

impl FromStr for ImageId {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        blake3::Hash::from_hex(text).map(|hash| Self(hash.into())).map_err(|_| DataError::Value {
            field: "an image id",
            value: format!("{text:?}"),
            bound: "64 hexadecimal digits".into(),
        })
    }
}

impl Serialize for ImageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_hash_of_the_dimensions_and_the_pixels() {
        let image = Image::new(2, 3, 1, vec![10, 20, 30, 40, 50, 60]).unwrap();
        let hashed = [2, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 10, 20, 30, 40, 50, 60];
        assert_eq!(image.id().as_bytes(), blake3::hash(&hashed).as_bytes());
    }

    #[test]
    fn the_id_depends_on_shape_and_on_every_pixel() {
        let pixels = vec![0, 1, 2, 3, 4, 5];
        let shapes = [(2, 3, 1), (3, 2, 1), (1, 6, 1), (1, 3, 2), (1, 2, 3)];
        let mut ids: Vec<_> =
            shapes.iter().map(|&(h, w, c)| Image::new(h, w, c, pixels.clone()).unwrap().id()).collect();
        for index in 0..pixels.len() {
            let mut changed = pixels.clone();
            changed[index] ^= 0x80;
            ids.push(Image::new(2, 3, 1, changed).unwrap().id());
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn the_id_survives_text_and_serde() {
        let id = Image::new(1, 1, 3, vec![1, 2, 3]).unwrap().id();
        let text = id.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse::<ImageId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<ImageId>(&json).unwrap(), id);
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        let long = "0".repeat(65);
        let not_hexadecimal = "g".repeat(64);
        for text in ["", "abc", &long, &not_hexadecimal, "é"] {
            let message = text.parse::<ImageId>().unwrap_err().to_string();
            assert_eq!(message, format!("an image id is {text:?}, but must be 64 hexadecimal digits"));
        }
    }

    #[test]
    fn an_image_in_a_set_has_the_id_it_has_alone() {
        let set = ImageSet::new(1, 2, 3, (0..18).collect(), vec![7, 8, 9]).unwrap();
        assert_eq!(set.image(1), [6, 7, 8, 9, 10, 11]);
        assert_eq!(set.label(1), 8);
        assert_eq!(set.to_image(1), Image::new(1, 2, 3, vec![6, 7, 8, 9, 10, 11]).unwrap());
        assert_eq!(set.id(1), set.to_image(1).id());
    }

    #[test]
    fn shapes_and_lengths_that_disagree_are_refused() {
        let message = |height, width, channels, bytes: usize| {
            Image::new(height, width, channels, vec![0; bytes]).unwrap_err().to_string()
        };
        assert_eq!(message(0, 1, 1, 0), "image height is 0, but must be between 1 and 16777216");
        assert_eq!(
            message(1, (1 << 24) + 1, 1, 0),
            "image width is 16777217, but must be between 1 and 16777216"
        );
        for (height, width) in [(1 << 15, 1 << 14), (1 << 24, 17), (16384, 16385)] {
            assert_eq!(
                message(height, width, 1, 0),
                format!("the number of pixels is {height} x {width}, but must be at most 268435456")
            );
        }
        assert!(Image::new(1, 9000, 1, vec![0; 9000]).is_ok());
        assert_eq!(message(1, 1, 5, 5), "number of channels is 5, but must be between 1 and 4");
        assert_eq!(
            message(2, 2, 3, 11),
            "the number of pixel bytes is 11, but must be 12, the product of the dimensions"
        );
        assert_eq!(
            ImageSet::new(2, 2, 1, vec![0; 7], vec![1, 2]).unwrap_err().to_string(),
            "the number of pixel bytes is 7, but must be 8, the product of the dimensions"
        );
    }
}
