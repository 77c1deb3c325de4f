//! One row of a softmax that goes on over many rows: what the others need of it to be put together.

use crate::activation::exp;
use crate::lanes::{LANES, for_each_instruction_set};

/// What one row adds to a softmax over many rows. A row's sums count as `exp(largest_logit)` times as much.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SoftmaxPart {
    /// The largest logit of the row.
    pub largest_logit: f32,
    /// The sum of `exp(logit - largest_logit)` over the row.
    pub sum: f32,
    /// The sum of the largest of these.
    pub sum_of_largest: f32,
}

for_each_instruction_set! {
    /// The part of a row with logits `products - offsets`, and in it the sum of the `count` largest weights, or of all if
    /// there are not so many. `products` is overwritten.
    ///
    /// The sums are exact but for the rounding of additions, and their order follows from the length of the row alone.
    /// Logits must be numbers.
    ///
    /// # Panics
    ///
    /// If the lengths differ or are zero.
    pub fn softmax_part(products: &mut [f32], offsets: &[f32], count: usize, part: &mut SoftmaxPart) {
        assert_eq!(products.len(), offsets.len(), "length of a row of logits");
        assert!(!products.is_empty(), "a row without logits");
        let mut largest = f32::NEG_INFINITY;
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (rows, rest) = products.as_chunks_mut::<LANES>();
        let (rows_of_offsets, rest_of_offsets) = offsets.as_chunks::<LANES>();
        for (row, offsets) in rows.iter_mut().zip(rows_of_offsets) {
            for lane in 0..LANES {
                row[lane] -= offsets[lane];
                lanes[lane] = if row[lane] > lanes[lane] { row[lane] } else { lanes[lane] };
            }
        }
        for (value, offset) in rest.iter_mut().zip(rest_of_offsets) {
            *value -= offset;
            largest = if *value > largest { *value } else { largest };
        }
        for lane in lanes {
            largest = if lane > largest { lane } else { largest };
        }
        for value in products.iter_mut() {
            *value = exp(*value - largest);
        }
        let sum = sum_above(products, 0);
        part.largest_logit = largest;
        part.sum = sum;
        // Two sums of the same weights may be rounded differently, but a part is never more than the whole.
        part.sum_of_largest = if count >= products.len() { sum } else { sum_of_largest(products, count).min(sum) };
    }
}

/// The sum of the `count` largest weights, all of them from 0 to 1.
///
/// Positive floats are ordered as their bits are, so the weight of rank `count` is found by halving an interval of bits;
/// counting is fast, and usually ends early at a threshold that exactly `count` weights exceed.
#[inline(always)]
fn sum_of_largest(weights: &[f32], count: usize) -> f32 {
    // Exactly `count` weights are above `high`, or fewer and all that are missing are equal to it, once the interval is
    // a single step. The largest weight is 1, and often it is that of many: flat patches are all the same.
    let mut high = 1.0f32.to_bits();
    let mut low = high - 1;
    if count_above(weights, low) < count {
        (low, high) = (0, low);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let above = count_above(weights, middle);
        if above > count {
            low = middle;
        } else {
            high = middle;
            if above == count {
                break;
            }
        }
    }
    let missing = count.saturating_sub(count_above(weights, high));
    sum_above(weights, high) + missing as f32 * f32::from_bits(high)
}

/// How many weights have larger bits.
#[inline(always)]
fn count_above(weights: &[f32], bits: u32) -> usize {
    weights.iter().map(|weight| u32::from(weight.to_bits() > bits)).sum::<u32>() as usize
}

/// The sum of the weights that have larger bits: sixteen sums side by side, then these in order.
#[inline(always)]
fn sum_above(weights: &[f32], bits: u32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (rows, rest) = weights.as_chunks::<LANES>();
    let counted = |weight: f32| if weight.to_bits() > bits { weight } else { 0.0 };
    for row in rows {
        lanes = std::array::from_fn(|lane| lanes[lane] + counted(row[lane]));
    }
    let mut sum = 0.0f32;
    for lane in lanes {
        sum += lane;
    }
    for &weight in rest {
        sum += counted(weight);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of every kind: spread out, with ties at the largest weight and elsewhere, far below anything that counts.
    fn logits(kind: usize, length: usize) -> Vec<f32> {
        let value = |at: usize| ((at * 7919 + kind * 104_729) % 2003) as f32 / 150.0 - 300.0;
        let of_kind = |at: usize| match kind {
            0 | 1 => value(at),
            2 => value(at % 7),
            3 => -5.0,
            4 => {
                if at.is_multiple_of(3) {
                    2.0
                } else {
                    value(at)
                }
            }
            _ => {
                if at == 4 {
                    0.0
                } else {
                    value(at)
                }
            }
        };
        (0..length).map(of_kind).collect()
    }

    #[test]
    fn sums_are_those_of_sorted_weights() {
        for (kind, length) in (0..6).flat_map(|kind| [1, 5, 16, 17, 100, 333].map(|length| (kind, length))) {
            let wanted = logits(kind, length);
            let offsets: Vec<f32> = (0..length).map(|at| (at % 5) as f32 * 0.25).collect();
            for count in [1, 2, 3, 16, 50, 99, 100, 1000] {
                let mut row: Vec<f32> = wanted.iter().zip(&offsets).map(|(l, o)| l + o).collect();
                let truth: Vec<f64> = row.iter().zip(&offsets).map(|(p, o)| f64::from(p - o)).collect();
                let mut part = SoftmaxPart::default();
                softmax_part(&mut row, &offsets, count, &mut part);
                let largest = truth.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mut weights: Vec<f64> = truth.iter().map(|logit| libm::exp(logit - largest)).collect();
                weights.sort_by(|a, b| b.total_cmp(a));
                assert_eq!(f64::from(part.largest_logit), largest);
                // 2 units in the last place of each exponential, and at most 37 roundings of a sum that is at most this.
                let tolerance = |sum: f64| 40.0 * f64::from(f32::EPSILON) * sum;
                let all: f64 = weights.iter().sum();
                let of_largest: f64 = weights.iter().take(count).sum();
                for (value, truth) in [(part.sum, all), (part.sum_of_largest, of_largest)] {
                    let error = (f64::from(value) - truth).abs();
                    assert!(
                        error <= tolerance(truth),
                        "kind {kind}, {count} of {length}: {value}, not {truth}"
                    );
                }
                if count >= length {
                    assert_eq!(part.sum.to_bits(), part.sum_of_largest.to_bits());
                }
            }
        }
    }
}
