//! What a set leaves to be said though it can be read: how labels were found, and what of it is not read.

use std::collections::BTreeMap;
use std::fmt;

use super::words::{counted, listed};

/// Something that whoever opened a set should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The set has splits, and one of them is read.
    Split {
        /// What the set calls the one that is read: a folder, or the word in the names of files.
        taken: String,
        /// What it calls the others.
        others: Vec<String>,
    },
    /// The classes are called by names, and their numbers follow from these.
    ClassesFromNames {
        /// What the names are of, such as "class folders".
        source: &'static str,
        /// The names by label.
        names: Vec<String>,
        /// Whether the names are numbers, which are in numeric order; other names are in alphabetical order.
        numeric: bool,
    },
    /// Class folders without a file: each keeps its name and its number, and has no image.
    EmptyClasses {
        /// Their names.
        names: Vec<String>,
    },
    /// Files and folders beside the images that are not read.
    LeftOut {
        /// Number of files by ending in lower case, with its dot; the empty ending stands for none.
        files: BTreeMap<String, usize>,
        /// Folders none of whose files is read.
        folders: Vec<String>,
    },
    /// The labels and groups are those of a table that is not called `metadata.csv` or `metadata.jsonl`.
    Table {
        /// The file's name.
        name: String,
    },
    /// The files of some samples do not follow each other, which other programs need.
    Apart {
        /// Which.
        what: String,
        /// What puts them together.
        remedy: String,
    },
    /// Something that could be meant as part of the set is not read.
    NotRead {
        /// What it is, such as a table's name.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split { taken, others } if others.is_empty() => write!(formatter, "split: {taken}"),
            Self::Split { taken, others } => {
                write!(formatter, "split: {taken} (not read: {})", listed(others))
            }
            Self::ClassesFromNames { source, names, numeric } => {
                let order = if *numeric { "in numeric order" } else { "in alphabetical order" };
                let numbered: Vec<String> =
                    names.iter().enumerate().map(|(label, name)| format!("{label} {name}")).collect();
                write!(formatter, "labels: {source}, numbered {order}: {}", listed(&numbered))
            }
            Self::EmptyClasses { names } => {
                let (what, verb) = if names.len() == 1 {
                    ("class folder is empty", "is a class")
                } else {
                    ("class folders are empty", "are classes")
                };
                write!(formatter, "{} {what} and {verb} without images: {}", names.len(), listed(names))
            }
            Self::LeftOut { files, folders } => {
                let mut parts: Vec<String> = files
                    .iter()
                    .map(|(ending, count)| match ending.as_str() {
                        "" => format!("{} without an ending", counted(*count, "file")),
                        ending => format!("{count} {ending}"),
                    })
                    .collect();
                if !folders.is_empty() {
                    let noun = if folders.len() == 1 { "folder" } else { "folders" };
                    parts.push(format!("the {noun} {}", listed(folders)));
                }
                write!(formatter, "not read: {}", parts.join(", "))
            }
            Self::Table { name } => write!(formatter, "table of the images: {name}"),
            Self::Apart { what, remedy } => write!(formatter, "{what}: {remedy}"),
            Self::NotRead { what, reason } => write!(formatter, "not read: {what} ({reason})"),
        }
    }
}

impl Note {
    /// What is said of files that are left out; nothing if there are none.
    pub(super) fn left_out<'a>(
        names: impl IntoIterator<Item = &'a str>,
        folders: Vec<String>,
    ) -> Option<Self> {
        let mut files = BTreeMap::new();
        for name in names {
            *files.entry(dotted_ending(name)).or_default() += 1;
        }
        Self::counted(files, folders)
    }

    /// The same of files that are counted already, and of some more.
    pub(super) fn left_out_counted(mut files: BTreeMap<String, usize>, more: &[String]) -> Option<Self> {
        for name in more {
            *files.entry(dotted_ending(name)).or_default() += 1;
        }
        Self::counted(files, Vec::new())
    }

    fn counted(files: BTreeMap<String, usize>, folders: Vec<String>) -> Option<Self> {
        (!files.is_empty() || !folders.is_empty()).then_some(Self::LeftOut { files, folders })
    }
}

fn dotted_ending(name: &str) -> String {
    ending(name).map(|ending| format!(".{ending}")).unwrap_or_default()
}

/// The ending of a name in lower case. Digits alone are none: `frame.0001` is a name with a number.
pub(super) fn ending(name: &str) -> Option<String> {
    let (_, ending) = name.rsplit_once('.')?;
    let is_ending = ending.chars().any(char::is_alphabetic) && !ending.contains(char::is_whitespace);
    is_ending.then(|| ending.to_ascii_lowercase())
}
