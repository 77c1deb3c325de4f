//! What a set leaves to be said though it can be read: how labels were found, and what of it is not read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::caption_faults::{CaptionFaultSummary, FaultyCaption};
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
        /// How many of these files have the name of an image beside them, as files of captions do; by ending likewise.
        named_as_images: BTreeMap<String, usize>,
        /// Folders none of whose files is read.
        folders: Vec<String>,
    },
    /// The labels and groups are those of a table that is not called `metadata.csv` or `metadata.jsonl`.
    Table {
        /// The file's name.
        name: String,
    },
    /// The names of files in a table start at a folder above that of the table.
    NamesFromAbove {
        /// The table's name.
        table: String,
        /// How many.
        files: usize,
        /// The first of them.
        first: String,
    },
    /// Labels are numbers, and no image has some of those up to the largest.
    UnusedLabels {
        /// How many.
        count: usize,
        /// Of how many classes.
        of: usize,
        /// The first of them.
        first: Vec<u32>,
        /// The smallest and the largest label that some image has.
        range: [u32; 2],
    },
    /// The files of some samples do not follow each other, which other programs need.
    Apart {
        /// Which.
        what: String,
        /// What puts them together.
        remedy: String,
    },
    /// The set has captions.
    Captions {
        /// Where they are, such as a column's name.
        source: String,
    },
    /// Files of captions have several lines, of which each file is one caption.
    CaptionsOfLines {
        /// How many.
        images: usize,
        /// The first image whose caption is such a file.
        first: String,
    },
    /// Some images have no captions that can be used, where others have.
    CaptionFaults {
        /// All of them.
        faults: Vec<FaultyCaption>,
        /// Number of images in the set.
        of: usize,
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
            Self::LeftOut { files, named_as_images, folders } => {
                let mut parts: Vec<String> = files
                    .iter()
                    .map(|(ending, count)| {
                        let of_ending = match ending.as_str() {
                            "" => format!("{} without an ending", counted(*count, "file")),
                            ending => format!("{count} {ending}"),
                        };
                        match named_as_images.get(ending) {
                            None => of_ending,
                            Some(named) if named == count => {
                                format!("{of_ending} (with the names of images: captions and labels are not taken from them)")
                            }
                            Some(named) => format!(
                                "{of_ending} ({named} of them with the names of images: captions and labels are not taken from them)"
                            ),
                        }
                    })
                    .collect();
                if !folders.is_empty() {
                    let noun = if folders.len() == 1 { "folder" } else { "folders" };
                    parts.push(format!("the {noun} {}", listed(folders)));
                }
                write!(formatter, "not read: {}", parts.join(", "))
            }
            Self::Table { name } => write!(formatter, "table of the images: {name}"),
            Self::NamesFromAbove { table, files, first } => write!(
                formatter,
                "{table}: {} begin with the folder that the table lies in, such as {first}: they are taken from that folder",
                if *files == 1 { "the name of 1 file".into() } else { format!("the names of {files} files") }
            ),
            Self::UnusedLabels { count, of, first, range: [smallest, largest] } => {
                let numbers: Vec<String> = first.iter().map(u32::to_string).collect();
                let more = count - first.len();
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                let (what, verb) = if *count == 1 { ("class", "has") } else { ("classes", "have") };
                write!(
                    formatter,
                    "labels: numbers from {smallest} to {largest}, so {count} {what} of {of} {verb} no images: {}{more}",
                    numbers.join(", ")
                )
            }
            Self::Apart { what, remedy } => write!(formatter, "{what}: {remedy}"),
            Self::Captions { source } => write!(formatter, "captions: {source}"),
            Self::CaptionsOfLines { images, first } => {
                let (files, verb) = if *images == 1 { ("file", "has") } else { ("files", "have") };
                write!(
                    formatter,
                    "captions: {images} {files} of captions {verb} several lines, of which each file is one caption (first that \
                     of {first})"
                )
            }
            Self::CaptionFaults { faults, of } => {
                let verb = if faults.len() == 1 { "has" } else { "have" };
                writeln!(
                    formatter,
                    "captions: {} of {of} images {verb} none that can be used:",
                    faults.len()
                )?;
                CaptionFaultSummary(faults).fmt(formatter)
            }
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
        Self::counted(files, BTreeMap::new(), folders)
    }

    /// The same of files with the names to them, beside images with the names to these.
    pub(super) fn left_out_beside<'a>(
        others: impl IntoIterator<Item = &'a Vec<String>>,
        images: impl IntoIterator<Item = &'a Vec<String>>,
        folders: Vec<String>,
    ) -> Option<Self> {
        let of_images: BTreeSet<(&[String], &str)> =
            images.into_iter().filter_map(|names| stem(names)).collect();
        let (mut files, mut named_as_images) = (BTreeMap::new(), BTreeMap::new());
        for names in others {
            let ending = names.last().map(|name| dotted_ending(name)).unwrap_or_default();
            if stem(names).is_some_and(|stem| of_images.contains(&stem)) {
                *named_as_images.entry(ending.clone()).or_default() += 1;
            }
            *files.entry(ending).or_default() += 1;
        }
        Self::counted(files, named_as_images, folders)
    }

    /// The same of files that are counted already, and of some more.
    pub(super) fn left_out_counted(mut files: BTreeMap<String, usize>, more: &[String]) -> Option<Self> {
        for name in more {
            *files.entry(dotted_ending(name)).or_default() += 1;
        }
        Self::counted(files, BTreeMap::new(), Vec::new())
    }

    fn counted(
        files: BTreeMap<String, usize>,
        named_as_images: BTreeMap<String, usize>,
        folders: Vec<String>,
    ) -> Option<Self> {
        let is_there = !files.is_empty() || !folders.is_empty();
        is_there.then_some(Self::LeftOut { files, named_as_images, folders })
    }
}

/// The folder that a file lies in, and its name without its ending.
pub(super) fn stem(names: &[String]) -> Option<(&[String], &str)> {
    let (name, folder) = names.split_last()?;
    let length = ending(name).map_or(0, |ending| ending.len() + 1);
    Some((folder, name.get(..name.len() - length)?))
}

pub(super) fn dotted_ending(name: &str) -> String {
    ending(name).map(|ending| format!(".{ending}")).unwrap_or_default()
}

/// The ending of a name in lower case. Digits alone are none: `frame.0001` is a name with a number.
pub(super) fn ending(name: &str) -> Option<String> {
    let (_, ending) = name.rsplit_once('.')?;
    let is_ending = ending.chars().any(char::is_alphabetic) && !ending.contains(char::is_whitespace);
    is_ending.then(|| ending.to_ascii_lowercase())
}
