//! What is in a set: sizes, classes, images that are the same or look alike, damaged ones; and a picture of it.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::duplicates::exact_duplicates;
use crate::error::DataError;
use crate::image::{Image, ImageId};
use crate::near_duplicates::{NEAR_DUPLICATE_BITS, NearPair, near_duplicates_telling, perceptual_hash};
use crate::resize::{ImageResizer, ResizeFilter};
use crate::source::{CaptionSummary, DamagedImage, ImageSource, IndexedSource, Meter, OpenEvent, Work};

/// Images, and bytes of them, that are decoded before their hashes are taken together.
const WINDOW_IMAGES: usize = 512;
const WINDOW_BYTES: usize = 256 << 20;

/// What is in a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Number of images of each height and width, damaged ones left out.
    pub sizes: BTreeMap<[usize; 2], usize>,
    /// Name and number of images of each class, in order of the labels; empty if the set has no labels.
    pub classes: Vec<(String, usize)>,
    /// Positions of images that are the same pixel by pixel, as [`exact_duplicates`] gives them.
    pub exact_duplicates: Vec<Vec<usize>>,
    /// Number of pairs whose perceptual hashes differ in at most [`NEAR_DUPLICATE_BITS`] bits. Of images that are the
    /// same, only the first is compared.
    pub near_pairs: u64,
    /// The first of these pairs.
    pub first_near_pairs: Vec<NearPair>,
    /// The captions, counted; none if the set has none.
    pub captions: Option<CaptionSummary>,
    /// Images that cannot be decoded.
    pub damaged: Vec<DamagedImage>,
    /// Number of images that had transparent pixels.
    pub transparent: usize,
    /// Positions of images that are the first of several pictures in their files.
    pub first_of_several: Vec<usize>,
}

impl Inspection {
    /// Most pairs that are kept in [`first_near_pairs`](Self::first_near_pairs).
    pub const MAX_NEAR_PAIRS: usize = 1000;

    /// Looks at every image of a set.
    ///
    /// # Errors
    /// If the set is not any more what it was when it was opened.
    pub fn of(source: &IndexedSource, on_event: &mut dyn FnMut(OpenEvent<'_>)) -> Result<Self, DataError> {
        let ids: Vec<(usize, ImageId)> =
            (0..source.len()).filter_map(|index| Some((index, source.indexed_id(index)?))).collect();
        let positions = |list: Vec<usize>| list.into_iter().map(|place| ids[place].0).collect::<Vec<_>>();
        let exact: Vec<Vec<usize>> = exact_duplicates(&ids.iter().map(|(_, id)| *id).collect::<Vec<_>>())
            .into_iter()
            .map(positions)
            .collect();
        let repeated: BTreeSet<usize> = exact.iter().flat_map(|same| same.iter().skip(1).copied()).collect();
        let distinct: Vec<usize> =
            ids.iter().map(|&(index, _)| index).filter(|index| !repeated.contains(index)).collect();

        let mut hashes = Vec::with_capacity(distinct.len());
        let mut meter = Meter::new(Work::Hashing, distinct.len());
        let mut window: Vec<Image> = Vec::new();
        for (done, &index) in (1..).zip(&distinct) {
            // In order, as some layouts reach only the next image quickly.
            window.push(source.image(index)?);
            let bytes: usize = window.iter().map(|image| image.pixels().len()).sum();
            if window.len() >= WINDOW_IMAGES || bytes >= WINDOW_BYTES || done == distinct.len() {
                hashes.extend(window.par_iter().map(perceptual_hash).collect::<Result<Vec<_>, _>>()?);
                window.clear();
                meter.set(hashes.len(), on_event);
            }
        }
        let (near_pairs, mut first_near_pairs) =
            near_duplicates_telling(&hashes, NEAR_DUPLICATE_BITS, Self::MAX_NEAR_PAIRS, on_event);
        for pair in &mut first_near_pairs {
            (pair.first, pair.second) = (distinct[pair.first], distinct[pair.second]);
        }

        let mut sizes = BTreeMap::new();
        for &(index, _) in &ids {
            *sizes.entry(source.size(index)?).or_default() += 1;
        }
        let mut classes: Vec<(String, usize)> =
            source.class_names().iter().map(|name| (name.clone(), 0)).collect();
        for &label in source.labels().unwrap_or_default() {
            if let Some((_, count)) = classes.get_mut(label as usize) {
                *count += 1;
            }
        }
        Ok(Self {
            sizes,
            classes,
            exact_duplicates: exact,
            near_pairs,
            first_near_pairs,
            captions: source.caption_summary(),
            damaged: source.damaged(),
            transparent: source.transparent(),
            first_of_several: source.first_of_several(),
        })
    }
}

/// Side of the square that a picture of a contact sheet fits in, and the space between two, in pixels.
const CELL_PIXELS: usize = 64;
const GAP_PIXELS: usize = 2;
/// Pictures in a row, and most rows.
const COLUMNS: usize = 16;
const MAX_ROWS: usize = 100;

/// A picture of a set, RGB on white: a row for each class with its first 16 images, in order of the labels and without
/// classes that have none, at most 100; without labels, the first images row by row. Damaged images are left out.
///
/// # Errors
/// If an image cannot be read.
pub fn contact_sheet(source: &IndexedSource) -> Result<Image, DataError> {
    let whole = (0..source.len()).filter(|&index| source.indexed_id(index).is_some());
    let rows: Vec<Vec<usize>> = match source.labels() {
        None => whole
            .take(COLUMNS * MAX_ROWS / 10)
            .collect::<Vec<_>>()
            .chunks(COLUMNS)
            .map(<[usize]>::to_vec)
            .collect(),
        Some(labels) => {
            let mut rows = BTreeMap::<u32, Vec<usize>>::new();
            for index in whole {
                let row = rows.entry(labels[index]).or_default();
                if row.len() < COLUMNS {
                    row.push(index);
                }
            }
            rows.into_values().take(MAX_ROWS).collect()
        }
    };
    let step = CELL_PIXELS + GAP_PIXELS;
    let width = COLUMNS * step + GAP_PIXELS;
    let height = rows.len().max(1) * step + GAP_PIXELS;
    let mut pixels = vec![255; height * width * 3];
    let mut places: Vec<(usize, usize, usize)> = rows
        .iter()
        .enumerate()
        .flat_map(|(row, images)| images.iter().enumerate().map(move |(column, &index)| (index, row, column)))
        .collect();
    places.sort_unstable();
    for (index, row, column) in places {
        let image = source.image(index)?;
        let longest = image.height().max(image.width());
        let size = [image.height(), image.width()].map(|side| (side * CELL_PIXELS / longest).max(1));
        let mut fitted = Vec::new();
        ImageResizer::new([image.height(), image.width()], size, image.channels(), ResizeFilter::Bilinear)?
            .resize_into(image.pixels(), &mut fitted)?;
        let top = GAP_PIXELS + row * step + (CELL_PIXELS - size[0]) / 2;
        let left = GAP_PIXELS + column * step + (CELL_PIXELS - size[1]) / 2;
        for (place, pixel) in fitted.chunks_exact(image.channels()).enumerate() {
            let target = ((top + place / size[1]) * width + left + place % size[1]) * 3;
            for channel in 0..3 {
                pixels[target + channel] = pixel[channel.min(pixel.len() - 1)];
            }
        }
    }
    Image::new(height, width, 3, pixels)
}
