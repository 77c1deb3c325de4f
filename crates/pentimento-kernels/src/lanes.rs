//! Sixteen `f32` lanes on every processor.
//!
//! All products are written for vectors of exactly sixteen lanes: one AVX-512 register, two AVX2 registers, four NEON
//! registers, or an array. Each lane performs the same chain of fused multiply-adds whatever the register width, so a
//! result has the same bytes on every processor that this crate supports.

#![allow(unsafe_code, reason = "vector intrinsics take raw pointers")]

use std::sync::OnceLock;

/// Number of lanes of every [`Lanes`] type.
pub(crate) const LANES: usize = 16;

/// Sixteen `f32` values in vector registers.
///
/// # Safety
///
/// Implementations other than [`Array`] must only be used inside a function that was entered after the processor was
/// found to have the needed instructions (see [`Instructions::detect`]).
pub(crate) trait Lanes: Copy {
    /// Rows of a product whose sums fit the registers, at most 14.
    const TILE_ROWS: usize;
    /// Whether a row has two vectors of sums then, or one.
    const WIDE: bool;
    /// All lanes zero.
    unsafe fn zero() -> Self;
    /// All lanes `value`.
    unsafe fn splat(value: f32) -> Self;
    /// Sixteen values from `source`, which needs no alignment.
    unsafe fn load(source: *const f32) -> Self;
    /// Writes sixteen values to `target`, which needs no alignment.
    unsafe fn store(self, target: *mut f32);
    /// `self + left * right`, rounded once.
    unsafe fn multiply_add(self, left: Self, right: Self) -> Self;
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn multiply(self, other: Self) -> Self;
    /// The lanes of both in turn: of their first halves, and of their second halves.
    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> [Self; 2] {
        let (mut even, mut odd) = ([0.0f32; LANES], [0.0f32; LANES]);
        // SAFETY: sixteen writable and readable values each.
        unsafe {
            self.store(even.as_mut_ptr());
            other.store(odd.as_mut_ptr());
            let of_half = |half: usize| {
                let lane = |lane: usize| if lane.is_multiple_of(2) { even } else { odd }[half + lane / 2];
                let lanes: [f32; LANES] = std::array::from_fn(lane);
                Self::load(lanes.as_ptr())
            };
            [of_half(0), of_half(LANES / 2)]
        }
    }
    /// Sixteen half-precision numbers, given by their bits.
    #[inline(always)]
    unsafe fn widen_f16(source: &[u16; LANES]) -> Self {
        let values = source.map(f16_to_f32);
        // SAFETY: sixteen readable values.
        unsafe { Self::load(values.as_ptr()) }
    }
    /// Sixteen bf16, given by their bits, which are the upper half of those of an f32.
    #[inline(always)]
    unsafe fn widen_bf16(source: &[u16; LANES]) -> Self {
        let values = source.map(|bits| f32::from_bits(u32::from(bits) << 16));
        // SAFETY: sixteen readable values.
        unsafe { Self::load(values.as_ptr()) }
    }
}

/// Asks for the cache line of a place that is read soon. A place outside of any allocation does no harm.
#[inline(always)]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, and SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// The number that is meant by the bits of a half-precision number. A NaN becomes a quiet one, as processors have it.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    const LEAST_NORMAL: u32 = 1 << 10;
    const INFINITE: u32 = 0x7c00;
    /// What the exponents differ by, `127 - 15`, where an f32 has it.
    const BIAS: u32 = 112 << 23;
    let magnitude = u32::from(bits & 0x7fff);
    let normal = f32::from_bits((magnitude << 13) + BIAS);
    // A number below the normal ones is that many times 2^-24, and so is the difference of these two, exactly.
    let base = f32::from_bits(BIAS + (1 << 23));
    let small = f32::from_bits((magnitude << 13) + BIAS + (1 << 23)) - base;
    let value = match magnitude {
        0..LEAST_NORMAL => small,
        LEAST_NORMAL..INFINITE => normal,
        INFINITE.. => {
            let quiet = u32::from(magnitude > INFINITE) << 22;
            f32::from_bits((magnitude << 13) | f32::INFINITY.to_bits() | quiet)
        }
    };
    f32::from_bits(value.to_bits() | (u32::from(bits & 0x8000) << 16))
}

/// The portable implementation, also the one that defines what the others must compute.
#[derive(Clone, Copy)]
pub(crate) struct Array([f32; LANES]);

// SAFETY of the bodies below: callers guarantee sixteen readable (writable) values behind each pointer.
impl Lanes for Array {
    const TILE_ROWS: usize = 4;
    const WIDE: bool = false;
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; LANES])
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: sixteen readable values, by the contract of the trait.
        Self(unsafe { source.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: sixteen writable values, by the contract of the trait.
        unsafe { target.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn multiply_add(self, left: Self, right: Self) -> Self {
        Self(std::array::from_fn(|lane| left.0[lane].mul_add(right.0[lane], self.0[lane])))
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane]))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Lanes};
    use std::arch::x86_64::*;

    /// One AVX-512 register.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    impl Lanes for Avx512 {
        const TILE_ROWS: usize = 14;
        const WIDE: bool = true;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: AVX-512F is present, by the contract of the trait; the same holds for every block below.
            Self(unsafe { _mm512_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see `zero`.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(source: *const f32) -> Self {
            // SAFETY: see `zero`; sixteen readable values.
            Self(unsafe { _mm512_loadu_ps(source) })
        }
        #[inline(always)]
        unsafe fn store(self, target: *mut f32) {
            // SAFETY: see `zero`; sixteen writable values.
            unsafe { _mm512_storeu_ps(target, self.0) }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, left: Self, right: Self) -> Self {
            // SAFETY: see `zero`.
            Self(unsafe { _mm512_fmadd_ps(left.0, right.0, self.0) })
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: see `zero`.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn multiply(self, other: Self) -> Self {
            // SAFETY: see `zero`.
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn interleave(self, other: Self) -> [Self; 2] {
            // SAFETY: see `zero`.
            unsafe {
                // Lanes of `other` count from 16 on.
                let first = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
                let second = _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8);
                [first, second].map(|places| Self(_mm512_permutex2var_ps(self.0, places, other.0)))
            }
        }
        #[inline(always)]
        unsafe fn widen_f16(source: &[u16; LANES]) -> Self {
            // SAFETY: see `zero`; sixteen readable values.
            Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(source.as_ptr().cast())) })
        }
    }

    /// Two AVX2 registers.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256, __m256);

    impl Lanes for Avx2 {
        const TILE_ROWS: usize = 6;
        const WIDE: bool = false;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: AVX2, FMA and F16C are present, by the contract of the trait; the same holds for every block below.
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see `zero`.
            unsafe { Self(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn load(source: *const f32) -> Self {
            // SAFETY: see `zero`; sixteen readable values.
            unsafe { Self(_mm256_loadu_ps(source), _mm256_loadu_ps(source.add(8))) }
        }
        #[inline(always)]
        unsafe fn store(self, target: *mut f32) {
            // SAFETY: see `zero`; sixteen writable values.
            unsafe {
                _mm256_storeu_ps(target, self.0);
                _mm256_storeu_ps(target.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, left: Self, right: Self) -> Self {
            // SAFETY: see `zero`.
            unsafe {
                Self(_mm256_fmadd_ps(left.0, right.0, self.0), _mm256_fmadd_ps(left.1, right.1, self.1))
            }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: see `zero`.
            unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn multiply(self, other: Self) -> Self {
            // SAFETY: see `zero`.
            unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn interleave(self, other: Self) -> [Self; 2] {
            // SAFETY: see `zero`.
            unsafe {
                [(self.0, other.0), (self.1, other.1)].map(|(even, odd)| {
                    let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
                    Self(_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high))
                })
            }
        }
        #[inline(always)]
        unsafe fn widen_f16(source: &[u16; LANES]) -> Self {
            let source = source.as_ptr().cast::<__m128i>();
            // SAFETY: F16C is present, by the contract of the trait; sixteen readable values.
            unsafe {
                Self(
                    _mm256_cvtph_ps(_mm_loadu_si128(source)),
                    _mm256_cvtph_ps(_mm_loadu_si128(source.add(1))),
                )
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Lanes;
    use std::arch::aarch64::*;

    /// Four NEON registers; NEON belongs to every 64-bit ARM processor.
    #[derive(Clone, Copy)]
    pub(crate) struct Neon([float32x4_t; 4]);

    impl Lanes for Neon {
        const TILE_ROWS: usize = 6;
        const WIDE: bool = false;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: NEON is always present; the same holds for every block below.
            Self([unsafe { vdupq_n_f32(0.0) }; 4])
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: see `zero`.
            Self([unsafe { vdupq_n_f32(value) }; 4])
        }
        #[inline(always)]
        unsafe fn load(source: *const f32) -> Self {
            // SAFETY: see `zero`; sixteen readable values.
            Self(std::array::from_fn(|part| unsafe { vld1q_f32(source.add(4 * part)) }))
        }
        #[inline(always)]
        unsafe fn store(self, target: *mut f32) {
            for (part, register) in self.0.into_iter().enumerate() {
                // SAFETY: see `zero`; sixteen writable values.
                unsafe { vst1q_f32(target.add(4 * part), register) }
            }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, left: Self, right: Self) -> Self {
            // SAFETY: see `zero`.
            Self(std::array::from_fn(|part| unsafe { vfmaq_f32(self.0[part], left.0[part], right.0[part]) }))
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: see `zero`.
            Self(std::array::from_fn(|part| unsafe { vaddq_f32(self.0[part], other.0[part]) }))
        }
        #[inline(always)]
        unsafe fn multiply(self, other: Self) -> Self {
            // SAFETY: see `zero`.
            Self(std::array::from_fn(|part| unsafe { vmulq_f32(self.0[part], other.0[part]) }))
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// The instruction set that the kernels run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// AVX-512F with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA and F16C, which no processor has the first two without.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Plain Rust, for every other processor. Correct, and slow where `mul_add` is a library call.
    Portable,
}

/// The set that this process computes with.
static CHOSEN: OnceLock<Instructions> = OnceLock::new();

impl Instructions {
    /// The best set that this processor has, or the one that `PENTIMENTO_INSTRUCTIONS` names. This variable of the
    /// environment is read once and changes no result; tests compare whole runs with it. A name of a set that this
    /// processor has not is passed over.
    #[inline]
    pub fn detect() -> Self {
        #[cfg(test)]
        if let Some(forced) = tests::forced() {
            return forced;
        }
        *CHOSEN.get_or_init(|| {
            let available = Self::available();
            let named = std::env::var("PENTIMENTO_INSTRUCTIONS").unwrap_or_default();
            let best = available.first().copied().unwrap_or(Self::Portable);
            available.into_iter().find(|set| set.name() == named).unwrap_or(best)
        })
    }

    /// Its name in `PENTIMENTO_INSTRUCTIONS`.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Rows of a product whose sums fit the registers: [`Lanes::TILE_ROWS`] of its vectors.
    pub(crate) fn tile_rows(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::TILE_ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::TILE_ROWS,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::TILE_ROWS,
            Self::Portable => Array::TILE_ROWS,
        }
    }

    /// Every set that this processor has, the best first; tests compare them byte by byte.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
                found.push(Self::Avx512);
            }
            let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if has_avx2 && is_x86_feature_detected!("f16c") {
                found.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        found.push(Self::Neon);
        found.push(Self::Portable);
        found
    }
}

/// Compiles the body of a function once for each instruction set and picks one at run time.
///
/// The body is ordinary Rust that the compiler vectorises; it must not reassociate sums, and Rust never does that by
/// itself, so every version gives the same bytes.
macro_rules! for_each_instruction_set {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block) => {
        $(#[$attribute])*
        #[allow(unsafe_code, reason = "calls a function compiled for instructions that were detected")]
        $visibility fn $name($($argument: $kind),*) {
            #[inline(always)]
            fn body($($argument: $kind),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512($($argument: $kind),*) { body($($argument),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $kind),*) { body($($argument),*) }
            match $crate::lanes::Instructions::detect() {
                // SAFETY: `detect` found the instructions.
                #[cfg(target_arch = "x86_64")]
                $crate::lanes::Instructions::Avx512 => unsafe { avx512($($argument),*) },
                // SAFETY: `detect` found the instructions.
                #[cfg(target_arch = "x86_64")]
                $crate::lanes::Instructions::Avx2 => unsafe { avx2($($argument),*) },
                _ => body($($argument),*),
            }
        }
    };
}
pub(crate) use for_each_instruction_set;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::weight_values::WeightValues;
    use crate::*;
    use burn::tensor::{bf16, f16};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Held by the test that forces instructions, and by one that would notice.
    pub(crate) static FORCING: Mutex<()> = Mutex::new(());

    /// One more than a place in [`Instructions::available`], or zero. Other tests may meanwhile run on these
    /// instructions too; that they do not notice is what the test below is about.
    static FORCED: AtomicUsize = AtomicUsize::new(0);

    pub(super) fn forced() -> Option<Instructions> {
        let place = FORCED.load(Ordering::Relaxed);
        Instructions::available().get(place.checked_sub(1)?).copied()
    }

    fn made(seed: usize, length: usize) -> Vec<f32> {
        (0..length).map(|at| ((at * 7919 + seed * 104_729) % 2003) as f32 / 600.0 - 1.6).collect()
    }

    /// Every kernel once, on sizes that leave a rest in vectors and tiles.
    fn all_kernels() -> Vec<(&'static str, Vec<f32>)> {
        let mut all = Vec::new();
        for (input, output, geometry) in [
            ([2, 7, 5, 19], 37, ConvGeometry::SAME_3X3),
            ([3, 6, 6, 16], 48, ConvGeometry { kernel: 3, stride: 2, padding_before: 0, padding_after: 1 }),
            ([23, 1, 1, 33], 17, ConvGeometry::POINTWISE),
            // So large that they are multiplied block by block.
            ([5, 1, 3, 1400], 201, ConvGeometry::POINTWISE),
            ([2, 3, 3, 180], 170, ConvGeometry::SAME_3X3),
        ] {
            let shape = ConvShape::new(input, output, geometry).unwrap();
            let [height, width] = [input[1], input[2]].map(|side| geometry.output_side(side).unwrap());
            let x = made(1, input.iter().product());
            let w = made(2, geometry.kernel * geometry.kernel * input[3] * output);
            let d = made(3, input[0] * height * width * output);
            let (mut y, mut of_x, mut of_w) = (d.clone(), x.clone(), w.clone());
            let mut of_bias = vec![0.0; output];
            conv2d(&shape, &x, &w, Some(&made(4, output)), &mut y);
            conv2d_backward_input(&shape, &d, &w, &mut of_x);
            conv2d_backward_weight(&shape, &x, &d, &mut of_w);
            bias_backward(input[0], &d, &mut of_bias);
            all.extend([("conv2d", y), ("of_x", of_x), ("of_w", of_w), ("of_bias", of_bias)]);
            let (halves, brains): (Vec<f16>, Vec<bf16>) =
                w.iter().map(|&value| (f16::from_f32(value), bf16::from_f32(value))).unzip();
            for weight in [WeightValues::F16(&halves), WeightValues::Bf16(&brains)] {
                let (mut y, mut of_x) = (d.clone(), x.clone());
                let addends = ConvAddends::default();
                conv2d::convolve(Instructions::detect(), &shape, &x, weight, &addends, &mut y);
                conv2d::gradient_of_input(&shape, &d, weight, &mut of_x);
                all.extend([("conv2d in 16 bits", y), ("of_x in 16 bits", of_x)]);
            }
        }
        for silu in [true, false] {
            let shape =
                GroupNormShape { images: 2, pixels: 21, channels: 38, groups: 2, epsilon: 1e-5, silu };
            let length = 2 * 21 * 38;
            let (x, d, u) = (made(5, length), made(6, length), made(7, 2 * length));
            let (scale, shift) = (made(8, 38), made(9, 38));
            let (mut y, mut statistics) = (x.clone(), vec![0.0; shape.statistics_length()]);
            group_norm(&shape, &x, &scale, &shift, &mut y, &mut statistics);
            let (mut of_x, mut of_scale, mut of_shift, mut along) =
                (x.clone(), scale.clone(), shift.clone(), u.clone());
            group_norm_backward(
                &shape,
                &x,
                &scale,
                &shift,
                &statistics,
                &d,
                &mut of_x,
                &mut of_scale,
                &mut of_shift,
            );
            group_norm_tangent(&shape, &x, &scale, &shift, &statistics, &u, &mut along);
            all.extend([("group_norm", y), ("statistics", statistics), ("of_x", of_x)]);
            all.extend([("of_scale", of_scale), ("of_shift", of_shift), ("along", along)]);
        }
        for keys in [29, 77] {
            let shape = AttentionShape { images: 2, queries: 29, keys, channels: 2 * 19, heads: 2 };
            let (of_queries, of_keys) = (2 * 29 * 38, 2 * keys * 38);
            let [q, d] = [10, 13].map(|seed| made(seed, of_queries));
            let [k, v] = [11, 12].map(|seed| made(seed, of_keys));
            let dq = made(14, 2 * of_queries);
            let [dk, dv] = [15, 16].map(|seed| made(seed, 2 * of_keys));
            let [mut y, mut of_q] = [0; 2].map(|_| vec![0.0; of_queries]);
            let [mut of_k, mut of_v] = [0; 2].map(|_| vec![0.0; of_keys]);
            attention(&shape, &q, &k, &v, &mut y);
            attention_backward(&shape, &q, &k, &v, &d, &mut of_q, &mut of_k, &mut of_v);
            let [mut along, mut of_queries_alone] = [0; 2].map(|_| vec![0.0; 2 * of_queries]);
            attention_tangent(&shape, &q, &k, &v, &dq, &dk, &dv, &mut along);
            attention_query_tangent(&shape, &q, &k, &v, &dq, &mut of_queries_alone);
            all.extend([("attention", y), ("of_q", of_q), ("of_k", of_k), ("of_v", of_v)]);
            all.extend([("along", along), ("along queries", of_queries_alone)]);
        }
        let [q, k, d] = [10, 11, 13].map(|seed| made(seed, 2 * 29 * 38));
        let shape = LayerNormShape { tokens: 29, channels: 2 * 38, epsilon: 1e-5 };
        let (scale, shift) = (made(17, 76), made(18, 76));
        let [mut y, mut of_x, mut along] = [0; 3].map(|_| q.clone());
        let (mut of_scale, mut of_shift) = (scale.clone(), shift.clone());
        layer_norm(&shape, &q, &scale, &shift, &mut y);
        layer_norm_backward(&shape, &q, &scale, &d, &mut of_x, &mut of_scale, &mut of_shift);
        layer_norm_tangent(&shape, &q, &scale, &k, &mut along);
        all.extend([("layer_norm", y), ("of_x", of_x), ("along", along)]);
        all.extend([("of_scale", of_scale), ("of_shift", of_shift)]);
        for form in [Gelu::Exact, Gelu::Tanh, Gelu::Quick] {
            let [mut y, mut slope] = [0; 2].map(|_| q.clone());
            gelu(form, &q, &mut y);
            gelu_times_slope(form, &q, &d, &mut slope);
            all.extend([("gelu", y), ("slope of gelu", slope)]);
        }
        let [mut y, mut along] = [0; 2].map(|_| vec![0.0; 29 * 38]);
        let mut of_x = q.clone();
        geglu(38, &q, &mut y);
        geglu_backward(38, &q, &d[..29 * 38], &mut of_x);
        geglu_tangent(38, &q, &k, &mut along);
        all.extend([("geglu", y), ("of_x", of_x), ("along", along)]);
        let (mut y, mut slope) = (q.clone(), q.clone());
        silu(&q, &mut y);
        silu_times_slope(&q, &d, &mut slope);
        all.extend([("silu", y), ("slope", slope)]);
        let (mut weights, mut part) = (q.clone(), SoftmaxPart::default());
        softmax_part(&mut weights, &k, 100, &mut part);
        let sums = vec![part.largest_logit, part.sum, part.sum_of_largest];
        all.extend([("softmax_part", sums), ("weights", weights)]);
        // Every second number of 16 bits.
        let halves: Vec<u16> = (0..=u16::MAX).step_by(2).skip(1).collect();
        let (mut of_f16, mut of_bf16) = (vec![0.0; halves.len()], vec![0.0; halves.len()]);
        widen_f16(&halves, 0.7, &mut of_f16);
        widen_bf16(&halves, 0.7, &mut of_bf16);
        all.extend([("widen_f16", of_f16), ("widen_bf16", of_bf16)]);
        let coefficients: Vec<f64> = made(16, 29 * 30).into_iter().map(f64::from).collect();
        let bound = SignFormBound::new(1.0, &coefficients[..29], &coefficients[29..], 2).unwrap();
        let patterns: Vec<u32> = (0..29).flat_map(|j| (0..j).map(move |k| 1 << j | 1 << k)).collect();
        let form = SignForm::new(1.0, &coefficients[..29], &coefficients[29..]).unwrap();
        let (wide, mut exact) = (patterns.iter().map(|&p| p.into()).collect::<Vec<_>>(), vec![0.0; 29 * 14]);
        form.values(&wide, &mut exact);
        let halves =
            |value: &f64| [value.to_bits() as u32, (value.to_bits() >> 32) as u32].map(f32::from_bits);
        all.push(("sign form", exact.iter().flat_map(halves).collect()));
        let mut found = Vec::new();
        bound.reaching(BitPatterns::U32(&patterns), bound.least_sum(1.0), &mut found);
        found.sort_unstable();
        all.push(("reaching", found.into_iter().map(|place| place as f32).collect()));
        all
    }

    #[test]
    fn every_kernel_has_the_same_bytes_on_every_instruction_set() {
        let _held = FORCING.lock();
        let results: Vec<_> = (1..=Instructions::available().len())
            .map(|place| {
                FORCED.store(place, Ordering::Relaxed);
                assert_eq!(Instructions::detect(), Instructions::available()[place - 1]);
                all_kernels()
            })
            .collect();
        FORCED.store(0, Ordering::Relaxed);
        for (other, instructions) in results.iter().zip(Instructions::available()) {
            for ((name, expected), (_, values)) in results[0].iter().zip(other) {
                let same = expected.iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{name} on {instructions:?}");
            }
        }
    }
}
