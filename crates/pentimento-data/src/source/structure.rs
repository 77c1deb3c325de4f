//! What is read of a set before any of its images: its layout, what it says about its images, and how to get at them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::array_pixels::Conversion;
use super::captions::Captions;
use super::decode::Raw;
use super::labels::Labelled;
use super::notes::Note;
use super::place::Place;
use crate::error::DataError;
use crate::names::composed;

/// How a set lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// IDX files of images and labels, as MNIST has them.
    Idx,
    /// The binary layout of CIFAR-10.
    CifarBinary,
    /// CIFAR-10 as PNG strips.
    CifarStrips,
    /// A folder of images, or of class folders.
    Folder,
    /// A folder of images with a table, such as `metadata.csv` or `metadata.jsonl`.
    Metadata,
    /// A single image file.
    Image,
    /// Parquet files as Hugging Face's `datasets` writes them.
    Parquet,
    /// WebDataset tar archives.
    WebDataset,
    /// A NumPy array.
    Npy,
    /// An archive of NumPy arrays.
    Npz,
}

impl fmt::Display for Layout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Idx => "IDX files",
            Self::CifarBinary => "CIFAR-10 binary files",
            Self::CifarStrips => "CIFAR-10 PNG strips",
            Self::Folder => "a folder of images",
            Self::Metadata => "a folder of images with a metadata table",
            Self::Image => "an image file",
            Self::Parquet => "Parquet files",
            Self::WebDataset => "WebDataset tar archives",
            Self::Npy => "a NumPy array",
            Self::Npz => "an archive of NumPy arrays",
        })
    }
}

/// One layout's way to get at the images.
pub(super) trait Reader: Send + Sync {
    /// What is stored for one image, below the length of the [`Listing`].
    fn raw(&self, index: usize) -> Result<Raw, DataError>;

    /// Where it is, for errors.
    fn place(&self, index: usize) -> Place;

    /// How the set's numbers became bytes, if they were none.
    fn conversion(&self) -> Option<Conversion> {
        None
    }
}

/// What a set says about its images, without the images.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) count: usize,
    /// Empty if images are called by their positions.
    pub(super) keys: Vec<String>,
    pub(super) labels: Option<Vec<u32>>,
    pub(super) class_names: Vec<String>,
    pub(super) groups: Option<Vec<String>>,
    pub(super) captions: Captions,
}

impl Listing {
    /// Images that have a position and nothing else.
    pub(super) fn numbered(count: usize) -> Self {
        Self { count, ..Self::default() }
    }

    /// Images with names of their own.
    pub(super) fn named(keys: Vec<String>) -> Self {
        Self { count: keys.len(), keys, ..Self::default() }
    }

    /// The same with every name in the form in which names are compared; those of classes have it already.
    pub(super) fn composed(self) -> Self {
        let all = |names: Vec<String>| names.iter().map(|name| composed(name)).collect();
        Self { keys: all(self.keys), groups: self.groups.map(all), ..self }
    }

    /// What the set calls an image.
    pub(super) fn key(&self, index: usize) -> String {
        self.keys.get(index).cloned().unwrap_or_else(|| index.to_string())
    }

    pub(super) fn with_labels(self, (labels, class_names): Labelled) -> Self {
        Self { labels: Some(labels), class_names, ..self }
    }
}

/// A set whose structure is read, but none of its images.
pub(super) struct Structure {
    pub(super) layout: Layout,
    pub(super) listing: Listing,
    /// Every file that images and labels depend on. Captions are read anew each time, and files that have nothing else are not
    /// among them.
    pub(super) files: Vec<PathBuf>,
    pub(super) reader: Box<dyn Reader>,
    /// What is to be said of it.
    pub(super) notes: Vec<Note>,
}
