//! NumPy arrays and archives of them.

use std::fs;

use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, refusal};

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
