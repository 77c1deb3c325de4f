//! What is computed for one block of queries.
//!
//! Weights are `exp(score - largest score)` throughout. What is divided by their sum, `inverse` being its inverse, are
//! the rows that go into a product with them or come out of it.

#![allow(unsafe_code, reason = "vectors of an instruction set that was detected; outputs that threads share")]

use super::maximum::Maximum;
use super::products::{add_outer_products, add_over_tokens, scores, weighted_scores};
use super::scratch::Vector;
use super::softmax::{derivative, exponentials};
use super::transpose::{gather, interleave, scatter, separate, to_lanes, to_rows};
use super::{Block, Directions, SharedOutput};
use crate::lanes::{Instructions, LANES};

/// Queries that lie in lanes side by side: two vectors of them where there are registers for it.
///
/// With one vector every multiply-add needs a broadcast of its own. Milliseconds with two and with one, on two cores of
/// an AVX-512 Xeon (family 6, model 167; 2026-11-22), for 64 images of 196 tokens, 8 heads of 8 channels: forward 5.3
/// and 6.2, backward 11.5 and 13.0, 7 tangents 54 and 61; for 8 images of 256 tokens, one head of 256 channels: forward
/// 2.1 and 2.3, backward 5.3 and 6.4, 7 tangents 35 and 40.
pub(super) fn queries_per_block(instructions: Instructions) -> usize {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => 2 * LANES,
        _ => LANES,
    }
}

/// Defines a function that calls `$body::<lanes of an instruction set, vectors in a row of lanes>`.
macro_rules! for_each_width {
    ($(#[$attribute:meta])* fn $name:ident calls $body:ident($($argument:ident: $kind:ty),* $(,)?)) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments, reason = "inputs and outputs of an attention")]
        pub(super) fn $name(instructions: Instructions, block: Block, $($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            unsafe fn avx512(block: Block, $($argument: $kind),*) {
                // SAFETY: passed on from the caller.
                unsafe {
                    if block.tokens <= LANES {
                        $body::<crate::lanes::Avx512, 1>(block, $($argument),*)
                    } else {
                        $body::<crate::lanes::Avx512, 2>(block, $($argument),*)
                    }
                }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            unsafe fn avx2(block: Block, $($argument: $kind),*) {
                // SAFETY: passed on from the caller.
                unsafe { $body::<crate::lanes::Avx2, 1>(block, $($argument),*) }
            }
            // SAFETY: the instructions were detected.
            unsafe {
                match instructions {
                    #[cfg(target_arch = "x86_64")]
                    Instructions::Avx512 => avx512(block, $($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    Instructions::Avx2 => avx2(block, $($argument),*),
                    #[cfg(target_arch = "aarch64")]
                    Instructions::Neon => $body::<crate::lanes::Neon, 1>(block, $($argument),*),
                    Instructions::Portable => $body::<crate::lanes::Array, 1>(block, $($argument),*),
                }
            }
        }
    };
}

/// Cuts pieces of scratch memory to their lengths.
#[inline(always)]
fn cut_to<const PIECES: usize>(
    lengths: [usize; PIECES],
    scratch: [&mut [Vector]; PIECES],
) -> [&mut [Vector]; PIECES] {
    let mut lengths = lengths.into_iter();
    scratch.map(|piece| &mut piece[..lengths.next().unwrap_or(0)])
}

/// The same factor for all queries.
#[inline(always)]
fn all<const VECTORS: usize>(factor: f32) -> [Vector; VECTORS] {
    [Vector([factor; LANES]); VECTORS]
}

for_each_width! {
    /// Writes the output for a block of queries.
    fn forward calls forward_block(
        inputs: [&[f32]; 3],
        output: SharedOutput<'_>,
        scratch: [&mut [Vector]; 4],
    )
}

#[inline(always)]
unsafe fn forward_block<V: Maximum, const VECTORS: usize>(
    block: Block,
    inputs: [&[f32]; 3],
    output: SharedOutput<'_>,
    scratch: [&mut [Vector]; 4],
) {
    let Block { image, head, first, tokens } = block;
    let shape = output.shape;
    let [queries, keys, values] = inputs;
    let queries = shape.of_queries(queries, image, head);
    let [keys, values] = [keys, values].map(|all| shape.of_keys(all, image, head));
    let (by_channel, by_key) = (queries.padded_channels() * VECTORS, shape.keys * VECTORS);
    let lengths = [by_channel, by_channel, by_channel, by_key];
    let [rows, lanes, spare, weights] = cut_to(lengths, scratch);
    gather(queries, first, tokens, &all::<VECTORS>(shape.scale()), rows);
    to_lanes::<VECTORS>(rows, lanes, spare);
    // SAFETY: the instructions are present, by the contract of `for_each_width`; nobody else writes this block.
    unsafe {
        let largest = scores::<V, VECTORS>(keys, lanes, weights);
        let inverse = exponentials(&largest, weights);
        lanes.fill(Vector::ZERO);
        add_over_tokens::<V, VECTORS>(values, weights, lanes);
        let rows = to_rows::<VECTORS>(lanes, spare);
        scatter(rows, tokens, &inverse, |query| output.token(image, head, first + query));
    }
}

/// The gradients of keys and values are added up for this many keys while their weights are in the nearest cache: two
/// tiles of 14.
pub(super) const KEYS_AT_ONCE: usize = 28;

for_each_width! {
    /// Writes the query gradients of a block, and adds its part of the other two to `sums`, `[key][channel][value
    /// gradient, key gradient]`.
    fn backward calls backward_block(
        inputs: [&[f32]; 4],
        query_gradient: SharedOutput<'_>,
        scratch: [&mut [Vector]; 8],
        sums: &mut [Vector],
    )
}

#[inline(always)]
unsafe fn backward_block<V: Maximum, const VECTORS: usize>(
    block: Block,
    inputs: [&[f32]; 4],
    query_gradient: SharedOutput<'_>,
    scratch: [&mut [Vector]; 8],
    sums: &mut [Vector],
) {
    let Block { image, head, first, tokens } = block;
    let shape = query_gradient.shape;
    let [queries, keys, values, gradient] = inputs;
    let [queries, gradient] = [queries, gradient].map(|all| shape.of_queries(all, image, head));
    let [keys, values] = [keys, values].map(|all| shape.of_keys(all, image, head));
    let (by_channel, by_key) = (queries.padded_channels() * VECTORS, shape.keys * VECTORS);
    let pairs = 2 * VECTORS * KEYS_AT_ONCE.min(shape.keys);
    let lengths = [by_channel, by_channel, by_channel, by_channel, by_key, by_key, 2 * by_channel, pairs];
    let [query_rows, gradient_rows, lanes, spare, weights, direction, right, pairs] =
        cut_to(lengths, scratch);
    let scale = all::<VECTORS>(shape.scale());
    gather(queries, first, tokens, &scale, query_rows);
    to_lanes::<VECTORS>(query_rows, lanes, spare);
    // SAFETY: the instructions are present, by the contract of `for_each_width`; nobody else writes this block.
    unsafe {
        let largest = scores::<V, VECTORS>(keys, lanes, weights);
        let inverse = exponentials(&largest, weights);
        gather(gradient, first, tokens, &inverse, gradient_rows);
        to_lanes::<VECTORS>(gradient_rows, lanes, spare);
        let products = weighted_scores::<V, VECTORS, 1>([(values, lanes)], weights, direction);
        interleave(gradient_rows, query_rows, right);
        let width = right.len() / (VECTORS * LANES);
        let keys_at_once = direction.chunks_mut(KEYS_AT_ONCE * VECTORS);
        for ((direction, weights), sums) in keys_at_once
            .zip(weights.chunks(KEYS_AT_ONCE * VECTORS))
            .zip(sums.chunks_mut(KEYS_AT_ONCE * width))
        {
            derivative::<V, VECTORS>(weights, &inverse, &products, direction);
            let pairs = &mut pairs[..2 * weights.len()];
            interleave(weights, direction, pairs);
            add_outer_products::<V, VECTORS>(pairs, tokens, right, width, sums);
        }
        lanes.fill(Vector::ZERO);
        add_over_tokens::<V, VECTORS>(keys, direction, lanes);
        let rows = to_rows::<VECTORS>(lanes, spare);
        scatter(rows, tokens, &scale, |query| query_gradient.token(image, head, first + query));
    }
}

for_each_width! {
    /// Writes the gradients of values and keys of a block of keys.
    fn store_sums calls store_block(
        sums: &[Vector],
        gradients: [SharedOutput<'_>; 2],
        scratch: [&mut [Vector]; 2],
    )
}

#[inline(always)]
unsafe fn store_block<V: Maximum, const VECTORS: usize>(
    block: Block,
    sums: &[Vector],
    gradients: [SharedOutput<'_>; 2],
    scratch: [&mut [Vector]; 2],
) {
    let Block { image, head, first, tokens } = block;
    // `sums` has two times the padded channels of every token.
    let by_channel = sums.len() * LANES / (2 * tokens) * VECTORS;
    let [values, keys] = cut_to([by_channel; 2], scratch);
    separate(sums, values, keys);
    for (rows, gradient) in [values, keys].into_iter().zip(gradients) {
        // SAFETY: nobody else writes this block.
        scatter(rows, tokens, &all::<VECTORS>(1.0), |key| unsafe {
            gradient.token(image, head, first + key)
        });
    }
}

for_each_width! {
    /// Writes all tangents of the output for a block of queries.
    fn tangent calls tangent_block(
        inputs: [&[f32]; 3],
        along: Directions<'_>,
        tangents: usize,
        output: SharedOutput<'_>,
        scratch: [&mut [Vector]; 6],
    )
}

#[inline(always)]
unsafe fn tangent_block<V: Maximum, const VECTORS: usize>(
    block: Block,
    inputs: [&[f32]; 3],
    along: Directions<'_>,
    tangents: usize,
    output: SharedOutput<'_>,
    scratch: [&mut [Vector]; 6],
) {
    let Block { image, head, first, tokens } = block;
    let shape = output.shape;
    let [queries, keys, values] = inputs;
    let queries = shape.of_queries(queries, image, head);
    let [keys, values] = [keys, values].map(|all| shape.of_keys(all, image, head));
    let (by_channel, by_key) = (queries.padded_channels() * VECTORS, shape.keys * VECTORS);
    let lengths = [by_channel, by_channel, by_channel, by_channel, by_key, by_key];
    let [rows, query_lanes, lanes, spare, weights, direction] = cut_to(lengths, scratch);
    let scale = all::<VECTORS>(shape.scale());
    gather(queries, first, tokens, &scale, rows);
    to_lanes::<VECTORS>(rows, query_lanes, spare);
    // SAFETY: the instructions are present, by the contract of `for_each_width`; nobody else writes this block.
    unsafe {
        let largest = scores::<V, VECTORS>(keys, query_lanes, weights);
        let inverse = exponentials(&largest, weights);
        for number in 0..tangents {
            let image = image * tangents + number;
            let others = along.others.map(|others| others.map(|all| shape.of_keys(all, image, head)));
            gather(shape.of_queries(along.queries, image, head), first, tokens, &scale, rows);
            to_lanes::<VECTORS>(rows, lanes, spare);
            let of_queries = (keys, &*lanes);
            let products = match others {
                Some([key_tangent, _]) => {
                    let terms = [of_queries, (key_tangent, &*query_lanes)];
                    weighted_scores::<V, VECTORS, 2>(terms, weights, direction)
                }
                None => weighted_scores::<V, VECTORS, 1>([of_queries], weights, direction),
            };
            derivative::<V, VECTORS>(weights, &inverse, &products, direction);
            lanes.fill(Vector::ZERO);
            add_over_tokens::<V, VECTORS>(values, direction, lanes);
            if let Some([_, value_tangent]) = others {
                add_over_tokens::<V, VECTORS>(value_tangent, weights, lanes);
            }
            let rows = to_rows::<VECTORS>(lanes, spare);
            scatter(rows, tokens, &inverse, |query| output.token(image, head, first + query));
        }
    }
}
