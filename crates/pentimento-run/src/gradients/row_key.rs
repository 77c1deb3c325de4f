//! The digest by which what a network is shown is found again.

use pentimento_attribution::gradient::RowKey;
use pentimento_store::Digest;

/// The digest by which an image's row is found: of its values, and of the class that the network is told.
pub fn row_key(image: &[f32], class: Option<u32>) -> RowKey {
    let mut bytes: Vec<u8> = image.iter().flat_map(|value| value.to_le_bytes()).collect();
    if let Some(class) = class {
        bytes.extend(class.to_le_bytes());
    }
    *Digest::of(&bytes).as_bytes()
}

/// The number by which images that do not share their noise are told apart.
pub fn noise_id(key: &RowKey) -> u32 {
    u32::from_le_bytes([key[0], key[1], key[2], key[3]])
}
