//! The binary layout of CIFAR-10: records of a label and 3 x 1024 bytes, the planes of red, green and blue row by row
//! (Krizhevsky, "The CIFAR-10 dataset").

use std::path::{Path, PathBuf};

use super::decode::Raw;
use super::halves::no_half;
use super::place::Place;
use super::records::{Records, Storage};
use super::structure::{Layout, Listing, Reader, Structure};
use crate::error::DataError;
use crate::image::{Image, ImageSet};
use crate::public_sets::Split;

/// Height and width of every image.
pub(crate) const SIDE_PIXELS: usize = 32;
pub(crate) const IMAGE_BYTES: usize = 3 * SIDE_PIXELS * SIDE_PIXELS;
pub(crate) const RECORD_BYTES: usize = 1 + IMAGE_BYTES;

/// By label, as `batches.meta.txt` of the original archive lists them.
pub(crate) const CLASS_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Files of records, one after another.
struct CifarReader {
    files: Vec<(PathBuf, Records)>,
    /// For each image, its file and its record there.
    places: Vec<(usize, usize)>,
}

pub(super) fn read(files: &[PathBuf]) -> Result<Structure, DataError> {
    let mut reader = CifarReader { files: Vec::new(), places: Vec::new() };
    let mut labels = Vec::new();
    for (number, path) in files.iter().enumerate() {
        let place = Place::file(path);
        let (_, length) = place.open()?;
        let count = checked_count(&place, length)?;
        let records = Records::new(path.clone(), Storage::Plain { offset: 0 }, 0, RECORD_BYTES, count);
        for record in 0..count {
            labels.push(checked_label(&records.read(record)?, || {
                Place::entry(path, format!("record {record}"))
            })?);
            reader.places.push((number, record));
        }
        reader.files.push((path.clone(), records));
    }
    let class_names = CLASS_NAMES.map(String::from).to_vec();
    let listing = Listing::numbered(labels.len()).with_labels((labels, class_names));
    Ok(Structure {
        layout: Layout::CifarBinary,
        listing,
        files: files.to_vec(),
        reader: Box::new(reader),
        notes: Vec::new(),
    })
}

fn checked_count(place: &Place, length: u64) -> Result<usize, DataError> {
    let record_bytes = RECORD_BYTES as u64;
    if length == 0 || !length.is_multiple_of(record_bytes) {
        let bound = format!("a multiple of {RECORD_BYTES}, a label and 3 x 32 x 32 bytes, and not 0");
        return Err(place.broken("length", format!("{length} bytes"), bound));
    }
    Ok((length / record_bytes) as usize)
}

fn checked_label(record: &[u8], place: impl Fn() -> Place) -> Result<u32, DataError> {
    match record.first() {
        Some(&label) if usize::from(label) < CLASS_NAMES.len() => Ok(u32::from(label)),
        label => {
            let value = label.map_or("missing".into(), u8::to_string);
            Err(place().broken("the label", value, format!("below {}", CLASS_NAMES.len())))
        }
    }
}

impl Reader for CifarReader {
    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        let (file, record) = self.places[index];
        let bytes = self.files[file].1.read(record)?;
        Ok(Raw::Pixels(Image::new(
            SIDE_PIXELS,
            SIDE_PIXELS,
            3,
            interleaved(bytes.get(1..).unwrap_or_default()),
        )?))
    }

    fn place(&self, index: usize) -> Place {
        let (file, record) = self.places[index];
        Place::entry(&self.files[file].0, format!("record {record}"))
    }
}

/// From planes to channels last.
fn interleaved(planes: &[u8]) -> Vec<u8> {
    let plane = planes.len() / 3;
    (0..plane).flat_map(|pixel| [planes[pixel], planes[plane + pixel], planes[2 * plane + pixel]]).collect()
}

/// From channels last to planes.
pub(crate) fn planes(pixels: &[u8]) -> Vec<u8> {
    (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect()
}

/// All records of some files, in memory.
pub(crate) fn read_cifar10(files: &[PathBuf]) -> Result<ImageSet, DataError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in files {
        let place = Place::file(path);
        let bytes = place.read_whole(u64::from(u32::MAX))?;
        checked_count(&place, bytes.len() as u64)?;
        for (number, record) in bytes.chunks_exact(RECORD_BYTES).enumerate() {
            labels.push(checked_label(record, || Place::entry(path, format!("record {number}")))?);
            pixels.extend(interleaved(&record[1..]));
        }
    }
    ImageSet::new(SIDE_PIXELS, SIDE_PIXELS, 3, pixels, labels)
}

/// `data_batch_1.bin` and its like, in order of their numbers, or `test_batch.bin`.
pub(super) fn is_batch(name: &str, ending: &str) -> Option<u32> {
    let stem = name.strip_suffix(ending)?;
    if stem == "test_batch" {
        return Some(0);
    }
    stem.strip_prefix("data_batch_").and_then(|number| number.parse().ok()).filter(|&number| number > 0)
}

/// The batches of one half among the files of a folder.
pub(super) fn batches_of(
    folder: &Path,
    names: &[String],
    ending: &str,
    split: Split,
) -> Result<Vec<PathBuf>, DataError> {
    let mut batches: Vec<(u32, &String)> =
        names.iter().filter_map(|name| Some((is_batch(name, ending)?, name))).collect();
    batches.sort_unstable();
    let is_test = split == Split::Test;
    batches.retain(|&(number, _)| (number == 0) == is_test);
    // A batch in the middle that is missing would shift all that follow.
    for (expected, &(number, _)) in (1..).zip(&batches) {
        if !is_test && number != expected {
            let missing = format!("data_batch_{expected}{ending}");
            return Err(Place::file(folder).broken(
                "the list of batches",
                format!("without {missing}"),
                "without gaps",
            ));
        }
    }
    if batches.is_empty() {
        return Err(no_half(folder, split, &[]));
    }
    Ok(batches.into_iter().map(|(_, name)| folder.join(name)).collect())
}
