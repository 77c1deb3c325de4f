//! Images as PNG.

use anyhow::{Context, Result};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

/// One byte of a value in [-1, 1]: `(x / 2 + 0.5)` clamped to [0, 1], as diffusers does, rounded to 255 steps.
pub fn byte(value: f32) -> u8 {
    ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8
}

/// A PNG of an image `[height, width, channels]` with values in [-1, 1]; grey for one channel, RGB for three.
///
/// # Errors
///
/// If there are other than one or three channels.
pub fn png(values: &[f32], height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = values.iter().map(|&value| byte(value)).collect();
    let color = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        other => anyhow::bail!("an image with {other} channels has no PNG form: 1 or 3"),
    };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&bytes, width as u32, height as u32, color)
        .context("cannot encode a PNG")?;
    Ok(png)
}
