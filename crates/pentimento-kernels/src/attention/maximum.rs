//! The one operation on lanes that only attention needs.

#![allow(unsafe_code, reason = "vector intrinsics")]

use super::scratch::Vector;
use crate::lanes::{Array, LANES, Lanes};

/// The larger of two values in every lane.
///
/// # Safety
///
/// As for [`Lanes`].
pub(super) trait Maximum: Lanes {
    /// `if self > other { self } else { other }`, which is `other` where one of them is not a number.
    unsafe fn maximum(self, other: Self) -> Self;
}

/// Through memory; the compiler keeps whole registers where they are.
#[inline(always)]
unsafe fn stored<V: Lanes>(value: V) -> [f32; LANES] {
    let mut target = Vector::ZERO;
    // SAFETY: sixteen writable values; the instructions are present, by the contract of `Lanes`.
    unsafe { value.store(target.0.as_mut_ptr()) };
    target.0
}

impl Maximum for Array {
    #[inline(always)]
    unsafe fn maximum(self, other: Self) -> Self {
        // SAFETY: sixteen readable values.
        unsafe {
            let (a, b) = (stored(self), stored(other));
            let larger: [f32; LANES] =
                std::array::from_fn(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] });
            Self::load(larger.as_ptr())
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use crate::lanes::{Avx2, Avx512};
    use std::arch::x86_64::*;

    impl Maximum for Avx512 {
        #[inline(always)]
        unsafe fn maximum(self, other: Self) -> Self {
            // SAFETY: AVX-512F is present, by the contract of the trait.
            unsafe {
                let (a, b) = (stored(self), stored(other));
                let mut larger = Vector::ZERO;
                let value = _mm512_max_ps(_mm512_loadu_ps(a.as_ptr()), _mm512_loadu_ps(b.as_ptr()));
                _mm512_storeu_ps(larger.0.as_mut_ptr(), value);
                Self::load(larger.0.as_ptr())
            }
        }
    }

    impl Maximum for Avx2 {
        #[inline(always)]
        unsafe fn maximum(self, other: Self) -> Self {
            // SAFETY: AVX2 is present, by the contract of the trait.
            unsafe {
                let (a, b) = (stored(self), stored(other));
                let mut larger = Vector::ZERO;
                for half in [0, 8] {
                    let (a, b) =
                        (_mm256_loadu_ps(a.as_ptr().add(half)), _mm256_loadu_ps(b.as_ptr().add(half)));
                    _mm256_storeu_ps(larger.0.as_mut_ptr().add(half), _mm256_max_ps(a, b));
                }
                Self::load(larger.0.as_ptr())
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
impl Maximum for crate::lanes::Neon {
    #[inline(always)]
    unsafe fn maximum(self, other: Self) -> Self {
        use std::arch::aarch64::{vbslq_f32, vcgtq_f32, vld1q_f32, vst1q_f32};
        // SAFETY: NEON is always present.
        unsafe {
            let (a, b) = (stored(self), stored(other));
            let mut larger = Vector::ZERO;
            for part in [0, 4, 8, 12] {
                let (a, b) = (vld1q_f32(a.as_ptr().add(part)), vld1q_f32(b.as_ptr().add(part)));
                vst1q_f32(larger.0.as_mut_ptr().add(part), vbslq_f32(vcgtq_f32(a, b), a, b));
            }
            Self::load(larger.0.as_ptr())
        }
    }
}
