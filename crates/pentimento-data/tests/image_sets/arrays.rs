//! NumPy arrays and archives of them.

use std::fs;

use pentimento_data::{Conversion, ImageSource as _, OpenOptions, open};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, refusal, try_open};

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
    case("masks.npy", &npy("|b1", &[1, 2, 2], &[0; 4]), &["|b1", "`x.astype('uint8') * 255`"]);
    case("wide.npy", &npy("<i8", &[1, 2, 2], &[0; 32]), &["<i8", "`x.astype('uint8')`"]);
    case("complex.npy", &npy("<c8", &[1, 2, 2], &[0; 32]), &["<c8", "round().astype('uint8')"]);
    case("masks.npz", &zip_of(&[("a.npy", npy("|b1", &[1, 2, 2], &[0; 4]))], false), &["|b1", "* 255"]);
    case(
        "five.npy",
        &npy("|u1", &[1, 7, 8, 5], &[0; 280]),
        &["[1, 7, 8, 5]", "1 to 4 channels", "`x[..., :3]`"],
    );
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

/// Numbers of every width and byte order, by NumPy's kind. Halves are shifted from the bits of a number of 32 bits, which holds
/// these exactly: the exponent's bias is 15 in place of 127, the fraction has 10 bits in place of 23.
fn floats(kind: &str, values: &[f64]) -> Vec<u8> {
    let half = |value: f64| -> u16 {
        let bits = (value as f32).to_bits();
        if value == 0.0 {
            return (bits >> 16) as u16 & 0x8000;
        }
        let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
        (bits >> 16 & 0x8000) as u16 | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16
    };
    let little = |value: f64| -> Vec<u8> {
        match &kind[1..] {
            "f2" => half(value).to_le_bytes().to_vec(),
            "f4" => (value as f32).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        }
    };
    let of = |&value: &f64| {
        let mut bytes = little(value);
        if kind.starts_with('>') {
            bytes.reverse();
        }
        bytes
    };
    values.iter().flat_map(of).collect()
}

/// `(x * 255).round()` and `((x + 1) * 127.5).round()` of NumPy: 0.25 is 63.75, -0.5 is 63.75, 0.5 in [0, 1] is 127.5, which
/// goes to the even 128, and -0.25 is 95.625.
#[test]
fn floating_point_images_are_read_in_the_range_that_they_have() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("images.npy");
    for kind in ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"] {
        for (values, is_signed, bytes) in [
            ([0.0, 0.25, 0.5, 1.0], false, [0, 64, 128, 255]),
            ([-1.0, -0.5, -0.25, 1.0], true, [0, 64, 96, 255]),
        ] {
            fs::write(&path, npy(kind, &[1, 2, 2], &floats(kind, &values))).unwrap();
            let mut told = Vec::new();
            let source =
                open(&path, &OpenOptions::default(), &mut |event| told.push(event.to_string())).unwrap();
            assert_eq!(source.image(0).unwrap().pixels(), bytes, "{kind}");
            let found = [values[0], values[3]];
            assert_eq!(source.conversion(), Some(Conversion::Floats { is_signed, found }), "{kind}");
            let range = if is_signed { "[-1, 1]" } else { "[0, 1]" };
            assert!(told.iter().any(|text| text.contains(range)), "{told:?}");
        }
    }
    // Channels first, in a compressed archive, with labels beside.
    let path = folder.path().join("images.npz");
    let values: Vec<f64> = (0..2 * 3 * 5 * 6).map(|index| f64::from(index) / 255.0).collect();
    let archive =
        [("x.npy", npy("<f4", &[2, 3, 5, 6], &floats("<f4", &values))), ("y.npy", npy("|u1", &[2], &[0, 1]))];
    fs::write(&path, zip_of(&archive, true)).unwrap();
    let source = try_open(&path).unwrap();
    assert_eq!((source.len(), source.class_names().len()), (2, 2));
    // Row 1, column 2 of image 1: 90 numbers of image 0, then 30 of each channel, of which 8 are before.
    let image = source.image(1).unwrap();
    assert_eq!(image.pixels()[(6 + 2) * 3..][..3], [98, 128, 158]);
    // Beside bytes, other arrays are no images.
    let archive = [
        ("images.npy", npy("|u1", &[1, 2, 2], &[1, 2, 3, 4])),
        ("latents.npy", npy("<f4", &[1, 2, 2], &[0; 16])),
    ];
    fs::write(&path, zip_of(&archive, false)).unwrap();
    assert_eq!(try_open(&path).unwrap().image(0).unwrap().pixels(), [1, 2, 3, 4]);
}

#[test]
fn integers_of_sixteen_bits_are_read_with_65535_as_white() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("images.npy");
    // v / 257 rounded.
    let values = [0_u16, 128, 129, 65535];
    let bytes = |big: bool| -> Vec<u8> {
        values.iter().flat_map(|value| if big { value.to_be_bytes() } else { value.to_le_bytes() }).collect()
    };
    for (kind, big) in [("<u2", false), (">u2", true)] {
        fs::write(&path, npy(kind, &[1, 2, 2], &bytes(big))).unwrap();
        let source = try_open(&path).unwrap();
        assert_eq!(source.image(0).unwrap().pixels(), [0, 0, 1, 255], "{kind}");
        assert_eq!(source.conversion(), Some(Conversion::SixteenBits));
    }
    // Bytes that someone kept in sixteen bits would all be black.
    fs::write(&path, npy("<u2", &[1, 2, 2], &[0, 0, 1, 0, 200, 0, 255, 0])).unwrap();
    assert_names(&refusal(&path), &["images.npy", "is 255", "`x.astype('uint8')`"]);
}

#[test]
fn numbers_that_are_no_pixels_are_refused_with_their_place_or_their_range() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("images.npy");
    // Channels last: 90 numbers in image 0, 18 in each row.
    let mut values = vec![0.5; 2 * 5 * 6 * 3];
    values[90 + (4 * 6 + 2) * 3 + 1] = f64::NAN;
    fs::write(&path, npy("<f8", &[2, 5, 6, 3], &floats("<f8", &values))).unwrap();
    assert_names(&refusal(&path), &["NaN in image 1, row 4, column 2, channel 1"]);
    // Channels first: 30 numbers in each of 3 channels.
    let mut values = vec![0.5; 2 * 5 * 6 * 3];
    values[90 + 2 * 30 + 3 * 6 + 5] = f64::INFINITY;
    fs::write(&path, npy("<f4", &[2, 3, 5, 6], &floats("<f4", &values))).unwrap();
    assert_names(&refusal(&path), &["inf in image 1, row 3, column 5, channel 2"]);
    let refused = |values: &[f64], parts: &[&str]| {
        fs::write(&path, npy("<f4", &[1, 2, 2], &floats("<f4", values))).unwrap();
        assert_names(&refusal(&path), parts);
    };
    refused(&[0.0, 1.0, 128.0, 255.0], &["[0, 255]", "`x.round().astype('uint8')`"]);
    refused(&[-3.5, 0.0, 1.0, 2.0], &["[-3.5, 2]", "[0, 1] or [-1, 1]", "astype('uint8')", "latents"]);
    refused(&[-1.5, 0.0, 1.0, 1.0], &["[-1.5, 1]"]);
    // A file that ends within its numbers.
    fs::write(&path, &npy("<f4", &[1, 2, 2], &[0; 16])[..140]).unwrap();
    assert_names(&refusal(&path), &["length is 140 bytes"]);
}
