//! Sets that NumPy, `datasets`, `webdataset` and Pillow wrote, with the pixels that Pillow reads in them
//! (`make_image_sets.py`).

use std::fs;
use std::path::{Path, PathBuf};

use pentimento_data::ImageSource as _;
use serde_json::Value;

use crate::try_open;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/image_sets/written_elsewhere")
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
    for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"] {
        let source = try_open(&folder().join(format!("codecs/{codec}.parquet"))).unwrap();
        assert_eq!(source.labels(), Some([2, 0, 1, 2].as_slice()), "{codec}");
        for index in 0..4 {
            let image = source.image(index).unwrap();
            assert_eq!(image.pixels(), bytes(&expected["images"][index]), "{codec}, image {index}");
        }
    }
    let names = try_open(&folder().join("datasets.parquet")).unwrap().class_names().to_vec();
    assert_eq!(names, ["ant", "bee", "cow"]);
}

#[test]
fn of_every_kind_of_pixel_are_decoded_as_pillow_does() {
    let source = try_open(&folder().join("kinds")).unwrap();
    assert_eq!((source.len(), source.channels(), source.damaged()), (19, 3, vec![]));
    let several: Vec<String> = source.first_of_several().into_iter().map(|index| source.key(index)).collect();
    assert_eq!(several, ["p-several.gif", "q-several.tif", "r-several.png", "s-several.webp"]);
    // The pictures with an alpha channel.
    assert_eq!(source.transparent(), 2);
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
