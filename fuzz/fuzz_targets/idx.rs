//! A file of IDX images, plain or compressed, with labels that come with it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentimento_fuzz::open_files;

fuzz_target!(|data: &[u8]| {
    // The first byte says where the labels begin.
    let Some((&cut, rest)) = data.split_first() else { return };
    let (labels, images) = rest.split_at(usize::from(cut).min(rest.len()));
    open_files(&[("set-images-idx3-ubyte", images), ("set-labels-idx1-ubyte", labels)], "set-images-idx3-ubyte");
});
