//! What can go wrong, with the file, the field, the value, and the bound that it broke.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::source::{CaptionFaultSummary, DamageSummary, DamagedImage, FaultyCaption};

/// An image set, a setting or a table that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused, or compressed data is damaged; the cause is in `source`.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, such as "read".
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file holds a value that breaks a rule of its format.
    #[error("{}: {field} is {value}, but must be {bound}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The header field or property at fault.
        field: &'static str,
        /// What the file says.
        value: String,
        /// What it would have to say.
        bound: String,
    },
    /// A line of a table breaks a rule.
    #[error("{}, line {line}: {field} is {value}, but must be {bound}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// The column or property at fault.
        field: &'static str,
        /// What the line says.
        value: String,
        /// What it would have to say.
        bound: String,
    },
    /// Something inside a file breaks a rule: a row, an entry of an archive.
    #[error("{}, {entry}: {field} is {value}, but must be {bound}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which part of it, such as `row 7` or the path inside an archive.
        entry: String,
        /// The property at fault.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it would have to be.
        bound: String,
    },
    /// An image in a format that is read, but of a kind that is not: it is whole, and can be converted.
    #[error("{place} is a kind of {format} that is not read: {kind}; {remedy}")]
    Kind {
        /// The file, and the part of it.
        place: String,
        /// The name of the format, such as `TIFF`.
        format: String,
        /// Which kind it is.
        kind: String,
        /// What makes an image of it that is read.
        remedy: String,
    },
    /// Contents that a decoder refuses, of an image or of a file of images; the cause is in `source`.
    #[error("{place} cannot be decoded")]
    Decode {
        /// The file, and the part of it.
        place: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Images that were selected cannot be read.
    #[error("{} of {of} images cannot be read:\n{}", images.len(), DamageSummary(images))]
    Damaged {
        /// All of them.
        images: Vec<DamagedImage>,
        /// Number of images that were selected.
        of: usize,
    },
    /// Captions of selected images cannot be used.
    #[error("{} of {of} images have no captions that can be used:\n{}", faults.len(), CaptionFaultSummary(faults))]
    Captions {
        /// All of them.
        faults: Vec<FaultyCaption>,
        /// Number of images that were selected.
        of: usize,
    },
    /// Images have colour, and would lose it in one channel.
    #[error("{images} of {of} images have colour ({names}), which one channel would lose")]
    ColourLost {
        /// How many have colour.
        images: usize,
        /// Of how many.
        of: usize,
        /// What the set calls the first of them, and how many more there are.
        names: String,
    },
    /// Images end with several sizes.
    #[error("the images have {} sizes, but must have one:\n{}", sizes.len(), SizeList(sizes))]
    Sizes {
        /// Every size that they end with, the most frequent one first.
        sizes: Vec<FinalSize>,
    },
    /// A preprocessing setting does not fit the image set.
    #[error("preprocessing: `{field}` is {value}, but must be {bound}")]
    Setting {
        /// The key, such as `crop.height`.
        field: &'static str,
        /// The value given.
        value: String,
        /// What it would have to be.
        bound: String,
    },
    /// A value handed to this library breaks a rule.
    #[error("{field} is {value}, but must be {bound}")]
    Value {
        /// What the value is of.
        field: &'static str,
        /// The value given.
        value: String,
        /// What it would have to be.
        bound: String,
    },
    /// The resizing library refused an image; the cause is in `source`.
    #[error("cannot resize an image")]
    Resize {
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The images do not fit in memory.
    #[error("{what} need {bytes} bytes of memory, more than this machine gives")]
    OutOfMemory {
        /// What the memory was for.
        what: &'static str,
        /// How much.
        bytes: usize,
    },
}

/// A size that some images of a set end with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalSize {
    /// Height and width in pixels after preprocessing.
    pub size: [usize; 2],
    /// How many images have it.
    pub images: usize,
    /// What the set calls the first of them, and how many more there are.
    pub names: String,
}

/// The text of [`DataError::Sizes`].
struct SizeList<'a>(&'a [FinalSize]);

impl fmt::Display for SizeList<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for FinalSize { size: [height, width], images, names } in self.0.iter().take(LISTED_SIZES) {
            writeln!(formatter, "  {images} of {height} x {width} pixels ({names})")?;
        }
        if self.0.len() > LISTED_SIZES {
            writeln!(formatter, "  and {} more sizes", self.0.len() - LISTED_SIZES)?;
        }
        formatter.write_str("`data.preprocessing.cover`, or `crop` or `resize`, brings all to one size")
    }
}

/// Sizes that are told; the others are counted.
const LISTED_SIZES: usize = 10;

/// One source of a public set that was tried in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchAttempt {
    /// What was tried: a folder, an address, or a package client's command.
    pub source: String,
    /// Why it did not give the files.
    pub reason: String,
}

/// A public set that could not be brought here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The cache folder cannot be read or written; the cause is in `source`.
    #[error("cannot {action} {} in the cache", path.display())]
    Cache {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No environment variable says where a cache may be.
    #[error(
        "no folder for a cache: PENTIMENTO_CACHE, XDG_CACHE_HOME and HOME are all unset or not absolute paths"
    )]
    NoCacheFolder,
    /// No source gave all files with the right checksums.
    #[error("{}", NothingAnswered { title, attempts, missing, cache_folder })]
    NothingAnswered {
        /// Name of the set for people, such as "Fashion-MNIST".
        title: &'static str,
        /// Every source tried, in order.
        attempts: Vec<FetchAttempt>,
        /// Names of the files that are still missing.
        missing: Vec<String>,
        /// The folder in which the files are looked for first.
        cache_folder: PathBuf,
    },
}

/// The text of [`FetchError::NothingAnswered`].
struct NothingAnswered<'a> {
    title: &'a str,
    attempts: &'a [FetchAttempt],
    missing: &'a [String],
    cache_folder: &'a PathBuf,
}

impl fmt::Display for NothingAnswered<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "no source gave all files of {}; tried:", self.title)?;
        for FetchAttempt { source, reason } in self.attempts {
            writeln!(formatter, "  {source}: {reason}")?;
        }
        write!(
            formatter,
            "To use files you have, plain or gzip-compressed (.gz), name their folder as the source, \
             or put them uncompressed into {}: {}",
            self.cache_folder.display(),
            self.missing.join(", ")
        )
    }
}
