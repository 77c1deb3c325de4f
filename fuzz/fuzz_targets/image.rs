//! A PNG, JPEG or WebP file in a folder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentimento_fuzz::open_files;

fuzz_target!(|data: &[u8]| {
    open_files(&[("images/1.png", data)], "images");
});
