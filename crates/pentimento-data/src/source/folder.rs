//! A folder of image files: all directly in it, or each in a folder of its class, as torchvision's `ImageFolder` and Hugging
//! Face's `imagefolder` have them.
//!
//! Images are in the order of their paths, compared name by name. Class folders are numbered in the order of their
//! names. Names that begin with a dot are passed over, and so are files that are no images by their ending; a picture in
//! a format that is not read is a damaged image of the set, as leaving it out would change the set unseen.

use std::fs;
use std::path::{Path, PathBuf};

use super::decode::{MAX_ENCODED_BYTES, Raw};
use super::formats::is_image_ending;
use super::labels;
use super::place::{Place, shown_name};
use super::structure::{Layout, Listing, Reader, Structure};
use crate::error::DataError;

/// Folders inside folders that are followed. Class folders need one.
const MAX_DEPTH: usize = 16;

/// Whether a file is an image by its ending, of any format.
pub(super) fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|ending| is_image_ending(&ending.to_string_lossy().to_ascii_lowercase()))
}

/// Every entry of a folder whose name does not begin with a dot, in order.
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let io_error = |source| DataError::Io { action: "list", path: folder.into(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error)? {
        let path = entry.map_err(io_error)?.path();
        let name = path.file_name().map(shown_name).unwrap_or_default();
        if !name.starts_with('.') {
            entries.push((name, path));
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Refuses what lies outside the set's folder: a link may lead anywhere.
pub(super) fn check_inside(path: &Path, root: &Path) -> Result<(), DataError> {
    let place = Place::file(path);
    let resolve = |path: &Path| fs::canonicalize(path).map_err(|source| place.io("resolve", source));
    let (inside, root) = (resolve(path)?, resolve(root)?);
    if inside.starts_with(&root) {
        return Ok(());
    }
    Err(place.broken("the place it leads to", inside.display(), format!("inside {}", root.display())))
}

/// The images of a folder, each with the names from the folder to it, in order of these.
pub(super) fn images_under(root: &Path) -> Result<Vec<(Vec<String>, PathBuf)>, DataError> {
    let mut images = Vec::new();
    let mut folders = vec![(Vec::<String>::new(), root.to_path_buf())];
    while let Some((names, folder)) = folders.pop() {
        for (name, path) in entries(&folder)? {
            let names: Vec<String> = names.iter().cloned().chain([name]).collect();
            let link = fs::symlink_metadata(&path).map_err(|source| Place::file(&path).io("open", source))?;
            let is_link = link.is_symlink();
            let metadata = if is_link {
                check_inside(&path, root)?;
                fs::metadata(&path).map_err(|source| Place::file(&path).io("open", source))?
            } else {
                link
            };
            if metadata.is_dir() {
                if is_link {
                    // It could lead back to where it is.
                    return Err(Place::file(&path).broken(
                        "the path",
                        "a link to a folder",
                        "a folder itself",
                    ));
                }
                if names.len() >= MAX_DEPTH {
                    let bound = format!("at most {MAX_DEPTH} folders deep");
                    return Err(Place::file(&path).broken("the depth", "more", bound));
                }
                folders.push((names, path));
            } else if is_image(&path) {
                images.push((names, path));
            }
        }
    }
    images.sort_unstable();
    Ok(images)
}

struct FolderReader {
    paths: Vec<PathBuf>,
}

/// Opens a folder without a table of metadata.
pub(super) fn read(root: &Path) -> Result<Structure, DataError> {
    let images = images_under(root)?;
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
    if depth == 2 {
        let folders: Vec<String> = images.iter().filter_map(|(names, _)| names.first().cloned()).collect();
        // Folders that are called by numbers are names all the same: torchvision numbers them in order, too.
        listing = listing.with_labels(labels::from_names(&folders));
        listing.groups = Some(folders);
    }
    Ok(structure(Layout::Folder, listing, images.into_iter().map(|(_, path)| path).collect(), None))
}

/// A set of files that are images.
pub(super) fn structure(
    layout: Layout,
    listing: Listing,
    paths: Vec<PathBuf>,
    table: Option<PathBuf>,
) -> Structure {
    let files = table.into_iter().chain(paths.iter().cloned()).collect();
    Structure { layout, listing, files, reader: Box::new(FolderReader { paths }) }
}

impl Reader for FolderReader {
    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        Place::file(&self.paths[index]).read_whole(MAX_ENCODED_BYTES).map(Raw::Encoded)
    }

    fn place(&self, index: usize) -> Place {
        Place::file(&self.paths[index])
    }
}
