//! Height and width of a network's images.

use serde::{Deserialize, Serialize};

/// Height and width of images, in pixels. diffusers writes `[height, width]`, or one number for a square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Sides", into = "Sides")]
pub struct SampleSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl SampleSize {
    /// Of images with so many rows as columns.
    pub fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "one number, or [height, width]")]
enum Sides {
    Equal(usize),
    HeightWidth([usize; 2]),
}

impl From<Sides> for SampleSize {
    fn from(sides: Sides) -> Self {
        match sides {
            Sides::Equal(side) => Self::square(side),
            Sides::HeightWidth([height, width]) => Self { height, width },
        }
    }
}

impl From<SampleSize> for Sides {
    fn from(SampleSize { height, width }: SampleSize) -> Self {
        if height == width { Self::Equal(height) } else { Self::HeightWidth([height, width]) }
    }
}
