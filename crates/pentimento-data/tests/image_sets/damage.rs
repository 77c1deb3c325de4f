//! Sets with damaged images: all of them told in one go, and how to go on without them.

use std::fs;
use std::path::Path;

use pentimento_data::{
    DamageKind, DamageSummary, DataError, ImageSource as _, OpenEvent, OpenOptions, Preprocessing, open,
    prepare,
};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, try_open};

/// Nine whole images of two classes, and one of each kind of fault, two of one.
fn set_with_faults(root: &Path) {
    for index in 0..9 {
        let class = root.join(["cat", "dog"][index % 2]);
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{index}.png")), png(&noise(4, 4, 3, index as u64))).unwrap();
    }
    let whole = png(&noise(8, 8, 3, 1));
    fs::write(root.join("cat/cut-a.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(root.join("cat/cut-b.png"), &whole[..whole.len() / 3]).unwrap();
    fs::write(root.join("cat/picture.ppm"), "P6 1 1 255 abc").unwrap();
    fs::write(root.join("dog/huge.png"), png_header(60_000, 60_000)).unwrap();
}

fn open_skipping(path: &Path, told: &mut Vec<String>) -> pentimento_data::IndexedSource {
    let options = OpenOptions { skip_damaged: true, ..OpenOptions::default() };
    let mut tell = |event: OpenEvent<'_>| told.push(event.to_string());
    open(path, &options, &mut tell).unwrap()
}

#[test]
fn all_faults_are_told_in_one_go_by_kind_with_their_names() {
    let folder = TempDir::new().unwrap();
    set_with_faults(folder.path());
    let source = try_open(folder.path()).unwrap();
    assert_eq!(source.len(), 13);
    let error = prepare(&source, &Preprocessing::default()).unwrap_err();
    let DataError::Damaged { images, of } = &error else { panic!("{error}") };
    assert_eq!((images.len(), *of), (4, 13));
    let text = error.to_string();
    assert_names(&text, &["4 of 13 images cannot be read"]);
    let lines: Vec<&str> = text.lines().collect();
    // A line for each kind.
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines.iter().any(|line| line.contains("2 damaged: cat/cut-a.png, cat/cut-b.png")), "{text}");
    assert!(
        lines.iter().any(|line| line.contains("1 in a format that is not read: cat/picture.ppm")),
        "{text}"
    );
    assert!(lines.iter().any(|line| line.contains("1 of a size that is not read: dog/huge.png")), "{text}");
    // What is not selected is not in the way.
    let dogs = Preprocessing { classes: Some(vec![1]), first: Some(3), ..Preprocessing::default() };
    assert_eq!(prepare(&source, &dogs).unwrap().len(), 3);
}

#[test]
fn of_many_of_a_kind_the_first_are_named_and_the_others_counted() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("whole.png"), png(&noise(4, 4, 3, 0))).unwrap();
    for index in 0..30 {
        fs::write(folder.path().join(format!("cut-{index:02}.png")), b"\x89PNG\r\n\x1a\n").unwrap();
    }
    let damaged = try_open(folder.path()).unwrap().damaged();
    assert!(damaged.iter().all(|image| image.kind == DamageKind::Damaged));
    let text = DamageSummary(&damaged).to_string();
    assert_names(&text, &["30 damaged: cut-00.png, cut-01.png", "and 24 more"]);
    assert!(!text.contains("cut-06"), "{text}");
}

/// Positions stay those of the whole set, so that a picture that is mended later changes no other's number.
#[test]
fn damaged_images_are_left_out_if_that_is_asked_for_and_told() {
    let folder = TempDir::new().unwrap();
    set_with_faults(folder.path());
    let mut told = Vec::new();
    let source = open_skipping(folder.path(), &mut told);
    let said = told.iter().find(|text| text.contains("left out")).unwrap();
    assert_names(said, &["4 images of 13 left out", "cat/cut-a.png", "cat/picture.ppm", "dog/huge.png"]);
    let prepared = prepare(&source, &Preprocessing::default()).unwrap();
    // cat: 0, 2, 4, 6, 8 at 0 to 4, then the three faults; dog: 1, 3, 5, 7, then its fault.
    assert_eq!(prepared.source_indices(), [0, 1, 2, 3, 4, 8, 9, 10, 11]);
    assert_eq!(prepared.labels(), [0, 0, 0, 0, 0, 1, 1, 1, 1]);
    // The first of a class are the first whole ones.
    fs::write(folder.path().join("cat/0.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let source = open_skipping(folder.path(), &mut told);
    let first = Preprocessing { first_per_class: Some(1), ..Preprocessing::default() };
    assert_eq!(prepare(&source, &first).unwrap().source_indices(), [1, 8]);
    // Nothing is left.
    let only = TempDir::new().unwrap();
    fs::write(only.path().join("cut.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let source = open_skipping(only.path(), &mut told);
    let error = prepare(&source, &Preprocessing::default()).unwrap_err().to_string();
    assert_names(&error, &["number of images is 0"]);
}

/// Bytes of a name that are no text are shown by their numbers, and the file is read.
#[cfg(unix)]
#[test]
fn names_that_are_no_text_are_read_all_the_same() {
    use std::os::unix::ffi::OsStrExt as _;
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let images = [noise(4, 4, 3, 0), noise(4, 4, 3, 1)];
    for (name, image) in [b"caf\xe9.png".as_slice(), b"caf\xea.png"].into_iter().zip(&images) {
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), png(image)).unwrap();
    }
    for _ in 0..2 {
        let options = OpenOptions { cache_dir: Some(cache.path().into()), ..OpenOptions::default() };
        let mut told = Vec::new();
        let source = open(folder.path(), &options, &mut |event| told.push(event.to_string())).unwrap();
        assert_eq!([source.key(0), source.key(1)], ["caf\\xE9.png", "caf\\xEA.png"]);
        assert_eq!([source.image(0).unwrap(), source.image(1).unwrap()], images);
        assert!(!told.iter().any(|text| text.contains("cannot be kept")), "{told:?}");
    }
}

/// A device under the name of an image is told like any fault, and waits for nobody.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_a_fault_of_its_own() {
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(folder.path().join("a.png"), png(&noise(4, 4, 3, 0))).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("b.png")).unwrap();
    let options = OpenOptions { cache_dir: Some(cache.path().into()), ..OpenOptions::default() };
    let mut told = Vec::new();
    let source = open(folder.path(), &options, &mut |event| told.push(event.to_string())).unwrap();
    assert_names(&source.damaged()[0].reason, &["b.png", "a regular file"]);
    assert!(told.iter().any(|text| text.contains("not every file of the set can be read")), "{told:?}");
}
