//! What an image is made under: nothing, a class, or a text.
//!
//! A [`Condition`] is a value that goes with an image: every noised image and every trajectory has one, and images of one
//! batch may have different ones. What a network is told of a batch is made of it in one place,
//! [`BatchCondition::new`](crate::unet::BatchCondition::new).

use std::sync::Arc;

/// What an image is made under, beside the timestep and the noise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: of networks that were trained without classes and texts.
    #[default]
    None,
    /// The number of a class.
    Class(u32),
    /// A text, as its encoder has it.
    Text(TextEmbedding),
}

impl From<Option<u32>> for Condition {
    fn from(class: Option<u32>) -> Self {
        class.map_or(Self::None, Self::Class)
    }
}

impl From<&Condition> for Condition {
    fn from(condition: &Condition) -> Self {
        condition.clone()
    }
}

impl Condition {
    /// What tells it from others where images are found again by what their networks were shown: nothing for no condition,
    /// four bytes (little endian) for a class, and the 32 bytes of [`TextEmbedding::key`] for a text. Keys are parts of
    /// files, so they stay as they are.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Class(class) => class.to_le_bytes().into(),
            Self::Text(text) => text.key.into(),
        }
    }
}

/// The states in which an encoder leaves a text, `[tokens, width]`. Copies share them.
#[derive(Clone, Debug)]
pub struct TextEmbedding {
    states: Arc<[f32]>,
    width: usize,
    key: [u8; 32],
}

impl TextEmbedding {
    /// Takes states `[tokens, width]`.
    ///
    /// # Panics
    ///
    /// If they are not one whole token at least.
    pub fn new(states: Vec<f32>, width: usize) -> Self {
        assert!(
            width > 0 && !states.is_empty() && states.len().is_multiple_of(width),
            "{} values are no tokens of {width}",
            states.len()
        );
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(width as u64).to_le_bytes());
        for value in &states {
            hasher.update(&value.to_le_bytes());
        }
        Self { states: states.into(), width, key: *hasher.finalize().as_bytes() }
    }

    /// Number of tokens, those of padding included.
    pub fn tokens(&self) -> usize {
        self.states.len() / self.width
    }

    /// Values of a token.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `[tokens, width]`.
    pub fn states(&self) -> &[f32] {
        &self.states
    }

    /// A digest of the states and the width.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

impl PartialEq for TextEmbedding {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for TextEmbedding {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_conditions_apart() {
        let text = |states: &[f32], width| Condition::Text(TextEmbedding::new(states.to_vec(), width));
        let all = [
            Condition::None,
            Condition::Class(0),
            Condition::Class(1),
            text(&[1.0, 2.0, 3.0, 4.0], 2),
            text(&[1.0, 2.0, 3.0, 4.0], 4),
            text(&[1.0, 2.0, 3.0, -4.0], 2),
        ];
        for (place, condition) in all.iter().enumerate() {
            for (other_place, other) in all.iter().enumerate() {
                assert_eq!(
                    condition.key() == other.key(),
                    place == other_place,
                    "{condition:?} and {other:?}"
                );
                assert_eq!(condition == other, place == other_place);
            }
        }
        assert_eq!(all[3].key(), text(&[1.0, 2.0, 3.0, 4.0], 2).key());
        // What keys of rows in files of earlier versions end with.
        assert_eq!((Condition::None.key(), Condition::Class(258).key()), (Vec::new(), vec![2, 1, 0, 0]));
    }
}
