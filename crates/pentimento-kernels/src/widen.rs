//! Numbers of 16 bits as f32.

#![allow(unsafe_code, reason = "calls a function compiled for instructions that were detected")]

use crate::lanes::{Instructions, LANES, Lanes, f16_to_f32};

/// `target = scale * source`, where `source` has the bits of IEEE 754 half-precision numbers; the product is rounded once.
///
/// # Panics
///
/// If the lengths differ.
pub fn widen_f16(source: &[u16], scale: f32, target: &mut [f32]) {
    assert_eq!(source.len(), target.len(), "lengths");
    // SAFETY: `detect` found the instructions.
    unsafe {
        match Instructions::detect() {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => avx512(source, scale, target),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => avx2(source, scale, target),
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => of_f16::<crate::lanes::Neon>(source, scale, target),
            Instructions::Portable => of_f16::<crate::lanes::Array>(source, scale, target),
        }
    }
}

crate::lanes::for_each_instruction_set! {
    /// [`widen_f16`] for bf16, which has the upper half of the bits of an f32.
    pub fn widen_bf16(source: &[u16], scale: f32, target: &mut [f32]) {
        assert_eq!(source.len(), target.len(), "lengths");
        for (target, &bits) in target.iter_mut().zip(source) {
            *target = f32::from_bits(u32::from(bits) << 16) * scale;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn avx512(source: &[u16], scale: f32, target: &mut [f32]) {
    // SAFETY: passed on from the caller.
    unsafe { of_f16::<crate::lanes::Avx512>(source, scale, target) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2(source: &[u16], scale: f32, target: &mut [f32]) {
    // SAFETY: passed on from the caller.
    unsafe { of_f16::<crate::lanes::Avx2>(source, scale, target) }
}

/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn of_f16<V: Lanes>(source: &[u16], scale: f32, target: &mut [f32]) {
    let (source, rest) = source.as_chunks::<LANES>();
    let (target, rest_target) = target.as_chunks_mut::<LANES>();
    for (source, target) in source.iter().zip(target) {
        // SAFETY: passed on from the caller.
        unsafe { V::widen_f16(source).multiply(V::splat(scale)).store(target.as_mut_ptr()) };
    }
    for (&bits, target) in rest.iter().zip(rest_target) {
        *target = f16_to_f32(bits) * scale;
    }
}
