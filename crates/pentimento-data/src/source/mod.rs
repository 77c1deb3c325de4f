//! Image sets as they lie on disk, in every usual layout, behind one interface.
//!
//! [`open`] tells the layout of a path by what is in it, indexes the set once, and gives an [`IndexedSource`]. Images
//! are read and decoded one by one; a set is never in memory as a whole.

mod archive_tables;
mod array_labels;
mod array_pixels;
mod arrays;
mod caption_candidates;
mod caption_faults;
mod caption_files;
mod captions;
mod channels;
mod cifar;
mod class_captions;
mod containers;
mod damage;
mod decode;
mod event;
mod folder;
mod formats;
mod found;
mod halves;
mod idx_files;
mod index;
mod index_file;
mod indexing;
mod jpeg;
mod labels;
mod layout;
mod metadata;
mod notes;
mod page_headers;
mod parquet_captions;
mod parquet_shards;
mod parquet_values;
mod place;
mod records;
mod shards;
mod strips;
mod structure;
mod tables;
mod tiff;
mod walk;
mod webdataset;
mod words;

pub use array_pixels::Conversion;
pub use caption_faults::{
    CaptionFaultKind, CaptionFaultSummary, CaptionSummary, FaultyCaption, check_captions,
};
pub use channels::{converted, converted_without_loss};
pub(crate) use cifar::{
    CLASS_NAMES as CIFAR10_CLASS_NAMES, RECORD_BYTES as CIFAR10_RECORD_BYTES, read_cifar10,
};
pub use class_captions::with_class_captions;
pub use damage::{DamageKind, DamageSummary, DamagedImage};
pub use decode::{Channels, Colours};
pub(crate) use event::{Meter, Tell};
pub use event::{OpenEvent, Work};
pub use index::{IndexedSource, OpenOptions, open};
pub use notes::Note;
pub(crate) use records::MAX_DECOMPRESSED_BYTES;
pub(crate) use strips::{read_labels as read_strip_labels, write_binary as strip_to_binary};
pub use structure::Layout;
pub(crate) use words::listed;

use crate::error::DataError;
use crate::image::{Image, ImageSet};

/// A set of images that can be read one by one. Positions are below [`len`](Self::len); others panic, as those of slices
/// do.
pub trait ImageSource: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of channels of every image.
    fn channels(&self) -> usize;

    /// Height and width of one image in pixels.
    ///
    /// # Errors
    /// If the image is damaged.
    fn size(&self, index: usize) -> Result<[usize; 2], DataError>;

    /// Reads and decodes one image.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is not what it was when the set was indexed.
    fn image(&self, index: usize) -> Result<Image, DataError>;

    /// The label of every image, a position in [`class_names`](Self::class_names) where these are known; none if the
    /// set has no labels.
    fn labels(&self) -> Option<&[u32]>;

    /// The names of the classes; empty if they are not known.
    fn class_names(&self) -> &[String];

    /// The captions of one image, in the order of the set; none if the set has none, or if there is something wrong with those of
    /// this image. An empty text is a caption, too.
    fn captions(&self, index: usize) -> &[String];

    /// What is wrong with the captions of an image in a set that has some.
    fn caption_fault(&self, index: usize) -> Option<FaultyCaption>;

    /// What the set calls one image: its path in a folder, its key or its row.
    fn key(&self, index: usize) -> String;

    /// What each image is traced together with, if the set says so: a folder, a contributor.
    fn groups(&self) -> Option<&[String]>;

    /// Whether the channels of an image differ in some pixel.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    fn has_colour(&self, index: usize) -> Result<bool, DataError> {
        Ok(decode::has_colour(&self.image(index)?))
    }

    /// What is wrong with an image, if it is damaged.
    fn damage(&self, _index: usize) -> Option<DamagedImage> {
        None
    }

    /// Whether an image is left out of every selection, because it is damaged and the set was opened so.
    fn leaves_out(&self, _index: usize) -> bool {
        false
    }
}

impl ImageSource for ImageSet {
    fn len(&self) -> usize {
        self.len()
    }

    fn channels(&self) -> usize {
        self.channels()
    }

    fn size(&self, _: usize) -> Result<[usize; 2], DataError> {
        Ok([self.height(), self.width()])
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        Ok(self.to_image(index))
    }

    fn labels(&self) -> Option<&[u32]> {
        Some(self.labels())
    }

    fn class_names(&self) -> &[String] {
        &[]
    }

    fn captions(&self, _: usize) -> &[String] {
        &[]
    }

    fn caption_fault(&self, _: usize) -> Option<FaultyCaption> {
        None
    }

    fn key(&self, index: usize) -> String {
        index.to_string()
    }

    fn groups(&self) -> Option<&[String]> {
        None
    }
}
