//! A folder of image files: all directly in it, or each in a folder of its class, as torchvision's `ImageFolder` and Hugging
//! Face's `imagefolder` have them. A single file is such a set of one image.
//!
//! Images are in the order of their paths, compared name by name. Class folders are numbered in the order of their
//! names; if all of these are numbers, in the order of the numbers. A class folder without any file is a class without
//! images, so that the classes after it keep their numbers. A `.txt` file with the name of an image beside it is the image's
//! caption.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::caption_candidates::Candidates;
use super::caption_files::{self, CaptionFiles};
use super::decode::{MAX_ENCODED_BYTES, Raw};
use super::found::Absent;
use super::halves::part_of_folder;
use super::labels;
use super::notes::{Note, dotted_ending};
use super::place::Place;
use super::structure::{Layout, Listing, Reader, Structure};
use super::walk::Walk;
use crate::error::DataError;

struct FolderReader {
    images: Vec<Result<PathBuf, Absent>>,
}

/// Opens a folder without a table of metadata.
pub(super) fn read(root: &Path, captions: Option<&str>) -> Result<Structure, DataError> {
    let mut walk = Walk::through(root)?;
    let depth = walk.images.first().map_or(0, |(names, _)| names.len());
    let mut notes = keep_lost(&mut walk, depth);
    let images = &walk.images;
    // A link in the place of a class folder that is not there has one name less.
    let is_absent = |path: &PathBuf| walk.absent.contains_key(path);
    if let Some((names, path)) = images.iter().find(|(names, path)| names.len() != depth && !is_absent(path))
    {
        let other = images.first().map(|(_, path)| path.display().to_string()).unwrap_or_default();
        let bound =
            format!("as many as {other} has, {depth}: all images in one folder, or each in its class's");
        return Err(Place::file(path).broken("the number of names on its path", names.len(), bound));
    }
    if depth > 2 {
        let path = images.first().map_or(root, |(_, path)| path);
        let bound = "at most 2, CLASS/NAME: name the folder whose folders are the classes";
        return Err(Place::file(path).broken("the number of names on its path", depth, bound));
    }
    let mut listing = Listing::named(images.iter().map(|(names, _)| names.join("/")).collect());
    let mut other_folders = outermost(&walk.empty);
    if depth == 2 {
        let mut empty = other_folders;
        let folders: Vec<String> = images.iter().filter_map(|(names, _)| names.first().cloned()).collect();
        // Empty folders may lie inside of a class folder.
        let with_images: BTreeSet<&String> = folders.iter().collect();
        empty.retain(|name| !with_images.contains(name));
        // One that is called as a split is no class.
        (other_folders, empty) = empty.into_iter().partition(|name| part_of_folder(name).is_some());
        // Folders that are called by numbers are names all the same. (torchvision has `10` before `2`; the note says which
        // number each has here.)
        let labelled = labels::from_names(&folders, &empty);
        notes.extend(labels::note("class folders", &labelled));
        if !empty.is_empty() {
            notes.push(Note::EmptyClasses { names: empty });
        }
        listing = listing.with_labels(labelled);
        listing.groups = Some(folders);
    }
    let mut candidates = Candidates::new(captions);
    let images: Vec<&Vec<String>> = walk.images.iter().map(|(names, _)| names).collect();
    let mut files = CaptionFiles::among(&walk.others, images.iter().copied(), &candidates);
    files.add_to(&mut candidates, &images)?;
    listing.captions = candidates.choose(listing.count, &Place::file(root), || endings(&walk))?;
    notes.extend(not_read(&walk, other_folders, |names| files.has(names)));
    let Walk { images, absent, .. } = walk;
    let place = |path: PathBuf| match absent.get(&path) {
        Some(absent) => Err(absent.clone()),
        None => Ok(path),
    };
    let paths = images.into_iter().map(|(_, path)| place(path)).collect();
    Ok(structure(Layout::Folder, listing, paths, None, notes))
}

/// Links to what is not there and whose names do not say what it was: where images are, each is an image; where class folders
/// are, each stands for the images of its class, which so keeps its number. Others are noted.
fn keep_lost(walk: &mut Walk, depth: usize) -> Vec<Note> {
    let mut notes = Vec::new();
    for (names, path, absent) in std::mem::take(&mut walk.lost) {
        if names.len() == depth || names.len() + 1 == depth {
            walk.absent.insert(path.clone(), absent);
            walk.images.push((names, path));
        } else {
            let reason = "a link to what is not there".into();
            notes.push(Note::NotRead { what: names.join("/"), reason });
        }
    }
    walk.images.sort_unstable();
    notes
}

/// The endings of files that are no images.
pub(super) fn endings(walk: &Walk) -> Vec<String> {
    let names = walk.others.iter().filter_map(|(names, _)| names.last());
    names.map(|name| dotted_ending(name)).filter(|ending| !ending.is_empty()).collect()
}

/// Opens a single image file.
pub(super) fn read_one(path: &Path, captions: Option<&str>) -> Result<Structure, DataError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut listing = Listing::named(vec![name]);
    let mut candidates = Candidates::new(captions);
    let ending = candidates.ending();
    let beside = path.with_extension(ending.trim_start_matches('.'));
    if beside.is_file() {
        candidates.set(0, &ending, caption_files::of_file(&beside)?);
    }
    listing.captions = candidates.choose(1, &Place::file(path), Vec::new)?;
    Ok(structure(Layout::Image, listing, vec![Ok(path.into())], None, Vec::new()))
}

/// What is to be said of the rest of a folder whose images are read; `is_read` says of the names of a file whether it is.
pub(super) fn not_read(
    walk: &Walk,
    mut folders: Vec<String>,
    is_read: impl Fn(&[String]) -> bool,
) -> Vec<Note> {
    let with_images: BTreeSet<&String> = walk
        .images
        .iter()
        .filter_map(|(names, _)| if names.len() > 1 { names.first() } else { None })
        .collect();
    let others: Vec<&Vec<String>> =
        walk.others.iter().map(|(names, _)| names).filter(|names| !is_read(names)).collect();
    folders.extend(others.iter().filter(|names| names.len() > 1).filter_map(|names| names.first().cloned()));
    folders.retain(|name| !with_images.contains(name));
    folders.sort_unstable();
    folders.dedup();
    let cycles = walk.cycles.iter().map(|names| Note::NotRead {
        what: names.join("/"),
        reason: "a link to a folder that it lies in".into(),
    });
    let images = walk.images.iter().map(|(names, _)| names);
    Note::left_out_beside(others, images, folders).into_iter().chain(cycles).collect()
}

/// The first names of these, each once.
fn outermost(all: &[Vec<String>]) -> Vec<String> {
    let mut names: Vec<String> = all.iter().filter_map(|names| names.first().cloned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A set of files that are images, some of which may be absent.
pub(super) fn structure(
    layout: Layout,
    listing: Listing,
    images: Vec<Result<PathBuf, Absent>>,
    table: Option<PathBuf>,
    notes: Vec<Note>,
) -> Structure {
    // What is absent now and there later is one file more.
    let files = table.into_iter().chain(images.iter().flatten().cloned()).collect();
    Structure { layout, listing, files, reader: Box::new(FolderReader { images }), notes }
}

impl Reader for FolderReader {
    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        match &self.images[index] {
            Ok(path) => Place::file(path).read_whole(MAX_ENCODED_BYTES).map(Raw::Encoded),
            Err(absent) => Err(absent.error()),
        }
    }

    fn place(&self, index: usize) -> Place {
        match &self.images[index] {
            Ok(path) => Place::file(path),
            Err(absent) => absent.place.clone(),
        }
    }
}
