//! The form itself, in f64.

use crate::ShapeError;
use crate::lanes::for_each_instruction_set;

const BYTE_VALUES: usize = 256;
/// The sums of a pattern are padded to whole vectors of so many f64.
const VECTOR: usize = 8;
/// The last sum over signs is taken in so many parts.
const PARTS: usize = 4;

/// A quadratic form of n signs, `constant + Σ_j s_j (linear_j + Σ_{k≠j} pair_jk s_k)`, with s_j = -1 where bit j of a pattern
/// is set and +1 where it is not.
///
/// The sums over k are looked up, one byte of the pattern at a time. Values have the same bits on every processor; they
/// are sums in an order that depends on n alone.
#[derive(Clone, Debug)]
pub struct SignForm {
    bits: usize,
    constant: f64,
    /// Zero above the bits, to whole vectors.
    linear: Vec<f64>,
    /// `[bytes of a pattern, 256, padded bits]`: Σ_k pair_jk s_k over the bits k of one byte, for each j.
    pair_sums: Vec<f64>,
}

impl SignForm {
    /// The form with these coefficients: `linear` of shape `[n]` with n from 1 to 64, `pairs` of shape `[n, n]`, of which the
    /// diagonal is not read.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit together.
    pub fn new(constant: f64, linear: &[f64], pairs: &[f64]) -> Result<Self, ShapeError> {
        let bits = linear.len();
        if !(1..=64).contains(&bits) || pairs.len() != bits * bits {
            return Err(ShapeError(format!(
                "form of signs: {bits} linear coefficients (1 to 64) and {} pair coefficients (their square) \
                 do not fit together",
                pairs.len()
            )));
        }
        let stride = bits.next_multiple_of(VECTOR);
        let mut pair_sums = vec![0.0; bits.div_ceil(8) * BYTE_VALUES * stride];
        for (position, sums) in pair_sums.chunks_exact_mut(stride).enumerate() {
            let (byte, value) = (position / BYTE_VALUES, position % BYTE_VALUES);
            for other in (8 * byte..bits).take(8) {
                let sign = if value >> (other - 8 * byte) & 1 == 1 { -1.0 } else { 1.0 };
                for bit in (0..bits).filter(|&bit| bit != other) {
                    sums[bit] += sign * pairs[bit * bits + other];
                }
            }
        }
        let mut linear = linear.to_vec();
        linear.resize(stride, 0.0);
        Ok(Self { bits, constant, linear, pair_sums })
    }

    /// The values of the form for patterns without bits above the form's, one after another into `values`.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn values(&self, patterns: &[u64], values: &mut [f64]) {
        assert_eq!(values.len(), patterns.len(), "values of patterns");
        // The number of vectors is known to the compiler, which then keeps the sums in registers.
        match self.bits.div_ceil(VECTOR) {
            1 => values_of_1(self, patterns, values),
            2 => values_of_2(self, patterns, values),
            3 => values_of_3(self, patterns, values),
            4 => values_of_4(self, patterns, values),
            5 => values_of_5(self, patterns, values),
            6 => values_of_6(self, patterns, values),
            7 => values_of_7(self, patterns, values),
            _ => values_of_8(self, patterns, values),
        }
    }
}

macro_rules! values_of {
    ($($name:ident $vectors:literal)*) => { $(
        for_each_instruction_set! {
            fn $name(form: &SignForm, patterns: &[u64], values: &mut [f64]) {
                values_of::<{ $vectors * VECTOR }>(form, patterns, values);
            }
        }
    )* };
}
values_of!(
    values_of_1 1 values_of_2 2 values_of_3 3 values_of_4 4 values_of_5 5 values_of_6 6 values_of_7 7 values_of_8 8
);

#[inline(always)]
fn values_of<const STRIDE: usize>(form: &SignForm, patterns: &[u64], values: &mut [f64]) {
    let tables = form.pair_sums.as_chunks::<STRIDE>().0.as_chunks::<BYTE_VALUES>().0;
    let Some(linear) = form.linear.first_chunk::<STRIDE>() else { return };
    for (value, &pattern) in values.iter_mut().zip(patterns) {
        let mut sums = *linear;
        for (byte, table) in tables.iter().enumerate() {
            let row = &table[(pattern >> (8 * byte)) as usize % BYTE_VALUES];
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
        for (bit, sum) in sums.iter_mut().enumerate() {
            // Flips the sign of the sum where the bit is set.
            *sum = f64::from_bits(sum.to_bits() ^ (pattern >> bit & 1) << 63);
        }
        let mut parts = [0.0; PARTS];
        for chunk in sums.as_chunks::<PARTS>().0 {
            for (part, sum) in parts.iter_mut().zip(chunk) {
                *part += sum;
            }
        }
        *value = form.constant + (parts[0] + parts[1]) + (parts[2] + parts[3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_are_those_of_the_definition(
            (linear, pairs, patterns) in (1_usize..=64).prop_flat_map(|bits| {
                let whole = (-50_i32..50).prop_map(f64::from);
                let inside = u64::MAX >> (64 - bits);
                (
                    prop::collection::vec(whole.clone(), bits),
                    prop::collection::vec(whole, bits * bits),
                    prop::collection::vec(any::<u64>().prop_map(move |pattern| pattern & inside), 0..20),
                )
            }),
            constant in -50_i32..50,
        ) {
            let bits = linear.len();
            let form = SignForm::new(constant.into(), &linear, &pairs).unwrap();
            let mut values = vec![f64::NAN; patterns.len()];
            form.values(&patterns, &mut values);
            for (&pattern, value) in patterns.iter().zip(values) {
                let sign = |bit: usize| if pattern >> bit & 1 == 1 { -1.0 } else { 1.0 };
                let mut expected = f64::from(constant);
                for j in 0..bits {
                    expected += sign(j) * linear[j];
                    for k in (0..bits).filter(|&k| k != j) {
                        expected += sign(j) * sign(k) * pairs[j * bits + k];
                    }
                }
                // Whole numbers: exact in any order.
                prop_assert_eq!(value, expected);
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        for (linear, pairs) in [(0, 0), (65, 65 * 65), (3, 8)] {
            assert!(SignForm::new(0.0, &vec![0.0; linear], &vec![0.0; pairs]).is_err());
        }
    }
}
