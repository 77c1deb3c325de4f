//! The file of an index in the cache folder, and whether it still fits the set.
//!
//! A file of the set is what it was if its length, its time stamps and its inode are; its bytes are then not read. A stamp that
//! is not clearly older than the moment at which the file was read proves nothing, as the file may have changed since within
//! the same tick of the clock; such a file is read again, and so is one whose stamp is another one. It is then the BLAKE3
//! digest that counts.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::damage::DamageKind;
use super::decode::{Channels, Colours};
use super::event::{Meter, Tell, Work};
use super::index::OpenOptions;
use super::indexing::Entry;
use super::place::{Place, shown_name};
use super::structure::Layout;
use crate::error::DataError;
use crate::public_sets::Split;

/// Raised when the file of an index has another form, or when decoding gives other bytes.
const INDEX_VERSION: u32 = 3;
/// Clocks of file systems tick at least every two seconds: that of FAT; those of others within milliseconds.
const CLOCK_TICK: Duration = Duration::from_secs(2);
/// Files that are read before it is told how many there are.
const WINDOW_FILES: usize = 1024;

/// What an index is made from; it holds for nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Basis {
    version: u32,
    layout: Layout,
    split: Split,
    colours: Colours,
    images: usize,
}

/// A file of the set as it was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct FileState {
    /// Its path from the set's folder.
    name: String,
    /// In bytes.
    length: u64,
    /// Of its bytes.
    digest: String,
    /// None if it proves nothing.
    stamp: Option<Stamp>,
}

/// What the file system says of a file besides its length. Whatever changes the bytes changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    /// Nanoseconds since 1970 at which the bytes changed last.
    modified: i64,
    /// The same for anything about the file, where the system says so. No program can set it back.
    changed: i64,
    /// Which file of the file system it is, where the system says so.
    inode: u64,
}

/// The index of a set.
#[derive(Serialize, Deserialize)]
pub(super) struct Index {
    basis: Basis,
    pub(super) channels: Channels,
    pub(super) entries: Vec<Entry>,
    files: Vec<FileState>,
}

/// A set that has or gets an index.
pub(super) struct Indexed<'a> {
    pub(super) folder: &'a Path,
    pub(super) files: &'a [PathBuf],
    pub(super) layout: Layout,
    pub(super) images: usize,
    pub(super) options: &'a OpenOptions,
}

impl Indexed<'_> {
    fn basis(&self) -> Basis {
        Basis {
            version: INDEX_VERSION,
            layout: self.layout,
            split: self.options.split,
            colours: self.options.colours,
            images: self.images,
        }
    }

    /// The index that is kept in a file, if it is whole and made from the same; else why not. What the file system says of
    /// files is brought up to date.
    pub(super) fn load(&self, kept: &Path, tell: &mut Tell<'_>) -> Result<Result<Index, String>, DataError> {
        let mut index = match self.read(kept) {
            Ok(index) => index,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut renewed = false;
        let mut to_read = Vec::new();
        let now = SystemTime::now();
        let found: Vec<(u64, Stamp)> =
            self.files.par_iter().map(|file| state_of(file)).collect::<Result<_, _>>()?;
        for (position, (before, &(length, stamp))) in index.files.iter().zip(&found).enumerate() {
            if length != before.length {
                return Ok(Err(changed(&before.name)));
            }
            if self.options.verify || before.stamp != Some(stamp) {
                to_read.push(position);
            }
        }
        let mut meter = Meter::new(Work::Comparing, to_read.len());
        for (window, positions) in to_read.chunks(WINDOW_FILES).enumerate() {
            let digests: Vec<Option<String>> = positions
                .par_iter()
                .map(|&position| digest_if_readable(&self.files[position]))
                .collect::<Result<_, _>>()?;
            for (&position, digest) in positions.iter().zip(digests) {
                let (before, stamp) = (&mut index.files[position], found[position].1.proof(now));
                if digest.as_ref() != Some(&before.digest) {
                    return Ok(Err(changed(&before.name)));
                }
                renewed |= before.stamp != stamp;
                before.stamp = stamp;
            }
            meter.set(window * WINDOW_FILES + positions.len(), tell);
        }
        if renewed {
            // Without it, these files are read once more the next time.
            let _ = index.keep(kept);
        }
        Ok(Ok(index))
    }

    fn read(&self, kept: &Path) -> Result<Index, String> {
        let bytes = match fs::read(kept) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err("it was not opened before".into());
            }
            bytes => bytes.map_err(|error| format!("{} cannot be read: {error}", kept.display()))?,
        };
        let damaged = || format!("{} is damaged", kept.display());
        // The digest of all that follows, a line of its own.
        let (digest, json) = bytes.split_at_checked(65).ok_or_else(damaged)?;
        if digest != format!("{}\n", blake3::hash(json).to_hex()).as_bytes() {
            return Err(damaged());
        }
        let index: Index = serde_json::from_slice(json).map_err(|_| match version_of(json) {
            Some(version) if version != INDEX_VERSION => "another version of this program indexed it".into(),
            _ => damaged(),
        })?;
        if index.basis.version != INDEX_VERSION {
            return Err("another version of this program indexed it".into());
        }
        if index.basis != self.basis() || index.files.len() != self.files.len() {
            return Err("it is not what it was when it was indexed".into());
        }
        if let Some((before, _)) =
            index.files.iter().zip(self.files).find(|(before, now)| before.name != self.name(now))
        {
            return Err(changed(&before.name));
        }
        if index.entries.len() != self.images {
            return Err(damaged());
        }
        Ok(index)
    }

    /// The path from the set's folder, which may itself be named in several ways.
    fn name(&self, file: &Path) -> String {
        shown_name(file.strip_prefix(self.folder).unwrap_or(file).as_os_str())
    }

    /// What the files are now, for an index that is going to be built; none if one of them cannot be read, which is then told
    /// of its image.
    pub(super) fn states(&self, tell: &mut Tell<'_>) -> Result<Option<Files>, DataError> {
        let mut meter = Meter::new(Work::Comparing, self.files.len());
        let mut states = Vec::with_capacity(self.files.len());
        for window in self.files.chunks(WINDOW_FILES) {
            let now = SystemTime::now();
            let of_window: Vec<Option<FileState>> = window
                .par_iter()
                .map(|file| {
                    // Asked first: what changes after that has another stamp.
                    let (length, stamp) = state_of(file)?;
                    let state =
                        |digest| FileState { name: self.name(file), length, digest, stamp: stamp.proof(now) };
                    Ok(digest_if_readable(file)?.map(state))
                })
                .collect::<Result<_, DataError>>()?;
            let Some(of_window) = of_window.into_iter().collect::<Option<Vec<FileState>>>() else {
                return Ok(None);
            };
            states.extend(of_window);
            meter.set(states.len(), tell);
        }
        Ok(Some(Files(states)))
    }

    /// An index of what was found.
    pub(super) fn index(&self, files: Files, channels: Channels, entries: Vec<Entry>) -> Index {
        Index { basis: self.basis(), channels, entries, files: files.0 }
    }
}

/// The files of a set as they were read.
pub(super) struct Files(Vec<FileState>);

impl Index {
    /// Writes it whole or not at all.
    pub(super) fn keep(&self, file: &Path) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut partial = tempfile::NamedTempFile::new_in(folder)?;
        writeln!(partial, "{}", blake3::hash(&json).to_hex())?;
        partial.write_all(&json)?;
        partial.as_file().sync_all()?;
        partial.persist(file)?;
        Ok(())
    }
}

/// One file for each set, half and colours.
pub(super) fn index_file(cache_dir: &Path, path: &Path, options: &OpenOptions) -> PathBuf {
    // A path that cannot be resolved is taken as it is: two names of one set then have two indexes.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let name = format!("{:?}", (path, options.split, options.colours));
    cache_dir.join("indexes").join(format!("{}.json", blake3::hash(name.as_bytes()).to_hex()))
}

/// The version of an index of any form.
fn version_of(json: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct AnyIndex {
        basis: AnyBasis,
    }
    #[derive(Deserialize)]
    struct AnyBasis {
        version: u32,
    }
    serde_json::from_slice::<AnyIndex>(json).ok().map(|index| index.basis.version)
}

fn changed(name: &str) -> String {
    format!("{name} is not what it was when the set was indexed")
}

/// Length and stamp of a file.
fn state_of(path: &Path) -> Result<(u64, Stamp), DataError> {
    let metadata = fs::metadata(path).map_err(|source| Place::file(path).io("open", source))?;
    Ok((metadata.len(), Stamp::of(&metadata)))
}

impl Stamp {
    #[cfg(unix)]
    fn of(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    #[cfg(not(unix))]
    fn of(metadata: &fs::Metadata) -> Self {
        // A time that is not known is none that proves anything.
        Self { modified: metadata.modified().map_or(i64::MAX, nanoseconds_since_1970), changed: 0, inode: 0 }
    }

    /// Itself, if it proves that a file which was read at this moment has not changed since.
    fn proof(self, read_at: SystemTime) -> Option<Self> {
        let before = nanoseconds_since_1970(read_at - CLOCK_TICK);
        (self.modified < before && self.changed < before).then_some(self)
    }
}

/// Zero for a time before.
fn nanoseconds_since_1970(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The BLAKE3 digest of a file; none if this file, as others of a set may be, cannot be opened.
fn digest_if_readable(path: &Path) -> Result<Option<String>, DataError> {
    match digest(path) {
        Ok(digest) => Ok(Some(digest)),
        Err(error) if DamageKind::of(&error).is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

fn digest(path: &Path) -> Result<String, DataError> {
    let place = Place::file(path);
    let (file, _) = place.open()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(|source| place.io("read", source))?;
    Ok(hasher.finalize().to_hex().to_string())
}
