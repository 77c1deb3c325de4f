//! Comparing a run folder with its manifest.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::manifest::Manifest;
use crate::name::{LOCK_FILE, MANIFEST_FILE};
use crate::read::{check, open};

/// A difference between a run folder and its manifest.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// A listed object is missing, damaged or unreadable; the error says which.
    Object {
        /// The name of the object.
        name: String,
        /// [`StoreError::Missing`], [`StoreError::Corrupt`], or that of a failed read.
        error: StoreError,
    },
    /// The manifest does not list this file, so it does not exist for the run. [`Run::clean`](crate::Run::clean) deletes
    /// it if it is a leftover.
    Unlisted {
        /// The file.
        file: PathBuf,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object { name, error } => write!(formatter, "object `{name}`: {error}"),
            Self::Unlisted { file } => write!(formatter, "`{}` is not listed", file.display()),
        }
    }
}

/// Reads every listed object and looks for files that are not listed.
pub(crate) fn verify(root: &Path, manifest: &Manifest) -> Result<Vec<Problem>, StoreError> {
    let mut problems = Vec::new();
    for (name, entry) in manifest.entries() {
        let path = name.file_in(root);
        if let Err(error) = open(&path, entry).and_then(|file| check(&file, &path, entry)) {
            problems.push(Problem::Object { name: name.to_string(), error });
        }
    }
    let unlisted = unlisted_files(root, manifest)?;
    problems.extend(unlisted.into_iter().map(|file| Problem::Unlisted { file }));
    Ok(problems)
}

/// Walks the run folder. Links and devices are passed over: no run makes them, so they are someone else's.
pub(crate) fn unlisted_files(root: &Path, manifest: &Manifest) -> Result<BTreeSet<PathBuf>, StoreError> {
    let mut known = BTreeSet::from([root.join(MANIFEST_FILE), root.join(LOCK_FILE)]);
    known.extend(manifest.objects.keys().map(|name| name.file_in(root)));
    for (name, replacement) in &manifest.pending {
        let file = name.file_in(root);
        known.insert(replacement.temporary.beside(&file));
        known.insert(file);
    }

    let mut unlisted = BTreeSet::new();
    let mut to_visit = vec![root.to_path_buf()];
    while let Some(folder) = to_visit.pop() {
        let failed = |error| StoreError::io("list the folder", &folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                to_visit.push(entry.path());
            } else if kind.is_file() && !known.contains(&entry.path()) {
                unlisted.insert(entry.path());
            }
        }
    }
    Ok(unlisted)
}
