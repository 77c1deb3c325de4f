//! Columns of labels and groups in Parquet files: whole numbers, floats, truth values or texts, one for each row or in a list.

use std::fs::File;

use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;

use super::labels::{self, Labelled, ListLength, MAX_CLASSES};
use super::parquet_shards::{guarded, open_column};
use super::place::Place;
use crate::error::DataError;

/// Rows that are read at once.
const BATCH_ROWS: usize = 8192;

/// A column of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    leaf: usize,
    /// For lists, the level of definition that a value of a list has.
    list_level: Option<i16>,
}

impl Column {
    /// A column that holds a value for each row.
    pub(super) fn leaf(name: &str, leaf: usize) -> Self {
        Self { name: name.into(), leaf, list_level: None }
    }

    /// The column of this name, if it has values or lists of values that can be labels.
    pub(super) fn find(schema: &SchemaDescriptor, name: &str) -> Option<Self> {
        let mut leaves = schema
            .columns()
            .iter()
            .enumerate()
            .filter(|(_, column)| column.path().parts().first().is_some_and(|part| part == name));
        // A struct has several.
        let (Some((leaf, column)), None) = (leaves.next(), leaves.next()) else { return None };
        let usable = matches!(
            column.physical_type(),
            PhysicalType::INT32
                | PhysicalType::INT64
                | PhysicalType::FLOAT
                | PhysicalType::DOUBLE
                | PhysicalType::BOOLEAN
                | PhysicalType::BYTE_ARRAY
        );
        let is_list = column.max_rep_level() == 1;
        let is_value = column.max_rep_level() == 0 && column.path().parts().len() == 1;
        (usable && (is_list || is_value)).then(|| Self {
            name: name.into(),
            leaf,
            list_level: is_list.then(|| column.max_def_level()),
        })
    }
}

/// The values of one column through all shards, null where there is none.
#[derive(Default)]
pub(super) struct Values {
    integers: Vec<Option<i64>>,
    floats: Vec<Option<f64>>,
    texts: Vec<Option<String>>,
    lists: ListLength,
}

impl Values {
    /// Labels as numbers, with the names that are known or that the values are.
    pub(super) fn labels(
        self,
        names: Option<Vec<String>>,
        place: impl Fn(usize) -> Place,
    ) -> Result<Labelled, DataError> {
        if !self.texts.is_empty() {
            let missing = |index| place(index).broken("the label", "null", "a text");
            let texts =
                self.texts.into_iter().enumerate().map(|(index, text)| text.ok_or_else(|| missing(index)));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            return match names {
                Some(names) => labels::named_by(&texts, names, place),
                None => labels::from_texts(&texts, &[], place),
            };
        }
        let classes = names.as_ref().map_or(MAX_CLASSES as usize, Vec::len);
        let said = self
            .integers
            .iter()
            .map(|value| (value.map(|value| value as f64), value.map(|value| value.to_string())));
        let floats = self.floats.iter().map(|value| (*value, value.map(|value| value.to_string())));
        let numbers = said.chain(floats).enumerate().map(|(index, (value, shown))| {
            let label = value.and_then(labels::whole_number).filter(|&label| (label as usize) < classes);
            label.ok_or_else(|| {
                let bound = format!("a whole number between 0 and {}", classes.saturating_sub(1));
                place(index).broken("the label", shown.unwrap_or("null".into()), bound)
            })
        });
        let numbers: Vec<u32> = numbers.collect::<Result<_, _>>()?;
        Ok(match names {
            Some(names) => (numbers, names),
            None => labels::from_numbers(numbers),
        })
    }

    /// Each value as a text.
    pub(super) fn texts(self) -> Vec<Option<String>> {
        let integers = self.integers.into_iter().map(|value| value.map(|value| value.to_string()));
        let floats = self.floats.into_iter().map(|value| value.map(|value| value.to_string()));
        self.texts.into_iter().chain(integers).chain(floats).collect()
    }

    /// Appends all rows of a column of a file.
    pub(super) fn append(
        &mut self,
        file: &SerializedFileReader<File>,
        column: &Column,
        place: &Place,
    ) -> Result<(), DataError> {
        for (number, row_group) in file.metadata().row_groups().iter().enumerate() {
            let rows = row_group.num_rows() as usize;
            let here = Place::entry(&place.path, format!("column `{}` of row group {number}", column.name));
            let reader = open_column(&place.path, file, number, column.leaf, &here)?;
            let read = match column.list_level {
                None => self.append_values(reader, rows, &here)?,
                Some(level) => self.append_lists(reader, rows, level, &here)?,
            };
            if read != rows {
                return Err(here.broken(
                    "the number of rows",
                    read,
                    format!("{rows}, as the row group says"),
                ));
            }
        }
        // A column that has another kind of value in another file would come out in another order.
        let kinds = [self.integers.len(), self.floats.len(), self.texts.len()];
        if kinds.iter().filter(|&&values| values > 0).count() > 1 {
            let bound = "that of the files before";
            return Err(place.broken(
                "the kind of the values",
                format!("another in `{}`", column.name),
                bound,
            ));
        }
        Ok(())
    }

    fn append_values(&mut self, reader: ColumnReader, rows: usize, here: &Place) -> Result<usize, DataError> {
        match reader {
            ColumnReader::Int32ColumnReader(reader) => {
                read_all(reader, rows, here, |value| i64::from(*value), &mut self.integers)
            }
            ColumnReader::Int64ColumnReader(reader) => {
                read_all(reader, rows, here, |value| *value, &mut self.integers)
            }
            ColumnReader::BoolColumnReader(reader) => {
                read_all(reader, rows, here, |value| i64::from(*value), &mut self.integers)
            }
            ColumnReader::FloatColumnReader(reader) => {
                read_all(reader, rows, here, |value| f64::from(*value), &mut self.floats)
            }
            ColumnReader::DoubleColumnReader(reader) => {
                read_all(reader, rows, here, |value| *value, &mut self.floats)
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                read_all(reader, rows, here, text, &mut self.texts)
            }
            _ => Err(here.broken("the kind of value", "another", "a number or a text")),
        }
    }

    /// A list of one is its value, and a one-hot list its class; any other is an error.
    fn append_lists(
        &mut self,
        reader: ColumnReader,
        rows: usize,
        level: i16,
        here: &Place,
    ) -> Result<usize, DataError> {
        let numbers = match reader {
            ColumnReader::Int32ColumnReader(reader) => {
                read_lists(reader, rows, level, here, |value| f64::from(*value))?
            }
            ColumnReader::Int64ColumnReader(reader) => {
                read_lists(reader, rows, level, here, |value| *value as f64)?
            }
            ColumnReader::BoolColumnReader(reader) => {
                read_lists(reader, rows, level, here, |value| f64::from(u8::from(*value)))?
            }
            ColumnReader::FloatColumnReader(reader) => {
                read_lists(reader, rows, level, here, |value| f64::from(*value))?
            }
            ColumnReader::DoubleColumnReader(reader) => {
                read_lists(reader, rows, level, here, |value| *value)?
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                let lists = read_lists(reader, rows, level, here, text)?;
                let read = lists.len();
                for (row, list) in lists.into_iter().enumerate() {
                    self.texts.push(match list.as_slice() {
                        [] => None,
                        [only] => Some(only.clone()),
                        more => return Err(several(here, row, &format!("{more:?}"))),
                    });
                }
                return Ok(read);
            }
            _ => return Err(here.broken("the kind of value", "another", "a number or a text")),
        };
        let read = numbers.len();
        for (row, list) in numbers.into_iter().enumerate() {
            if !list.is_empty() && !self.lists.fits(list.len()) {
                return Err(several(here, row, &format!("{list:?}")));
            }
            self.floats.push(match list.as_slice() {
                [] => None,
                [only] => Some(*only),
                more => {
                    let label =
                        labels::of_row(more).ok_or_else(|| several(here, row, &format!("{more:?}")))?;
                    Some(f64::from(label))
                }
            });
        }
        Ok(read)
    }
}

fn several(here: &Place, row: usize, list: &str) -> DataError {
    let shown: String = list.chars().take(80).collect();
    let entry = format!("{}, row {row} of it", here.entry.as_deref().unwrap_or_default());
    Place::entry(&here.path, entry).broken(
        "the list",
        shown,
        "of one value, or one-hot and as long as the others",
    )
}

fn text(value: &ByteArray) -> String {
    value.as_utf8().map(str::to_owned).unwrap_or_else(|_| "\u{fffd}".into())
}

/// Appends all rows of a column chunk, and gives how many there are.
fn read_all<T: DataType, V>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    place: &Place,
    convert: impl Fn(&T::T) -> V,
    output: &mut Vec<Option<V>>,
) -> Result<usize, DataError> {
    let mut read = 0;
    let (mut found, mut levels) = (Vec::new(), Vec::new());
    while read < rows {
        found.clear();
        levels.clear();
        let batch = BATCH_ROWS.min(rows - read);
        let (records, _, _) =
            guarded(place, || reader.read_records(batch, Some(&mut levels), None, &mut found))?;
        if records == 0 {
            break;
        }
        read += records;
        // A row has a value if its level is the highest; without levels, every row has one.
        let highest = levels.iter().copied().max().unwrap_or_default();
        if found.len() == records {
            output.extend(found.iter().map(|value| Some(convert(value))));
        } else {
            let mut values = found.iter();
            let filled = levels.iter().map(|&level| {
                if found.is_empty() || level < highest { None } else { values.next().map(&convert) }
            });
            output.extend(filled.take(records));
        }
    }
    Ok(read)
}

/// The lists of all rows of a column chunk; a null is an empty list. `level` is the level of definition of a value.
fn read_lists<T: DataType, V>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    level: i16,
    place: &Place,
    convert: impl Fn(&T::T) -> V,
) -> Result<Vec<Vec<V>>, DataError> {
    let mut lists: Vec<Vec<V>> = Vec::new();
    while lists.len() < rows {
        let (mut found, mut levels, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let batch = BATCH_ROWS.min(rows - lists.len());
        let (records, _, _) =
            guarded(place, || reader.read_records(batch, Some(&mut levels), Some(&mut starts), &mut found))?;
        if records == 0 {
            break;
        }
        let mut values = found.iter();
        for (&defined, &start) in levels.iter().zip(&starts) {
            if start == 0 {
                lists.push(Vec::new());
            }
            if defined == level
                && let (Some(list), Some(value)) = (lists.last_mut(), values.next())
            {
                list.push(convert(value));
            }
        }
    }
    Ok(lists)
}
