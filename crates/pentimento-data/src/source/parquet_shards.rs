//! Parquet files as Hugging Face's `datasets` writes them, one or several.
//!
//! The column of images is found by its shape: a struct with the bytes of an encoded image in `bytes`, or its path in
//! `path`. Labels are in `label`, `labels`, `fine_label` or `class`, or in the one column that the metadata call a
//! `ClassLabel`; the metadata, where they are there, name the classes. A column of texts names the classes itself.
//! `parquet_values.rs` reads these columns, `parquet_captions.rs` those of captions. A file without images is a table (`tables.rs`).
//!
//! Rows are read one by one: whole pages are passed over by their headers, so that reading in order costs one pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::ByteArrayType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;

use super::caption_candidates::Candidates;
use super::decode::{MAX_ENCODED_BYTES, Raw};
use super::folder::structure;
use super::found::{Absent, Finder};
use super::labels;
use super::metadata::inside;
use super::notes::Note;
use super::page_headers;
use super::parquet_captions;
use super::parquet_values::{Column, Values};
use super::place::Place;
use super::structure::{Layout, Listing, Reader, Structure};
use super::tables::GROUP_COLUMNS;
use super::words::listed;
use crate::error::DataError;

/// Columns of labels, of which a set has one.
const LABEL_COLUMNS: [&str; 4] = ["label", "labels", "fine_label", "class"];
/// Most rows of a set; a number for each of them is held in memory.
const MAX_ROWS: u64 = 1 << 26;
/// Rows that are read at once from a column of bytes in which there should be none.
const BATCH_OF_IMAGES: usize = 64;
/// What is wrong with a set in which some images are in the files and others beside them.
const MIXED: &str = "as that of the first row: the set mixes bytes and paths";

struct ParquetReader {
    shards: Vec<Shard>,
    /// The columns of bytes and of paths that are open, each with the row that it would give next.
    bytes: Mutex<Option<Cursor>>,
    paths: Mutex<Option<Cursor>>,
}

struct Shard {
    path: PathBuf,
    /// Position of the shard's first image in the set, then of each row group's end.
    row_group_ends: Vec<usize>,
    first: usize,
    columns: Columns,
}

/// Which leaf columns are read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Columns {
    image: String,
    bytes: usize,
    path: Option<usize>,
    label: Option<Column>,
    group: Option<Column>,
    /// Columns of values that are none of these, without those inside of others.
    others: Vec<String>,
}

struct Cursor {
    shard: usize,
    row_group: usize,
    next: usize,
    reader: ColumnReaderImpl<ByteArrayType>,
}

/// Runs what the library does with bytes from outside. It is not free of panics on damaged files.
pub(super) fn guarded<T>(
    place: &Place,
    work: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, DataError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| place.undecodable(error)),
        Err(_) => {
            Err(place.broken("the content", "so damaged that it cannot be read", "a whole Parquet file"))
        }
    }
}

pub(super) fn read(paths: &[PathBuf], captions: Option<&str>) -> Result<Structure, DataError> {
    let mut shards: Vec<Shard> = Vec::new();
    let mut names: Option<Vec<String>> = None;
    let (mut label_values, mut group_values) = (Values::default(), Values::default());
    let mut candidates = Candidates::new(captions);
    let mut available = Vec::new();
    let mut rows_in_all = 0_u64;
    for path in paths {
        let place = Place::file(path);
        let file = open_shard(path)?;
        let metadata = file.metadata();
        let features = features(&file, &place)?;
        let columns = columns(metadata.file_metadata().schema_descr(), features.as_ref(), &place)?;
        if let Some(first) = shards.first()
            && (&first.columns.image, first.columns.label.is_some(), first.columns.group.is_some())
                != (&columns.image, columns.label.is_some(), columns.group.is_some())
        {
            let bound = format!("those of {}", first.path.display());
            return Err(place.broken("the list of columns", format!("{columns:?}"), bound));
        }
        let class_names =
            columns.label.as_ref().and_then(|column| class_names(features.as_ref(), &column.name));
        if shards.is_empty() {
            names = class_names;
        } else if names != class_names {
            return Err(place.broken("the names of classes", "others", "those of the first file"));
        }
        let first = rows_in_all as usize;
        let mut row_group_ends = Vec::new();
        for row_group in metadata.row_groups() {
            rows_in_all = u64::try_from(row_group.num_rows())
                .ok()
                .and_then(|rows| rows_in_all.checked_add(rows))
                .filter(|&rows| rows <= MAX_ROWS)
                .ok_or_else(|| {
                    place.broken(
                        "the number of rows",
                        row_group.num_rows(),
                        format!("between 0 and {MAX_ROWS} in all"),
                    )
                })?;
            row_group_ends.push(rows_in_all as usize);
        }
        for (column, values) in [(&columns.label, &mut label_values), (&columns.group, &mut group_values)] {
            if let Some(column) = column {
                values.append(&file, column, &place)?;
            }
        }
        let taken: Vec<&str> = [&columns.label, &columns.group]
            .into_iter()
            .flatten()
            .map(|column| column.name.as_str())
            .collect();
        parquet_captions::append(&mut candidates, &file, first, &taken, &place)?;
        available.extend(parquet_captions::names(metadata.file_metadata().schema_descr()));
        shards.push(Shard { path: path.clone(), row_group_ends, first, columns });
    }
    let count = rows_in_all as usize;
    let mut listing = Listing::numbered(count);
    let mut notes: Vec<Note> =
        shards.first().and_then(|shard| without_labels(&shard.columns, &candidates)).into_iter().collect();
    let folder = paths.first().map_or(Path::new(""), PathBuf::as_path);
    listing.captions = candidates.choose(count, &Place::file(folder), || available)?;
    let place_of = |index: usize| place_of(&shards, index);
    if shards.first().is_some_and(|shard| shard.columns.label.is_some()) {
        let are_named = names.is_some();
        let labelled = label_values.labels(names, place_of)?;
        notes.extend(labels::note("names in the column of labels", &labelled).filter(|_| !are_named));
        listing = listing.with_labels(labelled);
    }
    if shards.first().is_some_and(|shard| shard.columns.group.is_some()) {
        listing.groups = labels::all_or_none(group_values.texts(), "the group", place_of)?;
    }
    let by_path =
        match shards.iter().find(|shard| shard.row_group_ends.last().is_some_and(|&end| end > shard.first)) {
            Some(shard) => images_are_paths(shard)?,
            None => false,
        };
    if by_path {
        let image_paths = read_paths(&shards)?;
        let mut by_path = structure(Layout::Parquet, listing, image_paths, None, notes);
        by_path.files.extend(paths.iter().cloned());
        return Ok(by_path);
    }
    let reader = ParquetReader { shards, bytes: Mutex::new(None), paths: Mutex::new(None) };
    Ok(Structure { layout: Layout::Parquet, listing, files: paths.to_vec(), reader: Box::new(reader), notes })
}

fn open_shard(path: &Path) -> Result<SerializedFileReader<File>, DataError> {
    let place = Place::file(path);
    let (file, _) = place.open()?;
    guarded(&place, || SerializedFileReader::new(file))
}

/// Opens one column of a row group, after its pages were checked.
pub(super) fn open_column(
    path: &Path,
    file: &SerializedFileReader<File>,
    row_group: usize,
    leaf: usize,
    place: &Place,
) -> Result<ColumnReader, DataError> {
    let chunk = guarded(place, || Ok(file.metadata().row_group(row_group).column(leaf).clone()))?;
    let (mut bytes, _) = Place::file(path).open()?;
    page_headers::check(&mut bytes, &chunk, place)?;
    guarded(place, || file.get_row_group(row_group)?.get_column_reader(leaf))
}

/// What the file says about its columns beyond Parquet: the JSON of `datasets`, if it is there.
fn features(
    file: &SerializedFileReader<File>,
    place: &Place,
) -> Result<Option<serde_json::Value>, DataError> {
    let pairs = file.metadata().file_metadata().key_value_metadata();
    let text = pairs
        .and_then(|pairs| pairs.iter().find(|pair| pair.key == "huggingface"))
        .and_then(|pair| pair.value.as_ref());
    let Some(text) = text else { return Ok(None) };
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        place.broken("the metadata `huggingface`", format!("unreadable ({error})"), "JSON")
    })?;
    Ok(value.pointer("/info/features").cloned())
}

/// The names that the metadata give to the classes of a column, or of the lists in it.
fn class_names(features: Option<&serde_json::Value>, column: &str) -> Option<Vec<String>> {
    let feature = features?.get(column)?;
    let element = feature.get("feature").or_else(|| feature.get(0)).unwrap_or(feature);
    let names = element.get("names")?.as_array()?;
    names.iter().map(|name| Some(name.as_str()?.to_owned())).collect()
}

fn columns(
    schema: &SchemaDescriptor,
    features: Option<&serde_json::Value>,
    place: &Place,
) -> Result<Columns, DataError> {
    let leaves: Vec<(usize, &[String], PhysicalType)> = schema
        .columns()
        .iter()
        .enumerate()
        .filter(|(_, column)| column.max_rep_level() == 0)
        .map(|(leaf, column)| (leaf, column.path().parts(), column.physical_type()))
        .collect();
    let listed = || {
        let all = schema.columns().iter().map(|column| column.path().string());
        all.collect::<Vec<_>>().join(", ")
    };
    let child = |name: &str, child: &str| {
        leaves.iter().find_map(|&(leaf, parts, kind)| match parts {
            [parent, own] if parent == name && own == child && kind == PhysicalType::BYTE_ARRAY => Some(leaf),
            _ => None,
        })
    };
    let mut images = leaves.iter().filter_map(|&(leaf, parts, kind)| match parts {
        [name, own] if own == "bytes" && kind == PhysicalType::BYTE_ARRAY => Some((name, leaf)),
        _ => None,
    });
    let (image, bytes) = match (images.next(), images.next()) {
        (Some(image), None) => image,
        (Some((first, _)), Some((second, _))) => {
            let value = format!("with the images `{first}` and `{second}`");
            return Err(place.broken("the list of columns", value, "with one column of images"));
        }
        (None, _) => {
            let bound = "with a column of images, a struct of `bytes` and `path`";
            return Err(place.broken("the list of columns", format!("without images ({})", listed()), bound));
        }
    };
    let top_level = |name: &str| Column::find(schema, name);
    let is_class_label = |name: &&str| {
        features.and_then(|features| features.get(*name)?.get("_type")?.as_str()) == Some("ClassLabel")
    };
    let names: Vec<&str> = leaves
        .iter()
        .filter_map(|(_, parts, _)| if let [name] = parts { Some(name.as_str()) } else { None })
        .collect();
    // What the metadata call labels, else what is called so.
    let declared: Vec<_> = names.iter().copied().filter(is_class_label).filter_map(top_level).collect();
    let usual: Vec<_> = LABEL_COLUMNS.into_iter().filter_map(top_level).collect();
    // CIFAR-100 declares `fine_label` and `coarse_label`: of several, one with a usual name is meant.
    let found = match declared.as_slice() {
        [] => usual,
        [_] => declared,
        _ => declared.into_iter().filter(|column| LABEL_COLUMNS.contains(&column.name.as_str())).collect(),
    };
    let label = only(found, place)?;
    // Labels of another kind would otherwise be taken for none.
    let first_part = |parts: &[String]| parts.first().cloned().unwrap_or_default();
    let other_kind = schema
        .columns()
        .iter()
        .find(|column| LABEL_COLUMNS.contains(&first_part(column.path().parts()).as_str()));
    if let (None, Some(column)) = (&label, other_kind) {
        let value = format!("{} in `{}`", column.physical_type(), column.path().string());
        let bound = "numbers or texts, or lists of them";
        return Err(place.broken("the kind of the labels", value, bound));
    }
    let group = only(GROUP_COLUMNS.into_iter().filter_map(top_level).collect(), place)?;
    let taken = [&label, &group].map(|column| column.as_ref().map(|column| column.name.clone()));
    let others =
        names.iter().map(ToString::to_string).filter(|name| !taken.contains(&Some(name.clone()))).collect();
    Ok(Columns { path: child(image, "path"), image: image.clone(), bytes, label, group, others })
}

/// What is to be said of a set without labels that has other columns.
fn without_labels(columns: &Columns, captions: &Candidates) -> Option<Note> {
    let others = columns.others.iter().filter(|name| !captions.has(name));
    let others: Vec<String> = others.map(|name| format!("`{name}`")).collect();
    if columns.label.is_some() || others.is_empty() {
        return None;
    }
    let noun = if others.len() == 1 { "column" } else { "columns" };
    let what = format!("the {noun} {}", listed(&others));
    let reason = format!(
        "labels are in {}, or in the one column that the metadata call a ClassLabel",
        LABEL_COLUMNS.map(|name| format!("`{name}`")).join(", ")
    );
    Some(Note::NotRead { what, reason })
}

/// None or the only one.
fn only(mut found: Vec<Column>, place: &Place) -> Result<Option<Column>, DataError> {
    match found.as_slice() {
        [first, second, ..] => Err(place.broken(
            "the list of columns",
            format!("with both `{}` and `{}`", first.name, second.name),
            "with one of them",
        )),
        _ => Ok(found.pop()),
    }
}

/// Whether the first row has no bytes but a path; then all rows must be so.
fn images_are_paths(shard: &Shard) -> Result<bool, DataError> {
    let Some(path) = shard.columns.path else { return Ok(false) };
    let file = open_shard(&shard.path)?;
    let place = Place::entry(&shard.path, "row 0");
    let rows = file.metadata().row_groups().iter().position(|row_group| row_group.num_rows() > 0);
    let Some(row_group) = rows else { return Ok(false) };
    let first = |leaf| -> Result<Option<Vec<u8>>, DataError> {
        match open_column(&shard.path, &file, row_group, leaf, &place)? {
            ColumnReader::ByteArrayColumnReader(mut reader) => next_value(&mut reader, &place),
            _ => Ok(None),
        }
    };
    Ok(first(shard.columns.bytes)?.is_none() && first(path)?.is_some())
}

/// The paths of all images, beside their shards.
fn read_paths(shards: &[Shard]) -> Result<Vec<Result<PathBuf, Absent>>, DataError> {
    let mut images = Vec::new();
    let mut finder = Finder::default();
    for shard in shards {
        let file = open_shard(&shard.path)?;
        let place = Place::file(&shard.path);
        let folder = shard.path.parent().unwrap_or(Path::new("."));
        if let Some(row) = first_with_bytes(shard, &file)? {
            let here = Place::entry(&shard.path, format!("row {row}"));
            return Err(here.broken("the image", "in bytes", format!("a path, {MIXED}")));
        }
        let Some(leaf) = shard.columns.path else {
            let value = "without the paths of images";
            return Err(place.broken("the list of columns", value, "that of the first file, which has them"));
        };
        let mut values = Values::default();
        values.append(&file, &Column::leaf("path", leaf), &place)?;
        for (row, text) in values.texts().into_iter().enumerate() {
            let here = Place::entry(&shard.path, format!("row {row}"));
            let text = text.ok_or_else(|| here.broken("the image", "null", "bytes or a path"))?;
            let relative = inside(&text).ok_or_else(|| {
                here.broken("the path", format!("{text:?}"), "inside the folder of the file")
            })?;
            // One that is not there is a fault among all faults of the set.
            let found = finder.file(folder, &relative).map(|found| found.path);
            images.push(found.ok_or_else(|| Absent::of_row(here, &text)));
        }
    }
    Ok(images)
}

/// The first row of a file that has bytes.
fn first_with_bytes(shard: &Shard, file: &SerializedFileReader<File>) -> Result<Option<usize>, DataError> {
    let leaf = shard.columns.bytes;
    let place = Place::entry(&shard.path, "the bytes of images");
    let highest = file.metadata().file_metadata().schema_descr().column(leaf).max_def_level();
    let mut first = 0;
    for (number, row_group) in file.metadata().row_groups().iter().enumerate() {
        let ColumnReader::ByteArrayColumnReader(mut reader) =
            open_column(&shard.path, file, number, leaf, &place)?
        else {
            continue;
        };
        let rows = row_group.num_rows() as usize;
        let mut read = 0;
        while read < rows {
            let (mut values, mut levels) = (Vec::new(), Vec::new());
            let batch = BATCH_OF_IMAGES.min(rows - read);
            let (records, found, _) =
                guarded(&place, || reader.read_records(batch, Some(&mut levels), None, &mut values))?;
            if records == 0 {
                break;
            }
            if found > 0 {
                let row = levels.iter().position(|&level| level == highest).unwrap_or(0);
                return Ok(Some(first + read + row));
            }
            read += records;
        }
        first += rows;
    }
    Ok(None)
}

/// The next value of a column; none if it is null, or if there is none left.
fn next_value(
    reader: &mut ColumnReaderImpl<ByteArrayType>,
    place: &Place,
) -> Result<Option<Vec<u8>>, DataError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let (records, _, _) = guarded(place, || reader.read_records(1, Some(&mut levels), None, &mut values))?;
    if records == 0 {
        return Err(place.broken("the row", "missing", "there, as the row group says"));
    }
    guarded(place, || Ok(values.first().map(|value| value.data().to_vec())))
}

fn place_of(shards: &[Shard], index: usize) -> Place {
    let shard = shards.partition_point(|shard| shard.first <= index).saturating_sub(1);
    match shards.get(shard) {
        Some(shard) => Place::entry(&shard.path, format!("row {}", index - shard.first)),
        None => Place::entry(Path::new(""), format!("row {index}")),
    }
}

impl ParquetReader {
    /// The value of an image in one of the columns, which is read on from where it is open; none if it is null.
    fn value(
        &self,
        slot: &Mutex<Option<Cursor>>,
        leaf: impl Fn(&Columns) -> Option<usize>,
        index: usize,
    ) -> Result<Option<Vec<u8>>, DataError> {
        // Files without rows have the same first position as the one after them.
        let number = self.shards.partition_point(|shard| shard.first <= index).saturating_sub(1);
        let shard = &self.shards[number];
        let place = self.place(index);
        let Some(leaf) = leaf(&shard.columns) else { return Ok(None) };
        let row_group = shard.row_group_ends.partition_point(|&end| end <= index);
        let start = row_group.checked_sub(1).map_or(shard.first, |before| shard.row_group_ends[before]);

        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out, so that one that fails is not used again.
        let open = slot
            .take()
            .filter(|cursor| (cursor.shard, cursor.row_group) == (number, row_group) && cursor.next <= index);
        let mut cursor = match open {
            Some(cursor) => cursor,
            None => {
                let file = open_shard(&shard.path)?;
                match open_column(&shard.path, &file, row_group, leaf, &place)? {
                    ColumnReader::ByteArrayColumnReader(reader) => {
                        Cursor { shard: number, row_group, next: start, reader }
                    }
                    _ => return Err(place.broken("the kind of value", "another", "bytes")),
                }
            }
        };
        if index > cursor.next {
            guarded(&place, || cursor.reader.skip_records(index - cursor.next))?;
        }
        let value = next_value(&mut cursor.reader, &place)?;
        cursor.next = index + 1;
        *slot = Some(cursor);
        Ok(value)
    }
}

impl Reader for ParquetReader {
    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        let place = self.place(index);
        let Some(bytes) = self.value(&self.bytes, |columns| Some(columns.bytes), index)? else {
            return Err(match self.value(&self.paths, |columns| columns.path, index)? {
                Some(path) => {
                    let value = format!("the path {:?}", String::from_utf8_lossy(&path));
                    place.broken("the image", value, format!("in bytes, {MIXED}"))
                }
                None => place.broken("the image", "null", "the bytes of an encoded image"),
            });
        };
        if bytes.len() as u64 > MAX_ENCODED_BYTES {
            return Err(place.broken(
                "length",
                format!("{} bytes", bytes.len()),
                format!("at most {MAX_ENCODED_BYTES} bytes"),
            ));
        }
        Ok(Raw::Encoded(bytes))
    }

    fn place(&self, index: usize) -> Place {
        place_of(&self.shards, index)
    }
}

/// Where the images of a Parquet file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pictures {
    /// In the file.
    Inside,
    /// In files beside it, which it names.
    Beside,
    /// It has no column of images: it is a table.
    None,
}

/// Where the images of a file are; that of a series has them where the first one has.
pub(super) fn pictures_of(path: &Path) -> Result<Pictures, DataError> {
    let place = Place::file(path);
    let file = open_shard(path)?;
    let schema = file.metadata().file_metadata().schema_descr();
    let is_bytes = |parts: &[String]| matches!(parts, [_, own] if own == "bytes");
    if !schema.columns().iter().any(|column| is_bytes(column.path().parts())) {
        return Ok(Pictures::None);
    }
    let columns = columns(schema, features(&file, &place)?.as_ref(), &place)?;
    let row_group_ends = Vec::new();
    let shard = Shard { path: path.into(), row_group_ends, first: 0, columns };
    Ok(if images_are_paths(&shard)? { Pictures::Beside } else { Pictures::Inside })
}

/// A row's values by column.
type TextRow = BTreeMap<String, String>;

/// The names of all columns of a file, and for each row the values that it has in some of them, as texts; what it has of
/// captions is added to the candidates, its first row as the row `first` of these.
pub(super) fn texts_of(
    path: &Path,
    wanted: &[&str],
    first: usize,
    captions: &mut Candidates,
) -> Result<(BTreeSet<String>, Vec<TextRow>), DataError> {
    let place = Place::file(path);
    let file = open_shard(path)?;
    let schema = file.metadata().file_metadata().schema_descr();
    let names = parquet_captions::names(schema);
    parquet_captions::append(captions, &file, first, &[], &place)?;
    let mut rows: Vec<TextRow> = Vec::new();
    for name in wanted {
        let Some(column) = Column::find(schema, name) else { continue };
        let mut values = Values::default();
        values.append(&file, &column, &place)?;
        let texts = values.texts();
        rows.resize_with(rows.len().max(texts.len()), TextRow::new);
        for (row, text) in rows.iter_mut().zip(texts) {
            row.extend(text.map(|text| ((*name).to_owned(), text)));
        }
    }
    Ok((names, rows))
}
