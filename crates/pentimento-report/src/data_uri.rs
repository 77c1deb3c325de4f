//! Pictures as PNG inside the page.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use png::{BitDepth, ColorType, Compression, Encoder, EncodingError, Filter};

use crate::Picture;
use crate::difference::{LEVELS, palette_entry};

/// `data:` address of a grey or colour picture. The picture has passed [`check`](crate::check).
pub(crate) fn picture(picture: &Picture) -> Result<String, EncodingError> {
    let color = if picture.channels == 3 { ColorType::Rgb } else { ColorType::Grayscale };
    smallest(picture.height, picture.width, color, &picture.pixels)
}

/// `data:` address of a difference map of palette indices `[height, width]`.
pub(crate) fn difference_map(height: u32, width: u32, indices: &[u8]) -> Result<String, EncodingError> {
    smallest(height, width, ColorType::Indexed, indices)
}

/// Encodes without and with row filters and keeps the shorter: filters help photographs, but cost a third on
/// drawings such as digits.
fn smallest(height: u32, width: u32, color: ColorType, bytes: &[u8]) -> Result<String, EncodingError> {
    let plain = encode(height, width, color, bytes, Filter::NoFilter)?;
    let filtered = encode(height, width, color, bytes, Filter::Adaptive)?;
    let shorter = if filtered.len() < plain.len() { filtered } else { plain };
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(shorter)))
}

fn encode(
    height: u32,
    width: u32,
    color: ColorType,
    bytes: &[u8],
    filter: Filter,
) -> Result<Vec<u8>, EncodingError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    if color == ColorType::Indexed {
        let entries = (0..=2 * LEVELS).map(palette_entry);
        encoder.set_palette(entries.clone().flat_map(|(color, _)| color).collect::<Vec<u8>>());
        encoder.set_trns(entries.map(|(_, alpha)| alpha).collect::<Vec<u8>>());
    }
    encoder.set_compression(Compression::High);
    encoder.set_filter(filter);
    encoder.write_header()?.write_image_data(bytes)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(uri: &str) -> image::DynamicImage {
        let encoded = uri.strip_prefix("data:image/png;base64,").expect("a PNG data address");
        image::load_from_memory(&STANDARD.decode(encoded).expect("base64")).expect("a PNG")
    }

    proptest! {
        #[test]
        fn pictures_come_back_as_they_were(
            (height, width, channels, pixels) in (1_u32..20, 1_u32..20, prop_oneof![Just(1_u32), Just(3)])
                .prop_flat_map(|(height, width, channels)| {
                    let pixels = proptest::collection::vec(any::<u8>(), (height * width * channels) as usize);
                    (Just(height), Just(width), Just(channels), pixels)
                })
        ) {
            let given = Picture { height, width, channels, pixels };
            let decoded = decode(&picture(&given).expect("encodes"));
            prop_assert_eq!((decoded.height(), decoded.width()), (height, width));
            prop_assert_eq!(u32::from(decoded.color().channel_count()), channels);
            prop_assert_eq!(decoded.into_bytes(), given.pixels);
        }
    }

    #[test]
    fn maps_carry_their_colours_and_transparency() {
        let map = decode(&difference_map(1, 3, &[0, LEVELS, 2 * LEVELS]).expect("encodes")).into_rgba8();
        assert_eq!(map.get_pixel(0, 0).0, [0x21, 0x71, 0xb5, 255]);
        assert_eq!(map.get_pixel(1, 0).0[3], 0);
        assert_eq!(map.get_pixel(2, 0).0, [0xd9, 0x54, 0x1a, 255]);
    }
}
