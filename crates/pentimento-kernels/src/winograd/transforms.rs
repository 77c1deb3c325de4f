//! The one-dimensional transforms of F(4, 3) with the points 0, ±3/4, ±3/2 and infinity, in this order.
//!
//! With N_p the product of p's differences to the other finite points: `G` has the rows `(1, p, p^2) / N_p` and
//! `(0, 0, 1)`, `A` the rows `(1, p, p^2, p^3)` and `(0, 0, 0, 1)`, and row p of `B'` has the coefficients of the
//! product of `x - q` over the other finite points q, that of infinity over all of them (Toom and Cook; Barabasz et
//! al. 2020, section 2).

#![allow(unsafe_code, reason = "vector operations")]

use crate::lanes::Lanes;

/// The two positive finite points and their squares.
const NEAR: f32 = 0.75;
const FAR: f32 = 1.5;
const NEAR_SQUARED: f32 = NEAR * NEAR;
const FAR_SQUARED: f32 = FAR * FAR;
/// `(x^2 - NEAR^2)(x^2 - FAR^2) = x^4 - SUM x^2 + PRODUCT`.
const SUM: f32 = NEAR_SQUARED + FAR_SQUARED;
const PRODUCT: f32 = NEAR_SQUARED * FAR_SQUARED;
/// `1 / N_p`: of zero, of either near point, of either far point.
const AT_ZERO: f32 = 1.0 / PRODUCT;
const AT_NEAR: f32 = 1.0 / (2.0 * NEAR_SQUARED * (NEAR_SQUARED - FAR_SQUARED));
const AT_FAR: f32 = 1.0 / (2.0 * FAR_SQUARED * (FAR_SQUARED - NEAR_SQUARED));

/// `sum + factor * value`. Functions and not closures here: a closure is compiled without the vector instructions of
/// the function it is in, unless the compiler happens to inline it.
#[inline(always)]
unsafe fn plus<V: Lanes>(sum: V, factor: f32, value: V) -> V {
    // SAFETY: passed on from the caller.
    unsafe { sum.multiply_add(V::splat(factor), value) }
}

#[inline(always)]
unsafe fn times<V: Lanes>(factor: f32, value: V) -> V {
    // SAFETY: passed on from the caller.
    unsafe { plus(V::zero(), factor, value) }
}

/// `even + point * odd` and `even - point * odd`.
#[inline(always)]
unsafe fn both_signs<V: Lanes>(point: f32, even: V, odd: V) -> [V; 2] {
    // SAFETY: passed on from the caller.
    unsafe { [plus(even, point, odd), plus(even, -point, odd)] }
}

/// `B' d`.
#[inline(always)]
pub(super) unsafe fn of_input<V: Lanes>(d: [V; 6]) -> [V; 6] {
    // SAFETY: passed on from the caller.
    unsafe {
        let zero = plus(plus(d[4], -SUM, d[2]), PRODUCT, d[0]);
        let infinity = plus(plus(d[5], -SUM, d[3]), PRODUCT, d[1]);
        let near = both_signs(NEAR, plus(d[4], -FAR_SQUARED, d[2]), plus(d[3], -FAR_SQUARED, d[1]));
        let far = both_signs(FAR, plus(d[4], -NEAR_SQUARED, d[2]), plus(d[3], -NEAR_SQUARED, d[1]));
        [zero, near[0], near[1], far[0], far[1], infinity]
    }
}

/// `G g`.
#[inline(always)]
pub(super) unsafe fn of_weight<V: Lanes>(g: [V; 3]) -> [V; 6] {
    // SAFETY: passed on from the caller.
    unsafe {
        let near_even = plus(times(AT_NEAR, g[0]), AT_NEAR * NEAR_SQUARED, g[2]);
        let far_even = plus(times(AT_FAR, g[0]), AT_FAR * FAR_SQUARED, g[2]);
        let near = both_signs(AT_NEAR * NEAR, near_even, g[1]);
        let far = both_signs(AT_FAR * FAR, far_even, g[1]);
        [times(AT_ZERO, g[0]), near[0], near[1], far[0], far[1], g[2]]
    }
}

/// `A' m`.
#[inline(always)]
pub(super) unsafe fn to_output<V: Lanes>(m: [V; 6]) -> [V; 4] {
    // SAFETY: passed on from the caller.
    unsafe {
        let (near_sum, near_difference) = (m[1].add(m[2]), plus(m[1], -1.0, m[2]));
        let (far_sum, far_difference) = (m[3].add(m[4]), plus(m[3], -1.0, m[4]));
        [
            m[0].add(near_sum).add(far_sum),
            plus(times(NEAR, near_difference), FAR, far_difference),
            plus(times(NEAR_SQUARED, near_sum), FAR_SQUARED, far_sum),
            plus(plus(m[5], NEAR_SQUARED * NEAR, near_difference), FAR_SQUARED * FAR, far_difference),
        ]
    }
}

/// `A y`: the transpose of [`to_output`].
#[inline(always)]
pub(super) unsafe fn of_output_gradient<V: Lanes>(y: [V; 4]) -> [V; 6] {
    // SAFETY: passed on from the caller.
    unsafe {
        let near = both_signs(NEAR, plus(y[0], NEAR_SQUARED, y[2]), plus(y[1], NEAR_SQUARED, y[3]));
        let far = both_signs(FAR, plus(y[0], FAR_SQUARED, y[2]), plus(y[1], FAR_SQUARED, y[3]));
        [y[0], near[0], near[1], far[0], far[1], y[3]]
    }
}

/// `G' u`: the transpose of [`of_weight`].
#[inline(always)]
pub(super) unsafe fn to_weight_gradient<V: Lanes>(u: [V; 6]) -> [V; 3] {
    // SAFETY: passed on from the caller.
    unsafe {
        let (near_sum, near_difference) = (u[1].add(u[2]), plus(u[1], -1.0, u[2]));
        let (far_sum, far_difference) = (u[3].add(u[4]), plus(u[3], -1.0, u[4]));
        [
            plus(plus(times(AT_ZERO, u[0]), AT_NEAR, near_sum), AT_FAR, far_sum),
            plus(times(AT_NEAR * NEAR, near_difference), AT_FAR * FAR, far_difference),
            plus(plus(u[5], AT_NEAR * NEAR_SQUARED, near_sum), AT_FAR * FAR_SQUARED, far_sum),
        ]
    }
}
