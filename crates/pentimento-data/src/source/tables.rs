//! Tables that lie beside images, and which of them is the set's: CSV and TSV with a header, JSON lines, JSON lists of
//! objects, the `dataset.json` of NVIDIA's training scripts (`{"labels": [["0.png", 3], ...]}`), and Parquet without images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::caption_candidates::Candidates;
use super::captions::{CAPTION_COLUMNS, Said};
use super::found::Finder;
use super::halves::{Part, part_named};
use super::labels::{self, ListLength};
use super::metadata::inside;
use super::notes::{Note, ending};
use super::parquet_shards;
use super::place::Place;
use super::words::listed;
use crate::csv_table::{Lines, line_error, table_error};
use crate::error::DataError;
use crate::public_sets::Split;

/// What the table of a set is called, in any case.
const NAMES: [&str; 3] = ["metadata.csv", "metadata.jsonl", "metadata.parquet"];
/// Columns of the files, of which the first that is there counts.
pub(super) const FILE_COLUMNS: [&str; 6] = ["file_name", "filename", "file", "image", "image_path", "path"];
/// Columns of labels, of which a set has one.
pub(super) const LABEL_COLUMNS: [&str; 3] = ["label", "labels", "class"];
/// Columns of groups, of which a set has one.
pub(super) const GROUP_COLUMNS: [&str; 3] = ["group", "contributor", "artist"];
/// The column that says of each image which split it is in.
pub(super) const SPLIT_COLUMN: &str = "split";
/// A million lines of 250 bytes.
const MAX_TABLE_BYTES: u64 = 256 << 20;

/// The same of a JSON document, whose values take several times its bytes of memory.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

pub(super) type Row = BTreeMap<String, String>;

/// A table whose rows are read.
pub(super) struct Table {
    pub(super) path: PathBuf,
    /// What a row is called in errors: `line` or `row`.
    unit: &'static str,
    /// Each with its number in the file.
    pub(super) rows: Vec<(u64, Row)>,
    /// Every column that some row has.
    pub(super) columns: BTreeSet<String>,
    /// The folder that the names of files start from.
    pub(super) base: PathBuf,
    pub(super) captions: Candidates,
    /// Whether the table's own name says that it lists one split, as `train.csv` does.
    pub(super) is_of_split: bool,
}

impl Table {
    /// Where a row is, for errors.
    pub(super) fn place(&self, index: usize) -> Place {
        let number = self.rows.get(index).map_or(0, |(number, _)| *number);
        Place::entry(&self.path, format!("{} {number}", self.unit))
    }

    /// The column that has the names of files.
    pub(super) fn file_column(&self) -> Option<&'static str> {
        FILE_COLUMNS.into_iter().find(|name| self.columns.contains(*name))
    }

    /// Whether it says more of the images than their names.
    fn says_something(&self) -> bool {
        LABEL_COLUMNS
            .iter()
            .chain(&GROUP_COLUMNS)
            .chain([&SPLIT_COLUMN])
            .any(|name| self.columns.contains(*name))
    }

    /// Whether at least one of the files that it names lies below a folder.
    fn names_a_file_of(&self, folder: &Path) -> bool {
        let Some(column) = self.file_column() else { return false };
        let names = self.rows.iter().filter_map(|(_, row)| row.get(column));
        let mut finder = Finder::default();
        names.filter_map(|name| inside(name)).any(|name| finder.file(folder, &name).is_some())
    }
}

/// The only one of the names that a set's table usually has.
pub(super) fn usual(folder: &Path, names: &[String]) -> Result<Option<String>, DataError> {
    let mut found = names.iter().filter(|name| NAMES.iter().any(|usual| name.eq_ignore_ascii_case(usual)));
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => {
            let value = format!("both {first} and {second}");
            Err(Place::file(folder).broken("the layout", value, "one table of metadata"))
        }
        (found, _) => Ok(found.cloned()),
    }
}

/// Opens the table of a set that has the usual name.
pub(super) fn open(folder: &Path, name: &str, captions: Option<&str>) -> Result<Table, DataError> {
    let table = parse(folder, name, captions)?;
    if table.file_column().is_none() && !table.rows.is_empty() {
        let bound = "with the paths of images in the column `file_name`";
        return Err(Place::file(&table.path).broken("the list of columns", shown(&table.columns), bound));
    }
    Ok(table)
}

/// The table of a set among files with other names: one whose files are there. `bases` are the folders that its names may
/// start from. Other tables are noted.
pub(super) fn under_another_name(
    folder: &Path,
    names: &[String],
    bases: &[PathBuf],
    split: Split,
    captions: Option<&str>,
    notes: &mut Vec<Note>,
) -> Result<Option<Table>, DataError> {
    let mut known: Vec<(String, Table)> = Vec::new();
    for name in names {
        let Some(ending) = ending(name) else { continue };
        let not_read = |reason: String| Note::NotRead { what: name.clone(), reason };
        match (ending.as_str(), parse(folder, name, captions)) {
            ("csv" | "tsv" | "jsonl" | "ndjson" | "json", Ok(mut table)) => {
                match bases.iter().find(|base| table.names_a_file_of(base)) {
                    // A table of captions, say, would take the place of class folders.
                    Some(_) if !table.says_something() => {
                        let reason = "it has no column of labels, groups or splits";
                        notes.push(not_read(match table.captions.names().next() {
                            None => reason.into(),
                            Some(column) => format!(
                                "{reason}; called metadata.csv, it is read, with its captions in `{column}`, in place of class folders"
                            ),
                        }));
                    }
                    Some(base) => {
                        table.base = base.clone();
                        known.push((name.clone(), table));
                    }
                    None if table.file_column().is_some() => {
                        notes.push(not_read("none of the files that it names is there".into()));
                    }
                    None => notes.push(not_read(format!(
                        "no column `file_name` names the images (columns: {})",
                        shown(&table.columns)
                    ))),
                }
            }
            // What JSON is about is told by what is in it.
            ("csv" | "tsv" | "jsonl" | "ndjson", Err(error)) => notes.push(not_read(error.to_string())),
            _ => {}
        }
    }
    let parts: Vec<Option<Part>> = known.iter().map(|(name, _)| part_named(name)).collect();
    if parts.iter().any(Option::is_some) {
        let mut wanted = parts.iter().map(|part| *part == Some(split.into()));
        for (name, _) in known.extract_if(.., |_| !wanted.next().unwrap_or_default()) {
            let reason = "its name is not that of the split that is read".into();
            notes.push(Note::NotRead { what: name, reason });
        }
        for (_, table) in &mut known {
            table.is_of_split = true;
        }
    }
    if let [(first, _), (second, _), ..] = known.as_slice() {
        let value = format!("both {first} and {second}");
        return Err(Place::file(folder).broken("the tables of the images", value, "one"));
    }
    let found = known.pop();
    if let Some((name, _)) = &found {
        notes.push(Note::Table { name: name.clone() });
    }
    Ok(found.map(|(_, table)| table))
}

fn shown(columns: &BTreeSet<String>) -> String {
    listed(&columns.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>())
}

fn parse(folder: &Path, name: &str, captions: Option<&str>) -> Result<Table, DataError> {
    let path = folder.join(name);
    let mut table = Table {
        path: path.clone(),
        unit: "line",
        rows: Vec::new(),
        columns: BTreeSet::new(),
        base: folder.into(),
        captions: Candidates::new(captions),
        is_of_split: false,
    };
    let ending = ending(name).unwrap_or_default();
    if ending == "parquet" {
        table.unit = "row";
        let wanted: Vec<&str> = FILE_COLUMNS
            .into_iter()
            .chain(LABEL_COLUMNS)
            .chain(GROUP_COLUMNS)
            .chain([SPLIT_COLUMN])
            .collect();
        let (columns, rows) = parquet_shards::texts_of(&path, &wanted, 0, &mut table.captions)?;
        (table.columns, table.rows) = (columns, (0..).zip(rows).collect());
        return Ok(table);
    }
    let limit = if ending == "json" { MAX_DOCUMENT_BYTES } else { MAX_TABLE_BYTES };
    let bytes = Place::file(&path).read_whole(limit)?;
    // Some programs begin UTF-8 files with a mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match ending.as_str() {
        "csv" => csv_rows(bytes, b',', &mut table)?,
        "tsv" => csv_rows(bytes, b'\t', &mut table)?,
        "json" => document(bytes, &mut table)?,
        _ => json_rows(bytes, &mut table)?,
    }
    Ok(table)
}

/// The lines of a CSV file with a header.
fn csv_rows(bytes: &[u8], delimiter: u8, table: &mut Table) -> Result<(), DataError> {
    let path = table.path.clone();
    let broken = |line, value: String, bound: &str| line_error(&path, line, "the text", value, bound);
    // Where the comma is in numbers, spreadsheets put semicolons between columns.
    let first_line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let has = |byte: u8| first_line.contains(&byte);
    let delimiter = if delimiter == b',' && has(b';') && !has(b',') { b';' } else { delimiter };
    let unreadable = |error| table_error(&path, bytes, error);
    // Captions keep their blanks.
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(bytes);
    let header = reader.headers().map_err(unreadable)?.clone();
    let mut lines = Lines::of(bytes);
    let header_line = lines.at(header.position());
    let names: Vec<&str> = header.iter().map(str::trim).collect();
    for name in &names {
        if !table.columns.insert((*name).to_owned()) {
            let value = format!("the column {name:?} twice");
            return Err(broken(header_line, value, "a header of different names"));
        }
    }
    if table.file_column().is_none() {
        let value = format!("the columns {names:?}");
        return Err(broken(header_line, value, "a header with the column `file_name`"));
    }
    for name in &names {
        if table.captions.is_column(name) {
            table.captions.add(name);
        }
    }
    for record in reader.byte_records() {
        let record = record.map_err(unreadable)?;
        let line = lines.at(record.position());
        let mut row = Row::new();
        for (name, bytes) in names.iter().copied().zip(&record) {
            if table.captions.is_column(name) {
                let place = Place::entry(&path, format!("line {line}"));
                table.captions.set(table.rows.len(), name, Said::of_text(bytes.to_vec(), &place));
            }
            if !CAPTION_COLUMNS.contains(&name) {
                let text = str::from_utf8(bytes).map_err(|_| broken(line, "not UTF-8".into(), "UTF-8"))?;
                row.insert(name.to_owned(), text.trim().to_owned());
            }
        }
        table.rows.push((line, row));
    }
    Ok(())
}

/// The objects of a file of JSON lines.
fn json_rows(bytes: &[u8], table: &mut Table) -> Result<(), DataError> {
    let mut lists = ListLength::default();
    for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let place = Place::entry(&table.path, format!("line {line}"));
        let object = serde_json::from_slice(text)
            .map_err(|error| place.broken("the text", format!("unreadable ({error})"), "a JSON object"))?;
        let row = row_of(object, &place, table, &mut lists)?;
        table.rows.push((line, row));
    }
    Ok(())
}

/// A JSON document: a list of objects, or an object whose `labels` are pairs of a name and a label.
fn document(bytes: &[u8], table: &mut Table) -> Result<(), DataError> {
    table.unit = "entry";
    let mut lists = ListLength::default();
    let place = Place::file(&table.path);
    let unknown = || {
        let bound =
            "a list of objects with `file_name`, or an object whose `labels` are pairs of a name and a label";
        place.broken("the content", "another", bound)
    };
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| place.broken("the text", format!("unreadable ({error})"), "JSON"))?;
    let pairs: Vec<(Value, Value)> = match value {
        Value::Array(list) => {
            for (number, value) in (0..).zip(list) {
                let Value::Object(object) = value else { return Err(unknown()) };
                let here = Place::entry(&table.path, format!("entry {number}"));
                let row = row_of(object, &here, table, &mut lists)?;
                table.rows.push((number, row));
            }
            return Ok(());
        }
        Value::Object(mut object) => match object.remove("labels") {
            Some(Value::Array(pairs)) => pairs
                .into_iter()
                .map(|pair| match pair {
                    Value::Array(pair) => {
                        <[Value; 2]>::try_from(pair).ok().map(|[name, label]| (name, label))
                    }
                    _ => None,
                })
                .collect::<Option<_>>()
                .ok_or_else(unknown)?,
            Some(Value::Object(labels)) => {
                labels.into_iter().map(|(name, label)| (Value::String(name), label)).collect()
            }
            _ => return Err(unknown()),
        },
        _ => return Err(unknown()),
    };
    for (number, (name, label)) in (0..).zip(pairs) {
        let here = Place::entry(&table.path, format!("entry {number}"));
        let object = [("file_name".to_owned(), name), ("label".to_owned(), label)].into_iter().collect();
        let row = row_of(object, &here, table, &mut lists)?;
        table.rows.push((number, row));
    }
    Ok(())
}

/// The texts of an object, which is the next row: those of the columns that mean something.
fn row_of(
    object: serde_json::Map<String, Value>,
    place: &Place,
    table: &mut Table,
    lists: &mut ListLength,
) -> Result<Row, DataError> {
    let mut row = Row::new();
    for (name, value) in object {
        let is_label = LABEL_COLUMNS.contains(&name.as_str());
        let wanted = is_label
            || name == SPLIT_COLUMN
            || FILE_COLUMNS.contains(&name.as_str())
            || GROUP_COLUMNS.contains(&name.as_str());
        if wanted && !value.is_null() {
            let text = if is_label { labels::of_json(&value, lists) } else { scalar_text(&value) };
            let Some(text) = text else {
                let shown: String = value.to_string().chars().take(80).collect();
                let bound = if is_label {
                    "a text or a number, alone or as the only one of a list, or a one-hot list as long as the others"
                } else {
                    "a text or a number"
                };
                return Err(place.broken("a value", format!("{shown} in `{name}`"), bound));
            };
            row.insert(name.clone(), text);
        }
        if table.captions.is_column(&name) {
            let said = Said::of_json(value, &name, place);
            table.captions.set(table.rows.len(), &name, said);
        }
        table.columns.insert(name);
    }
    Ok(row)
}

/// The text of a JSON string or number.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
