//! Which layout a path has, told by what is in it. Only this module knows all layouts; none of them knows it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::folder::{entries, images_under, is_image};
use super::halves::{half_called, half_named, no_half, of_half, whole_only};
use super::place::Place;
use super::structure::{Layout, Structure};
use super::{arrays, cifar, folder, idx_files, metadata, parquet_shards, strips, webdataset};
use crate::error::DataError;
use crate::public_sets::Split;

/// What a known layout would be, for errors.
const KNOWN: &str = "IDX files, CIFAR-10 .bin files or strips, PNG, JPEG, WebP, BMP, GIF or TIFF images (in class folders, or with \
     metadata.csv or metadata.jsonl), .parquet, .tar, images.npy or .npz";

/// Reads the structure of the set at a path.
pub(super) fn read(path: &Path, split: Split) -> Result<Structure, DataError> {
    let metadata = std::fs::metadata(path).map_err(|source| Place::file(path).io("open", source))?;
    if metadata.is_dir() { read_folder(path, split) } else { read_file(path, split) }
}

fn read_folder(path: &Path, split: Split) -> Result<Structure, DataError> {
    let place = Place::file(path);
    let listed = entries(path)?;
    let (folders, files): (Vec<_>, Vec<_>) = listed.into_iter().partition(|(_, path)| path.is_dir());
    let names: Vec<String> = files.into_iter().map(|(name, _)| name).collect();
    let having = |test: &dyn Fn(&str) -> bool| -> Vec<String> {
        names.iter().filter(|name| test(name)).cloned().collect()
    };
    let ends_with = |ending: &'static str| {
        move |name: &str| name.len() > ending.len() && name.to_ascii_lowercase().ends_with(ending)
    };

    let idx = having(&|name| idx_labels_name(name).is_some());
    let binary = having(&|name| cifar::is_batch(name, ".bin").is_some());
    let strip_labels = having(&|name| strips::LABEL_FILES.as_flattened().contains(&name));
    let tables = having(&|name| metadata::TABLES.contains(&name));
    let parquet = having(&ends_with(".parquet"));
    let tar = having(&ends_with(".tar"));
    let npz = having(&ends_with(".npz"));
    let npy = having(&|name| name.to_ascii_lowercase().ends_with(".npy") && name != arrays::LABELS_FILE);
    let mut loose = Vec::new();
    for name in &names {
        let is_strip = !strip_labels.is_empty() && cifar::is_batch(name, ".png").is_some();
        if !is_strip && is_image(&path.join(name)) {
            loose.push(name.clone());
        }
    }
    let mut found: Vec<(Layout, String)> = [
        (Layout::Idx, &idx),
        (Layout::CifarBinary, &binary),
        (Layout::CifarStrips, &strip_labels),
        (Layout::Parquet, &parquet),
        (Layout::WebDataset, &tar),
        (Layout::Npz, &npz),
        (Layout::Npy, &npy),
    ]
    .into_iter()
    .filter_map(|(layout, names)| Some((layout, names.first()?.clone())))
    .collect();
    match tables.as_slice() {
        [] => {}
        [table] => found.push((Layout::Metadata, table.clone())),
        [first, second, ..] => {
            let bound = "one table of metadata";
            return Err(place.broken("the layout", format!("both {first} and {second}"), bound));
        }
    }
    if tables.is_empty() {
        if let Some(image) = loose.first() {
            found.push((Layout::Folder, image.clone()));
        } else if found.is_empty()
            && let Some(inner) = only_halves(path, &folders, split)?
        {
            return read_folder(&inner, Split::Train);
        } else if let Some((inside, _)) = first_image_of(&folders)? {
            found.push((Layout::Folder, inside));
        }
    }
    match found.as_slice() {
        [] => {
            let compressed =
                having(&|name| [".tar.gz", ".tgz", ".tar.zst"].iter().any(|ending| name.ends_with(ending)));
            let value = compressed.first().map_or("none that is known".into(), |name| {
                format!("a compressed archive ({name}), in which single images cannot be reached")
            });
            Err(place.broken("the layout", value, KNOWN))
        }
        [(layout, _)] => match layout {
            Layout::Idx => {
                let images = one_of(path, &of_half(path, &idx, split)?)?;
                read_idx_pair(&images)
            }
            Layout::CifarBinary => cifar::read(&cifar::batches_of(path, &names, ".bin", split)?),
            Layout::CifarStrips => strips::read(path, &names, split),
            Layout::Parquet => parquet_shards::read(&shards(path, &parquet, split)?),
            Layout::WebDataset => webdataset::read(&shards(path, &tar, split)?),
            Layout::Npz => arrays::read_npz(&one_of(path, &npz)?, split),
            Layout::Npy => {
                whole_only(path, split)?;
                arrays::read_npy(&one_of(path, &npy)?)
            }
            Layout::Metadata => {
                whole_only(path, split)?;
                let table = tables.first().map_or_else(|| path.to_path_buf(), |table| path.join(table));
                metadata::read(path, &table)
            }
            Layout::Folder => {
                whole_only(path, split)?;
                folder::read(path)
            }
        },
        [(first, example), (second, other), ..] => Err(place.broken(
            "the layout",
            format!("both {first} ({example}) and {second} ({other})"),
            "one; name the file or the folder that is meant",
        )),
    }
}

/// `train` and `test` as the only folders, as many sets have them, or `data` with Parquet files, as repositories of
/// Hugging Face have it: the folder that is meant.
fn only_halves(
    path: &Path,
    folders: &[(String, PathBuf)],
    split: Split,
) -> Result<Option<PathBuf>, DataError> {
    if let [(name, folder)] = folders
        && name == "data"
        && entries(folder)?.iter().any(|(name, _)| name.ends_with(".parquet"))
    {
        let names: Vec<String> = entries(folder)?.into_iter().map(|(name, _)| name).collect();
        return if split == Split::Train || names.iter().any(|name| half_named(name).is_some()) {
            Ok(Some(folder.clone()))
        } else {
            Err(no_half(path, split))
        };
    }
    let is_half = |(name, _): &(String, PathBuf)| half_called(&name.to_ascii_lowercase()).is_some();
    if folders.is_empty() || !folders.iter().all(is_half) {
        return Ok(None);
    }
    let wanted = folders.iter().find(|(name, _)| half_named(name) == Some(Some(split)));
    wanted.map(|(_, folder)| Some(folder.clone())).ok_or_else(|| no_half(path, split))
}

/// The first image in any of these folders.
fn first_image_of(folders: &[(String, PathBuf)]) -> Result<Option<(String, PathBuf)>, DataError> {
    for (name, folder) in folders {
        if let Some((names, path)) = images_under(folder)?.into_iter().next() {
            return Ok(Some((format!("{name}/{}", names.join("/")), path)));
        }
    }
    Ok(None)
}

/// The only one of some names.
fn one_of(folder: &Path, names: &[String]) -> Result<PathBuf, DataError> {
    match names {
        [name] => Ok(folder.join(name)),
        _ => {
            let value = format!("{} files ({})", names.len(), names.join(", "));
            Err(Place::file(folder).broken("the layout", value, "one file; name the one that is meant"))
        }
    }
}

/// The shards of a half, in order. Of shards that are numbered `-00000-of-00003`, all must be there.
fn shards(folder: &Path, names: &[String], split: Split) -> Result<Vec<PathBuf>, DataError> {
    let names = of_half(folder, names, split)?;
    let numbered: Vec<Option<(&str, u64, u64)>> = names.iter().map(|name| shard_number(name)).collect();
    if let Some(&(prefix, _, count)) = numbered.iter().flatten().next() {
        let place = Place::file(folder);
        for (name, number) in names.iter().zip(&numbered) {
            if number.is_none_or(|(other, _, of)| (other, of) != (prefix, count)) {
                let bound = format!("shards of one series, such as {}", names[0]);
                return Err(place.broken("the list of shards", format!("with {name}"), bound));
            }
        }
        for expected in 0..count {
            if numbered
                .get(expected as usize)
                .copied()
                .flatten()
                .is_none_or(|(_, number, _)| number != expected)
            {
                let value = format!("without {prefix}-{expected:05}-of-{count:05}");
                return Err(place.broken("the list of shards", value, format!("all {count}")));
            }
        }
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// `train-00001-of-00003.parquet` is `("train", 1, 3)`.
fn shard_number(name: &str) -> Option<(&str, u64, u64)> {
    let stem = name.split('.').next()?;
    let (front, count) = stem.rsplit_once("-of-")?;
    let (prefix, number) = front.rsplit_once('-')?;
    Some((prefix, number.parse().ok()?, count.parse().ok()?))
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
fn read_file(path: &Path, split: Split) -> Result<Structure, DataError> {
    let place = Place::file(path);
    let (mut file, length) = place.open()?;
    let mut start = Vec::new();
    file.by_ref().take(512).read_to_end(&mut start).map_err(|source| place.io("read", source))?;
    let mut magic = Vec::new();
    let tar_magic = file.seek(SeekFrom::Start(257)).and_then(|_| file.take(5).read_to_end(&mut magic));
    tar_magic.map_err(|source| place.io("read", source))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return arrays::read_npz(path, split);
    }
    // A file is one half itself, whichever it is called after.
    let is_half = half_named(&name) == Some(Some(split));
    if !is_half {
        whole_only(path, split)?;
    }
    if start.starts_with(b"PAR1") {
        parquet_shards::read(&[path.into()])
    } else if start.starts_with(b"\x93NUMPY") {
        arrays::read_npy(path)
    } else if magic == b"ustar" {
        webdataset::read(&[path.into()])
    } else if start.starts_with(&[0, 0, 8, 3]) || idx_labels_name(&name).is_some() {
        read_idx_pair(path)
    } else if name.ends_with(".bin") && length.is_multiple_of(cifar::RECORD_BYTES as u64) && length > 0 {
        cifar::read(&[path.into()])
    } else {
        let shown: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let value = format!("none that is known (first bytes {})", shown.join(" "));
        Err(place.broken("the layout", value, KNOWN))
    }
}
