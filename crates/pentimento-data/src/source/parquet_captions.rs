//! Columns of captions in Parquet files: texts, one for each row or in lists.

use std::collections::BTreeSet;
use std::fs::File;

use parquet::basic::{Repetition, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::caption_candidates::Candidates;
use super::caption_faults::{CaptionFaultKind, Fault};
use super::captions::{Said, TEXTS};
use super::parquet_shards::{guarded, open_column};
use super::place::Place;
use crate::error::DataError;

/// Rows that are read at once.
const BATCH_ROWS: usize = 8192;
/// Where the texts of a column are.
struct Leaf {
    number: usize,
    /// Levels of definition: of a value, and of a null in a list.
    value: i16,
    null: Option<i16>,
    is_list: bool,
}

impl Leaf {
    /// The leaf of a column of texts or lists of texts; else what the column has.
    fn of(schema: &SchemaDescriptor, name: &str) -> Option<Result<Self, String>> {
        let leaves = schema.columns().iter().enumerate();
        let mut own =
            leaves.filter(|(_, leaf)| leaf.path().parts().first().is_some_and(|first| first == name));
        let (number, leaf) = own.next()?;
        let fields: Vec<String> = own.map(|(_, other)| other.path().string()).collect();
        if !fields.is_empty() {
            let first = leaf.path().string();
            return Some(Err(format!("a struct of {first}, {}", fields.join(", "))));
        }
        if leaf.physical_type() != PhysicalType::BYTE_ARRAY {
            return Some(Err(format!("{} in `{}`", leaf.physical_type(), leaf.path().string())));
        }
        let is_list = leaf.max_rep_level() == 1;
        let (is_value, is_plain_list) =
            (leaf.max_rep_level() == 0 && leaf.path().parts().len() == 1, is_list && is_list_of_values(leaf));
        if !is_value && !is_plain_list {
            return Some(Err(format!("a struct, or lists in lists, in `{}`", leaf.path().string())));
        }
        let value = leaf.max_def_level();
        let is_optional = leaf.self_type().get_basic_info().repetition() == Repetition::OPTIONAL;
        Some(Ok(Self { number, value, null: (is_list && is_optional).then(|| value - 1), is_list }))
    }
}

/// Whether the values of lists are the texts themselves and no fields of a struct: `name`, `name.array` and
/// `name.list.element`, whatever the last two are called (LogicalTypes.md of the format, "Lists").
fn is_list_of_values(leaf: &ColumnDescriptor) -> bool {
    let is_repeated = leaf.self_type().get_basic_info().repetition() == Repetition::REPEATED;
    match leaf.path().parts() {
        [_] => true,
        [_, _] => is_repeated,
        [_, _, element] => matches!(element.as_str(), "element" | "item" | "array_element"),
        _ => false,
    }
}

/// Adds the columns of a file that may have captions; `first` is the position of its first row. Those that are `taken`, as
/// labels are, are none, unless one is asked for by its name.
pub(super) fn append(
    candidates: &mut Candidates,
    file: &SerializedFileReader<File>,
    first: usize,
    taken: &[&str],
    place: &Place,
) -> Result<(), DataError> {
    let schema = file.metadata().file_metadata().schema_descr();
    for name in names(schema) {
        if !candidates.is_column(&name) || (!candidates.is_named() && taken.contains(&name.as_str())) {
            continue;
        }
        let leaf = match Leaf::of(schema, &name) {
            None => continue,
            Some(Ok(leaf)) => leaf,
            Some(Err(kind)) => {
                let error = place.broken("the kind of the captions", format!("{kind} (`{name}`)"), TEXTS);
                candidates.refuse(&name, Fault::new(CaptionFaultKind::Kind, &error));
                continue;
            }
        };
        candidates.add(&name);
        append_column(candidates, file, first, &name, &leaf, place)?;
    }
    Ok(())
}

/// The names of all columns of a file.
pub(super) fn names(schema: &SchemaDescriptor) -> BTreeSet<String> {
    schema.columns().iter().filter_map(|leaf| leaf.path().parts().first().cloned()).collect()
}

fn append_column(
    candidates: &mut Candidates,
    file: &SerializedFileReader<File>,
    first: usize,
    name: &str,
    leaf: &Leaf,
    place: &Place,
) -> Result<(), DataError> {
    let mut row_of_file = 0;
    for (number, row_group) in file.metadata().row_groups().iter().enumerate() {
        let rows = row_group.num_rows() as usize;
        let here = Place::entry(&place.path, format!("column `{name}` of row group {number}"));
        let ColumnReader::ByteArrayColumnReader(mut reader) =
            open_column(&place.path, file, number, leaf.number, &here)?
        else {
            return Err(here.broken("the kind of value", "another", "a text"));
        };
        let mut read = 0;
        while read < rows {
            let batch = read_batch(&mut reader, BATCH_ROWS.min(rows - read), leaf, &here)?;
            if batch.is_empty() {
                break;
            }
            for texts in batch {
                let at_row = Place::entry(&place.path, format!("row {row_of_file}"));
                candidates.set(first + row_of_file, name, said(texts, leaf, &at_row));
                row_of_file += 1;
                read += 1;
            }
        }
        if read != rows {
            return Err(here.broken("the number of rows", read, format!("{rows}, as the row group says")));
        }
    }
    Ok(())
}

/// What a row says; nulls among its texts are `None`.
fn said(texts: Vec<Option<ByteArray>>, leaf: &Leaf, place: &Place) -> Said {
    if leaf.is_list && texts.iter().any(Option::is_none) {
        let error = place.broken("the caption", "a list with a null", TEXTS);
        return Said::Fault(Fault::new(CaptionFaultKind::Kind, &error));
    }
    Said::of_texts(texts.into_iter().flatten().map(|text| text.data().to_vec()), place)
}

/// The texts of the next rows.
fn read_batch(
    reader: &mut ColumnReaderImpl<ByteArrayType>,
    most: usize,
    leaf: &Leaf,
    place: &Place,
) -> Result<Vec<Vec<Option<ByteArray>>>, DataError> {
    let (mut found, mut levels, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    let (records, ..) =
        guarded(place, || reader.read_records(most, Some(&mut levels), Some(&mut starts), &mut found))?;
    // Where a value cannot be missing, or cannot be in a list, there are no levels.
    if leaf.value == 0 {
        levels = vec![0; found.len()];
    }
    if !leaf.is_list {
        starts = vec![0; levels.len()];
    }
    let mut rows: Vec<Vec<Option<ByteArray>>> = Vec::with_capacity(records);
    let mut values = found.into_iter();
    for (level, start) in levels.into_iter().zip(starts) {
        if start == 0 {
            rows.push(Vec::new());
        }
        let Some(row) = rows.last_mut() else { continue };
        if level == leaf.value {
            row.push(values.next());
        } else if leaf.null == Some(level) {
            row.push(None);
        }
    }
    Ok(rows)
}
