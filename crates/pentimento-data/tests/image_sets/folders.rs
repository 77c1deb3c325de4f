//! Folders of images, and which layout and which half a folder is.

use std::fs;
use std::path::Path;

use pentimento_data::{ImageSource as _, OpenOptions, Split, open};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, refusal, try_open};

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_refused() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("set");
    fs::create_dir(&root).unwrap();
    fs::write(folder.path().join("outside.png"), png(&noise(4, 4, 1, 0))).unwrap();
    fs::write(root.join("a.png"), png(&noise(4, 4, 1, 1))).unwrap();
    std::os::unix::fs::symlink("a.png", root.join("b.png")).unwrap();
    assert_eq!(try_open(&root).unwrap().len(), 2);
    std::os::unix::fs::symlink("../outside.png", root.join("c.png")).unwrap();
    assert_names(&refusal(&root), &["c.png", "inside"]);
    fs::write(root.join("metadata.csv"), "file_name\na.png\nb.png\nc.png\n").unwrap();
    assert_names(&refusal(&root), &["c.png", "inside"]);
    fs::remove_file(root.join("c.png")).unwrap();
    fs::remove_file(root.join("metadata.csv")).unwrap();
    std::os::unix::fs::symlink(".", root.join("loop")).unwrap();
    assert_names(&refusal(&root), &["loop", "a link to a folder"]);
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
    assert_names(&refusal(root), &["a compressed archive (a.tar.gz)"]);
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
