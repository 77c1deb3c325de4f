//! Names in both forms of Unicode: an accent as a character of its own, as macOS writes it, or together with its letter.

use std::fs;

use pentimento_data::{Groups, ImageSource as _, Preprocessing, prepare};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, keys, notes, refusal, try_open};

/// `Übung.png` and `café`, decomposed and composed.
const APART: [&str; 2] = ["U\u{308}bung.png", "cafe\u{301}"];
const TOGETHER: [&str; 2] = ["\u{dc}bung.png", "caf\u{e9}"];

#[test]
fn a_table_names_files_in_either_form() {
    for (on_disk, in_table) in [(APART, TOGETHER), (TOGETHER, APART)] {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join(on_disk[1])).unwrap();
        fs::write(folder.path().join(on_disk[1]).join(on_disk[0]), png(&noise(4, 4, 1, 0))).unwrap();
        fs::write(folder.path().join("b.png"), png(&noise(4, 4, 1, 1))).unwrap();
        let [image, class] = in_table;
        // A class in one form and in the other is one class.
        let table =
            format!("file_name,label,group\n{class}/{image},{class},{class}\nb.png,{},x\n", on_disk[1]);
        for name in ["metadata.csv", "labels.csv"] {
            fs::write(folder.path().join(name), &table).unwrap();
            let source = try_open(folder.path()).unwrap();
            assert_eq!(source.damaged(), []);
            assert_eq!(keys(&source), [format!("{}/{}", TOGETHER[1], TOGETHER[0]), "b.png".into()]);
            assert_eq!(
                (source.class_names(), source.labels().unwrap()),
                ([TOGETHER[1].to_owned()].as_slice(), [0, 0].as_slice())
            );
            assert_eq!(source.groups().unwrap(), [TOGETHER[1], "x"]);
            assert_eq!(source.image(0).unwrap(), noise(4, 4, 1, 0));
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        // And so does a Parquet file with paths.
        write_parquet_paths(&folder.path().join("set.parquet"), &[&format!("{class}/{image}")]);
        assert_eq!(try_open(folder.path()).unwrap().image(0).unwrap(), noise(4, 4, 1, 0));
    }
}

#[test]
fn images_classes_and_groups_are_called_in_either_form() {
    let folder = TempDir::new().unwrap();
    for class in [APART[1], "zebra"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        fs::write(folder.path().join(class).join(APART[0]), png(&noise(4, 4, 1, 0))).unwrap();
    }
    let source = try_open(folder.path()).unwrap();
    assert_eq!(source.class_names(), [TOGETHER[1], "zebra"]);
    assert_names(&notes(&source), &["0 caf\u{e9}, 1 zebra"]);
    let prepared = prepare(&source, &Preprocessing::default()).unwrap();
    for [image, class] in [APART, TOGETHER] {
        assert_eq!(prepared.find(&format!("{class}/{image}")), Some(0));
        let table = folder.path().join("groups.csv");
        fs::write(&table, format!("image,group\n{class}/{image},{class}\nzebra/{image},{}\n", TOGETHER[1]))
            .unwrap();
        assert_eq!(Groups::by_table(&table, &prepared).unwrap().names(), [TOGETHER[1]]);
    }
    // The files of a sample in an archive belong together.
    let entries = [
        (format!("{}.png", APART[1]), png(&noise(4, 4, 1, 0))),
        (format!("{}.cls", TOGETHER[1]), b"e\xcc\x81".to_vec()),
    ];
    let archive = folder.path().join("set.tar");
    fs::write(&archive, tar_of(&entries)).unwrap();
    let source = try_open(&archive).unwrap();
    assert_eq!(
        (keys(&source), source.class_names()),
        (vec![TOGETHER[1].to_owned()], ["\u{e9}".to_owned()].as_slice())
    );
}

/// Whoever called one of them would mean both.
#[test]
fn two_files_whose_names_differ_only_in_their_form_are_refused() {
    let folder = TempDir::new().unwrap();
    for (name, seed) in [(APART[0], 0), (TOGETHER[0], 1)] {
        fs::write(folder.path().join(name), png(&noise(4, 4, 1, seed))).unwrap();
    }
    // Some file systems know one of the two only.
    if fs::read_dir(folder.path()).unwrap().count() == 2 {
        let parts = ["the list of names", "\"\u{dc}bung.png\" twice", "NFC and NFD", "rename one"];
        assert_names(&refusal(folder.path()), &parts);
    }
}

/// A container keeps the name that it has on disk.
#[test]
fn files_of_arrays_are_opened_by_their_names_on_disk() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(format!("{}.npy", APART[1])), npy("|u1", &[2, 1, 1], &[3, 4])).unwrap();
    assert_eq!(try_open(folder.path()).unwrap().len(), 2);
    let split = folder.path().join("splits");
    for part in ["train", "test"] {
        let class = split.join(part).join(APART[1]);
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(APART[0]), png(&noise(4, 4, 1, 0))).unwrap();
    }
    assert_eq!(try_open(&split).unwrap().class_names(), [TOGETHER[1]]);
}
