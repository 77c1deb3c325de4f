//! The part of an image that a crop keeps.

use crate::error::DataError;
use crate::preprocessing::settings::{Crop, setting};

/// The part of each source image that is kept.
pub(super) struct Window {
    pub(super) top: usize,
    pub(super) left: usize,
    /// `[height, width]`
    pub(super) size: [usize; 2],
}

impl Window {
    /// Inside an image `[height, width]`.
    pub(super) fn of(image: [usize; 2], crop: Option<Crop>) -> Result<Self, DataError> {
        let Some(Crop { top, left, height, width }) = crop else {
            return Ok(Self { top: 0, left: 0, size: image });
        };
        Ok(Self {
            top: place(["crop.top", "crop.height"], top, height, image[0])?,
            left: place(["crop.left", "crop.width"], left, width, image[1])?,
            size: [height, width],
        })
    }
}

/// Where a length starts inside `available`; in the middle if not given.
fn place(
    [start_field, length_field]: [&'static str; 2],
    start: Option<usize>,
    length: usize,
    available: usize,
) -> Result<usize, DataError> {
    if !(1..=available).contains(&length) {
        return Err(setting(
            length_field,
            length,
            format!("between 1 and {available}, the size of the image"),
        ));
    }
    let left_over = available - length;
    // Half of 1, 5, 9, ... rounds down to an even number, half of 3, 7, 11, ... rounds up to one.
    let start = start.unwrap_or(left_over / 2 + usize::from(left_over % 4 == 3));
    if start > left_over {
        let bound = format!("at most {left_over}, so that {length} of {available} pixels fit");
        return Err(setting(start_field, start, bound));
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use crate::preprocessing::tests::{counting_set, refusal};
    use crate::preprocessing::{Crop, Preprocessing, prepare};

    /// Python's `int(round(left_over / 2))`, which torchvision's `center_crop` uses, for left_over = 0..=8.
    #[test]
    fn a_centred_crop_starts_where_torchvisions_does() {
        for (left_over, start) in [0, 0, 1, 2, 2, 2, 3, 4, 4].into_iter().enumerate() {
            let set = counting_set(1, 3 + left_over, &[0]);
            let preprocessing = Preprocessing {
                crop: Some(Crop { top: None, left: None, height: 1, width: 3 }),
                ..Preprocessing::default()
            };
            let first = start as u8;
            assert_eq!(prepare(&set, &preprocessing).unwrap().pixels(), [first, first + 1, first + 2]);
        }
    }

    #[test]
    fn a_window_that_does_not_fit_is_refused() {
        let set = counting_set(28, 20, &[0]);
        let crop = |top, left, height, width| {
            let crop = Some(Crop { top, left, height, width });
            refusal(&set, Preprocessing { crop, ..Preprocessing::default() })
        };
        assert_eq!(
            crop(None, None, 29, 20),
            "preprocessing: `crop.height` is 29, but must be between 1 and 28, the size of the image"
        );
        assert_eq!(
            crop(None, None, 28, 0),
            "preprocessing: `crop.width` is 0, but must be between 1 and 20, the size of the image"
        );
        assert_eq!(
            crop(Some(9), None, 20, 20),
            "preprocessing: `crop.top` is 9, but must be at most 8, so that 20 of 28 pixels fit"
        );
    }
}
