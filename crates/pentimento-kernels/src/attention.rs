//! Scaled dot-product attention over the tokens of an image (Vaswani et al. 2017, equation 1): its pixels among
//! themselves, or its pixels over the tokens of a text.
//!
//! Queries are `[images, queries, heads * head_channels]`, keys and values `[images, keys, heads * head_channels]`; a head
//! owns consecutive channels.
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
    /// Tokens of an image that ask: its pixels.
    pub queries: usize,
    /// Tokens of an image that are asked, each with a key and a value: its pixels, or those of a text.
    pub keys: usize,
    /// Channels over all heads.
    pub channels: usize,
    /// Number of heads; divides `channels`.
    pub heads: usize,
}

/// Most queries, and most keys, of an image that attention takes.
pub const MOST_TOKENS: usize = DEEPEST_TAP;

impl AttentionShape {
    /// Checks that the heads divide the channels.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if they do not, a size is zero, or there are more than 16,384 tokens or channels.
    pub fn checked(self) -> Result<Self, ShapeError> {
        for (what, tokens) in [("queries", self.queries), ("keys", self.keys)] {
            if !(1..=MOST_TOKENS).contains(&tokens) {
                return Err(ShapeError(format!("attention: {tokens} {what}, not 1 to {MOST_TOKENS}")));
            }
        }
        let fits = (1..=DEEPEST_TAP).contains(&self.channels);
        if self.heads == 0 || !fits || !self.channels.is_multiple_of(self.heads) {
            return Err(ShapeError(format!(
                "attention: {} heads do not divide {} channels, or not 1 to {DEEPEST_TAP} channels",
                self.heads, self.channels
            )));
        }
        Ok(self)
    }

    /// One head of the queries of an image, or of what has a value for each of them.
    fn of_queries<'a>(&self, all: &'a [f32], image: usize, head: usize) -> Head<'a> {
        self.head(self.queries, all, image, head)
    }

    /// One head of the keys or values of an image.
    fn of_keys<'a>(&self, all: &'a [f32], image: usize, head: usize) -> Head<'a> {
        self.head(self.keys, all, image, head)
    }

    fn head<'a>(&self, tokens: usize, all: &'a [f32], image: usize, head: usize) -> Head<'a> {
        let length = tokens * self.channels;
        Head {
            values: &all[image * length + head * self.head_channels()..(image + 1) * length],
            stride: self.channels,
            tokens,
            channels: self.head_channels(),
        }
    }

    fn head_channels(&self) -> usize {
        self.channels / self.heads
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
        self.shape.queries.div_ceil(queries_per_block(self.instructions))
    }

    /// Vectors that hold `[channel][query]` and `[key][query]` of one block.
    fn scratch_lengths(&self) -> (usize, usize) {
        let vectors = queries_per_block(self.instructions) / LANES;
        (padded(self.shape.head_channels()) * vectors, self.shape.keys * vectors)
    }

    /// So many tokens of a head in blocks, in ascending order.
    fn blocks(&self, image: usize, head: usize, tokens: usize) -> impl Iterator<Item = Block> {
        let length = queries_per_block(self.instructions);
        (0..tokens.div_ceil(length)).map(move |index| {
            let first = index * length;
            Block { image, head, first, tokens: length.min(tokens - first) }
        })
    }

    /// Runs `work` on all heads of all images.
    fn for_each_head(&self, work: impl Fn(usize, usize) + Sync) {
        let heads = self.shape.heads;
        (0..self.shape.images * heads).into_par_iter().for_each(|index| work(index / heads, index % heads));
    }

    /// Runs `work` on all blocks of queries of all heads and images.
    fn for_each_block(&self, work: impl Fn(Block) + Sync) {
        let (heads, per_head) = (self.shape.heads, self.blocks_per_head());
        (0..self.shape.images * heads * per_head).into_par_iter().for_each(|index| {
            let head = index / per_head;
            let blocks = self.blocks(head / heads, head % heads, self.shape.queries);
            blocks.skip(index % per_head).take(1).for_each(&work);
        });
    }
}

/// An output that several threads write, each its own tokens or heads.
#[derive(Clone, Copy)]
struct SharedOutput<'a> {
    values: *mut f32,
    length: usize,
    shape: &'a AttentionShape,
    /// Tokens of an image: as many as queries, or as many as keys.
    tokens: usize,
}

// SAFETY: no two threads write the same token of the same head, by the contract of `token`.
unsafe impl Send for SharedOutput<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput<'_> {}

impl<'a> SharedOutput<'a> {
    fn of_queries(shape: &'a AttentionShape, values: &'a mut [f32]) -> Self {
        Self { values: values.as_mut_ptr(), length: values.len(), shape, tokens: shape.queries }
    }

    fn of_keys(shape: &'a AttentionShape, values: &'a mut [f32]) -> Self {
        Self { tokens: shape.keys, ..Self::of_queries(shape, values) }
    }

    /// The channels of one token of one head.
    ///
    /// # Safety
    ///
    /// No one else uses the channels of this token and head meanwhile.
    #[inline(always)]
    unsafe fn token(&self, image: usize, head: usize, token: usize) -> &'a mut [f32] {
        let channels = self.shape.head_channels();
        let start = (image * self.tokens + token) * self.shape.channels + head * channels;
        assert!(start + channels <= self.length, "the token lies outside the output");
        // SAFETY: inside the allocation, by the assertion; not used by others, by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(start), channels) }
    }
}

fn check(shape: &AttentionShape, of_queries: &[usize], of_keys: &[usize]) {
    for (lengths, tokens) in [(of_queries, shape.queries), (of_keys, shape.keys)] {
        for &length in lengths {
            assert_eq!(length, shape.images * tokens * shape.channels, "length of an attention's slice");
        }
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
    let [queries, keys, values] = inputs.map(<[f32]>::len);
    check(cut.shape, &[queries, output.len()], &[keys, values]);
    let output = SharedOutput::of_queries(cut.shape, output);
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
    let [queries, keys, values, upstream] = inputs.map(<[f32]>::len);
    let [of_queries, of_keys, of_values] = gradients;
    check(shape, &[queries, upstream, of_queries.len()], &[keys, values, of_keys.len(), of_values.len()]);
    let of_queries = SharedOutput::of_queries(shape, of_queries);
    let [of_keys, of_values] = [of_keys, of_values].map(|gradient| SharedOutput::of_keys(shape, gradient));
    let (by_channel, by_key) = cut.scratch_lengths();
    let width = 2 * padded(shape.head_channels()) / LANES;
    let lengths = [
        shape.keys * width,
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
            for block in cut.blocks(image, head, shape.queries) {
                let scratch = scratch.each_mut().map(|piece| &mut **piece);
                backward(cut.instructions, block, inputs, of_queries, scratch, sums);
            }
            let [rows, other_rows, ..] = scratch;
            for block in cut.blocks(image, head, shape.keys) {
                let rows = [&mut *rows, &mut *other_rows];
                let sums = &sums[block.first * width..][..block.tokens * width];
                store_sums(cut.instructions, block, sums, [of_values, of_keys], rows);
            }
        });
    });
}

/// Tangent: the derivative of the output along tangents of queries, `[images, tangents, queries, channels]`, and of keys
/// and values, `[images, tangents, keys, channels]`.
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
    let along = Directions { queries: query_tangent, others: Some([key_tangent, value_tangent]) };
    attention_tangent_of(Cut::new(shape), [queries, keys, values], along, output);
}

/// [`attention_tangent`] where keys and values stand still, as those of a text do when its image moves.
///
/// # Panics
///
/// As [`attention_tangent`].
pub fn attention_query_tangent(
    shape: &AttentionShape,
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    query_tangent: &[f32],
    output: &mut [f32],
) {
    let along = Directions { queries: query_tangent, others: None };
    attention_tangent_of(Cut::new(shape), [queries, keys, values], along, output);
}

/// Directions of queries and, if they move too, of keys and values.
#[derive(Clone, Copy)]
struct Directions<'a> {
    queries: &'a [f32],
    others: Option<[&'a [f32]; 2]>,
}

fn attention_tangent_of(cut: Cut<'_>, inputs: [&[f32]; 3], along: Directions<'_>, output: &mut [f32]) {
    let [queries, keys, values] = inputs.map(<[f32]>::len);
    check(cut.shape, &[queries], &[keys, values]);
    if queries == 0 {
        return;
    }
    let tangents = output.len() / queries;
    for length in [along.queries.len(), output.len()] {
        assert_eq!(length, tangents * queries, "length of an attention's tangent");
    }
    for direction in along.others.iter().flatten() {
        assert_eq!(direction.len(), tangents * keys, "length of an attention's tangent");
    }
    let output = SharedOutput::of_queries(cut.shape, output);
    let (by_channel, by_key) = cut.scratch_lengths();
    let lengths = [by_channel, by_channel, by_channel, by_channel, by_key, by_key];
    cut.for_each_block(|block| {
        with_scratch(lengths, |scratch| {
            tangent(cut.instructions, block, inputs, along, tangents, output, scratch);
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
        for (queries, keys, head_channels) in [
            (1, 1, 8),
            (7, 7, 1),
            (15, 15, 3),
            (16, 16, 16),
            (17, 17, 8),
            (31, 31, 5),
            (32, 32, 24),
            (33, 33, 40),
            (49, 49, 8),
            (61, 61, 9),
            (33, 1, 8),
            (17, 77, 40),
            (64, 29, 3),
        ] {
            let shape = AttentionShape { images: 2, queries, keys, channels: 2 * head_channels, heads: 2 };
            let [of_queries, of_keys] = [queries, keys].map(|tokens| 2 * tokens * 2 * head_channels);
            let [q, d] = [0, 3].map(|seed| made(seed, of_queries));
            let [k, v] = [1, 2].map(|seed| made(seed, of_keys));
            let dq = made(4, 3 * of_queries);
            let [dk, dv] = [5, 6].map(|seed| made(seed, 3 * of_keys));
            let results: Vec<_> = Instructions::available()
                .into_iter()
                .map(|instructions| {
                    let cut = Cut { shape: &shape, instructions };
                    let [mut y, mut of_q] = [0; 2].map(|_| vec![f32::NAN; of_queries]);
                    let [mut of_k, mut of_v] = [0; 2].map(|_| vec![f32::NAN; of_keys]);
                    let [mut along, mut along_queries] = [0; 2].map(|_| vec![f32::NAN; 3 * of_queries]);
                    attention_of(cut, [&q, &k, &v], &mut y);
                    attention_backward_of(cut, [&q, &k, &v, &d], [&mut of_q, &mut of_k, &mut of_v]);
                    let all = Directions { queries: &dq, others: Some([&dk, &dv]) };
                    attention_tangent_of(cut, [&q, &k, &v], all, &mut along);
                    let of_queries = Directions { queries: &dq, others: None };
                    attention_tangent_of(cut, [&q, &k, &v], of_queries, &mut along_queries);
                    [y, of_q, of_k, of_v, along, along_queries]
                        .map(|all| all.into_iter().map(f32::to_bits).collect::<Vec<_>>())
                })
                .collect();
            for (other, instructions) in results.iter().zip(Instructions::available()) {
                assert!(
                    other == &results[0],
                    "{queries} queries, {keys} keys, {head_channels} channels on {instructions:?}"
                );
            }
        }
    }
}
