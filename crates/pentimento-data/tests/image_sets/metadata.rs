//! Folders of images with a table.

use std::fs;

use pentimento_data::ImageSource as _;
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, refusal, try_open};

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
    case("file_name,label\na.png,1\n", &["b.png", "not listed", "metadata.csv"]);
    case("file_name\na.png\nmissing.png\n", &["line 3", "missing.png", "that is there"]);
    case("file_name\na.png\nb.png\n./a.png\n", &["line 4", "line 2 lists it too"]);
    case("file_name\n../outside.png\n", &["line 2", "../outside.png", "inside the folder"]);
    case("file_name\n/etc/passwd\n", &["line 2", "/etc/passwd", "inside the folder"]);
    case("file_name\na.png,1\n", &["line 2", "the number of columns is 2, but must be 1, as in the header"]);
    // Empty lines are passed over, and counted.
    case("file_name\n\n\r\na.png\n\nmissing.png\n", &["line 6", "missing.png"]);
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
    fs::write(root.join("metadata.jsonl"), "{\"file_name\": \"a.png\", \"label\": [1]}\n").unwrap();
    assert_names(&refusal(&root), &["line 1", "[1] in `label`"]);
}
