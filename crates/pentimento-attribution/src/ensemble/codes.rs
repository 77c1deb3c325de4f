//! Codes, and the book that gives each group one.

use std::collections::HashMap;

use pentimento_noise::{Cursor, Purpose, Stream};
use serde::Serialize;

use super::combinatorics::{binomial, unrank};
use super::error::{EnsembleError, MembersThatWouldDo};

/// The largest number of members, as a code is one `u64`.
pub const MAX_MEMBERS: u32 = 64;

/// Which members train on a group: member k does if bit k is set. Member 0 is the lowest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
#[repr(transparent)]
pub struct Code(u64);

impl Code {
    /// The code with these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, member 0 lowest.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// How many members train on the group.
    #[must_use]
    pub const fn weight(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether member `member` trains on the group.
    #[must_use]
    pub const fn trains(self, member: u32) -> bool {
        member < MAX_MEMBERS && (self.0 >> member) & 1 == 1
    }

    /// The code as a row of `members` digits with member 0 on the left, as codes are printed in papers.
    #[must_use]
    pub fn digits(self, members: u32) -> String {
        (0..members).map(|member| if self.trains(member) { '1' } else { '0' }).collect()
    }
}

/// The codes of all groups: unique, of equal length n and equal weight h with 0 < h < n.
///
/// Because of that, whatever single group is removed, every other group is still seen by a member that remains: a
/// different code of the same weight has a bit where the removed one has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeBook {
    members: u32,
    weight: u32,
    codes: Vec<Code>,
}

impl CodeBook {
    /// A book of given codes, one for each group.
    ///
    /// # Errors
    ///
    /// If there is no code, the number of members is not 2 to 64, the weight of the first code is 0 or n, a code has
    /// another weight or a bit above the members, or two codes are equal.
    pub fn from_codes(members: u32, codes: Vec<Code>) -> Result<Self, EnsembleError> {
        let Some(first) = codes.first() else {
            return Err(EnsembleError::NoGroups);
        };
        let weight = first.weight();
        if u32::try_from(codes.len()).is_err() {
            return Err(EnsembleError::TooManyGroups { groups: codes.len() as u64 });
        }
        check_members(members)?;
        for (group, code) in (0..).zip(&codes) {
            if code.bits() & !all_members(members) != 0 {
                return Err(EnsembleError::BitsAboveMembers { group, bits: code.bits(), members });
            }
            if code.weight() != weight {
                return Err(EnsembleError::UnequalWeights { group, weight: code.weight(), expected: weight });
            }
        }
        check_weight(weight, members)?;
        let mut first_with: HashMap<Code, u32> = HashMap::with_capacity(codes.len());
        for (second, &code) in (0..).zip(&codes) {
            if let Some(first) = first_with.insert(code, second) {
                return Err(EnsembleError::DuplicateCode { first, second });
            }
        }
        Ok(Self { members, weight, codes })
    }

    /// Codes for `groups` groups, drawn uniformly without replacement from all codes of length `members` (n) and weight
    /// `weight` (h).
    ///
    /// The codes are the first `groups` elements of a uniformly drawn permutation of all C(n, h) codes. The draw depends
    /// on the seed alone, and the code of group g on no later group: with more groups, the first ones keep their codes.
    ///
    /// # Errors
    ///
    /// If n is not 2 to 64, h is not 1 to n - 1, there is no group, or C(n, h) is below the number of groups; the last
    /// error says which n would do.
    pub fn draw(members: u32, weight: u32, groups: u32, seed: u64) -> Result<Self, EnsembleError> {
        check_members(members)?;
        check_weight(weight, members)?;
        if groups == 0 {
            return Err(EnsembleError::NoGroups);
        }
        let all_codes = binomial(members, weight).unwrap_or(0);
        if all_codes < u64::from(groups) {
            return Err(EnsembleError::TooFewCodes {
                groups: u64::from(groups),
                members,
                weight,
                codes: all_codes,
                would_do: members_that_would_do(groups, weight),
            });
        }
        let too_many = || EnsembleError::TooManyGroups { groups: u64::from(groups) };
        let mut codes = Vec::new();
        codes.try_reserve_exact(groups as usize).map_err(|_| too_many())?;
        let mut permutation = SparsePermutation::new(all_codes, seed);
        for _ in 0..groups {
            // Both are there, as `groups` is at most the number of codes; the error is never seen.
            let code = permutation.next().and_then(|rank| unrank(rank, members, weight));
            codes.push(code.ok_or_else(too_many)?);
        }
        Ok(Self { members, weight, codes })
    }

    /// Already checked codes, from a construction that cannot give others.
    pub(super) fn from_checked_codes(members: u32, weight: u32, codes: Vec<Code>) -> Self {
        Self { members, weight, codes }
    }

    /// The number of members n. Training an ensemble costs n models, each on about h/n of the images.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.members
    }

    /// The code weight h: how many members train on each group.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The number of groups.
    #[must_use]
    pub fn groups(&self) -> u32 {
        // Every constructor refuses more groups than fit.
        self.codes.len() as u32
    }

    /// The codes in the order of the groups.
    #[must_use]
    pub fn codes(&self) -> &[Code] {
        &self.codes
    }

    /// The code of one group.
    #[must_use]
    pub fn code(&self, group: u32) -> Option<Code> {
        self.codes.get(group as usize).copied()
    }

    /// The images that member `member` trains on, in rising order. `group_of` gives the group of each image.
    ///
    /// The list can be empty, when there are fewer groups than members; such a member cannot be trained.
    ///
    /// # Errors
    ///
    /// If the member or a group of `group_of` does not exist, or there are more images than fit 32 bits.
    pub fn member_images(&self, member: u32, group_of: &[u32]) -> Result<Vec<u32>, EnsembleError> {
        if member >= self.members {
            return Err(EnsembleError::NoSuchMember { member, members: self.members });
        }
        if u32::try_from(group_of.len()).is_err() {
            return Err(EnsembleError::TooManyImages { images: group_of.len() as u64 });
        }
        let mut images = Vec::new();
        for (image, &group) in (0..).zip(group_of) {
            let code = self.code(group).ok_or_else(|| EnsembleError::NoSuchGroup {
                field: format!("group of image {image}"),
                group,
                groups: self.groups(),
            })?;
            if code.trains(member) {
                images.push(image);
            }
        }
        Ok(images)
    }
}

/// The code that has every member.
pub(super) fn all_members(members: u32) -> u64 {
    u64::MAX.checked_shr(MAX_MEMBERS.saturating_sub(members)).unwrap_or(0)
}

fn check_members(members: u32) -> Result<(), EnsembleError> {
    if (2..=MAX_MEMBERS).contains(&members) {
        Ok(())
    } else {
        Err(EnsembleError::MembersOutOfRange { members })
    }
}

fn check_weight(weight: u32, members: u32) -> Result<(), EnsembleError> {
    if (1..members).contains(&weight) {
        Ok(())
    } else {
        Err(EnsembleError::WeightOutOfRange { weight, members })
    }
}

fn members_that_would_do(groups: u32, weight: u32) -> MembersThatWouldDo {
    let smallest = |weight_for: &dyn Fn(u32) -> u32| {
        (2..=MAX_MEMBERS).find(|&members| {
            let weight = weight_for(members);
            weight < members && binomial(members, weight).is_some_and(|codes| codes >= u64::from(groups))
        })
    };
    MembersThatWouldDo {
        with_half_weight: smallest(&|members| members / 2),
        with_same_weight: smallest(&|_| weight),
    }
}

/// A uniformly drawn permutation of 0..length, of which only the elements asked for are ever made.
///
/// The shuffle of Fisher and Yates from the front, on an array that holds its own indices except where a swap has put
/// another value; those are few and stand in a map. Each element costs one draw, and none is ever thrown away.
struct SparsePermutation {
    length: u64,
    position: u64,
    displaced: HashMap<u64, u64>,
    cursor: Cursor,
}

impl SparsePermutation {
    fn new(length: u64, seed: u64) -> Self {
        let cursor = Stream::new(seed, Purpose::CodeDraw, 0, 0).cursor();
        Self { length, position: 0, displaced: HashMap::new(), cursor }
    }
}

impl Iterator for SparsePermutation {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let left = self.length.checked_sub(self.position).filter(|&left| left > 0)?;
        let chosen = self.position + uniform_below(&mut self.cursor, left);
        // The value at `position` goes where the chosen one was; `position` itself is never looked at again.
        let here = self.displaced.remove(&self.position).unwrap_or(self.position);
        let value = if chosen == self.position {
            here
        } else {
            self.displaced.insert(chosen, here).unwrap_or(chosen)
        };
        self.position += 1;
        Some(value)
    }
}

/// An exactly uniform integer of 0..bound (Lemire, *Fast random integer generation in an interval*, 2019).
///
/// `Cursor::below` leaves out the rejection step. Its bias is bound / 2^64, which is a tenth for the 2^60.7 codes of
/// length 64.
fn uniform_below(cursor: &mut Cursor, bound: u64) -> u64 {
    let unfair = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(cursor.next_u64()) * u128::from(bound);
        if product as u64 >= unfair {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn drawn_codes_are_unique_and_of_equal_weight(
            members in 2_u32..=64, weight_share in 0.0..1.0_f64, groups in 1_u32..=500, seed: u64,
        ) {
            let weight = 1 + (weight_share * f64::from(members - 1)) as u32;
            prop_assume!(weight < members);
            let all_codes = binomial(members, weight).unwrap();
            let groups = groups.min(u32::try_from(all_codes).unwrap_or(u32::MAX));
            let book = CodeBook::draw(members, weight, groups, seed).unwrap();
            prop_assert_eq!(book.codes().len(), groups as usize);
            let distinct: HashSet<Code> = book.codes().iter().copied().collect();
            prop_assert_eq!(distinct.len(), groups as usize);
            for code in book.codes() {
                prop_assert_eq!(code.bits().count_ones(), weight);
                prop_assert!(members == 64 || code.bits() < 1 << members);
            }
            prop_assert_eq!(CodeBook::from_codes(members, book.codes().to_vec()), Ok(book));
        }

        #[test]
        fn a_longer_draw_begins_with_the_shorter_one(groups in 1_u32..=70, seed: u64) {
            let all = CodeBook::draw(8, 4, 70, seed).unwrap();
            let some = CodeBook::draw(8, 4, groups, seed).unwrap();
            prop_assert_eq!(some.codes(), &all.codes()[..groups as usize]);
        }

        #[test]
        fn a_whole_sparse_permutation_is_the_shuffle_of_an_array(length in 1_u64..200, seed: u64) {
            let mut array: Vec<u64> = (0..length).collect();
            let mut cursor = Stream::new(seed, Purpose::CodeDraw, 0, 0).cursor();
            for position in 0..array.len() {
                let left = (array.len() - position) as u64;
                array.swap(position, position + uniform_below(&mut cursor, left) as usize);
            }
            let sparse: Vec<u64> = SparsePermutation::new(length, seed).collect();
            prop_assert_eq!(sparse, array);
        }
    }

    #[test]
    fn every_ordered_choice_is_equally_likely() {
        // 4 codes of length 4 and weight 1, two of them drawn: 12 ordered choices, 24,000 draws, 2,000 of each expected.
        let mut counts: HashMap<(u64, u64), u32> = HashMap::new();
        for seed in 0..24_000 {
            let book = CodeBook::draw(4, 1, 2, seed).unwrap();
            *counts.entry((book.codes()[0].bits(), book.codes()[1].bits())).or_default() += 1;
        }
        assert_eq!(counts.len(), 12);
        let chi_squared: f64 =
            counts.values().map(|&count| (f64::from(count) - 2000.0).powi(2) / 2000.0).sum();
        // 11 degrees of freedom: a fair draw stays below 31.26 with probability 0.999.
        assert!(chi_squared < 31.26, "chi squared {chi_squared}");
    }

    #[test]
    fn large_bounds_are_drawn_without_bias() {
        // With bound 3 * 2^62, taking the high half of one product without rejection gives each third value twice as
        // often: multiples of 3 would make half of the draws instead of a third.
        let bound = 3 << 62;
        let mut cursor = Stream::new(1, Purpose::Test, 0, 0).cursor();
        let multiples = (0..30_000).filter(|_| uniform_below(&mut cursor, bound).is_multiple_of(3)).count();
        // Standard deviation 82.
        assert!(multiples.abs_diff(10_000) < 400, "{multiples} of 30,000");
    }

    #[test]
    fn sizes_that_no_code_can_have_are_refused() {
        assert_eq!(CodeBook::draw(65, 32, 1, 0), Err(EnsembleError::MembersOutOfRange { members: 65 }));
        assert_eq!(CodeBook::draw(1, 1, 1, 0), Err(EnsembleError::MembersOutOfRange { members: 1 }));
        assert_eq!(
            CodeBook::draw(8, 0, 1, 0),
            Err(EnsembleError::WeightOutOfRange { weight: 0, members: 8 })
        );
        assert_eq!(
            CodeBook::draw(8, 8, 1, 0),
            Err(EnsembleError::WeightOutOfRange { weight: 8, members: 8 })
        );
        assert_eq!(
            CodeBook::draw(8, 9, 1, 0),
            Err(EnsembleError::WeightOutOfRange { weight: 9, members: 8 })
        );
        assert_eq!(CodeBook::draw(8, 4, 0, 0), Err(EnsembleError::NoGroups));
    }

    #[test]
    fn too_few_codes_names_what_would_do() {
        // C(20, 10) = 184,756, C(21, 10) = 352,716 (OEIS A001405).
        assert!(CodeBook::draw(20, 10, 184_756, 0).is_ok());
        let error = CodeBook::draw(20, 10, 184_757, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "groups: 184757 groups need as many codes, but C(20, 10) = 184756; \
             the smallest n that would do is 21, with h = 10; keeping h, n = 21"
        );
        // C(8, 2) = 28; C(14, 2) = 91 and C(15, 2) = 105; C(8, 4) = 70 and C(9, 4) = 126.
        let error = CodeBook::draw(8, 2, 100, 0).unwrap_err();
        let EnsembleError::TooFewCodes { would_do, .. } = error else { panic!("{error}") };
        assert_eq!(would_do, MembersThatWouldDo { with_half_weight: Some(9), with_same_weight: Some(15) });
        // With weight 1 there are never more codes than members.
        let error = CodeBook::draw(8, 1, 100, 0).unwrap_err();
        assert!(error.to_string().ends_with("9, with h = 4; keeping h, no n up to 64 would do"), "{error}");
    }

    #[test]
    fn given_codes_are_checked() {
        let codes = |bits: &[u64]| bits.iter().map(|&bits| Code::from_bits(bits)).collect::<Vec<_>>();
        assert_eq!(CodeBook::from_codes(3, vec![]), Err(EnsembleError::NoGroups));
        assert_eq!(
            CodeBook::from_codes(3, codes(&[0b001, 0b010, 0b001])),
            Err(EnsembleError::DuplicateCode { first: 0, second: 2 })
        );
        assert_eq!(
            CodeBook::from_codes(3, codes(&[0b001, 0b011])),
            Err(EnsembleError::UnequalWeights { group: 1, weight: 2, expected: 1 })
        );
        assert_eq!(
            CodeBook::from_codes(3, codes(&[0b001, 0b1000])),
            Err(EnsembleError::BitsAboveMembers { group: 1, bits: 8, members: 3 })
        );
        assert_eq!(
            CodeBook::from_codes(3, codes(&[0b111])),
            Err(EnsembleError::WeightOutOfRange { weight: 3, members: 3 })
        );
    }

    #[test]
    fn member_images_follow_groups() {
        let book = CodeBook::from_codes(3, vec![Code::from_bits(0b001), Code::from_bits(0b100)]).unwrap();
        assert_eq!(book.member_images(0, &[1, 0, 0, 1]), Ok(vec![1, 2]));
        assert_eq!(book.member_images(1, &[1, 0, 0, 1]), Ok(vec![]));
        assert_eq!(book.member_images(2, &[1, 0, 0, 1]), Ok(vec![0, 3]));
        assert_eq!(book.member_images(3, &[0]), Err(EnsembleError::NoSuchMember { member: 3, members: 3 }));
        assert_eq!(
            book.member_images(0, &[0, 2]).unwrap_err().to_string(),
            "group of image 1: group 2 does not exist, there are 2 groups (0 to 1)"
        );
    }
}
