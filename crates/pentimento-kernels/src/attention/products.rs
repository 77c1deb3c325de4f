//! The products inside an attention.
//!
//! Queries lie in lanes, so a head of 8 channels fills vectors as well as one of 256, and neither keys nor values are
//! packed: their numbers are broadcast from where they are.

#![allow(unsafe_code, reason = "the inner loops work on raw pointers; sizes are checked at the entries")]

use super::maximum::Maximum;
use super::scratch::{Head, Vector};
use crate::lanes::{LANES, Lanes};

/// What happens to each row of scores while it is in registers.
trait Finish<V, const VECTORS: usize> {
    /// Sees the scores of one token; tokens come in ascending order.
    ///
    /// # Safety
    ///
    /// The instructions of `V` are present, and the token is one of those that `self` was made for.
    unsafe fn row(&mut self, token: usize, values: &[V; VECTORS]);
}

/// The largest value of each lane.
struct Largest<V, const VECTORS: usize>([V; VECTORS]);

impl<V: Maximum, const VECTORS: usize> Finish<V, VECTORS> for Largest<V, VECTORS> {
    #[inline(always)]
    unsafe fn row(&mut self, _token: usize, values: &[V; VECTORS]) {
        for (largest, &value) in self.0.iter_mut().zip(values) {
            // SAFETY: passed on from the caller.
            *largest = unsafe { value.maximum(*largest) };
        }
    }
}

/// The sum over tokens of products with weights, lane by lane.
struct Weighted<'a, V, const VECTORS: usize> {
    weights: &'a [Vector],
    sums: [V; VECTORS],
}

impl<V: Lanes, const VECTORS: usize> Finish<V, VECTORS> for Weighted<'_, V, VECTORS> {
    #[inline(always)]
    unsafe fn row(&mut self, token: usize, values: &[V; VECTORS]) {
        // SAFETY: passed on from the caller; `weighted_scores` asserted that there are weights for all tokens.
        unsafe {
            let weights: [V; VECTORS] = load(self.weights.as_ptr().add(token * VECTORS).cast());
            for ((sum, &weight), &value) in self.sums.iter_mut().zip(&weights).zip(values) {
                *sum = sum.multiply_add(weight, value);
            }
        }
    }
}

/// `output[token][lane] = sum over channels c of keys[token][c] * queries[c][lane]`; returns the largest of each lane.
///
/// A row of lanes is `VECTORS` vectors.
///
/// # Safety
///
/// The instructions of `V` are present.
#[inline(always)]
pub(super) unsafe fn scores<V: Maximum, const VECTORS: usize>(
    keys: Head<'_>,
    queries: &[Vector],
    output: &mut [Vector],
) -> [Vector; VECTORS] {
    // SAFETY: passed on from the caller.
    unsafe {
        let mut largest = Largest([V::splat(f32::NEG_INFINITY); VECTORS]);
        over_channels::<V, VECTORS, 1>([(keys, queries)], output, &mut largest);
        vectors(&largest.0)
    }
}

/// `output[token][lane] = sum over the pairs of (head, lanes), then over channels c, of head[token][c] *
/// lanes[c][lane]`; returns the sums over tokens of `weights * output`.
///
/// # Safety
///
/// The instructions of `V` are present.
#[inline(always)]
pub(super) unsafe fn weighted_scores<V: Lanes, const VECTORS: usize, const TERMS: usize>(
    terms: [(Head<'_>, &[Vector]); TERMS],
    weights: &[Vector],
    output: &mut [Vector],
) -> [Vector; VECTORS] {
    assert!(terms[0].0.tokens * VECTORS <= weights.len());
    // SAFETY: passed on from the caller.
    unsafe {
        let mut weighted = Weighted { weights, sums: [V::zero(); VECTORS] };
        over_channels::<V, VECTORS, TERMS>(terms, output, &mut weighted);
        vectors(&weighted.sums)
    }
}

/// Cuts `$count` rows into tiles of sums that fit the registers of `V`, and evaluates `$tile` for each with the constant
/// `$size`.
macro_rules! for_each_tile {
    ($V:ident, $count:expr, |$first:ident, $size:ident| $tile:expr) => {{
        let (count, mut $first) = ($count, 0);
        while $first < count {
            let size = tile_size(count - $first, $V::TILE_ROWS);
            for_each_tile!(@ size, $V, $size, $tile; 14 8 6 4 2 1);
            $first += size;
        }
    }};
    (@ $chosen:ident, $V:ident, $size:ident, $tile:expr; $($literal:literal)*) => {
        match $chosen {
            $($literal if $literal <= $V::TILE_ROWS => { const $size: usize = $literal; $tile })*
            _ => unreachable!("every tile size is listed"),
        }
    };
}

/// The largest tile that `rest` rows fill; sixteen rows as 8 + 8 instead of 14 + 2.
#[inline(always)]
fn tile_size(rest: usize, largest: usize) -> usize {
    let wanted = if rest == 16 { 8.min(largest) } else { rest.min(largest) };
    [14, 8, 6, 4, 2].into_iter().find(|&size| size <= wanted).unwrap_or(1)
}

#[inline(always)]
unsafe fn over_channels<V: Lanes, const VECTORS: usize, const TERMS: usize>(
    terms: [(Head<'_>, &[Vector]); TERMS],
    output: &mut [Vector],
    finish: &mut impl Finish<V, VECTORS>,
) {
    let (tokens, channels) = (terms[0].0.tokens, terms[0].0.channels);
    for (head, lanes) in &terms {
        head.assert_inside();
        assert!((head.tokens, head.channels) == (tokens, channels) && channels * VECTORS <= lanes.len());
    }
    assert!(tokens * VECTORS <= output.len());
    for_each_tile!(V, tokens, |first, SIZE| {
        // SAFETY: the tokens from `first` to `first + SIZE` exist in every head and in the output, as asserted above.
        unsafe {
            let mut sums = [[V::zero(); VECTORS]; SIZE];
            for (head, lanes) in &terms {
                let scalars = head.values.as_ptr().add(first * head.stride);
                accumulate(&mut sums, scalars, head.stride, 1, lanes.as_ptr(), channels);
            }
            for (row, sums) in sums.iter().enumerate() {
                store(sums, output.as_mut_ptr().add((first + row) * VECTORS).cast());
                finish.row(first + row, sums);
            }
        }
    });
}

/// Tokens of wide heads are summed this many at a time, so that their cache lines are still near when the next channels
/// of the same tokens are wanted. For 8 images of 256 tokens and one head of 256 channels, 7 tangents took 42 ms with all
/// tokens at once, and 39 so (see `queries_per_block` for where).
const TOKENS_AT_ONCE: usize = 32;

/// `output[channel][lane] += sum over tokens t of head[t][channel] * lanes[t][lane]`.
///
/// # Safety
///
/// The instructions of `V` are present.
#[inline(always)]
pub(super) unsafe fn add_over_tokens<V: Lanes, const VECTORS: usize>(
    head: Head<'_>,
    lanes: &[Vector],
    output: &mut [Vector],
) {
    head.assert_inside();
    assert!(head.tokens * VECTORS <= lanes.len() && head.channels * VECTORS <= output.len());
    let at_once = if head.channels <= LANES { head.tokens } else { TOKENS_AT_ONCE };
    for start in (0..head.tokens).step_by(at_once) {
        let tokens = at_once.min(head.tokens - start);
        for_each_tile!(V, head.channels, |first, SIZE| {
            // SAFETY: the channels from `first` to `first + SIZE` exist in the head and in the output, and the tokens from
            // `start` to `start + tokens` in the head and in the lanes, as asserted above.
            unsafe {
                let mut sums = [[V::zero(); VECTORS]; SIZE];
                let output = output.as_mut_ptr().add(first * VECTORS);
                for (row, sums) in sums.iter_mut().enumerate() {
                    *sums = load(output.add(row * VECTORS).cast());
                }
                let scalars = head.values.as_ptr().add(start * head.stride + first);
                let lanes = lanes.as_ptr().add(start * VECTORS);
                accumulate(&mut sums, scalars, 1, head.stride, lanes, tokens);
                for (row, sums) in sums.iter().enumerate() {
                    store(sums, output.add(row * VECTORS).cast());
                }
            }
        });
    }
}

/// The inner loop: `sums[row] += sum over k of scalars[row * row_stride + k * depth_stride] * lanes[k]`.
#[inline(always)]
unsafe fn accumulate<V: Lanes, const VECTORS: usize, const SIZE: usize>(
    sums: &mut [[V; VECTORS]; SIZE],
    mut scalars: *const f32,
    row_stride: usize,
    depth_stride: usize,
    lanes: *const Vector,
    depth: usize,
) {
    let mut lanes = lanes.cast::<f32>();
    for _ in 0..depth {
        // SAFETY: the caller asserted that these rows and depths lie inside the slices behind the pointers.
        unsafe {
            let vectors: [V; VECTORS] = load(lanes);
            for (row, sums) in sums.iter_mut().enumerate() {
                let scalar = V::splat(*scalars.add(row * row_stride));
                for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                    *sum = sum.multiply_add(scalar, vector);
                }
            }
            lanes = lanes.add(VECTORS * LANES);
        }
        scalars = scalars.wrapping_add(depth_stride);
    }
}

/// `sums[key][n] += sum over queries i of right[i][n] * (weight of (i, key) if n is even, else its direction)`.
///
/// `pairs` is `[key][query][2]` with `LANES * VECTORS` queries per key, of which the first `queries` count; `right` and
/// `sums` have rows of `width` vectors. Two products at once: heads of 8 channels then fill a vector.
///
/// # Safety
///
/// The instructions of `V` are present.
#[inline(always)]
pub(super) unsafe fn add_outer_products<V: Lanes, const VECTORS: usize>(
    pairs: &[Vector],
    queries: usize,
    right: &[Vector],
    width: usize,
    sums: &mut [Vector],
) {
    let keys = sums.len() / width;
    assert!(sums.len() == keys * width && pairs.len() == keys * 2 * VECTORS);
    assert!(queries <= LANES * VECTORS && queries * width <= right.len());
    let mut column = 0;
    while column < width {
        let wide = VECTORS == 2 && width - column >= 2;
        for_each_tile!(V, keys, |first, SIZE| {
            // SAFETY: the keys from `first` to `first + SIZE` and the columns exist in `pairs` and `sums`.
            unsafe {
                if wide {
                    outer_tile::<V, VECTORS, 2, SIZE>(pairs, queries, right, width, first, column, sums);
                } else {
                    outer_tile::<V, VECTORS, 1, SIZE>(pairs, queries, right, width, first, column, sums);
                }
            }
        });
        column += if wide { 2 } else { 1 };
    }
}

#[inline(always)]
unsafe fn outer_tile<V: Lanes, const VECTORS: usize, const COLUMNS: usize, const ROWS: usize>(
    pairs: &[Vector],
    queries: usize,
    right: &[Vector],
    width: usize,
    first: usize,
    column: usize,
    sums: &mut [Vector],
) {
    // SAFETY: asserted by `add_outer_products`.
    unsafe {
        let place = |row: usize| (first + row) * width + column;
        let sums = sums.as_mut_ptr();
        let mut tile = [[V::zero(); COLUMNS]; ROWS];
        for (row, tile) in tile.iter_mut().enumerate() {
            *tile = load(sums.add(place(row)).cast());
        }
        let mut scalars = pairs.as_ptr().add(first * 2 * VECTORS).cast::<f32>();
        let mut right = right.as_ptr().add(column);
        for _ in 0..queries {
            let vectors: [V; COLUMNS] = load(right.cast());
            for (row, tile) in tile.iter_mut().enumerate() {
                let pair = splat_pair::<V>(scalars.add(row * 2 * VECTORS * LANES));
                for (sum, &vector) in tile.iter_mut().zip(&vectors) {
                    *sum = sum.multiply_add(pair, vector);
                }
            }
            scalars = scalars.add(2);
            right = right.wrapping_add(width);
        }
        for (row, tile) in tile.iter().enumerate() {
            store(tile, sums.add(place(row)).cast());
        }
    }
}

#[inline(always)]
unsafe fn vectors<V: Lanes, const VECTORS: usize>(values: &[V; VECTORS]) -> [Vector; VECTORS] {
    let mut target = [Vector::ZERO; VECTORS];
    // SAFETY: passed on from the caller.
    unsafe { store(values, target.as_mut_ptr().cast()) };
    target
}

#[inline(always)]
unsafe fn load<V: Lanes, const VECTORS: usize>(source: *const f32) -> [V; VECTORS] {
    // SAFETY: the caller's source has that many values.
    std::array::from_fn(|index| unsafe { V::load(source.add(index * LANES)) })
}

#[inline(always)]
unsafe fn store<V: Lanes, const VECTORS: usize>(values: &[V; VECTORS], target: *mut f32) {
    // By reference: the iterator of an array by value is copied through memory, which took half of the time.
    for (index, value) in values.iter().enumerate() {
        // SAFETY: the caller's target has that many values.
        unsafe { value.store(target.add(index * LANES)) }
    }
}

/// `source[0], source[1], source[0], source[1], ...`; compiles to one broadcast of 64 bits.
#[inline(always)]
unsafe fn splat_pair<V: Lanes>(source: *const f32) -> V {
    // SAFETY: the caller's source has two values; a u64 may have any bits.
    unsafe {
        let pair = [source.cast::<u64>().read_unaligned(); LANES / 2];
        V::load(pair.as_ptr().cast())
    }
}
