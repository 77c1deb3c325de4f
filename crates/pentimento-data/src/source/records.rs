//! Records of one length, one after another: in a plain file, or in a compressed stream.
//!
//! A plain file is read at the place of a record. A stream has no such place; it is read on from the record before, and
//! from its start for a record that lies further back. So records in order cost one pass, and nothing is kept.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder};

use super::place::Place;
use crate::error::DataError;

/// Most bytes that a compressed stream may announce: 4 GiB. It can be a thousand times longer than its file, so without
/// a bound a small file could keep a machine busy for days.
pub(crate) const MAX_DECOMPRESSED_BYTES: u64 = 4 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// As they are, from an offset of the file.
    Plain { offset: u64 },
    /// The whole file is gzip-compressed.
    Gzip,
    /// A raw deflate stream inside the file.
    Deflate { offset: u64, bytes: u64 },
}

impl Storage {
    /// A reader of the uncompressed bytes from their start.
    pub(crate) fn open(self, mut file: File) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Plain { offset } => {
                file.seek(SeekFrom::Start(offset))?;
                Box::new(BufReader::new(file))
            }
            Self::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            Self::Deflate { offset, bytes } => {
                file.seek(SeekFrom::Start(offset))?;
                Box::new(DeflateDecoder::new(BufReader::new(file.take(bytes))))
            }
        })
    }
}

/// Records of `record_bytes` each, after `header_bytes` of something else.
pub(crate) struct Records {
    path: PathBuf,
    storage: Storage,
    header_bytes: u64,
    record_bytes: usize,
    count: usize,
    state: Mutex<State>,
}

enum State {
    Closed,
    Plain(File),
    Stream { reader: Box<dyn Read + Send>, next: usize },
}

impl Records {
    pub(crate) fn new(
        path: PathBuf,
        storage: Storage,
        header_bytes: u64,
        record_bytes: usize,
        count: usize,
    ) -> Self {
        Self { path, storage, header_bytes, record_bytes, count, state: Mutex::new(State::Closed) }
    }

    /// One record; the caller checks that there are as many.
    pub(crate) fn read(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let place = Place::file(&self.path);
        let io_error = |source| place.io("read", source);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = match &*state {
            State::Closed => false,
            State::Plain(_) => true,
            State::Stream { next, .. } => *next <= index,
        };
        if !usable {
            let (file, _) = place.open()?;
            *state = match self.storage {
                Storage::Plain { .. } => State::Plain(file),
                stream => {
                    let mut reader = stream.open(file).map_err(io_error)?;
                    skip(&mut reader, self.header_bytes).map_err(io_error)?;
                    State::Stream { reader, next: 0 }
                }
            };
        }
        let mut record = vec![0; self.record_bytes];
        let result = match &mut *state {
            State::Plain(file) => {
                let base = match self.storage {
                    Storage::Plain { offset } => offset,
                    _ => 0,
                };
                let start = base + self.header_bytes + index as u64 * self.record_bytes as u64;
                file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut record))
            }
            State::Stream { reader, next } => {
                let between = (index - *next) as u64 * self.record_bytes as u64;
                let result = skip(reader, between).and_then(|()| reader.read_exact(&mut record));
                *next = index + 1;
                // A stream says at its end whether it was whole, and nothing may follow.
                if *next == self.count { result.and_then(|()| expect_end(reader)) } else { result }
            }
            State::Closed => Ok(()),
        };
        if let Err(error) = result {
            // A stream that failed is not read on.
            *state = State::Closed;
            return Err(io_error(error));
        }
        Ok(record)
    }
}

/// Reads over so many bytes.
pub(super) fn skip(reader: &mut dyn Read, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut reader.take(bytes), &mut io::sink())?;
    if skipped < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn expect_end(reader: &mut dyn Read) -> io::Result<()> {
    match io::copy(&mut reader.take(1), &mut io::sink())? {
        0 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "there are more data than the header announces")),
    }
}
