//! A tar archive.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentimento_fuzz::open_files;

fuzz_target!(|data: &[u8]| {
    open_files(&[("archives/set.tar", data)], "archives");
});
