//! The seeds of the fuzz targets with random damage, for so many seconds each: a substitute for fuzzing where there is no
//! nightly compiler. Ignored, as it takes its time:
//! `PENTIMENTO_MUTATION_SECONDS=600 cargo test -p pentimento-data --test mutations -- --ignored --nocapture`

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "test code")]

#[path = "common/damage.rs"]
mod damage;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use damage::{Random, damage};
use pentimento_data::{ImageSource as _, OpenOptions, open};

/// For each target: where a file goes, what lies beside it, and what is opened.
type Target = (&'static str, &'static str, &'static [(&'static str, &'static [u8])], &'static str);

const PIXEL: &[u8] = include_bytes!("../../../fuzz/seeds/pixel.png");
const LABELS: &[u8] = &[0, 0, 8, 1, 0, 0, 0, 2, 1, 2];

const TARGETS: [Target; 10] = [
    ("idx", "set-images-idx3-ubyte", &[("set-labels-idx1-ubyte", LABELS)], "set-images-idx3-ubyte"),
    ("cifar", "data_batch_1.png", &[("train_lables.json", b"[1,2]")], ""),
    ("image", "1.png", &[], ""),
    ("npy", "images.npy", &[], "images.npy"),
    ("npz", "set.npz", &[], "set.npz"),
    ("parquet", "set.parquet", &[], "set.parquet"),
    ("webdataset", "set.tar", &[], ""),
    ("metadata_csv", "metadata.csv", &[("a.png", PIXEL)], ""),
    ("metadata_csv", "metadata.jsonl", &[("a.png", PIXEL)], ""),
    ("metadata_csv", "dataset.json", &[("a.png", PIXEL)], ""),
];

#[test]
#[ignore = "takes minutes"]
fn damaged_seeds_give_errors_and_never_panic() {
    let seconds = std::env::var("PENTIMENTO_MUTATION_SECONDS").map_or(5, |text| text.parse().unwrap());
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (target, name, beside, opened) in TARGETS {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in beside {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let mut files: Vec<_> =
            fs::read_dir(seeds.join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let files: Vec<Vec<u8>> = files
            .iter()
            .map(|file| {
                let bytes = fs::read(file).unwrap();
                // These two carry the labels in front of the images.
                let cut = if matches!(target, "idx" | "npy") { 1 + usize::from(bytes[0]) } else { 0 };
                bytes[cut..].to_vec()
            })
            .collect();
        let mut random = Random::new();
        let (started, mut runs, mut read) = (Instant::now(), 0_u64, 0_u64);
        while started.elapsed() < Duration::from_secs(seconds) {
            let mut bytes = files[random.below(files.len())].clone();
            damage(&mut bytes, &mut random);
            fs::write(folder.path().join(name), &bytes).unwrap();
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let path = folder.path().join(opened);
                let Ok(source) = open(&path, &OpenOptions::default(), &mut |_| {}) else { return 0 };
                (0..source.len().min(16)).rev().filter(|&index| source.image(index).is_ok()).count() as u64
            }));
            runs += 1;
            match outcome {
                Ok(images) => read += images,
                Err(_) => {
                    let kept = std::env::temp_dir().join(format!("pentimento-crash-{target}"));
                    fs::write(&kept, &bytes).unwrap();
                    panic!("{target}: a panic after {runs} runs; its file is {}", kept.display());
                }
            }
        }
        eprintln!("{target} as {name}: {runs} runs, {read} images read");
    }
}
