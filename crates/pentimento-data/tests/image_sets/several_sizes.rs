//! Images of several sizes in one set.

use std::fs;

use pentimento_data::{
    Cover, Crop, ImageSource as _, IndexedSource, Preprocessing, Resize, ResizeFilter, prepare,
};
use tempfile::TempDir;

use crate::writers::*;
use crate::{assert_names, ids, try_open};

fn two_sizes() -> (TempDir, IndexedSource) {
    let folder = TempDir::new().unwrap();
    for (name, height, width) in [("a.png", 8, 12), ("b.png", 8, 12), ("c.png", 20, 10)] {
        fs::write(folder.path().join(name), png(&noise(height, width, 3, 5))).unwrap();
    }
    let source = try_open(folder.path()).unwrap();
    (folder, source)
}

#[test]
fn are_refused_with_both_files_unless_they_become_one() {
    let (_folder, source) = two_sizes();
    let message = prepare(&source, &Preprocessing::default()).unwrap_err().to_string();
    assert_names(
        &message,
        &["2 of 8 x 12 pixels (a.png, b.png)", "1 of 20 x 10 pixels (c.png)", "preprocessing.cover"],
    );
    let crop = Preprocessing {
        crop: Some(Crop { top: None, left: None, height: 8, width: 8 }),
        ..Preprocessing::default()
    };
    assert_eq!(prepare(&source, &crop).unwrap().height(), 8);
    let crop = Preprocessing {
        crop: Some(Crop { top: None, left: None, height: 8, width: 11 }),
        ..Preprocessing::default()
    };
    assert_names(&prepare(&source, &crop).unwrap_err().to_string(), &["crop.width", "c.png"]);
    let resize = Preprocessing {
        resize: Some(Resize { height: 5, width: 6, filter: ResizeFilter::Box }),
        ..Preprocessing::default()
    };
    let prepared = prepare(&source, &resize).unwrap();
    assert_eq!((prepared.len(), prepared.height(), prepared.width()), (3, 5, 6));
    // A set without labels is one class; ids are those of the source.
    assert_eq!(prepared.labels(), [0, 0, 0]);
    assert_eq!(prepared.ids(), ids(&source));
}

/// torchvision: `Resize(8)` makes 8 x 12 of 8 x 12 and 16 x 8 of 20 x 10; `CenterCrop(8)` takes columns 2 to 9 of the
/// first and rows 4 to 11 of the second.
#[test]
fn are_covered_and_cut_as_resize_and_center_crop_do() {
    let (_folder, source) = two_sizes();
    let cover = Cover { height: 8, width: 8, filter: ResizeFilter::Bilinear };
    let prepared =
        prepare(&source, &Preprocessing { cover: Some(cover), ..Preprocessing::default() }).unwrap();
    assert_eq!((prepared.len(), prepared.height(), prepared.width()), (3, 8, 8));
    let wide = source.image(0).unwrap();
    for (row, pixels) in prepared.image(0).chunks_exact(8 * 3).enumerate() {
        let start = (row * 12 + 2) * 3;
        assert_eq!(pixels, &wide.pixels()[start..start + 24]);
    }
    let tall = prepare(
        &source,
        &Preprocessing {
            resize: Some(Resize { height: 16, width: 8, filter: ResizeFilter::Bilinear }),
            ..Preprocessing::default()
        },
    )
    .unwrap();
    assert_eq!(prepared.image(2), &tall.image(2)[4 * 8 * 3..12 * 8 * 3]);
    // A strip of 8192 pixels cannot be made 256 times as high.
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("strip.png"), png(&noise(1, 8192, 1, 0))).unwrap();
    let source = try_open(folder.path()).unwrap();
    let cover = Cover { height: 256, width: 256, filter: ResizeFilter::Bilinear };
    let message = prepare(&source, &Preprocessing { cover: Some(cover), ..Preprocessing::default() });
    assert_names(
        &message.unwrap_err().to_string(),
        &["`cover` is 256 x 256", "is at most 268435456, not 256 x 2097152"],
    );
}
