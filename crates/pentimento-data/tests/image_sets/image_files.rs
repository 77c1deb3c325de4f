//! Single images in PNG, JPEG and WebP files: channels, depth, orientation, and damage.

use std::fs;

use pentimento_data::{
    Channels, Colours, Cover, DamageKind, Image, ImageSource as _, OpenOptions, Preprocessing, ResizeFilter,
    open, prepare,
};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, try_open};

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
    fs::write(folder.path().join("hollow.png"), png_header(16_384, 16_384)).unwrap();
    let damaged = try_open(folder.path()).unwrap().damaged();
    assert_eq!(damaged.len(), 2);
    assert_names(
        &damaged[0].reason,
        &["bomb.png", "the number of pixels is 60000 x 60000", "at most 268435456"],
    );
    // As many pixels as are read, and next to no data for them.
    assert_names(&damaged[1].reason, &["hollow.png", "67 bytes", "at least 16384 bytes for 16384 x 16384"]);
    assert_eq!([damaged[0].kind, damaged[1].kind], [DamageKind::Size, DamageKind::Damaged]);
}

/// A panorama of 9000 x 2, a strip of 70000 pixels, and a picture of 8200 x 8200 of one colour.
#[test]
fn photographs_and_panoramas_of_many_pixels_are_read() {
    let folder = TempDir::new().unwrap();
    let panorama = noise(2, 9000, 3, 1);
    let strip = noise(70_000, 1, 3, 2);
    fs::write(folder.path().join("panorama.png"), png(&panorama)).unwrap();
    fs::write(folder.path().join("strip.png"), png(&strip)).unwrap();
    let large = Image::new(8200, 8200, 1, vec![9; 8200 * 8200]).unwrap();
    fs::write(folder.path().join("large.png"), png(&large)).unwrap();
    let source = try_open(folder.path()).unwrap();
    assert_eq!(source.damaged(), []);
    let sizes: Vec<_> = (0..3).map(|index| source.size(index).unwrap()).collect();
    assert_eq!(sizes, [[8200, 8200], [2, 9000], [70_000, 1]]);
    assert_eq!(source.image(1).unwrap(), panorama);
    assert_eq!(source.image(2).unwrap(), strip);
    let inspection = pentimento_data::Inspection::of(&source, &mut |_| {}).unwrap();
    assert_eq!(inspection.sizes.len(), 3);
    pentimento_data::contact_sheet(&source).unwrap();
    // All are brought to one size.
    let cover = Cover { height: 2, width: 2, filter: ResizeFilter::Box };
    let prepared =
        prepare(&source, &Preprocessing { cover: Some(cover), ..Preprocessing::default() }).unwrap();
    assert_eq!(prepared.image(0), [9; 12]);
    // The middle of the panorama, which is as high as it shall be.
    let middle: Vec<u8> =
        panorama.pixels().chunks_exact(9000 * 3).flat_map(|row| &row[4499 * 3..4501 * 3]).copied().collect();
    assert_eq!(prepared.image(1), middle);
}
