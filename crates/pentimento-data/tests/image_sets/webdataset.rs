//! WebDataset's tar archives.

use std::fs;

use pentimento_data::ImageSource as _;
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, refusal, try_open};

#[test]
fn a_tar_archive_cut_anywhere_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.tar");
    let entries: Vec<_> = (0..3).map(|index| (format!("{index}.png"), png(&noise(4, 4, 1, index)))).collect();
    let whole = tar_of(&entries);
    fs::write(&path, &whole).unwrap();
    assert_eq!(try_open(&path).unwrap().len(), 3);
    // Two blocks of zeros end it; one is enough to know that nothing is missing.
    for length in (512..whole.len() - 1023).step_by(128) {
        fs::write(&path, &whole[..length]).unwrap();
        assert_names(&refusal(&path), &["set.tar"]);
    }
}

#[test]
fn tar_archives_that_break_the_rules_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.tar");
    let image = png(&noise(4, 4, 1, 0));
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    let case = |entries: &[(String, Vec<u8>)], parts: &[&str]| {
        fs::write(&path, tar_of(entries)).unwrap();
        assert_names(&refusal(&path), parts);
    };
    case(&[file("../escape.png", &image)], &["../escape.png", "inside the archive"]);
    case(&[file("/abs/escape.png", &image)], &["/abs/escape.png", "inside the archive"]);
    case(&[file("a.png", &image), file("a.jpg", &image)], &["a.jpg", "the second one"]);
    case(&[file("a.png", &image), file("a.png", &image)], &["\"png\" twice"]);
    case(
        &[file("a.png", &image), file("b.png", &image), file("a.cls", b"1")],
        &["sample \"a\"", "the image is missing"],
    );
    case(&[file("a.png", &image), file("b.png", &image), file("a.png", &image)], &["the key is \"a\" again"]);
    case(
        &[file("a.png", &image), file("a.cls", b"cat")],
        &["a.cls", "the label is \"cat\"", "a whole number"],
    );
    case(
        &[file("a.png", &image), file("a.cls", b"1"), file("b.png", &image)],
        &["sample \"b\"", "cls is missing"],
    );
    case(&[file("a.png", &image), file("a.json", b"{")], &["a.json", "JSON"]);
    case(&[file("a.png", &image), file("a.cls", b"\xff")], &["a.cls", "UTF-8"]);
    case(&[file("a.txt", b"1")], &["sample \"a\"", "the image is missing"]);
    case(&[file("notes", b"no key")], &["number of images is 0"]);
    let link = tar_with_link("a.png", "/etc/passwd");
    fs::write(&path, link).unwrap();
    assert_names(&refusal(&path), &["a.png", "Symlink", "a regular file"]);
    // Names of classes and groups from JSON; a text is a label only if it is a number.
    let json = |class: &str| format!("{{\"label\": \"{class}\", \"artist\": \"A{class}\"}}").into_bytes();
    let entries = [
        file("x/1.png", &image),
        ("x/1.json".into(), json("dog")),
        file("x/2.seg.png", &image),
        file("x/2.png", &image),
        ("x/2.json".into(), json("cat")),
    ];
    fs::write(&path, tar_of(&entries)).unwrap();
    let source = try_open(&path).unwrap();
    assert_eq!(
        (source.len(), source.key(1), source.class_names()),
        (2, "x/2".into(), ["cat".to_owned(), "dog".into()].as_slice())
    );
    assert_eq!(
        (source.labels().unwrap(), source.groups().unwrap()),
        ([1, 0].as_slice(), ["Adog".to_owned(), "Acat".into()].as_slice())
    );
    for (text, expected) in [("7", Some(vec![7])), ("a dog", None)] {
        fs::write(&path, tar_of(&[file("1.png", &image), file("1.txt", text.as_bytes())])).unwrap();
        assert_eq!(try_open(&path).unwrap().labels().map(<[u32]>::to_vec), expected);
    }
}
