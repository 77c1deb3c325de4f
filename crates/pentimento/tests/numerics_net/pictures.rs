//! The image sets of the net, made by integer arithmetic.

use pentimento_testing::image_files::{idx, npy};
use std::fs;
use std::path::Path;

const IMAGES: usize = 72;
const SIDE: usize = 8;

/// Writes the image sets: in grey as IDX files with three classes and as an array, larger ones in colour, and some with captions.
pub fn write_images(folder: &Path) {
    let grey: Vec<u8> = (0..IMAGES).flat_map(|image| picture(image / (IMAGES / 3), image, SIDE, 1)).collect();
    let labels: Vec<u8> = (0..IMAGES).map(|image| (image / (IMAGES / 3)) as u8).collect();
    fs::write(folder.join("images"), idx(0x803, &[IMAGES, SIDE, SIDE], &grey)).unwrap();
    fs::write(folder.join("labels"), idx(0x801, &[IMAGES], &labels)).unwrap();
    fs::write(folder.join("grey.npy"), npy(&[IMAGES, SIDE, SIDE], &grey)).unwrap();
    let colours: Vec<u8> = (0..24).flat_map(|image| picture(image % 3, image, 12, 3)).collect();
    fs::write(folder.join("colours.npy"), npy(&[24, 12, 12, 3], &colours)).unwrap();
    let captioned = folder.join("captioned");
    fs::create_dir(&captioned).unwrap();
    for image in 0..8 {
        let pixels = picture(image % 3, image, 16, 3);
        let file = captioned.join(format!("{image}.png"));
        image::save_buffer(file, &pixels, 16, 16, image::ColorType::Rgb8).unwrap();
        fs::write(captioned.join(format!("{image}.txt")), ["the cat", "a house of art", ""][image % 3])
            .unwrap();
    }
}

/// A bar on a ground that rises: upright, lying or slanted by kind, its place and brightness by number.
fn picture(kind: usize, number: usize, side: usize, channels: usize) -> Vec<u8> {
    let mut pixels = Vec::new();
    for row in 0..side {
        for column in 0..side {
            let at = [column, row, (row + column) % side][kind];
            for channel in 0..channels {
                let ground = (row * 5 + column * 3 + number * (channel + 1)) % 64;
                let bar = if at == number % side { 191 - number - 20 * channel } else { 0 };
                pixels.push((ground + bar) as u8);
            }
        }
    }
    pixels
}
