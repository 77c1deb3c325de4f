//! Inner products of many rows with some queries, for rows that are read piece by piece from wherever they are kept.
//!
//! Sixteen rows lie in lanes, `[number][row]`, and the numbers of the queries are broadcast: so hardly a lane is idle
//! however many queries there are, and products come out query by query. A piece of [`PIECE`] numbers of 32 rows is read
//! and turned to lanes in the first-level cache, and all queries, which the second-level cache holds, go over it.
//!
//! Every product is one chain of fused multiply-adds in the order of the numbers for each [`SUMMED_IN_F32`] of them, and
//! these are added in f64. So its bytes depend on neither the other rows and queries, nor threads, nor the instructions.

#![allow(unsafe_code, reason = "the inner loops work on raw pointers; sizes are asserted at their entries")]
#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of vectors go through memory; indices stay in registers"
)]

use crate::lanes::{Instructions, LANES, Lanes};
use crate::memory::with_scratch;
use std::ops::Range;

/// Numbers of a row that are read at once: 32 rows of them take 16 KiB.
const PIECE: usize = 128;

/// Numbers that are summed in f32, before their sum is added in f64; a multiple of [`PIECE`].
const SUMMED_IN_F32: usize = 4096;

/// Rows that are multiplied at once: two vectors, so that one broadcast value feeds two multiply-adds.
const GROUP: usize = 2 * LANES;

/// Queries, arranged for [`products`](Self::products).
pub struct PackedQueries {
    instructions: Instructions,
    count: usize,
    numbers: usize,
    /// Piece by piece of the numbers, tile by tile of the queries, `[number][query]`.
    values: Vec<f32>,
}

impl PackedQueries {
    /// Arranges queries `[queries, numbers]` for the best instructions that this processor has.
    ///
    /// # Panics
    ///
    /// If they are no rows of `numbers`, or `numbers` is 0.
    pub fn new(queries: &[f32], numbers: usize) -> Self {
        Self::on(Instructions::detect(), queries, numbers)
    }

    /// [`new`](Self::new) for the given instructions.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new), or if the processor does not have the instructions.
    pub fn on(instructions: Instructions, queries: &[f32], numbers: usize) -> Self {
        assert!(Instructions::available().contains(&instructions), "{instructions:?} on this processor");
        assert!(numbers > 0 && queries.len().is_multiple_of(numbers), "queries are rows of {numbers}");
        let count = queries.len() / numbers;
        let mut packed = Self { instructions, count, numbers, values: Vec::with_capacity(queries.len()) };
        for piece in packed.pieces() {
            for tile in packed.tiles() {
                for number in piece.clone() {
                    packed.values.extend(tile.clone().map(|query| queries[query * numbers + number]));
                }
            }
        }
        packed
    }

    fn pieces(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let numbers = self.numbers;
        (0..numbers).step_by(PIECE).map(move |first| first..(first + PIECE).min(numbers))
    }

    /// Tiles of nearly equal size: 100 queries are four times 13 and four times 12, not seven times 14 and 2.
    fn tiles(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let count = self.count;
        let tiles = count.div_ceil(self.instructions.tile_rows());
        (0..tiles).map(move |tile| tile * count / tiles..(tile + 1) * count / tiles)
    }

    /// The inner products of each query with each row, `[queries][rows]`. `read` is given the number of a row and the place
    /// of a first number, and writes the numbers from there on, as many as there is room for.
    ///
    /// # Panics
    ///
    /// If there are not as many rows of `products` as queries, or they are not of one length.
    pub fn products(&self, mut read: impl FnMut(usize, usize, &mut [f32]), products: &mut [&mut [f64]]) {
        assert_eq!(products.len(), self.count, "one row of products for each query");
        let count = products.first().map_or(0, |products| products.len());
        assert!(products.iter().all(|products| products.len() == count), "as many rows for each query");
        let room = LANES * PIECE.min(self.numbers);
        with_scratch(3 * room + self.count * GROUP, |scratch| {
            let (lanes, scratch) = scratch.split_at_mut(2 * room);
            let (numbers, sums) = scratch.split_at_mut(room);
            sums.fill(0.0);
            for first in (0..count).step_by(GROUP) {
                let group = first..(first + GROUP).min(count);
                for piece in self.pieces() {
                    let used = LANES * piece.len();
                    for (vector, lanes) in lanes.chunks_exact_mut(room).enumerate() {
                        for (lane, target) in numbers[..used].chunks_exact_mut(piece.len()).enumerate() {
                            match group.start + vector * LANES + lane {
                                row if row < group.end => read(row, piece.start, target),
                                _ => target.fill(0.0),
                            }
                        }
                        on!(self.instructions, turn(&numbers[..used], &mut lanes[..used]));
                    }
                    self.add_piece(lanes, &piece, group.len().div_ceil(LANES), sums);
                    if piece.end == self.numbers || piece.end.is_multiple_of(SUMMED_IN_F32) {
                        let is_first = piece.end <= SUMMED_IN_F32;
                        for (products, sums) in products.iter_mut().zip(sums.chunks_exact_mut(GROUP)) {
                            for (product, &sum) in products[group.clone()].iter_mut().zip(&*sums) {
                                *product = if is_first { 0.0 } else { *product } + f64::from(sum);
                            }
                            sums.fill(0.0);
                        }
                    }
                }
            }
        });
    }

    /// Adds the products over a piece of the numbers to `sums`, `[queries][GROUP]`.
    fn add_piece(&self, lanes: &[f32], piece: &Range<usize>, vectors: usize, sums: &mut [f32]) {
        let queries = &self.values[piece.start * self.count..piece.end * self.count];
        for tile in self.tiles() {
            let queries = &queries[tile.start * piece.len()..tile.end * piece.len()];
            let sums = &mut sums[tile.start * GROUP..tile.end * GROUP];
            on!(self.instructions, add_products(lanes, vectors, queries, tile.len(), sums));
        }
    }
}

wrap! {
    turn(rows: &[f32], lanes: &mut [f32]);
    add_products(lanes: &[f32], vectors: usize, queries: &[f32], count: usize, sums: &mut [f32]);
}

/// From `[LANES][numbers]` to `[numbers][LANES]`.
#[inline(always)]
unsafe fn turn<V: Lanes>(rows: &[f32], lanes: &mut [f32]) {
    assert_eq!(rows.len(), lanes.len(), "as many numbers in lanes");
    let numbers = rows.len() / LANES;
    let whole = numbers - numbers % LANES;
    for first in (0..whole).step_by(LANES) {
        // SAFETY: each of the sixteen rows has sixteen numbers from `first` on, and so have the lanes.
        unsafe {
            let mut block = [V::zero(); LANES];
            for row in 0..LANES {
                block[row] = V::load(rows.as_ptr().add(row * numbers + first));
            }
            // Interleaving the two halves of 256 numbers moves the highest bit of a number's place to the lowest. Four times,
            // and the row is where the place in the row was.
            for _ in 0..LANES.trailing_zeros() {
                let before = block;
                for row in 0..LANES / 2 {
                    [block[2 * row], block[2 * row + 1]] = before[row].interleave(before[row + LANES / 2]);
                }
            }
            for number in 0..LANES {
                block[number].store(lanes.as_mut_ptr().add((first + number) * LANES));
            }
        }
    }
    for number in whole..numbers {
        for row in 0..LANES {
            lanes[number * LANES + row] = rows[row * numbers + number];
        }
    }
}

/// Adds the products of a tile of `count` queries, `[number][query]`, with one or two vectors of rows, `[number][row]`, each
/// half of `lanes`, to `[query][GROUP]`.
#[inline(always)]
unsafe fn add_products<V: Lanes>(
    lanes: &[f32],
    vectors: usize,
    queries: &[f32],
    count: usize,
    sums: &mut [f32],
) {
    let (numbers, stride) = (queries.len() / count, lanes.len() / 2);
    assert!(vectors <= 2 && numbers * LANES <= stride && sums.len() == count * GROUP, "sizes of a tile");
    let (lanes, queries, sums) = (lanes.as_ptr(), queries.as_ptr(), sums.as_mut_ptr());
    macro_rules! tile_of {
        ($($queries:literal)*) => {
            match count {
                $($queries if $queries <= V::TILE_ROWS => {
                    // SAFETY: the sizes are asserted above.
                    unsafe {
                        if V::WIDE && vectors == 2 {
                            add_tile::<V, 2, $queries>(lanes, stride, numbers, queries, sums);
                        } else {
                            for vector in 0..vectors {
                                let (lanes, sums) = (lanes.add(vector * stride), sums.add(vector * LANES));
                                add_tile::<V, 1, $queries>(lanes, stride, numbers, queries, sums);
                            }
                        }
                    }
                })*
                _ => {}
            }
        };
    }
    tile_of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
}

/// `QUERIES` queries and `VECTORS` vectors of rows, `stride` apart, in registers.
#[inline(always)]
unsafe fn add_tile<V: Lanes, const VECTORS: usize, const QUERIES: usize>(
    lanes: *const f32,
    stride: usize,
    numbers: usize,
    queries: *const f32,
    target: *mut f32,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let mut sums = [[V::zero(); VECTORS]; QUERIES];
        for query in 0..QUERIES {
            for vector in 0..VECTORS {
                sums[query][vector] = V::load(target.add(query * GROUP + vector * LANES));
            }
        }
        let (mut lanes, mut queries) = (lanes, queries);
        for _ in 0..numbers {
            let mut rows = [V::zero(); VECTORS];
            for vector in 0..VECTORS {
                rows[vector] = V::load(lanes.add(vector * stride));
            }
            for query in 0..QUERIES {
                let value = V::splat(*queries.add(query));
                for vector in 0..VECTORS {
                    sums[query][vector] = sums[query][vector].multiply_add(value, rows[vector]);
                }
            }
            lanes = lanes.wrapping_add(LANES);
            queries = queries.wrapping_add(QUERIES);
        }
        for query in 0..QUERIES {
            for vector in 0..VECTORS {
                sums[query][vector].store(target.add(query * GROUP + vector * LANES));
            }
        }
    }
}

const _: () = assert!(SUMMED_IN_F32.is_multiple_of(PIECE), "sums end where pieces end");
