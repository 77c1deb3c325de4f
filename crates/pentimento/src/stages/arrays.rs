//! Named arrays in one object: safetensors, which Python opens with one call.

use crate::error::ProgramError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// Named `f32` or `u32` arrays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrays {
    arrays: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Arrays {
    /// Adds an array of `f32`.
    pub fn put_f32(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.arrays.insert(name.into(), (Dtype::F32, shape.to_vec(), bytes));
    }

    /// Adds an array of `u32`.
    pub fn put_u32(&mut self, name: &str, shape: &[usize], values: &[u32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.arrays.insert(name.into(), (Dtype::U32, shape.to_vec(), bytes));
    }

    /// The object's bytes.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Inconsistent`] if a shape does not fit its values.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ProgramError> {
        let broken = |error: safetensors::SafeTensorError| ProgramError::Inconsistent {
            object: "arrays".into(),
            problem: error.to_string(),
        };
        let views: Vec<(&str, TensorView<'_>)> = self
            .arrays
            .iter()
            .map(|(name, (dtype, shape, bytes))| {
                Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(broken)?))
            })
            .collect::<Result<_, ProgramError>>()?;
        safetensors::serialize(views, None).map_err(broken)
    }

    /// Reads an object's bytes.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Inconsistent`] if they are not such arrays.
    pub fn from_bytes(bytes: &[u8], object: &str) -> Result<Self, ProgramError> {
        let broken = |problem: String| ProgramError::Inconsistent { object: object.into(), problem };
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
        let arrays = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
            .collect();
        Ok(Self { arrays })
    }

    fn words(&self, name: &str, dtype: Dtype) -> Result<impl Iterator<Item = [u8; 4]> + '_, ProgramError> {
        match self.arrays.get(name) {
            Some((found, _, bytes)) if *found == dtype => Ok(bytes.as_chunks::<4>().0.iter().copied()),
            _ => Err(ProgramError::Inconsistent {
                object: format!("array `{name}`"),
                problem: format!("missing, or not of type {dtype:?}"),
            }),
        }
    }

    /// The values of an array of `f32`.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Inconsistent`] if there is no such array.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, ProgramError> {
        Ok(self.words(name, Dtype::F32)?.map(f32::from_le_bytes).collect())
    }

    /// The values of an array of `u32`.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Inconsistent`] if there is no such array.
    pub fn u32(&self, name: &str) -> Result<Vec<u32>, ProgramError> {
        Ok(self.words(name, Dtype::U32)?.map(u32::from_le_bytes).collect())
    }

    /// Whether there is such an array.
    pub fn contains(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }
}
