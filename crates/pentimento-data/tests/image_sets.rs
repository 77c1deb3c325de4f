//! Sets of every layout, written by the test itself: the same images must come out whatever they lay in, and what is
//! damaged, foreign or hostile must be refused by name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use pentimento_data::{
    Channels, Colours, Image, ImageId, ImageSource, IndexedSource, Layout, OpenOptions, Split, glance, open,
};
use tempfile::TempDir;

fn try_open(path: &Path) -> Result<IndexedSource, String> {
    open(path, &OpenOptions::default(), &mut |_| {}).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    })
}

fn refusal(path: &Path) -> String {
    match try_open(path) {
        Err(message) => message,
        Ok(source) => panic!("{} was opened as {}", path.display(), source.layout()),
    }
}

#[track_caller]
fn assert_names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

fn ids(source: &IndexedSource) -> Vec<ImageId> {
    (0..source.len()).map(|index| source.image(index).unwrap().id()).collect()
}

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
        let size = glance(&path, Split::Train, &mut |event| told.push(event.to_string())).unwrap();
        assert_eq!((size, told.len()), (Some([32, 32]), 1), "{}", path.display());
        assert_names(&told[0], &[&layout.to_string(), "10 images"]);
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

#[test]
fn channels_and_background_are_settings() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, image: &Image| fs::write(folder.path().join(name), png(image)).unwrap();
    write("a-grey.png", &Image::new(1, 2, 1, vec![10, 200]).unwrap());
    write("b-grey-alpha.png", &Image::new(1, 2, 2, vec![100, 0, 100, 51]).unwrap());
    let colours = |channels, background| {
        let options = OpenOptions { colours: Colours { channels, background }, ..OpenOptions::default() };
        let source = open(folder.path(), &options, &mut |_| {}).unwrap();
        (0..source.len()).map(|index| source.image(index).unwrap().pixels().to_vec()).collect::<Vec<_>>()
    };
    // 51 / 255 is a fifth: 20 + 204 = 224 on white, 20 on black.
    assert_eq!(colours(None, [255; 3]), [vec![10, 200], vec![255, 224]]);
    assert_eq!(colours(None, [0; 3]), [vec![10, 200], vec![0, 20]]);
    assert_eq!(colours(Some(Channels::Rgb), [0; 3])[0], [10, 10, 10, 200, 200, 200]);
    // A coloured background makes colour of it.
    assert_eq!(colours(None, [0, 255, 0]), [vec![10, 10, 10, 200, 200, 200], vec![0, 255, 0, 20, 224, 20]]);
    write("c-rgba.png", &Image::new(1, 2, 4, vec![255, 0, 0, 255, 0, 0, 255, 128]).unwrap());
    // One image in colour makes all RGB. 127 / 255 of white is 127.
    assert_eq!(
        colours(None, [255; 3]),
        [vec![10, 10, 10, 200, 200, 200], vec![255, 255, 255, 224, 224, 224], vec![255, 0, 0, 127, 127, 255]]
    );
    // ITU-R BT.601: 0.299 * 255 = 76.2; (0.299 + 0.587) * 127 + 0.114 * 255 = 141.6.
    assert_eq!(colours(Some(Channels::Grey), [255; 3])[2], [76, 142]);
}

#[test]
fn sixteen_bits_become_the_nearest_of_eight() {
    let folder = TempDir::new().unwrap();
    // v / 257 rounded: 128 / 257 is below a half, 129 / 257 above it.
    let values = [0_u16, 128, 129, 257, 32767, 32896, 65406, 65407, 65535];
    let expected = [0_u8, 0, 1, 1, 127, 128, 254, 255, 255];
    let buffer = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(9, 1, values.to_vec()).unwrap();
    buffer.save(folder.path().join("deep.png")).unwrap();
    assert_eq!(try_open(folder.path()).unwrap().image(0).unwrap().pixels(), expected);
}

/// The eight orientations of EXIF 2.32, tag 0x0112: where row 0 and column 0 of the stored image are seen.
#[test]
fn the_exif_orientation_is_applied() {
    // Stored:  1 2 3
    //          4 5 6
    let stored = Image::new(2, 3, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
    let expected: [(usize, usize, [u8; 6]); 8] = [
        (2, 3, [1, 2, 3, 4, 5, 6]), // row 0 top, column 0 left
        (2, 3, [3, 2, 1, 6, 5, 4]), // top, right
        (2, 3, [6, 5, 4, 3, 2, 1]), // bottom, right
        (2, 3, [4, 5, 6, 1, 2, 3]), // bottom, left
        (3, 2, [1, 4, 2, 5, 3, 6]), // left, top
        (3, 2, [4, 1, 5, 2, 6, 3]), // right, top
        (3, 2, [6, 3, 5, 2, 4, 1]), // right, bottom
        (3, 2, [3, 6, 2, 5, 1, 4]), // left, bottom
    ];
    let folder = TempDir::new().unwrap();
    for (number, _) in expected.iter().enumerate() {
        let oriented = with_exif_orientation(&png(&stored), number as u8 + 1);
        fs::write(folder.path().join(format!("{}.png", number + 1)), oriented).unwrap();
    }
    let source = try_open(folder.path()).unwrap();
    for (index, (height, width, pixels)) in expected.into_iter().enumerate() {
        let image = source.image(index).unwrap();
        assert_eq!(
            (image.height(), image.width(), image.pixels()),
            (height, width, pixels.as_slice()),
            "{}",
            index + 1
        );
        assert_eq!(source.size(index).unwrap(), [height, width]);
    }
}

#[test]
fn damaged_images_are_listed_and_never_read() {
    let folder = TempDir::new().unwrap();
    let whole = png(&noise(8, 8, 3, 1));
    let jpeg = jpeg(&noise(16, 16, 3, 2));
    let webp = webp(&noise(8, 8, 3, 3));
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let files: [(&str, &[u8]); 8] = [
        ("a-whole.png", &whole),
        ("b-cut.png", &whole[..whole.len() / 2]),
        ("c-flipped.png", &flipped),
        ("d-empty.png", b""),
        ("e-cut.jpg", &jpeg[..jpeg.len() - 40]),
        ("f-cut.webp", &webp[..webp.len() - 20]),
        ("g-text.png", b"not an image at all"),
        ("h-whole.webp", &webp),
    ];
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let source = try_open(folder.path()).unwrap();
    let damaged = source.damaged();
    let keys: Vec<_> = damaged.iter().map(|image| image.key.as_str()).collect();
    assert_eq!(keys, ["b-cut.png", "c-flipped.png", "d-empty.png", "e-cut.jpg", "f-cut.webp", "g-text.png"]);
    for image in &damaged {
        assert!(image.reason.contains(&image.key), "{}", image.reason);
        assert!(source.image(image.index).is_err() && source.size(image.index).is_err());
    }
    assert_names(&damaged[2].reason, &["the format is empty"]);
    assert_names(&damaged[3].reason, &["end-of-image"]);
    // A whole JPEG is read.
    fs::write(folder.path().join("e-cut.jpg"), &jpeg).unwrap();
    assert_eq!(try_open(folder.path()).unwrap().damaged().len(), 5);
}

#[test]
fn a_picture_that_would_fill_the_memory_is_refused_by_its_header() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("bomb.png"), png_header(60_000, 60_000)).unwrap();
    fs::write(folder.path().join("good.png"), png(&noise(2, 2, 1, 0))).unwrap();
    let damaged = try_open(folder.path()).unwrap().damaged();
    assert_eq!(damaged.len(), 1);
    assert_names(&damaged[0].reason, &["bomb.png", "60000", "between 1 and 8192"]);
}

#[test]
fn archives_that_announce_too_much_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("bomb.npz");
    // Deflate makes at most 1032 bytes of one; this header claims a million for each.
    let mut archive = zip_of(&[("images.npy", npy("|u1", &[1000, 10, 10], &vec![0; 100_000]))], true);
    let announced = (100_000_u32 + 128).to_le_bytes();
    let at: Vec<usize> =
        (0..archive.len() - 4).filter(|&start| archive[start..start + 4] == announced).collect();
    assert!(!at.is_empty());
    for start in at {
        archive[start..start + 4].copy_from_slice(&2_000_000_000_u32.to_le_bytes());
    }
    fs::write(&path, archive).unwrap();
    assert_names(&refusal(&path), &["bomb.npz", "images", "announced size is 2000000000 bytes"]);
    // An array whose header claims more than the file has.
    let path = folder.path().join("short.npy");
    fs::write(&path, npy("|u1", &[4_000_000_000, 8192, 8192], &[0; 10])).unwrap();
    assert_names(&refusal(&path), &["short.npy", "length is 138 bytes", "268435456000000128 bytes"]);
}

#[test]
fn arrays_that_are_ambiguous_or_of_another_kind_are_refused() {
    let folder = TempDir::new().unwrap();
    let case = |name: &str, bytes: &[u8], parts: &[&str]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_names(&refusal(&path), &[&[name], parts].concat());
        fs::remove_file(path).unwrap();
    };
    case("both.npy", &npy("|u1", &[2, 3, 5, 3], &[0; 90]), &["[2, 3, 5, 3]", "not on both"]);
    case("neither.npy", &npy("|u1", &[1, 5, 5, 5], &[0; 125]), &["[1, 5, 5, 5]", "1 to 4 channels"]);
    case("floats.npy", &npy("<f4", &[1, 2, 2], &[0; 16]), &["<f4", "|u1"]);
    case("flat.npy", &npy("|u1", &[4], &[0; 4]), &["[4]", "three or four axes"]);
    case("empty.npy", &npy("|u1", &[0, 2, 2], &[]), &["number of images is 0"]);
    case("longer.npy", &npy("|u1", &[1, 2, 2], &[0; 5]), &["length is 133 bytes", "132 bytes"]);
    case("cut.npy", &npy("|u1", &[1, 2, 2], &[0; 4])[..50], &["header is cut short"]);
    case("python.npy", &npy("|u1", &[1, 2, 2], &[0; 4]).map_text("'descr'", "'other'"), &["header", "descr"]);
    case(
        "fortran.npy",
        &npy("|u1", &[1, 2, 2], &[0; 4]).map_text("False", "True "),
        &["fortran_order is True"],
    );
    let one = npy("|u1", &[1, 2, 2], &[0; 4]);
    case("two.npz", &zip_of(&[("a.npy", one.clone()), ("b.npy", one.clone())], false), &["exactly one"]);
    case("none.npz", &zip_of(&[("a.txt", vec![1])], false), &["exactly one"]);
    let labels = npy("<i8", &[1], &(-1_i64).to_le_bytes());
    case(
        "negative.npz",
        &zip_of(&[("a.npy", one.clone()), ("b.npy", labels)], true),
        &["the label is -1 (at 0)"],
    );
    let mut flipped = zip_of(&[("a.npy", npy("|u1", &[1, 64, 64], &[7; 4096]))], false);
    flipped[1000] ^= 4;
    case("flipped.npz", &flipped, &["CRC-32"]);
    // Labels beside an array that do not fit it.
    fs::write(folder.path().join("images.npy"), &one).unwrap();
    fs::write(folder.path().join("labels.npy"), npy("|u1", &[2], &[0; 2])).unwrap();
    assert_names(&refusal(folder.path()), &["labels.npy", "[2]", "[1] integers"]);
}

#[test]
fn parquet_files_that_do_not_fit_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.parquet");
    let image = png(&noise(4, 4, 3, 1));
    let good = (Some(image.clone()), Some(1));

    write_parquet(&path, &[&[good.clone(), (None, Some(0)), good.clone()]], None);
    let source = try_open(&path).unwrap();
    assert_eq!(source.damaged().len(), 1);
    assert_names(&source.damaged()[0].reason, &["set.parquet, row 1", "the image is null"]);
    assert!(source.image(0).is_ok() && source.image(2).is_ok());

    write_parquet(&path, &[&[good.clone(), (Some(image.clone()), None)]], None);
    assert_names(&refusal(&path), &["set.parquet, row 1", "the label is null"]);
    write_parquet(&path, &[&[(Some(image.clone()), Some(-1))]], None);
    assert_names(&refusal(&path), &["row 0", "the label is -1"]);

    let names = r#"{"info":{"features":{"img":{"_type":"Image"},"label":{"names":["cat","dog"],"_type":"ClassLabel"}}}}"#;
    write_parquet(&path, &[&[good.clone(), (Some(image.clone()), Some(0))]], Some(names));
    let source = try_open(&path).unwrap();
    assert_eq!(
        (source.class_names(), source.labels().unwrap()),
        (["cat".into(), "dog".into()].as_slice(), [1, 0].as_slice())
    );
    write_parquet(&path, &[&[(Some(image.clone()), Some(2))]], Some(names));
    assert_names(&refusal(&path), &["row 0", "the label is 2", "between 0 and 1"]);
    write_parquet(&path, &[std::slice::from_ref(&good)], Some("{"));
    assert_names(&refusal(&path), &["huggingface", "JSON"]);

    write_parquet_schema(&path, "message schema { optional int64 label; }", &[]);
    assert_names(&refusal(&path), &["without images (label)", "a struct of `bytes` and `path`"]);
    let two = "message schema { optional group a { optional binary bytes; } optional group b { optional binary bytes; } }";
    write_parquet_schema(&path, two, &[]);
    assert_names(&refusal(&path), &["with the images `a` and `b`"]);
    write_parquet(&path, &[], None);
    assert_names(&refusal(&path), &["number of images is 0"]);

    // A series that lacks a file.
    let shards = folder.path().join("shards");
    fs::create_dir(&shards).unwrap();
    write_parquet(&shards.join("train-00001-of-00002.parquet"), &[&[good]], None);
    assert_names(&refusal(&shards), &["without train-00000-of-00002"]);
}

/// A page's header says how much memory the page needs; what its bytes cannot hold is refused before it is reserved.
#[test]
fn pages_that_claim_more_than_their_bytes_hold_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.parquet");
    let image = png(&noise(4, 4, 3, 1));
    write_parquet(&path, &[&[(Some(image), Some(1))]], None);
    let sound = fs::read(&path).unwrap();
    // After the file's magic: field 1 (the kind, a dictionary: 2, doubled to 4), fields 2 and 3 (sizes, doubled, in groups of
    // seven bits), field 7 (the dictionary, whose first field is the number of its values: 1, doubled).
    assert_eq!((&sound[4..7], sound[8], sound[9]), ([0x15, 4, 0x15].as_slice(), sound[8] & 0x7f, 0x15));
    let count = 9 + sound[9..].windows(3).position(|bytes| bytes == [0x4c, 0x15, 2]).unwrap() + 2;
    let damaged = |position: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[position] = byte;
        fs::write(&path, &bytes).unwrap();
        refusal(&path)
    };
    assert_names(&damaged(8, 0x7f), &["set.parquet, row 0", "the decompressed size of a page", "at most"]);
    assert_names(&damaged(count, 0x7e), &["the number of values in a dictionary is 63", "between 0 and"]);
}

#[test]
fn parquet_images_by_path_stay_beside_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.parquet");
    let image = noise(4, 4, 3, 1);
    fs::create_dir(folder.path().join("images")).unwrap();
    fs::write(folder.path().join("images/1.png"), png(&image)).unwrap();
    write_parquet_paths(&path, &["images/1.png"]);
    assert_eq!(try_open(&path).unwrap().image(0).unwrap(), image);
    for outside in ["../secret.png", "/etc/passwd"] {
        write_parquet_paths(&path, &[outside]);
        assert_names(&refusal(&path), &["row 0", outside, "inside the folder"]);
    }
    write_parquet_paths(&path, &["images/2.png"]);
    assert_names(&refusal(&path), &["row 0", "images/2.png", "that is there"]);
    // A series of which one file has no paths. (Without an ending, the image does not make the folder one of images.)
    fs::rename(folder.path().join("images/1.png"), folder.path().join("images/1")).unwrap();
    let (first, second) = (
        folder.path().join("train-00000-of-00002.parquet"),
        folder.path().join("train-00001-of-00002.parquet"),
    );
    fs::remove_file(&path).unwrap();
    write_parquet_paths(&first, &["images/1"]);
    let without = "message schema { optional group img { optional binary bytes; } }";
    write_parquet_schema(&second, without, &[(vec![], vec![1; 2])]);
    assert_names(&refusal(folder.path()), &["train-00001-of-00002.parquet", "without the paths"]);
}

/// An image is in the file or beside it, and all of a set are so.
#[test]
fn parquet_files_that_mix_bytes_and_paths_are_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.parquet");
    let image = noise(4, 4, 3, 1);
    fs::write(folder.path().join("1.png"), png(&image)).unwrap();
    let schema =
        "message schema { optional group img { optional binary bytes; optional binary path (UTF8); } }";
    // For each row, whether it has bytes and whether it has a path.
    let write = |rows: &[(bool, bool)]| {
        let level = |is_there: bool| if is_there { 2 } else { 1 };
        let bytes = rows.iter().filter(|(bytes, _)| *bytes).map(|_| png(&image).into()).collect();
        let paths = rows.iter().filter(|(_, path)| *path).map(|_| "1.png".into()).collect();
        let bytes_levels = rows.iter().map(|(bytes, _)| level(*bytes)).collect();
        let path_levels = rows.iter().map(|(_, path)| level(*path)).collect();
        write_parquet_schema(&path, schema, &[(bytes, bytes_levels), (paths, path_levels)]);
    };
    // Beside bytes, a path is only the name that the image had.
    write(&[(true, true), (true, false), (false, true), (false, false), (true, true), (false, true)]);
    let source = try_open(&path).unwrap();
    let told: Vec<String> = source.damaged().into_iter().map(|image| image.reason).collect();
    assert_eq!(told.len(), 3);
    for (reason, row) in [(&told[0], "row 2"), (&told[2], "row 5")] {
        assert_names(reason, &[row, "the path \"1.png\"", "in bytes", "the set mixes bytes and paths"]);
    }
    assert_names(&told[1], &["row 3", "the image is null"]);
    assert!([0, 1, 4].iter().all(|&index| source.image(index).unwrap() == image));

    for (others, row) in [(vec![(true, true)], "row 1"), (vec![(false, true); 100], "row 101")] {
        let rows = [vec![(false, true)], others, vec![(true, false)]].concat();
        write(&rows);
        assert_names(
            &refusal(&path),
            &[row, "the image is in bytes", "a path", "the set mixes bytes and paths"],
        );
    }
    write(&[(false, true), (false, true)]);
    assert_eq!(try_open(&path).unwrap().len(), 2);
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
    fs::write(root.join("2.bmp"), "BM").unwrap();
    assert_names(&refusal(root), &["2.bmp", "png, jpg, jpeg or webp"]);
    fs::remove_file(root.join("2.bmp")).unwrap();
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

mod index {
    use super::*;

    fn reasons(path: &Path, cache: &Path) -> Vec<String> {
        let mut told = Vec::new();
        let options = OpenOptions { cache_dir: Some(cache.into()), ..OpenOptions::default() };
        open(path, &options, &mut |event| told.push(event.to_string())).unwrap();
        told.retain(|event| event.contains("index"));
        told
    }

    #[test]
    fn is_kept_and_made_again_when_a_file_changes() {
        let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let path = folder.path().join("1.png");
        fs::write(&path, png(&noise(4, 4, 1, 0))).unwrap();
        let told = reasons(folder.path(), cache.path());
        assert!(told.len() == 1 && told[0].contains("not opened before"), "{told:?}");
        assert!(reasons(folder.path(), cache.path()).is_empty());
        // Another name of the same folder.
        let name = folder.path().file_name().unwrap();
        assert!(reasons(&folder.path().join("..").join(name), cache.path()).is_empty());
        // The same length and the same time, another image.
        let before = fs::metadata(&path).unwrap();
        let changed = (1..)
            .map(|seed| png(&noise(4, 4, 1, seed)))
            .find(|bytes| bytes.len() as u64 == before.len())
            .unwrap();
        fs::write(&path, changed).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
        let told = reasons(folder.path(), cache.path());
        assert!(told.len() == 1 && told[0].contains("1.png is not what it was"), "{told:?}");
        // Another file.
        fs::write(folder.path().join("2.png"), png(&noise(4, 4, 1, 9))).unwrap();
        assert_eq!(reasons(folder.path(), cache.path()).len(), 1);
        assert!(reasons(folder.path(), cache.path()).is_empty());
    }

    #[test]
    fn that_is_damaged_is_made_again_and_says_so() {
        let (folder, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(folder.path().join("1.png"), png(&noise(4, 4, 1, 0))).unwrap();
        reasons(folder.path(), cache.path());
        let file = fs::read_dir(cache.path().join("indexes")).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let other_digest = [&[b'0'; 64], &whole[64..]].concat();
        for bytes in [&whole[..whole.len() / 2], &[], &flipped, &other_digest] {
            fs::write(&file, bytes).unwrap();
            let told = reasons(folder.path(), cache.path());
            assert!(told.len() == 1 && told[0].contains("is damaged"), "{told:?}");
            assert!(reasons(folder.path(), cache.path()).is_empty());
            assert_eq!(fs::read(&file).unwrap(), whole);
        }
    }

    #[test]
    fn that_cannot_be_kept_is_told() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("1.png"), png(&noise(4, 4, 1, 0))).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let told = reasons(folder.path(), file.path());
        assert!(told.iter().any(|event| event.contains("cannot be kept")), "{told:?}");
    }

    #[test]
    fn an_image_that_changes_under_an_open_set_is_noticed() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("1.png");
        fs::write(&path, png(&noise(4, 4, 1, 0))).unwrap();
        let source = try_open(folder.path()).unwrap();
        fs::write(&path, png(&noise(4, 4, 1, 1))).unwrap();
        assert_names(&source.image(0).unwrap_err().to_string(), &["1.png", "another one now"]);
    }
}

mod several_sizes {
    use pentimento_data::{Cover, Crop, Preprocessing, Resize, ResizeFilter, prepare};

    use super::*;

    fn two_sizes() -> (TempDir, IndexedSource) {
        let folder = TempDir::new().unwrap();
        for (name, height, width) in [("a.png", 8, 12), ("b.png", 8, 12), ("c.png", 20, 10)] {
            fs::write(folder.path().join(name), png(&noise(height, width, 3, 5))).unwrap();
        }
        let source = try_open(folder.path()).unwrap();
        (folder, source)
    }

    #[test]
    fn are_refused_with_both_files_unless_they_become_one() {
        let (_folder, source) = two_sizes();
        let message = prepare(&source, &Preprocessing::default()).unwrap_err().to_string();
        assert_names(&message, &["20 x 10 pixels (c.png)", "8 x 12 pixels (a.png)", "preprocessing.cover"]);
        let crop = Preprocessing {
            crop: Some(Crop { top: None, left: None, height: 8, width: 8 }),
            ..Preprocessing::default()
        };
        assert_eq!(prepare(&source, &crop).unwrap().height(), 8);
        let crop = Preprocessing {
            crop: Some(Crop { top: None, left: None, height: 8, width: 11 }),
            ..Preprocessing::default()
        };
        assert_names(&prepare(&source, &crop).unwrap_err().to_string(), &["crop.width", "c.png"]);
        let resize = Preprocessing {
            resize: Some(Resize { height: 5, width: 6, filter: ResizeFilter::Box }),
            ..Preprocessing::default()
        };
        let prepared = prepare(&source, &resize).unwrap();
        assert_eq!((prepared.len(), prepared.height(), prepared.width()), (3, 5, 6));
        // A set without labels is one class; ids are those of the source.
        assert_eq!(prepared.labels(), [0, 0, 0]);
        assert_eq!(prepared.ids(), ids(&source));
    }

    /// torchvision: `Resize(8)` makes 8 x 12 of 8 x 12 and 16 x 8 of 20 x 10; `CenterCrop(8)` takes columns 2 to 9 of the
    /// first and rows 4 to 11 of the second.
    #[test]
    fn are_covered_and_cut_as_resize_and_center_crop_do() {
        let (_folder, source) = two_sizes();
        let cover = Cover { height: 8, width: 8, filter: ResizeFilter::Bilinear };
        let prepared =
            prepare(&source, &Preprocessing { cover: Some(cover), ..Preprocessing::default() }).unwrap();
        assert_eq!((prepared.len(), prepared.height(), prepared.width()), (3, 8, 8));
        let wide = source.image(0).unwrap();
        for (row, pixels) in prepared.image(0).chunks_exact(8 * 3).enumerate() {
            let start = (row * 12 + 2) * 3;
            assert_eq!(pixels, &wide.pixels()[start..start + 24]);
        }
        let tall = prepare(
            &source,
            &Preprocessing {
                resize: Some(Resize { height: 16, width: 8, filter: ResizeFilter::Bilinear }),
                ..Preprocessing::default()
            },
        )
        .unwrap();
        assert_eq!(prepared.image(2), &tall.image(2)[4 * 8 * 3..12 * 8 * 3]);
        // A strip of 8192 pixels cannot be made higher.
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("strip.png"), png(&noise(1, 8192, 1, 0))).unwrap();
        let source = try_open(folder.path()).unwrap();
        let message = prepare(&source, &Preprocessing { cover: Some(cover), ..Preprocessing::default() });
        assert_names(
            &message.unwrap_err().to_string(),
            &["`cover` is 8 x 8", "at most 8192 pixels, not 65536"],
        );
    }
}

/// Sets that NumPy, `datasets`, `webdataset` and Pillow wrote, with the pixels that Pillow reads in them
/// (`make_image_sets.py`).
mod written_elsewhere {
    use serde_json::Value;

    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/image_sets")
    }

    fn expected() -> Value {
        serde_json::from_slice(&fs::read(folder().join("expected.json")).unwrap()).unwrap()
    }

    fn bytes(value: &Value) -> Vec<u8> {
        value.as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect()
    }

    #[test]
    fn have_their_images_and_labels() {
        let expected = expected();
        for name in ["images.npy", "stored.npz", "compressed.npz", "datasets.parquet", "webdataset.tar"] {
            let source = try_open(&folder().join(name)).unwrap();
            assert_eq!((source.len(), source.damaged().len()), (4, 0), "{name}");
            for index in 0..4 {
                let image = source.image(index).unwrap();
                assert_eq!((image.height(), image.width(), image.channels()), (6, 5, 3), "{name}");
                assert_eq!(image.pixels(), bytes(&expected["images"][index]), "{name}, image {index}");
            }
            // A single array has no labels beside it.
            let labels = (name != "images.npy").then_some([2, 0, 1, 2].as_slice());
            assert_eq!(source.labels(), labels, "{name}");
        }
        let names = try_open(&folder().join("datasets.parquet")).unwrap().class_names().to_vec();
        assert_eq!(names, ["ant", "bee", "cow"]);
    }

    #[test]
    fn of_every_kind_of_pixel_are_decoded_as_pillow_does() {
        let source = try_open(&folder().join("kinds")).unwrap();
        assert_eq!((source.len(), source.channels(), source.damaged()), (9, 3, vec![]));
        let expected = expected();
        for index in 0..source.len() {
            let (name, image) = (source.key(index), source.image(index).unwrap());
            let other = &expected["kinds"][&name];
            assert_eq!(serde_json::json!([image.height(), image.width(), 3]), other["shape"], "{name}");
            // Inverse cosine transforms of JPEG may differ by one in each of a few roundings; everything else is exact.
            let tolerance = if name.ends_with(".jpg") { 2 } else { 0 };
            for (own, theirs) in image.pixels().iter().zip(bytes(&other["pixels"])) {
                assert!(own.abs_diff(theirs) <= tolerance, "{name}: {own} and {theirs}");
            }
        }
    }
}
