//! Files and folders that hold images in a way that is not read: what each of them is, and what makes a set of it that is.

use std::borrow::Cow;
use std::io::BufReader;
use std::path::Path;

use super::formats::is_image_ending;
use super::notes::ending;
use super::place::Place;
use super::words::counted;
use crate::error::DataError;

/// What something is, and the command after which it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    what: String,
    converted_by: String,
}

impl Container {
    fn new(what: impl Into<String>, converted_by: impl Into<String>) -> Self {
        Self { what: what.into(), converted_by: converted_by.into() }
    }

    /// The error for a path at which such a thing lies.
    pub(super) fn refused(&self, path: &Path) -> DataError {
        let bound = format!("one that is read; make it so: {}", self.converted_by);
        Place::file(path).broken("the layout", &self.what, bound)
    }
}

/// Tells a folder that `datasets` wrote with `save_to_disk`.
pub(super) fn folder(path: &Path, names: &[String]) -> Option<Container> {
    let is_there = |wanted: &str| names.iter().any(|name| name == wanted);
    let shown = path.display();
    if is_there("dataset_dict.json") {
        let command = format!(
            "python3 -c 'import datasets, os; os.makedirs(\"parquet\"); \
             [part.to_parquet(f\"parquet/{{name}}-00000-of-00001.parquet\") \
             for name, part in datasets.load_from_disk(\"{shown}\").items()]'"
        );
        return Some(Container::new("a folder of several sets by save_to_disk of datasets", command));
    }
    (is_there("state.json") && is_there("dataset_info.json")).then(|| {
        let command = format!(
            "python3 -c 'import datasets; datasets.load_from_disk(\"{shown}\").to_parquet(\"set.parquet\")'"
        );
        Container::new("a folder by save_to_disk of datasets", command)
    })
}

/// Tells a file by its first bytes and its name.
pub(super) fn file(path: &Path, start: &[u8]) -> Option<Container> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let ending = ending(&name).unwrap_or_default();
    let shown = path.display();
    let arrays = "numpy.savez(\"set.npz\", images=images, labels=labels)";
    let is = |signature: &[u8]| start.starts_with(signature);
    Some(if is(b"PK\x03\x04") || is(b"PK\x05\x06") {
        zip(path)?
    } else if is(b"\x1f\x8b") {
        Container::new("a gzip file, in which single images cannot be reached", format!("gunzip {shown}"))
    } else if is(b"\x28\xb5\x2f\xfd") {
        Container::new("a zstd file, in which single images cannot be reached", format!("zstd -d {shown}"))
    } else if is(b"BZh") {
        Container::new("a bzip2 file, in which single images cannot be reached", format!("bunzip2 {shown}"))
    } else if is(b"\xfd7zXZ\0") {
        Container::new("an xz file, in which single images cannot be reached", format!("unxz {shown}"))
    } else if is(b"7z\xbc\xaf\x27\x1c") {
        Container::new("a 7z archive", format!("7z x {shown} -o{stem}"))
    } else if is(b"Rar!") {
        Container::new("a rar archive", format!("unrar x {shown} {stem}/"))
    } else if is(b"\x89HDF\r\n\x1a\n") {
        let open = format!("in Python, h5py.File(\"{shown}\")");
        Container::new("an HDF5 file", format!("{open}, then {arrays} with its images and labels"))
    } else if is(b"ARROW1") || is(b"\xff\xff\xff\xff") && ending == "arrow" {
        let command = format!(
            "python3 -c 'import datasets; datasets.Dataset.from_file(\"{shown}\").to_parquet(\"{stem}.parquet\")'"
        );
        Container::new("an Arrow file", command)
    } else if is(b"MATLAB 5.0") {
        let open = format!("in Python, scipy.io.loadmat(\"{shown}\")");
        Container::new("a MATLAB file", format!("{open}, then {arrays} with its images and labels"))
    } else if matches!(start, [0x80, 2..=5, ..]) {
        let open = format!("in Python, pickle.load(open(\"{shown}\", \"rb\"), encoding=\"latin1\")");
        Container::new("a pickle of Python", format!("{open}, then {arrays} with its images and labels"))
    } else if matches!(ending.as_str(), "tfrecord" | "tfrecords") {
        let open = format!("in Python, read it with tensorflow.data.TFRecordDataset(\"{shown}\")");
        Container::new("a TFRecord file", format!("{open}, then {arrays} with its images and labels"))
    } else if name == "data.mdb" {
        let open = "in Python, read it with lmdb.open";
        Container::new("an LMDB database", format!("{open}, then {arrays} with its images and labels"))
    } else {
        return None;
    })
}

/// A zip archive without arrays: pictures, or what `torch.save` wrote.
fn zip(path: &Path) -> Option<Container> {
    let (file, _) = Place::file(path).open().ok()?;
    let archive = zip::ZipArchive::new(BufReader::new(file)).ok()?;
    let names: Vec<String> = archive.file_names().filter_map(|name| name.ok().map(Cow::into_owned)).collect();
    if names.iter().any(|name| name.ends_with(".npy")) {
        return None;
    }
    let shown = path.display();
    if names.iter().any(|name| name == "data.pkl" || name.ends_with("/data.pkl")) {
        let command = format!(
            "in Python, numpy.save(\"images.npy\", torch.load(\"{shown}\").numpy()), for bytes \
             [images, channels, height, width]"
        );
        return Some(Container::new("a file of torch.save", command));
    }
    let pictures =
        names.iter().filter(|name| ending(name).is_some_and(|ending| is_image_ending(&ending))).count();
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let what = match pictures {
        0 => format!("a zip archive of {}, without images or arrays", counted(names.len(), "file")),
        pictures => format!("a zip archive of {}", counted(pictures, "image file")),
    };
    Some(Container::new(what, format!("unzip {shown} -d {stem}, and name the folder {stem}")))
}

/// The first of these files that is a container.
pub(super) fn first_of(folder: &Path, names: &[String]) -> Option<DataError> {
    names.iter().find_map(|name| {
        let path = folder.join(name);
        let start = first_bytes(&path).ok()?;
        Some(file(&path, &start)?.refused(&path))
    })
}

/// What a file begins with.
pub(super) fn first_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    use std::io::Read as _;
    let place = Place::file(path);
    let (file, _) = place.open()?;
    let mut start = Vec::new();
    file.take(512).read_to_end(&mut start).map_err(|source| place.io("read", source))?;
    Ok(start)
}
