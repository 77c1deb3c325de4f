//! Which image formats are read, and what brings the others to one of them.

use image::ImageFormat;

/// What can be read, for errors.
pub(super) const READ: &str = "PNG, JPEG, WebP, BMP, GIF or TIFF";
/// Endings of images that can be read.
const IMAGE_ENDINGS: [&str; 12] =
    ["png", "apng", "jpg", "jpeg", "jpe", "jfif", "pjpeg", "webp", "bmp", "gif", "tif", "tiff"];
/// Endings of images that cannot. They are images of a set all the same: leaving them out would change it unseen.
const OTHER_IMAGE_ENDINGS: [&str; 10] =
    ["ppm", "pgm", "pbm", "pnm", "avif", "heic", "heif", "jp2", "tga", "jxl"];

/// Whether files with this ending, in lower case, are images.
pub(super) fn is_image_ending(ending: &str) -> bool {
    IMAGE_ENDINGS.contains(&ending) || OTHER_IMAGE_ENDINGS.contains(&ending)
}

/// The format of an encoded image that can be read, by its first bytes.
///
/// # Errors
/// What it is instead, and what it must be.
pub(super) fn format_of(bytes: &[u8]) -> Result<ImageFormat, (String, String)> {
    let convert = |name: &str, example: &str| {
        Err((name.to_owned(), format!("{READ}; `magick NAME.{example} NAME.png` converts it")))
    };
    match image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Png
            | ImageFormat::Jpeg
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Gif
            | ImageFormat::Tiff),
        ) => Ok(format),
        Ok(ImageFormat::Avif) => convert("AVIF", "avif"),
        Ok(ImageFormat::Pnm) => convert("PNM", "ppm"),
        Ok(other) => convert(&format!("{other:?}"), other.extensions_str().first().unwrap_or(&"FORMAT")),
        Err(_) => match bytes {
            [] => Err(("empty".into(), READ.into())),
            // An ISO base media file says its brand after its first box (ISO/IEC 23008-12, annex B).
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] if is_heif(brand) => {
                Err(("HEIC".into(), format!("{READ}; `heif-convert NAME.heic NAME.png` converts it")))
            }
            [0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => convert("JPEG XL", "jxl"),
            [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => convert("JPEG 2000", "jp2"),
            _ => {
                let start: Vec<u8> = bytes.iter().copied().take(8).collect();
                Err((format!("unknown (first bytes {start:02x?})"), READ.into()))
            }
        },
    }
}

fn is_heif(brand: &[u8]) -> bool {
    let brands: [&[u8]; 8] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];
    brand.get(..4).is_some_and(|brand| brands.contains(&brand))
}

/// Whether a TIFF file has more than one page: its first directory says where the next one is (TIFF 6.0, section 2).
pub(super) fn tiff_has_more_pages(bytes: &[u8]) -> bool {
    let little = bytes.starts_with(b"II");
    let number = |at: usize, length: usize| {
        let field = bytes.get(at..at.checked_add(length)?)?;
        let digit = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if little { field.iter().rev().fold(0, digit) } else { field.iter().fold(0, digit) })
    };
    let next = || {
        let directory = usize::try_from(number(4, 4)?).ok()?;
        let entries = usize::try_from(number(directory, 2)?).ok()?;
        // Each entry has twelve bytes.
        number(directory.checked_add(2 + 12 * entries)?, 4)
    };
    // A version of 43 is BigTIFF, which has wider fields; its pages are not counted.
    number(2, 2) == Some(42) && next().is_some_and(|next| next != 0)
}
