//! Table lookups by AVX-512 VBMI: `vpermb` takes 64 bytes from a table of 64 by the low six bits of each index.

#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "vector intrinsics and their unchecked reads")]

use super::{BLOCK, BitPatterns, Table, group_count, pair_at, pair_count};
use std::arch::x86_64::*;

/// Patterns are fetched into the cache so many bytes ahead. Of 512, 1,024, 2,048 and 4,096 patterns of four bytes, 512 were
/// the fastest (1.73 billion patterns/s on one core; the others 1.5 to 1.6, none ahead 1.0). The processor's own
/// prefetching stops at the end of every page.
const AHEAD: usize = 2048;
const CACHE_LINE: usize = 64;

/// A pattern of 32 or 64 bits.
trait Pattern: Copy + Default {
    /// The low and, if `high`, the high 32 bits of 64 patterns: number 16 i + j in element j of register i.
    ///
    /// # Safety
    ///
    /// 64 readable patterns, and a processor with AVX-512F.
    unsafe fn load(from: *const Self, high: bool) -> [[__m512i; 4]; 2];
}

impl Pattern for u32 {
    #[inline(always)]
    unsafe fn load(from: *const Self, _high: bool) -> [[__m512i; 4]; 2] {
        // SAFETY: 64 readable patterns, by the contract of the trait.
        unsafe {
            let low = std::array::from_fn(|i| _mm512_loadu_si512(from.add(16 * i).cast()));
            [low, [_mm512_setzero_si512(); 4]]
        }
    }
}

impl Pattern for u64 {
    #[inline(always)]
    unsafe fn load(from: *const Self, high: bool) -> [[__m512i; 4]; 2] {
        // SAFETY: 64 readable patterns, by the contract of the trait.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            let [mut low_half, mut high_half] = [[_mm512_setzero_si512(); 4]; 2];
            for i in 0..4 {
                let first = _mm512_loadu_si512(from.add(16 * i).cast());
                let second = _mm512_loadu_si512(from.add(16 * i + 8).cast());
                low_half[i] = _mm512_permutex2var_epi32(first, even, second);
                if high {
                    high_half[i] = _mm512_permutex2var_epi32(first, odd, second);
                }
            }
            [low_half, high_half]
        }
    }
}

/// See [`SignFormBound::reaching`](super::SignFormBound::reaching); for processors that were found to have AVX-512BW and
/// VBMI. `tables` are those of all pairs of groups.
pub(super) fn reaching(
    bytes: usize,
    tables: &[Table],
    patterns: BitPatterns<'_>,
    least: u16,
    found: &mut Vec<u32>,
) {
    /// Picks the function that was compiled for the number of bytes.
    macro_rules! of_width {
        ($patterns:expr, $($bytes:literal)*) => {
            match bytes {
                // SAFETY: the caller found the instructions; `scan` checks the number of tables.
                $($bytes => unsafe {
                    scan::<_, $bytes, { group_count($bytes) }>(tables, $patterns, least, found)
                },)*
                _ => unreachable!("patterns of {bytes} bytes"),
            }
        };
    }
    match patterns {
        BitPatterns::U32(patterns) => of_width!(patterns, 1 2 3 4),
        BitPatterns::U64(patterns) => of_width!(patterns, 1 2 3 4 5 6 7 8),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn scan<T: Pattern, const BYTES: usize, const GROUPS: usize>(
    tables: &[Table],
    patterns: &[T],
    least: u16,
    found: &mut Vec<u32>,
) {
    assert!(tables.len() >= pair_count(GROUPS).next_multiple_of(4));
    let (whole, rest) = patterns.as_chunks::<BLOCK>();
    for (place, block) in whole.iter().enumerate() {
        for line in 0..size_of_val(block) / CACHE_LINE {
            let ahead = block.as_ptr().wrapping_byte_add(AHEAD + CACHE_LINE * line);
            // Beyond the end it does nothing, as at any address that cannot be read.
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
        }
        // SAFETY: the number of tables is checked above.
        let reach = unsafe { block_reaching::<T, BYTES, GROUPS>(tables, block, least) };
        if reach != [0, 0] {
            note(reach, place * BLOCK, BLOCK, found);
        }
    }
    if !rest.is_empty() {
        let mut block = [T::default(); BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        // SAFETY: as above.
        let reach = unsafe { block_reaching::<T, BYTES, GROUPS>(tables, &block, least) };
        note(reach, whole.len() * BLOCK, rest.len(), found);
    }
}

/// Which patterns of a block reach `least`, as the even and the odd bytes of a register of 64 bytes.
///
/// # Safety
///
/// At least so many tables as there are pairs of groups, rounded up to a multiple of four.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
unsafe fn block_reaching<T: Pattern, const BYTES: usize, const GROUPS: usize>(
    tables: &[Table],
    block: &[T; BLOCK],
    least: u16,
) -> [u32; 2] {
    // Bit by bit, the second operand where the first is set, else the third.
    const CHOOSE: i32 = 0xCA;
    let zero = _mm512_setzero_si512();
    // For each group a register with its state in bits 0 to 2 of each byte, and one with it in bits 3 to 5. The other
    // bits are anything.
    let (mut low, mut high) = ([zero; GROUPS], [zero; GROUPS]);
    // SAFETY: a block has 64 patterns.
    let halves = unsafe { T::load(block.as_ptr(), BYTES > 4) };
    let mut group = 0;
    for (half, of_half) in halves.into_iter().enumerate().take(BYTES.div_ceil(4)) {
        let planes = byte_planes(of_half);
        let count = if BYTES >= 4 * (half + 1) { 4 } else { BYTES % 4 };
        for plane in planes.into_iter().take(count) {
            low[group] = plane;
            high[group] = _mm512_slli_epi16::<3>(plane);
            low[group + 1] = _mm512_srli_epi16::<3>(plane);
            high[group + 1] = plane;
            group += 2;
        }
        // Bits 6 and 7 of the four bytes, one after another.
        let [a, b, c, d] = planes;
        let first = _mm512_ternarylogic_epi32::<CHOOSE>(
            _mm512_set1_epi8(0x03),
            _mm512_srli_epi16::<6>(a),
            _mm512_srli_epi16::<4>(b),
        );
        let second =
            _mm512_ternarylogic_epi32::<CHOOSE>(_mm512_set1_epi8(0x3F), _mm512_srli_epi16::<2>(c), d);
        let left = _mm512_ternarylogic_epi32::<CHOOSE>(_mm512_set1_epi8(0x0F), first, second);
        low[group] = left;
        high[group] = _mm512_slli_epi16::<3>(left);
        group += 1;
        if count > 1 {
            low[group] = _mm512_srli_epi16::<3>(left);
            high[group] = left;
            group += 1;
        }
        if count > 3 {
            // Two bits only. The third is a neighbour's, and the tables are the same for either value of it.
            let last = _mm512_srli_epi16::<6>(left);
            low[group] = last;
            high[group] = _mm512_slli_epi16::<3>(last);
            group += 1;
        }
    }

    let low_bits = _mm512_set1_epi8(7);
    let from = tables.as_ptr();
    let (mut all, mut odd) = (zero, zero);
    macro_rules! entry {
        ($place:expr) => {{
            let (first, second) = const { pair_at(GROUPS, $place) };
            let index = _mm512_ternarylogic_epi32::<CHOOSE>(low_bits, low[first], high[second]);
            // SAFETY: by the contract, there is such a table; it is aligned to 64 bytes.
            let table = unsafe { _mm512_load_si512(from.add($place).cast()) };
            _mm512_permutexvar_epi8(index, table)
        }};
    }
    // Unrolled, so that the groups stay in registers: a loop over pairs reached two thirds of the speed.
    macro_rules! add_fours {
        ($($four:literal)*) => { $(
            if 4 * $four < pair_count(GROUPS) {
                let sum = _mm512_add_epi8(
                    _mm512_add_epi8(entry!(4 * $four), entry!(4 * $four + 1)),
                    _mm512_add_epi8(entry!(4 * $four + 2), entry!(4 * $four + 3)),
                );
                // As words, these are even bytes plus 256 times odd ones, and odd bytes alone.
                all = _mm512_add_epi16(all, sum);
                odd = _mm512_add_epi16(odd, _mm512_srli_epi16::<8>(sum));
            }
        )* };
    }
    add_fours!(
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
        40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57
    );
    const { assert!(pair_count(GROUPS) <= 4 * 58) };
    let even = _mm512_sub_epi16(all, _mm512_slli_epi16::<8>(odd));
    let least = _mm512_set1_epi16(least.cast_signed());
    [_mm512_cmpge_epu16_mask(even, least), _mm512_cmpge_epu16_mask(odd, least)]
}

/// Byte p of 64 words of 32 bits in register p. Byte i of element j belongs to word 16 i + j.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn byte_planes([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    const CHOOSE: i32 = 0xCA;
    let even_bytes = _mm512_set1_epi16(0x00FF);
    let even_words = _mm512_set1_epi32(0x0000_FFFF);
    let ab_even = _mm512_ternarylogic_epi32::<CHOOSE>(even_bytes, a, _mm512_slli_epi32::<8>(b));
    let ab_odd = _mm512_ternarylogic_epi32::<CHOOSE>(even_bytes, _mm512_srli_epi32::<8>(a), b);
    let cd_even = _mm512_ternarylogic_epi32::<CHOOSE>(even_bytes, c, _mm512_slli_epi32::<8>(d));
    let cd_odd = _mm512_ternarylogic_epi32::<CHOOSE>(even_bytes, _mm512_srli_epi32::<8>(c), d);
    [
        _mm512_ternarylogic_epi32::<CHOOSE>(even_words, ab_even, _mm512_slli_epi32::<16>(cd_even)),
        _mm512_ternarylogic_epi32::<CHOOSE>(even_words, ab_odd, _mm512_slli_epi32::<16>(cd_odd)),
        _mm512_ternarylogic_epi32::<CHOOSE>(even_words, _mm512_srli_epi32::<16>(ab_even), cd_even),
        _mm512_ternarylogic_epi32::<CHOOSE>(even_words, _mm512_srli_epi32::<16>(ab_odd), cd_odd),
    ]
}

/// Positions of the set bits of a block whose first pattern is number `start`, as far as they are below `length`.
#[cold]
fn note(reach: [u32; 2], start: usize, length: usize, found: &mut Vec<u32>) {
    for (odd, mut mask) in reach.into_iter().enumerate() {
        while mask != 0 {
            let byte = 2 * mask.trailing_zeros() as usize + odd;
            let place = 16 * (byte % 4) + byte / 4;
            if place < length {
                found.push((start + place) as u32);
            }
            mask &= mask - 1;
        }
    }
}
