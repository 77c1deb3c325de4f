//! Images that are the same, pixel by pixel.

use std::collections::BTreeMap;

use crate::image::ImageId;

/// Positions of images that occur more than once: one entry per such image, its positions ascending, entries in the
/// order of their first position. Images that occur once are left out.
pub fn exact_duplicates(ids: &[ImageId]) -> Vec<Vec<usize>> {
    let mut positions = BTreeMap::<ImageId, Vec<usize>>::new();
    for (position, &id) in ids.iter().enumerate() {
        positions.entry(id).or_default().push(position);
    }
    let mut duplicates: Vec<_> = positions.into_values().filter(|positions| positions.len() > 1).collect();
    duplicates.sort_unstable();
    duplicates
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(bytes: &[u8]) -> Vec<ImageId> {
        bytes.iter().map(|&byte| ImageId::from([byte; 32])).collect()
    }

    #[test]
    fn duplicates_are_listed_by_first_position() {
        assert_eq!(exact_duplicates(&ids(&[9, 5, 1, 5, 9, 2, 5])), vec![vec![0, 4], vec![1, 3, 6]]);
        assert_eq!(exact_duplicates(&ids(&[1, 2, 3])), Vec::<Vec<usize>>::new());
        assert_eq!(exact_duplicates(&[]), Vec::<Vec<usize>>::new());
    }

    proptest! {
        #[test]
        fn two_positions_share_an_entry_exactly_when_their_ids_are_equal(
            bytes in prop::collection::vec(0_u8..8, 0..40)
        ) {
            let duplicates = exact_duplicates(&ids(&bytes));
            for first in 0..bytes.len() {
                for second in first + 1..bytes.len() {
                    let together =
                        duplicates.iter().any(|entry| entry.contains(&first) && entry.contains(&second));
                    prop_assert_eq!(together, bytes[first] == bytes[second]);
                }
            }
        }
    }
}
