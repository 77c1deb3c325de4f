//! Where something lies, for errors.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::DataError;

/// A file, or a part of one: a row, an entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) entry: Option<String>,
}

impl Place {
    pub(crate) fn file(path: &Path) -> Self {
        Self { path: path.into(), entry: None }
    }

    pub(crate) fn entry(path: &Path, entry: impl fmt::Display) -> Self {
        Self { path: path.into(), entry: Some(entry.to_string()) }
    }

    /// A value that breaks a rule.
    pub(crate) fn broken(
        &self,
        field: &'static str,
        value: impl fmt::Display,
        bound: impl fmt::Display,
    ) -> DataError {
        let (path, value, bound) = (self.path.clone(), value.to_string(), bound.to_string());
        match &self.entry {
            None => DataError::File { path, field, value, bound },
            Some(entry) => DataError::Entry { path, entry: entry.clone(), field, value, bound },
        }
    }

    /// What the operating system, or a decompressor, refused.
    pub(crate) fn io(&self, action: &'static str, source: io::Error) -> DataError {
        match source.kind() {
            // Damaged contents, not a failing system.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                self.undecodable(source)
            }
            _ => DataError::Io { action, path: self.path.clone(), source },
        }
    }

    /// Contents that cannot be understood.
    pub(crate) fn undecodable(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> DataError {
        DataError::Decode { place: self.to_string(), source: source.into() }
    }

    /// Opens the file, if it is a regular one, and gives its length in bytes.
    pub(crate) fn open(&self) -> Result<(File, u64), DataError> {
        // Asked before opening, because opening a named pipe would wait for a writer.
        let metadata = fs::metadata(&self.path).map_err(|source| self.io("open", source))?;
        if !metadata.is_file() {
            return Err(self.broken("the path", "a folder or a device", "a regular file"));
        }
        let file = File::open(&self.path).map_err(|source| self.io("open", source))?;
        Ok((file, metadata.len()))
    }

    /// Reads a whole file of at most `limit` bytes.
    pub(crate) fn read_whole(&self, limit: u64) -> Result<Vec<u8>, DataError> {
        use io::Read as _;
        let (file, length) = self.open()?;
        let mut bytes = Vec::new();
        if length <= limit {
            file.take(limit + 1).read_to_end(&mut bytes).map_err(|source| self.io("read", source))?;
        }
        if length > limit || bytes.len() as u64 > limit {
            return Err(self.broken("length", format!("{length} bytes"), format!("at most {limit} bytes")));
        }
        Ok(bytes)
    }
}

/// A file's name as text: what is not UTF-8 is shown as `\xE9`, so that different names stay different.
pub(crate) fn shown_name(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    text
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            None => write!(formatter, "{}", self.path.display()),
            Some(entry) => write!(formatter, "{}, {entry}", self.path.display()),
        }
    }
}
