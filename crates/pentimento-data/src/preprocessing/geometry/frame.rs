//! The frame that padding puts around an image.

use super::window::Window;
use crate::error::DataError;
use crate::image::MAX_SIDE_PIXELS;
use crate::preprocessing::settings::{Pad, setting};

/// The canvas that the kept part is put on.
pub(super) struct Frame {
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) value: u8,
    /// `[height, width]`
    pub(super) size: [usize; 2],
}

impl Frame {
    pub(super) fn around(window: &Window, pad: Option<Pad>) -> Result<Self, DataError> {
        let Pad { top, bottom, left, right, value } = pad.unwrap_or_default();
        let side = |before_field, before: usize, inside, after_field, after: usize| {
            for (field, value) in [(before_field, before), (after_field, after)] {
                if value > MAX_SIDE_PIXELS {
                    return Err(setting(field, value, format!("at most {MAX_SIDE_PIXELS}")));
                }
            }
            let sum = before + inside + after;
            if sum > MAX_SIDE_PIXELS {
                let bound =
                    format!("at most {MAX_SIDE_PIXELS} pixels in all with the image and the other side");
                return Err(setting(after_field, format!("{after}, {sum} in all"), bound));
            }
            Ok(sum)
        };
        let height = side("pad.top", top, window.size[0], "pad.bottom", bottom)?;
        let width = side("pad.left", left, window.size[1], "pad.right", right)?;
        Ok(Self { top, left, value, size: [height, width] })
    }
}

#[cfg(test)]
mod tests {
    use crate::image::ImageSet;
    use crate::preprocessing::tests::{counting_set, refusal};
    use crate::preprocessing::{Pad, Preprocessing, prepare};

    #[test]
    fn a_frame_keeps_its_value_in_every_image_and_channel() {
        let set = ImageSet::new(1, 1, 3, vec![1, 2, 3, 4, 5, 6], vec![0, 0]).unwrap();
        let preprocessing = Preprocessing {
            pad: Some(Pad { left: 1, value: 9, ..Pad::default() }),
            ..Preprocessing::default()
        };
        let prepared = prepare(&set, &preprocessing).unwrap();
        assert_eq!(prepared.pixels(), [9, 9, 9, 1, 2, 3, 9, 9, 9, 4, 5, 6]);
    }

    #[test]
    fn a_frame_that_is_too_large_is_refused() {
        let set = counting_set(28, 20, &[0]);
        let pad = |pad| refusal(&set, Preprocessing { pad: Some(pad), ..Preprocessing::default() });
        assert_eq!(
            pad(Pad { left: usize::MAX, ..Pad::default() }),
            format!("preprocessing: `pad.left` is {}, but must be at most 8192", usize::MAX)
        );
        assert_eq!(
            pad(Pad { top: 4000, bottom: 4165, ..Pad::default() }),
            "preprocessing: `pad.bottom` is 4165, 8193 in all, but must be at most 8192 pixels in all with the image \
             and the other side"
        );
    }
}
