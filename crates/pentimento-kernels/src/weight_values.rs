//! The values of a weight as they lie in memory: in f32, or in 16 bits if they stand still and came so.
//!
//! Kernels compute in f32. They copy weights anyway, into the order in which products read them, and widen them there. That is exact, so
//! a weight of 16 bits gives the bytes of the same weight in f32.

#![allow(unsafe_code, reason = "reads numbers into vectors")]

use crate::lanes::{LANES, Lanes, f16_to_f32};
use burn::tensor::{bf16, f16};

/// The values of a weight.
#[derive(Clone, Copy)]
pub(crate) enum WeightValues<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl<'a> From<&'a [f32]> for WeightValues<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::F32(values)
    }
}

impl WeightValues<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }
}

/// A type of such values.
pub(crate) trait Stored: Copy {
    /// Sixteen values.
    ///
    /// # Safety
    ///
    /// The processor has the instructions of `V`.
    unsafe fn lanes<V: Lanes>(source: &[Self; LANES]) -> V;

    /// Fills `row` with values of which the first is that of `source` and the others follow `step` apart.
    ///
    /// # Safety
    ///
    /// The processor has the instructions of `V`.
    ///
    /// # Panics
    ///
    /// If `source` ends before.
    unsafe fn read<V: Lanes>(source: &[Self], step: usize, row: &mut [f32]);
}

impl Stored for f32 {
    #[inline(always)]
    unsafe fn lanes<V: Lanes>(source: &[Self; LANES]) -> V {
        // SAFETY: sixteen readable values; the instructions are the caller's promise.
        unsafe { V::load(source.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn read<V: Lanes>(source: &[Self], step: usize, row: &mut [f32]) {
        if step == 1 {
            row.copy_from_slice(&source[..row.len()]);
        } else {
            for (place, value) in row.iter_mut().enumerate() {
                *value = source[place * step];
            }
        }
    }
}

/// Reads a type of 16 bits: sixteen at a time by `$of_lanes`, and what is left by `$of_one`.
macro_rules! of_16_bits {
    ($stored:ty, $of_lanes:ident, $of_one:expr) => {
        impl Stored for $stored {
            #[inline(always)]
            unsafe fn lanes<V: Lanes>(source: &[Self; LANES]) -> V {
                // SAFETY: passed on from the caller.
                unsafe { V::$of_lanes(bytemuck::cast_ref(source)) }
            }

            #[inline(always)]
            unsafe fn read<V: Lanes>(source: &[Self], step: usize, row: &mut [f32]) {
                let (whole, rest) = row.as_chunks_mut::<LANES>();
                let first_of_rest = whole.len() * LANES;
                if step == 1 {
                    let source: &[u16] = bytemuck::cast_slice(&source[..first_of_rest + rest.len()]);
                    for (target, bits) in whole.iter_mut().zip(source.as_chunks::<LANES>().0) {
                        // SAFETY: passed on from the caller.
                        unsafe { V::$of_lanes(bits).store(target.as_mut_ptr()) };
                    }
                } else {
                    for (index, target) in whole.iter_mut().enumerate() {
                        let bits =
                            std::array::from_fn(|lane| source[(index * LANES + lane) * step].to_bits());
                        // SAFETY: passed on from the caller.
                        unsafe { V::$of_lanes(&bits).store(target.as_mut_ptr()) };
                    }
                }
                for (place, value) in rest.iter_mut().enumerate() {
                    *value = $of_one(source[(first_of_rest + place) * step].to_bits());
                }
            }
        }
    };
}

of_16_bits!(f16, widen_f16, f16_to_f32);
of_16_bits!(bf16, widen_bf16, |bits: u16| f32::from_bits(u32::from(bits) << 16));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Instructions;

    wrap! {
        read_f16(source: &[f16], step: usize, row: &mut [f32]);
        read_bf16(source: &[bf16], step: usize, row: &mut [f32]);
    }

    unsafe fn read_f16<V: Lanes>(source: &[f16], step: usize, row: &mut [f32]) {
        // SAFETY: passed on from the caller.
        unsafe { f16::read::<V>(source, step, row) }
    }

    unsafe fn read_bf16<V: Lanes>(source: &[bf16], step: usize, row: &mut [f32]) {
        // SAFETY: passed on from the caller.
        unsafe { bf16::read::<V>(source, step, row) }
    }

    /// By its definition (IEEE 754): five bits of exponent with a bias of 15, ten of the fraction. A NaN keeps its sign and fraction and
    /// is quiet.
    fn meant_by_f16(bits: u16) -> u32 {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), u32::from(bits & 1023));
        let magnitude = match exponent {
            31 if fraction == 0 => f32::INFINITY.to_bits(),
            31 => f32::INFINITY.to_bits() | 1 << 22 | fraction << 13,
            0 => ((f64::from(fraction) / 1024.0 * 2.0_f64.powi(-14)) as f32).to_bits(),
            _ => (((1.0 + f64::from(fraction) / 1024.0) * 2.0_f64.powi(exponent - 15)) as f32).to_bits(),
        };
        magnitude | u32::from(bits >> 15) << 31
    }

    #[test]
    fn every_number_of_16_bits_is_widened_exactly_on_every_instruction_set() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        for instructions in Instructions::available() {
            // Also rows that leave a rest in vectors, and values that lie apart.
            for (step, length) in [(1, 1 << 16), (1, 1000), (3, (1 << 16) / 3), (2, 25)] {
                let halves: Vec<f16> = all.iter().map(|&bits| f16::from_bits(bits)).collect();
                let brains: Vec<bf16> = all.iter().map(|&bits| bf16::from_bits(bits)).collect();
                let (mut of_f16, mut of_bf16) = (vec![0.0; length], vec![0.0; length]);
                on!(instructions, read_f16(&halves, step, &mut of_f16));
                on!(instructions, read_bf16(&brains, step, &mut of_bf16));
                for place in 0..length {
                    let bits = all[place * step];
                    assert_eq!(
                        of_f16[place].to_bits(),
                        meant_by_f16(bits),
                        "f16 {bits:x} on {instructions:?}"
                    );
                    let meant = u32::from(bits) << 16;
                    assert_eq!(of_bf16[place].to_bits(), meant, "bf16 {bits:x} on {instructions:?}");
                }
            }
        }
    }
}
