//! Scaled dot-product attention over the pixels of an image (Vaswani et al. 2017, equation 1).
//!
//! Queries, keys and values are `[images, tokens, heads * head_channels]`; a head owns consecutive channels.
//! `weights = softmax(q k' / sqrt(head_channels))` over keys, output `weights v`. The weights are never kept: the
//! backward pass and the tangent compute them again.
//!
//! Work is cut into blocks of 16 or 32 queries of one head, which lie in lanes: a score, a weight and an output of all
//! queries of a block are one or two vectors. So a head may have any number of channels without padding, and the
//! softmax needs no sum over lanes. A block's scores, `[key][query]`, stay in the nearest cache.
//!
//! Sums run over channels, keys or queries in ascending order, whatever the block; queries are multiplied by
//! `1 / sqrt(head_channels)` before, and weights divided by their sum after, the products they take part in.

#![allow(unsafe_code, reason = "heads and blocks of one output are written by several threads")]

mod blocks;
mod maximum;
mod products;
mod scratch;
mod softmax;
mod transpose;

use crate::ShapeError;
use crate::lanes::{Instructions, LANES};
use crate::product::DEEPEST_TAP;
use blocks::{KEYS_AT_ONCE, backward, forward, queries_per_block, store_sums, tangent};
use rayon::prelude::*;
use scratch::{Head, Vector, padded, with_scratch};

/// Sizes of one attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of images.
    pub images: usize,
    /// Tokens (pixels) of an image.
    pub tokens: usize,
    /// Channels over all heads.
    pub channels: usize,
    /// Number of heads; divides `channels`.
    pub heads: usize,
}

/// Most tokens of an image that attention takes.
pub const MOST_TOKENS: usize = DEEPEST_TAP;

impl AttentionShape {
    /// Checks that the heads divide the channels.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if they do not, a size is zero, or there are more than 16,384 tokens or channels.
    pub fn checked(self) -> Result<Self, ShapeError> {
        let fits = self.tokens <= DEEPEST_TAP && self.channels <= DEEPEST_TAP;
        if self.heads == 0
            || self.tokens == 0
            || self.channels == 0
            || !self.channels.is_multiple_of(self.heads)
            || !fits
        {
            return Err(ShapeError(if self.tokens == 0 || self.tokens > MOST_TOKENS {
                format!("attention: {} tokens, not 1 to {MOST_TOKENS}", self.tokens)
            } else {
                format!(
                    "attention: {} heads do not divide {} channels, or not 1 to {DEEPEST_TAP} channels",
                    self.heads, self.channels
                )
            }));
        }
        Ok(self)
    }

    /// Offset of the first value of a head.
    fn start(&self, image: usize, head: usize) -> usize {
        image * self.image_length() + head * self.head_channels()
    }

    fn head<'a>(&self, all: &'a [f32], image: usize, head: usize) -> Head<'a> {
        Head {
            values: &all[self.start(image, head)..(image + 1) * self.image_length()],
            stride: self.channels,
            tokens: self.tokens,
            channels: self.head_channels(),
        }
    }

    fn head_channels(&self) -> usize {
        self.channels / self.heads
    }

    fn image_length(&self) -> usize {
        self.tokens * self.channels
    }

    fn scale(&self) -> f32 {
        (1.0 / (self.head_channels() as f64).sqrt()) as f32
    }
}

/// Some queries (or keys) of one head of one image.
#[derive(Clone, Copy)]
struct Block {
    image: usize,
    head: usize,
    first: usize,
    tokens: usize,
}

/// How an attention is cut into blocks.
#[derive(Clone, Copy)]
struct Cut<'a> {
    shape: &'a AttentionShape,
    instructions: Instructions,
}

impl<'a> Cut<'a> {
    fn new(shape: &'a AttentionShape) -> Self {
        Self { shape, instructions: Instructions::detect() }
    }

    fn blocks_per_head(&self) -> usize {
        self.shape.tokens.div_ceil(queries_per_block(self.instructions))
    }

    /// Vectors that hold `[channel][query]` and `[key][query]` of one block.
    fn scratch_lengths(&self) -> (usize, usize) {
        let vectors = queries_per_block(self.instructions) / LANES;
        (padded(self.shape.head_channels()) * vectors, self.shape.tokens * vectors)
    }

    /// The blocks of a head in ascending order.
    fn blocks(&self, image: usize, head: usize) -> impl Iterator<Item = Block> {
        let (this, length) = (*self, queries_per_block(self.instructions));
        (0..self.blocks_per_head()).map(move |index| {
            let first = index * length;
            Block { image, head, first, tokens: length.min(this.shape.tokens - first) }
        })
    }

    /// Runs `work` on all heads of all images.
    fn for_each_head(&self, work: impl Fn(usize, usize) + Sync) {
        let heads = self.shape.heads;
        (0..self.shape.images * heads).into_par_iter().for_each(|index| work(index / heads, index % heads));
    }

    /// Runs `work` on all blocks of all heads and images.
    fn for_each_block(&self, work: impl Fn(Block) + Sync) {
        let (heads, per_head) = (self.shape.heads, self.blocks_per_head());
        (0..self.shape.images * heads * per_head).into_par_iter().for_each(|index| {
            let head = index / per_head;
            self.blocks(head / heads, head % heads).skip(index % per_head).take(1).for_each(&work);
        });
    }
}

/// An output that several threads write, each its own tokens or heads.
#[derive(Clone, Copy)]
struct SharedOutput<'a> {
    values: *mut f32,
    length: usize,
    shape: &'a AttentionShape,
}

// SAFETY: no two threads write the same token of the same head, by the contract of `token`.
unsafe impl Send for SharedOutput<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput<'_> {}

impl<'a> SharedOutput<'a> {
    fn new(shape: &'a AttentionShape, values: &'a mut [f32]) -> Self {
        Self { values: values.as_mut_ptr(), length: values.len(), shape }
    }

    /// The channels of one token of one head.
    ///
    /// # Safety
    ///
    /// No one else uses the channels of this token and head meanwhile.
    #[inline(always)]
    unsafe fn token(&self, image: usize, head: usize, token: usize) -> &'a mut [f32] {
        let channels = self.shape.head_channels();
        let start = self.shape.start(image, head) + token * self.shape.channels;
        assert!(start + channels <= self.length, "the token lies outside the output");
        // SAFETY: inside the allocation, by the assertion; not used by others, by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(start), channels) }
    }
}

fn check(shape: &AttentionShape, lengths: &[usize]) {
    for &length in lengths {
        assert_eq!(length, shape.images * shape.image_length(), "length of an attention's slice");
    }
}

/// `output = softmax(q k' / sqrt(head_channels)) v` for every head of every image.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
pub fn attention(shape: &AttentionShape, queries: &[f32], keys: &[f32], values: &[f32], output: &mut [f32]) {
    attention_of(Cut::new(shape), [queries, keys, values], output);
}

fn attention_of(cut: Cut<'_>, inputs: [&[f32]; 3], output: &mut [f32]) {
    check(cut.shape, &inputs.map(<[f32]>::len));
    check(cut.shape, &[output.len()]);
    let output = SharedOutput::new(cut.shape, output);
    let (by_channel, by_key) = cut.scratch_lengths();
    cut.for_each_block(|block| {
        with_scratch([by_channel, by_channel, by_channel, by_key], |scratch| {
            forward(cut.instructions, block, inputs, output, scratch);
        });
    });
}

/// Gradients with respect to queries, keys and values.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
#[allow(clippy::too_many_arguments, reason = "four inputs and three outputs")]
pub fn attention_backward(
    shape: &AttentionShape,
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    output_gradient: &[f32],
    query_gradient: &mut [f32],
    key_gradient: &mut [f32],
    value_gradient: &mut [f32],
) {
    let gradients = [query_gradient, key_gradient, value_gradient];
    attention_backward_of(Cut::new(shape), [queries, keys, values, output_gradient], gradients);
}

fn attention_backward_of(cut: Cut<'_>, inputs: [&[f32]; 4], gradients: [&mut [f32]; 3]) {
    let shape = cut.shape;
    check(shape, &inputs.map(<[f32]>::len));
    check(shape, &gradients.each_ref().map(|gradient| gradient.len()));
    let [of_queries, of_keys, of_values] = gradients.map(|gradient| SharedOutput::new(shape, gradient));
    let (by_channel, by_key) = cut.scratch_lengths();
    let width = 2 * padded(shape.head_channels()) / LANES;
    let lengths = [
        shape.tokens * width,
        by_channel,
        by_channel,
        by_channel,
        by_channel,
        by_key,
        by_key,
        2 * by_channel,
        2 * by_key.min(KEYS_AT_ONCE * queries_per_block(cut.instructions) / LANES),
    ];
    cut.for_each_head(|image, head| {
        with_scratch(lengths, |[sums, mut scratch @ ..]| {
            sums.fill(Vector::ZERO);
            // In order: every block adds to the same sums over queries.
            for block in cut.blocks(image, head) {
                let scratch = scratch.each_mut().map(|piece| &mut **piece);
                backward(cut.instructions, block, inputs, of_queries, scratch, sums);
            }
            let [rows, other_rows, ..] = scratch;
            for block in cut.blocks(image, head) {
                let rows = [&mut *rows, &mut *other_rows];
                let sums = &sums[block.first * width..][..block.tokens * width];
                store_sums(cut.instructions, block, sums, [of_values, of_keys], rows);
            }
        });
    });
}

/// Tangent: the derivative of the output along tangents of queries, keys and values,
/// each `[images, tangents, tokens, channels]`.
///
/// # Panics
///
/// If a slice has not the length that `shape` and the number of tangents say.
#[allow(clippy::too_many_arguments, reason = "three inputs, their tangents and an output")]
pub fn attention_tangent(
    shape: &AttentionShape,
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    query_tangent: &[f32],
    key_tangent: &[f32],
    value_tangent: &[f32],
    output: &mut [f32],
) {
    let (inputs, directions) = ([queries, keys, values], [query_tangent, key_tangent, value_tangent]);
    attention_tangent_of(Cut::new(shape), inputs, directions, output);
}

fn attention_tangent_of(cut: Cut<'_>, inputs: [&[f32]; 3], directions: [&[f32]; 3], output: &mut [f32]) {
    check(cut.shape, &inputs.map(<[f32]>::len));
    let length = inputs[0].len();
    if length == 0 {
        return;
    }
    let tangents = output.len() / length;
    for of_all in directions.map(<[f32]>::len).into_iter().chain([output.len()]) {
        assert_eq!(of_all, tangents * length, "length of an attention's tangent");
    }
    let output = SharedOutput::new(cut.shape, output);
    let (by_channel, by_key) = cut.scratch_lengths();
    let lengths = [by_channel, by_channel, by_channel, by_channel, by_key, by_key];
    cut.for_each_block(|block| {
        with_scratch(lengths, |scratch| {
            tangent(cut.instructions, block, inputs, directions, tangents, output, scratch);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(seed: usize, length: usize) -> Vec<f32> {
        (0..length).map(|at| ((at * 7919 + seed * 104_729) % 2003) as f32 / 600.0 - 1.6).collect()
    }

    /// Blocks, tiles and vectors of every instruction set end at other tokens and channels.
    #[test]
    fn every_border_has_the_same_bytes_on_every_instruction_set() {
        for (tokens, head_channels) in
            [(1, 8), (7, 1), (15, 3), (16, 16), (17, 8), (31, 5), (32, 24), (33, 40), (49, 8), (61, 9)]
        {
            let shape = AttentionShape { images: 2, tokens, channels: 2 * head_channels, heads: 2 };
            let length = 2 * tokens * 2 * head_channels;
            let [q, k, v, d] = [0, 1, 2, 3].map(|seed| made(seed, length));
            let [dq, dk, dv] = [4, 5, 6].map(|seed| made(seed, 3 * length));
            let results: Vec<_> = Instructions::available()
                .into_iter()
                .map(|instructions| {
                    let cut = Cut { shape: &shape, instructions };
                    let [mut y, mut of_q, mut of_k, mut of_v] = [0; 4].map(|_| vec![f32::NAN; length]);
                    let mut along = vec![f32::NAN; 3 * length];
                    attention_of(cut, [&q, &k, &v], &mut y);
                    attention_backward_of(cut, [&q, &k, &v, &d], [&mut of_q, &mut of_k, &mut of_v]);
                    attention_tangent_of(cut, [&q, &k, &v], [&dq, &dk, &dv], &mut along);
                    [y, of_q, of_k, of_v, along]
                        .map(|all| all.into_iter().map(f32::to_bits).collect::<Vec<_>>())
                })
                .collect();
            for (other, instructions) in results.iter().zip(Instructions::available()) {
                assert!(
                    other == &results[0],
                    "{tokens} tokens, {head_channels} channels on {instructions:?}"
                );
            }
        }
    }
}
