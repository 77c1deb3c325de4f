//! Reading a file against its entry.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use crate::file::length_of;
use crate::manifest::Entry;
use crate::{Digest, StoreError};

/// Opens the file of an object and compares its length.
pub(crate) fn open(path: &Path, entry: &Entry) -> Result<File, StoreError> {
    let corrupt = |field, found: String, expected: String| StoreError::Corrupt {
        file: path.to_path_buf(),
        field,
        found,
        expected,
    };
    // Before it is opened: opening a pipe would wait for ever.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(StoreError::Missing { file: path.to_path_buf() });
        }
        Err(error) => return Err(StoreError::io("look at", path, error)),
    };
    if !metadata.is_file() {
        return Err(corrupt("its kind", "a folder or a device".into(), "an ordinary file".into()));
    }
    if metadata.len() != entry.bytes {
        return Err(corrupt("the length in bytes", metadata.len().to_string(), entry.bytes.to_string()));
    }
    File::open(path).map_err(|error| StoreError::io("open", path, error))
}

/// All bytes of a file that [`open`] has opened, compared with the digest.
pub(crate) fn read(file: &File, path: &Path, entry: &Entry) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    // The length is that of the file, which may yet be more than this machine's memory.
    let reserved = usize::try_from(entry.bytes)
        .map_err(|_| io::ErrorKind::OutOfMemory.into())
        .and_then(|bytes| content.try_reserve_exact(bytes).map_err(|_| io::ErrorKind::OutOfMemory.into()));
    reserved
        .and_then(|()| file.take(entry.bytes).read_to_end(&mut content))
        .map_err(|error: io::Error| StoreError::io("read", path, error))?;
    compare_digest(path, Digest::of(&content), entry)?;
    Ok(content)
}

/// Compares the digest of a file that [`open`] has opened, without holding the file in memory.
pub(crate) fn check(file: &File, path: &Path, entry: &Entry) -> Result<(), StoreError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(|error| StoreError::io("read", path, error))?;
    compare_digest(path, hasher.finalize().into(), entry)
}

/// Refuses bytes of another digest than the entry has.
pub(crate) fn compare_digest(path: &Path, found: Digest, entry: &Entry) -> Result<(), StoreError> {
    if found == entry.blake3 {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        file: path.to_path_buf(),
        field: "the blake3 digest",
        found: found.to_string(),
        expected: entry.blake3.to_string(),
    })
}

/// Whether the file is there with exactly the bytes of `entry`.
pub(crate) fn has_bytes_of(path: &Path, entry: &Entry) -> Result<bool, StoreError> {
    if length_of(path)? != Some(entry.bytes) {
        return Ok(false);
    }
    match open(path, entry).and_then(|file| check(&file, path, entry)) {
        Ok(()) => Ok(true),
        Err(StoreError::Corrupt { .. } | StoreError::Missing { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
