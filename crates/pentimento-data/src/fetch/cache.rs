//! The folder of one set in the cache: verified files only, each written whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::FetchEvent;
use crate::error::FetchError;
use crate::hexadecimal;
use crate::idx::GZIP_MAGIC;
use crate::public_sets::PublicFile;

/// Start of the names of files and folders in the making. What a killed process left under such a name is removed by
/// the next one that holds the lock.
const PARTIAL_PREFIX: &str = ".partial-";

/// Bytes between two progress events, and in memory at once.
const CHUNK_BYTES: usize = 1 << 18;

/// Why a file did not enter the cache.
#[derive(Debug)]
pub(super) enum InstallError {
    /// The source is at fault; another may do better.
    Source(String),
    /// The cache is at fault; no other source would help.
    Cache(FetchError),
}

/// The files of a set that the folder does not hold as they must be, each with the reason.
pub(super) fn missing(folder: &Path, files: &'static [PublicFile]) -> Vec<(&'static PublicFile, String)> {
    files
        .iter()
        .filter_map(|file| match verify(&folder.join(file.name), file) {
            Ok(()) => None,
            Err(reason) => Some((file, reason)),
        })
        .collect()
}

fn verify(path: &Path, file: &PublicFile) -> Result<(), String> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err("not there".into()),
        metadata => metadata.map_err(|error| error.to_string())?,
    };
    if metadata.len() != file.bytes {
        return Err(format!("length is {} bytes, but must be {}", metadata.len(), file.bytes));
    }
    let mut hasher = Sha256::new();
    let mut reader = File::open(path).map_err(|error| error.to_string())?.take(file.bytes);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = reader.read(&mut chunk).map_err(|error| error.to_string())?;
        if count == 0 {
            return check_digest(hasher, file);
        }
        hasher.update(&chunk[..count]);
    }
}

fn check_digest(hasher: Sha256, file: &PublicFile) -> Result<(), String> {
    let digest = hexadecimal::encode(&hasher.finalize());
    if digest == file.sha256 {
        return Ok(());
    }
    Err(format!("SHA-256 is {digest}, but must be {}", file.sha256))
}

/// A set's folder while this process alone may write to it.
pub(super) struct Cache {
    folder: PathBuf,
    /// Unlocked when it is closed, also by the operating system when the process ends.
    _lock: File,
}

impl Cache {
    /// Makes the folder, waits for its lock, and clears what killed processes left.
    pub(super) fn lock(folder: &Path, on_event: &mut dyn FnMut(FetchEvent<'_>)) -> Result<Self, FetchError> {
        fs::create_dir_all(folder).map_err(cache_error("make", folder))?;
        let path = folder.join(".lock");
        let lock = File::create(&path).map_err(cache_error("write", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                on_event(FetchEvent::Waiting);
                lock.lock().map_err(cache_error("lock", &path))?;
            }
            Err(TryLockError::Error(error)) => return Err(cache_error("lock", &path)(error)),
        }
        for entry in fs::read_dir(folder).map_err(cache_error("list", folder))? {
            let entry = entry.map_err(cache_error("list", folder))?;
            if entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
                let path = entry.path();
                let is_folder = entry.file_type().map_err(cache_error("list", folder))?.is_dir();
                let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(cache_error("remove", &path))?;
            }
        }
        Ok(Self { folder: folder.into(), _lock: lock })
    }

    /// An empty folder that vanishes when it is dropped.
    pub(super) fn working_folder(&self) -> Result<tempfile::TempDir, InstallError> {
        tempfile::Builder::new()
            .prefix(PARTIAL_PREFIX)
            .tempdir_in(&self.folder)
            .map_err(|error| InstallError::Cache(cache_error("make a folder in", &self.folder)(error)))
    }

    /// Reads one file, plain or gzip-compressed by its first bytes, and stores it uncompressed if its SHA-256 sum is
    /// right. Reads and writes at most one byte more than the file must have.
    pub(super) fn install(
        &self,
        file: &PublicFile,
        reader: impl Read,
        on_event: &mut dyn FnMut(FetchEvent<'_>),
    ) -> Result<(), InstallError> {
        let source_error = |error: io::Error| InstallError::Source(format!("{}: {error}", file.name));
        let path = self.folder.join(file.name);
        let write_error = |error| {
            InstallError::Cache(FetchError::Cache { action: "write", path: path.clone(), source: error })
        };

        let mut partial =
            tempfile::Builder::new().prefix(PARTIAL_PREFIX).tempfile_in(&self.folder).map_err(write_error)?;
        let mut reader = BufReader::new(reader);
        let compressed = reader.fill_buf().map_err(source_error)?.starts_with(&GZIP_MAGIC);
        let mut content: Box<dyn Read + '_> =
            if compressed { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
        let mut content = content.by_ref().take(file.bytes + 1);
        let mut hasher = Sha256::new();
        let mut bytes = 0;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = match content.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count.map_err(source_error)?,
            };
            if count == 0 {
                break;
            }
            bytes += count as u64;
            hasher.update(&chunk[..count]);
            partial.write_all(&chunk[..count]).map_err(write_error)?;
            on_event(FetchEvent::Progress { file: file.name, bytes, total_bytes: file.bytes });
        }
        if bytes != file.bytes {
            let value = if bytes > file.bytes { "more".to_owned() } else { format!("{bytes} bytes") };
            let reason = format!("{}: length is {value}, but must be {} bytes", file.name, file.bytes);
            return Err(InstallError::Source(reason));
        }
        check_digest(hasher, file)
            .map_err(|reason| InstallError::Source(format!("{}: {reason}", file.name)))?;

        partial.as_file().sync_all().map_err(write_error)?;
        set_usual_permissions(partial.as_file()).map_err(write_error)?;
        partial.persist(&path).map_err(|error| write_error(error.error))?;
        sync_folder(&self.folder).map_err(write_error)?;
        on_event(FetchEvent::Stored { file: file.name });
        Ok(())
    }
}

fn cache_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FetchError {
    move |source| FetchError::Cache { action, path: path.into(), source }
}

/// Temporary files are for their owner only; a cache may be shared.
#[cfg(unix)]
fn set_usual_permissions(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_usual_permissions(_: &File) -> io::Result<()> {
    Ok(())
}

/// So that the new name itself survives a loss of power.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
