//! Code files on the disk: every element type, hostile files, and files that change while they are open.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic as tests do")]

use pentimento_attribution::ensemble::{Code, CodeBook, CodeFile, CodeFileError, QuadraticForm};
use pentimento_noise::{Purpose, Stream};
use pentimento_testing::skipped;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A `.npy` file of version 1 with the padding that NumPy gives it.
fn npy(descr: &str, length: usize, data: &[u8]) -> Vec<u8> {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({length},), }}");
    let padding = 63 - (10 + text.len()) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
}

fn packed(codes: &[Code], bytes: usize) -> Vec<u8> {
    codes.iter().flat_map(|code| code.bits().to_le_bytes()[..bytes].to_vec()).collect()
}

fn written(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn forms(book: &CodeBook) -> Vec<QuadraticForm> {
    let members = book.members() as usize;
    let gram = |seed: u64, order: usize| {
        let mut columns = vec![0.0; order * 50];
        Stream::new(seed, Purpose::Test, 0, 0).fill_normal_f64(&mut columns);
        let columns: Vec<&[f64]> = columns.chunks_exact(50).collect();
        let dot = |l: &[f64], r: &[f64]| l.iter().zip(r).map(|(l, r)| l * r).sum::<f64>();
        columns
            .iter()
            .flat_map(|l| columns.iter().map(|r| dot(l, r)).collect::<Vec<f64>>())
            .collect::<Vec<f64>>()
    };
    vec![
        QuadraticForm::linear(book, &gram(1, members)).unwrap(),
        QuadraticForm::second_order(book, &gram(2, 2 * members)).unwrap(),
    ]
}

fn search(path: &Path, forms: &[QuadraticForm], count: usize) -> Result<Vec<Vec<(u64, f64)>>, CodeFileError> {
    let found = CodeFile::open(path)?.most_influential::<CodeFileError>(forms, count, |_| Ok(()))?;
    Ok(found.iter().map(|list| list.iter().map(|found| (found.position, found.distance)).collect()).collect())
}

#[test]
fn a_file_of_any_element_type_is_ranked_as_its_book_is() {
    let folder = tempfile::tempdir().unwrap();
    for (members, groups) in [(8, 50), (16, 5000), (31, 5000), (32, 5000), (64, 5000)] {
        let book = CodeBook::draw(members, members / 2, groups, 3).unwrap();
        let forms = forms(&book);
        let expected: Vec<Vec<(u64, f64)>> = forms
            .iter()
            .map(|form| {
                let ranked = form.most_influential(&book, 40).unwrap();
                ranked.iter().map(|found| (u64::from(found.group), found.distance)).collect()
            })
            .collect();
        for (descr, bytes) in [("|u1", 1), ("<u2", 2), ("<u4", 4), ("<u8", 8)] {
            let data = packed(book.codes(), bytes);
            let path = written(&folder, "codes.npy", &npy(descr, book.codes().len(), &data));
            let found = search(&path, &forms, 40);
            if members as usize > 8 * bytes {
                assert!(matches!(found, Err(CodeFileError::TooNarrow { .. })));
                continue;
            }
            assert_eq!(found.unwrap(), expected);
            let file = CodeFile::open(&path).unwrap();
            assert_eq!((file.codes(), file.bytes_per_code()), (u64::from(groups), bytes));
            // Each form alone gives what all of them together give.
            for (form, expected) in forms.iter().zip(&expected) {
                assert_eq!(&search(&path, std::slice::from_ref(form), 40).unwrap()[0], expected);
            }
        }
        // What the run itself stores.
        let path = written(&folder, "codes.npy", &book.to_npy().unwrap());
        assert_eq!(search(&path, &forms, 40).unwrap(), expected);
        assert_eq!(search(&path, &forms, 9999).unwrap()[0].len(), groups as usize);
        assert!(search(&path, &[], 40).unwrap().is_empty());
    }
}

#[test]
fn files_that_are_no_code_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let book = CodeBook::draw(16, 8, 100, 3).unwrap();
    let forms = forms(&book);
    let data = packed(book.codes(), 4);
    let good = npy("<u4", 100, &data);
    let mut heavy = data.clone();
    heavy[4 * 70..4 * 71].copy_from_slice(&0x1FF_u32.to_le_bytes());
    let mut above = heavy.clone();
    above[4 * 60..4 * 61].copy_from_slice(&0x100FF_u32.to_le_bytes());
    let text = b"{'descr':'<u4','fortran_order':False,'shape':(1,)}";
    let unaligned =
        [b"\x93NUMPY\x01\x00", &(text.len() as u16 + 1).to_le_bytes()[..], text, b" ", &[3, 0, 0, 0]]
            .concat();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("empty", Vec::new(), "length is 0 bytes"),
        ("header-only", good[..60].to_vec(), "ends within the header"),
        ("truncated", good[..good.len() - 3].to_vec(), "are 400 bytes, but 397 follow"),
        ("longer", [&good[..], &[0; 8]].concat(), "are 400 bytes, but 408 follow"),
        ("none", npy("<u4", 0, &[]), "`shape` is (0,)"),
        ("floats", npy("<f4", 100, &data), "`descr` is <f4"),
        (
            "heavy",
            npy("<u4", 100, &heavy),
            "code 70 is 0x1ff: its weight is 9, but that of this ensemble's codes is h = 8",
        ),
        ("above", npy("<u4", 100, &above), "code 60 is 0x100ff: it has bits above the 16 members"),
        ("unaligned", unaligned, "the codes start at byte 61"),
    ];
    for (name, bytes, words) in cases {
        let path = written(&folder, name, &bytes);
        let refused = search(&path, &forms, 10).unwrap_err().to_string();
        assert!(
            refused.starts_with(&format!("{}: ", path.display())) && refused.contains(words),
            "{name}: {refused}"
        );
    }
    let refused = search(&folder.path().join("absent"), &forms, 10).unwrap_err().to_string();
    assert!(refused.contains("absent: cannot open it: No such file"), "{refused}");
    assert!(matches!(search(folder.path(), &forms, 10), Err(CodeFileError::NotAFile { .. })));
    let path = written(&folder, "good", &good);
    let mut both = forms;
    both.push(self::forms(&CodeBook::draw(16, 7, 1, 0).unwrap()).remove(0));
    assert!(matches!(search(&path, &both, 10), Err(CodeFileError::Forms(_))));
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_is_cut_short_while_it_is_open_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let book = CodeBook::draw(16, 8, 12_870, 3).unwrap();
    let path = written(&folder, "codes", &npy("<u4", 12_870, &packed(book.codes(), 4)));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next(), parts.next()) < (Some(5), Some(14)) {
        let why = format!("{} asked for a part of a map risks SIGBUS", release.trim());
        return skipped("linux-5.14", why);
    }
    let file = CodeFile::open(&path).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(9000).unwrap();
    let refused = file.most_influential::<CodeFileError>(&forms(&book), 10, |_| Ok(())).unwrap_err();
    assert!(refused.to_string().contains("cut short"), "{refused}");
}
