//! The index of a set, which is kept in the cache.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pentimento_data::{ImageSource as _, OpenOptions, open};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, try_open};

fn reasons(path: &Path, cache: &Path) -> Vec<String> {
    let mut told = Vec::new();
    let options = OpenOptions { cache_dir: Some(cache.into()), ..OpenOptions::default() };
    open(path, &options, &mut |event| told.push(event.to_string())).unwrap();
    told.retain(|event| event.contains("index"));
    told
}

#[test]
fn is_kept_and_made_again_when_a_file_changes() {
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = folder.path().join("1.png");
    fs::write(&path, png(&noise(4, 4, 1, 0))).unwrap();
    let told = reasons(folder.path(), cache.path());
    assert!(told.len() == 1 && told[0].contains("not opened before"), "{told:?}");
    assert!(reasons(folder.path(), cache.path()).is_empty());
    // Another name of the same folder.
    let name = folder.path().file_name().unwrap();
    assert!(reasons(&folder.path().join("..").join(name), cache.path()).is_empty());
    // The same length and the same time, another image.
    let before = fs::metadata(&path).unwrap();
    let changed = (1..)
        .map(|seed| png(&noise(4, 4, 1, seed)))
        .find(|bytes| bytes.len() as u64 == before.len())
        .unwrap();
    fs::write(&path, changed).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let told = reasons(folder.path(), cache.path());
    assert!(told.len() == 1 && told[0].contains("1.png is not what it was"), "{told:?}");
    // Another file.
    fs::write(folder.path().join("2.png"), png(&noise(4, 4, 1, 9))).unwrap();
    assert_eq!(reasons(folder.path(), cache.path()).len(), 1);
    assert!(reasons(folder.path(), cache.path()).is_empty());
}

#[test]
fn that_is_damaged_is_made_again_and_says_so() {
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(folder.path().join("1.png"), png(&noise(4, 4, 1, 0))).unwrap();
    reasons(folder.path(), cache.path());
    let file = fs::read_dir(cache.path().join("indexes")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let other_digest = [&[b'0'; 64], &whole[64..]].concat();
    for bytes in [&whole[..whole.len() / 2], &[], &flipped, &other_digest] {
        fs::write(&file, bytes).unwrap();
        let told = reasons(folder.path(), cache.path());
        assert!(told.len() == 1 && told[0].contains("is damaged"), "{told:?}");
        assert!(reasons(folder.path(), cache.path()).is_empty());
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
}

#[test]
fn that_cannot_be_kept_is_told() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("1.png"), png(&noise(4, 4, 1, 0))).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let told = reasons(folder.path(), file.path());
    assert!(told.iter().any(|event| event.contains("cannot be kept")), "{told:?}");
}

#[test]
fn an_image_that_changes_under_an_open_set_is_noticed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("1.png");
    fs::write(&path, png(&noise(4, 4, 1, 0))).unwrap();
    let source = try_open(folder.path()).unwrap();
    fs::write(&path, png(&noise(4, 4, 1, 1))).unwrap();
    assert_names(&source.image(0).unwrap_err().to_string(), &["1.png", "another one now"]);
}

/// A file is read again only if the file system says that it may be another one, or if that is asked for: the index says of
/// this one that its bytes are others, which only whoever reads them sees.
#[test]
fn files_that_are_clearly_old_are_not_read() {
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = folder.path().join("1.png");
    fs::write(&path, png(&noise(4, 4, 1, 0))).unwrap();
    let opened = |verify: bool| {
        let mut told = Vec::new();
        let options = OpenOptions { cache_dir: Some(cache.path().into()), verify, ..OpenOptions::default() };
        open(folder.path(), &options, &mut |event| told.push(event.to_string())).unwrap();
        told.retain(|event| event.contains("index"));
        told
    };
    let falsify = || {
        let file = fs::read_dir(cache.path().join("indexes")).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let digest = blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string();
        let json = text[65..].replace(&digest, &"0".repeat(64));
        assert_ne!(json, text[65..]);
        fs::write(file, format!("{}\n{json}", blake3::hash(json.as_bytes()).to_hex())).unwrap();
    };
    assert_eq!(opened(false).len(), 1);
    // A moment after it was written, its time stamp proves nothing.
    falsify();
    assert!(opened(false)[0].contains("1.png is not what it was"));
    std::thread::sleep(Duration::from_millis(2100));
    // Read once more, and from then on known by its stamp.
    assert!(opened(false).is_empty());
    falsify();
    assert!(opened(false).is_empty());
    // Whoever wants to be sure reads it.
    assert!(opened(true)[0].contains("1.png is not what it was"));
    // A touched file is read, and is what it was.
    fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(opened(false).is_empty());
}

/// What is known is said in one line while the index holds, and in full when it does not.
#[test]
fn a_known_set_is_told_in_one_line_while_it_is_unchanged() {
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(folder.path().join("a.png"), png(&noise(4, 4, 4, 0))).unwrap();
    fs::write(folder.path().join("cut.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    let told = |is_known, skip_damaged| {
        let options = OpenOptions {
            is_known,
            skip_damaged,
            cache_dir: Some(cache.path().into()),
            ..OpenOptions::default()
        };
        let mut told = Vec::new();
        open(folder.path(), &options, &mut |event| told.push((event.is_of_contents(), event.to_string())))
            .unwrap();
        told
    };
    let path = folder.path().display();
    let full = |told: &[(bool, String)]| {
        let text: Vec<&str> = told.iter().map(|(_, text)| text.as_str()).collect();
        assert_names(
            &text.join("\n"),
            &[
                "a folder of images, 2 images in 2 files\nnot read: 1 .txt\n",
                "transparent",
                "1 image of 2 left out",
            ],
        );
    };
    // Known, but not to the index: it may be another set.
    let first = told(true, true);
    full(&first);
    assert_eq!(first.iter().filter(|(_, text)| text.contains("not read")).count(), 1);
    let happenings: Vec<_> = first.iter().filter(|(is_of_contents, _)| !is_of_contents).collect();
    assert_eq!(happenings, [&(false, "indexing the set: it was not opened before".to_owned())]);
    full(&told(false, true));
    let line = format!("{path}: a folder of images, 2 images as before");
    assert_eq!(told(true, false), [(true, line.clone())]);
    let left_out = format!("{line}; 1 left out (`pentimento data inspect {path}` shows all)");
    assert_eq!(told(true, true), [(true, left_out)]);
    fs::write(folder.path().join("a.png"), png(&noise(4, 5, 4, 0))).unwrap();
    full(&told(true, true));
}
