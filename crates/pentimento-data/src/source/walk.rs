//! What lies in a folder: its entries, and the pictures in it and in the folders inside it.
//!
//! Symbolic links are followed, wherever they lead. A link back to a folder that it lies in is not entered, and what such
//! links reach twice counts once. Names that begin with a dot are passed over. A picture in a format that is not read, or a
//! link to one that is not there, is a damaged image of the set, as leaving it out would change the set unseen; other files are
//! listed, so that they can be told. Names are in their composed form (`names.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::formats::{format_of, is_image_ending};
use super::found::Absent;
use super::notes::ending;
use super::place::{Place, shown_name};
use crate::error::DataError;
use crate::names::composed;

/// What archives and file servers leave beside the user's own folders.
const FOREIGN_FOLDERS: [&str; 3] = ["__MACOSX", "@eaDir", "__pycache__"];
/// Folders inside folders that are followed. Class folders need one.
const MAX_DEPTH: usize = 16;
/// Bytes that tell the format of an image.
const SIGNATURE_BYTES: u64 = 16;

/// Whether a file is an image of any format by its ending, or by its first bytes if it has none.
pub(super) fn is_image(name: &str, path: &Path) -> Result<bool, DataError> {
    match ending(name) {
        Some(ending) => Ok(is_image_ending(&ending)),
        None => {
            let place = Place::file(path);
            if !path.is_file() {
                return Ok(false);
            }
            let mut start = Vec::new();
            let (file, _) = place.open()?;
            file.take(SIGNATURE_BYTES).read_to_end(&mut start).map_err(|source| place.io("read", source))?;
            Ok(format_of(&start).is_ok())
        }
    }
}

/// A file or a folder inside a folder.
pub(super) struct Entry {
    /// Composed.
    pub(super) name: String,
    /// As it is on disk.
    pub(super) name_on_disk: String,
    pub(super) path: PathBuf,
    /// Whether it is a folder, or leads to one.
    pub(super) is_folder: bool,
    is_link: bool,
}

/// Every entry of a folder whose name does not begin with a dot, in order. Two names that differ only in their form are
/// refused: whoever calls one of them would mean both.
pub(super) fn entries(folder: &Path) -> Result<Vec<Entry>, DataError> {
    let io_error = |source| DataError::Io { action: "list", path: folder.into(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error)? {
        let entry = entry.map_err(io_error)?;
        let path = entry.path();
        let name_on_disk = path.file_name().map(shown_name).unwrap_or_default();
        let name = composed(&name_on_disk);
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(io_error)?;
        let is_link = kind.is_symlink();
        let is_folder = if is_link { path.is_dir() } else { kind.is_dir() };
        if !(is_folder && FOREIGN_FOLDERS.contains(&name.as_str())) {
            entries.push(Entry { name, name_on_disk, path, is_folder, is_link });
        }
    }
    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut pairs = entries.iter().zip(entries.iter().skip(1));
    if let Some((one, _)) = pairs.find(|(one, other)| one.name == other.name) {
        let value =
            format!("with {:?} twice, once composed and once decomposed (Unicode NFC and NFD)", one.name);
        let bound = "with names that differ in more: rename one of the two";
        return Err(Place::file(folder).broken("the list of names", value, bound));
    }
    Ok(entries)
}

/// What lies below a folder. Everything is named by the names from that folder to it.
#[derive(Default)]
pub(super) struct Walk {
    /// In order of their names.
    pub(super) images: Vec<(Vec<String>, PathBuf)>,
    /// Those of the images that are links to what is not there.
    pub(super) absent: BTreeMap<PathBuf, Absent>,
    /// Links to what is not there whose names do not say whether that is an image, a folder of a class or something else.
    pub(super) lost: Vec<(Vec<String>, PathBuf, Absent)>,
    /// Files that are no images.
    pub(super) others: Vec<(Vec<String>, PathBuf)>,
    /// Folders without any file, also in folders inside them.
    pub(super) empty: Vec<Vec<String>>,
    /// Links to a folder that they lie in.
    pub(super) cycles: Vec<Vec<String>>,
}

impl Walk {
    /// Goes through a folder and all folders inside it.
    pub(super) fn through(root: &Path) -> Result<Self, DataError> {
        let mut walk = Self::default();
        let mut folders = vec![Folder::root(root)];
        let (mut without, mut holding) = (Vec::new(), BTreeSet::new());
        while let Some(folder) = folders.pop() {
            if folder.visit(&mut walk, &mut folders)? {
                holding.extend((0..=folder.names.len()).map(|depth| folder.names[..depth].to_vec()));
            } else {
                without.push(folder.names);
            }
        }
        without.retain(|names| !names.is_empty() && !holding.contains(names));
        without.sort_unstable();
        walk.empty = without;
        walk.images.sort_unstable();
        walk.others.sort_unstable();
        walk.lost.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        if !walk.cycles.is_empty() {
            walk.keep_first_of_each()?;
        }
        Ok(walk)
    }

    /// The names of some image below a folder; none if there is none. It stops at the first one.
    pub(super) fn first_image(root: &Path) -> Result<Option<Vec<String>>, DataError> {
        let mut walk = Self::default();
        let mut folders = vec![Folder::root(root)];
        while let Some(folder) = folders.pop() {
            folder.visit(&mut walk, &mut folders)?;
            if !walk.images.is_empty() {
                break;
            }
        }
        Ok(walk.images.into_iter().map(|(names, _)| names).next())
    }

    /// Of an image that links lead to on several ways, the shortest stays.
    fn keep_first_of_each(&mut self) -> Result<(), DataError> {
        let mut by_length: Vec<usize> = (0..self.images.len()).collect();
        by_length.sort_by_key(|&index| self.images[index].0.len());
        let (mut seen, mut kept) = (BTreeSet::new(), BTreeSet::new());
        for index in by_length {
            let path = &self.images[index].1;
            // A link that leads nowhere is itself.
            let whole = if self.absent.contains_key(path) { path.clone() } else { resolved(path)? };
            if seen.insert(whole) {
                kept.insert(index);
            }
        }
        let mut index = 0..;
        self.images.retain(|_| index.next().is_some_and(|index| kept.contains(&index)));
        Ok(())
    }
}

/// A folder that is still to be listed.
struct Folder {
    names: Vec<String>,
    path: PathBuf,
    /// Whether a link leads to it, or to a folder that it lies in: then it may be one of those that lead to it.
    below_link: bool,
    /// The paths of the folders that it lies in, from the outermost.
    above: Vec<PathBuf>,
}

impl Folder {
    fn root(path: &Path) -> Self {
        Self { names: Vec::new(), path: path.into(), below_link: false, above: Vec::new() }
    }

    /// Lists what is in the folder, and adds the folders in it to those that are still to be listed. Says whether there is
    /// anything but such folders.
    fn visit(&self, walk: &mut Walk, folders: &mut Vec<Self>) -> Result<bool, DataError> {
        let (mut inside, mut holds) = (Vec::new(), false);
        for Entry { name, path, is_folder, is_link, .. } in entries(&self.path)? {
            let names: Vec<String> = self.names.iter().cloned().chain([name.clone()]).collect();
            if let Some(absent) = absent(&path, is_link) {
                holds = true;
                match ending(&name) {
                    None => walk.lost.push((names, path, absent)),
                    Some(ending) if is_image_ending(&ending) => {
                        walk.absent.insert(path.clone(), absent);
                        walk.images.push((names, path));
                    }
                    Some(_) => walk.others.push((names, path)),
                }
                continue;
            }
            if !is_folder {
                holds = true;
                if is_image(&name, &path)? {
                    walk.images.push((names, path));
                } else {
                    walk.others.push((names, path));
                }
                continue;
            }
            let below_link = self.below_link || is_link;
            let above: Vec<PathBuf> = self.above.iter().chain([&self.path]).cloned().collect();
            if below_link && leads_back(&path, &above)? {
                holds = true;
                walk.cycles.push(names);
                continue;
            }
            if names.len() >= MAX_DEPTH {
                let bound = format!("at most {MAX_DEPTH} folders deep");
                return Err(Place::file(&path).broken("the depth", "more", bound));
            }
            inside.push(Self { names, path, below_link, above });
        }
        // The last one is taken first.
        folders.extend(inside.into_iter().rev());
        Ok(holds)
    }
}

/// What a link says of its target if that is not there.
fn absent(path: &Path, is_link: bool) -> Option<Absent> {
    let target = (is_link && !path.exists()).then(|| fs::read_link(path))?.ok()?;
    Some(Absent::of_link(path, &target))
}

/// Whether a folder is one of those that it lies in.
fn leads_back(path: &Path, above: &[PathBuf]) -> Result<bool, DataError> {
    let here = resolved(path)?;
    for folder in above {
        if resolved(folder)? == here {
            return Ok(true);
        }
    }
    Ok(false)
}

fn resolved(path: &Path) -> Result<PathBuf, DataError> {
    fs::canonicalize(path).map_err(|source| Place::file(path).io("open", source))
}
