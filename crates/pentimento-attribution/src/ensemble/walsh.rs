//! Walsh codes: few groups, as far apart as codes of that length can be.

use super::codes::{Code, CodeBook, MAX_MEMBERS};
use super::error::EnsembleError;

/// With fewer groups, the smallest matrix (order 4) leaves a member without any group.
const MIN_GROUPS: u32 = 3;

impl CodeBook {
    /// Walsh codes for `groups` groups (Dai and Gifford, 2023, section 3.1).
    ///
    /// Take the Sylvester-Hadamard matrix of the smallest order 2^k > `groups`, delete its first row and column and
    /// write 0 for -1. The remaining rows are 2^k - 1 codes of length n = 2^k - 1 and weight h = 2^(k-1) - 1, any two of
    /// which have exactly 2^(k-2) - 1 members in common. Group g gets row g, so with fewer groups than rows the last
    /// rows are not used. Column k, read from the left, is member k and so bit k of the code.
    ///
    /// For 7 groups these are 0101010, 1001100, 0011001, 1110000, 0100101, 1000011, 0010110 (member 0 on the left).
    ///
    /// # Errors
    ///
    /// If there are fewer than 3 or more than 63 groups.
    pub fn walsh(groups: u32) -> Result<Self, EnsembleError> {
        if !(MIN_GROUPS..MAX_MEMBERS).contains(&groups) {
            return Err(EnsembleError::WalshGroupsOutOfRange { groups });
        }
        let order = (groups + 1).next_power_of_two();
        let codes = (1..=groups).map(|row| walsh_row(row, order)).collect();
        Ok(Self::from_checked_codes(order - 1, order / 2 - 1, codes))
    }
}

/// Row `row` of the Sylvester-Hadamard matrix, whose entry in column c is (-1)^(number of ones in row AND c), without
/// its first column.
fn walsh_row(row: u32, order: u32) -> Code {
    let positive = (1..order).filter(|column| (row & column).count_ones().is_multiple_of(2));
    Code::from_bits(positive.map(|column| 1_u64 << (column - 1)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrix by Sylvester's construction: H_1 = (1), H_2m = (H_m H_m; H_m -H_m).
    fn sylvester_hadamard(order: usize) -> Vec<Vec<i32>> {
        let mut matrix = vec![vec![1]];
        while matrix.len() < order {
            let doubled = |sign: i32| {
                matrix.iter().map(move |row| {
                    row.iter().copied().chain(row.iter().map(move |entry| sign * entry)).collect()
                })
            };
            matrix = doubled(1).chain(doubled(-1)).collect();
        }
        matrix
    }

    #[test]
    fn rows_are_those_of_sylvesters_construction() {
        for groups in 3..=63 {
            let book = CodeBook::walsh(groups).unwrap();
            let order = book.members() as usize + 1;
            assert!(order > groups as usize && order / 2 <= groups as usize);
            for (code, row) in book.codes().iter().zip(&sylvester_hadamard(order)[1..]) {
                let digits: String =
                    row[1..].iter().map(|&entry| if entry == 1 { '1' } else { '0' }).collect();
                assert_eq!(code.digits(book.members()), digits);
            }
            // A walsh book fulfils what every book must.
            assert_eq!(CodeBook::from_codes(book.members(), book.codes().to_vec()).as_ref(), Ok(&book));
            for member in 0..book.members() {
                assert!(
                    book.codes().iter().any(|code| code.trains(member)),
                    "member {member} of {groups} is empty"
                );
            }
            for (position, first) in book.codes().iter().enumerate() {
                for second in &book.codes()[position + 1..] {
                    assert_eq!((first.bits() & second.bits()).count_ones() as usize, order / 4 - 1);
                }
            }
        }
    }

    #[test]
    fn the_seven_codes_are_the_published_ones_and_split_mnist_as_published() {
        let book = CodeBook::walsh(7).unwrap();
        assert_eq!((book.members(), book.weight()), (7, 3));
        let digits: Vec<String> = book.codes().iter().map(|code| code.digits(7)).collect();
        assert_eq!(digits, ["0101010", "1001100", "0011001", "1110000", "0100101", "1000011", "0010110"]);

        // Images of the classes 0, 1, 2, 3, 4, 6 and 8 in the MNIST test split.
        let counts = [980, 1135, 1032, 1010, 982, 958, 974];
        let group_of: Vec<u32> =
            (0..).zip(counts).flat_map(|(group, count)| std::iter::repeat_n(group, count)).collect();
        let sizes: Vec<usize> =
            (0..7).map(|member| book.member_images(member, &group_of).unwrap().len()).collect();
        // Dai and Gifford, section 3.1.
        assert_eq!(sizes, [3103, 2972, 3016, 3147, 3091, 2912, 2972]);
    }

    #[test]
    fn other_numbers_of_groups_are_refused() {
        for groups in [0, 1, 2, 64, u32::MAX] {
            assert_eq!(CodeBook::walsh(groups), Err(EnsembleError::WalshGroupsOutOfRange { groups }));
        }
    }
}
