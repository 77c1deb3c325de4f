use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;

use crate::StoreError;
use crate::name::LOCK_FILE;

/// The right to write to a run. It ends when it is dropped, and with the process however that ends.
///
/// The file itself stays: deleting it could take away a lock that another process has just got.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    pub(crate) fn take(root: &Path) -> Result<Self, StoreError> {
        let path = root.join(LOCK_FILE);
        let failed = |error| StoreError::io("lock", &path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: root.to_path_buf(), holder: holder_named_in(&file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let host = gethostname::gethostname();
        let holder = format!("process {} on {}\n", std::process::id(), host.to_string_lossy());
        // Only for the message to others. It must not fail here: opening a run on a full disk is how to make room on it.
        let _ = file.set_len(0).and_then(|()| file.write_all(holder.as_bytes()));
        Ok(Self { file })
    }

    /// Whether the file that is locked is still the one in `root`: not if the folder was moved or deleted since, or another one
    /// has taken its place.
    pub(crate) fn is_in(&self, root: &Path) -> bool {
        is_same_file(&self.file, &root.join(LOCK_FILE))
    }
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(file), Ok(there)) => identity(&file) == identity(&there),
        _ => false,
    }
}

/// Elsewhere an open file keeps its folder from being moved or deleted.
#[cfg(not(unix))]
fn is_same_file(_file: &File, path: &Path) -> bool {
    path.exists()
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread is just starting has it too until it runs.
        let _ = self.file.unlock();
    }
}

/// What the holder of a lock wrote about itself, which may not be there yet.
fn holder_named_in(file: &File) -> String {
    const MAX_BYTES: u64 = 400;
    let mut text = String::new();
    match file.take(MAX_BYTES).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}
