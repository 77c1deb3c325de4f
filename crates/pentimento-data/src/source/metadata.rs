//! A folder of images with a table that names them: `metadata.csv`, or `metadata.jsonl` with a JSON object on each line,
//! as Hugging Face's `imagefolder` reads them. `tables.rs` lists the other forms.
//!
//! The column `file_name` has the path of an image inside the folder; the set is in the order of the table. `label`, or
//! `labels`, or `class` are labels: numbers or names. `group`, or `contributor`, or `artist` say what an image is traced
//! together with. `text`, `caption`, `captions` or `prompt` has captions, and so have `.txt` files beside the images. The names of folders are no labels where there is a table. Every image of the folder must be in it.
//!
//! Above folders that are splits (`train`, `test`), or with a column `split`, a table counts for the images of the split
//! that is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::caption_candidates::Candidates;
use super::caption_files::CaptionFiles;
use super::folder::{endings, not_read, structure};
use super::found::{Absent, Finder, names_of};
use super::halves::{Part, SplitFolders, no_half, part_named, whole_only, word_of};
use super::labels;
use super::notes::Note;
use super::place::Place;
use super::structure::{Layout, Listing, Structure};
use super::tables::{GROUP_COLUMNS, LABEL_COLUMNS, Row, SPLIT_COLUMN, Table};
use super::walk::Walk;
use super::words::{counted, listed};
use crate::error::DataError;
use crate::public_sets::Split;

/// A row with the names from the set's folder to its file.
struct Listed {
    row: usize,
    key: String,
    /// Composed.
    names: Vec<String>,
    /// None if there is no such file.
    path: Option<PathBuf>,
}

pub(super) fn read(
    root: &Path,
    mut table: Table,
    split: Split,
    captions: Option<&str>,
    mut notes: Vec<Note>,
) -> Result<Structure, DataError> {
    let candidates = std::mem::replace(&mut table.captions, Candidates::new(captions));
    let table = &table;
    let all = listed_files(root, table, &mut notes)?;
    let walk = Walk::through(root)?;
    let folders = split_folders(root, &walk, &all)?;
    let taken = folders.as_ref().map(|folders| folders.taken(root, split)).transpose()?;
    let kept = match &taken {
        Some((folder, others)) => in_folder(&walk, &all, folder, others, &mut notes),
        None => by_split_column(root, table, &all, split, &mut notes)?,
    };
    // One that is not there is a fault among all faults of the set.
    let absent = |listed: &Listed| Absent::of_table(table.place(listed.row), &listed.key);
    let paths = kept.iter().map(|listed| listed.path.clone().ok_or_else(|| absent(listed))).collect();
    let counts = |names: &[String]| match &taken {
        Some((folder, _)) => names.len() > 1 && names.first() == Some(folder),
        None => true,
    };
    check_listed(&walk, &all, table, &mut notes, counts)?;

    let place_of = |index: usize| table.place(kept.get(index).map_or(0, |listed| listed.row));
    let text = |name: &str, row: usize| {
        table.rows.get(row).and_then(|(_, row)| row.get(name)).filter(|text| !text.is_empty()).cloned()
    };
    let column = |name: &str, field| {
        labels::all_or_none(kept.iter().map(|listed| text(name, listed.row)).collect(), field, place_of)
    };
    let mut listing = Listing::named(kept.iter().map(|listed| listed.key.clone()).collect());
    let texts = match one_column(&LABEL_COLUMNS, table)? {
        Some(name) => column(name, "the label")?.map(|texts| (name, texts)),
        None => None,
    };
    match texts {
        Some((name, texts)) => {
            // Names of classes that only the other splits have keep their numbers in every split.
            let everywhere: Vec<String> = (0..table.rows.len()).filter_map(|row| text(name, row)).collect();
            let labelled = labels::from_texts(&texts, &everywhere, place_of)?;
            notes.extend(labels::note("names in the table", &labelled));
            listing = listing.with_labels(labelled);
        }
        None => notes.extend(without_labels(table, &candidates, &walk, taken.is_some())),
    }
    if let Some(name) = one_column(&GROUP_COLUMNS, table)? {
        listing.groups = column(name, "the group")?;
    }
    let table_name = names_of(&table.path).pop();
    let is_table = |names: &[String]| matches!(names, [name] if Some(name) == table_name.as_ref());
    let rows: Vec<usize> = kept.iter().map(|listed| listed.row).collect();
    let mut candidates = candidates.at(&rows);
    let images = walk.images.iter().map(|(names, _)| names).chain(all.iter().map(|listed| &listed.names));
    let mut files = CaptionFiles::among(&walk.others, images, &candidates);
    // A column of the name that is asked for is meant before files with such an ending.
    if !candidates.is_named() || candidates.names().next().is_none() {
        files.add_to(&mut candidates, &kept.iter().map(|listed| &listed.names).collect::<Vec<_>>())?;
    }
    let available = || table.columns.iter().cloned().chain(endings(&walk)).collect();
    listing.captions = candidates.choose(listing.count, &Place::file(&table.path), available)?;
    notes.extend(not_read(&walk, Vec::new(), |names| is_table(names) || files.has(names)));
    Ok(structure(Layout::Metadata, listing, paths, Some(table.path.clone()), notes))
}

/// The files of all rows, of which each may be listed once.
fn listed_files(root: &Path, table: &Table, notes: &mut Vec<Note>) -> Result<Vec<Listed>, DataError> {
    let column = table.file_column().unwrap_or("file_name");
    let base: Vec<String> = match table.base.strip_prefix(root) {
        Ok(base) => names_of(base),
        Err(_) => Vec::new(),
    };
    let mut finder = Finder::default();
    let mut from_above: Vec<&String> = Vec::new();
    let mut row_of = BTreeMap::<Vec<String>, usize>::new();
    let mut all = Vec::with_capacity(table.rows.len());
    for (row, (_, texts)) in table.rows.iter().enumerate() {
        let place = table.place(row);
        let name = texts
            .get(column)
            .ok_or_else(|| place.broken("file_name", "missing", "the path of an image in the folder"))?;
        let relative = inside(name).ok_or_else(|| {
            place.broken("file_name", format!("{name:?}"), "a path inside the folder of the table")
        })?;
        let found = finder.file(&table.base, &relative);
        if found.as_ref().is_some_and(|found| found.is_from_above) {
            from_above.push(name);
        }
        let (path, inner) = match found {
            Some(found) => (Some(found.path), found.names),
            None => (None, names_of(&relative)),
        };
        let names: Vec<String> = base.iter().cloned().chain(inner).collect();
        if let Some(earlier) = row_of.insert(names.clone(), row) {
            let earlier = table.place(earlier).entry.unwrap_or_default();
            let bound = format!("listed once, but {earlier} lists it too");
            return Err(place.broken("file_name", format!("{name:?}"), bound));
        }
        all.push(Listed { row, key: name.clone(), names, path });
    }
    if let Some(first) = from_above.first() {
        let table = names_of(&table.path).pop().unwrap_or_default();
        notes.push(Note::NamesFromAbove { table, files: from_above.len(), first: (*first).clone() });
    }
    Ok(all)
}

/// The folders of splits that the images lie in.
fn split_folders(root: &Path, walk: &Walk, all: &[Listed]) -> Result<Option<SplitFolders>, DataError> {
    let mut folders = BTreeMap::<String, bool>::new();
    let files = walk.images.iter().map(|(names, _)| names).chain(all.iter().map(|listed| &listed.names));
    for names in files {
        if let [folder, _, more @ ..] = names.as_slice() {
            *folders.entry(folder.clone()).or_default() |= !more.is_empty();
        }
    }
    SplitFolders::among(root, &folders)
}

/// The rows whose images lie in the folder of a split; the folders of the other splits are `others`.
fn in_folder<'a>(
    walk: &Walk,
    all: &'a [Listed],
    folder: &String,
    others: &[String],
    notes: &mut Vec<Note>,
) -> Vec<&'a Listed> {
    let lies_in = |names: &[String], folder: &String| names.len() > 1 && names.first() == Some(folder);
    let in_a_split =
        |names: &[String]| lies_in(names, folder) || others.iter().any(|other| lies_in(names, other));
    notes.push(Note::Split { taken: folder.clone(), others: others.to_vec() });
    let elsewhere = walk.images.iter().filter(|(names, _)| !in_a_split(names)).count();
    if elsewhere > 0 {
        let reason = "in no folder of a split".into();
        notes.push(Note::NotRead { what: counted(elsewhere, "image"), reason });
    }
    all.iter().filter(|listed| lies_in(&listed.names, folder)).collect()
}

/// Every image that counts must be in the table: without a row, its label would be missing. A table that is called as a
/// split is need not list the images of the others.
fn check_listed(
    walk: &Walk,
    all: &[Listed],
    table: &Table,
    notes: &mut Vec<Note>,
    counts: impl Fn(&[String]) -> bool,
) -> Result<(), DataError> {
    let there: BTreeSet<&[String]> = all.iter().map(|listed| listed.names.as_slice()).collect();
    let unlisted: Vec<&(Vec<String>, PathBuf)> =
        walk.images.iter().filter(|(names, _)| counts(names) && !there.contains(names.as_slice())).collect();
    match unlisted.as_slice() {
        [] => Ok(()),
        some if table.is_of_split => {
            let what = counted(some.len(), "image");
            notes.push(Note::NotRead { what, reason: "not listed in the table of the split".into() });
            Ok(())
        }
        [(_, path), more @ ..] => {
            let bound = format!("in {}, as other images of the folder are", table.path.display());
            let names: Vec<String> = more.iter().map(|(names, _)| names.join("/")).collect();
            let value = match names.len() {
                0 => "not listed".into(),
                count => format!("not listed, nor are {count} more ({})", listed(&names)),
            };
            // What is not listed under its name may be listed under another one.
            let absent: Vec<&str> =
                all.iter().filter(|row| row.path.is_none()).map(|row| row.key.as_str()).collect();
            let bound = match absent.len() {
                0 => bound,
                count => {
                    format!("{bound}; that table names {} not there: {}", are_files(count), listed(&absent))
                }
            };
            Err(Place::file(path).broken("the image", value, bound))
        }
    }
}

fn are_files(count: usize) -> String {
    if count == 1 { "1 file that is".into() } else { format!("{count} files that are") }
}

/// The rows of the split that is asked for, if a column says the split of each row; otherwise all are for training.
fn by_split_column<'a>(
    root: &Path,
    table: &Table,
    all: &'a [Listed],
    split: Split,
    notes: &mut Vec<Note>,
) -> Result<Vec<&'a Listed>, DataError> {
    let text = |listed: &Listed| table.rows.get(listed.row).and_then(|(_, row)| row.get(SPLIT_COLUMN));
    let everything = |split| -> Result<Vec<&'a Listed>, DataError> {
        if !table.is_of_split {
            whole_only(root, split)?;
        }
        Ok(all.iter().collect())
    };
    if !table.columns.contains(SPLIT_COLUMN) {
        return everything(split);
    }
    let parts: Vec<Option<Part>> =
        all.iter().map(|listed| text(listed).and_then(|text| part_named(text))).collect();
    if let Some(index) = parts.iter().position(Option::is_none) {
        let value = all.get(index).and_then(text).map_or("missing".into(), |text| format!("{text:?}"));
        let place = table.place(all.get(index).map_or(0, |listed| listed.row));
        let reason = format!(
            "{} has {value}, which is none of train, test and validation",
            place.entry.unwrap_or_default()
        );
        notes.push(Note::NotRead { what: format!("the column `{SPLIT_COLUMN}`"), reason });
        return everything(split);
    }
    let mut others: BTreeSet<String> = BTreeSet::new();
    let mut kept = Vec::new();
    for (listed, part) in all.iter().zip(parts) {
        if part == Some(split.into()) {
            kept.push(listed);
        } else {
            others.extend(text(listed).cloned());
        }
    }
    let others: Vec<String> = others.into_iter().collect();
    if kept.is_empty() && !all.is_empty() {
        return Err(no_half(root, split, &others));
    }
    notes.push(Note::Split { taken: word_of(split).into(), others });
    Ok(kept)
}

/// What is to be said of a table that has no labels: what there is instead.
fn without_labels(table: &Table, captions: &Candidates, walk: &Walk, has_splits: bool) -> Option<Note> {
    let file = table.file_column().unwrap_or_default();
    let known = |name: &str| {
        name == file
            || name == SPLIT_COLUMN
            || GROUP_COLUMNS.contains(&name)
            || LABEL_COLUMNS.contains(&name)
            || captions.has(name)
    };
    let columns: Vec<String> =
        table.columns.iter().filter(|name| !known(name)).map(|name| format!("`{name}`")).collect();
    let mut unread = match columns.len() {
        0 => Vec::new(),
        1 => vec![format!("the column {}", listed(&columns))],
        _ => vec![format!("the columns {}", listed(&columns))],
    };
    let class_depth = if has_splits { 3 } else { 2 };
    if walk.images.iter().any(|(names, _)| names.len() >= class_depth) {
        unread.push("the names of folders".into());
    }
    let reason = "where there is a table, labels are in its column `label`, `labels` or `class`".into();
    (!unread.is_empty()).then(|| Note::NotRead { what: unread.join(" and "), reason })
}

/// The one of these columns that the table has; more than one is refused.
fn one_column(names: &[&'static str], table: &Table) -> Result<Option<&'static str>, DataError> {
    let is_there = |name: &&str| table.rows.iter().any(|(_, row): &(u64, Row)| row.contains_key(*name));
    let mut found = names.iter().copied().filter(is_there);
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => Err(Place::file(&table.path).broken(
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
