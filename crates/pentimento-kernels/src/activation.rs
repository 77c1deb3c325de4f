//! The exponential function and what is built on it: the logistic sigmoid and SiLU, `z * sigmoid(z)`.
//!
//! Plain Rust that the compiler vectorises; the same bytes on every processor.

use crate::lanes::for_each_instruction_set;

/// `e^x` to within 2 units in the last place; arguments are clamped to [-87.3, 88.3] so that nothing overflows.
///
/// Range reduction to [-ln 2 / 2, ln 2 / 2] by two-part subtraction, then the Taylor polynomial of degree 7.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.3);
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let power = rounded - ROUND;
    let rest = power.mul_add(-LN_2_HIGH, x);
    let rest = power.mul_add(-LN_2_LOW, rest);
    let mut series: f32 = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series.mul_add(rest, coefficient);
    }
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(0x3f80_0000));
    series * scale
}

/// `1 / (1 + e^-z)`.
#[inline(always)]
pub(crate) fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + exp(-z))
}

#[inline(always)]
pub(crate) fn silu_slope(z: f32) -> f32 {
    let s = sigmoid(z);
    s * z.mul_add(1.0 - s, 1.0)
}

for_each_instruction_set! {
    /// `output = silu(input)`, element by element.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn silu(input: &[f32], output: &mut [f32]) {
        assert_eq!(output.len(), input.len(), "length of SiLU's output");
        for (y, &z) in output.iter_mut().zip(input) {
            *y = z * sigmoid(z);
        }
    }
}

for_each_instruction_set! {
    /// `output = direction * silu'(input)`: both the backward pass and the tangent of SiLU.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn silu_times_slope(input: &[f32], direction: &[f32], output: &mut [f32]) {
        assert_eq!((output.len(), direction.len()), (input.len(), input.len()), "lengths of SiLU's slope");
        for ((y, &z), &d) in output.iter_mut().zip(input).zip(direction) {
            *y = d * silu_slope(z);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for step in -87_000..88_000 {
            let x = step as f32 * 1e-3;
            let truth = libm::exp(f64::from(x));
            worst = worst.max(((f64::from(exp(x)) - truth) / truth).abs());
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "relative error {worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e9) > 0.0 && exp(1e9).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_slope_is_the_derivative() {
        for step in -80..80 {
            let z = f64::from(step) * 0.1;
            let silu = |z: f64| z / (1.0 + libm::exp(-z));
            let truth = (silu(z + 1e-5) - silu(z - 1e-5)) / 2e-5;
            assert!((f64::from(silu_slope(z as f32)) - truth).abs() < 1e-6);
        }
    }
}
