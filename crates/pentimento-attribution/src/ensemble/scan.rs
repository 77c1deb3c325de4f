//! One pass over packed codes for several quadratic forms at once.
//!
//! Nearly all codes are told by an integer upper bound ([`SignFormBound`](pentimento_kernels::SignFormBound)) to be below
//! the last one of the ranking so far; only the others are measured, exactly as [`QuadraticForm`] does. What the
//! ranking is does not depend on how many the bound lets pass, nor on threads or parts.
//!
//! Worst case: where all codes have nearly the same distance, as with a Gram matrix that is a multiple of the identity,
//! the bound lets all of them pass, and each is measured: 12 s instead of 0.4 for 10^9 codes of 32 bits on two cores
//! (`docs/benchmarks/search.md`).

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use pentimento_kernels::BitPatterns;
use rayon::prelude::*;

use super::codes::Code;
use super::ranking::{Best, FoundCode};
use super::search::QuadraticForm;

/// Codes that all forms are measured on before the next ones are read: 16 or 32 KB, which stay in the nearest caches.
const CODES_PER_PART: usize = 1 << 12;
/// Codes that a thread takes at once: 0.1 ms of work.
const CODES_PER_TASK: usize = 1 << 18;
/// Parts, evenly spread, whose ranking the scan of a large book starts from.
const SAMPLED_PARTS: usize = 64;

/// Codes as they stand in memory or in a mapped file.
#[derive(Clone, Copy, Debug)]
pub(super) enum PackedCodes<'a> {
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
}

impl PackedCodes<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::U8(codes) => codes.len(),
            Self::U16(codes) => codes.len(),
            Self::U32(codes) => codes.len(),
            Self::U64(codes) => codes.len(),
        }
    }

    pub(super) fn code(self, position: usize) -> Code {
        Code::from_bits(match self {
            Self::U8(codes) => codes[position].into(),
            Self::U16(codes) => codes[position].into(),
            Self::U32(codes) => codes[position].into(),
            Self::U64(codes) => codes[position],
        })
    }
}

impl<'a> PackedCodes<'a> {
    /// Some of the codes; those that are narrower than 32 bits are widened into `wide`.
    fn part<'b>(self, range: Range<usize>, wide: &'b mut Vec<u32>) -> BitPatterns<'b>
    where
        'a: 'b,
    {
        wide.clear();
        match self {
            Self::U8(codes) => wide.extend(codes[range].iter().map(|&code| u32::from(code))),
            Self::U16(codes) => wide.extend(codes[range].iter().map(|&code| u32::from(code))),
            Self::U32(codes) => return BitPatterns::U32(&codes[range]),
            Self::U64(codes) => return BitPatterns::U64(&codes[range]),
        }
        BitPatterns::U32(wide)
    }
}

/// Why a scan gave no ranking.
#[derive(Debug, PartialEq)]
pub(super) enum ScanError<E> {
    /// The first code that has another weight than the forms are for, or bits above their members.
    OtherCode { position: usize },
    /// What the caller said on being asked.
    Stopped(E),
}

/// What is to be found.
pub(super) struct Scan<'a> {
    /// The forms, all for the same n and h.
    pub(super) forms: &'a [QuadraticForm],
    /// How many codes of each ranking.
    pub(super) count: usize,
}

impl Scan<'_> {
    /// The first `count` codes of each form's ranking: the largest distance first, of equal distances the lower position.
    ///
    /// `before` is called with the positions that are going to be read; `go_on` with the number of codes that are done.
    /// Both are called from several threads.
    pub(super) fn run<E: Send>(
        &self,
        codes: PackedCodes<'_>,
        before: impl Fn(Range<usize>) -> Result<(), E> + Sync,
        go_on: impl Fn(u64) -> Result<(), E> + Sync,
    ) -> Result<Vec<Vec<FoundCode>>, ScanError<E>> {
        let Some(first) = self.forms.first() else { return Ok(Vec::new()) };
        let length = codes.len();
        let lowest = if self.count == 0 { f64::INFINITY } else { 0.0 };
        let thresholds: Vec<Threshold> = self.forms.iter().map(|_| Threshold::new(lowest)).collect();
        self.start_from_a_sample(codes, &before, &thresholds).map_err(ScanError::Stopped)?;

        let tasks = length.div_ceil(CODES_PER_TASK);
        let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let first_other = AtomicU64::new(u64::MAX);
        let (stop, reason) = (AtomicBool::new(false), Mutex::new(None));
        let stopped = |error| {
            stop.store(true, Ordering::Relaxed);
            reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        };
        let work = || {
            let mut worker = Worker::new(self, &thresholds);
            while !stop.load(Ordering::Relaxed) {
                // Each thread takes rising positions, so a code of other weight that another thread saw further back
                // leaves nothing to do.
                let start = next.fetch_add(1, Ordering::Relaxed) as usize * CODES_PER_TASK;
                if start >= length || start as u64 > first_other.load(Ordering::Relaxed) {
                    break;
                }
                let range = start..length.min(start + CODES_PER_TASK);
                if let Err(error) = before(range.clone()) {
                    stopped(error);
                    break;
                }
                for from in range.clone().step_by(CODES_PER_PART) {
                    let to = range.end.min(from + CODES_PER_PART);
                    if let Some(other) = worker.take(codes, from..to, (first.members(), first.weight())) {
                        first_other.fetch_min(other as u64, Ordering::Relaxed);
                        break;
                    }
                }
                let taken = range.len() as u64;
                if let Err(error) = go_on(done.fetch_add(taken, Ordering::Relaxed) + taken) {
                    stopped(error);
                }
            }
            worker.best
        };
        let threads = rayon::current_num_threads().min(tasks);
        let best =
            (0..threads).into_par_iter().with_max_len(1).map(|_| work()).reduce(Vec::new, |left, right| {
                if left.is_empty() {
                    return right;
                }
                left.into_iter().zip(right).map(|(left, right)| left.merged(right)).collect()
            });
        if let Some(error) = reason.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(ScanError::Stopped(error));
        }
        match first_other.into_inner() {
            u64::MAX if best.is_empty() => Ok(self.forms.iter().map(|_| Vec::new()).collect()),
            u64::MAX => Ok(best.into_iter().map(Best::into_ranking).collect()),
            position => Err(ScanError::OtherCode { position: position as usize }),
        }
    }

    /// Ranks some codes of a large book, so that from the first one on few codes have to be measured, in whatever order they
    /// stand. What is last in the ranking of a part is not after what is last in the ranking of the whole.
    fn start_from_a_sample<E>(
        &self,
        codes: PackedCodes<'_>,
        before: impl Fn(Range<usize>) -> Result<(), E>,
        thresholds: &[Threshold],
    ) -> Result<(), E> {
        // Of a small book the sample would be a large part.
        if codes.len() < 8 * SAMPLED_PARTS * CODES_PER_PART {
            return Ok(());
        }
        let mut worker = Worker::new(self, thresholds);
        for part in 0..SAMPLED_PARTS {
            let from = codes.len() / SAMPLED_PARTS * part;
            before(from..from + CODES_PER_PART)?;
            // Codes of other weight are reported by the scan.
            worker.measure(codes, from..from + CODES_PER_PART, |_| None);
        }
        Ok(())
    }
}

/// A distance that as many codes as are wanted reach; rises while they are found.
struct Threshold(AtomicU64);

impl Threshold {
    fn new(distance: f64) -> Self {
        Self(AtomicU64::new(distance.to_bits()))
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn raise(&self, distance: f64) {
        // Of numbers that are not negative, the larger one has the larger bits.
        self.0.fetch_max(distance.to_bits(), Ordering::Relaxed);
    }
}

/// One thread's share of a scan.
struct Worker<'a> {
    scan: &'a Scan<'a>,
    thresholds: &'a [Threshold],
    best: Vec<Best>,
    /// Positions within a part of the codes that are to be measured.
    passed: Vec<u32>,
    /// The codes at these positions, and their distances.
    bits: Vec<u64>,
    distances: Vec<f64>,
    wide: Vec<u32>,
}

impl<'a> Worker<'a> {
    fn new(scan: &'a Scan<'a>, thresholds: &'a [Threshold]) -> Self {
        let best = scan.forms.iter().map(|_| Best::new(scan.count)).collect();
        Self {
            scan,
            thresholds,
            best,
            passed: Vec::new(),
            bits: Vec::new(),
            distances: Vec::new(),
            wide: Vec::new(),
        }
    }

    /// Ranks a part, and returns the position of its first code that has another weight or bits above the members.
    fn take(
        &mut self,
        codes: PackedCodes<'_>,
        range: Range<usize>,
        (members, weight): (u32, u32),
    ) -> Option<usize> {
        let start = range.start;
        let other = self.measure(codes, range, |patterns| patterns.first_of_other_weight(members, weight));
        other.map(|position| start + position)
    }

    /// Ranks a part unless `check` finds something, which looks at the codes when they are in the cache already.
    fn measure(
        &mut self,
        codes: PackedCodes<'_>,
        range: Range<usize>,
        check: impl Fn(BitPatterns<'_>) -> Option<usize>,
    ) -> Option<usize> {
        let patterns = codes.part(range.clone(), &mut self.wide);
        let forms = self.scan.forms.iter().zip(self.thresholds).zip(&mut self.best);
        for (place, ((form, threshold), best)) in forms.enumerate() {
            self.passed.clear();
            form.bound().reaching(patterns, least_sum(form, threshold.get()), &mut self.passed);
            if place == 0
                && let Some(other) = check(patterns)
            {
                return Some(other);
            }
            self.bits.clear();
            self.bits.extend(self.passed.iter().map(|&at| codes.code(range.start + at as usize).bits()));
            self.distances.resize(self.bits.len(), 0.0);
            form.distances_of(&self.bits, &mut self.distances);
            for ((&passed, &bits), &distance) in self.passed.iter().zip(&self.bits).zip(&self.distances) {
                let position = range.start as u64 + u64::from(passed);
                best.offer(FoundCode { position, code: Code::from_bits(bits), distance });
            }
            if let Some(distance) = best.least_distance().filter(|_| !self.passed.is_empty()) {
                threshold.raise(distance);
            }
        }
        None
    }
}

/// What the table entries of a code come to that reaches `distance`.
fn least_sum(form: &QuadraticForm, distance: f64) -> u16 {
    // Negative squares have distance 0 too.
    if distance <= 0.0 {
        return 0;
    }
    // The root of anything less than this is rounded to less than the distance.
    let least_square = distance * (distance * (1.0 - 4.0 * f64::EPSILON));
    form.bound().least_sum(least_square)
}

#[cfg(test)]
mod tests {
    use pentimento_noise::{Cursor, Purpose, Stream};
    use proptest::prelude::*;

    use super::super::codes::CodeBook;
    use super::*;

    fn cursor(seed: u64) -> Cursor {
        Stream::new(seed, Purpose::Test, 0, 0).cursor()
    }

    /// Codes of length n and weight h, drawn with replacement.
    fn random_codes(members: u32, weight: u32, count: usize, seed: u64) -> Vec<u64> {
        let mut cursor = cursor(seed);
        let one = |_| {
            let mut code = 0_u64;
            while code.count_ones() < weight {
                code |= 1 << (cursor.next_u64() % u64::from(members));
            }
            code
        };
        (0..count).map(one).collect()
    }

    #[derive(Clone, Copy, Debug)]
    enum Gram {
        /// Of random images: all distances differ.
        Random,
        /// Small whole numbers: many codes have the same distance.
        Whole,
        /// A multiple of the identity: all codes have the same distance, up to rounding.
        Identity,
        /// All distances zero.
        Zero,
    }

    fn form(members: u32, weight: u32, gram: Gram, second_order: bool, seed: u64) -> QuadraticForm {
        let book = CodeBook::draw(members, weight, 1, 0).unwrap();
        let order = members as usize * if second_order { 2 } else { 1 };
        let mut values = vec![0.0; order * 8];
        Stream::new(seed, Purpose::Test, 1, 0).fill_normal_f64(&mut values);
        let whole = |value: f64| if matches!(gram, Gram::Whole) { value.round() } else { value };
        let columns: Vec<Vec<f64>> =
            values.chunks_exact(8).map(|column| column.iter().map(|&value| whole(value)).collect()).collect();
        let entry = |row: usize, column: usize| match gram {
            Gram::Random | Gram::Whole => columns[row].iter().zip(&columns[column]).map(|(l, r)| l * r).sum(),
            Gram::Identity => f64::from(u8::from(row == column)) * 3.0,
            Gram::Zero => 0.0,
        };
        let gram: Vec<f64> = (0..order * order).map(|at| entry(at / order, at % order)).collect();
        match second_order {
            true => QuadraticForm::second_order(&book, &gram).unwrap(),
            false => QuadraticForm::linear(&book, &gram).unwrap(),
        }
    }

    fn distance(form: &QuadraticForm, bits: u64) -> f64 {
        let mut distance = [0.0];
        form.distances_of(&[bits], &mut distance);
        distance[0]
    }

    /// The definition: measure all, sort all.
    fn sorted(form: &QuadraticForm, codes: &[u64], count: usize) -> Vec<FoundCode> {
        let measured = (0..).zip(codes).map(|(position, &bits)| {
            let code = Code::from_bits(bits);
            FoundCode { position, code, distance: distance(form, bits) }
        });
        let mut all: Vec<FoundCode> = measured.collect();
        all.sort_by(|a, b| b.distance.total_cmp(&a.distance).then(a.position.cmp(&b.position)));
        all.truncate(count);
        all
    }

    fn scanned(
        forms: &[QuadraticForm],
        codes: PackedCodes<'_>,
        count: usize,
        threads: usize,
    ) -> Result<Vec<Vec<FoundCode>>, ScanError<()>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Scan { forms, count }.run(codes, |_| Ok(()), |_| Ok(())))
    }

    fn assert_same(found: &[FoundCode], expected: &[FoundCode]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!((found.position, found.code), (expected.position, expected.code));
            assert_eq!(found.distance.to_bits(), expected.distance.to_bits());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn the_ranking_is_that_of_measuring_and_sorting_everything(
            members in 2_u32..=64,
            share in 0.0..1.0_f64,
            // Around the borders of parts and blocks, and anything.
            length in prop_oneof![1_usize..300, 4090_usize..4100, 8190_usize..8200, 1_usize..20_000],
            count in prop_oneof![0_usize..5, 0_usize..300, Just(30_000)],
            kinds in prop::collection::vec(
                (prop_oneof![Just(Gram::Random), Just(Gram::Whole), Just(Gram::Identity), Just(Gram::Zero)], any::<bool>()),
                1..6,
            ),
            threads in 1_usize..=8,
            seed: u64,
        ) {
            let weight = (1 + (share * f64::from(members - 1)) as u32).min(members - 1);
            let codes = random_codes(members, weight, length, seed);
            let forms: Vec<QuadraticForm> = (0..)
                .zip(&kinds)
                .map(|(at, &(gram, second_order))| form(members, weight, gram, second_order, seed.wrapping_add(at)))
                .collect();
            let expected: Vec<_> = forms.iter().map(|form| sorted(form, &codes, count)).collect();
            let bytes: Vec<u8> = codes.iter().map(|&code| code as u8).collect();
            let short: Vec<u16> = codes.iter().map(|&code| code as u16).collect();
            let words: Vec<u32> = codes.iter().map(|&code| code as u32).collect();
            let mut packed = vec![PackedCodes::U64(&codes)];
            if members <= 32 { packed.push(PackedCodes::U32(&words)); }
            if members <= 16 { packed.push(PackedCodes::U16(&short)); }
            if members <= 8 { packed.push(PackedCodes::U8(&bytes)); }
            for packed in packed {
                let found = scanned(&forms, packed, count, threads).unwrap();
                prop_assert_eq!(found.len(), forms.len());
                for (found, expected) in found.iter().zip(&expected) {
                    assert_same(found, expected);
                }
            }
        }
    }

    /// Large enough for several tasks and for a start from a sample; sorted so that each code is before all that are less.
    #[test]
    fn a_large_book_in_the_worst_order_is_ranked_exactly() {
        let mut codes = random_codes(24, 12, 2_200_000, 1);
        let forms = [form(24, 12, Gram::Random, true, 2), form(24, 12, Gram::Whole, false, 3)];
        codes.sort_by_cached_key(|&code| distance(&forms[0], code).to_bits());
        let words: Vec<u32> = codes.iter().map(|&code| code as u32).collect();
        for count in [1, 100, 5000] {
            let expected: Vec<_> = forms.iter().map(|form| sorted(form, &codes, count)).collect();
            for threads in [1, 2, 7] {
                let found = scanned(&forms, PackedCodes::U32(&words), count, threads).unwrap();
                assert_same(&found[0], &expected[0]);
                assert_same(&found[1], &expected[1]);
            }
        }
    }

    #[test]
    fn more_codes_are_wanted_than_a_part_holds() {
        // What comes later is less, so a place is only lost to it once all places are taken.
        let mut codes = random_codes(24, 12, 3 * CODES_PER_PART, 1);
        let form = form(24, 12, Gram::Random, false, 2);
        codes.sort_by_cached_key(|&code| std::cmp::Reverse(distance(&form, code).to_bits()));
        for count in [CODES_PER_PART + 1, 2 * CODES_PER_PART, 3 * CODES_PER_PART, 4 * CODES_PER_PART] {
            let found = scanned(std::slice::from_ref(&form), PackedCodes::U64(&codes), count, 1).unwrap();
            assert_same(&found[0], &sorted(&form, &codes, count));
        }
    }

    #[test]
    fn the_first_code_that_is_not_of_the_ensemble_is_named() {
        let forms = [form(20, 10, Gram::Random, false, 1)];
        let good = random_codes(20, 10, 3 * CODES_PER_TASK + 77, 2);
        let wrong = [0, 1 << 20 | 0x1FF, 0x7FF, u64::MAX, 1 << 63 | 0x1FF];
        for first in [0, 63, 4095, 4096, CODES_PER_TASK + 5, 2 * CODES_PER_TASK - 1, good.len() - 1] {
            let mut codes = good.clone();
            for (at, code) in codes.iter_mut().enumerate().skip(first).step_by(100_001) {
                *code = wrong[at % wrong.len()];
            }
            for threads in [1, 2, 5] {
                let refused = scanned(&forms, PackedCodes::U64(&codes), 10, threads);
                assert_eq!(refused, Err(ScanError::OtherCode { position: first }));
            }
        }
    }

    #[test]
    fn a_thread_that_is_late_does_not_hide_an_earlier_wrong_code() {
        let forms = [form(20, 10, Gram::Random, false, 1)];
        let mut codes = random_codes(20, 10, 2 * CODES_PER_TASK, 2);
        codes[7] = 1;
        codes[CODES_PER_TASK + 7] = 1;
        let both = std::sync::Barrier::new(2);
        let before = |range: Range<usize>| {
            // Each thread has its task before either looks for codes.
            both.wait();
            if range.start == CODES_PER_TASK {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            Ok::<(), ()>(())
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let scan = Scan { forms: &forms, count: 1 };
        let refused = pool.install(|| scan.run(PackedCodes::U64(&codes), before, |_| Ok(())));
        assert_eq!(refused, Err(ScanError::OtherCode { position: 7 }));
    }

    #[test]
    fn a_scan_counts_what_is_done_and_stops_when_told() {
        let forms = [form(20, 10, Gram::Random, false, 1)];
        let codes = random_codes(20, 10, 5 * CODES_PER_TASK + 1, 2);
        let (seen, asked) = (AtomicU64::new(0), AtomicU64::new(0));
        let scan = Scan { forms: &forms, count: 3 };
        let go_on = |done| {
            seen.fetch_max(done, Ordering::Relaxed);
            Ok::<(), ()>(())
        };
        let before = |range: Range<usize>| {
            asked.fetch_add(range.len() as u64, Ordering::Relaxed);
            Ok(())
        };
        scan.run(PackedCodes::U64(&codes), before, go_on).unwrap();
        assert_eq!([seen.into_inner(), asked.into_inner()], [codes.len() as u64; 2]);
        let refused = scan.run(PackedCodes::U64(&codes), |_| Ok(()), Err);
        assert!(matches!(refused, Err(ScanError::Stopped(done)) if done > 0));
        let refused = scan.run(PackedCodes::U64(&codes), |range| Err(range.start), |_| Ok(()));
        assert!(matches!(refused, Err(ScanError::Stopped(_))));
    }
}
