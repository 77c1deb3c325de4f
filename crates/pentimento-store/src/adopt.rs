//! Taking objects over from another run folder, such as one that another machine worked in.

use std::fs::File;
use std::io::{self, Read as _};

use crate::name::ObjectName;
use crate::{Entry, Fingerprint, Run, StoreError, read};

impl Run {
    /// Takes objects over from another run: all of them, or none if one is not there, is damaged, or was made from something
    /// else than `made_from`. The other run stays as it is. An object that this run has already, with the same bytes, is not
    /// written again, so taking over twice is taking over once.
    ///
    /// Returns how many objects were written.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotListed`], [`StoreError::Missing`] or [`StoreError::Corrupt`] for an object that the other run lacks or
    /// that is damaged there; [`StoreError::MadeFromOther`] for one that was made from something else; as [`put`](Self::put).
    pub fn adopt<N: AsRef<str>>(
        &self,
        other: &Self,
        objects: impl IntoIterator<Item = N>,
        made_from: Fingerprint,
    ) -> Result<usize, StoreError> {
        self.refuse_to_write_elsewhere()?;
        let mut staged = Vec::new();
        for name in objects {
            let name = ObjectName::new(name.as_ref())?;
            let (path, entry, mut file) = other.open(name.as_str())?;
            if entry.made_from != made_from {
                return Err(StoreError::MadeFromOther {
                    file: path,
                    found: entry.made_from.to_string(),
                    expected: made_from.to_string(),
                });
            }
            if self.is_current(name.as_str(), made_from) && self.has_same_bytes(name.as_str(), &entry) {
                continue;
            }
            // What is written is what is compared: the file may change while it is read.
            let copy =
                |writer: &mut dyn io::Write| io::copy(&mut (&mut file).take(entry.bytes), writer).map(drop);
            let copied = self.stage(name, made_from, copy)?;
            read::compare_digest(&path, copied.digest(), &entry)?;
            staged.push(copied);
        }
        let written = staged.len();
        if written > 0 {
            self.commit(staged)?;
        }
        Ok(written)
    }

    /// Whether the file of an object has just these bytes.
    fn has_same_bytes(&self, name: &str, entry: &Entry) -> bool {
        self.open(name).is_ok_and(|(path, own, file): (_, Entry, File)| {
            own.blake3 == entry.blake3 && read::check(&file, &path, &own).is_ok()
        })
    }
}
