//! The two matrix products that convolutions, linear layers and attention are made of.
//!
//! * [`multiply_rows`]: rows of an activation, found through a table of offsets, times packed weights. A row may be the
//!   concatenation of several *taps* (the nine pixels under a 3x3 kernel), so a convolution needs no patch matrix.
//! * [`multiply_transposed`]: the sum over rows of outer products, for the gradients of weights.
//!
//! Every output element is one chain of fused multiply-adds in the order tap, then depth (or row). The order does not
//! depend on the number of images, rows, threads or lanes, which is what makes results byte-equal for any of them.

#![allow(unsafe_code, reason = "the inner loops work on raw pointers; sizes are checked at the entries")]
#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of vectors go through memory; indices stay in registers"
)]

use crate::conv_shape::Addends;
use crate::lanes::{Instructions, LANES, Lanes};
use crate::packing::{PANEL_COLUMNS, Panels, Unpacked};

/// Largest number of rows that one tile computes at once.
pub(crate) const LARGEST_TILE: usize = 14;

/// Marks a tap that lies in the zero padding.
pub(crate) const PADDING: u32 = u32::MAX;

/// For each output row, where its taps begin in the input of one image and where the row is written.
pub(crate) struct RowTable {
    /// `[row][tap]`, offsets of the first value, or [`PADDING`].
    taps: Vec<u32>,
    /// Offset of each row in the output of one image.
    targets: Vec<u32>,
    taps_per_row: usize,
    last_tap: Option<usize>,
    last_target: Option<usize>,
}

impl RowTable {
    /// A table from its parts; `taps` is `[row][tap]`.
    pub(crate) fn new(taps: Vec<u32>, targets: Vec<u32>, taps_per_row: usize) -> Self {
        assert_eq!(taps.len(), targets.len() * taps_per_row);
        let last_tap = taps.iter().filter(|&&offset| offset != PADDING).max().map(|&offset| offset as usize);
        let last_target = targets.iter().max().map(|&offset| offset as usize);
        Self { taps, targets, taps_per_row, last_tap, last_target }
    }

    /// Asserts that all rows lie in an input image and an output image, times a matrix of so many taps, rows of a tap and columns.
    pub(crate) fn check(&self, taps: usize, depth: usize, columns: usize, input: usize, output: usize) {
        assert_eq!(self.taps_per_row, taps);
        assert!(self.last_tap.is_none_or(|tap| tap + depth <= input), "a row lies outside the input");
        assert!(self.last_target.is_none_or(|row| row + columns <= output), "a row lies outside the output");
    }

    /// Where a tap of a row begins, or [`PADDING`].
    pub(crate) fn tap(&self, row: usize, tap: usize) -> u32 {
        self.taps[row * self.taps_per_row + tap]
    }

    /// Where a row is written.
    pub(crate) fn target(&self, row: usize) -> usize {
        self.targets[row] as usize
    }

    /// Where one tap of every row begins.
    pub(crate) fn offsets_of_tap(&self, tap: usize) -> Vec<u32> {
        self.taps.iter().skip(tap).step_by(self.taps_per_row).copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }
}

/// Rows of all images, found through a table that all images share, and the matrix that they are multiplied with.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) images: usize,
    pub(crate) input: &'a [f32],
    pub(crate) table: &'a RowTable,
    pub(crate) matrix: &'a Unpacked<'a>,
    pub(crate) addends: &'a Addends<'a>,
}

/// A pointer into an output that several threads write at disjoint places.
#[derive(Clone, Copy)]
pub(crate) struct SharedOutput(*mut f32, usize);

// SAFETY: whoever creates a `SharedOutput` promises that no two threads write the same place.
unsafe impl Send for SharedOutput {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput {}

impl SharedOutput {
    pub(crate) fn new(target: &mut [f32]) -> Self {
        Self(target.as_mut_ptr(), target.len())
    }

    /// Where it begins.
    pub(crate) fn pointer(self) -> *mut f32 {
        self.0
    }

    /// The part that belongs to one image.
    pub(crate) fn part(self, start: usize, length: usize) -> Self {
        assert!(start + length <= self.1, "the part lies outside the output");
        // SAFETY: inside the allocation, by the assertion.
        Self(unsafe { self.0.add(start) }, length)
    }
}

/// `output[target(r)] = start + sum over taps and depth of input[tap(r) + k] * panels[tap][k]` for `rows` of the table.
///
/// `start` (the bias) has one value per column. `residual` has the places of the output and is added at the end.
#[allow(
    clippy::too_many_arguments,
    reason = "two matrices, what is added to their product, and where it goes"
)]
pub(crate) fn multiply_rows(
    instructions: Instructions,
    input: &[f32],
    table: &RowTable,
    rows: std::ops::Range<usize>,
    panels: &Panels,
    start: &[f32],
    residual: Option<&[f32]>,
    output: SharedOutput,
) {
    table.check(panels.taps, panels.depth, panels.columns, input.len(), output.1);
    assert!(rows.end <= table.len());
    assert!(panels.depth <= DEEPEST_TAP, "a tap is deeper than the zeros that stand for padding");
    assert_eq!(start.len(), panels.columns);
    assert!(residual.is_none_or(|values| values.len() == output.1), "length of a residual");
    let job = RowsJob { input, table, panels, start, residual, output };
    // SAFETY: the instructions were detected; the sizes are asserted above.
    unsafe {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => rows_avx512(&job, rows),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => rows_avx2(&job, rows),
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => run_rows::<crate::lanes::Neon, 1>(&job, rows, &[6, 4, 2, 1]),
            Instructions::Portable => run_rows::<crate::lanes::Array, 1>(&job, rows, &[4, 2, 1]),
        }
    }
}

struct RowsJob<'a> {
    input: &'a [f32],
    table: &'a RowTable,
    panels: &'a Panels,
    start: &'a [f32],
    residual: Option<&'a [f32]>,
    output: SharedOutput,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn rows_avx512(job: &RowsJob<'_>, rows: std::ops::Range<usize>) {
    // 14 rows x 2 vectors use 28 of the 32 registers as accumulators.
    // SAFETY: passed on from the caller.
    unsafe { run_rows::<crate::lanes::Avx512, 2>(job, rows, &[14, 8, 4, 1]) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn rows_avx2(job: &RowsJob<'_>, rows: std::ops::Range<usize>) {
    // 6 rows x 2 half vectors use 12 of the 16 registers as accumulators.
    // SAFETY: passed on from the caller.
    unsafe { run_rows::<crate::lanes::Avx2, 1>(job, rows, &[6, 4, 2, 1]) }
}

/// Cuts `rows` into tiles: the largest size while it fits, then the smallest size that holds the rest.
#[inline(always)]
unsafe fn run_rows<V: Lanes, const VECTORS: usize>(
    job: &RowsJob<'_>,
    rows: std::ops::Range<usize>,
    sizes: &[usize],
) {
    let mut first = rows.start;
    while first < rows.end {
        let rest = rows.end - first;
        let largest = sizes[0];
        let tile = if rest >= largest {
            largest
        } else {
            sizes.iter().rev().copied().find(|&size| size >= rest).unwrap_or(largest)
        };
        let present = tile.min(rest);
        // SAFETY: passed on from the caller; `present` rows exist.
        unsafe {
            match tile {
                14 => tile_rows::<V, VECTORS, 14>(job, first, present),
                8 => tile_rows::<V, VECTORS, 8>(job, first, present),
                6 => tile_rows::<V, VECTORS, 6>(job, first, present),
                4 => tile_rows::<V, VECTORS, 4>(job, first, present),
                2 => tile_rows::<V, VECTORS, 2>(job, first, present),
                _ => tile_rows::<V, VECTORS, 1>(job, first, present),
            }
        }
        first += present;
    }
}

/// All columns of one tile of rows. Rows past `present` repeat the first one and are not stored.
#[inline(always)]
unsafe fn tile_rows<V: Lanes, const VECTORS: usize, const ROWS: usize>(
    job: &RowsJob<'_>,
    first: usize,
    present: usize,
) {
    let (table, panels) = (job.table, job.panels);
    let taps = table.taps_per_row;
    let zeros = ZEROS.as_ptr();
    let padded = panels.columns.next_multiple_of(LANES);
    let mut partial = [0.0f32; PANEL_COLUMNS];
    let mut panel = panels.values.as_slice().as_ptr();
    let mut column = 0;
    while column < padded {
        let width = PANEL_COLUMNS.min(padded - column);
        let mut inside = 0;
        while inside < width {
            let wide = VECTORS == 2 && width - inside == PANEL_COLUMNS;
            let vectors = if wide { 2 } else { 1 };
            let here = column + inside;
            let columns_left = panels.columns - here;
            let whole = columns_left >= vectors * LANES;
            let start = if whole {
                job.start[here..].as_ptr()
            } else {
                let count = columns_left.min(vectors * LANES);
                partial[..count].copy_from_slice(&job.start[here..here + count]);
                partial.as_ptr()
            };
            // SAFETY: the panel holds taps x depth x width values from here on; row pointers stay inside the input or
            // in `ZEROS`, which is as long as the deepest tap (asserted in `row_pointers`).
            unsafe {
                let weights = panel.add(inside);
                let store = |row: usize, vector: usize, value: V, partial: &mut [f32; PANEL_COLUMNS]| {
                    if row >= present {
                        return;
                    }
                    let place = table.targets[first + row] as usize + here + vector * LANES;
                    let target = job.output.0.add(place);
                    if whole {
                        let sum = match job.residual {
                            Some(residual) => value.add(V::load(residual.as_ptr().add(place))),
                            None => value,
                        };
                        sum.store(target);
                    } else {
                        let count = (columns_left - vector * LANES).min(LANES);
                        value.store(partial.as_mut_ptr());
                        if let Some(residual) = job.residual {
                            for (sum, value) in partial[..count].iter_mut().zip(&residual[place..]) {
                                *sum += value;
                            }
                        }
                        std::ptr::copy_nonoverlapping(partial.as_ptr(), target, count);
                    }
                };
                let pointers = |tap: usize| row_pointers::<ROWS>(job, first, present, tap, zeros);
                if wide {
                    let start = [V::load(start), V::load(start.add(LANES))];
                    let sums = tile_sums::<V, 2, ROWS>(pointers, taps, panels.depth, weights, width, start);
                    for row in 0..ROWS {
                        store(row, 0, sums[row][0], &mut partial);
                        if whole || columns_left > LANES {
                            store(row, 1, sums[row][1], &mut partial);
                        }
                    }
                } else {
                    let start = [V::load(start)];
                    let sums = tile_sums::<V, 1, ROWS>(pointers, taps, panels.depth, weights, width, start);
                    for row in 0..ROWS {
                        store(row, 0, sums[row][0], &mut partial);
                    }
                }
            }
            partial = [0.0; PANEL_COLUMNS];
            inside += vectors * LANES;
        }
        // SAFETY: the next panel begins here, or this is the end of the allocation.
        panel = unsafe { panel.add(taps * panels.depth * width) };
        column += width;
    }
}

/// What padding reads: as many zeros as the deepest tap of any supported layer.
pub(crate) static ZEROS: [f32; DEEPEST_TAP] = [0.0; DEEPEST_TAP];
/// Most values that one tap may have; convolutions refuse more input channels than this.
pub(crate) const DEEPEST_TAP: usize = 16_384;

/// Pointers to one tap of each row of a tile; `None` if the whole tile lies in the padding there.
#[inline(always)]
unsafe fn row_pointers<const ROWS: usize>(
    job: &RowsJob<'_>,
    first: usize,
    present: usize,
    tap: usize,
    zeros: *const f32,
) -> Option<[*const f32; ROWS]> {
    let mut any = false;
    let input = job.input.as_ptr();
    let pointers = std::array::from_fn(|row| {
        let row = if row < present { row } else { 0 };
        let offset = job.table.tap(first + row, tap);
        if offset == PADDING {
            zeros
        } else {
            any = true;
            // SAFETY: the offset lies inside the input (asserted at the entry).
            unsafe { input.add(offset as usize) }
        }
    });
    any.then_some(pointers)
}

/// One step of an innermost loop: adds value `k` of each row times some vectors to `ROWS` x `VECTORS` sums in registers.
///
/// # Safety
///
/// Value `k` of each row is readable, and the processor has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn add_products_of_depth<V: Lanes, const VECTORS: usize, const ROWS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    rows: &[*const f32; ROWS],
    k: usize,
    vectors: &[V; VECTORS],
) {
    // SAFETY: passed on from the caller.
    unsafe {
        for row in 0..ROWS {
            let value = V::splat(*rows[row].add(k));
            for index in 0..VECTORS {
                sums[row][index] = sums[row][index].multiply_add(value, vectors[index]);
            }
        }
    }
}

/// The sums of a tile over all taps and depths.
///
/// Taps in the padding of the whole tile are skipped: adding `0 * w` with a finite `w` changes nothing but the sign of a
/// zero. Which taps are skipped depends on the tile, so zeros are given one sign at the end: `-0 + 0` is `0`.
#[inline(always)]
unsafe fn tile_sums<V: Lanes, const VECTORS: usize, const ROWS: usize>(
    pointers: impl Fn(usize) -> Option<[*const f32; ROWS]>,
    taps: usize,
    depth: usize,
    weights: *const f32,
    width: usize,
    start: [V; VECTORS],
) -> [[V; VECTORS]; ROWS] {
    let mut sums = [start; ROWS];
    for tap in 0..taps {
        let Some(rows) = pointers(tap) else { continue };
        // SAFETY: `depth` values behind each row pointer, `depth * width` behind the weights of a tap.
        unsafe {
            let mut weight = weights.add(tap * depth * width);
            for k in 0..depth {
                let mut vectors = [V::zero(); VECTORS];
                for index in 0..VECTORS {
                    vectors[index] = V::load(weight.add(index * LANES));
                }
                add_products_of_depth(&mut sums, &rows, k, &vectors);
                weight = weight.add(width);
            }
        }
    }
    for row in 0..ROWS {
        for index in 0..VECTORS {
            // SAFETY: passed on from the caller.
            sums[row][index] = unsafe { sums[row][index].add(V::zero()) };
        }
    }
    sums
}

/// `output[m][n] += sum over rows r of left[offset(r) + m] * right[r][n]` for `m` in `left_columns`.
///
/// `offsets` gives where row `r` begins in `left`, or [`PADDING`] for a row that counts as zero. Rows of `right` are
/// `right_stride` apart and must be padded: `right_columns` rounded up to whole vectors is readable in every row.
/// `output` has rows of `right_columns`. The sum over rows is taken first and then added to the output, so
/// accumulating image after image keeps rounding errors of one image's size.
pub(crate) struct TransposedJob<'a> {
    pub(crate) left: &'a [f32],
    pub(crate) offsets: &'a [u32],
    pub(crate) left_columns: std::ops::Range<usize>,
    pub(crate) right: &'a [f32],
    pub(crate) right_stride: usize,
    pub(crate) right_columns: usize,
}

/// Runs a [`TransposedJob`]; `output` is the part for `left_columns`, `[left_columns.len()][right_columns]`.
pub(crate) fn multiply_transposed(instructions: Instructions, job: &TransposedJob<'_>, output: &mut [f32]) {
    let padded = job.right_columns.next_multiple_of(LANES);
    let end = job.offsets.iter().filter(|&&offset| offset != PADDING).max();
    assert!(end.is_none_or(|&offset| offset as usize + job.left_columns.end <= job.left.len()));
    assert!(job.offsets.is_empty() || (job.offsets.len() - 1) * job.right_stride + padded <= job.right.len());
    assert_eq!(output.len(), job.left_columns.len() * job.right_columns);
    // SAFETY: the instructions were detected; the sizes are asserted above.
    unsafe {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => transposed_avx512(job, output),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => transposed_avx2(job, output),
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => run_transposed::<crate::lanes::Neon, 1>(job, output, &[6, 4, 2, 1]),
            Instructions::Portable => run_transposed::<crate::lanes::Array, 1>(job, output, &[4, 2, 1]),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn transposed_avx512(job: &TransposedJob<'_>, output: &mut [f32]) {
    // SAFETY: passed on from the caller.
    unsafe { run_transposed::<crate::lanes::Avx512, 2>(job, output, &[14, 8, 4, 2, 1]) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn transposed_avx2(job: &TransposedJob<'_>, output: &mut [f32]) {
    // SAFETY: passed on from the caller.
    unsafe { run_transposed::<crate::lanes::Avx2, 1>(job, output, &[6, 4, 2, 1]) }
}

#[inline(always)]
unsafe fn run_transposed<V: Lanes, const VECTORS: usize>(
    job: &TransposedJob<'_>,
    output: &mut [f32],
    sizes: &[usize],
) {
    let count = job.left_columns.len();
    let padded = job.right_columns.next_multiple_of(LANES);
    let mut first = 0;
    while first < count {
        let rest = count - first;
        // Sixteen channels as 8 + 8 instead of 14 + 2.
        let wanted = if rest == 16 { 8 } else { rest };
        let tile = sizes.iter().copied().find(|&size| size <= wanted).unwrap_or(1);
        let mut column = 0;
        while column < padded {
            let wide = VECTORS == 2 && padded - column >= PANEL_COLUMNS;
            // SAFETY: passed on from the caller; the tile lies inside `left_columns` and the padded columns.
            unsafe {
                macro_rules! tiles {
                    ($($size:literal)*) => {
                        match (tile, wide) {
                            $(($size, true) => tile_transposed::<V, 2, $size>(job, first, column, output),
                              ($size, false) => tile_transposed::<V, 1, $size>(job, first, column, output),)*
                            _ => unreachable!("every tile size is listed"),
                        }
                    };
                }
                tiles!(14 8 6 4 2 1);
            }
            column += if wide { PANEL_COLUMNS } else { LANES };
        }
        first += tile;
    }
}

#[inline(always)]
unsafe fn tile_transposed<V: Lanes, const VECTORS: usize, const ROWS: usize>(
    job: &TransposedJob<'_>,
    first: usize,
    column: usize,
    output: &mut [f32],
) {
    // SAFETY: offsets and columns were asserted at the entry to lie inside both inputs.
    unsafe {
        let mut sums = [[V::zero(); VECTORS]; ROWS];
        let left = job.left.as_ptr().add(job.left_columns.start + first);
        let mut right = job.right.as_ptr().add(column);
        for &offset in job.offsets {
            if offset != PADDING {
                let mut vectors = [V::zero(); VECTORS];
                for (index, vector) in vectors.iter_mut().enumerate() {
                    *vector = V::load(right.add(index * LANES));
                }
                let row_values = left.add(offset as usize);
                for row in 0..ROWS {
                    let value = V::splat(*row_values.add(row));
                    for index in 0..VECTORS {
                        sums[row][index] = sums[row][index].multiply_add(value, vectors[index]);
                    }
                }
            }
            right = right.wrapping_add(job.right_stride);
        }
        let mut partial = [0.0f32; LANES];
        for row in 0..ROWS {
            for index in 0..VECTORS {
                let value = sums[row][index];
                let here = column + index * LANES;
                if here >= job.right_columns {
                    continue;
                }
                let target = output.as_mut_ptr().add((first + row) * job.right_columns + here);
                let count = LANES.min(job.right_columns - here);
                if count == LANES {
                    V::load(target).add(value).store(target);
                } else {
                    value.store(partial.as_mut_ptr());
                    for (lane, part) in partial[..count].iter().enumerate() {
                        *target.add(lane) += part;
                    }
                }
            }
        }
    }
}

const _: () = assert!(LARGEST_TILE == 14, "the tile sizes above are listed by hand");
