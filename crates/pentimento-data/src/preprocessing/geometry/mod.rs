//! How an image of one size is brought to the size that a model trains on: covered, cropped, padded, resized.

mod cover;
mod frame;
mod window;

use super::settings::{Crop, Preprocessing, Resize, check_size};
use crate::error::DataError;
use crate::image::Image;
use crate::resize::{ImageResizer, ResizeFilter};
use cover::covering_size;
use frame::Frame;
use window::Window;

/// What is done with images of one size.
pub(super) struct Plan {
    /// `[height, width]`
    pub(super) from: [usize; 2],
    /// The size that covers the wanted one, and the part of it that is kept.
    cover: Option<([usize; 2], Window, ResizeFilter)>,
    window: Window,
    frame: Frame,
    resize: Option<Resize>,
    /// `[height, width]`
    pub(super) to: [usize; 2],
}

impl Plan {
    pub(super) fn new(from: [usize; 2], preprocessing: &Preprocessing) -> Result<Self, DataError> {
        let cover = preprocessing
            .cover
            .map(|cover| {
                let covering = covering_size(from, cover)?;
                let middle = Crop { top: None, left: None, height: cover.height, width: cover.width };
                Ok((covering, Window::of(covering, Some(middle))?, cover.filter))
            })
            .transpose()?;
        let size = cover.as_ref().map_or(from, |(_, window, _)| window.size);
        let window = Window::of(size, preprocessing.crop)?;
        let frame = Frame::around(&window, preprocessing.pad)?;
        let to = match preprocessing.resize {
            None => frame.size,
            Some(Resize { height, width, .. }) => {
                check_size("resize", [("resize.height", height), ("resize.width", width)])?
            }
        };
        Ok(Self { from, cover, window, frame, resize: preprocessing.resize, to })
    }
}

/// A plan with the memory that it works in.
pub(super) struct Steps {
    pub(super) plan: Plan,
    channels: usize,
    cover: Option<ImageResizer>,
    covered: Vec<u8>,
    framed: Vec<u8>,
    resize: Option<ImageResizer>,
}

impl Steps {
    pub(super) fn new(plan: Plan, channels: usize) -> Result<Self, DataError> {
        let cover = match plan.cover {
            Some((covering, _, filter)) => Some(ImageResizer::new(plan.from, covering, channels, filter)?),
            None => None,
        };
        let resize = match plan.resize {
            Some(resize) => Some(ImageResizer::new(plan.frame.size, plan.to, channels, resize.filter)?),
            None => None,
        };
        let framed = vec![plan.frame.value; plan.frame.size[0] * plan.frame.size[1] * channels];
        Ok(Self { plan, channels, cover, covered: Vec::new(), framed, resize })
    }

    /// Appends what becomes of an image to `output`.
    pub(super) fn apply(&mut self, image: &Image, output: &mut Vec<u8>) -> Result<(), DataError> {
        let Self { plan, channels, cover, covered, framed, resize } = self;
        let (source, source_width, [top, left]) = match (&plan.cover, cover) {
            (Some((covering, middle, _)), Some(resizer)) => {
                covered.clear();
                resizer.resize_into(image.pixels(), covered)?;
                (covered.as_slice(), covering[1], [middle.top, middle.left])
            }
            _ => (image.pixels(), plan.from[1], [0, 0]),
        };
        let (window, frame) = (&plan.window, &plan.frame);
        let row_len = window.size[1] * *channels;
        for row in 0..window.size[0] {
            let from = ((top + window.top + row) * source_width + left + window.left) * *channels;
            let to = ((frame.top + row) * frame.size[1] + frame.left) * *channels;
            framed[to..to + row_len].copy_from_slice(&source[from..from + row_len]);
        }
        match resize {
            Some(resizer) => resizer.resize_into(framed, output)?,
            None => output.extend_from_slice(framed),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::preprocessing::tests::{counting_set, refusal};
    use crate::preprocessing::{Crop, Pad, Preprocessing, Resize, prepare};
    use crate::resize::ResizeFilter;

    #[test]
    fn crop_then_pad_then_resize() {
        // 0  1  2  3
        // 4  5  6  7
        // 8  9 10 11
        let set = counting_set(3, 4, &[0]);
        let mut preprocessing = Preprocessing {
            crop: Some(Crop { top: Some(1), left: Some(2), height: 2, width: 1 }),
            ..Preprocessing::default()
        };
        assert_eq!(prepare(&set, &preprocessing).unwrap().pixels(), [6, 10]);
        preprocessing.pad = Some(Pad { top: 1, bottom: 1, left: 0, right: 1, value: 30 });
        let padded = prepare(&set, &preprocessing).unwrap();
        assert_eq!((padded.height(), padded.width()), (4, 2));
        assert_eq!(padded.pixels(), [30, 30, 6, 30, 10, 30, 30, 30]);
        preprocessing.resize = Some(Resize { height: 2, width: 1, filter: ResizeFilter::Box });
        assert_eq!(prepare(&set, &preprocessing).unwrap().pixels(), [24, 25]);
    }

    #[test]
    fn a_size_that_no_image_has_is_refused() {
        let resize = Resize { height: 14, width: 0, filter: ResizeFilter::Box };
        assert_eq!(
            refusal(
                &counting_set(28, 20, &[0]),
                Preprocessing { resize: Some(resize), ..Preprocessing::default() }
            ),
            "preprocessing: `resize.width` is 0, but must be between 1 and 16777216"
        );
    }
}
