//! The settings of the preprocessing, as a recipe has them.

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::image::{MAX_SIDE, broken_size};
use crate::public_sets::Split;
use crate::resize::ResizeFilter;

/// The `preprocessing` part of a recipe. Every key may be left out; nothing given means every image as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocessing {
    /// Which half of a public set is opened, `train` if not given. [`prepare`](super::prepare) gets the open set and does not look
    /// at this.
    pub split: Split,
    /// Only images with these labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<u32>>,
    /// Of each label, only the first so many images in the order of the set; all, if there are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_per_class: Option<usize>,
    /// Of what is left, only the first so many images; all, if there are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<usize>,
    /// Brings images of any size to one: resized until they cover it, and its middle cut out. What training scripts do
    /// with torchvision's `Resize` and `CenterCrop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cover: Option<Cover>,
    /// Cuts a rectangle out of each image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Crop>,
    /// Adds a frame around each image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad: Option<Pad>,
    /// Changes the number of pixels, with antialiasing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
}

/// The size that images are made to cover. One side is brought to it exactly; the other follows, rounded down, and what
/// it has too much is cut off on both sides, as by a centred [`Crop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cover {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// How pixels are weighted; `bilinear` if not given.
    #[serde(default)]
    pub filter: ResizeFilter,
}

/// A rectangle inside an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Rows above the rectangle. If not given, it is centred: half of what is left over, a half rounded to even, as
    /// torchvision's `CenterCrop` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// Columns to the left of the rectangle; centred likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<usize>,
    /// Height of the rectangle.
    pub height: usize,
    /// Width of the rectangle.
    pub width: usize,
}

/// A frame of one value around an image; widths in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pad {
    /// Rows added above.
    pub top: usize,
    /// Rows added below.
    pub bottom: usize,
    /// Columns added on the left.
    pub left: usize,
    /// Columns added on the right.
    pub right: usize,
    /// The byte that fills every channel of the frame; 0 is black.
    pub value: u8,
}

/// The size that an image is brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// New height in pixels.
    pub height: usize,
    /// New width in pixels.
    pub width: usize,
    /// How pixels are weighted; `bilinear` if not given.
    #[serde(default)]
    pub filter: ResizeFilter,
}

/// The error of a setting that does not fit.
pub(super) fn setting(field: &'static str, value: impl ToString, bound: impl Into<String>) -> DataError {
    DataError::Setting { field, value: value.to_string(), bound: bound.into() }
}

/// Refuses sides, called by their fields, and a size that no image can have.
pub(super) fn check_size(
    field: &'static str,
    sides: [(&'static str, usize); 2],
) -> Result<[usize; 2], DataError> {
    for (field, side) in sides {
        if !(1..=MAX_SIDE).contains(&side) {
            return Err(setting(field, side, format!("between 1 and {MAX_SIDE}")));
        }
    }
    let size = sides.map(|(_, side)| side);
    match broken_size(size) {
        Some((_, value, bound)) => Err(setting(field, value, format!("{bound} pixels"))),
        None => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_form_has_defaults_and_refuses_unknown_keys() {
        assert_eq!(toml::from_str::<Preprocessing>("").unwrap(), Preprocessing::default());
        let text = r#"
            split = "test"
            classes = [0, 8]
            first_per_class = 100
            first = 150
            cover = { height = 26, width = 28 }
            crop = { height = 24, width = 24 }
            pad = { top = 2, value = 7 }
            resize = { height = 14, width = 14, filter = "lanczos3" }
        "#;
        let expected = Preprocessing {
            split: Split::Test,
            classes: Some(vec![0, 8]),
            first_per_class: Some(100),
            first: Some(150),
            cover: Some(Cover { height: 26, width: 28, filter: ResizeFilter::Bilinear }),
            crop: Some(Crop { top: None, left: None, height: 24, width: 24 }),
            pad: Some(Pad { top: 2, value: 7, ..Pad::default() }),
            resize: Some(Resize { height: 14, width: 14, filter: ResizeFilter::Lanczos3 }),
        };
        let parsed: Preprocessing = toml::from_str(text).unwrap();
        assert_eq!(parsed, expected);
        assert_eq!(toml::from_str::<Preprocessing>(&toml::to_string(&parsed).unwrap()).unwrap(), parsed);
        for unknown in ["clases = [1]", "crop = { height = 1, width = 1, to = 3 }", "pad = { all = 2 }"] {
            let error = toml::from_str::<Preprocessing>(unknown).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }
}
