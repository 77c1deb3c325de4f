//! Labels in NumPy arrays: which array has them, and every form that they usually have. Those are one number for each image
//! (an integer, a truth value, or a float that is whole), one text, or a one-hot row; a last axis of length one may
//! follow. What is called as labels are and has another form is an error: a set whose labels are left out trains other networks.

use std::path::{Path, PathBuf};

use super::arrays::{Array, open_npy};
use super::halves::part_named;
use super::labels::{self, Labelled, MAX_CLASSES};
use super::notes::{Note, ending};
use super::place::Place;
use super::walk::entries;
use super::words::listed;
use crate::error::DataError;

/// Words by which an array says that it has labels: `y_train`, `labels`.
const LABEL_WORDS: [&str; 10] =
    ["y", "label", "labels", "target", "targets", "class", "classes", "cls", "category", "categories"];
/// Most labels that are read; they and their numbers are held in memory.
const MAX_LABELS: usize = 1 << 26;
/// Most bytes of an array of labels.
const MAX_BYTES: u64 = 1 << 30;
/// What an array of labels must be, for errors.
const FORMS: &str = "one whole number or text for each image, or one-hot rows";

/// Of an archive's arrays: the labels, the names of classes, and what is to be said of the others.
pub(super) struct Chosen<'a> {
    pub(super) labels: Option<&'a Array>,
    pub(super) class_names: Option<&'a Array>,
    pub(super) notes: Vec<Note>,
}

/// Whether a name says labels, as `labels` and `y_train` do.
pub(super) fn is_label_name(name: &str) -> bool {
    let words: Vec<String> = words(name);
    words.iter().any(|word| LABEL_WORDS.contains(&word.as_str())) && !is_name_of_names(&words)
}

fn is_name_of_names(words: &[String]) -> bool {
    words.iter().any(|word| matches!(word.as_str(), "name" | "names"))
}

fn words(name: &str) -> Vec<String> {
    let words = name.split(|character: char| !character.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect()
}

/// Finds the labels among the arrays that lie beside the images.
pub(super) fn choose<'a>(
    others: &[&'a Array],
    images: usize,
    archive: &Place,
) -> Result<Chosen<'a>, DataError> {
    let called = |array: &Array| array.place.entry.clone().unwrap_or_default();
    // The names of classes are fewer than the images, or are called names.
    let is_names = |array: &&&Array| {
        let words = words(&called(array));
        let about_classes = words.iter().any(|word| LABEL_WORDS.contains(&word.as_str()));
        about_classes && array.is_text() && (is_name_of_names(&words) || array.count() != images)
    };
    let mut names: Vec<&Array> = others.iter().filter(is_names).copied().collect();
    let class_names = if names.len() == 1 { names.pop() } else { None };
    let rest: Vec<&Array> = others
        .iter()
        .copied()
        .filter(|array| !class_names.is_some_and(|names| std::ptr::eq(names, *array)))
        .collect();

    let mut candidates: Vec<&Array> =
        rest.iter().copied().filter(|array| is_label_name(&called(array))).collect();
    if candidates.is_empty() {
        candidates = rest.iter().copied().filter(|array| array.is_integers(images)).collect();
    }
    if candidates.is_empty() {
        // `numpy.savez(file, x, y)` calls them so.
        let unnamed = |array: &&Array| called(array).starts_with("arr_") && array.count() == images;
        candidates = rest.iter().copied().filter(unnamed).collect();
    }
    if candidates.len() > 1 && candidates.iter().filter(|array| array.is_integers(images)).count() == 1 {
        candidates.retain(|array| array.is_integers(images));
    }
    if candidates.len() > 1 {
        let list: Vec<String> = candidates.iter().map(|array| array.described()).collect();
        let bound = "with at most one of labels, one for each image";
        return Err(archive.broken("the list of arrays", list.join(", "), bound));
    }
    let labels = candidates.pop();
    let unread: Vec<String> = rest
        .iter()
        .filter(|array| !labels.is_some_and(|labels| std::ptr::eq(labels, **array)))
        .map(|array| array.described())
        .collect();
    let mut notes = Vec::new();
    if !unread.is_empty() {
        let noun = if unread.len() == 1 { "the array" } else { "the arrays" };
        let reason = if labels.is_some() {
            "neither images nor labels"
        } else {
            "an array of labels is called so, such as `labels` or `y`"
        };
        notes.push(Note::NotRead { what: format!("{noun} {}", listed(&unread)), reason: reason.into() });
    }
    Ok(Chosen { labels, class_names, notes })
}

/// The `.npy` file with the labels of a file of images in the same folder: one that is called so, of the same split.
pub(super) fn beside(images: &Path) -> Result<Option<PathBuf>, DataError> {
    let folder = images.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let own_name = images.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut found: Vec<PathBuf> = entries(folder)?
        .into_iter()
        .filter(|entry| !entry.is_folder && ending(&entry.name).is_some_and(|ending| ending == "npy"))
        .filter(|entry| entry.name != own_name && is_label_name(stem(&entry.name)))
        .filter(|entry| part_named(&entry.name) == part_named(own_name))
        .map(|entry| images.with_file_name(entry.name))
        .collect();
    if let [first, second, ..] = found.as_slice() {
        let value = format!("both {} and {}", first.display(), second.display());
        return Err(Place::file(images).broken("the file of labels beside it", value, "one"));
    }
    Ok(found.pop())
}

/// A name without its ending.
pub(super) fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// Opens the file of labels that lies beside a file of images.
pub(super) fn open_beside(images: &Path) -> Result<Option<(PathBuf, Array)>, DataError> {
    beside(images)?.map(|path| open_npy(&path).map(|array| (path, array))).transpose()
}

/// Reads labels, one for each of so many images, and the names of classes if there are some.
pub(super) fn read(array: &Array, class_names: Option<&Array>, images: usize) -> Result<Labelled, DataError> {
    let place = &array.place;
    let class_names = class_names.map(|names| names.texts(names.count())).transpose()?;
    let columns = match array.header.shape.as_slice() {
        [count] if *count == images => 1,
        [count, columns] if *count == images => *columns,
        [count, 1, 1] if *count == images => 1,
        _ => 0,
    };
    if columns == 0 || columns > 1 && array.is_text() || array.entry_bytes().is_none() {
        let pickled = if array.header.kind.contains('O') {
            ", pickled Python objects, which `numpy.asarray(labels.tolist())` makes plain"
        } else {
            ""
        };
        let value = format!("{:?} of kind {}{pickled}", array.header.shape, array.header.kind);
        let bound =
            format!("[{images}] integers, floats that are whole, or texts, or [{images}, classes] one-hot");
        return Err(place.broken("the array of labels", value, bound));
    }
    if images > MAX_LABELS {
        return Err(place.broken("number of labels", images, format!("at most {MAX_LABELS}")));
    }
    if array.is_text() {
        let texts = array.texts(images)?;
        let place_of = |index: usize| entry(place, index);
        return match class_names {
            Some(names) => labels::named_by(&texts, names, place_of),
            None => labels::from_texts(&texts, &[], place_of),
        };
    }
    let numbers = array.numbers(images.saturating_mul(columns))?;
    let most = if columns > 1 { columns } else { MAX_CLASSES as usize };
    let classes = class_names.as_ref().map_or(most, Vec::len).min(MAX_CLASSES as usize);
    let rows = numbers.chunks_exact(columns).enumerate().map(|(index, row)| {
        let label = labels::of_row(row);
        label.filter(|&label| (label as usize) < classes).ok_or_else(|| match row {
            [number] => {
                let bound = format!("a whole number between 0 and {}", classes.saturating_sub(1));
                place.broken("the label", format!("{number} (at {index})"), bound)
            }
            row => {
                let row: Vec<String> = row.iter().map(f64::to_string).collect();
                place.broken("the label", format!("[{}] (at {index})", listed(&row)), FORMS)
            }
        })
    });
    let numbers: Vec<u32> = rows.collect::<Result<_, _>>()?;
    Ok(match class_names {
        Some(names) => (numbers, names),
        None if columns > 1 => (numbers, (0..columns).map(|class| class.to_string()).collect()),
        None => labels::from_numbers(numbers),
    })
}

fn entry(place: &Place, index: usize) -> Place {
    let entry = match &place.entry {
        Some(member) => format!("{member}, entry {index}"),
        None => format!("entry {index}"),
    };
    Place::entry(&place.path, entry)
}

impl Array {
    /// Whether the entries are texts: `<U5`, `|S5`.
    fn is_text(&self) -> bool {
        matches!(self.header.kind.as_bytes().get(1), Some(b'U' | b'S'))
    }

    /// Whether this has one integer for each of so many images.
    fn is_integers(&self, images: usize) -> bool {
        let integer = matches!(self.header.kind.as_bytes().get(1), Some(b'u' | b'i'));
        let shape = self.header.shape.as_slice();
        integer && (shape == [images] || shape == [images, 1])
    }

    /// Name, shape and kind.
    pub(super) fn described(&self) -> String {
        let name = self.place.entry.as_deref().unwrap_or_default();
        format!("{name} {:?} of kind {}", self.header.shape, self.header.kind)
    }

    /// The bytes of the first entries.
    fn entries(&self, count: usize) -> Result<(Vec<u8>, usize), DataError> {
        let entry_bytes = self.entry_bytes().filter(|&bytes| bytes > 0).unwrap_or(1);
        let data = (count as u64).checked_mul(entry_bytes).filter(|&bytes| bytes <= MAX_BYTES);
        let length = data.and_then(|data| data.checked_add(self.header.bytes)).ok_or_else(|| {
            let value = format!("{count} entries of {entry_bytes} bytes");
            self.place.broken("the size of the array", value, format!("at most {MAX_BYTES} bytes"))
        })?;
        let mut bytes = self.read(length)?;
        if (bytes.len() as u64) < length {
            let value = format!("{} bytes", bytes.len());
            return Err(self.place.broken("length", value, format!("{length} bytes")));
        }
        Ok((bytes.split_off(self.header.bytes as usize), entry_bytes as usize))
    }

    /// The first entries as numbers.
    fn numbers(&self, count: usize) -> Result<Vec<f64>, DataError> {
        let (bytes, entry_bytes) = self.entries(count)?;
        let little = !self.header.kind.starts_with('>');
        let kind = self.header.kind.as_bytes().get(1).copied();
        Ok(bytes.chunks_exact(entry_bytes).map(|entry| number(entry, kind, little)).collect())
    }

    /// The first entries as texts.
    fn texts(&self, count: usize) -> Result<Vec<String>, DataError> {
        let (bytes, entry_bytes) = self.entries(count)?;
        let little = !self.header.kind.starts_with('>');
        let wide = self.header.kind.as_bytes().get(1) == Some(&b'U');
        let texts = bytes.chunks_exact(entry_bytes).enumerate().map(|(index, entry_bytes)| {
            text(entry_bytes, wide, little).ok_or_else(|| {
                entry(&self.place, index).broken("the text", "none in Unicode", "UTF-8 or UTF-32")
            })
        });
        texts.collect()
    }
}

/// An entry as a number; beyond 2^53 it is rounded, which is far from any label.
fn number(entry: &[u8], kind: Option<u8>, little: bool) -> f64 {
    let mut value = [0; 8];
    for (place, &byte) in entry.iter().take(8).enumerate() {
        value[if little { place } else { entry.len() - 1 - place }] = byte;
    }
    let value = u64::from_le_bytes(value);
    match (kind, entry.len()) {
        (Some(b'f'), 2) => f64::from(half::f16::from_bits(value as u16)),
        (Some(b'f'), 4) => f64::from(f32::from_bits(value as u32)),
        (Some(b'f'), _) => f64::from_bits(value),
        (Some(b'i'), bytes) => {
            // Shifted up and down again, the sign fills the upper bits.
            let unused = 64 - 8 * bytes as u32;
            ((value << unused) as i64 >> unused) as f64
        }
        _ => value as f64,
    }
}

/// The text of an entry, which NumPy fills up with zeros.
fn text(entry: &[u8], wide: bool, little: bool) -> Option<String> {
    let text: String = if wide {
        let units = entry.chunks_exact(4).map(|unit| {
            let unit: [u8; 4] = unit.try_into().ok()?;
            char::from_u32(if little { u32::from_le_bytes(unit) } else { u32::from_be_bytes(unit) })
        });
        units.collect::<Option<_>>()?
    } else {
        std::str::from_utf8(entry).ok()?.to_owned()
    };
    Some(text.trim_end_matches('\0').to_owned())
}
