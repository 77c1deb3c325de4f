//! What is taken for an image, what is not, and what is said of the rest.

use std::fs;

use pentimento_data::{ImageSource as _, Layout, Note, OpenOptions, Split, open};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, ids, keys, notes, refusal, try_open, try_open_split};

#[test]
fn images_are_told_by_every_usual_ending_and_by_their_content() {
    let folder = TempDir::new().unwrap();
    let image = noise(8, 8, 1, 0);
    let (joint, lossless, lossy) = (png(&image), webp(&image), jpeg(&image));
    let files: [(&str, &[u8]); 8] = [
        ("0.jfif", &lossy),
        ("1.jpe", &lossy),
        ("2.JPEG", &lossy),
        ("3.JPG", &lossy),
        ("four", &lossy),
        // A number is no ending.
        ("frame.0005", &joint),
        ("six", &lossless),
        ("seven.png", &joint),
    ];
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    for (name, bytes) in [("a.txt", ""), ("b.TXT", ""), ("c.xml", ""), ("README", "read me"), ("eight", "")] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let source = try_open(folder.path()).unwrap();
    assert_eq!((source.len(), source.damaged().len()), (8, 0));
    let mut expected: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    expected.sort_unstable();
    assert_eq!(keys(&source), expected);
    let left_out = Note::LeftOut {
        files: [(String::new(), 2), (".txt".into(), 2), (".xml".into(), 1)].into(),
        named_as_images: [].into(),
        folders: vec![],
    };
    assert_eq!(source.notes(), [left_out]);
    assert_eq!(notes(&source), "not read: 2 files without an ending, 2 .txt, 1 .xml\n");
}

#[test]
fn an_empty_class_keeps_its_place_and_a_folder_without_images_is_none() {
    let folder = TempDir::new().unwrap();
    for class in ["ant", "cow"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        fs::write(folder.path().join(class).join("0.png"), png(&noise(4, 4, 1, 0))).unwrap();
    }
    fs::create_dir(folder.path().join("bee")).unwrap();
    fs::create_dir(folder.path().join("annotations")).unwrap();
    fs::write(folder.path().join("annotations/0.xml"), "").unwrap();
    // What macOS puts into zip archives, and a split without images.
    fs::create_dir(folder.path().join("__MACOSX")).unwrap();
    fs::create_dir(folder.path().join("test")).unwrap();
    let source = try_open(folder.path()).unwrap();
    assert_eq!(source.class_names(), ["ant", "bee", "cow"]);
    assert_eq!(source.labels().unwrap(), [0, 2]);
    assert_names(
        &notes(&source),
        &[
            "labels: class folders, numbered in alphabetical order: 0 ant, 1 bee, 2 cow\n",
            "1 class folder is empty and is a class without images: bee\n",
            "not read: 1 .xml, the folders annotations, test\n",
        ],
    );
}

#[test]
fn folders_that_are_called_by_numbers_are_in_their_order() {
    let folder = TempDir::new().unwrap();
    for class in ["10", "2", "1", "0"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        fs::write(folder.path().join(class).join("0.png"), png(&noise(4, 4, 1, 0))).unwrap();
    }
    let source = try_open(folder.path()).unwrap();
    assert_eq!(keys(&source), ["0/0.png", "1/0.png", "10/0.png", "2/0.png"]);
    assert_eq!(source.class_names(), ["0", "1", "2", "10"]);
    assert_eq!(source.labels().unwrap(), [0, 1, 3, 2]);
    assert_names(&notes(&source), &["in numeric order: 0 0, 1 1, 2 2, 3 10"]);
    // One that is no number makes names of all.
    fs::rename(folder.path().join("0"), folder.path().join("zero")).unwrap();
    assert_eq!(try_open(folder.path()).unwrap().class_names(), ["1", "10", "2", "zero"]);
}

#[test]
fn a_single_picture_is_a_set() {
    let folder = TempDir::new().unwrap();
    let image = noise(8, 6, 3, 0);
    for (name, bytes) in [("photo.png", png(&image)), ("photo.webp", webp(&image)), ("photo", png(&image))] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let source = try_open(&path).unwrap();
        assert_eq!((source.layout(), keys(&source)), (Layout::Image, vec![name.to_owned()]));
        assert_eq!((ids(&source), source.labels()), (vec![image.id()], None));
        assert_eq!(source.size(0).unwrap(), [8, 6]);
    }
    let path = folder.path().join("photo.jpg");
    fs::write(&path, jpeg(&image)).unwrap();
    let mut told = Vec::new();
    open(&path, &OpenOptions::default(), &mut |event| told.push(event.to_string())).unwrap();
    assert_names(&told[0], &["photo.jpg: an image file, 1 image in 1 file"]);
    assert_names(&try_open_split(&path, Split::Test).unwrap_err(), &["the split asked for is test"]);
}

#[test]
fn what_is_no_set_is_called_by_its_name_with_what_makes_one_of_it() {
    let folder = TempDir::new().unwrap();
    let image = png(&noise(4, 4, 1, 0));
    let pictures =
        zip_of(&[("00000/0.png", image.clone()), ("00000/1.jpg", image), ("dataset.json", vec![])], false);
    let tensors = zip_of(&[("images/data.pkl", vec![0x80, 2]), ("images/data/0", vec![0; 24])], false);
    let hdf5 = b"\x89HDF\r\n\x1a\n".to_vec();
    let cases: [(&str, Vec<u8>, [&str; 2]); 6] = [
        ("edm.zip", pictures, ["a zip archive of 2 image files", "unzip "]),
        ("images.pt", tensors, ["a file of torch.save", "torch.load("]),
        ("data_batch_1", b"\x80\x03}q".to_vec(), ["a pickle of Python", "pickle.load("]),
        ("set.h5", hdf5, ["an HDF5 file", "h5py.File("]),
        ("set.arrow", b"ARROW1\0\0".to_vec(), ["an Arrow file", "to_parquet("]),
        ("set.tar.zst", b"\x28\xb5\x2f\xfd".to_vec(), ["a zstd file", "zstd -d "]),
    ];
    for (name, bytes, parts) in cases {
        let path = folder.path().join("a folder").join(name);
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        for said in [refusal(&path), refusal(path.parent().unwrap())] {
            assert_names(&said, &[name]);
            assert_names(&said, &parts);
        }
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
    // Beside images, they are counted.
    fs::write(folder.path().join("edm.zip"), zip_of(&[], false)).unwrap();
    fs::write(folder.path().join("0.png"), png(&noise(4, 4, 1, 0))).unwrap();
    assert_names(&notes(&try_open(folder.path()).unwrap()), &["not read: 1 .zip"]);
}

#[test]
fn folders_that_datasets_saved_to_disk_are_told() {
    let folder = TempDir::new().unwrap();
    for (files, call) in [
        (["state.json", "dataset_info.json"].as_slice(), "datasets.load_from_disk("),
        (["dataset_dict.json", "train"].as_slice(), ".items()"),
    ] {
        let path = folder.path().join("saved");
        fs::create_dir(&path).unwrap();
        for name in files {
            fs::write(path.join(name), "{}").unwrap();
        }
        assert_names(&refusal(&path), &["saved", "save_to_disk of datasets", call, "to_parquet("]);
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn files_beside_archives_and_tables_are_told() {
    let folder = TempDir::new().unwrap();
    let rows = [(Some(png(&noise(4, 4, 1, 0))), Some(0))];
    for name in ["train-00000-of-00001.parquet", "test-00000-of-00001.parquet"] {
        write_parquet(&folder.path().join(name), &[&rows], None);
    }
    fs::write(folder.path().join("README.md"), "").unwrap();
    fs::create_dir(folder.path().join("figures")).unwrap();
    assert_names(
        &notes(&try_open(folder.path()).unwrap()),
        &["split: train (not read: test-00000-of-00001.parquet)", "not read: 1 .md, the folder figures"],
    );
}

#[test]
fn files_beside_images_are_counted_and_said() {
    let folder = TempDir::new().unwrap();
    for class in ["ant", "bee"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for name in ["0.png", "1.photo.png"] {
            fs::write(folder.path().join(class).join(name), png(&noise(4, 4, 1, 0))).unwrap();
        }
        fs::write(folder.path().join(class).join("0.txt"), "an insect").unwrap();
        fs::write(folder.path().join(class).join("1.photo.TXT"), "another").unwrap();
        fs::write(folder.path().join(class).join("0.caption"), "an insect").unwrap();
    }
    fs::write(folder.path().join("0.txt"), "of no image").unwrap();
    fs::write(folder.path().join("bee/license.xml"), "").unwrap();
    let left_out = Note::LeftOut {
        files: [(".caption".into(), 2), (".txt".into(), 1), (".xml".into(), 1)].into(),
        named_as_images: [(".caption".into(), 2)].into(),
        folders: vec![],
    };
    let source = try_open(folder.path()).unwrap();
    assert!(source.notes().contains(&left_out), "{}", notes(&source));
    assert_names(
        &notes(&source),
        &[
            "captions: the .txt files\n",
            "not read: 2 .caption (with the names of images: captions and labels are not taken from them), 1 .txt, 1 .xml\n",
        ],
    );
    // Beside a table, and in an archive.
    fs::write(
        folder.path().join("metadata.csv"),
        "file_name\nant/0.png\nant/1.photo.png\nbee/0.png\nbee/1.photo.png\n",
    )
    .unwrap();
    assert_names(
        &notes(&try_open(folder.path()).unwrap()),
        &["2 .caption (with the names of images", " 1 .txt, "],
    );
    let archive = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    let image = png(&noise(4, 4, 1, 0));
    let entries = [
        file("a.png", &image),
        file("a.txt", b"a cat"),
        file("a.cls", b"1"),
        file("b.png", &image),
        file("b.cls", b"0"),
    ];
    fs::write(archive.path().join("set.tar"), tar_of(&entries)).unwrap();
    assert_names(
        &notes(&try_open(archive.path()).unwrap()),
        &["captions: 1 of 2 images has none that can be used:\n  1 without one: b ("],
    );
    // A number is the label.
    let entries = [file("a.png", &image), file("a.txt", b"1"), file("b.png", &image), file("b.txt", b"0")];
    fs::write(archive.path().join("set.tar"), tar_of(&entries)).unwrap();
    let source = try_open(archive.path()).unwrap();
    assert_eq!((source.labels().unwrap(), notes(&source)), ([1, 0].as_slice(), String::new()));
}
