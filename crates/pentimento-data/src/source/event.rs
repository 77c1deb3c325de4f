//! What is told while a set is opened and gone through.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::array_pixels::Conversion;
use super::damage::{DamageSummary, DamagedImage};
use super::notes::Note;
use super::structure::Layout;
use super::words::counted;

/// A wait shorter than this needs no word.
const FIRST_WORD: Duration = Duration::from_secs(1);
/// Between two words.
const NEXT_WORD: Duration = Duration::from_millis(200);

/// What happens while a set is opened, for a display.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum OpenEvent<'a> {
    /// The layout is known.
    Found {
        /// The path.
        path: &'a Path,
        /// Its layout.
        layout: Layout,
        /// Number of images.
        images: usize,
        /// Number of files that are read.
        files: usize,
    },
    /// The set is one that is known and unchanged. What else there is to say of it was said before.
    Known {
        /// The path.
        path: &'a Path,
        /// Its layout.
        layout: Layout,
        /// Number of images.
        images: usize,
        /// Number of damaged images that are left out, as was asked for.
        left_out: usize,
    },
    /// How labels were found, or what of the set is not read.
    Noted(&'a Note),
    /// The set is decoded once, because there is no index that fits.
    Indexing {
        /// Why.
        reason: &'a str,
    },
    /// Something that takes longer than a moment is so far.
    Progress {
        /// What is done.
        work: Work,
        /// How many files, images or rows are done.
        done: usize,
        /// Of how many.
        total: usize,
        /// How long the rest takes if it goes on like that.
        left: Duration,
    },
    /// The index could not be kept, so the next use makes it again.
    NotKept {
        /// The file.
        path: &'a Path,
        /// Why.
        reason: &'a str,
    },
    /// There is no folder for indexes, so the next use makes the index again.
    NoCache {
        /// Why.
        reason: &'a str,
    },
    /// The numbers of an array were not bytes.
    Converted {
        /// The path.
        path: &'a Path,
        /// What they were, and how they became bytes.
        conversion: Conversion,
    },
    /// Some images have transparent pixels.
    Transparent {
        /// How many.
        images: usize,
        /// Of how many.
        of: usize,
        /// Red, green and blue of what they are laid on.
        background: [u8; 3],
    },
    /// Some files hold several pictures, of which the first is taken.
    FirstOfSeveral {
        /// How many.
        images: usize,
        /// What the set calls the first of them.
        first: &'a str,
    },
    /// Damaged images are left out, as was asked for.
    LeftOut {
        /// The images.
        damaged: &'a [DamagedImage],
        /// Number of images in the set with them.
        of: usize,
    },
}

/// What takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Files are compared with what they were.
    Comparing,
    /// Images are decoded for the index.
    Indexing,
    /// Images are decoded to be hashed.
    Hashing,
    /// Hashes are compared with each other.
    Pairing,
    /// Images are prepared for training.
    Preparing,
}

impl Work {
    /// Its name, a noun, and what it goes through.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Comparing => ("reading", "files"),
            Self::Indexing => ("indexing", "images"),
            Self::Hashing => ("hashing", "images"),
            Self::Pairing => ("comparing", "pairs of images"),
            Self::Preparing => ("preparing", "images"),
        }
    }
}

impl OpenEvent<'_> {
    /// Whether it says what is in the set, as an [`Inspection`](crate::Inspection) and [`IndexedSource`](super::IndexedSource) do
    /// when it is open; the others say what happens while it is opened.
    pub fn is_of_contents(&self) -> bool {
        match self {
            Self::Found { .. }
            | Self::Known { .. }
            | Self::Noted(_)
            | Self::Converted { .. }
            | Self::Transparent { .. }
            | Self::FirstOfSeveral { .. }
            | Self::LeftOut { .. } => true,
            Self::Indexing { .. } | Self::Progress { .. } | Self::NotKept { .. } | Self::NoCache { .. } => {
                false
            }
        }
    }
}

impl fmt::Display for OpenEvent<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { path, layout, images, files } => {
                let (images, files) = (counted(*images, "image"), counted(*files, "file"));
                write!(formatter, "{}: {layout}, {images} in {files}", path.display())
            }
            Self::Known { path, layout, images, left_out } => {
                let (images, path) = (counted(*images, "image"), path.display());
                write!(formatter, "{path}: {layout}, {images} as before")?;
                match left_out {
                    0 => Ok(()),
                    count => {
                        write!(formatter, "; {count} left out (`pentimento data inspect {path}` shows all)")
                    }
                }
            }
            Self::Noted(note) => note.fmt(formatter),
            Self::Indexing { reason } => write!(formatter, "indexing the set: {reason}"),
            Self::Progress { work, done, total, left } => {
                let (name, what) = work.names();
                write!(formatter, "{name}: {done} of {total} {what}, {} s left", left.as_secs())
            }
            Self::NotKept { path, reason } => {
                write!(formatter, "the index cannot be kept in {}: {reason}", path.display())
            }
            Self::NoCache { reason } => {
                write!(formatter, "the set is indexed anew each time, as there is no cache: {reason}")
            }
            Self::Converted { path, conversion } => write!(formatter, "{}: {conversion}", path.display()),
            Self::Transparent { images, of, background: [red, green, blue] } => write!(
                formatter,
                "{} of {of} with transparent pixels, laid on {} (`data.background`)",
                counted(*images, "image"),
                match [red, green, blue] {
                    [255, 255, 255] => "white".into(),
                    [0, 0, 0] => "black".into(),
                    _ => format!("red {red}, green {green}, blue {blue}"),
                }
            ),
            Self::FirstOfSeveral { images: 1, first } => {
                write!(formatter, "1 file holds several pictures: the first is taken ({first})")
            }
            Self::FirstOfSeveral { images, first } => {
                write!(
                    formatter,
                    "{images} files hold several pictures: of each the first is taken ({first}, ...)"
                )
            }
            Self::LeftOut { damaged, of } => {
                let count = counted(damaged.len(), "image");
                write!(formatter, "{count} of {of} left out:\n{}", DamageSummary(damaged))
            }
        }
    }
}

/// Whoever is told.
pub(crate) type Tell<'a> = dyn FnMut(OpenEvent<'_>) + 'a;

/// Tells how far something is, once it takes longer than a moment.
pub(crate) struct Meter {
    work: Work,
    total: usize,
    started: Instant,
    last: Option<Instant>,
}

impl Meter {
    pub(crate) fn new(work: Work, total: usize) -> Self {
        Self { work, total, started: Instant::now(), last: None }
    }

    /// So many are done.
    pub(crate) fn set(&mut self, done: usize, tell: &mut Tell<'_>) {
        let elapsed = self.started.elapsed();
        let is_last = done >= self.total;
        let is_due = match self.last {
            None => elapsed >= FIRST_WORD && !is_last,
            Some(last) => is_last || last.elapsed() >= NEXT_WORD,
        };
        if is_due {
            self.last = Some(Instant::now());
            let left = elapsed.mul_f64(self.total.saturating_sub(done) as f64 / done.max(1) as f64);
            tell(OpenEvent::Progress { work: self.work, done, total: self.total, left });
        }
    }
}
