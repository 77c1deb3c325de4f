//! Images in formats other than PNG, JPEG and WebP: those that are read, and those that are told.

use std::fs;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma};
use pentimento_data::{DamageKind, Image, ImageSource as _, OpenEvent, OpenOptions, open};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, try_open};

fn grey(image: &Image) -> DynamicImage {
    let (width, height) = (image.width() as u32, image.height() as u32);
    DynamicImage::ImageLuma8(ImageBuffer::from_raw(width, height, image.pixels().to_vec()).unwrap())
}

fn rgb(image: &Image) -> DynamicImage {
    let (width, height) = (image.width() as u32, image.height() as u32);
    DynamicImage::ImageRgb8(ImageBuffer::from_raw(width, height, image.pixels().to_vec()).unwrap())
}

#[test]
fn bmp_and_tiff_keep_every_byte() {
    for channels in [1, 3] {
        let folder = TempDir::new().unwrap();
        let image = noise(6, 5, channels, 1);
        let drawn = if channels == 1 { grey(&image) } else { rgb(&image) };
        fs::write(folder.path().join("a.bmp"), encoded(ImageFormat::Bmp, drawn.clone())).unwrap();
        fs::write(folder.path().join("b.tif"), encoded(ImageFormat::Tiff, drawn.clone())).unwrap();
        // The ending says that it is an image, the first bytes of which format.
        fs::write(folder.path().join("c.jpe"), encoded(ImageFormat::Tiff, drawn)).unwrap();
        let source = try_open(folder.path()).unwrap();
        assert_eq!(source.len(), 3);
        for index in 0..3 {
            let read = source.image(index).unwrap();
            // BMP holds colour only: grey becomes three equal channels, and the set is in colour.
            let expected: Vec<u8> = match (channels, source.channels()) {
                (1, 3) => image.pixels().iter().flat_map(|&byte| [byte; 3]).collect(),
                _ => image.pixels().to_vec(),
            };
            assert_eq!(read.pixels(), expected, "{channels} channels, image {index}");
        }
    }
}

/// v / 257 rounded, as of PNG files.
#[test]
fn sixteen_bits_of_a_tiff_become_the_nearest_of_eight() {
    let folder = TempDir::new().unwrap();
    let values = vec![0_u16, 128, 129, 257, 32767, 32896, 65406, 65407, 65535];
    let deep = DynamicImage::ImageLuma16(ImageBuffer::<Luma<u16>, _>::from_raw(9, 1, values).unwrap());
    fs::write(folder.path().join("deep.tiff"), encoded(ImageFormat::Tiff, deep)).unwrap();
    let image = try_open(folder.path()).unwrap().image(0).unwrap();
    assert_eq!(image.pixels(), [0, 0, 1, 1, 127, 128, 254, 255, 255]);
}

/// A file of the ISO base media format begins with a box `ftyp` that names its brand.
fn with_brand(brand: &[u8; 4]) -> Vec<u8> {
    [&[0, 0, 0, 24][..], b"ftyp", brand, &[0; 4], brand, b"mif1", &[0; 64]].concat()
}

#[test]
fn formats_that_are_not_read_are_named_with_what_converts_them() {
    let folder = TempDir::new().unwrap();
    let files: [(&str, Vec<u8>, &[&str]); 5] = [
        ("a.heic", with_brand(b"heic"), &["the format is HEIC", "heif-convert"]),
        ("b.avif", with_brand(b"avif"), &["the format is AVIF", "magick"]),
        ("c.ppm", b"P6 1 1 255 abc".to_vec(), &["the format is PNM", "magick"]),
        ("d.jxl", vec![0xff, 0x0a, 0, 0], &["the format is JPEG XL", "magick"]),
        ("e.jp2", b"\0\0\0\x0cjP  \r\n\x87\n".to_vec(), &["the format is JPEG 2000", "magick"]),
    ];
    fs::write(folder.path().join("whole.png"), png(&noise(4, 4, 3, 0))).unwrap();
    for (name, bytes, _) in &files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let source = try_open(folder.path()).unwrap();
    let damaged = source.damaged();
    assert_eq!(damaged.len(), files.len());
    for (image, (name, _, parts)) in damaged.iter().zip(&files) {
        assert_eq!(image.key, *name);
        assert_names(&image.reason, parts);
    }
    assert!(damaged.iter().all(|image| image.kind == DamageKind::Format));
    // In an archive they are images, too.
    let archive = TempDir::new().unwrap();
    let entries = [("0.heic".to_owned(), with_brand(b"heic")), ("1.png".to_owned(), png(&noise(4, 4, 3, 0)))];
    fs::write(archive.path().join("set.tar"), tar_of(&entries)).unwrap();
    let source = try_open(archive.path()).unwrap();
    assert_eq!((source.len(), source.damaged().len()), (2, 1));
}

/// Whole files that the decoder does not know, and one that is cut short.
#[test]
fn kinds_of_files_that_are_not_read_are_told_from_damaged_ones() {
    let folder = TempDir::new().unwrap();
    let float = DynamicImage::ImageRgb32F(ImageBuffer::from_raw(1, 1, vec![0.5_f32; 3]).unwrap());
    let colour_map: Vec<u16> = vec![7; 3 * 256];
    let rgb: [(u16, &[u16]); 3] = [(258, &[8; 3]), (262, &[2]), (277, &[3])];
    let with = |more: &[(u16, &'static [u16])]| [&rgb[..], more].concat();
    let whole = tiff(&with(&[]), &[5; 12]);
    let cmyk = tiff(&[(258, &[8; 4]), (262, &[5]), (277, &[4])], &[0; 16]);
    let kinds: [(&str, Vec<u8>, &str); 15] = [
        (
            "palette.tif",
            tiff(&[(258, &[8]), (262, &[3]), (320, &colour_map)], &[0; 4]),
            "TIFF that is not read: palette colours, samples of 8 bits; `magick NAME.tiff NAME.png` converts it",
        ),
        (
            "palette-with-samples.tif",
            tiff(&[(258, &[8]), (262, &[3]), (320, &colour_map), (339, &[1])], &[0; 4]),
            "palette colours, samples of 8 bits;",
        ),
        (
            "float.tif",
            tiff(&[(258, &[32]), (262, &[1]), (339, &[3])], &[0; 16]),
            "grey, floating-point samples of 32 bits; `magick NAME.tiff NAME.png` converts it, or save its numbers, \
             between 0 and 1, as an array (.npy)",
        ),
        ("float-rgb.tif", encoded(ImageFormat::Tiff, float), "RGB, floating-point samples of 32 bits;"),
        (
            "half.tif",
            tiff(&[(258, &[16]), (262, &[1]), (339, &[3])], &[0; 8]),
            "floating-point samples of 16 bits;",
        ),
        (
            "ycbcr.tif",
            tiff(&[(258, &[8; 3]), (262, &[6]), (277, &[3]), (530, &[1, 1])], &[0; 12]),
            "YCbCr, samples of 8 bits;",
        ),
        ("cmyk.tif", tiff(&[(258, &[4; 4]), (262, &[5]), (277, &[4])], &[0; 8]), "CMYK, samples of 4 bits;"),
        ("grey.tif", tiff(&[(258, &[4]), (262, &[1])], &[0; 2]), "grey, samples of 4 bits;"),
        (
            "signed.tif",
            tiff(&[(258, &[8]), (262, &[1]), (339, &[2])], &[0; 4]),
            "grey, signed samples of 8 bits;",
        ),
        (
            "lab.tif",
            tiff(&[(258, &[8; 3]), (262, &[8]), (277, &[3])], &[0; 12]),
            "L*a*b* colours, samples of 8 bits;",
        ),
        (
            "bits.tif",
            tiff(&[(258, &[5, 6, 5]), (262, &[2]), (277, &[3])], &[0; 8]),
            "RGB, samples of 5/6/5 bits;",
        ),
        (
            "zstd.tif",
            tiff(&with(&[(259, &[50000])]), &[0; 12]),
            "RGB, samples of 8 bits, compressed by zstd;",
        ),
        // JPEG files whose header says so.
        (
            "lossless.jpg",
            jpeg(&noise(8, 8, 3, 0)).map_bytes(&[0xff, 0xc0], &[0xff, 0xc3]),
            "a kind of JPEG that is not read: without loss;",
        ),
        (
            "twelve.jpg",
            jpeg(&noise(8, 8, 3, 0)).map_bytes(&[0xff, 0xc0, 0, 17, 8], &[0xff, 0xc0, 0, 17, 12]),
            "a kind of JPEG that is not read: samples of 12 bits;",
        ),
        (
            "arithmetic.jpg",
            jpeg(&noise(8, 8, 3, 0)).map_bytes(&[0xff, 0xc0], &[0xff, 0xc9]),
            "a kind of JPEG that is not read: with arithmetic coding; `magick NAME.jpg NAME.png` converts it",
        ),
    ];
    let read = [("whole.tif", whole.clone()), ("whole-cmyk.tif", cmyk)];
    let cut = [
        // Its end follows its beginning.
        ("bare.jpg", vec![0xff, 0xd8, 0xff, 0xd9]),
        ("cut.tif", whole[..20].to_vec()),
        ("no-deflate.tif", tiff(&with(&[(259, &[8])]), &[5; 12])),
    ];
    let all = kinds
        .iter()
        .map(|(name, bytes, _)| (*name, bytes))
        .chain(read.iter().chain(&cut).map(|(name, bytes)| (*name, bytes)));
    for (name, bytes) in all {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let source = try_open(folder.path()).unwrap();
    let damaged = source.damaged();
    for (name, _, said) in &kinds {
        let image = damaged.iter().find(|image| image.key == *name).unwrap();
        assert_names(&image.reason, &[&format!("{name} is a kind of "), said]);
        assert_eq!(image.kind, DamageKind::Kind, "{name}");
    }
    let others: Vec<_> = damaged.iter().filter(|image| image.kind != DamageKind::Kind).collect();
    assert_eq!(
        others.iter().map(|image| (image.key.as_str(), image.kind)).collect::<Vec<_>>(),
        [
            ("bare.jpg", DamageKind::Damaged),
            ("cut.tif", DamageKind::Damaged),
            ("no-deflate.tif", DamageKind::Damaged)
        ]
    );
    let position = |name: &str| (0..source.len()).find(|&index| source.key(index) == name).unwrap();
    assert_eq!(source.image(position("whole.tif")).unwrap().pixels(), [5; 12]);
    assert_eq!(source.image(position("whole-cmyk.tif")).unwrap().pixels(), [255; 12]);
    // Both are counted, each as what it is.
    let text = pentimento_data::DamageSummary(&damaged).to_string();
    assert_names(
        &text,
        &[
            "15 of a kind of its format that is not read: arithmetic.jpg, bits.tif",
            "3 damaged: bare.jpg, cut.tif",
        ],
    );
    // Left out, they are told by kind too.
    let mut told = Vec::new();
    let options = OpenOptions { skip_damaged: true, ..OpenOptions::default() };
    let source = open(folder.path(), &options, &mut |event| told.push(event.to_string())).unwrap();
    let said = told.iter().find(|text| text.contains("left out")).unwrap();
    assert_names(said, &["18 images of 20 left out", "15 of a kind of its format", "3 damaged"]);
    assert_eq!(
        pentimento_data::prepare(&source, &pentimento_data::Preprocessing::default()).unwrap().len(),
        2
    );
}

/// The first frame of two, and that there are two, said once for all files.
#[test]
fn of_an_animation_the_first_picture_is_taken_and_that_is_told() {
    let folder = TempDir::new().unwrap();
    let frame = |shade: u8| {
        image::Frame::new(ImageBuffer::from_raw(2, 2, [shade, shade, shade, 255].repeat(4)).unwrap())
    };
    for (name, frames) in [("one.gif", vec![frame(10)]), ("two.gif", vec![frame(20), frame(200)])] {
        let mut bytes = Vec::new();
        image::codecs::gif::GifEncoder::new(&mut bytes).encode_frames(frames).unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let mut told = Vec::new();
    let source = open(folder.path(), &OpenOptions::default(), &mut |event| {
        if let OpenEvent::FirstOfSeveral { images, first } = event {
            told.push((images, first.to_owned()));
        }
    })
    .unwrap();
    assert_eq!(told, [(1, "two.gif".to_owned())]);
    assert_eq!(source.first_of_several(), [1]);
    assert_eq!(source.image(0).unwrap().pixels(), [10; 12]);
    assert_eq!(source.image(1).unwrap().pixels(), [20; 12]);
}

/// Half of the pixels of one image let the background through; one more has an alpha channel that lets nothing through.
#[test]
fn transparency_is_counted_and_said_with_the_background() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, pixels: Vec<u8>| {
        fs::write(folder.path().join(name), png(&Image::new(1, 2, 4, pixels).unwrap())).unwrap();
    };
    write("opaque.png", vec![1, 2, 3, 255, 4, 5, 6, 255]);
    write("through.png", vec![1, 2, 3, 255, 4, 5, 6, 0]);
    fs::write(folder.path().join("without.png"), png(&noise(1, 2, 3, 1))).unwrap();
    let mut told = Vec::new();
    let colours = pentimento_data::Colours { background: [0; 3], ..Default::default() };
    let options = OpenOptions { colours, ..OpenOptions::default() };
    let source = open(folder.path(), &options, &mut |event| told.push(event.to_string())).unwrap();
    assert_eq!(source.transparent(), 1);
    assert_eq!(source.image(1).unwrap().pixels(), [1, 2, 3, 0, 0, 0]);
    let said = told.iter().find(|text| text.contains("transparent")).unwrap();
    assert_names(said, &["1 image of 3", "black", "data.background"]);
}
