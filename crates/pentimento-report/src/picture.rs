//! Pictures as bytes.

use serde::{Deserialize, Serialize};

/// An 8-bit picture, `[height, width, channels]` row by row, black 0 and white 255.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Rows, 1 to 4096.
    pub height: u32,
    /// Columns, 1 to 4096.
    pub width: u32,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: u32,
    /// `height * width * channels` bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Makes a picture from model values `[height, width, channels]` in `[-1, 1]`. Values beyond are clamped
    /// and a NaN becomes middle grey: the page shows what a model gave, good or bad. Whether the number of
    /// values fits the size is checked by [`render`](crate::render).
    pub fn from_model_range(height: u32, width: u32, channels: u32, values: &[f32]) -> Self {
        let to_byte = |&value: &f32| {
            let value = if value.is_nan() { 0.0 } else { value };
            ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8
        };
        Self { height, width, channels, pixels: values.iter().map(to_byte).collect() }
    }

    pub(crate) fn shape(&self) -> [u32; 3] {
        [self.height, self.width, self.channels]
    }

    /// Size on the screen for a picture that may take `target` CSS pixels: a whole multiple of its own size
    /// where it is smaller, so that every pixel is a square; scaled down where it is larger.
    pub(crate) fn display_size(&self, target: u32) -> DisplaySize {
        let longest = self.height.max(self.width).max(1);
        if longest <= target {
            let scale = target / longest;
            DisplaySize { width: self.width * scale, height: self.height * scale, crisp: scale > 1 }
        } else {
            let shrink = |side: u32| (u64::from(side) * u64::from(target) / u64::from(longest)).max(1) as u32;
            DisplaySize { width: shrink(self.width), height: shrink(self.height), crisp: false }
        }
    }
}

/// Size of a picture on the screen in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DisplaySize {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Enlarged by a whole factor, to be drawn with sharp pixels.
    pub(crate) crisp: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_range_maps_ends_and_middle() {
        let picture = Picture::from_model_range(1, 6, 1, &[-1.0, 1.0, 0.0, 7.0, f32::NEG_INFINITY, f32::NAN]);
        assert_eq!(picture.pixels, [0, 255, 128, 255, 0, 128]);
    }

    #[test]
    fn small_pictures_grow_by_whole_factors_and_large_ones_shrink() {
        let sized =
            |height, width| Picture { height, width, channels: 1, pixels: Vec::new() }.display_size(168);
        assert_eq!(sized(14, 14), DisplaySize { width: 168, height: 168, crisp: true });
        assert_eq!(sized(32, 32), DisplaySize { width: 160, height: 160, crisp: true });
        assert_eq!(sized(20, 60), DisplaySize { width: 120, height: 40, crisp: true });
        assert_eq!(sized(100, 100), DisplaySize { width: 100, height: 100, crisp: false });
        assert_eq!(sized(256, 512), DisplaySize { width: 168, height: 84, crisp: false });
    }
}
