//! Files of parts of a pipeline that stay where they lay at the import: encoders, and a network beneath an adapter.

use crate::error::{PartError, Result, RunError};
use pentimento_store::Digest;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Refuses files that are gone, or others than at the import; `path` is the one that messages name.
pub(crate) fn compare(part: &'static str, path: &Path, found: Result<Digest>, wanted: Digest) -> Result<()> {
    match found {
        Ok(found) if found == wanted => Ok(()),
        Ok(_) => Err(PartError::Other { part, path: path.to_path_buf() }.into()),
        Err(RunError::Io { path, source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Err(PartError::Gone { part, path }.into())
        }
        Err(error) => Err(error),
    }
}

/// A digest of the contents of some files, in their order.
pub(crate) fn digest_of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Digest> {
    let mut digests = Vec::new();
    for path in files {
        let file = File::open(path).map_err(RunError::io("open", path))?;
        let digest = Digest::of_reader(file).map_err(RunError::io("read", path))?;
        digests.extend_from_slice(digest.as_bytes());
    }
    Ok(Digest::of(&digests))
}

/// So that it can be found from elsewhere.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}
