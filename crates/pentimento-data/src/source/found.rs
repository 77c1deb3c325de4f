//! Files that a table names: where they are, and what is said of those that are not there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::place::{Place, shown_name};
use crate::error::DataError;
use crate::names::composed;

/// What is broken where an image is not there; [`DamageKind`](super::damage::DamageKind) tells it by this.
pub(super) const ABSENT: [&str; 3] =
    ["the file of the image", "the path of the image", "the place it leads to"];

/// An image that is not there though something leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Absent {
    /// Where it is named.
    pub(super) place: Place,
    /// One of [`ABSENT`].
    field: &'static str,
    value: String,
    bound: &'static str,
}

impl Absent {
    /// A file that a row of a table of images names.
    pub(super) fn of_table(place: Place, name: &str) -> Self {
        Self {
            place,
            field: ABSENT[0],
            value: format!("{name:?}"),
            bound: "the name of a file that is there",
        }
    }

    /// A file that a row of a Parquet file names.
    pub(super) fn of_row(place: Place, path: &str) -> Self {
        Self { place, field: ABSENT[1], value: format!("{path:?}"), bound: "that of a file that is there" }
    }

    /// What a symbolic link leads to; `target` is what it says.
    pub(super) fn of_link(link: &Path, target: &Path) -> Self {
        let value = target.display().to_string();
        Self { place: Place::file(link), field: ABSENT[2], value, bound: "there" }
    }

    pub(super) fn error(&self) -> DataError {
        self.place.broken(self.field, &self.value, self.bound)
    }
}

/// Finds files by their names, whichever form of Unicode these are in.
#[derive(Default)]
pub(super) struct Finder {
    /// The names in each folder that was listed: as they are, by their composed form.
    listed: BTreeMap<PathBuf, BTreeMap<String, PathBuf>>,
    /// The names on the whole path to each folder, as `.` has none of its own.
    above: BTreeMap<PathBuf, Vec<String>>,
}

/// A file that was found.
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    /// The names from the folder to it, composed.
    pub(super) names: Vec<String>,
    /// Whether its name starts at a folder above.
    pub(super) is_from_above: bool,
}

impl Finder {
    /// The file at a path inside a folder. If there is none, the first names of the path may be those of the folder itself, as
    /// `train/a.png` in a table inside of `train` has it.
    pub(super) fn file(&mut self, folder: &Path, inside: &Path) -> Option<FoundFile> {
        if let Some(path) = self.path(folder, inside) {
            return Some(FoundFile { path, names: names_of(inside), is_from_above: false });
        }
        let names = names_of(inside);
        let whole = |folder: &Path| fs::canonicalize(folder).map(|path| names_of(&path)).unwrap_or_default();
        let above = self.above.entry(folder.to_path_buf()).or_insert_with(|| whole(folder));
        let counts: Vec<usize> = (1..names.len()).filter(|&count| above.ends_with(&names[..count])).collect();
        counts.into_iter().find_map(|count| {
            let rest = names.get(count..)?;
            let path = self.path(folder, &rest.iter().collect::<PathBuf>())?;
            Some(FoundFile { path, names: rest.to_vec(), is_from_above: true })
        })
    }

    fn path(&mut self, folder: &Path, inside: &Path) -> Option<PathBuf> {
        let direct = folder.join(inside);
        if direct.is_file() {
            return Some(direct);
        }
        let mut path = folder.to_path_buf();
        for name in names_of(inside) {
            path = self.names_in(&path).get(&name)?.clone();
        }
        path.is_file().then_some(path)
    }

    /// What cannot be listed has no names.
    fn names_in(&mut self, folder: &Path) -> &BTreeMap<String, PathBuf> {
        self.listed.entry(folder.to_path_buf()).or_insert_with(|| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| (composed(&shown_name(&entry.file_name())), entry.path())).collect()
        })
    }
}

/// The names on a path, composed.
pub(super) fn names_of(path: &Path) -> Vec<String> {
    let name = |part: std::path::Component<'_>| match part {
        std::path::Component::Normal(name) => Some(composed(&shown_name(name))),
        _ => None,
    };
    path.components().filter_map(name).collect()
}
