//! Scaled dot-product attention over the pixels of an image (Vaswani et al. 2017, equation 1).
//!
//! Queries, keys and values are `[images, tokens, heads * head_channels]`; a head owns consecutive channels.
//! `weights = softmax(q k' / sqrt(head_channels))` over keys, output `weights v`. The weights are never kept: the
//! backward pass and the tangent compute them again.

use crate::ShapeError;
use crate::activation::exp;
use crate::lanes::{Instructions, LANES, for_each_instruction_set};
use crate::product::{
    DEEPEST_TAP, Panels, RowTable, SharedOutput, Strides, TransposedJob, multiply_rows, multiply_transposed,
};
use rayon::prelude::*;

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

impl AttentionShape {
    /// Checks that the heads divide the channels.
    ///
    /// # Errors
    ///
    /// [`ShapeError`] if they do not, a size is zero, or there are too many tokens for one product.
    pub fn checked(self) -> Result<Self, ShapeError> {
        let fits = self.tokens <= DEEPEST_TAP && self.channels <= DEEPEST_TAP;
        if self.heads == 0
            || self.tokens == 0
            || self.channels == 0
            || !self.channels.is_multiple_of(self.heads)
            || !fits
        {
            return Err(ShapeError(format!(
                "attention: {} heads do not divide {} channels, or not 1 to {DEEPEST_TAP} tokens: {}",
                self.heads, self.channels, self.tokens
            )));
        }
        Ok(self)
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

/// One head of one image, `[tokens, padded]` with the channels padded by zeros to whole vectors.
struct Head {
    values: Vec<f32>,
    tokens: usize,
    channels: usize,
    padded: usize,
}

impl Head {
    fn empty(shape: &AttentionShape) -> Self {
        let channels = shape.head_channels();
        let padded = channels.next_multiple_of(LANES);
        Self { values: vec![0.0; shape.tokens * padded], tokens: shape.tokens, channels, padded }
    }

    fn gather(shape: &AttentionShape, image: &[f32], head: usize) -> Self {
        let mut gathered = Self::empty(shape);
        let first = head * gathered.channels;
        for (row, source) in
            gathered.values.chunks_exact_mut(gathered.padded).zip(image.chunks_exact(shape.channels))
        {
            row[..gathered.channels].copy_from_slice(&source[first..first + gathered.channels]);
        }
        gathered
    }

    fn scatter(&self, shape: &AttentionShape, head: usize, image: &mut [f32]) {
        let first = head * self.channels;
        for (row, target) in self.values.chunks_exact(self.padded).zip(image.chunks_exact_mut(shape.channels))
        {
            target[first..first + self.channels].copy_from_slice(&row[..self.channels]);
        }
    }

    /// As the right side of a product over channels: `left * self'`, `[tokens, tokens]`.
    fn transposed_panels(&self) -> Panels {
        let strides = Strides { tap: 0, depth: 1, column: self.padded };
        Panels::pack(&self.values, 1, self.channels, self.tokens, strides)
    }

    /// As the right side of a product over tokens: `left * self`, `[tokens, channels]`.
    fn panels(&self) -> Panels {
        let strides = Strides { tap: 0, depth: self.padded, column: 1 };
        Panels::pack(&self.values, 1, self.tokens, self.channels, strides)
    }
}

/// The products of one attention with tables that all heads share.
struct Products {
    instructions: Instructions,
    tokens: usize,
    /// Rows of a head to rows of `[tokens, tokens]`.
    to_square: RowTable,
    /// Rows of `[tokens, tokens]` to rows of a head.
    from_square: RowTable,
    square_offsets: Vec<u32>,
}

impl Products {
    fn new(shape: &AttentionShape) -> Self {
        let padded = shape.head_channels().next_multiple_of(LANES);
        Self {
            instructions: Instructions::detect(),
            tokens: shape.tokens,
            to_square: RowTable::plain(shape.tokens, padded, shape.tokens),
            from_square: RowTable::plain(shape.tokens, shape.tokens, padded),
            square_offsets: (0..shape.tokens).map(|row| (row * shape.tokens) as u32).collect(),
        }
    }

    /// `left * right'`, `[tokens, tokens]`.
    fn square(&self, left: &Head, right: &Panels) -> Vec<f32> {
        let mut output = vec![0.0; self.tokens * self.tokens];
        let target = SharedOutput::new(&mut output);
        let nothing = vec![0.0; self.tokens];
        multiply_rows(
            self.instructions,
            &left.values,
            &self.to_square,
            0..self.tokens,
            right,
            &nothing,
            None,
            target,
        );
        output
    }

    /// `square * right`, added to nothing.
    fn apply(&self, square: &[f32], right: &Panels, target: &mut Head) {
        let place = SharedOutput::new(&mut target.values);
        let nothing = vec![0.0; right.columns()];
        multiply_rows(
            self.instructions,
            square,
            &self.from_square,
            0..self.tokens,
            right,
            &nothing,
            None,
            place,
        );
    }

    /// `square' * right`.
    fn apply_transposed(&self, square: &[f32], right: &Head, target: &mut Head) {
        let mut dense = vec![0.0; self.tokens * right.channels];
        let job = TransposedJob {
            left: square,
            offsets: &self.square_offsets,
            left_columns: 0..self.tokens,
            right: &right.values,
            right_stride: right.padded,
            right_columns: right.channels,
        };
        multiply_transposed(self.instructions, &job, &mut dense);
        for (row, source) in
            target.values.chunks_exact_mut(right.padded).zip(dense.chunks_exact(right.channels))
        {
            row[..right.channels].copy_from_slice(source);
        }
    }

    /// Softmax of the scaled products of queries and keys.
    fn weights(&self, shape: &AttentionShape, queries: &Head, keys: &Head) -> Vec<f32> {
        let mut square = self.square(queries, &keys.transposed_panels());
        softmax_rows(shape.tokens, shape.scale(), &mut square);
        square
    }
}

/// Sums in sixteen lanes, whatever the width of the processor's vectors, then over the lanes in order.
#[inline(always)]
fn lane_sum(values: &[f32], term: impl Fn(usize, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (chunk_index, chunk) in values.chunks(LANES).enumerate() {
        for (lane, &value) in chunk.iter().enumerate() {
            lanes[lane] += term(chunk_index * LANES + lane, value);
        }
    }
    lanes.iter().sum()
}

for_each_instruction_set! {
    /// `softmax(scale * row)` of each row, in place.
    fn softmax_rows(columns: usize, scale: f32, square: &mut [f32]) {
        for row in square.chunks_exact_mut(columns) {
            let largest = row.iter().fold(f32::NEG_INFINITY, |largest, &value| largest.max(value));
            for value in row.iter_mut() {
                *value = exp((*value - largest) * scale);
            }
            let inverse = 1.0 / lane_sum(row, |_, value| value);
            for value in row.iter_mut() {
                *value *= inverse;
            }
        }
    }
}

for_each_instruction_set! {
    /// `direction = scale * weights * (direction - sum over the row of weights * direction)`: the derivative of the
    /// softmax, which is symmetric, so backward pass and tangent share it.
    fn softmax_derivative(columns: usize, scale: f32, weights: &[f32], direction: &mut [f32]) {
        for (row, weights) in direction.chunks_exact_mut(columns).zip(weights.chunks_exact(columns)) {
            let mean = lane_sum(row, |at, value| value * weights[at]);
            for (value, weight) in row.iter_mut().zip(weights) {
                *value = scale * weight * (*value - mean);
            }
        }
    }
}

/// Attention.
///
/// # Panics
///
/// If a slice has not the length that `shape` says.
pub fn attention(shape: &AttentionShape, queries: &[f32], keys: &[f32], values: &[f32], output: &mut [f32]) {
    check(shape, &[queries.len(), keys.len(), values.len(), output.len()]);
    let (length, products) = (shape.image_length(), Products::new(shape));
    output.par_chunks_exact_mut(length).enumerate().for_each(|(image, output)| {
        let of = |all: &[f32], head: usize| Head::gather(shape, &all[image * length..][..length], head);
        for head in 0..shape.heads {
            let weights = products.weights(shape, &of(queries, head), &of(keys, head));
            let mut result = Head::empty(shape);
            products.apply(&weights, &of(values, head).panels(), &mut result);
            result.scatter(shape, head, output);
        }
    });
}

fn check(shape: &AttentionShape, lengths: &[usize]) {
    for &length in lengths {
        assert_eq!(length, shape.images * shape.image_length(), "length of an attention's slice");
    }
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
    check(shape, &[queries.len(), keys.len(), values.len(), output_gradient.len()]);
    check(shape, &[query_gradient.len(), key_gradient.len(), value_gradient.len()]);
    let (length, products) = (shape.image_length(), Products::new(shape));
    query_gradient
        .par_chunks_exact_mut(length)
        .zip(key_gradient.par_chunks_exact_mut(length))
        .zip(value_gradient.par_chunks_exact_mut(length))
        .enumerate()
        .for_each(|(image, ((query_gradient, key_gradient), value_gradient))| {
            let of = |all: &[f32], head: usize| Head::gather(shape, &all[image * length..][..length], head);
            for head in 0..shape.heads {
                let (q, k, v, d) =
                    (of(queries, head), of(keys, head), of(values, head), of(output_gradient, head));
                let weights = products.weights(shape, &q, &k);
                let mut result = Head::empty(shape);
                products.apply_transposed(&weights, &d, &mut result);
                result.scatter(shape, head, value_gradient);
                let mut score_gradient = products.square(&d, &v.transposed_panels());
                softmax_derivative(shape.tokens, shape.scale(), &weights, &mut score_gradient);
                products.apply(&score_gradient, &k.panels(), &mut result);
                result.scatter(shape, head, query_gradient);
                products.apply_transposed(&score_gradient, &q, &mut result);
                result.scatter(shape, head, key_gradient);
            }
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
    check(shape, &[queries.len(), keys.len(), values.len()]);
    if queries.is_empty() {
        return;
    }
    let tangents = output.len() / queries.len();
    for length in [query_tangent.len(), key_tangent.len(), value_tangent.len(), output.len()] {
        assert_eq!(length, tangents * queries.len(), "length of an attention's tangent");
    }
    if tangents == 0 {
        return;
    }
    let (length, products) = (shape.image_length(), Products::new(shape));
    output.par_chunks_exact_mut(tangents * length).enumerate().for_each(|(image, output)| {
        let of = |all: &[f32], image: usize, head: usize| {
            Head::gather(shape, &all[image * length..][..length], head)
        };
        for head in 0..shape.heads {
            let (q, k, v) = (of(queries, image, head), of(keys, image, head), of(values, image, head));
            let weights = products.weights(shape, &q, &k);
            let (key_panels, value_panels) = (k.transposed_panels(), v.panels());
            for (index, output) in output.chunks_exact_mut(length).enumerate() {
                let at = image * tangents + index;
                let (dq, dk, dv) =
                    (of(query_tangent, at, head), of(key_tangent, at, head), of(value_tangent, at, head));
                let mut scores = products.square(&dq, &key_panels);
                let other = products.square(&q, &dk.transposed_panels());
                add_to(&mut scores, &other);
                softmax_derivative(shape.tokens, shape.scale(), &weights, &mut scores);
                let (mut result, mut direct) = (Head::empty(shape), Head::empty(shape));
                products.apply(&scores, &value_panels, &mut result);
                products.apply(&weights, &dv.panels(), &mut direct);
                add_to(&mut result.values, &direct.values);
                result.scatter(shape, head, output);
            }
        }
    });
}

fn add_to(sum: &mut [f32], other: &[f32]) {
    for (a, b) in sum.iter_mut().zip(other) {
        *a += b;
    }
}
