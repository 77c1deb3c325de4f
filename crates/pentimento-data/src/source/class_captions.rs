//! A set whose captions are made of its classes.

use super::ImageSource;
use super::caption_faults::FaultyCaption;
use super::damage::DamagedImage;
use crate::error::DataError;
use crate::image::Image;

/// A set with one caption for all images of a class.
struct ClassCaptions {
    source: Box<dyn ImageSource>,
    /// That of each label.
    captions: Vec<String>,
}

/// A set whose images have the captions of their classes, by label, in place of captions of their own; none if it has no labels,
/// or one for which there is no caption.
pub fn with_class_captions(
    source: Box<dyn ImageSource>,
    captions: Vec<String>,
) -> Option<Box<dyn ImageSource>> {
    let has_caption = |&label: &u32| (label as usize) < captions.len();
    if !source.labels()?.iter().all(has_caption) {
        return None;
    }
    Some(Box::new(ClassCaptions { source, captions }))
}

impl ImageSource for ClassCaptions {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn channels(&self) -> usize {
        self.source.channels()
    }

    fn size(&self, index: usize) -> Result<[usize; 2], DataError> {
        self.source.size(index)
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        self.source.image(index)
    }

    fn labels(&self) -> Option<&[u32]> {
        self.source.labels()
    }

    fn class_names(&self) -> &[String] {
        self.source.class_names()
    }

    fn captions(&self, index: usize) -> &[String] {
        let label = self.source.labels().and_then(|labels| labels.get(index));
        label.and_then(|&label| self.captions.get(label as usize)).map_or(&[], std::slice::from_ref)
    }

    fn caption_fault(&self, _index: usize) -> Option<FaultyCaption> {
        None
    }

    fn key(&self, index: usize) -> String {
        self.source.key(index)
    }

    fn groups(&self) -> Option<&[String]> {
        self.source.groups()
    }

    fn has_colour(&self, index: usize) -> Result<bool, DataError> {
        self.source.has_colour(index)
    }

    fn damage(&self, index: usize) -> Option<DamagedImage> {
        self.source.damage(index)
    }

    fn leaves_out(&self, index: usize) -> bool {
        self.source.leaves_out(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageSet;

    #[test]
    fn images_of_a_class_share_its_caption() {
        let set = |labels: &[u32]| {
            Box::new(ImageSet::new(1, 1, 1, vec![7; labels.len()], labels.to_vec()).unwrap())
        };
        let captions = || ["a cat", "a dog"].map(str::to_owned).to_vec();
        let captioned = with_class_captions(set(&[1, 0, 1]), captions()).unwrap();
        let found: Vec<&[String]> = (0..4).map(|image| captioned.captions(image)).collect();
        assert_eq!(found, [&["a dog".to_owned()] as &[_], &["a cat".to_owned()], &["a dog".to_owned()], &[]]);
        assert_eq!((captioned.len(), captioned.labels()), (3, Some(&[1, 0, 1][..])));
        assert!(with_class_captions(set(&[1, 2]), captions()).is_none(), "no caption for class 2");
    }
}
