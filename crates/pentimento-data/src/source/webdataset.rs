//! Tar archives as WebDataset reads them: files with one key are one sample. The key is the path up to the first dot of the
//! file's name, what follows the dot says what the file is.
//!
//! A sample has one image: `.png`, `.jpg`, `.webp` and so on, or, if it has none that is called so, the only one that is
//! called `.NAME.png`. Its label is in `.cls`, a number or a name; or in the `label` or `cls` of `.json`; or in `.txt`, if that
//! is a whole number in every sample. Another text is a caption, and so is `caption`, `captions`, `prompt` or `text` of `.json`. A
//! `group`, `contributor` or `artist` of `.json` is its group. If no sample has a label, or a caption, tables beside the archives
//! may have them by `key`, as img2dataset writes them.
//!
//! Only places and lengths are kept; images are read where they are, so archives must not be compressed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::archive_tables::ArchiveTables;
use super::caption_candidates::Candidates;
use super::captions::{CAPTION_FILES, MAX_CAPTION_BYTES, Said};
use super::decode::{MAX_ENCODED_BYTES, Raw};
use super::formats::is_image_ending;
use super::halves::{SplitFolders, whole_only};
use super::labels::{self, ListLength};
use super::notes::{Note, ending};
use super::place::Place;
use super::structure::{Layout, Listing, Reader, Structure};
use super::tables::{GROUP_COLUMNS, scalar_text};
use super::words::{counted, listed};
use crate::error::DataError;
use crate::names::composed;
use crate::public_sets::Split;

/// A label or a JSON object.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Length of a header, and what entries are padded to.
const BLOCK_BYTES: u64 = 512;
/// Members of a JSON object that are labels, of which the first counts.
const LABEL_MEMBERS: [&str; 4] = ["label", "cls", "labels", "class"];

/// Names that are kept, to be told where another one is asked for.
const MOST_NAMES: usize = 64;

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
    archive: usize,
    /// The image, and what follows its key.
    image: Option<(String, Member)>,
    /// Images whose names have a dot between key and ending.
    dotted: Vec<(String, Member)>,
    class: Option<String>,
    label: Option<String>,
    /// Of `.txt`, without blanks, if it is UTF-8.
    text: Option<String>,
    group: Option<String>,
    /// What could be captions: by the name of a field of JSON, or by an ending with its dot.
    captions: BTreeMap<String, Said>,
    fields: Vec<String>,
}

/// What was found in archives.
struct Found {
    samples: Vec<Sample>,
    /// Samples whose files do not lie together.
    apart: usize,
    /// Names without a key or an ending.
    nameless: Vec<String>,
    lists: ListLength,
    /// Tells what could be captions.
    candidates: Candidates,
    /// What captions can be called: endings with their dots, and the first fields of JSON.
    names: BTreeSet<String>,
}

/// Opens archives, one after another; `tables` are Parquet files that lie beside them. `split` is the one that keys must say,
/// none if the names of the archives said it.
pub(super) fn read(
    archives: &[PathBuf],
    tables: &[PathBuf],
    split: Option<Split>,
    captions: Option<&str>,
) -> Result<Structure, DataError> {
    let mut found = Found {
        samples: Vec::new(),
        apart: 0,
        nameless: Vec::new(),
        lists: ListLength::default(),
        candidates: Candidates::new(captions),
        names: BTreeSet::new(),
    };
    for (number, path) in archives.iter().enumerate() {
        read_archive(number, path, &mut found)?;
    }
    let Found { mut samples, apart, nameless, mut candidates, names, .. } = found;
    let mut notes = Vec::new();
    if apart > 0 {
        let what = format!("the files of {} lie apart", counted(apart, "sample"));
        notes.push(Note::Apart {
            what,
            remedy: "tar --sort=name puts them together, as WebDataset needs them".into(),
        });
    }
    if let Some(split) = split {
        retain_split(&mut samples, archives, split, &mut notes)?;
    }
    let mut archive_of = BTreeMap::<&str, usize>::new();
    for sample in &samples {
        if archive_of.insert(&sample.key, sample.archive).is_some() {
            let place = Place::entry(&archives[sample.archive], format!("sample {:?}", sample.key));
            let value = format!("{:?} again", sample.key);
            return Err(place.broken("the key", value, "different for every sample"));
        }
    }
    let mut images = Vec::with_capacity(samples.len());
    let mut unread = BTreeMap::<String, usize>::new();
    for sample in &mut samples {
        let (field, image) = the_image(sample, &archives[sample.archive])?;
        for other in sample.fields.iter().filter(|name| **name != field && !is_read(name, &sample.captions)) {
            *unread.entry(format!(".{other}")).or_default() += 1;
        }
        images.push(image);
    }
    let caption_texts: Vec<BTreeMap<String, Said>> =
        samples.iter_mut().map(|sample| std::mem::take(&mut sample.captions)).collect();
    let place_of = |index: usize| match samples.get(index) {
        Some(sample) => Place::entry(&archives[sample.archive], format!("sample {:?}", sample.key)),
        None => Place::file(Path::new("")),
    };
    let texts = |pick: fn(&Sample) -> Option<String>, field| {
        labels::all_or_none(samples.iter().map(pick).collect(), field, place_of)
    };
    let mut listing = Listing::named(samples.iter().map(|sample| sample.key.clone()).collect());
    let mut files = archives.to_vec();
    let mut table = ArchiveTables::read(tables, captions)?;
    let mut labels = texts(|sample| sample.class.clone(), "the field cls")?;
    if labels.is_none() {
        labels = texts(|sample| sample.label.clone(), "the label")?;
    }
    let mut texts_are_labels = false;
    if labels.is_none() && table.labels.values().any(Option::is_some) {
        let of_key = |sample: &Sample| table.labels.get(&sample.key).cloned().flatten();
        labels = labels::all_or_none(samples.iter().map(of_key).collect(), "the label", place_of)?;
        files.extend(tables.iter().cloned());
    }
    let is_number = |sample: &Sample| sample.text.as_ref().is_some_and(|text| text.parse::<u32>().is_ok());
    let texts_are_asked_for = candidates.is_named() && candidates.ending() == CAPTION_FILES;
    let are_numbers = samples.iter().all(is_number) && !texts_are_asked_for;
    if labels.is_none() && are_numbers {
        labels = texts(|sample| sample.text.clone(), "the field txt")?;
        texts_are_labels = true;
    }
    for (index, said) in caption_texts.into_iter().enumerate() {
        for (name, said) in said {
            candidates.set(index, &name, said);
        }
    }
    candidates.remove_numbers(CAPTION_FILES);
    let has_text = |sample: &&Sample| sample.fields.iter().any(|field| field == "txt");
    let texts_there = samples.iter().filter(has_text).count();
    if texts_there > 0 && !texts_are_labels && !candidates.has(CAPTION_FILES) {
        unread.insert(CAPTION_FILES.into(), texts_there);
    }
    if !candidates.say_something() && table.captions.say_something() {
        let keys: Vec<&str> = samples.iter().map(|sample| sample.key.as_str()).collect();
        candidates = table.captions_of(&keys);
    }
    let place = Place::file(archives.first().map_or(Path::new(""), PathBuf::as_path));
    let available = || names.into_iter().chain(table.columns).collect();
    listing.captions = candidates.choose(listing.count, &place, available)?;
    match labels {
        Some(labels) => {
            let labelled = labels::from_texts(&labels, &[], place_of)?;
            notes.extend(labels::note("names in .cls or .json", &labelled));
            listing = listing.with_labels(labelled);
        }
        None => notes.extend(folders_of(&samples)),
    }
    listing.groups = texts(|sample| sample.group.clone(), "the group")?;
    notes.extend(Note::left_out_counted(unread, &nameless));
    let reader = TarReader { archives: archives.to_vec(), images };
    Ok(Structure { layout: Layout::WebDataset, listing, files, reader: Box::new(reader), notes })
}

/// Whether a file of a sample that is called so is read, beside images.
fn is_read(field: &str, captions: &BTreeMap<String, Said>) -> bool {
    matches!(field, "cls" | "txt" | "json") || captions.contains_key(&format!(".{field}"))
}

/// Keeps the samples of one split, if the folders in the keys are splits.
fn retain_split(
    samples: &mut Vec<Sample>,
    archives: &[PathBuf],
    split: Split,
    notes: &mut Vec<Note>,
) -> Result<(), DataError> {
    let path = archives.first().map_or(Path::new(""), PathBuf::as_path);
    let mut folders = BTreeMap::<String, bool>::new();
    for sample in &*samples {
        match sample.key.split('/').collect::<Vec<_>>().as_slice() {
            [folder, _, more @ ..] => *folders.entry((*folder).into()).or_default() |= !more.is_empty(),
            _ => return whole_only(path, split),
        }
    }
    let Some(splits) = SplitFolders::among(path, &folders)? else { return whole_only(path, split) };
    // An archive of one split is for training, whichever it is.
    if splits.is_one() && split == Split::Train {
        return Ok(());
    }
    let (taken, mut others) = splits.taken(path, split)?;
    samples.retain(|sample| sample.key.split('/').next() == Some(&taken));
    others.extend(splits.others);
    notes.push(Note::Split { taken, others });
    Ok(())
}

/// The image of a sample, and what follows its key. Taken from the sample.
fn the_image(sample: &mut Sample, archive: &Path) -> Result<(String, Member), DataError> {
    if let Some(image) = sample.image.take() {
        return Ok(image);
    }
    let place = Place::entry(archive, format!("sample {:?}", sample.key));
    let named =
        |fields: &[String]| -> Vec<String> { fields.iter().map(|field| format!(".{field}")).collect() };
    match sample.dotted.len() {
        0 => {
            let value = format!("missing among {}", listed(&named(&sample.fields)));
            let bound = "a file ending in .png, .jpg or .webp. A key ends at the first dot of a file's name";
            Err(place.broken("the image", value, bound))
        }
        1 => sample.dotted.pop().ok_or_else(|| place.broken("the image", "missing", "there")),
        count => {
            let fields: Vec<String> = sample.dotted.iter().map(|(field, _)| field.clone()).collect();
            let value = format!("{count} files: {}", listed(&named(&fields)));
            let bound = format!(
                "one, such as {}.png. A key ends at the first dot of a file's name: other images of one sample need \
                 keys of their own",
                sample.key
            );
            Err(place.broken("the image", value, bound))
        }
    }
}

/// What is to be said if the keys have folders, but there are no labels.
fn folders_of(samples: &[Sample]) -> Option<Note> {
    let mut folders: Vec<String> = samples
        .iter()
        .filter_map(|sample| sample.key.rsplit_once('/').map(|(folder, _)| folder.to_owned()))
        .collect();
    folders.sort_unstable();
    folders.dedup();
    if folders.len() < 2 {
        return None;
    }
    let what = format!("the names of folders as labels, {}", listed(&folders));
    let reason = "labels of WebDataset are in .cls, in the `label` of .json, or a number in .txt".into();
    Some(Note::NotRead { what, reason })
}

fn read_archive(number: usize, path: &Path, found: &mut Found) -> Result<(), DataError> {
    let place = Place::file(path);
    let (file, file_bytes) = place.open()?;
    let mut archive = tar::Archive::new(&file);
    // Positions of this archive's samples by their keys, and of the last one.
    let mut sample_of = BTreeMap::<String, usize>::new();
    let mut last = None;
    let mut apart = BTreeSet::new();
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
        // Some of the files of a sample may have their names in another form than the others.
        let composed_path = composed(&entry_path);
        let Some((key, field)) = key_and_field(&composed_path) else {
            found.nameless.push(entry_path);
            continue;
        };
        if !matches!(kind, tar::EntryType::Regular | tar::EntryType::Continuous) {
            return Err(here.broken("the kind of entry", format!("{kind:?}"), "a regular file"));
        }
        let next = found.samples.len();
        let position = *sample_of.entry(key.to_owned()).or_insert(next);
        if position == next {
            found.samples.push(Sample { key: key.into(), archive: number, ..Sample::default() });
        } else if last != Some(position) {
            apart.insert(position);
        }
        last = Some(position);
        let Some(sample) = found.samples.get_mut(position) else { continue };
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
        let member = || Member { archive: number, path: entry_path.clone(), offset, bytes };
        let dotted_field = format!(".{field}");
        let is_caption = dotted_field == found.candidates.ending();
        if found.names.len() < MOST_NAMES {
            found.names.insert(dotted_field.clone());
        }
        match field.as_str() {
            image if is_image_ending(image) => {
                if sample.image.is_some() {
                    return Err(here.broken("the image of the sample", "the second one", "the only one"));
                }
                sample.image = Some((field.clone(), member()));
            }
            dotted if ending(dotted).is_some_and(|ending| is_image_ending(&ending)) => {
                sample.dotted.push((field.clone(), member()));
            }
            "cls" => sample.class = Some(text(&mut entry)?),
            "json" => {
                let text = text(&mut entry)?;
                let value: serde_json::Value = serde_json::from_str(&text)
                    .map_err(|error| here.broken("the text", format!("unreadable ({error})"), "JSON"))?;
                let label =
                    LABEL_MEMBERS.iter().find_map(|name| value.get(name)).filter(|label| !label.is_null());
                sample.label = label.map(|label| label_of(label, &mut found.lists, &here)).transpose()?;
                sample.group = GROUP_COLUMNS.iter().find_map(|name| value.get(name)).and_then(scalar_text);
                if let serde_json::Value::Object(object) = value {
                    for (name, value) in object {
                        if found.names.len() < MOST_NAMES {
                            found.names.insert(name.clone());
                        }
                        if found.candidates.is_column(&name) {
                            let said = Said::of_json(value, &name, &here);
                            sample.captions.insert(name, said);
                        }
                    }
                }
            }
            field if is_caption || field == "txt" => {
                let mut text = Vec::new();
                // A byte more tells that it is too long.
                (&mut entry)
                    .take(MAX_CAPTION_BYTES + 1)
                    .read_to_end(&mut text)
                    .map_err(|source| here.io("read", source))?;
                if field == "txt" {
                    sample.text = str::from_utf8(&text).ok().map(|text| text.trim().to_owned());
                }
                if is_caption {
                    sample.captions.insert(dotted_field, Said::of_file(text, &here));
                }
            }
            _ => {}
        }
        sample.fields.push(field);
    }
    found.apart += apart.len();
    // An archive ends with blocks of zeros. Without them it was cut, if only between two entries.
    let mut ending = [1; BLOCK_BYTES as usize];
    let has_end = (&file).seek(SeekFrom::Start(end)).and_then(|_| (&file).read_exact(&mut ending)).is_ok();
    if !has_end || ending.iter().any(|&byte| byte != 0) {
        let bound = "closed by a block of zeros; the archive is cut short or goes on with something else";
        return Err(place.broken("the end of the archive", format!("open at byte {end}"), bound));
    }
    Ok(())
}

fn label_of(value: &serde_json::Value, lists: &mut ListLength, place: &Place) -> Result<String, DataError> {
    labels::of_json(value, lists).ok_or_else(|| {
        let shown: String = value.to_string().chars().take(80).collect();
        place.broken(
            "the label",
            shown,
            "a text or a number, alone or as the only one of a list, or a one-hot list as long as the others",
        )
    })
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
