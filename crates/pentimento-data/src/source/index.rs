//! The index of a set: what only decoding tells about its images. It is made once, kept in the cache folder, and holds
//! as long as every file of the set has the length and the BLAKE3 digest that it had.
//!
//! Where images are, their labels and their names are read anew each time: that takes a fraction of the time that the
//! digests take.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::decode::{Channels, Colours, Raw, is_grey, to_channels};
use super::notes::Note;
use super::place::Place;
use super::structure::{Layout, Listing, Reader, Structure};
use super::{ImageSource, idx_files, layout};
use crate::error::DataError;
use crate::image::{Image, ImageId};
use crate::public_sets::Split;

/// Raised when the file of an index has another form, or when decoding gives other bytes.
const INDEX_VERSION: u32 = 1;
/// Images, and bytes of them, that are read ahead while those before are decoded.
const WINDOW_IMAGES: usize = 512;
const WINDOW_BYTES: usize = 64 << 20;
/// With more damaged images than this something else is wrong, and a list of them helps nobody.
const MAX_DAMAGED: usize = 10_000;

/// How a set is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// Which half, where a set has halves; a set without them is a training set.
    pub split: Split,
    /// Channels and background.
    pub colours: Colours,
    /// The folder in which indexes are kept; see [`default_cache_dir`](crate::default_cache_dir). Without it, the set is
    /// indexed each time.
    pub cache_dir: Option<PathBuf>,
}

/// What happens while a set is opened, for a display.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// How labels were found, or what of the set is not read.
    Noted(&'a Note),
    /// The set is decoded once, because there is no index that fits.
    Indexing {
        /// Why.
        reason: &'a str,
    },
    /// The index could not be kept, so the next use makes it again.
    NotKept {
        /// The file.
        path: &'a Path,
        /// Why.
        reason: &'a str,
    },
}

impl fmt::Display for OpenEvent<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { path, layout, images, files } => {
                let counted = |count: usize, noun: &str| match count {
                    1 => format!("1 {noun}"),
                    count => format!("{count} {noun}s"),
                };
                let (images, files) = (counted(*images, "image"), counted(*files, "file"));
                write!(formatter, "{}: {layout}, {images} in {files}", path.display())
            }
            Self::Noted(note) => note.fmt(formatter),
            Self::Indexing { reason } => write!(formatter, "indexing the set: {reason}"),
            Self::NotKept { path, reason } => {
                write!(formatter, "the index cannot be kept in {}: {reason}", path.display())
            }
        }
    }
}

/// An image that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedImage {
    /// Its position in the set.
    pub index: usize,
    /// What the set calls it.
    pub key: String,
    /// What is wrong with it, and where.
    pub reason: String,
}

/// A set of any layout, with its index. Images are brought to one number of channels.
pub struct IndexedSource {
    path: PathBuf,
    layout: Layout,
    listing: Listing,
    reader: Box<dyn Reader>,
    colours: Colours,
    channels: Channels,
    entries: Vec<Entry>,
    notes: Vec<Note>,
}

/// What the index says about one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    /// Height, width and identity.
    Whole(u32, u32, ImageId),
    /// Why it cannot be decoded.
    Damaged(String),
}

/// What an index is made from; it holds for nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Basis {
    version: u32,
    layout: Layout,
    split: Split,
    colours: Colours,
    images: usize,
    /// Path from the set's folder, length in bytes and digest of each file.
    files: Vec<(PathBuf, u64, String)>,
}

#[derive(Serialize, Deserialize)]
struct Index {
    basis: Basis,
    channels: Channels,
    entries: Vec<Entry>,
}

/// Opens the set at a path: tells its layout by what is in it, reads its structure, and decodes it once if there is no
/// index of it. Damaged images do not keep a set from being opened ([`IndexedSource::damaged`]); reading one is an error.
///
/// # Errors
/// If no layout or more than one fits, a file cannot be read, something in the structure breaks a rule, or there is no
/// image. The error names the file, the field, the value and the bound.
pub fn open(
    path: &Path,
    options: &OpenOptions,
    on_event: &mut dyn FnMut(OpenEvent<'_>),
) -> Result<IndexedSource, DataError> {
    let Structure { layout, listing, files, reader, notes } = structure(path, options.split, on_event)?;
    // The folder may be named in several ways.
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let basis = Basis {
        version: INDEX_VERSION,
        layout,
        split: options.split,
        colours: options.colours,
        images: listing.count,
        files: files.par_iter().map(|file| digest(file, folder)).collect::<Result<_, _>>()?,
    };
    let kept = options.cache_dir.as_ref().map(|cache_dir| index_file(cache_dir, path, options));
    let Index { channels, entries, .. } = match kept.as_deref().map(|file| load(file, &basis)) {
        Some(Ok(index)) => index,
        reason => {
            let reason = match reason {
                Some(Err(reason)) => reason,
                _ => "no folder is given to keep indexes in".into(),
            };
            on_event(OpenEvent::Indexing { reason: &reason });
            let (channels, entries) = build(reader.as_ref(), &listing, options.colours)?;
            let index = Index { basis, channels, entries };
            if let Some(file) = &kept
                && let Err(error) = keep(&index, file)
            {
                on_event(OpenEvent::NotKept { path: file, reason: &error.to_string() });
            }
            index
        }
    };
    Ok(IndexedSource {
        path: path.into(),
        layout,
        listing,
        reader,
        colours: options.colours,
        channels,
        entries,
        notes,
    })
}

/// Tells the layout of the set at a path without going through its images, and gives height and width of the first one;
/// none if it is damaged.
///
/// # Errors
/// As [`open`], but for what only decoding all images tells.
pub fn glance(
    path: &Path,
    split: Split,
    on_event: &mut dyn FnMut(OpenEvent<'_>),
) -> Result<Option<[usize; 2]>, DataError> {
    size_of_first(&structure(path, split, on_event)?)
}

/// The same for a pair of IDX files that may have any names.
///
/// # Errors
/// If a file cannot be read, is no IDX file of the right kind, or the two have not the same number of images.
pub fn glance_idx(
    images: &Path,
    labels: &Path,
    on_event: &mut dyn FnMut(OpenEvent<'_>),
) -> Result<Option<[usize; 2]>, DataError> {
    size_of_first(&told(images, idx_files::read(images, labels)?, on_event)?)
}

fn size_of_first(structure: &Structure) -> Result<Option<[usize; 2]>, DataError> {
    let reader = &structure.reader;
    match reader.raw(0).and_then(|raw| raw.decode(&reader.place(0))) {
        Ok(image) => Ok(Some([image.height(), image.width()])),
        Err(error @ (DataError::Io { .. } | DataError::OutOfMemory { .. })) => Err(error),
        Err(_) => Ok(None),
    }
}

/// What the set at a path says about its images.
fn structure(
    path: &Path,
    split: Split,
    on_event: &mut dyn FnMut(OpenEvent<'_>),
) -> Result<Structure, DataError> {
    told(path, layout::read(path, split)?, on_event)
}

/// Tells what was found, unless it is nothing.
fn told(
    path: &Path,
    structure: Structure,
    on_event: &mut dyn FnMut(OpenEvent<'_>),
) -> Result<Structure, DataError> {
    let Structure { layout, listing, files, notes, .. } = &structure;
    if listing.count == 0 {
        return Err(Place::file(path).broken("the number of images", 0, "at least 1"));
    }
    on_event(OpenEvent::Found { path, layout: *layout, images: listing.count, files: files.len() });
    for note in notes {
        on_event(OpenEvent::Noted(note));
    }
    Ok(structure)
}

/// Path from a folder, length and BLAKE3 digest of a file.
fn digest(path: &Path, folder: &Path) -> Result<(PathBuf, u64, String), DataError> {
    let place = Place::file(path);
    let (file, _) = place.open()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(|source| place.io("read", source))?;
    Ok((
        path.strip_prefix(folder).unwrap_or(path).into(),
        hasher.count(),
        hasher.finalize().to_hex().to_string(),
    ))
}

/// One file for each set, half and colours.
fn index_file(cache_dir: &Path, path: &Path, options: &OpenOptions) -> PathBuf {
    // A path that cannot be resolved is taken as it is: two names of one set then have two indexes.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let name = format!("{:?}", (path, options.split, options.colours));
    cache_dir.join("indexes").join(format!("{}.json", blake3::hash(name.as_bytes()).to_hex()))
}

/// The index that is kept, if it is whole and made from the same; else why not.
fn load(file: &Path, basis: &Basis) -> Result<Index, String> {
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err("it was not opened before".into());
        }
        bytes => bytes.map_err(|error| format!("{} cannot be read: {error}", file.display()))?,
    };
    let damaged = || format!("{} is damaged", file.display());
    // The digest of all that follows, a line of its own.
    let (digest, json) = bytes.split_at_checked(65).ok_or_else(damaged)?;
    if digest != format!("{}\n", blake3::hash(json).to_hex()).as_bytes() {
        return Err(damaged());
    }
    let index: Index = serde_json::from_slice(json).map_err(|_| damaged())?;
    if index.basis != *basis {
        let changed = index.basis.files.iter().zip(&basis.files).find(|(before, now)| before != now);
        return Err(match changed {
            Some((_, (path, ..))) => {
                format!("{} is not what it was when the set was indexed", path.display())
            }
            None => "it is not what it was when it was indexed".into(),
        });
    }
    if index.entries.len() != basis.images {
        return Err(damaged());
    }
    Ok(index)
}

/// Writes an index whole or not at all.
fn keep(index: &Index, file: &Path) -> io::Result<()> {
    let json = serde_json::to_vec(index)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut partial = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(partial, "{}", blake3::hash(&json).to_hex())?;
    partial.write_all(&json)?;
    partial.as_file().sync_all()?;
    partial.persist(file)?;
    Ok(())
}

/// An image as it was decoded first: its entry, and whether it is grey.
struct Seen {
    entry: Entry,
    grey: bool,
}

/// Decodes every image. While some are decoded, the next ones are read, in order: some layouts reach only the next image
/// quickly.
fn build(
    reader: &dyn Reader,
    listing: &Listing,
    colours: Colours,
) -> Result<(Channels, Vec<Entry>), DataError> {
    let all: Vec<usize> = (0..listing.count).collect();
    let mut damaged = 0;
    let mut entries = Vec::new();
    let mut colourful = false;
    let mut grey = Vec::new();
    // Each image as its own colours have it, so that one pass is enough unless a set mixes grey and colour.
    let first_choice = |image: &Image| match colours.channels {
        Some(channels) => channels,
        None if is_grey(image, colours.background) => Channels::Grey,
        None => Channels::Rgb,
    };
    decode_all(reader, &all, colours.background, &first_choice, &mut |index, seen| {
        if let Entry::Damaged(reason) = &seen.entry {
            damaged += 1;
            if damaged > MAX_DAMAGED {
                return Err(reader.place(index).broken(
                    "the number of damaged images",
                    format!("more than {MAX_DAMAGED}, this one because: {reason}"),
                    format!("at most {MAX_DAMAGED}"),
                ));
            }
        } else if seen.grey {
            grey.push(index);
        } else {
            colourful = true;
        }
        entries.push(seen.entry);
        Ok(())
    })?;
    let channels = colours.channels.unwrap_or(if colourful { Channels::Rgb } else { Channels::Grey });
    if colours.channels.is_none() && colourful && !grey.is_empty() {
        // The grey ones become RGB like the others.
        decode_all(reader, &grey, colours.background, &|_| Channels::Rgb, &mut |index, seen| {
            entries[index] = seen.entry;
            Ok(())
        })?;
    }
    Ok((channels, entries))
}

fn decode_all(
    reader: &dyn Reader,
    indices: &[usize],
    background: [u8; 3],
    channels: &(dyn Fn(&Image) -> Channels + Sync),
    output: &mut dyn FnMut(usize, Seen) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let read_window = |start: usize| {
        let mut window = Vec::new();
        let mut bytes = 0;
        for &index in indices.get(start..).unwrap_or_default() {
            if window.len() >= WINDOW_IMAGES || bytes >= WINDOW_BYTES {
                break;
            }
            let raw = reader.raw(index);
            bytes += raw.as_ref().map_or(0, Raw::len);
            window.push((index, raw));
        }
        window
    };
    let mut window = read_window(0);
    let mut start = 0;
    while !window.is_empty() {
        start += window.len();
        let (seen, next) = rayon::join(
            || {
                window
                    .into_par_iter()
                    .map(|(index, raw)| (index, see(raw, reader, index, background, channels)))
                    .collect::<Vec<_>>()
            },
            || read_window(start),
        );
        for (index, seen) in seen {
            output(index, seen?)?;
        }
        window = next;
    }
    Ok(())
}

/// Decodes one image. What is wrong with the image itself is an entry; what is wrong with the system is an error.
fn see(
    raw: Result<Raw, DataError>,
    reader: &dyn Reader,
    index: usize,
    background: [u8; 3],
    channels: &(dyn Fn(&Image) -> Channels + Sync),
) -> Result<Seen, DataError> {
    let decoded = raw.and_then(|raw| raw.decode(&reader.place(index))).and_then(|image| {
        let grey = is_grey(&image, background);
        let channels = channels(&image);
        Ok((grey, to_channels(image, channels, background)?))
    });
    match decoded {
        Ok((grey, image)) => {
            // Sides are at most MAX_SIDE_PIXELS.
            let entry = Entry::Whole(image.height() as u32, image.width() as u32, image.id());
            Ok(Seen { entry, grey })
        }
        Err(error @ (DataError::Io { .. } | DataError::OutOfMemory { .. })) => Err(error),
        Err(error) => Ok(Seen { entry: Entry::Damaged(with_cause(&error)), grey: false }),
    }
}

/// An error and what caused it.
fn with_cause(error: &DataError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl IndexedSource {
    /// The layout of the set.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How labels were found, and what of the set is not read.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The images that cannot be decoded, in order.
    pub fn damaged(&self) -> Vec<DamagedImage> {
        let damaged = self.entries.iter().enumerate().filter_map(|(index, entry)| match entry {
            Entry::Whole(..) => None,
            Entry::Damaged(reason) => {
                Some(DamagedImage { index, key: self.key(index), reason: reason.clone() })
            }
        });
        damaged.collect()
    }

    /// The identity of an image as the index has it; none if the image is damaged.
    ///
    /// # Panics
    /// If `index` is not below the number of images, as slices do.
    pub fn indexed_id(&self, index: usize) -> Option<ImageId> {
        match &self.entries[index] {
            Entry::Whole(_, _, id) => Some(*id),
            Entry::Damaged(_) => None,
        }
    }
}

impl fmt::Debug for IndexedSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = self.entries.len();
        formatter
            .debug_struct("IndexedSource")
            .field("path", &self.path)
            .field("layout", &self.layout)
            .field("images", &images)
            .finish_non_exhaustive()
    }
}

impl ImageSource for IndexedSource {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn channels(&self) -> usize {
        self.channels.count()
    }

    fn size(&self, index: usize) -> Result<[usize; 2], DataError> {
        match &self.entries[index] {
            Entry::Whole(height, width, _) => Ok([*height as usize, *width as usize]),
            // Reading it again says what is wrong with it, and where, in its own words.
            Entry::Damaged(reason) => match self.image(index) {
                Err(error) => Err(error),
                Ok(_) => Err(self.reader.place(index).broken("the image", reason, "whole")),
            },
        }
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let place = self.reader.place(index);
        let decoded = self.reader.raw(index)?.decode(&place)?;
        let image = to_channels(decoded, self.channels, self.colours.background)?;
        if self.indexed_id(index).is_some_and(|id| id != image.id()) {
            return Err(place.broken("the image", "another one now", "what it was when the set was opened"));
        }
        Ok(image)
    }

    fn labels(&self) -> Option<&[u32]> {
        self.listing.labels.as_deref()
    }

    fn class_names(&self) -> &[String] {
        &self.listing.class_names
    }

    fn key(&self, index: usize) -> String {
        self.listing.keys.get(index).cloned().unwrap_or_else(|| index.to_string())
    }

    fn groups(&self) -> Option<&[String]> {
        self.listing.groups.as_deref()
    }
}
