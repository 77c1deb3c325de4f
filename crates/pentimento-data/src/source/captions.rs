//! The captions of images: which of the texts that lie with them are meant, and what each image has.
//!
//! Columns of tables and Parquet files, fields of JSON beside images and files of text beside them are candidates. One that is
//! asked for by its name counts; without a name, the only one does, or several that say the same. A set never fails to open
//! because of its captions: what is wrong with them is kept by image, as damage is, and refused where captions are needed
//! (`check_captions`).

use std::collections::BTreeMap;

use super::caption_faults::{CaptionFaultKind, Fault};
use super::notes::Note;
use super::place::Place;
use super::words::{counted, listed};
use crate::error::DataError;

/// What columns and fields of captions are usually called.
pub(super) const CAPTION_COLUMNS: [&str; 4] = ["caption", "captions", "prompt", "text"];
/// What files of captions beside images end with, with its dot. In names of candidates the dot tells files from columns.
pub(super) const CAPTION_FILES: &str = ".txt";
/// Longest caption. Text encoders read 77 tokens, or 512.
pub(super) const MAX_CAPTION_BYTES: u64 = 64 << 10;

/// What one candidate says of one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Said {
    #[default]
    Nothing,
    /// At least one, any of which may be empty.
    Texts(Vec<String>),
    Fault(Fault),
}

impl Said {
    /// What a JSON value says: a text, a list of texts, or nothing.
    pub(super) fn of_json(value: serde_json::Value, name: &str, place: &Place) -> Self {
        use serde_json::Value;
        let other_kind = |value: &Value| {
            let shown: String = value.to_string().chars().take(80).collect();
            let error = place.broken("the caption", format!("{shown} in `{name}`"), TEXTS);
            Self::Fault(Fault::new(CaptionFaultKind::Kind, &error))
        };
        match value {
            Value::Null => Self::Nothing,
            Value::String(text) => Self::of_text(text.into_bytes(), place),
            Value::Array(list) if list.iter().all(Value::is_string) => {
                let texts = list.into_iter().filter_map(|value| match value {
                    Value::String(text) => Some(text.into_bytes()),
                    _ => None,
                });
                Self::of_texts(texts, place)
            }
            other => other_kind(&other),
        }
    }

    /// One caption.
    pub(super) fn of_text(bytes: Vec<u8>, place: &Place) -> Self {
        Self::of_texts([bytes], place)
    }

    /// Several captions; none of them is nothing.
    pub(super) fn of_texts(texts: impl IntoIterator<Item = Vec<u8>>, place: &Place) -> Self {
        match texts.into_iter().map(|bytes| checked(bytes, place)).collect::<Result<Vec<_>, _>>() {
            Ok(texts) if texts.is_empty() => Self::Nothing,
            Ok(texts) => Self::Texts(texts),
            Err(fault) => Self::Fault(fault),
        }
    }

    /// What a file of text says: all of it is one caption. A mark at its start, carriage returns before line ends, and line
    /// ends after the text are no part of it.
    pub(super) fn of_file(bytes: Vec<u8>, place: &Place) -> Self {
        let text = match checked(bytes, place) {
            Ok(text) => text,
            Err(fault) => return Self::Fault(fault),
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n");
        Self::Texts(vec![text.trim_end_matches(['\n', '\r']).to_owned()])
    }

    /// The texts, but those that are empty and blanks at the ends; none if there is something wrong.
    fn words(&self) -> Option<Vec<&str>> {
        match self {
            Self::Nothing => Some(Vec::new()),
            Self::Texts(texts) => {
                Some(texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect())
            }
            Self::Fault(_) => None,
        }
    }
}

/// What captions must be, for errors.
pub(super) const TEXTS: &str = "a text or a list of texts";

fn checked(bytes: Vec<u8>, place: &Place) -> Result<String, Fault> {
    if bytes.len() as u64 > MAX_CAPTION_BYTES {
        let (value, bound) = (format!("{} bytes", bytes.len()), format!("at most {MAX_CAPTION_BYTES} bytes"));
        let error = place.broken("the length of a caption", value, bound);
        return Err(Fault::new(CaptionFaultKind::Length, &error));
    }
    String::from_utf8(bytes).map_err(|error| {
        let value = format!("not UTF-8 (from byte {})", error.utf8_error().valid_up_to());
        Fault::new(CaptionFaultKind::Encoding, &place.broken("the caption", value, "UTF-8"))
    })
}

/// The candidates of a set, row by row.
pub(super) struct Candidates {
    /// The one that is asked for.
    named: Option<String>,
    columns: BTreeMap<String, Column>,
}

#[derive(Default)]
struct Column {
    /// Up to the last row that says something.
    said: Vec<Said>,
    /// What is wrong with the column as a whole.
    fault: Option<Fault>,
}

impl Candidates {
    pub(super) fn new(named: Option<&str>) -> Self {
        Self { named: named.map(str::to_owned), columns: BTreeMap::new() }
    }

    /// Whether a column, or a field, of this name may have captions.
    pub(super) fn is_column(&self, name: &str) -> bool {
        match &self.named {
            Some(named) => named == name,
            None => CAPTION_COLUMNS.contains(&name),
        }
    }

    /// The ending of files beside images that may have captions, with its dot.
    pub(super) fn ending(&self) -> String {
        match &self.named {
            Some(named) => format!(".{}", named.trim_start_matches('.').to_lowercase()),
            None => CAPTION_FILES.to_owned(),
        }
    }

    /// Whether a name was asked for.
    pub(super) fn is_named(&self) -> bool {
        self.named.is_some()
    }

    /// Notes that there is such a column, whatever it says.
    pub(super) fn add(&mut self, name: &str) {
        self.columns.entry(name.to_owned()).or_default();
    }

    pub(super) fn set(&mut self, row: usize, name: &str, said: Said) {
        if !self.columns.contains_key(name) {
            self.add(name);
        }
        if let Some(Column { said: rows, fault: None }) = self.columns.get_mut(name) {
            rows.resize_with(rows.len().max(row + 1), Said::default);
            rows[row] = said;
        }
    }

    /// Gives a column up.
    pub(super) fn refuse(&mut self, name: &str, fault: Fault) {
        self.columns.insert(name.to_owned(), Column { said: Vec::new(), fault: Some(fault) });
    }

    /// One more than the last row that says something.
    pub(super) fn rows(&self) -> usize {
        self.columns.values().map(|column| column.said.len()).max().unwrap_or_default()
    }

    /// Whether there is such a column.
    pub(super) fn has(&self, name: &str) -> bool {
        self.columns.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
    }

    /// Whether some of them says something.
    pub(super) fn say_something(&self) -> bool {
        let says =
            |column: &Column| column.fault.is_some() || column.said.iter().any(|said| *said != Said::Nothing);
        self.columns.values().any(says)
    }

    /// The same with other rows: those at these positions, of which each is taken once.
    pub(super) fn at(mut self, rows: &[usize]) -> Self {
        for column in self.columns.values_mut() {
            let mut taken = |&row: &usize| column.said.get_mut(row).map(std::mem::take).unwrap_or_default();
            column.said = rows.iter().map(&mut taken).collect();
        }
        self
    }

    /// The captions of so many images. `available` is what could be named, where what is asked for is not there.
    ///
    /// # Errors
    /// If what is asked for by its name is not there.
    pub(super) fn choose(
        self,
        images: usize,
        place: &Place,
        available: impl FnOnce() -> Vec<String>,
    ) -> Result<Captions, DataError> {
        let Self { named, mut columns } = self;
        match &named {
            Some(named) if columns.is_empty() => {
                let mut shown: Vec<String> = available().iter().map(|name| format!("`{name}`")).collect();
                shown.sort_unstable();
                shown.dedup();
                let bound = match shown.len() {
                    0 => "something that the set has; it has no texts that could be captions".to_owned(),
                    _ => format!("something that the set has: {}", listed(&shown)),
                };
                return Err(place.broken("the column of captions", format!("`{named}`"), bound));
            }
            Some(_) => {}
            None => columns.retain(|_, column| {
                column.fault.is_some() || column.said.iter().any(|said| *said != Said::Nothing)
            }),
        }
        for column in columns.values_mut().filter(|column| column.fault.is_none()) {
            column.said.resize_with(images, Said::default);
        }
        let names: Vec<String> = columns.keys().cloned().collect();
        let columns: Vec<Column> = columns.into_values().collect();
        let Some((first, others)) = columns.split_first() else { return Ok(Captions::default()) };
        if !others.iter().all(|other| agree(first, other)) {
            let count = |column: &Column| column.said.iter().filter(|said| **said != Said::Nothing).count();
            let each = names.iter().zip(&columns).map(|(name, column)| match column.fault {
                Some(_) => title(name),
                None => format!("{} (of {})", title(name), counted(count(column), "image")),
            });
            let each: Vec<String> = each.collect();
            let value = format!("in {}, which differ", each.join(" and in "));
            let example = names.last().map(String::as_str).unwrap_or_default();
            let bound = format!("in one place: name it, as in `data.captions = {example:?}`");
            let error = place.broken("the caption", value, bound);
            return Ok(Captions::refused(Fault::new(CaptionFaultKind::Unclear, &error)));
        }
        // Of several that say the same, the one that says it of most images.
        let nothing = |column: &Column| column.said.iter().filter(|said| **said == Said::Nothing).count();
        let best = (0..columns.len()).min_by_key(|&index| nothing(&columns[index])).unwrap_or_default();
        let same: Vec<String> = names
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != best)
            .map(|(_, name)| title(name))
            .collect();
        let Some((name, column)) = names.into_iter().zip(columns).nth(best) else {
            return Ok(Captions::default());
        };
        Ok(Captions::of_column(&name, &same, column))
    }
}

/// Whether two columns say the same of every image, but for blanks.
fn agree(one: &Column, other: &Column) -> bool {
    one.fault.is_none()
        && other.fault.is_none()
        && one.said.iter().zip(&other.said).all(|(one, other)| match (one.words(), other.words()) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        })
}

/// What a candidate is called.
fn title(name: &str) -> String {
    match name.strip_prefix('.') {
        Some(_) => format!("the {name} files"),
        None => format!("`{name}`"),
    }
}

/// The captions of a set.
#[derive(Debug, Default)]
pub(super) struct Captions {
    /// Where they are from; none if the set has none.
    source: Option<String>,
    /// By image; empty if the set has none.
    texts: Vec<Vec<String>>,
    faults: BTreeMap<usize, Fault>,
    /// What keeps all images from having one.
    refused: Option<Fault>,
    /// Images whose caption is a file of several lines, and the first of them.
    several_lines: Option<(usize, usize)>,
}

impl Captions {
    fn refused(fault: Fault) -> Self {
        Self { refused: Some(fault), ..Self::default() }
    }

    fn of_column(name: &str, same: &[String], Column { said, fault }: Column) -> Self {
        if let Some(fault) = fault {
            return Self::refused(fault);
        }
        let there = said.iter().filter(|said| **said != Said::Nothing).count();
        let bound =
            format!("there, as {} one", if there == 1 { "another image has" } else { "other images have" });
        let missing = format!("the caption is missing in {}, but must be {bound}", title(name));
        let missing = Fault::because(CaptionFaultKind::Missing, &missing);
        let source = match same.len() {
            0 => title(name),
            _ => format!("{}; {} the same", title(name), says(same)),
        };
        let mut captions = Self { source: Some(source), ..Self::default() };
        for (index, said) in said.into_iter().enumerate() {
            let texts = match said {
                Said::Texts(texts) => texts,
                Said::Nothing => {
                    captions.faults.insert(index, missing.clone());
                    Vec::new()
                }
                Said::Fault(fault) => {
                    captions.faults.insert(index, fault);
                    Vec::new()
                }
            };
            if name.starts_with('.') && texts.iter().any(|text| text.contains('\n')) {
                captions.several_lines.get_or_insert((0, index)).0 += 1;
            }
            captions.texts.push(texts);
        }
        captions
    }

    /// The captions of an image; none if it has none, or none that can be used.
    pub(super) fn of(&self, index: usize) -> &[String] {
        self.texts.get(index).map_or(&[], Vec::as_slice)
    }

    /// What keeps an image from having captions.
    pub(super) fn fault(&self, index: usize) -> Option<&Fault> {
        self.refused.as_ref().or_else(|| self.faults.get(&index))
    }

    /// Where they are from.
    pub(super) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Whether there is anything that could be captions.
    pub(super) fn is_none(&self) -> bool {
        self.source.is_none() && self.refused.is_none()
    }

    /// What is to be said of them, but for their faults.
    pub(super) fn notes(&self, key: impl Fn(usize) -> String) -> Vec<Note> {
        let source = self.source.clone().map(|source| Note::Captions { source });
        let lines =
            self.several_lines.map(|(images, first)| Note::CaptionsOfLines { images, first: key(first) });
        source.into_iter().chain(lines).collect()
    }

    /// Whether some image, or all, cannot have what there is.
    pub(super) fn has_faults(&self) -> bool {
        self.refused.is_some() || !self.faults.is_empty()
    }
}

fn says(same: &[String]) -> String {
    let verb =
        if same.len() == 1 && same.iter().all(|name| !name.ends_with("files")) { "says" } else { "say" };
    format!("{} {verb}", same.join(" and "))
}
