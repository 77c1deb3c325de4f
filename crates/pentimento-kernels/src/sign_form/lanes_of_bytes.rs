//! Table lookups without AVX-512: one by one, or 32 patterns at once by AVX2.

#![allow(
    unsafe_code,
    reason = "vector intrinsics, and a function compiled for instructions that were detected"
)]

use super::{
    BLOCK, BitPatterns, GROUP_BITS, MAX_GROUPS, TABLES_PER_SUM, Table, group_count, pair_at, pair_count,
};

/// The state of each group of a block of patterns.
type States = [[u8; BLOCK]; MAX_GROUPS];

/// See [`SignFormBound::reaching`](super::SignFormBound::reaching).
pub(super) fn reaching(
    bytes: usize,
    tables: &[Table],
    patterns: BitPatterns<'_>,
    least: u16,
    found: &mut Vec<u32>,
) {
    match patterns {
        BitPatterns::U32(patterns) => blocks(bytes, tables, patterns, least, found, sums),
        BitPatterns::U64(patterns) => blocks(bytes, tables, patterns, least, found, sums),
    }
}

/// The same, on a processor that was found to have AVX2.
#[cfg(target_arch = "x86_64")]
pub(super) fn reaching_avx2(
    bytes: usize,
    tables: &[Table],
    patterns: BitPatterns<'_>,
    least: u16,
    found: &mut Vec<u32>,
) {
    #[target_feature(enable = "avx2")]
    fn with_avx2(
        bytes: usize,
        tables: &[Table],
        patterns: BitPatterns<'_>,
        least: u16,
        found: &mut Vec<u32>,
    ) {
        let sums = |groups: usize, tables: &[Table], states: &States| sums_avx2(groups, tables, states);
        match patterns {
            BitPatterns::U32(patterns) => blocks(bytes, tables, patterns, least, found, sums),
            BitPatterns::U64(patterns) => blocks(bytes, tables, patterns, least, found, sums),
        }
    }
    // SAFETY: the caller found the instructions.
    unsafe { with_avx2(bytes, tables, patterns, least, found) }
}

#[inline(always)]
fn blocks<T: Copy + Default + Into<u64>>(
    bytes: usize,
    tables: &[Table],
    patterns: &[T],
    least: u16,
    found: &mut Vec<u32>,
    sums: impl Fn(usize, &[Table], &States) -> [u16; BLOCK],
) {
    let groups = group_count(bytes);
    let mut states = [[0; BLOCK]; MAX_GROUPS];
    for (place, part) in patterns.chunks(BLOCK).enumerate() {
        let mut block = [T::default(); BLOCK];
        block[..part.len()].copy_from_slice(part);
        states_of(bytes, &block, &mut states);
        let sums = sums(groups, tables, &states);
        // The largest first, as hardly any block has one.
        if sums.iter().fold(0, |most, &sum| most.max(sum)) >= least {
            let reach = sums.iter().take(part.len()).enumerate().filter(|&(_, &sum)| sum >= least);
            found.extend(reach.map(|(at, _)| (place * BLOCK + at) as u32));
        }
    }
}

/// In the order of [`groups`](super::groups).
#[inline(always)]
fn states_of<T: Copy + Into<u64>>(bytes: usize, block: &[T; BLOCK], states: &mut States) {
    const MASK: u8 = (1 << GROUP_BITS) - 1;
    let mut group = 0;
    for first in (0..bytes).step_by(4) {
        let mut left = [0_u8; BLOCK];
        let count = (bytes - first).min(4);
        for byte in 0..count {
            for (lane, &pattern) in block.iter().enumerate() {
                let value = (pattern.into() >> (8 * (first + byte))) as u8;
                states[group][lane] = value & MASK;
                states[group + 1][lane] = value >> GROUP_BITS & MASK;
                left[lane] |= value >> 6 << (2 * byte);
            }
            group += 2;
        }
        for part in 0..(2 * count).div_ceil(GROUP_BITS) {
            for (state, left) in states[group].iter_mut().zip(&left) {
                *state = left >> (GROUP_BITS * part) & MASK;
            }
            group += 1;
        }
    }
}

#[inline(always)]
fn sums(groups: usize, tables: &[Table], states: &States) -> [u16; BLOCK] {
    let mut sums = [0; BLOCK];
    for (place, table) in tables.iter().enumerate().take(pair_count(groups)) {
        let (first, second) = pair_at(groups, place);
        for ((sum, low), high) in sums.iter_mut().zip(&states[first]).zip(&states[second]) {
            *sum += u16::from(table.0[usize::from(low | high << GROUP_BITS)]);
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sums_avx2(groups: usize, tables: &[Table], states: &States) -> [u16; BLOCK] {
    use std::arch::x86_64::*;
    const HALF: usize = BLOCK / 2;
    let mut sums = [0; BLOCK];
    for half in [0, HALF] {
        let (mut all, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        let (mut first, mut second) = (0, 0);
        for four in tables.chunks_exact(TABLES_PER_SUM) {
            let mut bytes = _mm256_setzero_si256();
            for table in four {
                second += 1;
                if second == groups {
                    first += 1;
                    second = first + 1;
                }
                // Beyond the last pair the tables are empty; any states do.
                let (low, high) = (&states[first.min(groups - 1)], &states[second.min(groups - 1)]);
                // SAFETY: 32 bytes of an array of 64, from its start or its middle; no alignment is asked for. The table
                // has 64 bytes, read as four times sixteen.
                let (low, high, parts) = unsafe {
                    let load = |from: &[u8; BLOCK]| _mm256_loadu_si256(from.as_ptr().add(half).cast());
                    let part = |at: usize| {
                        _mm256_broadcastsi128_si256(_mm_loadu_si128(table.0.as_ptr().add(16 * at).cast()))
                    };
                    (load(low), load(high), [part(0), part(1), part(2), part(3)])
                };
                let index = _mm256_or_si256(low, _mm256_slli_epi16::<3>(high));
                let [a, b, c, d] = parts.map(|part| _mm256_shuffle_epi8(part, index));
                // Bits 4 and 5 of the index choose the part; a blend looks at the highest bit of each byte.
                let by_4 = _mm256_slli_epi16::<3>(index);
                let by_5 = _mm256_slli_epi16::<2>(index);
                let low_half = _mm256_blendv_epi8(a, b, by_4);
                let high_half = _mm256_blendv_epi8(c, d, by_4);
                bytes = _mm256_add_epi8(bytes, _mm256_blendv_epi8(low_half, high_half, by_5));
            }
            // As words, these are even bytes plus 256 times odd ones, and odd bytes alone.
            all = _mm256_add_epi16(all, bytes);
            odd = _mm256_add_epi16(odd, _mm256_srli_epi16::<8>(bytes));
        }
        let even = _mm256_sub_epi16(all, _mm256_slli_epi16::<8>(odd));
        let [mut of_even, mut of_odd] = [[0_u16; HALF / 2]; 2];
        // SAFETY: both arrays have the 32 bytes of a register.
        unsafe {
            _mm256_storeu_si256(of_even.as_mut_ptr().cast(), even);
            _mm256_storeu_si256(of_odd.as_mut_ptr().cast(), odd);
        }
        for (pair, (even, odd)) in
            sums[half..half + HALF].chunks_exact_mut(2).zip(of_even.iter().zip(&of_odd))
        {
            pair.copy_from_slice(&[*even, *odd]);
        }
    }
    sums
}
