//! Folders of images with a table.

use std::fs;

use pentimento_data::{
    DamageKind, ImageSource as _, Layout, OpenOptions, Preprocessing, Split, open, prepare,
};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, keys, notes, refusal, try_open, try_open_split};

#[test]
fn tables_of_metadata_that_break_the_rules_are_refused_by_line() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    fs::create_dir(&root).unwrap();
    let image = png(&noise(4, 4, 1, 0));
    for name in ["a.png", "b.png"] {
        fs::write(root.join(name), &image).unwrap();
    }
    fs::write(folder.path().join("outside.png"), &image).unwrap();
    let csv = |text: &str| {
        fs::write(root.join("metadata.csv"), text).unwrap();
        try_open(&root)
    };
    let case = |text: &str, parts: &[&str]| assert_names(&csv(text).unwrap_err(), parts);
    let source = csv("file_name,label,contributor\nb.png,dog,ann\n./a.png,cat,bob\n").unwrap();
    assert_eq!((source.key(0), source.labels().unwrap()), ("b.png".into(), [1, 0].as_slice()));
    assert_eq!(source.groups().unwrap(), ["ann", "bob"]);
    case(
        "file_name,label\na.png,1\nb.png,cat\n",
        &["metadata.csv, line 3", "the label is \"cat\"", "whole number"],
    );
    case("file_name,label\na.png,1\nb.png,-2\n", &["line 3", "\"-2\""]);
    case("file_name,label\na.png,1.5\nb.png,1\n", &["line 2", "\"1.5\""]);
    case("file_name,label\na.png,1\nb.png,\n", &["line 3", "the label is missing"]);
    case("file_name,label\na.png,1\n", &["b.png: the image is not listed, but", "metadata.csv"]);
    case(
        "file_name\na.png\nmissing.png\nlost.png\n",
        &[
            "b.png: the image is not listed",
            "that table names 2 files that are not there: missing.png, lost.png",
        ],
    );
    case("file_name\na.png\nb.png\n./a.png\n", &["line 4", "line 2 lists it too"]);
    case("file_name\n../outside.png\n", &["line 2", "../outside.png", "inside the folder"]);
    case("file_name\n/etc/passwd\n", &["line 2", "/etc/passwd", "inside the folder"]);
    case("file_name\na.png,1\n", &["line 2", "the number of columns is 2, but must be 1, as in the header"]);
    // Empty lines are passed over, and counted.
    case("file_name\n\n\r\na.png\n\n../b.png\n", &["line 6", "../b.png"]);
    case("\n\nname\na.png\n", &["line 3", "file_name"]);
    case("name\na.png\n", &["line 1", "file_name"]);
    case("file_name,label,class\na.png,1,2\nb.png,1,2\n", &["both `label` and `class`"]);
    case("", &["line 1", "file_name"]);
    fs::write(root.join("metadata.csv"), b"file_name\n\xff.png\n").unwrap();
    assert_names(&refusal(&root), &["line 2", "UTF-8"]);
    // Two tables.
    fs::write(root.join("metadata.jsonl"), "").unwrap();
    assert_names(&refusal(&root), &["both metadata.csv and metadata.jsonl"]);
    fs::remove_file(root.join("metadata.csv")).unwrap();
    assert_names(&refusal(&root), &["a.png", "not listed"]);
    fs::write(root.join("metadata.jsonl"), "{\"file_name\": \"a.png\"}\n[]\n").unwrap();
    assert_names(&refusal(&root), &["metadata.jsonl, line 2", "JSON object"]);
    for label in ["[1, 2]", "[[1]]", "{\"a\": 1}", "[0.5, 0.5]"] {
        fs::write(root.join("metadata.jsonl"), format!("{{\"file_name\": \"a.png\", \"label\": {label}}}\n"))
            .unwrap();
        assert_names(&refusal(&root), &["line 1", "in `label`", "one-hot"]);
    }
}

/// A folder with two images and a table.
fn with_table(name: &str, table: &[u8]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for image in ["a.png", "b.png"] {
        fs::write(folder.path().join(image), png(&noise(4, 4, 1, 0))).unwrap();
    }
    fs::write(folder.path().join(name), table).unwrap();
    folder
}

#[test]
fn tables_under_other_names_are_read_if_they_name_the_images() {
    let lines = b"{\"file_name\": \"b.png\", \"label\": 0}\n{\"file_name\": \"a.png\", \"label\": 1}\n";
    let tables: [(&str, &[u8]); 11] = [
        ("METADATA.CSV", b"file_name,label\nb.png,0\na.png,1\n"),
        ("metadata1000.jsonl", lines),
        ("labels.csv", b"filename,label\nb.png,0\na.png,1\n"),
        ("train.csv", b"image,class\nb.png,0\na.png,1\n"),
        ("labels.tsv", b"file_name\tlabel\nb.png\t0\na.png\t1\n"),
        // NVlabs' `dataset_tool.py` writes this one.
        ("dataset.json", b"{\"labels\": [[\"b.png\", 0], [\"a.png\", 1]]}"),
        ("dataset.json", b"{\"labels\": {\"b.png\": 0, \"a.png\": 1}}"),
        (
            "metadata.json",
            b"[{\"file_name\": \"b.png\", \"label\": 0}, {\"file_name\": \"a.png\", \"label\": 1}]",
        ),
        // Labels as lists of one and as one-hot lists, and as pandas writes a column of which one was missing.
        (
            "labels.jsonl",
            b"{\"file_name\": \"b.png\", \"label\": [0]}\n{\"file_name\": \"a.png\", \"label\": [1]}\n",
        ),
        (
            "labels.ndjson",
            b"{\"file_name\": \"b.png\", \"label\": [1, 0]}\n{\"file_name\": \"a.png\", \"label\": [0, 1]}\n",
        ),
        ("labels.csv", b"file_name,label\nb.png,0.0\na.png,1.0\n"),
    ];
    for (name, table) in tables {
        let folder = with_table(name, table);
        let source = try_open(folder.path()).unwrap();
        assert_eq!(source.layout(), Layout::Metadata, "{name}");
        let by_key: Vec<(String, u32)> =
            keys(&source).into_iter().zip(source.labels().unwrap().to_vec()).collect();
        assert_eq!(by_key.iter().find(|(key, _)| key == "b.png").unwrap().1, 0, "{name}");
        assert_eq!(by_key.iter().find(|(key, _)| key == "a.png").unwrap().1, 1, "{name}");
        let is_usual = name.eq_ignore_ascii_case("metadata.csv");
        assert_eq!(notes(&source).contains(&format!("table of the images: {name}\n")), !is_usual, "{name}");
    }
}

#[test]
fn tables_that_are_not_read_are_told() {
    let folder = with_table("labels.csv", b"id,breed\na,pug\nb,elkhound\n");
    let source = try_open(folder.path()).unwrap();
    assert_eq!((source.layout(), source.labels()), (Layout::Folder, None));
    assert_names(&notes(&source), &["not read: labels.csv (", "`file_name`"]);
    // It is about other images.
    let folder = with_table("labels.csv", b"file_name,label\nother.png,1\n");
    assert_names(&notes(&try_open(folder.path()).unwrap()), &["not read: labels.csv (none of the files"]);
    // It is no table.
    let folder = with_table("config.json", b"{}");
    assert_names(&notes(&try_open(folder.path()).unwrap()), &["not read: 1 .json"]);
    // Two that could be meant.
    let folder = with_table("labels.csv", b"file_name,label\na.png,1\nb.png,1\n");
    fs::copy(folder.path().join("labels.csv"), folder.path().join("classes.csv")).unwrap();
    assert_names(&refusal(folder.path()), &["both classes.csv and labels.csv"]);
    // One that is named so, beside one that is called otherwise.
    fs::copy(folder.path().join("labels.csv"), folder.path().join("metadata.csv")).unwrap();
    assert_names(&notes(&try_open(folder.path()).unwrap()), &["not read: 2 .csv"]);
    // Captions do not take the labels of folders away.
    let folder = with_table("captions.csv", b"file_name,text\na.png,one\nb.png,two\n");
    let source = try_open(folder.path()).unwrap();
    assert_eq!(source.layout(), Layout::Folder);
    assert_names(
        &notes(&source),
        &[
            "not read: captions.csv (it has no column of labels, groups or splits; called metadata.csv, it is read",
        ],
    );
    // Where a table has the usual name, they do, as `datasets` has it; and that is said.
    fs::rename(folder.path().join("captions.csv"), folder.path().join("metadata.csv")).unwrap();
    fs::create_dir(folder.path().join("cat")).unwrap();
    fs::rename(folder.path().join("b.png"), folder.path().join("cat/b.png")).unwrap();
    fs::write(folder.path().join("metadata.csv"), "file_name,text\na.png,one\ncat/b.png,two\n").unwrap();
    let source = try_open(folder.path()).unwrap();
    assert_eq!((source.layout(), source.labels()), (Layout::Metadata, None));
    assert_names(&notes(&source), &["not read: the names of folders (", "captions: `text`\n"]);
    // A column of labels under another name.
    let folder = with_table("metadata.csv", b"file_name,breed\na.png,pug\nb.png,elkhound\n");
    assert_names(&notes(&try_open(folder.path()).unwrap()), &["not read: the column `breed` (", "`label`"]);
}

/// Kaggle's form: `train.csv` and `test.csv` with names inside of folders that are called alike.
#[test]
fn a_table_for_each_split_counts_for_its_images() {
    let folder = TempDir::new().unwrap();
    for (split, names) in [("train", ["0.png", "1.png"]), ("test", ["0.png", "1.png"])] {
        fs::create_dir(folder.path().join(split)).unwrap();
        for (name, seed) in names.iter().zip(0..) {
            let seed = seed + if split == "test" { 2 } else { 0 };
            fs::write(folder.path().join(split).join(name), png(&noise(4, 4, 1, seed))).unwrap();
        }
    }
    fs::write(folder.path().join("train.csv"), "filename,label\n1.png,ant\n0.png,bee\n").unwrap();
    fs::write(folder.path().join("test.csv"), "filename,label\n0.png,bee\n1.png,ant\n").unwrap();
    for (split, labels, seeds) in [(Split::Train, [0, 1], [1, 0]), (Split::Test, [1, 0], [2, 3])] {
        let source = try_open_split(folder.path(), split).unwrap();
        assert_eq!(source.labels().unwrap(), labels);
        for (index, seed) in seeds.into_iter().enumerate() {
            assert_eq!(source.image(index).unwrap(), noise(4, 4, 1, seed));
        }
    }
}

/// Rows whose files are not there are faults of their images, all in one go.
#[test]
fn files_that_a_table_names_and_that_are_not_there_are_told_in_one_go() {
    let folder =
        with_table("metadata.csv", b"file_name,label\na.png,0\nx.png,0\nb.png,1\ny.png,2\nz/z.png,1\n");
    let source = try_open(folder.path()).unwrap();
    assert_eq!((source.len(), source.damaged().len()), (5, 3));
    assert!(source.damaged().iter().all(|image| image.kind == DamageKind::Absent));
    let error = prepare(&source, &Preprocessing::default()).unwrap_err().to_string();
    assert_names(
        &error,
        &[
            "3 of 5 images cannot be read",
            "3 that are named and not there: x.png, y.png, z/z.png (",
            "metadata.csv, line 3: the file of the image is \"x.png\", but must be the name of a file that is there",
        ],
    );
    let mut told = Vec::new();
    let options = OpenOptions { skip_damaged: true, ..OpenOptions::default() };
    let source = open(folder.path(), &options, &mut |event| told.push(event.to_string())).unwrap();
    assert_names(&told.join("\n"), &["3 images of 5 left out", "x.png"]);
    let prepared = prepare(&source, &Preprocessing::default()).unwrap();
    assert_eq!(
        (prepared.labels(), prepared.names()),
        ([0, 1].as_slice(), ["a.png".into(), "b.png".into()].as_slice())
    );
}

/// In `train/metadata.csv`, `train/a.png` is `a.png` of that folder, unless there is a file that is called so.
#[test]
fn names_that_begin_with_the_folder_of_the_table_are_found_and_said() {
    for name in ["metadata.csv", "labels.csv"] {
        let root = TempDir::new().unwrap();
        let train = root.path().join("data/train");
        fs::create_dir_all(&train).unwrap();
        for (image, seed) in [("a.png", 0), ("b.png", 1), ("c.png", 2)] {
            fs::write(train.join(image), png(&noise(4, 4, 1, seed))).unwrap();
        }
        let table = "file_name,label\ntrain/b.png,dog\na.png,cat\ndata/train/c.png,cat\n";
        fs::write(train.join(name), table).unwrap();
        for path in [train.clone(), root.path().join("data")] {
            let source = try_open(&path).unwrap();
            assert_eq!(source.labels().unwrap(), [1, 0, 0]);
            assert_eq!(
                [1, 0, 2].map(|seed| noise(4, 4, 1, seed)),
                [0, 1, 2].map(|index| source.image(index).unwrap())
            );
            let said = format!(
                "{name}: the names of 2 files begin with the folder that the table lies in, such as train/b.png: they are \
                 taken from that folder\n"
            );
            assert_names(&notes(&source), &[&said]);
        }
        // Twice the same.
        fs::write(train.join(name), "file_name,label\ntrain/b.png,1\nb.png,1\na.png,1\nc.png,1\n").unwrap();
        assert_names(&refusal(&train), &["line 3", "line 2 lists it too"]);
        // What the folder of the table has itself comes first.
        fs::create_dir(train.join("train")).unwrap();
        fs::write(train.join("train/b.png"), png(&noise(4, 4, 1, 3))).unwrap();
        let source = try_open(&train).unwrap();
        assert_eq!(source.image(0).unwrap(), noise(4, 4, 1, 3));
        assert!(!notes(&source).contains("begin with the folder"), "{}", notes(&source));
    }
}
