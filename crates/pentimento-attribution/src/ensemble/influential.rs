//! Lists of influences without the images that influence everything.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::error::EnsembleError;

/// Lists of which no two share an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DistinctLists {
    /// For each sample its most influential images among those not removed, most influential first. Shorter than asked
    /// for where the sample's ranking ran out.
    pub lists: Vec<Vec<u32>>,
    /// The images that were removed because they stood in more than one list, in rising order: the generally
    /// influential ones.
    pub removed: Vec<u32>,
}

/// Removes the generally influential images (Dai and Gifford, 2023, figure 6d).
///
/// `rankings` has for each sample its training images, most influential first. The list of a sample is the first
/// `list_length` images of its ranking that are not removed. As long as an image stands in the lists of more than one
/// sample, all such images are removed from all lists, and the lists are filled again from the next ranks.
///
/// The paper does not say whether lists are filled again; here they are, so that every sample keeps a full list if its
/// ranking is long enough. In what order images are removed makes no difference: an image leaves a list only by being
/// removed itself, so whatever stands in two lists once would still do so later.
///
/// # Errors
///
/// If a ranking names an image twice within the part that is used.
pub fn distinct_influences<R: AsRef<[u32]>>(
    rankings: &[R],
    list_length: usize,
) -> Result<DistinctLists, EnsembleError> {
    let mut removed = BTreeSet::new();
    let mut lists: Vec<Vec<u32>> = vec![Vec::new(); rankings.len()];
    let mut next_ranks = vec![0_usize; rankings.len()];
    // How many lists each image stands in, if any.
    let mut occurrences: HashMap<u32, u32> = HashMap::new();
    loop {
        let mut shared = BTreeSet::new();
        for (sample, (list, next_rank)) in lists.iter_mut().zip(&mut next_ranks).enumerate() {
            let rest = rankings[sample].as_ref().iter().skip(*next_rank);
            for &image in rest {
                if list.len() >= list_length {
                    break;
                }
                *next_rank += 1;
                if removed.contains(&image) {
                    continue;
                }
                if list.contains(&image) {
                    return Err(EnsembleError::ImageRankedTwice { sample, image });
                }
                list.push(image);
                let count = occurrences.entry(image).or_default();
                *count += 1;
                if *count > 1 {
                    shared.insert(image);
                }
            }
        }
        if shared.is_empty() {
            return Ok(DistinctLists { lists, removed: removed.into_iter().collect() });
        }
        for list in &mut lists {
            list.retain(|image| !shared.contains(image));
        }
        removed.append(&mut shared);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One image at a time, chosen by `choose` from those that stand in more than one list, and everything from scratch.
    fn one_at_a_time(
        rankings: &[Vec<u32>],
        list_length: usize,
        choose: impl Fn(usize) -> usize,
    ) -> DistinctLists {
        let mut removed = BTreeSet::new();
        loop {
            let lists: Vec<Vec<u32>> = rankings
                .iter()
                .map(|ranking| {
                    ranking
                        .iter()
                        .copied()
                        .filter(|image| !removed.contains(image))
                        .take(list_length)
                        .collect()
                })
                .collect();
            let in_lists = |image: &u32| lists.iter().filter(|list| list.contains(image)).count();
            let shared: BTreeSet<u32> =
                lists.iter().flatten().copied().filter(|image| in_lists(image) > 1).collect();
            if shared.is_empty() {
                return DistinctLists { lists, removed: removed.into_iter().collect() };
            }
            removed.extend(shared.iter().copied().nth(choose(shared.len())));
        }
    }

    proptest! {
        #[test]
        fn the_order_of_removal_makes_no_difference(
            rankings in prop::collection::vec(Just((0..40_u32).collect::<Vec<_>>()).prop_shuffle(), 1..6),
            used in 0_usize..=40,
            list_length in 0_usize..8,
        ) {
            let rankings: Vec<Vec<u32>> = rankings.iter().map(|ranking| ranking[..used].to_vec()).collect();
            let filtered = distinct_influences(&rankings, list_length).unwrap();
            prop_assert_eq!(&filtered, &one_at_a_time(&rankings, list_length, |_| 0));
            prop_assert_eq!(&filtered, &one_at_a_time(&rankings, list_length, |shared| shared - 1));
        }
    }

    #[test]
    fn lists_are_filled_from_the_next_ranks_until_they_are_disjoint() {
        // Image 0 is in both lists; then 3 fills the first and is in the second; then 4 and 5 fill them.
        let rankings = [[0, 1, 3, 4], [2, 0, 3, 5]];
        let filtered = distinct_influences(&rankings, 2).unwrap();
        assert_eq!(filtered, DistinctLists { lists: vec![vec![1, 4], vec![2, 5]], removed: vec![0, 3] });
        // Rankings that run out leave shorter lists.
        let filtered = distinct_influences(&[[0, 1], [0, 2]], 2).unwrap();
        assert_eq!(filtered, DistinctLists { lists: vec![vec![1], vec![2]], removed: vec![0] });
        // One sample alone shares with nobody.
        assert_eq!(distinct_influences(&[[5, 4, 3]], 2).unwrap().lists, [[5, 4]]);
    }

    #[test]
    fn an_image_ranked_twice_is_refused() {
        assert_eq!(
            distinct_influences(&[vec![1, 2], vec![3, 3]], 2),
            Err(EnsembleError::ImageRankedTwice { sample: 1, image: 3 })
        );
    }
}
