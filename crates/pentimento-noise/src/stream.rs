use std::f64::consts::TAU;

use crate::{Cursor, Purpose, philox4x32_10};

const TWO_POW_MINUS_24: f32 = 1.0 / (1u32 << 24) as f32;
const TWO_POW_MINUS_32: f64 = 1.0 / (1u64 << 32) as f64;
const TWO_POW_MINUS_53: f64 = 1.0 / (1u64 << 53) as f64;

/// One sequence of random values: all that has the same seed, purpose, id and step.
///
/// Values are read by index, in any order and any number of times. The kinds of values (words, normals, uniforms,
/// bounded integers) are made from the same words, so one stream serves one kind only: a step that needs noise and
/// indices takes two purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// The seed of the run; the key of the generator.
    pub seed: u64,
    /// What the values are for.
    pub purpose: Purpose,
    /// Whom the values are for: the number of a member, an image, a sample.
    pub id: u32,
    /// When the values are used: a step of training or sampling, 0 where there is only one.
    pub step: u32,
}

impl Stream {
    /// The stream with this address.
    #[must_use]
    pub const fn new(seed: u64, purpose: Purpose, id: u32, step: u32) -> Self {
        Self { seed, purpose, id, step }
    }

    /// The four words of block `block`: words `4 block` to `4 block + 3` of the stream.
    #[inline]
    #[must_use]
    pub fn words(&self, block: u32) -> [u32; 4] {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        philox4x32_10([block, self.step, self.id, self.purpose as u32], key)
    }

    /// Standard normal values 0, 1, 2, … of the stream.
    ///
    /// Each is the value of [`fill_normal_f64`](Self::fill_normal_f64) rounded to f32.
    pub fn fill_normal(&self, out: &mut [f32]) {
        self.fill_normal_at(0, out);
    }

    /// Standard normal values `offset`, `offset + 1`, … of the stream.
    pub fn fill_normal_at(&self, offset: u64, out: &mut [f32]) {
        fill_from_blocks(offset, out, |block| self.normals(block).map(|normal| normal as f32));
    }

    /// Standard normal values 0, 1, 2, … of the stream.
    ///
    /// Their magnitude is below 6.77, as the smallest uniform that enters the logarithm is 2^-33.
    pub fn fill_normal_f64(&self, out: &mut [f64]) {
        self.fill_normal_f64_at(0, out);
    }

    /// Standard normal values `offset`, `offset + 1`, … of the stream.
    pub fn fill_normal_f64_at(&self, offset: u64, out: &mut [f64]) {
        fill_from_blocks(offset, out, |block| self.normals(block));
    }

    /// Uniform values 0, 1, 2, … of the stream, in [0, 1), multiples of 2^-24.
    ///
    /// Each is the value of [`fill_uniform_f64`](Self::fill_uniform_f64) cut (not rounded, which could reach 1) to 24 bits.
    pub fn fill_uniform(&self, out: &mut [f32]) {
        fill_from_blocks(0, out, |block| {
            self.integers(block).map(|integer| (integer >> 40) as f32 * TWO_POW_MINUS_24)
        });
    }

    /// Uniform values 0, 1, 2, … of the stream, in [0, 1), multiples of 2^-53.
    pub fn fill_uniform_f64(&self, out: &mut [f64]) {
        fill_from_blocks(0, out, |block| self.integers(block).map(uniform_from_integer));
    }

    /// Uniform value `index` of those of [`fill_uniform_f64`](Self::fill_uniform_f64).
    #[must_use]
    pub fn uniform_f64_at(&self, index: u64) -> f64 {
        let pair = self.integers((index / 2) as u32);
        uniform_from_integer(pair[(index % 2) as usize])
    }

    /// Bounded integer `index` of the stream: uniform over `0..bound`, and 0 if `bound` is 0.
    ///
    /// No value is more probable than another by more than 2^-64 (Lemire, *Fast random integer generation in an
    /// interval*, 2019, without the rejection step, so that one index costs one value).
    #[must_use]
    pub fn below(&self, index: u64, bound: u64) -> u64 {
        let pair = self.integers((index / 2) as u32);
        bounded_from_integer(pair[(index % 2) as usize], bound)
    }

    /// A cursor at the start of the stream, for algorithms that use one value after another.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor::new(*self)
    }

    /// The numbers `0..length` in a uniformly drawn order (Fisher and Yates; Knuth, TAOCP 3.4.2, algorithm P).
    #[must_use]
    pub fn permutation(&self, length: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..length).collect();
        let mut cursor = self.cursor();
        for last in (1..order.len()).rev() {
            let chosen = cursor.below(last as u64 + 1) as usize;
            order.swap(last, chosen);
        }
        order
    }

    /// Four normals from the four words of a block (Box and Muller, 1958).
    #[inline]
    fn normals(&self, block: u32) -> [f64; 4] {
        let [radius0, angle0, radius1, angle1] = self.words(block);
        let [first, second] = normal_pair(radius0, angle0);
        let [third, fourth] = normal_pair(radius1, angle1);
        [first, second, third, fourth]
    }

    /// Two 64-bit integers from the four words of a block, low halves first.
    #[inline]
    fn integers(&self, block: u32) -> [u64; 2] {
        let [low0, high0, low1, high1] = self.words(block);
        [integer_from_words(low0, high0), integer_from_words(low1, high1)]
    }
}

/// Two independent standard normals, `r cos a` and `r sin a`.
#[inline]
fn normal_pair(radius_word: u32, angle_word: u32) -> [f64; 2] {
    let radius = (-2.0 * libm::log(uniform_inside(radius_word))).sqrt();
    let (sine, cosine) = libm::sincos(TAU * uniform_inside(angle_word));
    [radius * cosine, radius * sine]
}

/// The middle of the word's cell in (0, 1): never 0, so that its logarithm is finite, and exact in f64.
#[inline]
fn uniform_inside(word: u32) -> f64 {
    (f64::from(word) + 0.5) * TWO_POW_MINUS_32
}

#[inline]
pub(crate) fn integer_from_words(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[inline]
pub(crate) fn uniform_from_integer(integer: u64) -> f64 {
    (integer >> 11) as f64 * TWO_POW_MINUS_53
}

#[inline]
pub(crate) fn bounded_from_integer(integer: u64, bound: u64) -> u64 {
    ((u128::from(integer) * u128::from(bound)) >> 64) as u64
}

/// Fills `out` with the values `offset`, `offset + 1`, … where a block gives `PER_BLOCK` values.
#[inline]
fn fill_from_blocks<T: Copy, const PER_BLOCK: usize>(
    offset: u64,
    mut out: &mut [T],
    values_of: impl Fn(u32) -> [T; PER_BLOCK],
) {
    // The block number is cut to 32 bits: after 2^32 blocks a stream starts again, as the crate's documentation says.
    let mut block = (offset / PER_BLOCK as u64) as u32;
    let mut skipped = (offset % PER_BLOCK as u64) as usize;
    while !out.is_empty() {
        let values = &values_of(block)[skipped..];
        let (head, tail) = out.split_at_mut(values.len().min(out.len()));
        head.copy_from_slice(&values[..head.len()]);
        out = tail;
        skipped = 0;
        block = block.wrapping_add(1);
    }
}
