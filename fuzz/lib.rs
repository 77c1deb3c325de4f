//! What the fuzz targets share: files in a folder of memory, opened as a set, every image read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use pentimento_data::{ImageSource as _, OpenOptions, open};

/// Most images that are read of a set: what one image cannot break, a thousand cannot.
const MOST_IMAGES: usize = 64;

/// The folder of this process, in memory where the system has one.
fn folder() -> PathBuf {
    let root = Path::new("/dev/shm");
    let root = if root.is_dir() { root.to_path_buf() } else { std::env::temp_dir() };
    root.join(format!("pentimento-fuzz-{}", std::process::id()))
}

/// Writes files, opens what they are as a set, and reads its images. Nothing but an error may come of it.
///
/// # Panics
/// If a file cannot be written.
pub fn open_files(files: &[(&str, &[u8])], path: &str) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let abort = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // The reader of Parquet files turns panics of its library, and of the buffers below it, into errors; all others
            // are findings.
            let caught = |file: &str| file.contains("/parquet-") || file.contains("/bytes-");
            if !panic.location().is_some_and(|location| caught(location.file())) {
                abort(panic);
            }
        }));
    });
    let folder = folder();
    for (name, bytes) in files {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    if let Ok(source) = open(&folder.join(path), &OpenOptions::default(), &mut |_| {}) {
        for index in (0..source.len().min(MOST_IMAGES)).rev() {
            if let Ok(image) = source.image(index) {
                assert_eq!(source.size(index).unwrap(), [image.height(), image.width()]);
            }
        }
    }
}
