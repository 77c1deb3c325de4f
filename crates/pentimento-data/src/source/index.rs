//! A set of any layout with its index: what only decoding tells about its images. It is made once, kept in the cache folder,
//! and holds as long as the files of the set are what they were (`index_file.rs`).
//!
//! Where images are, their labels and their names are read anew each time: that takes a fraction of the time that decoding
//! takes.

use std::fmt;
use std::path::{Path, PathBuf};

use super::array_pixels::Conversion;
use super::caption_faults::{CaptionSummary, FaultyCaption};
use super::damage::DamagedImage;
use super::decode::{Channels, Colours, to_channels};
use super::event::{OpenEvent, Tell};
use super::index_file::{Indexed, index_file};
use super::indexing::{Entry, Traits, build};
use super::notes::Note;
use super::place::Place;
use super::structure::{Layout, Listing, Reader, Structure};
use super::{ImageSource, labels, layout};
use crate::error::DataError;
use crate::image::{Image, ImageId};
use crate::public_sets::Split;

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
    /// The name of what has the captions: a column, a field of JSON, or the ending of files beside the images. Without it, they are
    /// where they usually are, if that is one place.
    pub captions: Option<String>,
    /// Whether every file is read to see if it is what it was; otherwise length, time stamps and inode tell.
    pub verify: bool,
    /// Whether damaged images are left out of every selection; otherwise selecting one is an error.
    pub skip_damaged: bool,
    /// Whether what there is to say of the set was said before: while its index holds, one line is enough
    /// ([`OpenEvent::Known`]).
    pub is_known: bool,
}

/// A set of any layout, with its index. Images are brought to one number of channels.
pub struct IndexedSource {
    path: PathBuf,
    layout: Layout,
    listing: Listing,
    files: Vec<PathBuf>,
    reader: Box<dyn Reader>,
    colours: Colours,
    channels: Channels,
    entries: Vec<Entry>,
    skip_damaged: bool,
    notes: Vec<Note>,
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
    let Structure { layout, listing, files, reader, mut notes } = layout::read(path, options)?;
    let listing = listing.composed();
    if let (Some(name), true) = (&options.captions, listing.captions.is_none()) {
        let bound = format!("not asked for of {layout}, which have no captions");
        return Err(Place::file(path).broken("the column of captions", format!("`{name}`"), bound));
    }
    // Class folders without images are told as such.
    let are_told = notes.iter().any(|note| matches!(note, Note::EmptyClasses { .. }));
    if let (Some(labels), false) = (&listing.labels, are_told) {
        notes.extend(labels::unused(labels, &listing.class_names));
    }
    if listing.count == 0 {
        return Err(Place::file(path).broken("the number of images", 0, "at least 1"));
    }
    notes.extend(caption_notes(&listing));
    let structure_told = |on_event: &mut Tell<'_>| {
        on_event(OpenEvent::Found { path, layout, images: listing.count, files: files.len() });
        for note in &notes {
            on_event(OpenEvent::Noted(note));
        }
        if let Some(conversion) = reader.conversion() {
            on_event(OpenEvent::Converted { path, conversion });
        }
    };
    let mut is_told = !options.is_known;
    if is_told {
        structure_told(on_event);
    }
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let indexed = Indexed { folder, files: &files, layout, images: listing.count, options };
    let (channels, entries) =
        indexed_or_built(path, &indexed, reader.as_ref(), &listing, &mut |event: OpenEvent<'_>| {
            // It is another set than the one that is known.
            if matches!(event, OpenEvent::Indexing { .. }) && !is_told {
                is_told = true;
                structure_told(on_event);
            }
            on_event(event);
        })?;
    let source = IndexedSource {
        path: path.into(),
        layout,
        listing,
        files,
        reader,
        colours: options.colours,
        channels,
        entries,
        skip_damaged: options.skip_damaged,
        notes,
    };
    if is_told {
        source.tell(on_event);
    } else {
        source.tell_known(on_event);
    }
    Ok(source)
}

/// What is to be said of captions.
fn caption_notes(listing: &Listing) -> Vec<Note> {
    let captions = &listing.captions;
    let mut notes = captions.notes(|index| listing.key(index));
    if captions.has_faults() {
        let fault = |index| Some(captions.fault(index)?.of_image(index, listing.key(index)));
        let faults = (0..listing.count).filter_map(fault).collect();
        notes.push(Note::CaptionFaults { faults, of: listing.count });
    }
    notes
}

/// What the index has, which is built and kept if there is none that fits.
fn indexed_or_built(
    path: &Path,
    indexed: &Indexed<'_>,
    reader: &dyn Reader,
    listing: &Listing,
    on_event: &mut Tell<'_>,
) -> Result<(Channels, Vec<Entry>), DataError> {
    let options = indexed.options;
    let Some(cache_dir) = &options.cache_dir else {
        on_event(OpenEvent::Indexing { reason: "no folder is given to keep indexes in" });
        return build(reader, listing, options.colours, on_event);
    };
    let kept = index_file(cache_dir, path, options);
    let reason = match indexed.load(&kept, on_event)? {
        Ok(index) => return Ok((index.channels, index.entries)),
        Err(reason) => reason,
    };
    on_event(OpenEvent::Indexing { reason: &reason });
    let files = indexed.states(on_event)?;
    let (channels, entries) = build(reader, listing, options.colours, on_event)?;
    let Some(files) = files else {
        on_event(OpenEvent::NotKept { path: &kept, reason: "not every file of the set can be read" });
        return Ok((channels, entries));
    };
    let index = indexed.index(files, channels, entries);
    if let Err(error) = index.keep(&kept) {
        on_event(OpenEvent::NotKept { path: &kept, reason: &error.to_string() });
    }
    Ok((index.channels, index.entries))
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

    /// The files of the set.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// How labels were found, and what of the set is not read.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// How the numbers of an array became bytes, if they were none.
    pub fn conversion(&self) -> Option<Conversion> {
        self.reader.conversion()
    }

    /// The images that cannot be decoded, in order.
    pub fn damaged(&self) -> Vec<DamagedImage> {
        (0..self.entries.len()).filter_map(|index| self.damage(index)).collect()
    }

    /// Number of images that had transparent pixels before they were laid on the background.
    pub fn transparent(&self) -> usize {
        self.with_trait(|traits| traits.was_transparent).count()
    }

    /// The captions of all images, counted; none if the set has none.
    pub fn caption_summary(&self) -> Option<CaptionSummary> {
        let captions = &self.listing.captions;
        (!captions.is_none()).then(|| CaptionSummary::of(self, captions.source()))
    }

    /// Positions of the images whose files hold several pictures, of which the first one is taken.
    pub fn first_of_several(&self) -> Vec<usize> {
        self.with_trait(|traits| traits.is_first_of_several).collect()
    }

    /// What transparent pixels are laid on, as red, green and blue.
    pub fn background(&self) -> [u8; 3] {
        self.colours.background
    }

    fn with_trait(&self, test: impl Fn(&Traits) -> bool) -> impl Iterator<Item = usize> {
        self.entries.iter().enumerate().filter_map(move |(index, entry)| match entry {
            Entry::Whole(_, _, _, traits) if test(traits) => Some(index),
            _ => None,
        })
    }

    /// Tells what a person should know of the images.
    fn tell(&self, on_event: &mut Tell<'_>) {
        let of = self.entries.len();
        let transparent = self.transparent();
        if transparent > 0 {
            on_event(OpenEvent::Transparent { images: transparent, of, background: self.background() });
        }
        let several = self.first_of_several();
        if let Some(&first) = several.first() {
            on_event(OpenEvent::FirstOfSeveral { images: several.len(), first: &self.key(first) });
        }
        let damaged = self.damaged();
        if self.skip_damaged && !damaged.is_empty() {
            on_event(OpenEvent::LeftOut { damaged: &damaged, of });
        }
    }

    /// The same in one line, of a set that is known.
    fn tell_known(&self, on_event: &mut Tell<'_>) {
        let damaged = if self.skip_damaged { self.damaged().len() } else { 0 };
        on_event(OpenEvent::Known {
            path: &self.path,
            layout: self.layout,
            images: self.entries.len(),
            left_out: damaged,
        });
    }

    /// The identity of an image as the index has it; none if the image is damaged.
    ///
    /// # Panics
    /// If `index` is not below the number of images, as slices do.
    pub fn indexed_id(&self, index: usize) -> Option<ImageId> {
        match &self.entries[index] {
            Entry::Whole(_, _, id, _) => Some(*id),
            Entry::Damaged(..) => None,
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
            Entry::Whole(height, width, ..) => Ok([*height as usize, *width as usize]),
            // Reading it again says what is wrong with it, and where, in its own words.
            Entry::Damaged(_, reason) => match self.image(index) {
                Err(error) => Err(error),
                Ok(_) => Err(self.reader.place(index).broken("the image", reason, "whole")),
            },
        }
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let place = self.reader.place(index);
        let decoded = self.reader.raw(index)?.decode(&place)?.image;
        let image = to_channels(decoded, self.channels, self.colours.background)?;
        if self.indexed_id(index).is_some_and(|id| id != image.id()) {
            return Err(place.broken("the image", "another one now", "what it was when the set was opened"));
        }
        Ok(image)
    }

    fn has_colour(&self, index: usize) -> Result<bool, DataError> {
        match &self.entries[index] {
            Entry::Whole(_, _, _, traits) => Ok(traits.has_colour),
            Entry::Damaged(..) => Ok(false),
        }
    }

    fn labels(&self) -> Option<&[u32]> {
        self.listing.labels.as_deref()
    }

    fn class_names(&self) -> &[String] {
        &self.listing.class_names
    }

    fn captions(&self, index: usize) -> &[String] {
        self.listing.captions.of(index)
    }

    fn caption_fault(&self, index: usize) -> Option<FaultyCaption> {
        Some(self.listing.captions.fault(index)?.of_image(index, self.key(index)))
    }

    fn key(&self, index: usize) -> String {
        self.listing.key(index)
    }

    fn groups(&self) -> Option<&[String]> {
        self.listing.groups.as_deref()
    }

    fn damage(&self, index: usize) -> Option<DamagedImage> {
        match &self.entries[index] {
            Entry::Whole(..) => None,
            Entry::Damaged(kind, reason) => {
                Some(DamagedImage { index, key: self.key(index), kind: *kind, reason: reason.clone() })
            }
        }
    }

    fn leaves_out(&self, index: usize) -> bool {
        self.skip_damaged && matches!(self.entries[index], Entry::Damaged(..))
    }
}
