//! The texts that lie with images and could be their captions, and which of them are.
//!
//! Columns of tables and Parquet files, fields of JSON beside images and files of text beside them are candidates. One that is
//! asked for by its name counts; without a name, the only one does, or several that say the same.

use std::collections::BTreeMap;

use super::caption_faults::{CaptionFaultKind, Fault};
use super::captions::{CAPTION_COLUMNS, CAPTION_FILES, Captions, Said, title};
use super::place::Place;
use super::words::{counted, listed};
use crate::error::DataError;

/// Most bytes that a candidate takes: those of its texts, and some for each text and row. Compressed, a file may claim more than
/// memory holds.
const MAX_BYTES: usize = 1 << 30;

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
    bytes: usize,
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
        let Some(Column { said: rows, bytes, fault: None }) = self.columns.get_mut(name) else { return };
        *bytes += said.bytes();
        if *bytes > MAX_BYTES {
            let reason = format!("the captions in {} take more than {MAX_BYTES} bytes", title(name));
            return self.refuse(name, Fault::because(CaptionFaultKind::Length, &reason));
        }
        rows.resize_with(rows.len().max(row + 1), Said::default);
        rows[row] = said;
    }

    /// Takes a candidate away if it has nothing but numbers, as labels and files of boxes have, and was not asked for by its name.
    pub(super) fn remove_numbers(&mut self, name: &str) {
        let Some(column) = self.columns.get(name).filter(|_| self.named.is_none()) else { return };
        let mut numbers = 0;
        let mut is_number = |word: &str| {
            numbers += 1;
            word.parse::<f64>().is_ok()
        };
        let are_numbers = column.said.iter().all(|said| match said {
            Said::Nothing => true,
            Said::Texts(texts) => texts.iter().flat_map(|text| text.split_whitespace()).all(&mut is_number),
            Said::Fault(_) => false,
        });
        if are_numbers && numbers > 0 {
            self.columns.remove(name);
        }
    }

    /// Gives a column up.
    pub(super) fn refuse(&mut self, name: &str, fault: Fault) {
        self.columns.insert(name.to_owned(), Column { fault: Some(fault), ..Column::default() });
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
            let error = place.broken("the caption", value, "in one place");
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
        Ok(match column.fault {
            Some(fault) => Captions::refused(fault),
            None => Captions::of_candidate(&name, &same, column.said),
        })
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
