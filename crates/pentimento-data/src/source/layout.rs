//! Which layout a path has, told by what is in it. Only this module knows all layouts; none of them knows it.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::array_labels::{is_label_name, stem};
use super::formats::{format_of, is_image_ending};
use super::halves::{SplitFolders, no_half, of_half, part_named, part_of_folder, whole_only, word_of};
use super::index::OpenOptions;
use super::notes::{Note, ending};
use super::parquet_shards::{Pictures, pictures_of};
use super::place::Place;
use super::shards::{one_of, shards};
use super::structure::{Layout, Structure};
use super::walk::{Walk, entries, is_image};
use super::{
    arrays, cifar, containers, folder, idx_files, metadata, parquet_shards, strips, tables, webdataset,
};
use crate::error::DataError;
use crate::public_sets::Split;

/// What a known layout would be, for errors.
const KNOWN: &str = "IDX files, CIFAR-10 .bin files or strips, PNG, JPEG, WebP, BMP, GIF or TIFF images (in class folders, or with \
     metadata.csv or metadata.jsonl), .parquet, .tar, images.npy or .npz";

/// Reads the structure of the set at a path.
pub(super) fn read(path: &Path, options: &OpenOptions) -> Result<Structure, DataError> {
    let (split, captions) = (options.split, options.captions.as_deref());
    let metadata = std::fs::metadata(path).map_err(|source| Place::file(path).io("open", source))?;
    if metadata.is_dir() { read_folder(path, split, captions) } else { read_file(path, split, captions) }
}

/// The names in a folder, sorted by what they could be.
struct Contents {
    /// Names of files.
    names: Vec<String>,
    /// Names of folders, with whether they hold images: `Some(true)` if these are in folders again.
    folders: BTreeMap<String, Option<bool>>,
    parquet: Vec<String>,
    tar: Vec<String>,
    npy: Vec<String>,
    npz: Vec<String>,
    idx: Vec<String>,
    binary: Vec<String>,
    strip_labels: Vec<String>,
    /// Image files.
    loose: Vec<String>,
}

impl Contents {
    fn of(path: &Path) -> Result<Self, DataError> {
        let (inner, files): (Vec<_>, Vec<_>) = entries(path)?.into_iter().partition(|entry| entry.is_folder);
        // Paths are made of these.
        let names: Vec<String> = files.iter().map(|entry| entry.name_on_disk.clone()).collect();
        let having = |test: &dyn Fn(&str) -> bool| -> Vec<String> {
            names.iter().filter(|name| test(name)).cloned().collect()
        };
        let ends_with = |wanted: &'static str| {
            move |name: &str| !name.starts_with('.') && ending(name).is_some_and(|ending| ending == wanted)
        };
        let strip_labels = having(&|name| strips::LABEL_FILES.as_flattened().contains(&name));
        let mut loose = Vec::new();
        for entry in &files {
            let is_strip = !strip_labels.is_empty() && cifar::is_batch(&entry.name_on_disk, ".png").is_some();
            if !is_strip && is_image(&entry.name_on_disk, &entry.path)? {
                loose.push(entry.name_on_disk.clone());
            }
        }
        let mut folders = BTreeMap::new();
        for entry in inner {
            let first = Walk::first_image(&entry.path)?;
            folders.insert(entry.name_on_disk, first.map(|names| names.len() > 1));
        }
        Ok(Self {
            parquet: having(&ends_with("parquet")),
            tar: having(&ends_with("tar")),
            npy: having(&|name| ends_with("npy")(name) && !is_label_name(stem(name))),
            npz: having(&ends_with("npz")),
            idx: having(&|name| idx_labels_name(name).is_some()),
            binary: having(&|name| cifar::is_batch(name, ".bin").is_some()),
            strip_labels,
            loose,
            folders,
            names,
        })
    }

    /// The layouts that fit by themselves, each with an example.
    fn layouts(&self) -> Vec<(Layout, String)> {
        let found = [
            (Layout::Idx, &self.idx),
            (Layout::CifarBinary, &self.binary),
            (Layout::CifarStrips, &self.strip_labels),
            (Layout::Parquet, &self.parquet),
            (Layout::WebDataset, &self.tar),
            (Layout::Npz, &self.npz),
            (Layout::Npy, &self.npy),
        ];
        found.into_iter().filter_map(|(layout, names)| Some((layout, names.first()?.clone()))).collect()
    }

    /// The folders with images, each with whether these are in folders again.
    fn with_images(&self) -> BTreeMap<String, bool> {
        self.folders.iter().filter_map(|(name, nested)| Some((name.clone(), (*nested)?))).collect()
    }

    fn has_images(&self) -> bool {
        !self.loose.is_empty() || self.folders.values().any(Option::is_some)
    }
}

fn read_folder(path: &Path, split: Split, captions: Option<&str>) -> Result<Structure, DataError> {
    let place = Place::file(path);
    let mut contents = Contents::of(path)?;
    if let Some(container) = containers::folder(path, &contents.names) {
        return Err(container.refused(path));
    }
    // Parquet files without images are tables of other images; those that name images beside them are read with these.
    let mut tables_beside = Vec::new();
    let mut names_images_beside = false;
    if let Some(first) = contents.parquet.first()
        && (contents.has_images() || contents.layouts().len() > 1)
    {
        match pictures_of(&path.join(first))? {
            Pictures::Inside => {}
            Pictures::Beside => names_images_beside = true,
            Pictures::None => tables_beside = std::mem::take(&mut contents.parquet),
        }
    }
    let mut found = contents.layouts();
    let mut notes = Vec::new();
    let is_set = |name: &String| contents.parquet.contains(name);
    let usual_table = tables::usual(path, &contents.names)?.filter(|name| !is_set(name));
    let mut table = None;
    if let Some(name) = &usual_table {
        found.push((Layout::Metadata, name.clone()));
        table = Some(tables::open(path, name, captions)?);
    } else if !names_images_beside && (contents.has_images() || found.is_empty()) {
        let splits = if found.is_empty() && contents.loose.is_empty() {
            splits_of(path, &contents, split)?
        } else {
            None
        };
        let bases = bases(path, &contents, splits.as_ref());
        if contents.has_images() && found.is_empty() {
            table = tables::under_another_name(path, &contents.names, &bases, split, captions, &mut notes)?;
        }
        if let Some(table) = &table {
            let name = table.path.file_name().map(|name| name.to_string_lossy().into_owned());
            found.push((Layout::Metadata, name.unwrap_or_default()));
        } else if let Some(splits) = splits {
            return read_split(path, &contents, splits, captions, notes);
        } else if let Some(image) = contents.loose.first() {
            found.push((Layout::Folder, image.clone()));
        } else if let Some((name, _)) = contents.with_images().first_key_value() {
            let names = Walk::first_image(&path.join(name))?.unwrap_or_default();
            found.push((Layout::Folder, format!("{name}/{}", names.join("/"))));
        }
    }
    let layout = match found.as_slice() {
        [] => return Err(unknown(path, &contents)),
        [(layout, _)] => *layout,
        [(first, example), (second, other), ..] => {
            let value = format!("both {first} ({example}) and {second} ({other})");
            return Err(place.broken("the layout", value, "one; name the file or the folder that is meant"));
        }
    };
    let Contents { names, parquet, tar, npy, npz, idx, binary, .. } = &contents;
    let mut structure = match (layout, table) {
        (Layout::Metadata, Some(table)) => return metadata::read(path, table, split, captions, notes),
        (Layout::Folder | Layout::Image | Layout::Metadata, _) => {
            whole_only(path, split)?;
            let mut structure = folder::read(path, captions)?;
            structure.notes.splice(..0, notes);
            return Ok(structure);
        }
        (Layout::Idx, _) => read_idx_pair(&one_of(path, &of_half(path, idx, split)?)?)?,
        (Layout::CifarBinary, _) => cifar::read(&cifar::batches_of(path, binary, ".bin", split)?)?,
        (Layout::CifarStrips, _) => strips::read(path, names, split)?,
        (Layout::Parquet, _) => parquet_shards::read(&shards(path, parquet, split)?, captions)?,
        (Layout::WebDataset, _) => {
            let tables: Vec<PathBuf> = tables_beside.iter().map(|name| path.join(name)).collect();
            // Where the names of archives say no split, those of the images may.
            let named = tar.iter().any(|name| part_named(name).is_some());
            let (of_names, of_keys) = if named { (split, None) } else { (Split::Train, Some(split)) };
            webdataset::read(&shards(path, tar, of_names)?, &tables, of_keys, captions)?
        }
        (Layout::Npz, _) => arrays::read_npz(&one_of(path, npz)?, split)?,
        (Layout::Npy, _) => arrays::read_npy(&one_of(path, &of_half(path, npy, split)?)?)?,
    };
    let is_table =
        |name: &str| tables_beside.iter().any(|table| table == name) || name.ends_with("_stats.json");
    let beside = beside(path, &contents, &structure, split, is_table);
    structure.notes.extend(beside);
    Ok(structure)
}

/// What is to be said of a folder with files of images: the files of other splits, and what else is not read.
fn beside(
    path: &Path,
    contents: &Contents,
    structure: &Structure,
    split: Split,
    is_table: impl Fn(&str) -> bool,
) -> Vec<Note> {
    let is_file_read = |name: &String| structure.files.contains(&path.join(name));
    let read_endings: Vec<Option<String>> =
        contents.names.iter().filter(|name| is_file_read(name)).map(|name| ending(name)).collect();
    let rest: Vec<&String> =
        contents.names.iter().filter(|name| !is_file_read(name) && !is_table(name)).collect();
    let (others, left): (Vec<&String>, Vec<&String>) = rest.into_iter().partition(|name| {
        part_named(name).is_some_and(|part| part != split.into()) && read_endings.contains(&ending(name))
    });
    let mut notes = Vec::new();
    if !others.is_empty() {
        let others: Vec<String> = others.into_iter().cloned().collect();
        notes.push(Note::Split { taken: word_of(split).into(), others });
    }
    // Images that a file of the set names lie in folders.
    let folders = contents.folders.keys().filter(|name| {
        let folder = path.join(name);
        !structure.files.iter().any(|file| file.starts_with(&folder))
    });
    notes.extend(Note::left_out(left.into_iter().map(String::as_str), folders.cloned().collect()));
    notes
}

/// The folder of a split, and what lies beside it.
struct Taken {
    folder: String,
    other_splits: Vec<String>,
    other_folders: Vec<String>,
}

/// The folder of the split that is asked for, if the folders are splits; or `data` with Parquet files, as repositories of
/// Hugging Face have it.
fn splits_of(path: &Path, contents: &Contents, split: Split) -> Result<Option<Taken>, DataError> {
    let names: Vec<&String> = contents.folders.keys().collect();
    if let [name] = names.as_slice()
        && *name == "data"
        && let inner = entries(&path.join(name))?
        && inner.iter().any(|entry| ending(&entry.name).is_some_and(|ending| ending == "parquet"))
    {
        return if split == Split::Train || inner.iter().any(|entry| part_named(&entry.name).is_some()) {
            Ok(Some(Taken { folder: (*name).clone(), other_splits: Vec::new(), other_folders: Vec::new() }))
        } else {
            Err(no_half(path, split, &[]))
        };
    }
    let mut folders = contents.with_images();
    if folders.is_empty() {
        // They may hold archives or arrays.
        folders = contents
            .folders
            .keys()
            .filter(|name| part_of_folder(name).is_some())
            .map(|name| (name.clone(), false))
            .collect();
    }
    let Some(splits) = SplitFolders::among(path, &folders)? else { return Ok(None) };
    let (folder, other_splits) = splits.taken(path, split)?;
    let other_folders = contents
        .folders
        .keys()
        .filter(|name| **name != folder && !other_splits.contains(name))
        .cloned()
        .collect();
    Ok(Some(Taken { folder, other_splits, other_folders }))
}

/// Reads the folder of a split.
fn read_split(
    path: &Path,
    contents: &Contents,
    taken: Taken,
    captions: Option<&str>,
    mut notes: Vec<Note>,
) -> Result<Structure, DataError> {
    let Taken { folder, other_splits, other_folders } = taken;
    let inner = path.join(&folder);
    // `data` is no split itself.
    if part_named(&folder).is_some() {
        notes.push(Note::Split { taken: folder, others: other_splits });
    }
    let told: Vec<String> = notes
        .iter()
        .filter_map(|note| if let Note::NotRead { what, .. } = note { Some(what.clone()) } else { None })
        .collect();
    let files = contents.names.iter().filter(|name| !told.contains(name)).map(String::as_str);
    notes.extend(Note::left_out(files, other_folders));
    let mut structure = read_folder(&inner, Split::Train, captions)?;
    structure.notes.splice(..0, notes);
    Ok(structure)
}

/// The folders from which the names in a table may start: its own, then that of the split, or the only one with images.
fn bases(path: &Path, contents: &Contents, splits: Option<&Taken>) -> Vec<PathBuf> {
    let mut bases = vec![path.to_path_buf()];
    match (splits, contents.with_images().keys().collect::<Vec<_>>().as_slice()) {
        (Some(taken), _) => bases.push(path.join(&taken.folder)),
        (None, [only]) => bases.push(path.join(only)),
        _ => {}
    }
    bases
}

/// The error for a folder in which no set is found: it names the first thing that could be made one.
fn unknown(path: &Path, contents: &Contents) -> DataError {
    if let Some(error) = containers::first_of(path, &contents.names) {
        return error;
    }
    let left_out =
        Note::left_out(contents.names.iter().map(String::as_str), contents.folders.keys().cloned().collect());
    let value = match left_out {
        Some(left_out) => format!("none that is known ({left_out})"),
        None => "none that is known (it is empty)".into(),
    };
    Place::file(path).broken("the layout", value, KNOWN)
}

/// The name of the labels that belong to a file of IDX images; none for another file.
fn idx_labels_name(name: &str) -> Option<String> {
    (name.contains("images-idx3") || name.contains("images.idx3"))
        .then(|| name.replace("images-idx3", "labels-idx1").replace("images.idx3", "labels.idx1"))
}

fn read_idx_pair(images: &Path) -> Result<Structure, DataError> {
    let name = images.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let labels = idx_labels_name(name).ok_or_else(|| {
        let bound = "NAME-images-idx3-ubyte, with NAME-labels-idx1-ubyte beside it";
        Place::file(images).broken("the name", format!("{name:?}"), bound)
    })?;
    // One of the two may be compressed.
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels);
    let candidates = [labels.clone(), plain.to_owned(), format!("{plain}.gz")];
    let path = candidates.iter().map(|name| images.with_file_name(name)).find(|path| path.is_file());
    idx_files::read(images, &path.unwrap_or_else(|| images.with_file_name(&labels)))
}

/// A single file, by its first bytes.
fn read_file(path: &Path, split: Split, captions: Option<&str>) -> Result<Structure, DataError> {
    let place = Place::file(path);
    let (mut file, length) = place.open()?;
    let start = containers::first_bytes(path)?;
    let mut magic = Vec::new();
    let tar_magic = file.seek(SeekFrom::Start(257)).and_then(|_| file.take(5).read_to_end(&mut magic));
    tar_magic.map_err(|source| place.io("read", source))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_zip = start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06");
    if is_zip {
        let is_npz = ending(&name).is_some_and(|ending| ending == "npz");
        return match containers::file(path, &start) {
            Some(container) if !is_npz => Err(container.refused(path)),
            _ => arrays::read_npz(path, split),
        };
    }
    // A file is one half itself, whichever it is called after.
    let is_half = part_named(&name) == Some(split.into());
    let is_tar = magic == b"ustar";
    if !is_half && !is_tar {
        whole_only(path, split)?;
    }
    if start.starts_with(b"PAR1") {
        parquet_shards::read(&[path.into()], captions)
    } else if start.starts_with(b"\x93NUMPY") {
        arrays::read_npy(path)
    } else if is_tar {
        webdataset::read(&[path.into()], &[], (!is_half).then_some(split), captions)
    } else if start.starts_with(&[0, 0, 8, 3]) || idx_labels_name(&name).is_some() {
        read_idx_pair(path)
    } else if name.ends_with(".bin") && length.is_multiple_of(cifar::RECORD_BYTES as u64) && length > 0 {
        cifar::read(&[path.into()])
    } else if ending(&name).is_some_and(|ending| is_image_ending(&ending)) || format_of(&start).is_ok() {
        folder::read_one(path, captions)
    } else if let Some(container) = containers::file(path, &start) {
        Err(container.refused(path))
    } else {
        let shown: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let value = format!("none that is known (first bytes {})", shown.join(" "));
        Err(place.broken("the layout", value, KNOWN))
    }
}
