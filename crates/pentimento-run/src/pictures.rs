//! Images as PNG.

use crate::error::{Result, RunError};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use pentimento_data::Image;
use pentimento_report::Picture;

/// A PNG of an image `[height, width, channels]` with values in [-1, 1]; grey for one channel, RGB for three.
///
/// # Errors
///
/// If there are other than one or three channels.
pub fn png(values: &[f32], height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let picture = Picture::from_model_range(height as u32, width as u32, channels as u32, values);
    encoded(&picture.pixels, height, width, channels)
}

/// A PNG of a picture of 8 bits; grey for one channel, RGB for three.
///
/// # Errors
///
/// As [`png`].
pub fn png_of(picture: &Image) -> Result<Vec<u8>> {
    encoded(picture.pixels(), picture.height(), picture.width(), picture.channels())
}

fn encoded(pixels: &[u8], height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let color = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        other => {
            let problem = format!("an image with {other} channels has no PNG form: 1 or 3");
            return Err(RunError::Encoding { what: "a PNG", source: problem.into() });
        }
    };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(pixels, width as u32, height as u32, color)
        .map_err(RunError::encoding("a PNG"))?;
    Ok(png)
}
