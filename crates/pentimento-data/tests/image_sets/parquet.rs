//! Parquet files as `datasets` writes them.

use std::fs;

use parquet::basic::Compression;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use pentimento_data::ImageSource as _;
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, refusal, try_open};

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

/// pyarrow writes all of these but the form of LZ4 with a frame, which Hadoop writes (`written_elsewhere`).
#[test]
fn every_codec_is_read_and_claims_no_more_than_its_bytes_hold() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("set.parquet");
    // Long enough that the labels, which are all the same, are compressed by far.
    let image = png(&noise(4, 4, 3, 1));
    let rows: Vec<_> = (0..5000).map(|_| (Some(image.clone()), Some(1))).collect();
    for codec in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::ZSTD(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ] {
        write_parquet_compressed(&path, &[&rows], None, codec);
        let source = try_open(&path).unwrap_or_else(|error| panic!("{codec:?}: {error}"));
        assert_eq!((source.len(), source.damaged().len()), (5000, 0), "{codec:?}");
        assert_eq!(source.image(4999).unwrap(), noise(4, 4, 3, 1), "{codec:?}");
        // The size of a page of the last column, decompressed, as five groups of seven bits: about a gigabyte. What follows
        // is found from the end of the file.
        let sound = fs::read(&path).unwrap();
        let file = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
        let labels = file.metadata().row_group(0).column(2);
        let start = labels.dictionary_page_offset().unwrap() as usize;
        assert_eq!((sound[start], sound[start + 2]), (0x15, 0x15), "{codec:?}");
        let size = start + 3;
        let after = size + 1 + sound[size..].iter().position(|byte| byte & 0x80 == 0).unwrap();
        let claim = [0xfe, 0xff, 0xff, 0xff, 0x07];
        let damaged = [&sound[..size], &claim[..], &sound[after..]].concat();
        fs::write(&path, damaged).unwrap();
        assert_names(&refusal(&path), &["set.parquet", "the decompressed size of a page is 1073741823"]);
    }
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
    // All that are not there are told in one go, as other faults are.
    write_parquet_paths(&path, &["images/2.png", "images/1.png", "images/3.png"]);
    let source = try_open(&path).unwrap();
    let error = pentimento_data::prepare(&source, &Default::default()).unwrap_err().to_string();
    assert_names(
        &error,
        &[
            "2 of 3 images cannot be read",
            "2 that are named and not there: 0, 2 (",
            "row 0",
            "images/2.png",
            "that is there",
        ],
    );
    assert_eq!(source.image(1).unwrap(), image);
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
