//! An array of images, with an array of labels beside it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentimento_fuzz::open_files;

fuzz_target!(|data: &[u8]| {
    // The first byte says where the labels begin.
    let Some((&cut, rest)) = data.split_first() else { return };
    let (labels, images) = rest.split_at(usize::from(cut).min(rest.len()));
    open_files(&[("images.npy", images), ("labels.npy", labels)], "images.npy");
});
