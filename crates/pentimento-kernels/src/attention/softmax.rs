//! The softmax over keys and its derivative, sixteen queries side by side: no sum ever crosses lanes.
//!
//! Mostly plain Rust that the compiler vectorises inside functions compiled for an instruction set.

#![allow(unsafe_code, reason = "vector intrinsics")]

use super::scratch::Vector;
use crate::activation::exp;
use crate::lanes::{LANES, Lanes};

/// Replaces scores `[key][lane]` by `exp(score - largest score of the lane)`; returns the inverse of their sums.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "a lane of several vectors")]
pub(super) fn exponentials<const VECTORS: usize>(
    largest: &[Vector; VECTORS],
    scores: &mut [Vector],
) -> [Vector; VECTORS] {
    let rows = scores.as_chunks_mut::<VECTORS>().0;
    let mut inverse = [Vector::ZERO; VECTORS];
    for index in 0..VECTORS {
        let largest = largest[index].0;
        let mut sum = [0.0f32; LANES];
        for row in rows.iter_mut() {
            let scores = &mut row[index].0;
            for lane in 0..LANES {
                let power = exp(scores[lane] - largest[lane]);
                scores[lane] = power;
                sum[lane] += power;
            }
        }
        for lane in 0..LANES {
            inverse[index].0[lane] = 1.0 / sum[lane];
        }
    }
    inverse
}

/// `direction = weights * (direction - mean)`: the derivative of the softmax, which is symmetric, so backward pass and
/// tangent share it.
///
/// `weights` are those of [`exponentials`] and lack a factor `inverse`, and so does the result; `sums` are those over
/// keys of `weights * direction` and lack it too.
///
/// # Safety
///
/// The instructions of `V` are present.
#[inline(always)]
pub(super) unsafe fn derivative<V: Lanes, const VECTORS: usize>(
    weights: &[Vector],
    inverse: &[Vector; VECTORS],
    sums: &[Vector; VECTORS],
    direction: &mut [Vector],
) {
    let (directions, weights) = (direction.as_chunks_mut::<VECTORS>().0, weights.as_chunks::<VECTORS>().0);
    for index in 0..VECTORS {
        // SAFETY: every `Vector` has the sixteen values that are loaded and stored.
        unsafe {
            let inverse = V::load(inverse[index].0.as_ptr());
            let mean = V::zero().multiply_add(inverse, V::load(sums[index].0.as_ptr()));
            let minus_mean = V::zero().multiply_add(V::splat(-1.0), mean);
            for (direction, weights) in directions.iter_mut().zip(weights) {
                let deviation = V::load(direction[index].0.as_ptr()).add(minus_mean);
                let weight = V::load(weights[index].0.as_ptr());
                V::zero().multiply_add(weight, deviation).store(direction[index].0.as_mut_ptr());
            }
        }
    }
}
