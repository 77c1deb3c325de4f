//! From a form to its tables.

use super::{
    BitPatterns, GROUP_BITS, LookUp, TABLES_PER_SUM, Table, avx512, group_count, groups, lanes_of_bytes,
    pair_at, pair_count,
};
use crate::ShapeError;

/// The largest sum of [`TABLES_PER_SUM`] table entries.
const MAX_SUM: f64 = 255.0;

/// An integer upper bound of a quadratic form of signs, for patterns with a given number of set bits.
///
/// For every pattern x of that weight, the form is at most `base + unit * (sum of its table entries)`.
#[derive(Clone, Debug)]
pub struct SignFormBound {
    /// Bytes of a pattern that have a bit of the form.
    bytes: usize,
    /// One for each pair of groups, then empty ones to a multiple of [`TABLES_PER_SUM`].
    tables: Vec<Table>,
    base: f64,
    unit: f64,
}

impl SignFormBound {
    /// The bound of `constant + Σ_j linear_j s_j + Σ_{j<k} pair_jk s_j s_k` for patterns with `weight` set bits.
    ///
    /// `linear` has shape `[n]` with n from 1 to 64, `pairs` shape `[n, n]`; only its upper triangle is read. A form with
    /// values that are not finite, or so large that their sums are not, has a bound that every pattern reaches.
    ///
    /// The bound covers what rounding does to whoever computes the form in f64 in some other order, with up to some
    /// thousand roundings of partial sums.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit together or the weight is above n.
    pub fn new(constant: f64, linear: &[f64], pairs: &[f64], weight: u32) -> Result<Self, ShapeError> {
        let bits = linear.len();
        if !(1..=64).contains(&bits) || pairs.len() != bits * bits || weight as usize > bits {
            return Err(ShapeError(format!(
                "form of signs: {bits} linear coefficients (1 to 64), {} pair coefficients (their square) \
                 and weight {weight} (at most their number) do not fit together",
                pairs.len()
            )));
        }
        let form = Centred::new(constant, linear, pairs, weight);
        let bytes = bits.div_ceil(8);
        let groups = groups(bytes);
        let count = pair_count(groups.len());
        let values: Vec<[f64; 64]> =
            (0..count).map(|place| form.values_of(&groups, pair_at(groups.len(), place))).collect();
        let least: Vec<f64> =
            values.iter().map(|of| of.iter().copied().fold(f64::INFINITY, f64::min)).collect();
        let ranges: Vec<f64> = values
            .iter()
            .zip(&least)
            .map(|(of, least)| of.iter().copied().fold(f64::NEG_INFINITY, f64::max) - least)
            .collect();
        // Rounding to the nearest adds half a unit to each entry at most.
        let room = MAX_SUM - TABLES_PER_SUM as f64 / 2.0;
        let unit =
            ranges.chunks(TABLES_PER_SUM).map(|four| four.iter().sum::<f64>() / room).fold(0.0, f64::max);
        let mut tables = vec![Table([0; 64]); count.next_multiple_of(TABLES_PER_SUM)];
        let base = form.constant + least.iter().sum::<f64>() + form.rounding;
        if !base.is_finite() || !unit.is_finite() {
            return Ok(Self { bytes, tables, base: f64::INFINITY, unit: 1.0 });
        }
        // A form that is the same for all patterns needs no unit.
        let unit = if unit.is_normal() { unit } else { 1.0 };
        // How far the entries of a table are below its values at most, in units.
        let mut below = 0.0;
        for ((table, of), least) in tables.iter_mut().zip(&values).zip(&least) {
            let mut most = f64::NEG_INFINITY;
            for (entry, value) in table.0.iter_mut().zip(of) {
                let exact = (value - least) / unit;
                let rounded = exact.round();
                *entry = rounded as u8;
                most = most.max(exact - rounded);
            }
            below += most;
        }
        Ok(Self { bytes, tables, base: base + below * unit, unit })
    }

    /// The least sum of table entries that a pattern whose form is at least `value` can have; 0 if every pattern can.
    #[must_use]
    pub fn least_sum(&self, value: f64) -> u16 {
        // The conversion takes what is negative, or not a number, as 0, and what is too large for any sum as the largest
        // number, which no sum is. A thousandth covers the rounding of this line.
        ((value - self.base) / self.unit - 1e-3).floor() as u16
    }

    /// Adds to `found` the position of every pattern whose table entries sum to `least` or more, in no particular order.
    ///
    /// Every pattern is one of the weight that the bound was made for, and has no bit beyond the form's.
    ///
    /// # Panics
    ///
    /// If the patterns are narrower than the form, or more than 2^32.
    pub fn reaching(&self, patterns: BitPatterns<'_>, least: u16, found: &mut Vec<u32>) {
        let length = match patterns {
            BitPatterns::U32(patterns) => {
                assert!(self.bytes <= 4, "patterns of 32 bits for a form of {} bytes", self.bytes);
                patterns.len()
            }
            BitPatterns::U64(patterns) => patterns.len(),
        };
        assert!(u32::try_from(length).is_ok(), "{length} patterns at once");
        // What the unchecked reads of the vector code stand on.
        assert_eq!(self.tables.len(), pair_count(group_count(self.bytes)).next_multiple_of(TABLES_PER_SUM));
        match LookUp::detect() {
            #[cfg(target_arch = "x86_64")]
            LookUp::Avx512Vbmi => avx512::reaching(self.bytes, &self.tables, patterns, least, found),
            #[cfg(target_arch = "x86_64")]
            LookUp::Avx2 => lanes_of_bytes::reaching_avx2(self.bytes, &self.tables, patterns, least, found),
            LookUp::Portable => lanes_of_bytes::reaching(self.bytes, &self.tables, patterns, least, found),
        }
    }
}

/// The same values on patterns of the given weight, with coefficients as small as that permits.
///
/// On these patterns Σ_j s_j = m = n - 2h, so that for any a and b the terms Σ_j a_j s_j (Σ_k s_k - m) and b (Σ_j s_j - m)
/// vanish. Adding them turns pair_jk into pair_jk + a_j + a_k, linear_j into linear_j - m a_j + b, and the constant into
/// constant + Σ a - m b. Here a and b are such that each row of pairs and the linear coefficients sum to zero. What all
/// members have in common, which may be nearly all there is, thus takes no room in the tables.
struct Centred {
    constant: f64,
    linear: Vec<f64>,
    /// `[n, n]`, upper triangle.
    pairs: Vec<f64>,
    /// More than all roundings, here and where else the form is computed, can come to.
    rounding: f64,
}

impl Centred {
    fn new(constant: f64, linear: &[f64], pairs: &[f64], weight: u32) -> Self {
        let bits = linear.len();
        let n = bits as f64;
        let sum_of_signs = n - 2.0 * f64::from(weight);
        let pair = |j: usize, k: usize| pairs[j.min(k) * bits + j.max(k)];
        let rows: Vec<f64> =
            (0..bits).map(|j| (0..bits).filter(|&k| k != j).map(|k| pair(j, k)).sum()).collect();
        let mean_row = rows.iter().sum::<f64>() / (2.0 * n - 2.0).max(1.0);
        let of_pairs: Vec<f64> = match bits {
            // One row decides the other; they share it.
            0..=2 => rows.iter().map(|_| -mean_row / n).collect(),
            _ => rows.iter().map(|row| (mean_row - row) / (n - 2.0)).collect(),
        };
        let shifted: Vec<f64> =
            linear.iter().zip(&of_pairs).map(|(linear, a)| linear - sum_of_signs * a).collect();
        let of_linear = -shifted.iter().sum::<f64>() / n;

        let magnitude = |values: &mut dyn Iterator<Item = f64>| values.map(f64::abs).sum::<f64>();
        let given = constant.abs()
            + magnitude(&mut linear.iter().copied())
            + magnitude(&mut (0..bits * bits).filter(|at| at / bits < at % bits).map(|at| pairs[at]));
        let added = 2.0 * n * (magnitude(&mut of_pairs.iter().copied()) + of_linear.abs());
        let mut centred_pairs = vec![0.0; bits * bits];
        for j in 0..bits {
            for k in j + 1..bits {
                centred_pairs[j * bits + k] = pair(j, k) + of_pairs[j] + of_pairs[k];
            }
        }
        Self {
            constant: constant + of_pairs.iter().sum::<f64>() - sum_of_signs * of_linear,
            linear: shifted.iter().map(|linear| linear + of_linear).collect(),
            pairs: centred_pairs,
            // A sum of terms in m roundings is off by m 2^-53 times the sum of their magnitudes at most (Higham,
            // Accuracy and Stability of Numerical Algorithms, 2002, section 4.2). Here m is some hundred on either side;
            // 2^-40 is that of 8,192. The smallest normal number is for sums that underflow.
            rounding: (given + added) * (-40_f64).exp2() + f64::MIN_POSITIVE,
        }
    }

    /// What each state of two groups adds to the form. A bit that a group does not have, or the form, changes nothing.
    fn values_of(&self, groups: &[Vec<usize>], (first, second): (usize, usize)) -> [f64; 64] {
        let bits = self.linear.len();
        // A group is in as many tables as there are other groups; its own terms are spread over them.
        let share = 1.0 / (groups.len() as f64 - 1.0);
        let sign = |state: usize, bit: usize| if state >> bit & 1 == 1 { -1.0 } else { 1.0 };
        let own = |group: &[usize], state: usize| {
            let mut sum = 0.0;
            for (bit, &j) in group.iter().enumerate().filter(|&(_, &j)| j < bits) {
                sum += self.linear[j] * sign(state, bit);
                for (other, &k) in group.iter().enumerate().skip(bit + 1).filter(|&(_, &k)| k < bits) {
                    sum += self.pairs[j * bits + k] * sign(state, bit) * sign(state, other);
                }
            }
            sum * share
        };
        let (one, two) = (&groups[first], &groups[second]);
        std::array::from_fn(|index| {
            let (state, other_state) = (index % (1 << GROUP_BITS), index >> GROUP_BITS);
            let mut sum = own(one, state) + own(two, other_state);
            for (bit, &j) in one.iter().enumerate().filter(|&(_, &j)| j < bits) {
                for (other, &k) in two.iter().enumerate().filter(|&(_, &k)| k < bits) {
                    sum +=
                        self.pairs[j.min(k) * bits + j.max(k)] * sign(state, bit) * sign(other_state, other);
                }
            }
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A form with coefficients between -1 and 1, some of them shifted far away together.
    #[derive(Clone, Debug)]
    struct Form {
        constant: f64,
        linear: Vec<f64>,
        pairs: Vec<f64>,
    }

    impl Form {
        fn value(&self, pattern: u64) -> f64 {
            let bits = self.linear.len();
            let sign = |bit: usize| if pattern >> bit & 1 == 1 { -1.0 } else { 1.0 };
            let mut sum = self.constant;
            for j in 0..bits {
                sum += self.linear[j] * sign(j);
                for k in j + 1..bits {
                    sum += self.pairs[j * bits + k] * sign(j) * sign(k);
                }
            }
            sum
        }
    }

    fn forms() -> impl Strategy<Value = (Form, u32)> {
        let coefficient = prop_oneof![4 => -1.0..1.0_f64, 1 => Just(0.0)];
        (1_usize..=64, 0.0..=1.0_f64, prop_oneof![Just(0.0), Just(1000.0), -3.0..3.0_f64]).prop_flat_map(
            move |(bits, share, common)| {
                let weight = (share * bits as f64).round() as u32;
                let linear = prop::collection::vec(coefficient.clone().prop_map(move |c| c + common), bits);
                let pairs =
                    prop::collection::vec(coefficient.clone().prop_map(move |c| c + common), bits * bits);
                (linear, pairs, -5.0..5.0_f64)
                    .prop_map(move |(linear, pairs, constant)| (Form { constant, linear, pairs }, weight))
            },
        )
    }

    /// Patterns of a weight, by shuffling, from the state of a small generator.
    fn patterns(bits: usize, weight: u32, count: usize, mut state: u64) -> Vec<u64> {
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let one = |_| {
            let mut places: Vec<usize> = (0..bits).collect();
            (0..weight as usize).fold(0, |pattern, at| {
                let chosen = at + next(bits - at);
                places.swap(at, chosen);
                pattern | 1 << places[at]
            })
        };
        (0..count).map(one).collect()
    }

    type Scan = fn(usize, &[Table], BitPatterns<'_>, u16, &mut Vec<u32>);

    fn scans() -> Vec<Scan> {
        let mut scans: Vec<Scan> = vec![lanes_of_bytes::reaching];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                scans.push(lanes_of_bytes::reaching_avx2);
            }
            if LookUp::detect() == LookUp::Avx512Vbmi {
                scans.push(avx512::reaching);
            }
        }
        scans
    }

    fn sorted(scan: Scan, bound: &SignFormBound, patterns: BitPatterns<'_>, least: u16) -> Vec<u32> {
        let mut found = Vec::new();
        scan(bound.bytes, &bound.tables, patterns, least, &mut found);
        found.sort_unstable();
        found
    }

    /// The definition: what each pattern's table entries sum to.
    fn sum_of_entries(bound: &SignFormBound, pattern: u64) -> u16 {
        let groups = groups(bound.bytes);
        let state = |group: &[usize]| {
            group.iter().enumerate().map(|(place, &bit)| (pattern >> bit & 1) << place).sum::<u64>() as usize
        };
        (0..pair_count(groups.len()))
            .map(|place| {
                let (first, second) = pair_at(groups.len(), place);
                u16::from(bound.tables[place].0[state(&groups[first]) + 8 * state(&groups[second])])
            })
            .sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_pattern_that_reaches_a_value_is_missed((form, weight) in forms(), count in 1_usize..300, seed: u64) {
            let bits = form.linear.len();
            let bound = SignFormBound::new(form.constant, &form.linear, &form.pairs, weight).unwrap();
            let patterns = patterns(bits, weight, count, seed);
            for (&pattern, value) in patterns.iter().zip(patterns.iter().map(|&p| form.value(p))) {
                prop_assert!(sum_of_entries(&bound, pattern) >= bound.least_sum(value));
            }
        }

        #[test]
        fn every_look_up_finds_what_the_tables_say((form, weight) in forms(), count in 0_usize..300, seed: u64) {
            let bits = form.linear.len();
            let bound = SignFormBound::new(form.constant, &form.linear, &form.pairs, weight).unwrap();
            let patterns = patterns(bits, weight, count, seed);
            let narrow: Vec<u32> = patterns.iter().map(|&pattern| pattern as u32).collect();
            let sums: Vec<u16> = patterns.iter().map(|&pattern| sum_of_entries(&bound, pattern)).collect();
            let mut limits = sums.clone();
            limits.sort_unstable();
            for least in limits.iter().step_by(17).copied().chain([0, u16::MAX]) {
                let expected: Vec<u32> = (0..).zip(&sums).filter(|&(_, &sum)| sum >= least).map(|(at, _)| at).collect();
                for scan in scans() {
                    prop_assert_eq!(&sorted(scan, &bound, BitPatterns::U64(&patterns), least), &expected);
                    if bits <= 32 {
                        prop_assert_eq!(&sorted(scan, &bound, BitPatterns::U32(&narrow), least), &expected);
                    }
                }
            }
        }
    }

    /// A bound that everything reaches would pass the tests above. The coefficients share a large part, which is the same
    /// for all patterns of a weight and must not widen the tables.
    #[test]
    fn few_patterns_are_found_that_do_not_reach_the_value() {
        for (bits, common) in [(16, 0.0), (32, 0.0), (32, 1e6), (64, 0.0), (64, 1e6)] {
            let weight = bits as u32 / 2;
            let noise = patterns(32, 16, bits * bits + bits, 3);
            let noise = |at: usize| common + noise[at] as f64 / 2_f64.powi(31) - 1.0;
            let form = Form {
                constant: 0.0,
                linear: (0..bits).map(noise).collect(),
                pairs: (bits..bits + bits * bits).map(noise).collect(),
            };
            let bound = SignFormBound::new(form.constant, &form.linear, &form.pairs, weight).unwrap();
            let patterns = patterns(bits, weight, 20_000, 4);
            let mut values: Vec<f64> = patterns.iter().map(|&pattern| form.value(pattern)).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            let mut found = Vec::new();
            bound.reaching(BitPatterns::U64(&patterns), bound.least_sum(values[100]), &mut found);
            assert!(found.len() > 100 && found.len() < 2_000, "{bits} bits, {common}: {} found", found.len());
            // Rounding puts an entry half a unit off at most, and the bound covers half a unit more for each table.
            let slack = bound.unit * bound.tables.len() as f64;
            let mean = values.iter().sum::<f64>() / 20_000.0;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 20_000.0;
            assert!(slack < 2.0 * variance.sqrt(), "{bits} bits, {common}: {slack} of {}", variance.sqrt());
            for place in found {
                let value = form.value(patterns[place as usize]);
                assert!(value > values[100] - slack * 1.01, "{bits} bits, {common}: {value}");
            }
        }
    }

    #[test]
    fn a_form_that_is_the_same_everywhere_or_not_finite_excludes_only_what_it_may() {
        let patterns = patterns(12, 5, 100, 1);
        let found = |bound: &SignFormBound, value: f64| {
            let mut found = Vec::new();
            bound.reaching(BitPatterns::U64(&patterns), bound.least_sum(value), &mut found);
            found.len()
        };
        let same = SignFormBound::new(2.0, &[1.0; 12], &[1.0; 144], 5).unwrap();
        // 2 + m + (m^2 - n) / 2 with m = 2 and n = 12.
        assert_eq!([found(&same, -1e9), found(&same, 0.0), found(&same, 2.0)], [100, 100, 0]);
        for wrong in [f64::NAN, f64::INFINITY, f64::MAX] {
            let bound = SignFormBound::new(wrong, &[wrong; 12], &[wrong; 144], 5).unwrap();
            assert_eq!([found(&bound, 1e300), found(&bound, f64::INFINITY)], [100, 100]);
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        for (linear, pairs, weight) in [(0, 0, 0), (65, 65 * 65, 3), (3, 8, 1), (3, 9, 4)] {
            assert!(SignFormBound::new(0.0, &vec![0.0; linear], &vec![0.0; pairs], weight).is_err());
        }
    }
}
