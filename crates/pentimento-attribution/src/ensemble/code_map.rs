//! The one place where a file is mapped into memory.

#![allow(unsafe_code, reason = "a memory map shows what other processes do to the file")]

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::Mmap;

/// The bytes of a file, read by the system when they are looked at.
#[derive(Debug)]
pub(super) struct FileMap(Mmap);

impl FileMap {
    /// Maps a whole file for reading.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is only read. Another process may do two things to the file meanwhile:
        // - Write into it. Then codes are read before or after the change. All that is read from a map are integers, any
        //   bits of which are valid; they index nothing without a mask or a check.
        // - Cut it short. Then reading behind its new end raises SIGBUS, which ends this process; no memory of it is harmed.
        //   `fetch`, called before each part is read, turns a cut ahead of the parts in work into an error.
        Ok(Self(unsafe { Mmap::map(file)? }))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Brings a part of the file into memory and into this process's page table, with one call instead of a page fault for
    /// every few pages.
    ///
    /// # Errors
    ///
    /// If the file has become shorter, or cannot be read.
    pub(super) fn fetch(&self, range: Range<usize>) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        match self.0.advise_range(memmap2::Advice::PopulateRead, range.start, range.len()) {
            // Linux before 5.14 does not know the advice; it reads by page faults.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = range;
            Ok(())
        }
    }
}
