//! Binomial coefficients and the numbering of all codes of one weight.

use super::codes::{Code, MAX_MEMBERS};

const ROWS: usize = MAX_MEMBERS as usize + 1;

/// Pascal's triangle. C(64, 32) = 1,832,624,140,942,590,534 is the largest entry and fits a `u64`.
static BINOMIALS: [[u64; ROWS]; ROWS] = pascals_triangle();

const fn pascals_triangle() -> [[u64; ROWS]; ROWS] {
    let mut rows = [[0; ROWS]; ROWS];
    let mut n = 0;
    while n < ROWS {
        rows[n][0] = 1;
        let mut k = 1;
        while k <= n {
            rows[n][k] = rows[n - 1][k - 1] + rows[n - 1][k];
            k += 1;
        }
        n += 1;
    }
    rows
}

/// C(n, k), the number of codes of length n and weight k; 0 for k > n.
///
/// `None` for n above [`MAX_MEMBERS`].
#[must_use]
pub fn binomial(n: u32, k: u32) -> Option<u64> {
    let row = BINOMIALS.get(n as usize)?;
    Some(row.get(k as usize).copied().unwrap_or(0))
}

/// The code of length `members` and weight `weight` with number `rank` in the combinatorial number system.
///
/// The code with set bits b_1 < b_2 < … < b_h has rank C(b_1, 1) + C(b_2, 2) + … + C(b_h, h) (Knuth, TAOCP 7.2.1.3,
/// theorem L), so ranks follow the order of the codes as integers. `None` unless `rank` is below C(members, weight).
pub(super) fn unrank(rank: u64, members: u32, weight: u32) -> Option<Code> {
    if rank >= binomial(members, weight)? {
        return None;
    }
    let mut bits = 0_u64;
    let mut rest = rank;
    let mut ones_left = weight as usize;
    for member in (0..members as usize).rev() {
        if ones_left == 0 {
            break;
        }
        // The codes with no set bit at `member` or above come first; there are C(member, ones_left) of them.
        let without_this_bit = BINOMIALS[member][ones_left];
        if rest >= without_this_bit {
            rest -= without_this_bit;
            bits |= 1 << member;
            ones_left -= 1;
        }
    }
    Some(Code::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn binomials_are_the_known_ones() {
        // The code counts of the paper's three image ensembles (Dai and Gifford, section 3.2).
        assert_eq!(binomial(16, 8), Some(12_870));
        assert_eq!(binomial(20, 10), Some(184_756));
        assert_eq!(binomial(24, 12), Some(2_704_156));
        // OEIS A000984(32).
        assert_eq!(binomial(64, 32), Some(1_832_624_140_942_590_534));
        assert_eq!(binomial(5, 6), Some(0));
        assert_eq!(binomial(65, 1), None);
    }

    #[test]
    fn ranks_number_the_codes_in_the_order_of_their_integers() {
        for members in 1..=12_u32 {
            for weight in 0..=members {
                let expected: Vec<u64> =
                    (0..1_u64 << members).filter(|bits| bits.count_ones() == weight).collect();
                let unranked: Vec<u64> = (0..expected.len() as u64)
                    .map(|rank| unrank(rank, members, weight).unwrap().bits())
                    .collect();
                assert_eq!(unranked, expected, "n = {members}, h = {weight}");
                assert_eq!(unrank(expected.len() as u64, members, weight), None);
            }
        }
    }

    proptest! {
        #[test]
        fn the_rank_of_an_unranked_code_is_the_sum_over_its_bits(
            members in 1_u32..=64, weight_share in 0.0..1.0_f64, rank_share in 0.0..1.0_f64,
        ) {
            let weight = (weight_share * f64::from(members + 1)) as u32;
            let codes = binomial(members, weight).unwrap();
            let rank = ((rank_share * codes as f64) as u64).min(codes - 1);
            let code = unrank(rank, members, weight).unwrap();
            prop_assert_eq!(code.weight(), weight);
            let set_bits = (0..members).filter(|&member| code.trains(member));
            let rank_again: u64 = set_bits.zip(1..).map(|(bit, position)| binomial(bit, position).unwrap()).sum();
            prop_assert_eq!(rank_again, rank);
        }
    }
}
