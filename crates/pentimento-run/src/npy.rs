//! Arrays as `.npy` files, which NumPy opens without another package.

use crate::error::{Result, RunError};
use npyz::WriterBuilder as _;

/// The bytes of a `.npy` file of `f32`.
///
/// # Errors
///
/// If the values do not fill the shape.
pub fn npy(shape: &[u64], values: &[f32]) -> Result<Vec<u8>> {
    array(shape, values)
}

/// The bytes of a `.npy` file of `f64`.
///
/// # Errors
///
/// If the values do not fill the shape.
pub fn npy_of_f64(shape: &[u64], values: &[f64]) -> Result<Vec<u8>> {
    array(shape, values)
}

/// The bytes of a `.npy` file of `bool`.
///
/// # Errors
///
/// If the values do not fill the shape.
pub fn npy_of_bits(shape: &[u64], values: &[bool]) -> Result<Vec<u8>> {
    array(shape, values)
}

fn array<T: npyz::AutoSerialize + Copy>(shape: &[u64], values: &[T]) -> Result<Vec<u8>> {
    let write = || {
        let mut bytes = Vec::new();
        let mut writer =
            npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd()?;
        writer.extend(values.iter().copied())?;
        writer.finish()?;
        Ok(bytes)
    };
    write().map_err(RunError::encoding::<std::io::Error>("an array"))
}

/// The values of a `.npy` file of `f32`, which errors call `name`.
///
/// # Errors
///
/// If it is none.
pub fn read_npy(bytes: &[u8], name: &str) -> Result<Vec<f32>> {
    let read = || npyz::NpyFile::new(bytes)?.into_vec();
    read().map_err(RunError::damaged::<std::io::Error>(name))
}
