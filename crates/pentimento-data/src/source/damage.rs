//! Images that cannot be read: which, of what kind, and why, all of a set in one go.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::decode::FORMAT;
use super::found::ABSENT;
use super::words::write_by_kind;
use crate::error::DataError;
use crate::image::{PIXELS, SIDES};

/// An image that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedImage {
    /// Its position in the set.
    pub index: usize,
    /// What the set calls it.
    pub key: String,
    /// What kind of fault it has.
    pub kind: DamageKind,
    /// What is wrong with it, and where.
    pub reason: String,
}

/// A kind of fault that an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DamageKind {
    /// It is in a format that is not read, or in none.
    Format,
    /// It is in a format that is read, but of a kind that is not.
    Kind,
    /// It has no pixels, or more than are read.
    Size,
    /// A table names it, or a link leads to it, and it is not there.
    Absent,
    /// The operating system does not let it be read.
    Unreadable,
    /// Anything else: it is cut short, garbled, or missing in its file.
    Damaged,
}

impl DamageKind {
    /// The kind of what is wrong with an image; none if it is wrong with the machine.
    pub(crate) fn of(error: &DataError) -> Option<Self> {
        match error {
            DataError::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound)
                    .then_some(Self::Unreadable)
            }
            DataError::OutOfMemory { .. } => None,
            DataError::File { field, .. } | DataError::Entry { field, .. } if ABSENT.contains(field) => {
                Some(Self::Absent)
            }
            DataError::Kind { .. } => Some(Self::Kind),
            DataError::File { field, .. } | DataError::Entry { field, .. } if *field == FORMAT => {
                Some(Self::Format)
            }
            DataError::File { field, .. } | DataError::Entry { field, .. }
                if *field == PIXELS || SIDES.contains(field) =>
            {
                Some(Self::Size)
            }
            _ => Some(Self::Damaged),
        }
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Format => "in a format that is not read",
            Self::Kind => "of a kind of its format that is not read",
            Self::Size => "of a size that is not read",
            Self::Absent => "that are named and not there",
            Self::Unreadable => "that cannot be opened",
            Self::Damaged => "damaged",
        })
    }
}

/// Damaged images, for people: a line for each kind with its number, its first names, and what is wrong with the first.
pub struct DamageSummary<'a>(pub &'a [DamagedImage]);

impl fmt::Display for DamageSummary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let damaged = self.0.iter().map(|image| (image.kind, image.key.as_str(), image.reason.as_str()));
        write_by_kind(formatter, damaged)
    }
}
