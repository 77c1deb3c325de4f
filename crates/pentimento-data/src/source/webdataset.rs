//! Tar archives as WebDataset reads them: consecutive files with one key are one sample. The key is the path up to the
//! first dot of the file's name, what follows the dot says what the file is.
//!
//! A sample has one image, with an ending of `formats.rs`. Its label is in `.cls`; or in the `label` or `cls` of
//! `.json`; or in `.txt`, if that is a whole number in every sample. Another text is a caption and no label. A `group`,
//! `contributor` or `artist` of `.json` is its group.
//!
//! Only places and lengths are kept; images are read where they are, so archives must not be compressed.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::decode::{MAX_ENCODED_BYTES, Raw};
use super::formats::is_image_ending;
use super::labels;
use super::metadata::{GROUP_COLUMNS, scalar_text};
use super::place::Place;
use super::structure::{Layout, Listing, Reader, Structure};
use crate::error::DataError;

/// A label or a JSON object; captions are shorter, too.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Length of a header, and what entries are padded to.
const BLOCK_BYTES: u64 = 512;

struct TarReader {
    archives: Vec<PathBuf>,
    images: Vec<Member>,
}

/// An image inside an archive.
struct Member {
    archive: usize,
    path: String,
    offset: u64,
    bytes: u64,
}

/// What belongs to one key.
#[derive(Default)]
struct Sample {
    key: String,
    image: Option<Member>,
    class: Option<String>,
    label: Option<String>,
    text: Option<String>,
    group: Option<String>,
    fields: Vec<String>,
}

pub(super) fn read(archives: &[PathBuf]) -> Result<Structure, DataError> {
    let mut samples: Vec<Sample> = Vec::new();
    for (number, path) in archives.iter().enumerate() {
        read_archive(number, path, &mut samples)?;
    }
    let mut archive_of = BTreeMap::<&str, usize>::new();
    let mut places = Vec::with_capacity(samples.len());
    for sample in &samples {
        let archive = sample.image.as_ref().map_or(0, |image| image.archive);
        let place = Place::entry(&archives[archive], format!("sample {:?}", sample.key));
        if archive_of.insert(&sample.key, archive).is_some() {
            return Err(place.broken(
                "the key",
                format!("{:?} again", sample.key),
                "different for every sample",
            ));
        }
        places.push(place);
    }
    let place_of = |index: usize| places[index].clone();
    let texts = |pick: fn(&Sample) -> Option<String>, field| {
        labels::all_or_none(samples.iter().map(pick).collect(), field, place_of)
    };
    let mut listing = Listing::named(samples.iter().map(|sample| sample.key.clone()).collect());
    let labels = match (
        texts(|sample| sample.class.clone(), "the field cls")?,
        texts(|sample| sample.label.clone(), "the label")?,
    ) {
        (Some(classes), _) => Some(classes),
        (None, Some(labels)) => Some(labels),
        (None, None) => {
            let is_number =
                |sample: &Sample| sample.text.as_ref().is_some_and(|text| text.parse::<u32>().is_ok());
            if samples.iter().all(is_number) {
                texts(|sample| sample.text.clone(), "the field txt")?
            } else {
                None
            }
        }
    };
    if let Some(labels) = labels {
        listing = listing.with_labels(labels::from_texts(&labels, place_of)?);
    }
    listing.groups = texts(|sample| sample.group.clone(), "the group")?;
    let images = samples.into_iter().filter_map(|sample| sample.image).collect();
    let reader = TarReader { archives: archives.to_vec(), images };
    Ok(Structure { layout: Layout::WebDataset, listing, files: archives.to_vec(), reader: Box::new(reader) })
}

fn read_archive(number: usize, path: &Path, samples: &mut Vec<Sample>) -> Result<(), DataError> {
    let place = Place::file(path);
    let (file, file_bytes) = place.open()?;
    let mut archive = tar::Archive::new(&file);
    let mut current: Option<Sample> = None;
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(|source| place.io("read", source))? {
        let mut entry = entry.map_err(|error| place.undecodable(error))?;
        let entry_path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|error| place.broken("a path", format!("{:?}", error.as_bytes()), "UTF-8"))?;
        let here = Place::entry(path, format!("{entry_path:?}"));
        let (offset, bytes) = (entry.raw_file_position(), entry.size());
        let padded = bytes
            .div_ceil(BLOCK_BYTES)
            .checked_mul(BLOCK_BYTES)
            .and_then(|padded| padded.checked_add(offset));
        end = match padded {
            Some(end) if end <= file_bytes => end,
            _ => {
                let bound = format!("{bytes} bytes, as its header says");
                return Err(here.broken("the data", "cut short by the end of the file", bound));
            }
        };
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !Path::new(&entry_path)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Err(here.broken("the path", format!("{entry_path:?}"), "inside the archive"));
        }
        let Some((key, field)) = key_and_field(&entry_path) else { continue };
        if !matches!(kind, tar::EntryType::Regular | tar::EntryType::Continuous) {
            return Err(here.broken("the kind of entry", format!("{kind:?}"), "a regular file"));
        }
        if current.as_ref().is_none_or(|sample| sample.key != key) {
            finish(current.take(), path, samples)?;
            current = Some(Sample { key: key.into(), ..Sample::default() });
        }
        let Some(sample) = &mut current else { continue };
        let field = field.to_ascii_lowercase();
        if sample.fields.contains(&field) {
            return Err(here.broken("the field", format!("{field:?} twice"), "there once in a sample"));
        }
        let text = |entry: &mut tar::Entry<'_, _>| {
            if bytes > MAX_TEXT_BYTES {
                return Err(here.broken(
                    "length",
                    format!("{bytes} bytes"),
                    format!("at most {MAX_TEXT_BYTES} bytes"),
                ));
            }
            let mut text = String::new();
            entry
                .read_to_string(&mut text)
                .map_err(|_| here.broken("the text", "not UTF-8", "UTF-8"))
                .map(|_| text.trim().to_owned())
        };
        match field.as_str() {
            image if is_image_ending(image) => {
                if sample.image.is_some() {
                    return Err(here.broken("the image of the sample", "the second one", "the only one"));
                }
                sample.image = Some(Member { archive: number, path: entry_path.clone(), offset, bytes });
            }
            "cls" => {
                let number = text(&mut entry)?;
                if number.parse::<u32>().is_err() {
                    return Err(here.broken(
                        "the label",
                        format!("{number:?}"),
                        "a whole number, 0 or above",
                    ));
                }
                sample.class = Some(number);
            }
            "txt" => sample.text = Some(text(&mut entry)?),
            "json" => {
                let text = text(&mut entry)?;
                let value: serde_json::Value = serde_json::from_str(&text)
                    .map_err(|error| here.broken("the text", format!("unreadable ({error})"), "JSON"))?;
                let member =
                    |names: &[&str]| names.iter().find_map(|name| value.get(name)).and_then(scalar_text);
                sample.label = member(&["label", "cls"]);
                sample.group = member(&GROUP_COLUMNS);
            }
            _ => {}
        }
        sample.fields.push(field);
    }
    finish(current, path, samples)?;
    // An archive ends with blocks of zeros. Without them it was cut, if only between two entries.
    let mut ending = [1; BLOCK_BYTES as usize];
    let has_end = (&file).seek(SeekFrom::Start(end)).and_then(|_| (&file).read_exact(&mut ending)).is_ok();
    if !has_end || ending.iter().any(|&byte| byte != 0) {
        let bound = "closed by a block of zeros; the archive is cut short or goes on with something else";
        return Err(place.broken("the end of the archive", format!("open at byte {end}"), bound));
    }
    Ok(())
}

/// Keeps a sample that is complete.
fn finish(sample: Option<Sample>, path: &Path, samples: &mut Vec<Sample>) -> Result<(), DataError> {
    let Some(sample) = sample else { return Ok(()) };
    if sample.image.is_none() {
        let place = Place::entry(path, format!("sample {:?}", sample.key));
        return Err(place.broken(
            "the image",
            "missing",
            "a file with the ending of an image, such as png or jpg",
        ));
    }
    samples.push(sample);
    Ok(())
}

/// Splits a path at the first dot of its last name. Names that begin with the dot, or have none, are passed over, as
/// WebDataset does.
fn key_and_field(path: &str) -> Option<(&str, &str)> {
    let name_start = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name_start + path.get(name_start..)?.find('.')?;
    if dot == name_start { None } else { Some((path.get(..dot)?, path.get(dot + 1..)?)) }
}

impl Reader for TarReader {
    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        let Member { archive, offset, bytes, .. } = self.images[index];
        let place = self.place(index);
        if bytes > MAX_ENCODED_BYTES {
            return Err(place.broken(
                "length",
                format!("{bytes} bytes"),
                format!("at most {MAX_ENCODED_BYTES} bytes"),
            ));
        }
        let io_error = |source| place.io("read", source);
        let (mut file, _) = Place::file(&self.archives[archive]).open()?;
        file.seek(SeekFrom::Start(offset)).map_err(io_error)?;
        let mut data = Vec::new();
        file.take(bytes).read_to_end(&mut data).map_err(io_error)?;
        if (data.len() as u64) < bytes {
            return Err(place.broken("the data", format!("{} bytes", data.len()), format!("{bytes} bytes")));
        }
        Ok(Raw::Encoded(data))
    }

    fn place(&self, index: usize) -> Place {
        let Member { archive, path, .. } = &self.images[index];
        Place::entry(&self.archives[*archive], format!("{path:?}"))
    }
}
