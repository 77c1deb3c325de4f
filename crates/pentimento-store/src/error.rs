use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong with a run folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another part of this one, has the run open for writing.
    #[error("run `{}` is in use by {holder}", path.display())]
    Locked {
        /// The run folder.
        path: PathBuf,
        /// Process and machine, as far as they are known.
        holder: String,
    },

    /// The folder or the file system does not allow writing (or reading) here.
    #[error("no permission to {action} `{}`: {source}", path.display())]
    ReadOnly {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// The run was opened by [`Run::open_read_only`](crate::Run::open_read_only).
    #[error("run `{}` is open for reading only", path.display())]
    OpenForReadingOnly {
        /// The run folder.
        path: PathBuf,
    },

    /// The folder was moved or deleted while it was open for writing.
    #[error("run `{}` was moved or deleted while it was written to: its file .lock is gone, or another one", path.display())]
    Moved {
        /// Where the run folder was.
        path: PathBuf,
    },

    /// The disk, or the share of it that this user may fill, is full.
    #[error("no space left to {action} `{}`: {source}", path.display())]
    DiskFull {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// Another failure of the operating system.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// A file is not what the manifest says of it.
    #[error("`{}` is damaged: {field} is {found}, the manifest says {expected}", file.display())]
    Corrupt {
        /// The file of the object.
        file: PathBuf,
        /// What differs.
        field: &'static str,
        /// What the file has.
        found: String,
        /// What the manifest lists.
        expected: String,
    },

    /// An object of another run that was made from something else than what is asked for.
    #[error("`{}` was made from something else: its fingerprint is {found}, needed is {expected}", file.display())]
    MadeFromOther {
        /// The file of the object.
        file: PathBuf,
        /// Its fingerprint.
        found: String,
        /// The fingerprint that is needed.
        expected: String,
    },

    /// A file that must be there is not: that of a listed object, or the manifest of a run to read.
    #[error("`{}` does not exist", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },

    /// The manifest has no object of this name.
    #[error("run `{}` has no object `{name}`", run.display())]
    NotListed {
        /// The run folder.
        run: PathBuf,
        /// The name that was asked for.
        name: String,
    },

    /// A name that no object can have.
    #[error("`{name}` cannot name an object: {problem}")]
    BadName {
        /// The name.
        name: String,
        /// The rule it breaks.
        problem: String,
    },

    /// The manifest cannot be read.
    #[error("`{}`, line {line}, column {column}: {message}", file.display())]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// The line, from 1; 0 if the fault has no place.
        line: usize,
        /// The column, from 1; 0 if the fault has no place.
        column: usize,
        /// What is wrong there.
        message: String,
    },

    /// The manifest has a format that this version does not know.
    #[error("`{}` has format {found}; this version reads format {supported}", file.display())]
    Format {
        /// The manifest.
        file: PathBuf,
        /// Its format.
        found: u64,
        /// The format that this version reads and writes.
        supported: u64,
    },

    /// A folder with other files in it, which is not taken for a run, lest they be overwritten or cleaned away.
    #[error("`{}` is not a run: it has no manifest.json, but holds `{found}`", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// One of the files in it.
        found: String,
    },

    /// A part of a fingerprint cannot be written as JSON.
    #[error("a part of a fingerprint has no JSON form: {source}")]
    NoJsonForm {
        /// Why.
        source: serde_json::Error,
    },
}

impl StoreError {
    /// The error for a failed operation of the operating system, by its kind.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { action, path, source }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { action, path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }
}
