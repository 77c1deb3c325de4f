//! The values of a parameter in the type in which a file has them.

use super::parameter_spec::ParameterSpec;
use super::parameters::to_memory_layout;
use pentimento_kernels::{widen_bf16, widen_f16};
use std::borrow::Cow;

/// The values of one parameter, in f32 or in 16 bits as a file has them; f32 holds all of them exactly.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredValues {
    /// In f32.
    F32(Vec<f32>),
    /// The bits of half-precision numbers of IEEE 754.
    F16(Vec<u16>),
    /// The bits of bf16, which are the upper half of those of an f32.
    Bf16(Vec<u16>),
}

impl From<Vec<f32>> for StoredValues {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl StoredValues {
    /// Their number.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(bits) | Self::Bf16(bits) => bits.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(values) => size_of_val(values.as_slice()),
            Self::F16(bits) | Self::Bf16(bits) => size_of_val(bits.as_slice()),
        }
    }

    /// The values in f32: a copy if they have 16 bits.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match self {
            Self::F32(values) => values.into(),
            Self::F16(bits) => widened(bits, widen_f16).into(),
            Self::Bf16(bits) => widened(bits, widen_bf16).into(),
        }
    }

    /// The values in f32.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Self::F32(values) => values,
            Self::F16(bits) => widened(&bits, widen_f16),
            Self::Bf16(bits) => widened(&bits, widen_bf16),
        }
    }

    /// The values of a parameter in memory layout, from those in diffusers'; as [`to_memory_layout`].
    pub(crate) fn to_memory_layout(&self, spec: &ParameterSpec) -> Self {
        match self {
            Self::F32(values) => Self::F32(to_memory_layout(spec, values)),
            Self::F16(bits) => Self::F16(to_memory_layout(spec, bits)),
            Self::Bf16(bits) => Self::Bf16(to_memory_layout(spec, bits)),
        }
    }
}

fn widened(bits: &[u16], widen: fn(&[u16], f32, &mut [f32])) -> Vec<f32> {
    let mut values = vec![0.0; bits.len()];
    widen(bits, 1.0, &mut values);
    values
}
