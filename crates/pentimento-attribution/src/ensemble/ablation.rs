//! Leaving out the members that saw a group.

use std::collections::BTreeSet;

use super::codes::{Code, CodeBook, all_members};
use super::error::EnsembleError;

impl CodeBook {
    /// The weights of the members in the ensemble that never saw the groups `removed`: 0 for every member that saw one
    /// of them, and equal weights that sum to 1 for the others; for a single code c they are (1 - c) / (n - h).
    ///
    /// Shape `[members]`. Groups may be named more than once; with none removed every weight is 1/n.
    ///
    /// # Errors
    ///
    /// If a group does not exist, or no member remains; the error then names the fewest groups that have to stay in.
    pub fn weights_without(&self, removed: &[u32]) -> Result<Vec<f64>, EnsembleError> {
        let remaining = self.remaining_members(removed)?;
        let weight = 1.0 / f64::from(remaining.weight());
        Ok((0..self.members()).map(|member| if remaining.trains(member) { weight } else { 0.0 }).collect())
    }

    /// The groups, other than those of `removed`, that no member sees any more when all members that saw one of
    /// `removed` are left out. In rising order.
    ///
    /// For a single removed group the list is always empty. For several it can have entries, and then the
    /// counterfactual image also lacks the influence of those groups.
    ///
    /// # Errors
    ///
    /// As [`weights_without`](Self::weights_without).
    pub fn coverage_after(&self, removed: &[u32]) -> Result<Vec<u32>, EnsembleError> {
        let remaining = self.remaining_members(removed)?.bits();
        let removed: BTreeSet<u32> = removed.iter().copied().collect();
        let uncovered = (0..).zip(self.codes()).filter(|(_, code)| code.bits() & remaining == 0);
        Ok(uncovered.map(|(group, _)| group).filter(|group| !removed.contains(group)).collect())
    }

    /// The members that saw none of the groups, at least one.
    fn remaining_members(&self, removed: &[u32]) -> Result<Code, EnsembleError> {
        let mut saw_removed = 0_u64;
        for &group in removed {
            let code = self.code(group).ok_or_else(|| EnsembleError::NoSuchGroup {
                field: "groups to remove".to_owned(),
                group,
                groups: self.groups(),
            })?;
            saw_removed |= code.bits();
        }
        let remaining = Code::from_bits(all_members(self.members()) & !saw_removed);
        if remaining.weight() > 0 {
            return Ok(remaining);
        }
        let removed: BTreeSet<u32> = removed.iter().copied().collect();
        Err(EnsembleError::NoMemberRemains {
            removed: removed.len(),
            members: self.members(),
            keep: self.fewest_to_keep(&removed),
        })
    }

    /// The fewest of the groups that have to stay in for a member to remain: what the member saw that saw fewest of
    /// them (the first such member).
    fn fewest_to_keep(&self, removed: &BTreeSet<u32>) -> Vec<u32> {
        let seen_by = |member: u32| {
            removed
                .iter()
                .copied()
                .filter(move |&group| self.code(group).is_some_and(|code| code.trains(member)))
        };
        let member = (0..self.members()).min_by_key(|&member| seen_by(member).count()).unwrap_or(0);
        seen_by(member).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_book() -> impl Strategy<Value = CodeBook> {
        let drawn = (2_u32..=64, 0.0..1.0_f64, 1_u32..=60, any::<u64>()).prop_filter_map(
            "more groups than codes",
            |(members, share, groups, seed)| {
                let weight = (1 + (share * f64::from(members - 1)) as u32).min(members - 1);
                CodeBook::draw(members, weight, groups, seed).ok()
            },
        );
        prop_oneof![drawn, (3_u32..=63).prop_map(|groups| CodeBook::walsh(groups).unwrap())]
    }

    proptest! {
        #[test]
        fn removing_any_single_group_leaves_every_other_covered(book in any_book()) {
            for removed in 0..book.groups() {
                let weights = book.weights_without(&[removed]).unwrap();
                for group in (0..book.groups()).filter(|&group| group != removed) {
                    let code = book.code(group).unwrap();
                    let covered = (0..book.members()).any(|k| code.trains(k) && weights[k as usize] > 0.0);
                    prop_assert!(covered, "group {} after removing {}", group, removed);
                }
                prop_assert_eq!(book.coverage_after(&[removed]), Ok(vec![]));
            }
        }

        #[test]
        fn weights_are_zero_where_seen_and_equal_elsewhere(
            book in any_book(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let removed: Vec<u32> = picks.iter().map(|pick| pick.index(book.groups() as usize) as u32).collect();
            let saw_any =
                |member: u32| removed.iter().any(|&group| book.code(group).unwrap().trains(member));
            let remaining = (0..book.members()).filter(|&member| !saw_any(member)).count();
            match book.weights_without(&removed) {
                Ok(weights) => {
                    prop_assert_eq!(weights.len(), book.members() as usize);
                    for (member, &weight) in (0..).zip(&weights) {
                        let expected = if saw_any(member) { 0.0 } else { 1.0 / remaining as f64 };
                        prop_assert_eq!(weight, expected);
                    }
                    prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-14);
                    let uncovered: Vec<u32> = (0..book.groups())
                        .filter(|group| !removed.contains(group))
                        .filter(|&group| {
                            let code = book.code(group).unwrap();
                            (0..book.members()).all(|k| !code.trains(k) || saw_any(k))
                        })
                        .collect();
                    prop_assert_eq!(book.coverage_after(&removed), Ok(uncovered));
                }
                Err(EnsembleError::NoMemberRemains { keep, .. }) => {
                    prop_assert_eq!(remaining, 0);
                    // Keeping exactly those in helps, and no smaller number would.
                    let fewer: Vec<u32> = removed.iter().copied().filter(|group| !keep.contains(group)).collect();
                    prop_assert!(book.weights_without(&fewer).is_ok());
                    let distinct: BTreeSet<u32> = removed.iter().copied().collect();
                    for subset in 0..1_u32 << distinct.len() {
                        let left_out: Vec<u32> = (0..)
                            .zip(&distinct)
                            .filter(|(position, _)| subset >> position & 1 == 1)
                            .map(|(_, &group)| group)
                            .collect();
                        if left_out.len() > distinct.len() - keep.len() {
                            prop_assert!(book.weights_without(&left_out).is_err());
                        }
                    }
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }

    #[test]
    fn no_removal_is_the_whole_ensemble() {
        let book = CodeBook::walsh(7).unwrap();
        assert_eq!(book.weights_without(&[]), Ok(vec![1.0 / 7.0; 7]));
    }

    #[test]
    fn removing_too_much_says_what_must_stay() {
        let book = CodeBook::walsh(7).unwrap();
        // Member 0 trains on groups 1, 3 and 5 (codes 1001100, 1110000 and 1000011).
        let error = book.weights_without(&[6, 5, 4, 3, 2, 1, 0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "removing 7 groups leaves none of the 7 members; leave 3 in (group 1, 3, 5) and a member remains"
        );
        assert_eq!(book.weights_without(&[0, 2, 4, 6]), Ok(vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        assert_eq!(
            book.weights_without(&[7]).unwrap_err().to_string(),
            "groups to remove: group 7 does not exist, there are 7 groups (0 to 6)"
        );
    }
}
