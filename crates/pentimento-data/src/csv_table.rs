//! What readers of CSV tables share: the line on which a record starts, and what the library finds wrong in a table.

use std::path::Path;

use crate::error::DataError;

/// Counts the lines of a table's text, each byte once.
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    /// Bytes whose line ends are counted.
    counted: usize,
    ends: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a [u8]) -> Self {
        Self { text, counted: 0, ends: 0 }
    }

    /// The line on which a record starts, from 1; records are asked for in their order. The library's own count stops
    /// before empty lines that it skips.
    pub(crate) fn at(&mut self, position: Option<&csv::Position>) -> u64 {
        let skipped_from = position.map_or(0, |position| position.byte() as usize).min(self.text.len());
        let empty = self.text[skipped_from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = self.text.get(self.counted..skipped_from + empty).unwrap_or_default();
        self.ends += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.counted += passed.len();
        1 + self.ends
    }
}

/// The line on which one record starts, from 1.
pub(crate) fn line_at(text: &[u8], position: Option<&csv::Position>) -> u64 {
    Lines::of(text).at(position)
}

/// What is wrong on a line of a table.
pub(crate) fn line_error(
    table: &Path,
    line: u64,
    field: &'static str,
    value: String,
    bound: impl Into<String>,
) -> DataError {
    DataError::Line { path: table.into(), line, field, value, bound: bound.into() }
}

/// Puts the line number where the other errors have it.
pub(crate) fn table_error(table: &Path, text: &[u8], error: csv::Error) -> DataError {
    let line = line_at(text, error.position());
    let broken = |field, value: String, bound: &str| line_error(table, line, field, value, bound);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            broken("the number of columns", len.to_string(), &format!("{expected_len}, as in the header"))
        }
        csv::ErrorKind::Utf8 { .. } => broken("the text", "not UTF-8".into(), "UTF-8"),
        other => broken("the text", format!("unreadable ({other:?})"), "a table in the CSV format"),
    }
}
