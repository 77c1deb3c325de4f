//! Which images of a set are used, and how they are brought to the shape and scale that a model trains on.
//!
//! The order is fixed: select, cover, crop, pad, resize, scale. All but the last give bytes.

mod geometry;
mod prepared_set;
mod selection;
mod settings;

pub use prepared_set::PreparedSet;
pub use settings::{Cover, Crop, Pad, Preprocessing, Resize};

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::error::{DataError, FinalSize};
use crate::source::{ImageSource, Meter, OpenEvent, Work, listed};
use geometry::{Plan, Steps};
use selection::select;

/// What of a set is prepared, and what comes out, before any image is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Positions of the selected images, ascending.
    pub source_indices: Vec<usize>,
    /// The label of each; 0 for all of a set without labels.
    pub labels: Vec<u32>,
    /// Height, width and channels of every prepared image.
    pub shape: [usize; 3],
}

/// Looks at all selected images of a set, without reading them: whether settings fit, whether any of them is damaged, and
/// whether all end with one size.
///
/// # Errors
/// [`DataError::Damaged`] with all selected images that are damaged; [`DataError::Sizes`] with all sizes, if there are several
/// (`cover`, `crop` or `resize` make them one); if a setting does not fit the set (the error names the key, the value and the
/// bound), or no image is left.
pub fn survey(set: &dyn ImageSource, preprocessing: &Preprocessing) -> Result<Survey, DataError> {
    let unlabelled;
    let labels = match set.labels() {
        Some(labels) => labels,
        None => {
            unlabelled = vec![0; set.len()];
            &unlabelled
        }
    };
    let source_indices = select(labels, &|index| set.leaves_out(index), preprocessing)?;
    let damaged: Vec<_> = source_indices.iter().filter_map(|&index| set.damage(index)).collect();
    if !damaged.is_empty() {
        return Err(DataError::Damaged { images: damaged, of: source_indices.len() });
    }
    let [height, width] = final_size(set, &source_indices, preprocessing)?;
    let labels = source_indices.iter().map(|&index| labels[index]).collect();
    Ok(Survey { source_indices, labels, shape: [height, width, set.channels()] })
}

/// Selects, crops, pads and resizes the images of a set, reading one after another. A set without labels is one class,
/// label 0.
///
/// # Errors
/// As [`survey`], before any image is read; if one is not any more what it was, or the result does not fit in memory.
pub fn prepare(set: &dyn ImageSource, preprocessing: &Preprocessing) -> Result<PreparedSet, DataError> {
    prepare_telling(set, preprocessing, &mut |_| {})
}

/// [`prepare`], and tells how far it is once that takes longer than a moment.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_telling(
    set: &dyn ImageSource,
    preprocessing: &Preprocessing,
    on_event: &mut dyn FnMut(OpenEvent<'_>),
) -> Result<PreparedSet, DataError> {
    let Survey { source_indices, labels, shape: [height, width, channels] } = survey(set, preprocessing)?;
    let bytes = (height * width * channels).saturating_mul(source_indices.len());
    let mut pixels = Vec::new();
    pixels
        .try_reserve_exact(bytes)
        .map_err(|_| DataError::OutOfMemory { what: "the prepared images", bytes })?;
    let mut ids = Vec::with_capacity(source_indices.len());
    let mut steps: Option<Steps> = None;
    let mut meter = Meter::new(Work::Preparing, source_indices.len());
    for &index in &source_indices {
        let image = set.image(index)?;
        let from = [image.height(), image.width()];
        let steps = match &mut steps {
            Some(steps) if steps.plan.from == from => steps,
            other => other.insert(Steps::new(Plan::new(from, preprocessing)?, channels)?),
        };
        ids.push(image.id());
        steps.apply(&image, &mut pixels)?;
        meter.set(ids.len(), on_event);
    }
    let names = source_indices.iter().map(|&index| set.key(index)).collect();
    let mut captions: Vec<Vec<String>> =
        source_indices.iter().map(|&index| set.captions(index).to_vec()).collect();
    if captions.iter().all(Vec::is_empty) {
        captions.clear();
    }
    Ok(PreparedSet { height, width, channels, pixels, labels, ids, names, captions, source_indices })
}

/// The size that all selected images end with.
fn final_size(
    set: &dyn ImageSource,
    source_indices: &[usize],
    preprocessing: &Preprocessing,
) -> Result<[usize; 2], DataError> {
    // Positions of the images that end with each size, by the place at which it was met first.
    let mut met: Vec<([usize; 2], Vec<usize>)> = Vec::new();
    let mut plans = BTreeMap::<[usize; 2], usize>::new();
    for &index in source_indices {
        let from = set.size(index)?;
        let place = match plans.get(&from) {
            Some(&place) => place,
            None => {
                let to = Plan::new(from, preprocessing).map_err(|error| match error {
                    // Which image it is matters only where they differ.
                    DataError::Setting { field, value, bound } if !plans.is_empty() => DataError::Setting {
                        field,
                        value,
                        bound: format!("{bound} ({}, {} x {} pixels)", set.key(index), from[0], from[1]),
                    },
                    error => error,
                })?;
                let place = met.iter().position(|(size, _)| *size == to.to).unwrap_or(met.len());
                if place == met.len() {
                    met.push((to.to, Vec::new()));
                }
                plans.insert(from, place);
                place
            }
        };
        met[place].1.push(index);
    }
    if let [(size, _)] = met.as_slice() {
        return Ok(*size);
    }
    let mut sizes: Vec<FinalSize> = met
        .into_iter()
        .map(|(size, images)| {
            let keys: Vec<String> = images.iter().map(|&index| set.key(index)).collect();
            FinalSize { size, images: images.len(), names: listed(&keys) }
        })
        .collect();
    sizes.sort_by_key(|size| Reverse(size.images));
    Err(DataError::Sizes { sizes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageSet;
    use crate::public_sets::Split;
    use crate::resize::ResizeFilter;
    use proptest::prelude::*;

    /// Images of one row whose pixels count up through the set.
    pub(super) fn counting_set(height: usize, width: usize, labels: &[u32]) -> ImageSet {
        let pixels = (0..height * width * labels.len()).map(|value| value as u8).collect();
        ImageSet::new(height, width, 1, pixels, labels.to_vec()).unwrap()
    }

    pub(super) fn refusal(set: &ImageSet, preprocessing: Preprocessing) -> String {
        prepare(set, &preprocessing).unwrap_err().to_string()
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
