//! The product of a matrix with packed weights, both without gaps: what is left of a convolution between Winograd's
//! transforms.

#![allow(unsafe_code, reason = "the inner loops work on raw pointers; the caller vouches for the sizes")]
#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of vectors go through memory; indices stay in registers"
)]

use crate::lanes::{LANES, Lanes};
use crate::packing::PANEL_COLUMNS;

/// Where column `column` of a matrix of `depth` rows begins in panels of 32 columns (the last of 16 or 32), each
/// `[depth][column]`, and how far apart its rows are. `padded` is the number of columns in whole vectors.
pub(crate) fn panel_place(column: usize, depth: usize, padded: usize) -> (usize, usize) {
    let first = column / PANEL_COLUMNS * PANEL_COLUMNS;
    (first * depth + (column - first), PANEL_COLUMNS.min(padded - first))
}

/// `output[row] = sum over k of left[row][k] * right[k]`; every output is one chain in the order of k.
///
/// # Safety
///
/// `rows` rows of `depth` values, `left_stride` apart, must be readable behind `left`; panels of `depth * padded` values
/// behind `right`; `rows` rows of `padded` values, `output_stride` apart, writable behind `output`. `padded` is a
/// multiple of the lanes. `V` must be usable (see [`Lanes`]).
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "three matrices and their sizes")]
pub(crate) unsafe fn multiply_dense<V: Lanes>(
    left: *const f32,
    left_stride: usize,
    rows: usize,
    depth: usize,
    right: *const f32,
    padded: usize,
    output: *mut f32,
    output_stride: usize,
) {
    // Tiles of nearly equal size: 49 rows are 13 + 12 + 12 + 12, not 14 + 14 + 14 + 7.
    let tiles = rows.div_ceil(V::TILE_ROWS).max(1);
    let (size, longer) = (rows / tiles, rows % tiles);
    let mut first = 0;
    for tile in 0..tiles {
        let count = size + usize::from(tile < longer);
        // SAFETY: passed on from the caller; the tiles cover the rows once.
        unsafe {
            let left = left.add(first * left_stride);
            let output = output.add(first * output_stride);
            let mut column = 0;
            while column < padded {
                let width = PANEL_COLUMNS.min(padded - column);
                let right = right.add(column * depth);
                macro_rules! tile_of {
                    ($($rows:literal)*) => {
                        match count {
                            $($rows if $rows <= V::TILE_ROWS => {
                                if width == PANEL_COLUMNS && V::WIDE {
                                    tile_product::<V, 2, $rows>(
                                        left, left_stride, depth, right, width, output.add(column), output_stride,
                                    );
                                } else {
                                    for inside in (0..width).step_by(LANES) {
                                        tile_product::<V, 1, $rows>(
                                            left, left_stride, depth, right.add(inside), width,
                                            output.add(column + inside), output_stride,
                                        );
                                    }
                                }
                            })*
                            _ => {}
                        }
                    };
                }
                tile_of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                column += width;
            }
        }
        first += count;
    }
}

/// `ROWS` rows and `VECTORS` vectors of columns, in registers.
#[inline(always)]
unsafe fn tile_product<V: Lanes, const VECTORS: usize, const ROWS: usize>(
    left: *const f32,
    left_stride: usize,
    depth: usize,
    right: *const f32,
    right_stride: usize,
    output: *mut f32,
    output_stride: usize,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let mut sums = [[V::zero(); VECTORS]; ROWS];
        let mut right = right;
        for k in 0..depth {
            let mut vectors = [V::zero(); VECTORS];
            for index in 0..VECTORS {
                vectors[index] = V::load(right.add(index * LANES));
            }
            for row in 0..ROWS {
                let value = V::splat(*left.add(row * left_stride + k));
                for index in 0..VECTORS {
                    sums[row][index] = sums[row][index].multiply_add(value, vectors[index]);
                }
            }
            right = right.add(right_stride);
        }
        for row in 0..ROWS {
            for index in 0..VECTORS {
                sums[row][index].store(output.add(row * output_stride + index * LANES));
            }
        }
    }
}

/// `output[m][n] += sum over rows of left[row][m] * right[row][n]`; the sum is one chain in the order of the rows.
///
/// # Safety
///
/// `rows` rows of `depth` values, `left_stride` apart, must be readable behind `left`; as many of `padded` values,
/// `right_stride` apart, behind `right`; `depth * padded` values readable and writable behind `output`. `padded` is a
/// multiple of the lanes. `V` must be usable (see [`Lanes`]).
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "three matrices and their sizes")]
pub(crate) unsafe fn add_transposed_product<V: Lanes>(
    left: *const f32,
    left_stride: usize,
    depth: usize,
    right: *const f32,
    right_stride: usize,
    padded: usize,
    rows: usize,
    output: *mut f32,
) {
    let tiles = depth.div_ceil(V::TILE_ROWS).max(1);
    let (size, longer) = (depth / tiles, depth % tiles);
    let mut first = 0;
    for tile in 0..tiles {
        let count = size + usize::from(tile < longer);
        let mut column = 0;
        while column < padded {
            let wide = V::WIDE && padded - column >= PANEL_COLUMNS;
            // SAFETY: passed on from the caller; the tiles cover `depth` once.
            unsafe {
                let (left, right) = (left.add(first), right.add(column));
                let output = output.add(first * padded + column);
                macro_rules! tile_of {
                    ($($rows:literal)*) => {
                        match (count, wide) {
                            $(($rows, true) if $rows <= V::TILE_ROWS => transposed_tile::<V, 2, $rows>(
                                left, left_stride, right, right_stride, rows, output, padded,
                            ),
                            ($rows, false) if $rows <= V::TILE_ROWS => transposed_tile::<V, 1, $rows>(
                                left, left_stride, right, right_stride, rows, output, padded,
                            ),)*
                            _ => {}
                        }
                    };
                }
                tile_of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            }
            column += if wide { PANEL_COLUMNS } else { LANES };
        }
        first += count;
    }
}

#[inline(always)]
unsafe fn transposed_tile<V: Lanes, const VECTORS: usize, const ROWS: usize>(
    left: *const f32,
    left_stride: usize,
    right: *const f32,
    right_stride: usize,
    rows: usize,
    output: *mut f32,
    output_stride: usize,
) {
    // SAFETY: passed on from the caller.
    unsafe {
        let mut sums = [[V::zero(); VECTORS]; ROWS];
        let (mut left, mut right) = (left, right);
        for _ in 0..rows {
            let mut vectors = [V::zero(); VECTORS];
            for index in 0..VECTORS {
                vectors[index] = V::load(right.add(index * LANES));
            }
            for m in 0..ROWS {
                let value = V::splat(*left.add(m));
                for index in 0..VECTORS {
                    sums[m][index] = sums[m][index].multiply_add(value, vectors[index]);
                }
            }
            left = left.wrapping_add(left_stride);
            right = right.wrapping_add(right_stride);
        }
        for m in 0..ROWS {
            for index in 0..VECTORS {
                let target = output.add(m * output_stride + index * LANES);
                V::load(target).add(sums[m][index]).store(target);
            }
        }
    }
}
