//! The images that a model trains on.

use crate::image::ImageId;
use crate::names::composed;

/// The images that a model trains on: bytes of shape `[images, height, width, channels]`, with labels, and with where
/// each comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedSet {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) pixels: Vec<u8>,
    pub(super) labels: Vec<u32>,
    pub(super) source_indices: Vec<usize>,
    pub(super) ids: Vec<ImageId>,
    pub(super) names: Vec<String>,
    /// Empty if no image has any.
    pub(super) captions: Vec<Vec<String>>,
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

    /// What the source set calls each image: its path in a folder, its key in an archive. In a set without names it is the
    /// image's position.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The captions of an image, one or several in the order of the source set; none if the set has none. An empty text is the
    /// unconditional prompt. [`check_captions`](crate::check_captions) of the source says what is wrong where there are none.
    ///
    /// # Panics
    /// As [`image`](Self::image).
    pub fn captions(&self, index: usize) -> &[String] {
        if self.captions.is_empty() && index < self.len() { &[] } else { &self.captions[index] }
    }

    /// The image that a person means: by its name in either form of Unicode, or else by its position in the source set.
    pub fn find(&self, image: &str) -> Option<usize> {
        let image = composed(image);
        let image = image.as_str();
        self.names.iter().position(|name| name == image).or_else(|| self.position(image))
    }

    /// The names, or positions, in a list with commas between them. A name may have commas itself.
    pub fn names_in(&self, list: &str) -> Vec<String> {
        match self.find(list) {
            Some(_) => vec![list.to_owned()],
            None => list.split(',').map(|name| name.trim().to_owned()).collect(),
        }
    }

    /// The image at a position in the source set, as it is written.
    pub fn position(&self, position: &str) -> Option<usize> {
        self.source_indices.binary_search(&position.parse().ok()?).ok()
    }

    /// What people call an image: its position, with its name if it has one.
    ///
    /// # Panics
    /// As [`image`](Self::image).
    pub fn title(&self, index: usize) -> String {
        let (position, name) = (self.source_indices[index].to_string(), &self.names[index]);
        if position == *name { position } else { format!("{position} {name}") }
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

#[cfg(test)]
mod tests {
    use crate::image::ImageSet;
    use crate::preprocessing::{Preprocessing, prepare};

    #[test]
    fn images_are_found_by_their_names_and_positions() {
        let set = ImageSet::new(1, 1, 1, vec![0, 10, 20], vec![0, 1, 1]).unwrap();
        let mut prepared =
            prepare(&set, &Preprocessing { classes: Some(vec![1]), ..Preprocessing::default() }).unwrap();
        // Without names, positions are names.
        assert_eq!(prepared.names(), ["1", "2"]);
        assert_eq!(["0", "1", "2", "x"].map(|image| prepared.find(image)), [None, Some(0), Some(1), None]);
        assert_eq!(prepared.title(1), "2");
        // A name is meant before a position.
        prepared.names = vec!["2".into(), "a/b.png".into()];
        assert_eq!(["1", "2", "a/b.png"].map(|image| prepared.find(image)), [Some(0), Some(0), Some(1)]);
        assert_eq!(prepared.title(1), "2 a/b.png");
        assert_eq!(prepared.names_in("1, a/b.png"), ["1", "a/b.png"]);
        prepared.names[0] = "Paris, 2019.png".into();
        assert_eq!(prepared.names_in("Paris, 2019.png"), ["Paris, 2019.png"]);
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
}
