//! A table of metadata, as CSV and as JSON lines.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentimento_fuzz::open_files;

fuzz_target!(|data: &[u8]| {
    const IMAGE: &[u8] = include_bytes!("../seeds/pixel.png");
    open_files(&[("csv/metadata.csv", data), ("csv/a.png", IMAGE)], "csv");
    open_files(&[("json/metadata.jsonl", data), ("json/a.png", IMAGE)], "json");
});
