//! WebDataset's tar archives.

use std::fs;

use pentimento_data::ImageSource as _;
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, keys, notes, refusal, try_open};

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
    case(&[file("a.png", &image), file("b.png", &image), file("a.png", &image)], &["a.png", "\"png\" twice"]);
    case(
        &[file("a.png", &image), file("a.cls", b"1"), file("b.png", &image), file("b.cls", b"cat")],
        &["sample \"b\"", "the label is \"cat\"", "a whole number"],
    );
    case(&[file("a.png", &image), file("a.json", b"{\"label\": [1, 1]}")], &["a.json", "[1,1]", "one-hot"]);
    case(
        &[file("a.png", &image), file("a.cls", b"1"), file("b.png", &image)],
        &["sample \"b\"", "cls is missing"],
    );
    case(&[file("a.png", &image), file("a.json", b"{")], &["a.json", "JSON"]);
    case(&[file("a.png", &image), file("a.cls", b"\xff")], &["a.cls", "UTF-8"]);
    case(&[file("a.txt", b"1")], &["sample \"a\"", "the image is missing among .txt"]);
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

#[test]
fn names_with_dots_are_read_where_one_image_is_meant() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.tar");
    let image = |seed| png(&noise(4, 4, 1, seed));
    let write = |entries: &[(&str, Vec<u8>)]| {
        let entries: Vec<_> =
            entries.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        fs::write(&path, tar_of(&entries)).unwrap();
    };
    write(&[
        ("0.input.jpg", jpeg(&noise(4, 4, 1, 0))),
        ("0.cls", b"1".to_vec()),
        ("1.input.jpg", jpeg(&noise(4, 4, 1, 1))),
        ("1.cls", b"0".to_vec()),
    ]);
    let source = try_open(&path).unwrap();
    assert_eq!((keys(&source), source.labels().unwrap()), (vec!["0".into(), "1".into()], [1, 0].as_slice()));
    // Which of two is meant is nowhere said.
    write(&[("0.left.png", image(0)), ("0.right.png", image(1))]);
    assert_names(&refusal(&path), &["sample \"0\"", "2 files: .left.png, .right.png", "first dot"]);
    // The plain one is the image; the others are told.
    write(&[("0.png", image(0)), ("0.seg.png", image(1)), ("0.depth.npy", vec![1]), ("README", vec![1])]);
    let source = try_open(&path).unwrap();
    assert_eq!(source.image(0).unwrap(), noise(4, 4, 1, 0));
    assert_names(&notes(&source), &["1 .depth.npy", "1 .seg.png", "1 file without an ending"]);
    write(&[("0.mp4", vec![1]), ("0.cls", b"1".to_vec())]);
    assert_names(&refusal(&path), &["sample \"0\"", "missing among .mp4, .cls"]);
}

#[test]
fn files_of_a_sample_may_lie_apart() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.tar");
    let mut entries: Vec<_> =
        (0..3).map(|index| (format!("{index}.png"), png(&noise(4, 4, 1, index)))).collect();
    entries.extend((0..3).map(|index| (format!("{index}.cls"), [b"dog", b"cat", b"dog"][index].to_vec())));
    fs::write(&path, tar_of(&entries)).unwrap();
    let source = try_open(&path).unwrap();
    assert_eq!(source.labels().unwrap(), [1, 0, 1]);
    assert_eq!(source.class_names(), ["cat", "dog"]);
    assert_names(&notes(&source), &["the files of 3 samples lie apart", "tar --sort=name"]);
}

/// Shards of a tar, a Parquet file and statistics each are one set.
#[test]
fn what_img2dataset_writes_is_one_set() {
    let folder = TempDir::new().unwrap();
    let schema = "message schema { optional binary key (UTF8); optional binary label (UTF8); }";
    for shard in 0..2 {
        let key = |index| format!("{shard:05}{index:04}");
        let entries: Vec<_> = (0..2)
            .flat_map(|index| {
                let (name, json) =
                    (key(index), format!("{{\"key\": \"{}\", \"status\": \"success\"}}", key(index)));
                [
                    (format!("{name}.jpg"), jpeg(&noise(8, 8, 3, shard * 2 + index))),
                    (format!("{name}.json"), json.into_bytes()),
                    (format!("{name}.txt"), b"a cat".to_vec()),
                ]
            })
            .collect();
        fs::write(folder.path().join(format!("{shard:05}.tar")), tar_of(&entries)).unwrap();
        // The table also has a row for a picture that could not be downloaded.
        let keys = vec![key(1).as_str().into(), key(0).as_str().into(), key(2).as_str().into()];
        let labels = vec!["elk".into(), ["cat", "dog"][shard as usize].into(), "gnu".into()];
        let table = folder.path().join(format!("{shard:05}.parquet"));
        write_parquet_schema(&table, schema, &[(keys, vec![1; 3]), (labels, vec![1; 3])]);
        fs::write(folder.path().join(format!("{shard:05}_stats.json")), "{}").unwrap();
    }
    let source = try_open(folder.path()).unwrap();
    assert_eq!(keys(&source), ["000000000", "000000001", "000010000", "000010001"]);
    assert_eq!(source.labels().unwrap(), [0, 2, 1, 2]);
    assert_eq!(source.class_names(), ["cat", "dog", "elk"]);
    assert_eq!(source.captions(3), ["a cat"]);
    // Nothing is left out.
    assert_eq!(notes(&source).matches("not read").count(), 0, "{}", notes(&source));
}
