//! A pair of IDX files, read image by image.

use std::path::{Path, PathBuf};

use super::decode::Raw;
use super::labels;
use super::place::Place;
use super::records::{Records, Storage};
use super::structure::{Layout, Listing, Reader, Structure};
use crate::error::DataError;
use crate::idx::{IdxImages, read_idx_images_header, read_idx_labels};
use crate::image::Image;

struct IdxReader {
    path: PathBuf,
    records: Records,
    /// `[height, width]`
    size: [usize; 2],
}

pub(super) fn read(images: &Path, labels_path: &Path) -> Result<Structure, DataError> {
    let labels = read_idx_labels(labels_path)?;
    let IdxImages { count, height, width, header_bytes, compressed } = read_idx_images_header(images)?;
    if labels.len() != count {
        let bound = format!("{count}, the number of images in {}", images.display());
        return Err(Place::file(labels_path).broken("number of labels", labels.len(), bound));
    }
    let storage = if compressed { Storage::Gzip } else { Storage::Plain { offset: 0 } };
    let records = Records::new(images.into(), storage, header_bytes, height * width, count);
    Ok(Structure {
        layout: Layout::Idx,
        listing: Listing::numbered(count).with_labels(labels::from_numbers(labels)),
        files: vec![images.into(), labels_path.into()],
        reader: Box::new(IdxReader { path: images.into(), records, size: [height, width] }),
        notes: Vec::new(),
    })
}

impl Reader for IdxReader {
    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        Ok(Raw::Pixels(Image::new(self.size[0], self.size[1], 1, self.records.read(index)?)?))
    }

    fn place(&self, index: usize) -> Place {
        Place::entry(&self.path, format!("image {index}"))
    }
}
