//! Folders of images, and which layout and which half a folder is.

use std::fs;
use std::path::Path;

use pentimento_data::{DamageKind, ImageSource as _, OpenOptions, Preprocessing, Split, open, prepare};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, ids, keys, notes, refusal, try_open};

/// As `ls`, torchvision and `datasets` follow them.
#[cfg(unix)]
#[test]
fn links_are_followed_wherever_they_lead() {
    use std::os::unix::fs::symlink;
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    fs::create_dir_all(root.join("dog")).unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    let image = |seed| noise(4, 4, 1, seed);
    fs::write(folder.path().join("real/0.png"), png(&image(0))).unwrap();
    fs::write(root.join("dog/1.png"), png(&image(1))).unwrap();
    // A folder and a file outside of the set, and a file inside of it.
    symlink("../real", root.join("cat")).unwrap();
    symlink("../../real/0.png", root.join("dog/2.png")).unwrap();
    symlink("1.png", root.join("dog/3.png")).unwrap();
    let source = try_open(&root).unwrap();
    assert_eq!(keys(&source), ["cat/0.png", "dog/1.png", "dog/2.png", "dog/3.png"]);
    assert_eq!(ids(&source), [0, 1, 0, 1].map(|seed| image(seed).id()));
    assert_eq!(source.labels().unwrap(), [0, 1, 1, 1]);
    // A table and a Parquet file name links as well.
    fs::write(root.join("metadata.csv"), "file_name\ndog/2.png\ndog/1.png\ndog/3.png\ncat/0.png\n").unwrap();
    assert_eq!(ids(&try_open(&root).unwrap()), [0, 1, 1, 0].map(|seed| image(seed).id()));
}

/// Links that lead nowhere are faults among all faults: an image, and what stands for a whole class, which keeps its number.
#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_are_faults_of_their_images() {
    use std::os::unix::fs::symlink;
    let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let root = folder.path();
    for (class, seed) in [("cat", 0), ("elk", 1)] {
        fs::create_dir(root.join(class)).unwrap();
        fs::write(root.join(class).join("0.png"), png(&noise(4, 4, 1, seed))).unwrap();
    }
    symlink("../gone.png", root.join("cat/1.png")).unwrap();
    symlink("../gone", root.join("cat/2")).unwrap();
    symlink("/nowhere/dog", root.join("dog")).unwrap();
    // These were no images.
    symlink("/nowhere/notes.txt", root.join("notes.txt")).unwrap();
    fs::create_dir(root.join("elk/more")).unwrap();
    symlink("/nowhere/x", root.join("elk/more/x")).unwrap();
    let options = |skip_damaged| OpenOptions {
        skip_damaged,
        cache_dir: Some(cache.path().into()),
        ..OpenOptions::default()
    };
    let source = open(root, &options(false), &mut |_| {}).unwrap();
    assert_eq!(keys(&source), ["cat/0.png", "cat/1.png", "cat/2", "dog", "elk/0.png"]);
    assert_eq!(source.class_names(), ["cat", "dog", "elk"]);
    let damaged = source.damaged();
    assert!(damaged.iter().all(|image| image.kind == DamageKind::Absent), "{damaged:?}");
    assert_names(&damaged[2].reason, &["dog: the place it leads to is /nowhere/dog, but must be there"]);
    let error = prepare(&source, &Preprocessing::default()).unwrap_err().to_string();
    assert_names(&error, &["3 of 5 images", "3 that are named and not there: cat/1.png, cat/2, dog ("]);
    assert_names(&notes(&source), &["1 .txt", "not read: elk/more/x (a link to what is not there)"]);
    let mut told = Vec::new();
    let source = open(root, &options(true), &mut |event| told.push(event.to_string())).unwrap();
    assert_eq!(prepare(&source, &Preprocessing::default()).unwrap().labels(), [0, 2]);
    // The index holds, until one of them leads somewhere.
    assert!(!told.iter().any(|text| text.contains("indexing") || text.contains("kept")), "{told:?}");
    fs::write(root.join("gone.png"), png(&noise(4, 4, 1, 2))).unwrap();
    fs::rename(root.join("gone.png"), root.join("cat/gone.png")).unwrap();
    fs::remove_file(root.join("cat/1.png")).unwrap();
    symlink("gone.png", root.join("cat/1.png")).unwrap();
    let source = open(root, &options(true), &mut |_| {}).unwrap();
    assert_eq!((source.len(), source.damaged().len()), (6, 2));
    // A folder of images alone.
    let flat = TempDir::new().unwrap();
    fs::write(flat.path().join("a.png"), png(&noise(4, 4, 1, 0))).unwrap();
    symlink("a.png", flat.path().join("b")).unwrap();
    symlink("itself.png", flat.path().join("itself.png")).unwrap();
    let source = try_open(flat.path()).unwrap();
    assert_eq!(
        (keys(&source), source.damaged().len()),
        (vec!["a.png".into(), "b".into(), "itself.png".into()], 1)
    );
}

#[cfg(unix)]
#[test]
fn a_circle_of_links_ends_and_its_images_count_once() {
    use std::os::unix::fs::symlink;
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    for class in ["cat", "dog"] {
        fs::create_dir(root.join(class)).unwrap();
        fs::write(root.join(class).join("0.png"), png(&noise(4, 4, 1, 0))).unwrap();
    }
    symlink(".", root.join("cat/itself")).unwrap();
    symlink("../..", root.join("dog/above")).unwrap();
    // `dog/above` is the folder that the set lies in; make that hold nothing else.
    let outer = TempDir::new().unwrap();
    let set = outer.path().join("set");
    fs::rename(root, &set).unwrap();
    fs::create_dir(root).unwrap();
    symlink("../dog", set.join("cat/other")).unwrap();
    symlink("../cat", set.join("dog/other")).unwrap();
    let source = try_open(&set).unwrap();
    assert_eq!(keys(&source), ["cat/0.png", "dog/0.png"]);
    assert_names(&notes(&source), &["not read: cat/itself (a link to a folder that it lies in)"]);
}

#[test]
fn what_is_no_set_or_more_than_one_is_refused() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    assert_names(&refusal(&root.join("nowhere")), &["cannot open", "nowhere"]);
    assert_names(&refusal(root), &["none that is known"]);
    fs::write(root.join("notes.txt"), "text").unwrap();
    assert_names(&refusal(root), &["none that is known"]);
    assert_names(&refusal(&root.join("notes.txt")), &["none that is known", "74 65 78 74"]);
    fs::write(root.join("a.tar.gz"), gzip(&[0; 1024])).unwrap();
    assert_names(&refusal(root), &["a.tar.gz", "a gzip file", "gunzip "]);
    fs::write(root.join("1.png"), png(&noise(4, 4, 1, 0))).unwrap();
    assert_eq!(try_open(root).unwrap().labels(), None);
    fs::write(root.join("a.tar"), tar_of(&[("1.png".into(), png(&noise(4, 4, 1, 0)))])).unwrap();
    assert_names(&refusal(root), &["both WebDataset tar archives (a.tar) and a folder of images (1.png)"]);
    fs::remove_file(root.join("a.tar")).unwrap();
    fs::create_dir_all(root.join("class")).unwrap();
    fs::write(root.join("class/1.png"), png(&noise(4, 4, 1, 0))).unwrap();
    assert_names(&refusal(root), &["class/1.png", "as many as"]);
    fs::remove_file(root.join("1.png")).unwrap();
    assert_eq!(try_open(root).unwrap().class_names(), ["class"]);
    fs::create_dir_all(root.join("class/inner")).unwrap();
    fs::rename(root.join("class/1.png"), root.join("class/inner/1.png")).unwrap();
    assert_names(&refusal(root), &["at most 2, CLASS/NAME"]);
    assert_eq!(try_open(&root.join("class")).unwrap().class_names(), ["inner"]);
}

#[test]
fn halves_are_told_by_names() {
    let folder = TempDir::new().unwrap();
    let image = |seed| noise(4, 4, 1, seed);
    for (half, seed) in [("train", 1), ("test", 2)] {
        let class = folder.path().join(half).join("cat");
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join("1.png"), png(&image(seed))).unwrap();
    }
    let half = |path: &Path, split| open(path, &OpenOptions { split, ..OpenOptions::default() }, &mut |_| {});
    for (split, seed) in [(Split::Train, 1), (Split::Test, 2)] {
        assert_eq!(half(folder.path(), split).unwrap().image(0).unwrap(), image(seed));
    }
    let error = half(&folder.path().join("train"), Split::Test).unwrap_err().to_string();
    assert_names(&error, &["the split asked for is test"]);
    let shards = TempDir::new().unwrap();
    for (half, seed) in [("train", 1), ("test", 2), ("validation", 3)] {
        let rows = [(Some(png(&image(seed))), Some(0))];
        fs::create_dir_all(shards.path().join("data")).unwrap();
        write_parquet(&shards.path().join(format!("data/{half}-00000-of-00001.parquet")), &[&rows], None);
    }
    fs::write(shards.path().join("README.md"), "a repository of Hugging Face").unwrap();
    for path in [shards.path().to_path_buf(), shards.path().join("data")] {
        assert_eq!(half(&path, Split::Train).unwrap().image(0).unwrap(), image(1));
    }
    assert_eq!(half(&shards.path().join("data"), Split::Test).unwrap().image(0).unwrap(), image(2));
}
