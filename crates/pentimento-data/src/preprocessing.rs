//! Which images of a set are used, and how they are brought to the shape and scale that a model trains on.
//!
//! The order is fixed: select, cover, crop, pad, resize, scale. All but the last give bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::image::{Image, ImageId, MAX_SIDE_PIXELS};
use crate::public_sets::Split;
use crate::resize::{ImageResizer, ResizeFilter};
use crate::source::ImageSource;

/// The `preprocessing` part of a recipe. Every key may be left out; nothing given means every image as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocessing {
    /// Which half of a public set is opened, `train` if not given. [`prepare`] gets the open set and does not look
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

/// The images that a model trains on: bytes of shape `[images, height, width, channels]`, with labels, and with where
/// each comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedSet {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
    labels: Vec<u32>,
    source_indices: Vec<usize>,
    ids: Vec<ImageId>,
}

impl PreparedSet {
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

    /// Number of images, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Values per image: `height * width * channels`.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// All bytes after resizing, `[images, height, width, channels]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes of one image after resizing, `[height, width, channels]`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len), as slices do.
    pub fn image(&self, index: usize) -> &[u8] {
        let image_len = self.image_len();
        &self.pixels[index * image_len..(index + 1) * image_len]
    }

    /// The labels, as in the source set.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The position of each image in the source set, ascending.
    pub fn source_indices(&self) -> &[usize] {
        &self.source_indices
    }

    /// The identity of each image: of its decoded pixels in the source set, before any preprocessing.
    pub fn ids(&self) -> &[ImageId] {
        &self.ids
    }

    /// One image as a model sees it, `[height, width, channels]` in [-1, 1]: `x / 127.5 - 1` in f32, so that 0 becomes
    /// exactly -1 and 255 exactly 1.
    ///
    /// # Panics
    /// As [`image`](Self::image).
    pub fn scaled(&self, index: usize) -> Vec<f32> {
        self.image(index).iter().copied().map(scaled_byte).collect()
    }

    /// [`scaled`](Self::scaled) into memory that is already there.
    ///
    /// # Panics
    /// As [`image`](Self::image), and if `output` does not have [`image_len`](Self::image_len) values.
    pub fn scaled_into(&self, index: usize, output: &mut [f32]) {
        let image = self.image(index);
        assert_eq!(output.len(), image.len(), "length of the output");
        for (value, &byte) in output.iter_mut().zip(image) {
            *value = scaled_byte(byte);
        }
    }
}

fn scaled_byte(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}

/// Selects, crops, pads and resizes the images of a set, reading one after another. A set without labels is one class,
/// label 0.
///
/// # Errors
/// If a setting does not fit the set (the error names the key, the value and the bound), no image is left, a selected
/// image is damaged, images are not of one size in the end (`cover`, `crop` or `resize` make them so), or the result does
/// not fit in memory.
pub fn prepare(set: &dyn ImageSource, preprocessing: &Preprocessing) -> Result<PreparedSet, DataError> {
    let unlabelled;
    let labels = match set.labels() {
        Some(labels) => labels,
        None => {
            unlabelled = vec![0; set.len()];
            &unlabelled
        }
    };
    let source_indices = select(labels, preprocessing)?;
    let channels = set.channels();
    let [height, width] = final_size(set, &source_indices, preprocessing)?;

    let bytes = (height * width * channels).saturating_mul(source_indices.len());
    let mut pixels = Vec::new();
    pixels
        .try_reserve_exact(bytes)
        .map_err(|_| DataError::OutOfMemory { what: "the prepared images", bytes })?;
    let mut ids = Vec::with_capacity(source_indices.len());
    let mut steps: Option<Steps> = None;
    for &index in &source_indices {
        let image = set.image(index)?;
        let from = [image.height(), image.width()];
        let steps = match &mut steps {
            Some(steps) if steps.plan.from == from => steps,
            other => other.insert(Steps::new(Plan::new(from, preprocessing)?, channels)?),
        };
        ids.push(image.id());
        steps.apply(&image, &mut pixels)?;
    }
    Ok(PreparedSet {
        height,
        width,
        channels,
        pixels,
        labels: source_indices.iter().map(|&index| labels[index]).collect(),
        ids,
        source_indices,
    })
}

/// The size that all selected images end with.
fn final_size(
    set: &dyn ImageSource,
    source_indices: &[usize],
    preprocessing: &Preprocessing,
) -> Result<[usize; 2], DataError> {
    let mut first: Option<(usize, [usize; 2], [usize; 2])> = None;
    let mut last_from = None;
    for &index in source_indices {
        let from = set.size(index)?;
        if last_from == Some(from) {
            continue;
        }
        last_from = Some(from);
        let to = Plan::new(from, preprocessing).map_err(|error| match (error, first) {
            // Which image it is matters only where they differ.
            (DataError::Setting { field, value, bound }, Some(_)) => DataError::Setting {
                field,
                value,
                bound: format!("{bound} ({}, {} x {} pixels)", set.key(index), from[0], from[1]),
            },
            (error, _) => error,
        })?;
        match first {
            None => first = Some((index, from, to.to)),
            Some((_, _, size)) if size == to.to => {}
            Some((other, other_from, _)) => {
                let shown = |index, [height, width]: [usize; 2]| {
                    format!("{height} x {width} pixels ({})", set.key(index))
                };
                return Err(DataError::Value {
                    field: "the size of an image",
                    value: shown(index, from),
                    bound: format!(
                        "{}, unless `preprocessing.cover`, or `crop` or `resize`, brings all to one size",
                        shown(other, other_from)
                    ),
                });
            }
        }
    }
    Ok(first.map_or([0, 0], |(_, _, size)| size))
}

/// What is done with images of one size.
struct Plan {
    /// `[height, width]`
    from: [usize; 2],
    /// The size that covers the wanted one, and the part of it that is kept.
    cover: Option<([usize; 2], Window, ResizeFilter)>,
    window: Window,
    frame: Frame,
    resize: Option<Resize>,
    /// `[height, width]`
    to: [usize; 2],
}

impl Plan {
    fn new(from: [usize; 2], preprocessing: &Preprocessing) -> Result<Self, DataError> {
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
                check_side("resize.height", height)?;
                check_side("resize.width", width)?;
                [height, width]
            }
        };
        Ok(Self { from, cover, window, frame, resize: preprocessing.resize, to })
    }
}

/// The smallest size of these proportions that covers the wanted one.
fn covering_size([height, width]: [usize; 2], cover: Cover) -> Result<[usize; 2], DataError> {
    check_side("cover.height", cover.height)?;
    check_side("cover.width", cover.width)?;
    // Sides are at most 2^13, so products fit.
    let covering = if cover.height * width >= cover.width * height {
        [cover.height, cover.height * width / height]
    } else {
        [cover.width * height / width, cover.width]
    };
    let longest = covering[0].max(covering[1]);
    if longest > MAX_SIDE_PIXELS {
        let bound =
            format!("so that the longer side becomes at most {MAX_SIDE_PIXELS} pixels, not {longest}");
        return Err(setting("cover", format!("{} x {}", cover.height, cover.width), bound));
    }
    Ok(covering)
}

/// A plan with the memory that it works in.
struct Steps {
    plan: Plan,
    channels: usize,
    cover: Option<ImageResizer>,
    covered: Vec<u8>,
    framed: Vec<u8>,
    resize: Option<ImageResizer>,
}

impl Steps {
    fn new(plan: Plan, channels: usize) -> Result<Self, DataError> {
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
    fn apply(&mut self, image: &Image, output: &mut Vec<u8>) -> Result<(), DataError> {
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

/// Positions of the selected images, ascending.
fn select(labels: &[u32], preprocessing: &Preprocessing) -> Result<Vec<usize>, DataError> {
    let Preprocessing { classes, first_per_class, first, .. } = preprocessing;
    if let Some(classes) = classes {
        check_classes(classes, labels)?;
    }
    for (field, count) in [("first_per_class", first_per_class), ("first", first)] {
        if *count == Some(0) {
            return Err(setting(field, 0, "at least 1"));
        }
    }
    let mut taken_of = BTreeMap::<u32, usize>::new();
    let selected: Vec<_> = labels
        .iter()
        .enumerate()
        .filter(|(_, label)| classes.as_ref().is_none_or(|classes| classes.contains(label)))
        .filter(|&(_, &label)| {
            let taken = taken_of.entry(label).or_default();
            *taken += 1;
            first_per_class.is_none_or(|count| *taken <= count)
        })
        .map(|(index, _)| index)
        .take(first.unwrap_or(usize::MAX))
        .collect();
    if selected.is_empty() {
        return Err(DataError::Value {
            field: "the number of images",
            value: "0".into(),
            bound: "at least 1".into(),
        });
    }
    Ok(selected)
}

fn check_classes(classes: &[u32], labels: &[u32]) -> Result<(), DataError> {
    let present: BTreeSet<u32> = labels.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for class in classes {
        if !present.contains(class) {
            let names: Vec<_> = present.iter().map(u32::to_string).collect();
            return Err(setting(
                "classes",
                class,
                format!("among the labels of the set: {}", names.join(", ")),
            ));
        }
        if !seen.insert(class) {
            return Err(setting("classes", format!("{class} twice"), "a list of different labels"));
        }
    }
    if classes.is_empty() {
        return Err(setting("classes", "empty", "a list of at least one label"));
    }
    Ok(())
}

/// The part of each source image that is kept.
struct Window {
    top: usize,
    left: usize,
    /// `[height, width]`
    size: [usize; 2],
}

impl Window {
    /// Inside an image `[height, width]`.
    fn of(image: [usize; 2], crop: Option<Crop>) -> Result<Self, DataError> {
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

/// The canvas that the kept part is put on.
struct Frame {
    top: usize,
    left: usize,
    value: u8,
    /// `[height, width]`
    size: [usize; 2],
}

impl Frame {
    fn around(window: &Window, pad: Option<Pad>) -> Result<Self, DataError> {
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

fn check_side(field: &'static str, side: usize) -> Result<(), DataError> {
    if (1..=MAX_SIDE_PIXELS).contains(&side) {
        return Ok(());
    }
    Err(setting(field, side, format!("between 1 and {MAX_SIDE_PIXELS}")))
}

fn setting(field: &'static str, value: impl ToString, bound: impl Into<String>) -> DataError {
    DataError::Setting { field, value: value.to_string(), bound: bound.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageSet;
    use proptest::prelude::*;

    /// Images of one row whose pixels count up through the set.
    fn counting_set(height: usize, width: usize, labels: &[u32]) -> ImageSet {
        let pixels = (0..height * width * labels.len()).map(|value| value as u8).collect();
        ImageSet::new(height, width, 1, pixels, labels.to_vec()).unwrap()
    }

    #[test]
    fn nothing_given_keeps_every_byte() {
        let set = counting_set(2, 3, &[5, 4, 5]);
        let prepared = prepare(&set, &Preprocessing::default()).unwrap();
        assert_eq!((prepared.height(), prepared.width(), prepared.channels(), prepared.len()), (2, 3, 1, 3));
        assert_eq!(prepared.pixels(), set.pixels());
        assert_eq!(prepared.labels(), [5, 4, 5]);
        assert_eq!(prepared.source_indices(), [0, 1, 2]);
    }

    #[test]
    fn classes_come_before_first_per_class_before_first() {
        let set = counting_set(1, 1, &[0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
        let select = |classes: Option<&[u32]>, first_per_class, first| {
            let preprocessing = Preprocessing {
                classes: classes.map(<[u32]>::to_vec),
                first_per_class,
                first,
                ..Preprocessing::default()
            };
            prepare(&set, &preprocessing).unwrap().source_indices().to_vec()
        };
        assert_eq!(select(Some(&[2, 0]), None, None), [0, 2, 3, 5, 6, 8, 9]);
        assert_eq!(select(None, Some(2), None), [0, 1, 2, 3, 4, 5]);
        assert_eq!(select(Some(&[2, 0]), Some(2), None), [0, 2, 3, 5]);
        assert_eq!(select(Some(&[2, 0]), Some(2), Some(3)), [0, 2, 3]);
        assert_eq!(select(None, Some(100), Some(100)).len(), 10);
    }

    #[test]
    fn the_identity_is_of_the_source_pixels() {
        let set = counting_set(4, 4, &[0, 1]);
        let preprocessing = Preprocessing {
            classes: Some(vec![1]),
            crop: Some(Crop { top: None, left: None, height: 2, width: 2 }),
            resize: Some(Resize { height: 1, width: 1, filter: ResizeFilter::Box }),
            ..Preprocessing::default()
        };
        assert_eq!(prepare(&set, &preprocessing).unwrap().ids(), [set.id(1)]);
    }

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
    fn a_frame_keeps_its_value_in_every_image_and_channel() {
        let set = ImageSet::new(1, 1, 3, vec![1, 2, 3, 4, 5, 6], vec![0, 0]).unwrap();
        let preprocessing = Preprocessing {
            pad: Some(Pad { left: 1, value: 9, ..Pad::default() }),
            ..Preprocessing::default()
        };
        let prepared = prepare(&set, &preprocessing).unwrap();
        assert_eq!(prepared.pixels(), [9, 9, 9, 1, 2, 3, 9, 9, 9, 4, 5, 6]);
    }

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
    fn scaling_meets_both_ends_exactly_and_is_odd_about_the_middle() {
        let set = ImageSet::new(1, 256, 1, (0..=255).collect(), vec![0]).unwrap();
        let prepared = prepare(&set, &Preprocessing::default()).unwrap();
        let scaled = prepared.scaled(0);
        assert_eq!((scaled[0], scaled[255]), (-1.0, 1.0));
        for (byte, &value) in scaled.iter().enumerate() {
            let exact = (2.0 * byte as f64 - 255.0) / 255.0;
            // One rounding of a quotient below 2 and one of a difference below 1.
            assert!((f64::from(value) - exact).abs() <= f64::from(f32::EPSILON));
        }
        assert!(scaled.is_sorted_by(|left, right| left < right));
        let mut into = vec![0.0; 256];
        prepared.scaled_into(0, &mut into);
        assert_eq!(into, scaled);
    }

    #[test]
    fn settings_that_do_not_fit_are_named_with_value_and_bound() {
        let set = counting_set(28, 20, &[1, 3, 3]);
        let message = |preprocessing: Preprocessing| prepare(&set, &preprocessing).unwrap_err().to_string();
        let default = Preprocessing::default;
        let crop = |top, left, height, width| Preprocessing {
            crop: Some(Crop { top, left, height, width }),
            ..default()
        };
        assert_eq!(
            message(Preprocessing { classes: Some(vec![1, 2]), ..default() }),
            "preprocessing: `classes` is 2, but must be among the labels of the set: 1, 3"
        );
        assert_eq!(
            message(Preprocessing { classes: Some(vec![3, 3]), ..default() }),
            "preprocessing: `classes` is 3 twice, but must be a list of different labels"
        );
        assert_eq!(
            message(Preprocessing { classes: Some(vec![]), ..default() }),
            "preprocessing: `classes` is empty, but must be a list of at least one label"
        );
        assert_eq!(
            message(Preprocessing { first: Some(0), ..default() }),
            "preprocessing: `first` is 0, but must be at least 1"
        );
        assert_eq!(
            message(Preprocessing { first_per_class: Some(0), ..default() }),
            "preprocessing: `first_per_class` is 0, but must be at least 1"
        );
        assert_eq!(
            message(crop(None, None, 29, 20)),
            "preprocessing: `crop.height` is 29, but must be between 1 and 28, the size of the image"
        );
        assert_eq!(
            message(crop(None, None, 28, 0)),
            "preprocessing: `crop.width` is 0, but must be between 1 and 20, the size of the image"
        );
        assert_eq!(
            message(crop(Some(9), None, 20, 20)),
            "preprocessing: `crop.top` is 9, but must be at most 8, so that 20 of 28 pixels fit"
        );
        assert_eq!(
            message(Preprocessing { pad: Some(Pad { left: usize::MAX, ..Pad::default() }), ..default() }),
            format!("preprocessing: `pad.left` is {}, but must be at most 8192", usize::MAX)
        );
        assert_eq!(
            message(Preprocessing {
                pad: Some(Pad { top: 4000, bottom: 4165, ..Pad::default() }),
                ..default()
            }),
            "preprocessing: `pad.bottom` is 4165, 8193 in all, but must be at most 8192 pixels in all with the image \
             and the other side"
        );
        assert_eq!(
            message(Preprocessing {
                resize: Some(Resize { height: 14, width: 0, filter: ResizeFilter::Box }),
                ..default()
            }),
            "preprocessing: `resize.width` is 0, but must be between 1 and 8192"
        );
        let empty = ImageSet::new(1, 1, 1, vec![], vec![]).unwrap();
        assert_eq!(
            prepare(&empty, &default()).unwrap_err().to_string(),
            "the number of images is 0, but must be at least 1"
        );
    }

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

    fn side() -> impl Strategy<Value = usize> {
        prop_oneof![10 => 0_usize..12, 1 => Just(usize::MAX)]
    }

    prop_compose! {
        fn any_preprocessing()(
            classes in prop::option::of(prop::collection::vec(0_u32..4, 0..4)),
            first_per_class in prop::option::of(0_usize..4),
            first in prop::option::of(0_usize..6),
            crop in prop::option::of((prop::option::of(side()), prop::option::of(side()), side(), side())),
            pad in prop::option::of(([side(), side(), side(), side()], any::<u8>())),
            resize in prop::option::of((0_usize..12, 0_usize..12, 0_usize..4)),
        ) -> Preprocessing {
            let filters =
                [ResizeFilter::Box, ResizeFilter::Bilinear, ResizeFilter::Bicubic, ResizeFilter::Lanczos3];
            Preprocessing {
                split: Split::Train,
                classes,
                first_per_class,
                first,
                cover: None,
                crop: crop.map(|(top, left, height, width)| Crop { top, left, height, width }),
                pad: pad.map(|([top, bottom, left, right], value)| Pad { top, bottom, left, right, value }),
                resize: resize.map(|(height, width, filter)| Resize { height, width, filter: filters[filter] }),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_settings_give_a_consistent_set_or_an_error(
            (height, width, channels) in (1_usize..10, 1_usize..10, 1_usize..=4),
            labels in prop::collection::vec(0_u32..3, 0..8),
            preprocessing in any_preprocessing(),
        ) {
            let pixels = (0..height * width * channels * labels.len()).map(|value| value as u8).collect();
            let set = ImageSet::new(height, width, channels, pixels, labels).unwrap();
            if let Ok(prepared) = prepare(&set, &preprocessing) {
                prop_assert!(prepared.len() > 0);
                prop_assert_eq!(prepared.pixels().len(), prepared.len() * prepared.image_len());
                prop_assert_eq!(prepared.ids().len(), prepared.len());
                prop_assert!(prepared.source_indices().is_sorted_by(|left, right| left < right));
                for (position, &index) in prepared.source_indices().iter().enumerate() {
                    prop_assert_eq!(prepared.labels()[position], set.label(index));
                    prop_assert!(prepared.scaled(position).iter().all(|value| (-1.0..=1.0).contains(value)));
                }
            }
        }

        #[test]
        fn padding_what_was_cropped_restores_a_framed_image(
            (inner, frame) in ([1_usize..6, 1..6], [0_usize..4, 0..4, 0..4, 0..4]),
            value: u8,
        ) {
            let [top, bottom, left, right] = frame;
            let inside = counting_set(inner[0], inner[1], &[0]);
            let pad = Pad { top, bottom, left, right, value };
            let padded =
                prepare(&inside, &Preprocessing { pad: Some(pad), ..Preprocessing::default() }).unwrap();
            let framed = ImageSet::new(padded.height(), padded.width(), 1, padded.pixels().to_vec(), vec![0]).unwrap();
            let crop = Crop { top: Some(top), left: Some(left), height: inner[0], width: inner[1] };
            let cropped =
                prepare(&framed, &Preprocessing { crop: Some(crop), ..Preprocessing::default() }).unwrap();
            prop_assert_eq!(cropped.pixels(), inside.pixels());
            let both = Preprocessing { crop: Some(crop), pad: Some(pad), ..Preprocessing::default() };
            let restored = prepare(&framed, &both).unwrap();
            prop_assert_eq!(restored.pixels(), framed.pixels());
        }
    }
}
