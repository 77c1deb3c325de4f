//! The frame that padding puts around an image.

use super::window::Window;
use crate::error::DataError;
use crate::image::{MAX_SIDE, broken_size};
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
                if value > MAX_SIDE {
                    return Err(setting(field, value, format!("at most {MAX_SIDE}")));
                }
            }
            Ok(before + inside + after)
        };
        let height = side("pad.top", top, window.size[0], "pad.bottom", bottom)?;
        let width = side("pad.left", left, window.size[1], "pad.right", right)?;
        if let Some((what, padded, bound)) = broken_size([height, width]) {
            let bound = format!("so narrow that {what} of the padded image is {bound}, not {padded}");
            return Err(setting("pad", format!("{top}, {bottom}, {left} and {right} wide"), bound));
        }
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
            format!("preprocessing: `pad.left` is {}, but must be at most 16777216", usize::MAX)
        );
        assert_eq!(
            pad(Pad { top: 1 << 23, right: 44, ..Pad::default() }),
            "preprocessing: `pad` is 8388608, 0, 0 and 44 wide, but must be so narrow that the number of pixels of \
             the padded image is at most 268435456, not 8388636 x 64"
        );
    }
}
