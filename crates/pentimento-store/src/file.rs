//! The few operations on files that the rest of the crate stands on.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::name::TEMPORARY_PREFIX;
use crate::{Digest, StoreError};

/// A new empty file in `folder`, which is deleted when it is dropped.
pub(crate) fn temporary_file_in(folder: &Path) -> Result<NamedTempFile, StoreError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    // The library's default keeps others out, but runs are shared: leave it to the user's umask, as for any file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(|error| StoreError::io("create a file in", folder, error))
}

/// Brings the names in `folder` to the disk. Without this a rename may be lost when the power fails.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    // Windows cannot open a folder as a file; there the file system's journal orders the renames.
    if cfg!(unix) {
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            // Some network file systems have no such operation.
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                return Err(StoreError::io("sync", folder, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Deletes `file` if it is there.
pub(crate) fn delete(file: &Path) -> Result<(), StoreError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("delete", file, error)),
        _ => Ok(()),
    }
}

/// The length of `file` if it is there and an ordinary file.
pub(crate) fn length_of(file: &Path) -> Result<Option<u64>, StoreError> {
    match fs::metadata(file) {
        Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(StoreError::io("look at", file, error)),
    }
}

/// Writes to `file` through a buffer what `write` writes, syncs it, and gives its length and digest.
pub(crate) fn write_hashed(
    file: &mut File,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<(u64, Digest)> {
    // Large pieces, because blake3 hashes several KiB at once with SIMD.
    const BUFFER_BYTES: usize = 1 << 17;
    let hashing = HashingWriter { file, hasher: blake3::Hasher::new(), bytes: 0 };
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, hashing);
    write(&mut buffered)?;
    let HashingWriter { file, hasher, bytes } =
        buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok((bytes, hasher.finalize().into()))
}

struct HashingWriter<'a> {
    file: &'a mut File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Write for HashingWriter<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let written = self.file.write(piece)?;
        self.hasher.update(piece.get(..written).unwrap_or(piece));
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
