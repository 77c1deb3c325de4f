//! Compiles generic bodies once for each instruction set, and runs the right one.

/// Runs one generic body on the given instructions.
macro_rules! on {
    ($instructions:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: the instructions were detected; sizes are asserted at the entries.
        unsafe {
            match $instructions {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => wrapped::$function::avx512($($argument),*),
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => wrapped::$function::avx2($($argument),*),
                #[cfg(target_arch = "aarch64")]
                Instructions::Neon => $function::<crate::lanes::Neon>($($argument),*),
                Instructions::Portable => $function::<crate::lanes::Array>($($argument),*),
            }
        }
    }};
}

/// Compiles generic bodies for each x86 instruction set.
macro_rules! wrap {
    ($($name:ident($($argument:ident: $kind:ty),* $(,)?);)*) => {
        #[cfg(target_arch = "x86_64")]
        mod wrapped {
            #[allow(unused_imports, reason = "not all bodies take types of their module")]
            use super::*;
            $(pub(super) mod $name {
                #[allow(unused_imports, reason = "as above")]
                use super::*;
                #[target_feature(enable = "avx512f,avx2,fma")]
                pub(in super::super) unsafe fn avx512($($argument: $kind),*) {
                    // SAFETY: passed on from the caller.
                    unsafe { super::super::$name::<crate::lanes::Avx512>($($argument),*) }
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                pub(in super::super) unsafe fn avx2($($argument: $kind),*) {
                    // SAFETY: passed on from the caller.
                    unsafe { super::super::$name::<crate::lanes::Avx2>($($argument),*) }
                }
            })*
        }
    };
}
