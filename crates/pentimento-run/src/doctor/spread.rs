//! Which images of a set the doctor looks at: some of every class, from all over the set.

use pentimento_data::{DamagedImage, DataError, FaultyCaption, Image, ImageSource};
use std::collections::BTreeMap;

/// Images that predictions are tried on, if there are no more classes.
const IMAGES: usize = 16;

/// Of more classes, only so many have an image among them: each one costs a call of the network for every reading tried.
const MOST_CLASSES: usize = 32;

/// Some images of a set, as a set.
pub(super) struct Chosen {
    set: Box<dyn ImageSource>,
    indices: Vec<usize>,
    labels: Option<Vec<u32>>,
}

impl Chosen {
    /// Those that the doctor looks at.
    pub(super) fn of(set: Box<dyn ImageSource>) -> Self {
        let indices = spread(set.labels(), (0..set.len()).filter(|&index| !set.leaves_out(index)));
        let labels = set.labels().map(|labels| indices.iter().map(|&index| labels[index]).collect());
        Self { set, indices, labels }
    }
}

impl ImageSource for Chosen {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn channels(&self) -> usize {
        self.set.channels()
    }

    fn size(&self, index: usize) -> Result<[usize; 2], DataError> {
        self.set.size(self.indices[index])
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        self.set.image(self.indices[index])
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn class_names(&self) -> &[String] {
        self.set.class_names()
    }

    fn captions(&self, index: usize) -> &[String] {
        self.set.captions(self.indices[index])
    }

    fn caption_fault(&self, index: usize) -> Option<FaultyCaption> {
        let fault = self.set.caption_fault(self.indices[index])?;
        Some(FaultyCaption { index, ..fault })
    }

    fn key(&self, index: usize) -> String {
        self.set.key(self.indices[index])
    }

    fn groups(&self) -> Option<&[String]> {
        None
    }

    fn has_colour(&self, index: usize) -> Result<bool, DataError> {
        self.set.has_colour(self.indices[index])
    }

    fn damage(&self, index: usize) -> Option<DamagedImage> {
        self.set.damage(self.indices[index])
    }
}

/// Positions of images, rising: about as many of each class, evenly spaced in it.
fn spread(labels: Option<&[u32]>, images: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut classes = BTreeMap::<u32, Vec<usize>>::new();
    for index in images {
        let class = labels.map_or(0, |labels| labels[index]);
        classes.entry(class).or_default().push(index);
    }
    let classes: Vec<Vec<usize>> = classes.into_values().collect();
    let classes = evenly(&classes, MOST_CLASSES);
    let of_each = IMAGES / classes.len().max(1);
    let with_one_more = IMAGES - of_each * classes.len().min(IMAGES);
    let mut chosen: Vec<usize> = classes
        .iter()
        .enumerate()
        .flat_map(|(place, class)| evenly(class, (of_each + usize::from(place < with_one_more)).max(1)))
        .collect();
    chosen.sort_unstable();
    chosen
}

/// At most so many of a list, evenly spaced.
fn evenly<T: Clone>(all: &[T], most: usize) -> Vec<T> {
    let count = most.min(all.len());
    (0..count).map(|place| all[place * all.len() / count].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_a_sorted_set_is_looked_at() {
        // A thousand pictures of each of ten classes, one class after another.
        let labels: Vec<u32> = (0..10_000).map(|index| index / 1000).collect();
        let chosen = spread(Some(&labels), 0..labels.len());
        assert_eq!(chosen.len(), 16);
        for class in 0..10 {
            let of_class = chosen.iter().filter(|&&index| labels[index] == class).count();
            // 16 images of ten classes: two of the first six.
            assert_eq!(of_class, if class < 6 { 2 } else { 1 });
        }
        // The two of a class are half a class apart.
        assert_eq!(chosen[..3], [0, 500, 1000]);
    }

    #[test]
    fn many_classes_have_an_image_each_until_there_are_too_many() {
        let labels: Vec<u32> = (0..200).map(|index| index % 20).collect();
        assert_eq!(spread(Some(&labels), 0..200).len(), 20);
        let labels: Vec<u32> = (0..1000).collect();
        let chosen = spread(Some(&labels), 0..1000);
        assert_eq!((chosen.len(), chosen[1], chosen[31]), (32, 31, 968));
    }

    #[test]
    fn without_labels_they_are_spread_over_the_set() {
        assert_eq!(spread(None, 0..32), (0..16).map(|place| 2 * place).collect::<Vec<_>>());
        assert_eq!(spread(None, 0..3), [0, 1, 2]);
        assert!(spread(None, 0..0).is_empty());
        // Images that are left out are none of them.
        assert_eq!(spread(None, (0..6).filter(|image| image % 2 == 1)), [1, 3, 5]);
    }
}
