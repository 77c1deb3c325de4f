//! A folder of image files: all directly in it, or each in a folder of its class, as torchvision's `ImageFolder` and Hugging
//! Face's `imagefolder` have them. A single file is such a set of one image.
//!
//! Images are in the order of their paths, compared name by name. Class folders are numbered in the order of their
//! names; if all of these are numbers, in the order of the numbers. A class folder without any file is a class without
//! images, so that the classes after it keep their numbers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::decode::{MAX_ENCODED_BYTES, Raw};
use super::halves::part_of_folder;
use super::labels;
use super::notes::Note;
use super::place::Place;
use super::structure::{Layout, Listing, Reader, Structure};
use super::walk::Walk;
use crate::error::DataError;

struct FolderReader {
    paths: Vec<PathBuf>,
}

/// Opens a folder without a table of metadata.
pub(super) fn read(root: &Path) -> Result<Structure, DataError> {
    let walk = Walk::through(root)?;
    let images = &walk.images;
    let depth = images.first().map_or(0, |(names, _)| names.len());
    if let Some((names, path)) = images.iter().find(|(names, _)| names.len() != depth) {
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
    let mut notes = Vec::new();
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
    notes.extend(not_read(&walk, other_folders, |_| false));
    let paths = walk.images.into_iter().map(|(_, path)| path).collect();
    Ok(structure(Layout::Folder, listing, paths, None, notes))
}

/// Opens a single image file.
pub(super) fn read_one(path: &Path) -> Structure {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    structure(Layout::Image, Listing::named(vec![name]), vec![path.into()], None, Vec::new())
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
    let others: Vec<&Vec<String>> = walk.others.iter().filter(|names| !is_read(names)).collect();
    folders.extend(others.iter().filter(|names| names.len() > 1).filter_map(|names| names.first().cloned()));
    folders.retain(|name| !with_images.contains(name));
    folders.sort_unstable();
    folders.dedup();
    let files = others.iter().filter_map(|names| names.last().map(String::as_str));
    let cycles = walk.cycles.iter().map(|names| Note::NotRead {
        what: names.join("/"),
        reason: "a link to a folder that it lies in".into(),
    });
    Note::left_out(files, folders).into_iter().chain(cycles).collect()
}

/// The first names of these, each once.
fn outermost(all: &[Vec<String>]) -> Vec<String> {
    let mut names: Vec<String> = all.iter().filter_map(|names| names.first().cloned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A set of files that are images.
pub(super) fn structure(
    layout: Layout,
    listing: Listing,
    paths: Vec<PathBuf>,
    table: Option<PathBuf>,
    notes: Vec<Note>,
) -> Structure {
    let files = table.into_iter().chain(paths.iter().cloned()).collect();
    Structure { layout, listing, files, reader: Box::new(FolderReader { paths }), notes }
}

impl Reader for FolderReader {
    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        Place::file(&self.paths[index]).read_whole(MAX_ENCODED_BYTES).map(Raw::Encoded)
    }

    fn place(&self, index: usize) -> Place {
        Place::file(&self.paths[index])
    }
}
