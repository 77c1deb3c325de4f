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

/// What converts a file of a format that is read, but of a kind that is not.
pub(super) fn convertible(format: ImageFormat) -> String {
    let ending = format.extensions_str().first().unwrap_or(&"FORMAT");
    format!("`magick NAME.{ending} NAME.png` converts it")
}

fn is_heif(brand: &[u8]) -> bool {
    let brands: [&[u8]; 8] = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];
    brand.get(..4).is_some_and(|brand| brands.contains(&brand))
}
