//! The few tensor operations that decide the speed of a diffusion U-Net.
//!
//! Activations are `[images, height, width, channels]` (channels last) throughout. The slice functions at the root are
//! the fast CPU kernels for `f32`; [`reference`](mod@reference) has plain loops for any float, the measure of the fast ones and the path
//! for `f64`; [`extension`] makes both available to Burn tensors, with backward passes for its automatic
//! differentiation and tangents for forward mode.
//!
//! Results have the same bytes for any number of threads, any cut of the images into batches, and any vector width.

#[macro_use]
mod instructions;

mod activation;
mod attention;
mod blocks;
mod concatenate;
mod conv2d;
mod conv_shape;
mod dense;
pub mod extension;
mod gelu;
mod group_norm;
mod lanes;
mod layer_norm;
mod memory;
mod packing;
mod peak;
mod product;
mod query_products;
pub mod reference;
mod sign_form;
mod softmax_part;
mod upsample;
mod weight_values;
mod widen;
mod winograd;

pub use activation::{silu, silu_times_slope};
pub use attention::{
    AttentionShape, MOST_TOKENS, attention, attention_backward, attention_query_tangent, attention_tangent,
};
pub use concatenate::{concatenate, split};
pub use conv_shape::{ConvAddends, ConvGeometry, ConvShape};
pub use conv2d::{
    bias_backward, conv2d, conv2d_backward_input, conv2d_backward_weight, conv2d_backward_weight_of_taps,
    conv2d_on, conv2d_with,
};
pub use gelu::{Gelu, geglu, geglu_backward, geglu_tangent, gelu, gelu_times_slope};
pub use group_norm::{
    GroupNormShape, group_norm, group_norm_backward, group_norm_statistics, group_norm_tangent,
};
pub use lanes::Instructions;
pub use layer_norm::{LayerNormShape, layer_norm, layer_norm_backward, layer_norm_tangent};
pub use memory::buffers_made;
pub use peak::multiply_adds_in_registers;
pub use query_products::PackedQueries;
pub use sign_form::{BitPatterns, SignForm, SignFormBound};
pub use softmax_part::{SoftmaxPart, softmax_part};
pub use upsample::{upsample_nearest, upsample_nearest_backward};
pub use widen::{widen_bf16, widen_f16};

use memory::Buffer;
use rayon::prelude::*;
use std::ops::Range;

/// The version of everything that computes bytes of results: these kernels, and what the other crates do with them in
/// the network, training, sampling, attribution and the classifier.
///
/// Raise it by one with a change after which the same inputs give other bytes, even if only a last digit differs. What
/// was computed by another version is then not mixed with what this one computes: samples, attribution and classifier
/// are made again, an unfinished training of another version is refused, and finished members are kept, as a member is
/// whole whoever trained it. 0 stands for programs that did not record a version.
pub const NUMERICS_VERSION: u32 = 3;

/// Sizes that do not fit together; the text names the operation and the sizes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

/// Values that one task adds up: enough that starting a task does not count, and few enough for the first-level cache.
const VALUES_OF_A_TASK: usize = 8192;

/// Images are summed in this many chunks of consecutive images, whatever the number of threads.
const CHUNKS_OF_A_SUM: usize = 8;

/// The sum over images of what `add` adds for a chunk of consecutive images, in an order that depends on the number of
/// images only: chunks are added in order, and `add` keeps an order inside a chunk.
fn fixed_sum(images: usize, target: &mut [f32], add: impl Fn(Range<usize>, &mut [f32]) + Sync) {
    let chunk = images.div_ceil(CHUNKS_OF_A_SUM).max(1);
    let sums: Vec<Buffer> = (0..images.div_ceil(chunk))
        .into_par_iter()
        .map(|index| {
            let mut sum = Buffer::new(target.len());
            sum.values().fill(0.0);
            add(index * chunk..((index + 1) * chunk).min(images), sum.values());
            sum
        })
        .collect();
    target.par_chunks_mut(VALUES_OF_A_TASK).enumerate().for_each(|(task, target)| {
        target.fill(0.0);
        for sum in &sums {
            for (total, value) in target.iter_mut().zip(&sum.as_slice()[task * VALUES_OF_A_TASK..]) {
                *total += value;
            }
        }
    });
}

/// Two sums over images at once, image after image.
fn fixed_sum_pair<'a>(
    images: usize,
    first: &mut [f32],
    second: &mut [f32],
    parts: impl Fn(usize) -> (&'a [f32], &'a [f32]),
) {
    first.fill(0.0);
    second.fill(0.0);
    for image in 0..images {
        let (a, b) = parts(image);
        for (total, value) in first.iter_mut().zip(a) {
            *total += value;
        }
        for (total, value) in second.iter_mut().zip(b) {
            *total += value;
        }
    }
}
