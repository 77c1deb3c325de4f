//! Weights in the order in which products read them: panels of columns, row of a panel by row.

#![allow(unsafe_code, reason = "vectors of a processor")]

use crate::lanes::{Instructions, LANES, Lanes, prefetch};
use crate::memory::Buffer;
use crate::weight_values::{Stored, WeightValues};
use burn::tensor::{bf16, f16};
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a full panel: two vectors, so that one broadcast value feeds two multiply-adds.
pub(crate) const PANEL_COLUMNS: usize = 2 * LANES;

/// How many rows ahead a packed row is asked for, and how many vectors ahead a packed column. Rows and columns of a large matrix
/// lie in pages of their own, which processors do not foresee.
const ROWS_AHEAD: usize = 4;
const VECTORS_AHEAD: usize = 8;

/// Weights packed for [`multiply_rows`](crate::product::multiply_rows): panels of 32 (the last one of 16 or 32) columns, each
/// `[tap][depth][column]`.
pub(crate) struct Panels {
    pub(crate) values: Buffer,
    pub(crate) taps: usize,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
}

/// Where element `[tap][depth][column]` of a matrix to be packed lies in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Strides {
    pub(crate) tap: usize,
    pub(crate) depth: usize,
    pub(crate) column: usize,
}

/// A matrix of `taps * depth` rows and `columns` columns that is to be packed.
#[derive(Clone, Copy)]
pub(crate) struct Unpacked<'a> {
    pub(crate) source: WeightValues<'a>,
    pub(crate) taps: usize,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    pub(crate) strides: Strides,
}

/// Some of the rows that one tap of a matrix has.
#[derive(Clone, Copy)]
pub(crate) struct Depths {
    pub(crate) tap: usize,
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl Unpacked<'_> {
    /// Panels of the whole matrix; the last columns are padded with zeros to whole vectors.
    pub(crate) fn pack(&self, instructions: Instructions) -> Panels {
        let Self { taps, depth, columns, .. } = *self;
        let mut values = Buffer::new(taps * depth * columns.next_multiple_of(LANES));
        values.values().par_chunks_mut((taps * depth * PANEL_COLUMNS).max(1)).enumerate().for_each(
            |(index, panel)| {
                let present = index * PANEL_COLUMNS..columns.min((index + 1) * PANEL_COLUMNS);
                for (tap, part) in panel.chunks_exact_mut((panel.len() / taps).max(1)).enumerate() {
                    let depths = Depths { tap, first: 0, count: depth };
                    self.pack_block(instructions, depths, present.clone(), part);
                }
            },
        );
        Panels { values, taps, depth, columns }
    }

    /// Copies some rows of some columns into panels of 32 columns, the last one of 16 or 32; columns past the last one are zero.
    pub(crate) fn pack_block(
        &self,
        instructions: Instructions,
        depths: Depths,
        columns: Range<usize>,
        panels: &mut [f32],
    ) {
        on!(instructions, pack_block(self, depths, columns, panels));
    }
}

wrap! {
    pack_block(matrix: &Unpacked<'_>, depths: Depths, columns: Range<usize>, panels: &mut [f32]);
}

/// # Safety
///
/// The processor has the instructions of `V`, here and below.
#[inline(always)]
unsafe fn pack_block<V: Lanes>(
    matrix: &Unpacked<'_>,
    depths: Depths,
    columns: Range<usize>,
    panels: &mut [f32],
) {
    // SAFETY: passed on from the caller.
    unsafe {
        match matrix.source {
            WeightValues::F32(source) => pack_from::<V, f32>(matrix, source, depths, columns, panels),
            WeightValues::F16(source) => pack_from::<V, f16>(matrix, source, depths, columns, panels),
            WeightValues::Bf16(source) => pack_from::<V, bf16>(matrix, source, depths, columns, panels),
        }
    }
}

#[inline(always)]
unsafe fn pack_from<V: Lanes, S: Stored>(
    matrix: &Unpacked<'_>,
    source: &[S],
    depths: Depths,
    columns: Range<usize>,
    panels: &mut [f32],
) {
    let Strides { tap, depth, column } = matrix.strides;
    let source = &source[depths.tap * tap + depths.first * depth + columns.start * column..];
    // SAFETY: passed on from the caller.
    unsafe {
        if column == 1 {
            pack_rows::<V, S>(source, depth, depths.count, columns.len(), panels);
        } else {
            pack_columns::<V, S>(source, [depth, column], depths.count, columns.len(), panels);
        }
    }
}

/// Packs a matrix whose rows lie in one piece each, `step` apart.
#[inline(always)]
unsafe fn pack_rows<V: Lanes, S: Stored>(
    source: &[S],
    step: usize,
    count: usize,
    columns: usize,
    panels: &mut [f32],
) {
    let whole = columns / PANEL_COLUMNS;
    let (panels, last) = panels.split_at_mut(whole * count * PANEL_COLUMNS);
    for k in 0..count {
        let (row, rest) = source[k * step..][..columns].split_at(whole * PANEL_COLUMNS);
        let next = row.as_ptr().wrapping_add(ROWS_AHEAD * step);
        for (number, (values, panel)) in row
            .as_chunks::<PANEL_COLUMNS>()
            .0
            .iter()
            .zip(panels.chunks_exact_mut(count * PANEL_COLUMNS))
            .enumerate()
        {
            prefetch(next.wrapping_add(number * PANEL_COLUMNS));
            prefetch(next.wrapping_add(number * PANEL_COLUMNS + LANES));
            let target = &mut panel[k * PANEL_COLUMNS..][..PANEL_COLUMNS];
            for (values, target) in values.as_chunks().0.iter().zip(target.as_chunks_mut::<LANES>().0) {
                // SAFETY: sixteen values each; the instructions are the caller's promise.
                unsafe { S::lanes::<V>(values).store(target.as_mut_ptr()) };
            }
        }
        if !rest.is_empty() {
            let width = rest.len().next_multiple_of(LANES);
            let (target, padding) = last[k * width..][..width].split_at_mut(rest.len());
            // SAFETY: passed on from the caller.
            unsafe { S::read::<V>(rest, 1, target) };
            padding.fill(0.0);
        }
    }
}

/// Packs a matrix of any other order, such as one whose columns lie in one piece each.
#[inline(always)]
unsafe fn pack_columns<V: Lanes, S: Stored>(
    source: &[S],
    [depth, column]: [usize; 2],
    count: usize,
    columns: usize,
    panels: &mut [f32],
) {
    let turned = if depth == 1 { count / LANES * LANES } else { 0 };
    for (number, panel) in panels.chunks_mut((count * PANEL_COLUMNS).max(1)).enumerate() {
        let first = number * PANEL_COLUMNS;
        let present = PANEL_COLUMNS.min(columns - first);
        let width = present.next_multiple_of(LANES);
        for inside in (0..width).step_by(LANES) {
            let source = &source[(first + inside) * column..];
            let present = LANES.min(present - inside);
            for k in (0..turned).step_by(LANES) {
                let target = &mut panel[k * width + inside..];
                // SAFETY: passed on from the caller.
                unsafe { turn::<V, S>(&source[k..], column, present, target, width) };
            }
        }
        for (k, row) in panel.chunks_exact_mut(width).enumerate().skip(turned) {
            let (row, padding) = row.split_at_mut(present);
            // SAFETY: passed on from the caller.
            unsafe { S::read::<V>(&source[first * column + k * depth..], column, row) };
            padding.fill(0.0);
        }
    }
}

/// Sixteen rows of sixteen columns, of which `present` are there, out of columns that lie in one piece each, `step` apart. Rows of the
/// target are `width` apart.
///
/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn turn<V: Lanes, S: Stored>(
    source: &[S],
    step: usize,
    present: usize,
    target: &mut [f32],
    width: usize,
) {
    if !V::WIDE {
        for (column, source) in source.chunks(step).enumerate().take(present) {
            let mut values = [0.0f32; LANES];
            // SAFETY: passed on from the caller.
            unsafe { S::read::<V>(source, 1, &mut values) };
            for (row, value) in values.into_iter().enumerate() {
                target[row * width + column] = value;
            }
        }
        for row in 0..LANES {
            target[row * width..][present..LANES].fill(0.0);
        }
        return;
    }
    // SAFETY: the instructions are the caller's promise; slices are checked.
    unsafe {
        let mut vectors = [V::zero(); LANES];
        for (column, vector) in vectors.iter_mut().enumerate().take(present) {
            prefetch(source.as_ptr().wrapping_add(column * step + VECTORS_AHEAD * LANES));
            let (values, _) = source[column * step..][..LANES].as_chunks();
            *vector = S::lanes(&values[0]);
        }
        // Interleaving the halves of a list moves the highest bit of a number's place to the lowest. After four times, the bits of
        // the column are behind those of the row.
        for _ in 0..LANES.ilog2() {
            let mut next = [V::zero(); LANES];
            for half in 0..LANES / 2 {
                let [low, high] = vectors[half].interleave(vectors[half + LANES / 2]);
                next[2 * half] = low;
                next[2 * half + 1] = high;
            }
            vectors = next;
        }
        for (row, vector) in vectors.iter().enumerate() {
            vector.store(target[row * width..][..LANES].as_mut_ptr());
        }
    }
}
