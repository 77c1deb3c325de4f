//! What the processor could do at most: the measure that the kernels' speeds are fractions of.

#![allow(unsafe_code, reason = "runs code compiled for instructions that were detected")]

use crate::lanes::{Instructions, Lanes};

/// Sums that grow side by side. A fused multiply-add takes four or five cycles and two can start in each, so fewer
/// than ten registers of sums would wait for each other. Twelve sums fill twelve AVX-512 registers.
const SUMS_AVX512: usize = 12;
/// Sums of two (AVX2) or four (NEON) registers each; more than these would leave the registers.
const SUMS_OTHERS: usize = 6;

/// Fused multiply-adds between registers on every thread of rayon's pool, without touching memory: no product of
/// matrices in `f32` can be faster. Returns how many floating-point operations that were; a fused multiply-add is two.
///
/// Time it with `rounds` large enough for some milliseconds (10,000,000 take about 20).
pub fn multiply_adds_in_registers(rounds: u64) -> f64 {
    let instructions = Instructions::detect();
    rayon::broadcast(|_| {
        // SAFETY: `detect` found the instructions.
        unsafe {
            match instructions {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => avx512(rounds),
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => avx2(rounds),
                #[cfg(target_arch = "aarch64")]
                Instructions::Neon => sums_of::<crate::lanes::Neon, SUMS_OTHERS>(rounds),
                Instructions::Portable => sums_of::<crate::lanes::Array, SUMS_OTHERS>(rounds),
            }
        }
    })
    .into_iter()
    .sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn avx512(rounds: u64) -> f64 {
    // SAFETY: this function is entered on processors with AVX-512F only.
    unsafe { sums_of::<crate::lanes::Avx512, SUMS_AVX512>(rounds) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(rounds: u64) -> f64 {
    // SAFETY: this function is entered on processors with AVX2 and FMA only.
    unsafe { sums_of::<crate::lanes::Avx2, SUMS_OTHERS>(rounds) }
}

/// # Safety
///
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn sums_of<V: Lanes, const SUMS: usize>(rounds: u64) -> f64 {
    // SAFETY: by the contract of this function; `target` has room for the lanes.
    unsafe {
        let (left, right) = (V::splat(std::hint::black_box(1e-3)), V::splat(std::hint::black_box(1e-3)));
        let mut sums = [V::zero(); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = sum.multiply_add(left, right);
            }
        }
        let mut target = [0.0f32; crate::lanes::LANES];
        for sum in sums {
            sum.store(target.as_mut_ptr());
            std::hint::black_box(&target);
        }
    }
    2.0 * (crate::lanes::LANES * SUMS) as f64 * rounds as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_of_every_thread() {
        // How many there are in a round follows from the instructions.
        let _held = crate::lanes::tests::FORCING.lock();
        let per_round = multiply_adds_in_registers(1);
        // Sixteen lanes, two operations each, a whole number of sums on each thread.
        let threads = rayon::current_num_threads() as f64;
        assert_eq!(per_round % (32.0 * threads), 0.0);
        assert!(per_round >= 32.0 * threads);
        assert_eq!(multiply_adds_in_registers(1000), 1000.0 * per_round);
    }
}
