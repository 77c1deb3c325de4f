//! Files of captions beside images, as trainers read them: `a.txt` has the caption of `a.png`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::caption_candidates::Candidates;
use super::caption_faults::{CaptionFaultKind, Fault};
use super::captions::{MAX_CAPTION_BYTES, Said};
use super::indexing::with_cause;
use super::notes::{dotted_ending, stem};
use super::place::Place;
use crate::error::DataError;

/// Files that are read at once.
const WINDOW_FILES: usize = 1024;

/// The folders and the name of a file without its ending.
type Stem<'a> = (&'a [String], &'a str);

/// Files that have the names of images beside them, by these names without their endings.
pub(super) struct CaptionFiles<'a> {
    ending: String,
    /// With their names, and where they lie.
    files: BTreeMap<Stem<'a>, &'a (Vec<String>, PathBuf)>,
}

impl<'a> CaptionFiles<'a> {
    /// Those of some files whose ending is that of captions; of two with one name, the first.
    pub(super) fn among(
        others: &'a [(Vec<String>, PathBuf)],
        images: impl IntoIterator<Item = &'a Vec<String>>,
        candidates: &Candidates,
    ) -> Self {
        let ending = candidates.ending();
        let of_images: BTreeSet<_> = images.into_iter().filter_map(|names| stem(names)).collect();
        let mut files = BTreeMap::new();
        for file in others {
            if file.0.last().is_some_and(|name| dotted_ending(name) == ending)
                && let Some(stem) = stem(&file.0).filter(|stem| of_images.contains(stem))
            {
                files.entry(stem).or_insert(file);
            }
        }
        Self { ending, files }
    }

    /// Whether the file with these names is one of them.
    pub(super) fn has(&self, names: &[String]) -> bool {
        stem(names).and_then(|stem| self.files.get(&stem)).is_some_and(|(own, _)| own == names)
    }

    /// Adds what they say of images, each by its names. If they have nothing but numbers, they are no captions.
    ///
    /// # Errors
    /// If the system fails; a file that is not there, or cannot be opened, is a fault of its image.
    pub(super) fn add_to(
        &mut self,
        candidates: &mut Candidates,
        images: &[&Vec<String>],
    ) -> Result<(), DataError> {
        if self.files.is_empty() {
            return Ok(());
        }
        candidates.add(&self.ending);
        for (window, names) in images.chunks(WINDOW_FILES).enumerate() {
            let said: Vec<Said> = names
                .par_iter()
                .map(|names| match stem(names).and_then(|stem| self.files.get(&stem)) {
                    Some((_, path)) => of_file(path),
                    None => Ok(Said::Nothing),
                })
                .collect::<Result<_, _>>()?;
            for (index, said) in (window * WINDOW_FILES..).zip(said) {
                candidates.set(index, &self.ending, said);
            }
        }
        candidates.remove_numbers(&self.ending);
        if !candidates.has(&self.ending) {
            self.files.clear();
        }
        Ok(())
    }
}

/// What a file says of its image.
pub(super) fn of_file(path: &Path) -> Result<Said, DataError> {
    let place = Place::file(path);
    let error = match place.read_whole(MAX_CAPTION_BYTES) {
        Ok(bytes) => return Ok(Said::of_file(bytes, &place)),
        Err(error) => error,
    };
    let kind = match &error {
        DataError::File { field: "length", .. } => CaptionFaultKind::Length,
        DataError::File { .. } => CaptionFaultKind::Unreadable,
        DataError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) =>
        {
            CaptionFaultKind::Unreadable
        }
        _ => return Err(error),
    };
    Ok(Said::Fault(Fault::because(kind, &with_cause(&error))))
}
