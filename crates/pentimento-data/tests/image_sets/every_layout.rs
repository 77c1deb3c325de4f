//! The same images and labels, written in every layout.

use std::fs;
use std::path::{Path, PathBuf};

use pentimento_data::{Image, ImageId, ImageSource as _, Layout, OpenOptions, open};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, ids, try_open};

/// A folder for each layout, all with the same ten images of 32 x 32 RGB and the same labels.
fn every_layout(root: &Path, images: &[Image], labels: &[u32]) -> Vec<(Layout, PathBuf)> {
    let mut sets = Vec::new();
    let mut set = |layout, name: &str| {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        sets.push((layout, folder.clone()));
        folder
    };
    let folder = set(Layout::CifarBinary, "cifar");
    let records: Vec<Vec<u8>> = images
        .iter()
        .zip(labels)
        .map(|(image, &label)| {
            let mut record = vec![label as u8];
            for channel in 0..3 {
                record.extend(image.pixels().iter().skip(channel).step_by(3));
            }
            record
        })
        .collect();
    fs::write(folder.join("data_batch_1.bin"), records[..6].concat()).unwrap();
    fs::write(folder.join("data_batch_2.bin"), records[6..].concat()).unwrap();

    let folder = set(Layout::CifarStrips, "strips");
    for (name, part) in [("data_batch_1.png", &images[..6]), ("data_batch_2.png", &images[6..])] {
        let rows: Vec<u8> = part.iter().flat_map(|image| image.pixels().to_vec()).collect();
        fs::write(folder.join(name), png(&Image::new(part.len(), 1024, 3, rows).unwrap())).unwrap();
    }
    fs::write(folder.join("train_lables.json"), serde_json::to_vec(labels).unwrap()).unwrap();

    let folder = set(Layout::Metadata, "csv");
    let mut table = "file_name,label\n".to_owned();
    for (index, (image, label)) in images.iter().zip(labels).enumerate() {
        // Names in an order that is not that of the table.
        let name = format!("part{}/{}.png", index % 2, 99 - index);
        fs::create_dir_all(folder.join(&name).parent().unwrap()).unwrap();
        fs::write(folder.join(&name), png(image)).unwrap();
        table += &format!("{name},{label}\n");
    }
    fs::write(folder.join("metadata.csv"), table).unwrap();

    let folder = set(Layout::Metadata, "jsonl");
    let mut table = String::new();
    for (index, (image, label)) in images.iter().zip(labels).enumerate() {
        fs::write(folder.join(format!("{index}.png")), png(image)).unwrap();
        table += &format!("{{\"file_name\": \"{index}.png\", \"label\": {label}, \"more\": [1]}}\n");
    }
    fs::write(folder.join("metadata.jsonl"), table).unwrap();

    let folder = set(Layout::Parquet, "parquet");
    let rows: Vec<_> =
        images.iter().zip(labels).map(|(image, &label)| (Some(png(image)), Some(i64::from(label)))).collect();
    // Two files; the first has two row groups.
    write_parquet(&folder.join("train-00000-of-00002.parquet"), &[&rows[..3], &rows[3..7]], None);
    write_parquet(&folder.join("train-00001-of-00002.parquet"), &[&rows[7..]], None);

    let folder = set(Layout::WebDataset, "webdataset");
    for (name, range) in [("shard-0.tar", 0..4), ("shard-1.tar", 4..images.len())] {
        let mut entries = Vec::new();
        for index in range {
            entries.push((format!("{index:04}.cls"), labels[index].to_string().into_bytes()));
            entries.push((format!("{index:04}.png"), png(&images[index])));
            entries.push((format!("{index:04}.txt"), b"a caption".to_vec()));
        }
        fs::write(folder.join(name), tar_of(&entries)).unwrap();
    }

    let last: Vec<u8> = images.iter().flat_map(|image| image.pixels().to_vec()).collect();
    let first: Vec<u8> = images
        .iter()
        .flat_map(|image| {
            (0..3)
                .flat_map(|channel| image.pixels().iter().skip(channel).step_by(3).copied())
                .collect::<Vec<_>>()
        })
        .collect();
    let narrow: Vec<u8> = labels.iter().map(|&label| label as u8).collect();
    let wide: Vec<u8> = labels.iter().flat_map(|&label| i64::from(label).to_be_bytes()).collect();
    let count = images.len();
    let folder = set(Layout::Npy, "npy");
    fs::write(folder.join("images.npy"), npy("|u1", &[count, 32, 32, 3], &last)).unwrap();
    fs::write(folder.join("labels.npy"), npy(">i8", &[count], &wide)).unwrap();
    for (name, compressed) in [("npz", false), ("npz-compressed", true)] {
        let folder = set(Layout::Npz, name);
        let members = [
            ("x_train.npy", npy("|u1", &[count, 3, 32, 32], &first)),
            ("y_train.npy", npy("|u1", &[count, 1], &narrow)),
            ("x_test.npy", npy("|u1", &[1, 3, 32, 32], &first[..3072])),
        ];
        fs::write(folder.join("set.npz"), zip_of(&members, compressed)).unwrap();
    }
    sets
}

#[test]
fn the_same_images_through_every_layout_have_the_same_ids_in_the_same_order() {
    let folder = TempDir::new().unwrap();
    let images: Vec<Image> = (0..10).map(|seed| noise(32, 32, 3, seed)).collect();
    let labels = [3, 0, 9, 3, 5, 0, 1, 8, 2, 7];
    let expected: Vec<ImageId> = images.iter().map(Image::id).collect();
    for (layout, path) in every_layout(folder.path(), &images, &labels) {
        let source = try_open(&path).unwrap();
        assert_eq!(source.layout(), layout, "{}", path.display());
        assert_eq!(ids(&source), expected, "{}", path.display());
        let mut told = Vec::new();
        open(&path, &OpenOptions::default(), &mut |event| told.push(event.to_string())).unwrap();
        assert_names(&told[0], &[&layout.to_string(), "10 images"]);
        // Nothing else is said, but that an archive has the other split, or captions, too.
        let mut also = match layout {
            Layout::Npz => vec!["split: train (not read: x_test)"],
            _ => vec![],
        };
        // And that no image has some of the numbers, where labels are numbers.
        if source.class_names().first().is_some_and(|name| name == "0") {
            also.push("labels: numbers from 0 to 9, so 2 classes of 10 have no images: 4, 6");
        }
        if layout == Layout::WebDataset {
            also.push("captions: the .txt files");
        }
        assert_eq!(&told[1..told.len() - 1], also, "{}", path.display());
        assert_names(&told[told.len() - 1], &["indexing the set"]);
        assert_eq!(source.labels(), Some(labels.as_slice()), "{}", path.display());
        assert_eq!((source.channels(), source.damaged().len()), (3, 0), "{}", path.display());
        let indexed: Vec<_> = (0..10).map(|index| source.indexed_id(index).unwrap()).collect();
        assert_eq!(indexed, expected, "{}", path.display());
        // In any order: streams go back to their start.
        for index in [9, 4, 4, 0, 7, 2] {
            assert_eq!(source.image(index).unwrap(), images[index], "{} {index}", path.display());
        }
    }
    // Class folders are in the order of their names, so there the labels must ascend.
    let sorted = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2];
    let folder = folder.path().join("classes");
    for (index, (image, label)) in images.iter().zip(sorted).enumerate() {
        let path = folder.join(["ant", "bee", "cow"][label]).join(format!("{index:02}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, png(image)).unwrap();
    }
    let source = try_open(&folder).unwrap();
    assert_eq!((source.layout(), ids(&source)), (Layout::Folder, expected));
    assert_eq!(source.labels().unwrap(), sorted.map(|label| label as u32));
    assert_eq!(source.class_names(), ["ant", "bee", "cow"]);
    assert_eq!((source.key(3), source.groups().unwrap()[3].as_str()), ("bee/03.png".into(), "bee"));
}

/// Grey images, which IDX can hold too.
#[test]
fn grey_images_are_the_same_through_idx_arrays_and_files() {
    let folder = TempDir::new().unwrap();
    let images: Vec<Image> = (0..5).map(|seed| noise(7, 6, 1, seed)).collect();
    let expected: Vec<ImageId> = images.iter().map(Image::id).collect();
    let pixels: Vec<u8> = images.iter().flat_map(|image| image.pixels().to_vec()).collect();
    let mut sets = Vec::new();
    for compressed in [false, true] {
        let path = folder.path().join(format!("idx-{compressed}"));
        fs::create_dir(&path).unwrap();
        let files = [
            ("train-images-idx3-ubyte", idx(0x803, &[5, 7, 6], &pixels)),
            ("train-labels-idx1-ubyte", idx(0x801, &[5], &[1; 5])),
        ];
        for (name, bytes) in files {
            if compressed {
                fs::write(path.join(format!("{name}.gz")), gzip(&bytes)).unwrap();
            } else {
                fs::write(path.join(name), bytes).unwrap();
            }
        }
        sets.push(path);
    }
    let path = folder.path().join("images");
    fs::create_dir(&path).unwrap();
    for (index, image) in images.iter().enumerate() {
        fs::write(path.join(format!("{index}.png")), png(image)).unwrap();
    }
    sets.push(path);
    let path = folder.path().join("array.npy");
    fs::write(&path, npy("|u1", &[5, 7, 6], &pixels)).unwrap();
    sets.push(path);
    for path in sets {
        let source = try_open(&path).unwrap();
        assert_eq!((source.channels(), ids(&source)), (1, expected.clone()), "{}", path.display());
        for index in [4, 1, 2] {
            assert_eq!(source.image(index).unwrap(), images[index]);
        }
    }
}

/// Whatever is cut off or flipped, nothing panics, and images that are read are those that were written.
#[test]
fn damaged_containers_give_errors_or_the_images_that_were_written() {
    let folder = TempDir::new().unwrap();
    let images: Vec<Image> = (0..10).map(|seed| noise(32, 32, 3, seed)).collect();
    let labels = [3, 0, 9, 3, 5, 0, 1, 8, 2, 7];
    for (layout, path) in every_layout(folder.path(), &images, &labels) {
        let file = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .min()
            .unwrap();
        let whole = fs::read(&file).unwrap();
        for part in 1..8 {
            // Nothing in a file of plain records says how many there should be.
            if layout == Layout::CifarBinary && (whole.len() * part / 8).is_multiple_of(3073) {
                continue;
            }
            fs::write(&file, &whole[..whole.len() * part / 8]).unwrap();
            // Refused, or the rest is known to be missing and what is read is what was written.
            if let Ok(source) = try_open(&path) {
                assert_ne!(source.damaged(), [], "{layout}, cut at {part} / 8");
                assert_eq!(source.len(), images.len());
                for (index, image) in images.iter().enumerate() {
                    assert!(source.image(index).is_err() || source.image(index).unwrap() == *image);
                }
            }
        }
        for step in 0..40 {
            let mut flipped = whole.clone();
            let position = whole.len() * step / 40;
            flipped[position] ^= 1 << (step % 8);
            fs::write(&file, &flipped).unwrap();
            let Ok(source) = try_open(&path) else { continue };
            for index in 0..source.len() {
                // Plain pixels have no checksum: what is read must at least be an image of the right shape.
                if let Ok(image) = source.image(index) {
                    assert_eq!((image.height(), image.width()), (32, 32), "{layout}, bit at {position}");
                }
            }
        }
    }
}
