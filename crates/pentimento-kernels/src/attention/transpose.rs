//! From tokens with their channels side by side to channels with their queries side by side, and back.
//!
//! Plain Rust that the compiler vectorises inside functions compiled for an instruction set.

use super::scratch::{Head, PIECE, Vector, padded};
use crate::lanes::LANES;

/// Copies the tokens `first..first + queries` of a head, each times its factor, to rows of `padded` channels. Channels
/// and rows past the last one are zero.
#[inline(always)]
pub(super) fn gather(head: Head<'_>, first: usize, queries: usize, factors: &[Vector], rows: &mut [Vector]) {
    let rows = bytemuck::cast_slice_mut::<_, f32>(rows);
    let factors = bytemuck::cast_slice::<_, f32>(factors);
    for (query, row) in rows.chunks_exact_mut(padded(head.channels)).enumerate() {
        if query < queries {
            let token = &head.values[(first + query) * head.stride..][..head.channels];
            let (channels, padding) = row.split_at_mut(head.channels);
            copy_times(token, factors[query], channels);
            padding.fill(0.0);
        } else {
            row.fill(0.0);
        }
    }
}

/// Copies rows of `padded` channels, each times its factor, to the places that `token` gives for `0..queries`.
#[inline(always)]
pub(super) fn scatter<'a>(
    rows: &[Vector],
    queries: usize,
    factors: &[Vector],
    token: impl Fn(usize) -> &'a mut [f32],
) {
    let rows = bytemuck::cast_slice::<_, f32>(rows);
    let factors = bytemuck::cast_slice::<_, f32>(factors);
    let padded = rows.len() / factors.len();
    for (query, row) in rows.chunks_exact(padded).take(queries).enumerate() {
        let token = token(query);
        copy_times(&row[..token.len()], factors[query], token);
    }
}

#[inline(always)]
fn copy_times(source: &[f32], factor: f32, target: &mut [f32]) {
    let (source, source_rest) = source.as_chunks::<PIECE>();
    let (target, target_rest) = target.as_chunks_mut::<PIECE>();
    for (target, source) in target.iter_mut().zip(source) {
        for lane in 0..PIECE {
            target[lane] = source[lane] * factor;
        }
    }
    for (target, source) in target_rest.iter_mut().zip(source_rest) {
        *target = source * factor;
    }
}

/// From rows `[query][channel]` to `lanes`, `[channel][query]`, for `LANES * VECTORS` queries.
///
/// Interleaving the halves of a list of `2^n m` numbers moves the highest bit of the place of a number to the lowest. Four
/// or five such steps move all bits of the query behind the channel.
#[inline(always)]
pub(super) fn to_lanes<const VECTORS: usize>(rows: &[Vector], lanes: &mut [Vector], spare: &mut [Vector]) {
    let steps = (LANES * VECTORS).trailing_zeros();
    let (mut next, mut other) = if steps.is_multiple_of(2) { (spare, lanes) } else { (lanes, spare) };
    let (low, high) = rows.split_at(rows.len() / 2);
    interleave(low, high, next);
    for _ in 1..steps {
        let (low, high) = next.split_at(next.len() / 2);
        interleave(low, high, other);
        (next, other) = (other, next);
    }
}

/// The inverse of [`to_lanes`]; overwrites `lanes` and returns the rows, which are in one of the two slices.
#[inline(always)]
pub(super) fn to_rows<'a, const VECTORS: usize>(
    lanes: &'a mut [Vector],
    spare: &'a mut [Vector],
) -> &'a mut [Vector] {
    let (mut from, mut to) = (lanes, spare);
    for _ in 0..(LANES * VECTORS).trailing_zeros() {
        let (low, high) = to.split_at_mut(to.len() / 2);
        separate(from, low, high);
        (from, to) = (to, from);
    }
    from
}

/// `pairs = even[0], odd[0], even[1], odd[1], ...`
#[inline(always)]
pub(super) fn interleave(even: &[Vector], odd: &[Vector], pairs: &mut [Vector]) {
    // One long loop over numbers: the compiler vectorises it, and not one over the lanes of a vector.
    let pairs = bytemuck::cast_slice_mut::<_, [f32; 2]>(pairs);
    let (even, odd) = (bytemuck::cast_slice::<_, f32>(even), bytemuck::cast_slice::<_, f32>(odd));
    for ((pair, &even), &odd) in pairs.iter_mut().zip(even).zip(odd) {
        *pair = [even, odd];
    }
}

/// The inverse of [`interleave`].
#[inline(always)]
pub(super) fn separate(pairs: &[Vector], even: &mut [Vector], odd: &mut [Vector]) {
    let pairs = bytemuck::cast_slice::<_, [f32; 2]>(pairs);
    let even = bytemuck::cast_slice_mut::<_, f32>(even);
    let odd = bytemuck::cast_slice_mut::<_, f32>(odd);
    for ((&[first, second], even), odd) in pairs.iter().zip(even).zip(odd) {
        (*even, *odd) = (first, second);
    }
}
