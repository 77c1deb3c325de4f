//! The digest by which what a network is shown is found again.

use pentimento_attribution::gradient::RowKey;
use pentimento_diffusion::condition::Condition;
use pentimento_store::Digest;

/// The digest by which an image's row is found: of its values, and of what the network is told of it, one condition or, of an image
/// with several captions, all of them in their order.
pub fn row_key(image: &[f32], conditions: &[Condition]) -> RowKey {
    let mut bytes: Vec<u8> = image.iter().flat_map(|value| value.to_le_bytes()).collect();
    bytes.extend(conditions.iter().flat_map(Condition::key));
    *Digest::of(&bytes).as_bytes()
}

/// The number by which images that do not share their noise are told apart.
pub fn noise_id(key: &RowKey) -> u32 {
    u32::from_le_bytes([key[0], key[1], key[2], key[3]])
}
