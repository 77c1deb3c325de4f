//! A folder of images with a table that names them: `metadata.csv`, or `metadata.jsonl` with a JSON object on each line,
//! as Hugging Face's `imagefolder` reads them.
//!
//! The column `file_name` has the path of an image inside the folder; the set is in the order of the table. `label`, or
//! `labels`, or `class` are labels: numbers or names. `group`, or `contributor`, or `artist` say what an image is traced
//! together with. The names of folders say nothing where there is a table. Every image of the folder must be in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::folder::{check_inside, images_under, structure};
use super::labels;
use super::place::Place;
use super::structure::{Layout, Listing, Structure};
use crate::csv_table::{Lines, line_error, table_error};
use crate::error::DataError;

pub(super) const TABLES: [&str; 2] = ["metadata.csv", "metadata.jsonl"];
/// Columns of labels, of which a set has one.
pub(super) const LABEL_COLUMNS: [&str; 3] = ["label", "labels", "class"];
/// Columns of groups, of which a set has one.
pub(super) const GROUP_COLUMNS: [&str; 3] = ["group", "contributor", "artist"];
/// A million lines of 250 bytes.
const MAX_TABLE_BYTES: u64 = 256 << 20;

type Row = BTreeMap<String, String>;

pub(super) fn read(root: &Path, table: &Path) -> Result<Structure, DataError> {
    let place = Place::file(table);
    let bytes = place.read_whole(MAX_TABLE_BYTES)?;
    let is_csv = table.extension().is_some_and(|ending| ending == "csv");
    let rows = if is_csv { csv_rows(&bytes, table)? } else { json_rows(&bytes, table)? };

    let (mut keys, mut paths) = (Vec::new(), Vec::new());
    let mut line_of = BTreeMap::<PathBuf, u64>::new();
    for (line, row) in &rows {
        let broken = |field, value: String, bound: String| line_error(table, *line, field, value, bound);
        let name = row.get("file_name").ok_or_else(|| {
            broken("file_name", "missing".into(), "the path of an image in the folder".into())
        })?;
        let relative = inside(name).ok_or_else(|| {
            let bound = "a path inside the folder of the table".into();
            broken("file_name", format!("{name:?}"), bound)
        })?;
        let path = root.join(&relative);
        if !path.is_file() {
            return Err(broken("file_name", format!("{name:?}"), "the name of a file that is there".into()));
        }
        check_inside(&path, root)?;
        if let Some(earlier) = line_of.insert(path.clone(), *line) {
            let bound = format!("listed once, but line {earlier} lists it too");
            return Err(broken("file_name", format!("{name:?}"), bound));
        }
        keys.push(name.clone());
        paths.push(path);
    }
    if let Some((_, unlisted)) = images_under(root)?.into_iter().find(|(_, path)| !line_of.contains_key(path))
    {
        let bound = format!("in {}, as other images of the folder are", table.display());
        return Err(Place::file(&unlisted).broken("the image", "not listed", bound));
    }

    let place_of = |index: usize| {
        let line = rows.get(index).map_or(0, |(line, _)| *line);
        Place::entry(table, format!("line {line}"))
    };
    let column = |names: &[&'static str], field| {
        let Some(name) = one_column(names, rows.iter().map(|(_, row)| row), table)? else { return Ok(None) };
        let texts =
            rows.iter().map(|(_, row)| row.get(name).filter(|text| !text.is_empty()).cloned()).collect();
        labels::all_or_none(texts, field, place_of)
    };
    let mut listing = Listing::named(keys);
    if let Some(texts) = column(&LABEL_COLUMNS, "the label")? {
        listing = listing.with_labels(labels::from_texts(&texts, place_of)?);
    }
    listing.groups = column(&GROUP_COLUMNS, "the group")?;
    Ok(structure(Layout::Metadata, listing, paths, Some(table.into())))
}

/// The one of these columns that the table has; more than one is refused.
fn one_column<'a>(
    names: &[&'static str],
    rows: impl Iterator<Item = &'a Row>,
    table: &Path,
) -> Result<Option<&'static str>, DataError> {
    let there: BTreeSet<&str> = rows.flat_map(|row| row.keys().map(String::as_str)).collect();
    let mut found = names.iter().copied().filter(|name| there.contains(name));
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => Err(Place::file(table).broken(
            "the list of columns",
            format!("with both `{first}` and `{second}`"),
            format!("with one of {}", names.join(", ")),
        )),
        (first, _) => Ok(first),
    }
}

/// A relative path that stays where it is; `./` is left out.
pub(super) fn inside(name: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!path.as_os_str().is_empty() && !name.contains('\0')).then_some(path)
}

/// The lines of a CSV file with a header, each with its number.
fn csv_rows(bytes: &[u8], table: &Path) -> Result<Vec<(u64, Row)>, DataError> {
    let broken = |line, value: String, bound: &str| line_error(table, line, "the text", value, bound);
    // Some programs begin UTF-8 files with a mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let unreadable = |error| table_error(table, bytes, error);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(unreadable)?.clone();
    let mut lines = Lines::of(bytes);
    let header_line = lines.at(header.position());
    let mut seen = BTreeSet::new();
    if let Some(twice) = header.iter().find(|name| !seen.insert(*name)) {
        return Err(broken(
            header_line,
            format!("the column {twice:?} twice"),
            "a header of different names",
        ));
    }
    if !seen.contains("file_name") {
        let value = format!("the columns {:?}", header.iter().collect::<Vec<_>>());
        return Err(broken(header_line, value, "a header with the column `file_name`"));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let row = header.iter().zip(&record).map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        rows.push((lines.at(record.position()), row));
    }
    Ok(rows)
}

/// The objects of a file of JSON lines, each with its number. Of values, texts and whole numbers are kept.
fn json_rows(bytes: &[u8], table: &Path) -> Result<Vec<(u64, Row)>, DataError> {
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let broken = |field, value: String, bound: &str| line_error(table, line, field, value, bound);
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text)
            .map_err(|error| broken("the text", format!("unreadable ({error})"), "a JSON object"))?;
        let mut row = Row::new();
        for (name, value) in object {
            let wanted = name == "file_name"
                || LABEL_COLUMNS.contains(&name.as_str())
                || GROUP_COLUMNS.contains(&name.as_str());
            match scalar_text(&value) {
                _ if !wanted || value.is_null() => {}
                Some(text) => {
                    row.insert(name, text);
                }
                None => {
                    let shown: String = value.to_string().chars().take(80).collect();
                    return Err(broken("a value", format!("{shown} in `{name}`"), "a text or a number"));
                }
            }
        }
        rows.push((line, row));
    }
    Ok(rows)
}

/// The text of a JSON string or number.
pub(super) fn scalar_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
