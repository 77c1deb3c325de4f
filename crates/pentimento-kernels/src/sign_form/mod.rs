//! Quadratic forms of signs, for very many bit patterns.
//!
//! A pattern of n bits stands for n signs, s_j = -1 where bit j is set and +1 where it is not. [`SignForm`] computes a form
//! in f64. [`SignFormBound`] finds those patterns among billions whose form may reach a value, at about the speed of
//! memory. It may find too many and never too few: whoever wants the values computes them for what was found.
//!
//! The bits are cut into groups of three. A term belongs to two groups at most, and two groups have 64 states, so the form
//! is a sum of one table of 64 bytes for each pair of groups. AVX-512 VBMI looks up 64 patterns in such a table with
//! one instruction.
//!
//! Measured on 2 cores of an Intel Xeon (family 6, model 167, AVX-512 VBMI), 32 bits, from memory, processor time,
//! while a loop that only reads took 7.0 billion patterns/s: these tables 3.4 billion patterns/s (2.1 without prefetching;
//! 2.4 as a loop over pairs that is not unrolled); the triangle of the matrix as 8-bit products by
//! `vpdpbusd` 0.42.

mod avx512;
mod bound;
mod exact;
mod lanes_of_bytes;

pub use bound::SignFormBound;
pub use exact::SignForm;

use crate::lanes::Instructions;

/// Bits of a group: two groups index a table of 64 bytes, as large as a register.
const GROUP_BITS: usize = 3;
/// Patterns that are looked up together.
const BLOCK: usize = 64;
/// Groups of 64 bits, as [`groups`] cuts them.
const MAX_GROUPS: usize = 22;
/// So many tables are summed in bytes before the sum is widened.
const TABLES_PER_SUM: usize = 4;

/// The table of a pair of groups; the state of the first group is in the low three bits of an index.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Table([u8; 1 << (2 * GROUP_BITS)]);

/// Bit patterns one after another; bit j of a pattern is its bit of value 2^j.
#[derive(Clone, Copy, Debug)]
pub enum BitPatterns<'a> {
    /// Of up to 32 bits.
    U32(&'a [u32]),
    /// Of up to 64 bits.
    U64(&'a [u64]),
}

impl BitPatterns<'_> {
    /// The position of the first pattern that has a bit at `bits` or above, or another number of set bits than `weight`.
    #[must_use]
    pub fn first_of_other_weight(self, bits: u32, weight: u32) -> Option<usize> {
        let inside = u64::MAX.checked_shr(64_u32.saturating_sub(bits)).unwrap_or(0);
        match self {
            Self::U32(patterns) => any_of_other_weight_u32(patterns, inside as u32, weight)
                .then(|| patterns.iter().position(|p| p & !(inside as u32) != 0 || p.count_ones() != weight))
                .flatten(),
            Self::U64(patterns) => any_of_other_weight_u64(patterns, inside, weight)
                .then(|| patterns.iter().position(|p| p & !inside != 0 || p.count_ones() != weight))
                .flatten(),
        }
    }
}

/// A check without branches, which the compiler turns into vector population counts.
macro_rules! any_of_other_weight {
    ($name:ident, $word:ty) => {
        #[allow(unsafe_code, reason = "calls a function compiled for instructions that were detected")]
        fn $name(patterns: &[$word], inside: $word, weight: u32) -> bool {
            #[inline(always)]
            fn body(patterns: &[$word], inside: $word, weight: u32) -> bool {
                let wrong =
                    |p: $word| (p & !inside) | (<$word>::from(p.count_ones()) ^ <$word>::from(weight));
                patterns.iter().fold(0, |any, &pattern| any | wrong(pattern)) != 0
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq,popcnt")]
            fn avx512(patterns: &[$word], inside: $word, weight: u32) -> bool {
                body(patterns, inside, weight)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,popcnt")]
            fn avx2(patterns: &[$word], inside: $word, weight: u32) -> bool {
                body(patterns, inside, weight)
            }
            #[cfg(target_arch = "x86_64")]
            match LookUp::detect() {
                // SAFETY: `detect` found the instructions.
                LookUp::Avx512Vbmi => return unsafe { avx512(patterns, inside, weight) },
                // SAFETY: `detect` found the instructions.
                LookUp::Avx2 => return unsafe { avx2(patterns, inside, weight) },
                LookUp::Portable => (),
            }
            body(patterns, inside, weight)
        }
    };
}
any_of_other_weight!(any_of_other_weight_u32, u32);
any_of_other_weight!(any_of_other_weight_u64, u64);

/// How tables are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookUp {
    /// 64 patterns with one permutation of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512Vbmi,
    /// 32 patterns with four shuffles of 16 bytes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// One by one.
    Portable,
}

impl LookUp {
    fn detect() -> Self {
        match Instructions::detect() {
            // Every processor with VBMI has the byte and word instructions; population counts came a year later.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512
                if is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vbmi")
                    && is_x86_feature_detected!("avx512vpopcntdq")
                    && is_x86_feature_detected!("popcnt") =>
            {
                Self::Avx512Vbmi
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Avx2
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") =>
            {
                Self::Avx2
            }
            _ => Self::Portable,
        }
    }
}

/// The bits of each group of patterns with so many bytes.
///
/// Bits 0 to 2 and 3 to 5 of each byte are groups; the two bits left of each byte are gathered, four bytes into one, and
/// cut in the same way. So a group is found in its byte with one shift.
fn groups(bytes: usize) -> Vec<Vec<usize>> {
    let mut groups = Vec::new();
    for first in (0..bytes).step_by(4) {
        let quarter = first..bytes.min(first + 4);
        for byte in quarter.clone() {
            groups.extend([0, 3].map(|start| (8 * byte + start..8 * byte + start + GROUP_BITS).collect()));
        }
        let left: Vec<usize> = quarter.flat_map(|byte| [8 * byte + 6, 8 * byte + 7]).collect();
        groups.extend(left.chunks(GROUP_BITS).map(<[usize]>::to_vec));
    }
    groups
}

/// The number of groups of patterns with so many bytes: the length of [`groups`].
const fn group_count(bytes: usize) -> usize {
    let (whole, rest) = (bytes / 4, bytes % 4);
    whole * 11 + 2 * rest + (2 * rest).div_ceil(GROUP_BITS)
}

/// Pair number `place` of the groups, in the order (0, 1), (0, 2), …, (1, 2), …; (0, 0) beyond the last.
const fn pair_at(groups: usize, place: usize) -> (usize, usize) {
    let (mut first, mut rest) = (0, place);
    while first + 1 < groups {
        let row = groups - 1 - first;
        if rest < row {
            return (first, first + 1 + rest);
        }
        rest -= row;
        first += 1;
    }
    (0, 0)
}

const fn pair_count(groups: usize) -> usize {
    groups * (groups - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_in_one_group_and_every_pair_of_groups_has_one_table() {
        for bytes in 1..=8 {
            let groups = groups(bytes);
            assert_eq!(groups.len(), group_count(bytes));
            assert!(groups.len() <= MAX_GROUPS && groups.iter().all(|group| group.len() <= GROUP_BITS));
            let mut bits: Vec<usize> = groups.concat();
            bits.sort_unstable();
            assert_eq!(bits, (0..8 * bytes).collect::<Vec<_>>());
            let pairs: Vec<_> = (0..pair_count(groups.len())).map(|at| pair_at(groups.len(), at)).collect();
            let expected = (0..groups.len()).flat_map(|a| (a + 1..groups.len()).map(move |b| (a, b)));
            assert_eq!(pairs, expected.collect::<Vec<_>>());
            assert_eq!(pair_at(groups.len(), pairs.len()), (0, 0));
        }
    }

    #[test]
    fn the_first_pattern_of_other_weight_is_found() {
        for length in [0, 1, 15, 64, 200] {
            let mut patterns = vec![0b1011_u64; length];
            assert_eq!(BitPatterns::U64(&patterns).first_of_other_weight(4, 3), None);
            for place in (0..length).rev() {
                for wrong in [0b0011, 0b1111, 0b1_0011, 1 << 63 | 0b11] {
                    patterns[place] = wrong;
                    assert_eq!(BitPatterns::U64(&patterns).first_of_other_weight(4, 3), Some(place));
                    let narrow: Vec<u32> = patterns.iter().map(|&p| p as u32).collect();
                    if wrong >> 32 == 0 {
                        assert_eq!(BitPatterns::U32(&narrow).first_of_other_weight(4, 3), Some(place));
                    }
                }
            }
        }
        assert_eq!(BitPatterns::U64(&[u64::MAX]).first_of_other_weight(64, 64), None);
        assert_eq!(BitPatterns::U32(&[u32::MAX]).first_of_other_weight(32, 32), None);
        assert_eq!(BitPatterns::U32(&[u32::MAX]).first_of_other_weight(31, 32), Some(0));
    }
}
