//! Which folders, rows and keys are splits of a set, and never classes.

use std::fs;
use std::path::Path;

use pentimento_data::{ImageSource as _, Split};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, ids, keys, notes, refusal, try_open, try_open_split};

/// Writes an image that follows from a seed.
fn write(path: &Path, seed: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, png(&noise(4, 4, 1, seed))).unwrap();
}

#[test]
fn folders_that_are_called_as_splits_are() {
    let names = [
        ("train", "test"),
        ("training", "testing"),
        ("TRAIN", "Tests"),
        ("train2017", "test2017"),
        ("train_images", "test_images"),
        ("Training Set", "Test Set"),
        ("trainset", "testset"),
        // No word stands alone, but all folders have one.
        ("seg_train", "seg_test"),
    ];
    for (train, test) in names {
        let folder = TempDir::new().unwrap();
        write(&folder.path().join(train).join("a.png"), 1);
        write(&folder.path().join(test).join("b.png"), 2);
        write(&folder.path().join("val2017").join("c.png"), 3);
        write(&folder.path().join("eval").join("d.png"), 4);
        for (split, name, seed) in [(Split::Train, train, 1), (Split::Test, test, 2)] {
            let source = try_open_split(folder.path(), split).unwrap();
            assert_eq!((ids(&source), source.labels()), (vec![noise(4, 4, 1, seed).id()], None), "{name}");
            assert_names(&notes(&source), &[&format!("split: {name}"), "eval", "val2017"]);
        }
    }
}

#[test]
fn every_word_for_a_third_part_is_one() {
    for name in ["val", "valid", "Validation", "dev", "EVAL", "val2017", "valset"] {
        let folder = TempDir::new().unwrap();
        write(&folder.path().join(name).join("cat/a.png"), 1);
        assert_names(&refusal(folder.path()), &["the split asked for is train", name]);
        write(&folder.path().join("train/cat/a.png"), 2);
        let source = try_open(folder.path()).unwrap();
        assert_eq!(
            (ids(&source), source.class_names()),
            (vec![noise(4, 4, 1, 2).id()], ["cat".to_owned()].as_slice())
        );
        assert_names(
            &try_open_split(folder.path(), Split::Test).unwrap_err(),
            &["the split asked for is test", name],
        );
    }
}

#[test]
fn a_split_beside_other_folders_is_taken_or_refused() {
    // A split alone.
    let folder = TempDir::new().unwrap();
    write(&folder.path().join("training/a.png"), 1);
    let source = try_open(folder.path()).unwrap();
    assert_eq!((keys(&source), source.labels()), (vec!["a.png".into()], None));
    // Two splits beside a folder that is none.
    write(&folder.path().join("testing/b.png"), 2);
    write(&folder.path().join("extra/c.png"), 3);
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    let source = try_open(folder.path()).unwrap();
    assert_eq!(keys(&source), ["a.png"]);
    assert_names(
        &notes(&source),
        &["split: training (not read: testing)", "not read: 1 .txt, the folder extra"],
    );
    // One split with classes, beside a folder of images.
    let folder = TempDir::new().unwrap();
    write(&folder.path().join("train/cat/a.png"), 1);
    write(&folder.path().join("extra/c.png"), 3);
    let source = try_open(folder.path()).unwrap();
    assert_eq!(
        (keys(&source), source.class_names()),
        (vec!["cat/a.png".into()], ["cat".to_owned()].as_slice())
    );
    // CIFAR-100 has a class `train`: nothing tells it from a split.
    let folder = TempDir::new().unwrap();
    for class in ["apple", "bear", "train"] {
        write(&folder.path().join(class).join("a.png"), 1);
    }
    assert_names(&refusal(folder.path()), &["with train, as a split is called, and apple, bear", "a class"]);
    // A name of several words is that of a class.
    fs::rename(folder.path().join("train"), folder.path().join("bullet train")).unwrap();
    write(&folder.path().join("test_tube/a.png"), 1);
    assert_eq!(
        try_open(folder.path()).unwrap().class_names(),
        ["apple", "bear", "bullet train", "test_tube"]
    );
}

#[test]
fn archives_in_folders_of_splits_and_splits_in_archives_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let entry = |name: &str, seed| (name.to_owned(), png(&noise(4, 4, 1, seed)));
    for (split, seed) in [("train", 1), ("test", 2)] {
        fs::create_dir(folder.path().join(split)).unwrap();
        fs::write(folder.path().join(split).join("0.tar"), tar_of(&[entry("0.png", seed)])).unwrap();
    }
    let archive = TempDir::new().unwrap();
    let path = archive.path().join("set.tar");
    fs::write(&path, tar_of(&[entry("train/0.png", 1), entry("test/0.png", 2)])).unwrap();
    for path in [folder.path(), archive.path()] {
        assert_eq!(ids(&try_open(path).unwrap()), [noise(4, 4, 1, 1).id()]);
        assert_eq!(ids(&try_open_split(path, Split::Test).unwrap()), [noise(4, 4, 1, 2).id()]);
    }
    // An archive of one split is read as it is.
    fs::write(&path, tar_of(&[entry("test/0.png", 2)])).unwrap();
    assert_eq!(try_open(&path).unwrap().len(), 1);
    // Folders in an archive are no labels, and that is said.
    fs::write(&path, tar_of(&[entry("cat/0.png", 1), entry("dog/0.png", 2)])).unwrap();
    let source = try_open(&path).unwrap();
    assert_eq!(source.labels(), None);
    assert_names(&notes(&source), &["not read: the names of folders as labels, cat, dog (", ".cls"]);
}

#[test]
fn a_table_above_splits_counts_for_the_split_that_is_asked_for() {
    let folder = TempDir::new().unwrap();
    for (name, seed) in [("train/0.png", 0), ("train/1.png", 1), ("test/0.png", 2)] {
        write(&folder.path().join(name), seed);
    }
    let rows = [("test/0.png", "bee"), ("train/1.png", "cow"), ("train/0.png", "ant")];
    let table: String = rows
        .iter()
        .map(|(name, label)| format!("{{\"file_name\": \"{name}\", \"label\": \"{label}\"}}\n"))
        .collect();
    fs::write(folder.path().join("metadata.jsonl"), table).unwrap();
    let source = try_open(folder.path()).unwrap();
    assert_eq!(keys(&source), ["train/1.png", "train/0.png"]);
    assert_eq!(ids(&source), [1, 0].map(|seed| noise(4, 4, 1, seed).id()));
    // A class has the same number in both splits.
    assert_eq!(source.labels().unwrap(), [2, 0]);
    assert_eq!(source.class_names(), ["ant", "bee", "cow"]);
    assert_names(&notes(&source), &["split: train (not read: test)"]);
    let source = try_open_split(folder.path(), Split::Test).unwrap();
    assert_eq!((keys(&source), source.labels().unwrap()), (vec!["test/0.png".into()], [1].as_slice()));
    // Images beside the splits are in none of them.
    write(&folder.path().join("extra/0.png"), 8);
    write(&folder.path().join("loose.png"), 8);
    assert_names(
        &notes(&try_open(folder.path()).unwrap()),
        &["not read: 2 images (in no folder of a split)"],
    );
    // An image of the split without a row is missed; what the table says of the other split is not checked.
    write(&folder.path().join("test/9.png"), 9);
    assert_eq!(try_open(folder.path()).unwrap().len(), 2);
    write(&folder.path().join("train/9.png"), 9);
    assert_names(&refusal(folder.path()), &["train/9.png", "not listed"]);
}

#[test]
fn a_column_of_splits_counts() {
    let folder = TempDir::new().unwrap();
    for (name, seed) in [("0.png", 0), ("1.png", 1), ("2.png", 2)] {
        write(&folder.path().join(name), seed);
    }
    let table = |splits: [&str; 3]| {
        let rows: String =
            splits.iter().enumerate().map(|(index, split)| format!("{index}.png,{split}\n")).collect();
        fs::write(folder.path().join("metadata.csv"), format!("file_name,split\n{rows}")).unwrap();
    };
    table(["train", "test", "training"]);
    assert_eq!(keys(&try_open(folder.path()).unwrap()), ["0.png", "2.png"]);
    assert_eq!(keys(&try_open_split(folder.path(), Split::Test).unwrap()), ["1.png"]);
    table(["train", "validation", "train"]);
    assert_names(
        &try_open_split(folder.path(), Split::Test).unwrap_err(),
        &["the split asked for is test", "validation"],
    );
    table(["1", "2", "3"]);
    let source = try_open(folder.path()).unwrap();
    assert_eq!(source.len(), 3);
    assert_names(&notes(&source), &["not read: the column `split` (", "line 2 has \"1\""]);
}
