//! Named arrays in one safetensors file, which Python opens with one call.
//!
//! Everything of this project that holds several arrays is written and read here: weights, training states, shards and
//! classifiers. What the arrays mean is the caller's.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};

/// A file that is not such arrays, or an array that is not what its reader needs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArrayError {
    /// The file as a whole.
    #[error("{file}: {problem}")]
    File {
        /// What its reader or writer calls it.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// One array.
    #[error("{file}: tensor `{tensor}`: {problem}")]
    Tensor {
        /// What its reader or writer calls it.
        file: String,
        /// The array's name.
        tensor: String,
        /// What is wrong with it, with what it has and what it should have.
        problem: String,
    },
}

/// Arrays to be written. The bytes follow from names, shapes and values, not from the order in which they are given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArrayWriter {
    arrays: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl ArrayWriter {
    /// Adds an array of `f32`, or replaces the one of this name.
    pub fn put_f32(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.arrays.insert(name.into(), (Dtype::F32, shape.to_vec(), bytes));
    }

    /// Adds an array of `f64`, or replaces the one of this name.
    pub fn put_f64(&mut self, name: &str, shape: &[usize], values: &[f64]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.arrays.insert(name.into(), (Dtype::F64, shape.to_vec(), bytes));
    }

    /// Adds an array of `u32`, or replaces the one of this name.
    pub fn put_u32(&mut self, name: &str, shape: &[usize], values: &[u32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.arrays.insert(name.into(), (Dtype::U32, shape.to_vec(), bytes));
    }

    /// The bytes of the file, which errors call `file`. At most one entry of metadata: with several, their order in the
    /// file would be that of a hash map.
    ///
    /// # Errors
    ///
    /// [`ArrayError`] if a shape does not fit its values.
    pub fn to_bytes(&self, file: &str, metadata: Option<(&str, &str)>) -> Result<Vec<u8>, ArrayError> {
        let views: Vec<(&str, TensorView<'_>)> = self
            .arrays
            .iter()
            .map(|(name, (dtype, shape, bytes))| {
                let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(|error| {
                    let problem = format!("cannot be written with shape {shape:?}: {error}");
                    ArrayError::Tensor { file: file.into(), tensor: name.clone(), problem }
                })?;
                Ok((name.as_str(), view))
            })
            .collect::<Result<_, ArrayError>>()?;
        let metadata = metadata.map(|(key, value)| HashMap::from([(key.into(), value.into())]));
        safetensors::serialize(views, metadata).map_err(|error| ArrayError::File {
            file: file.into(),
            problem: format!("cannot be written as safetensors: {error}"),
        })
    }
}

/// The arrays of a file, read one by one as they are asked for.
#[derive(Debug)]
pub struct ArrayReader<'bytes> {
    file: String,
    tensors: SafeTensors<'bytes>,
    metadata: Option<HashMap<String, String>>,
}

impl<'bytes> ArrayReader<'bytes> {
    /// Looks at the header of a file, which errors call `file`.
    ///
    /// # Errors
    ///
    /// [`ArrayError::File`] if it is not safetensors, or shorter or longer than its header says.
    pub fn new(bytes: &'bytes [u8], file: &str) -> Result<Self, ArrayError> {
        let broken = |error: safetensors::SafeTensorError| ArrayError::File {
            file: file.into(),
            problem: format!("not safetensors: {error}"),
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        Ok(Self { file: file.into(), tensors, metadata: header.metadata().clone() })
    }

    /// An entry of the metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.get(key).map(String::as_str)
    }

    /// The names of all arrays, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names = self.tensors.names();
        names.sort_unstable();
        names
    }

    /// Whether there is such an array.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// The shape of an array.
    ///
    /// # Errors
    ///
    /// [`ArrayError::Tensor`] if there is none of this name.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, ArrayError> {
        Ok(self.view(name)?.shape().to_vec())
    }

    /// The values of an array of `f32`, finite or not.
    ///
    /// # Errors
    ///
    /// [`ArrayError::Tensor`] if there is none of this name, or of another type.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, ArrayError> {
        Ok(self.words(name, Dtype::F32)?.map(f32::from_le_bytes).collect())
    }

    /// The values of an array of `f64`, finite or not.
    ///
    /// # Errors
    ///
    /// [`ArrayError::Tensor`] if there is none of this name, or of another type.
    pub fn f64(&self, name: &str) -> Result<Vec<f64>, ArrayError> {
        Ok(self.words(name, Dtype::F64)?.map(f64::from_le_bytes).collect())
    }

    /// The values of an array of `u32`.
    ///
    /// # Errors
    ///
    /// [`ArrayError::Tensor`] if there is none of this name, or of another type.
    pub fn u32(&self, name: &str) -> Result<Vec<u32>, ArrayError> {
        Ok(self.words(name, Dtype::U32)?.map(u32::from_le_bytes).collect())
    }

    /// The values of an array of finite `f32`.
    ///
    /// # Errors
    ///
    /// As [`f32`](Self::f32), and [`ArrayError::Tensor`] for the first value that is infinite or NaN.
    pub fn finite_f32(&self, name: &str) -> Result<Vec<f32>, ArrayError> {
        let values = self.f32(name)?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(place) => {
                Err(self.broken(name, format!("value {place} is {}, not a finite number", values[place])))
            }
            None => Ok(values),
        }
    }

    /// Refuses an array of another shape.
    ///
    /// # Errors
    ///
    /// [`ArrayError::Tensor`] with both shapes, or if there is none of this name.
    pub fn expect_shape(&self, name: &str, shape: &[usize]) -> Result<(), ArrayError> {
        let found = self.shape(name)?;
        if found == shape {
            return Ok(());
        }
        Err(self.broken(name, format!("has shape {found:?}, needed is {shape:?}")))
    }

    /// The error of an array that its caller finds wrong.
    pub fn broken(&self, name: &str, problem: String) -> ArrayError {
        ArrayError::Tensor { file: self.file.clone(), tensor: name.into(), problem }
    }

    fn view(&self, name: &str) -> Result<TensorView<'_>, ArrayError> {
        // The only reason that the library has.
        self.tensors.tensor(name).map_err(|_| self.broken(name, "is missing".into()))
    }

    /// The bytes of each value; their number is that of the type.
    fn words<const BYTES: usize>(
        &self,
        name: &str,
        dtype: Dtype,
    ) -> Result<impl Iterator<Item = [u8; BYTES]>, ArrayError> {
        let view = self.view(name)?;
        if view.dtype() != dtype {
            return Err(self.broken(name, format!("has type {:?}, supported is {dtype:?}", view.dtype())));
        }
        Ok(view.data().as_chunks::<BYTES>().0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn two_arrays() -> Vec<u8> {
        let mut arrays = ArrayWriter::default();
        arrays.put_f32("pixels", &[2, 1, 2], &[0.5, -1.0, f32::NAN, 2.0]);
        arrays.put_u32("ids", &[3], &[7, 0, u32::MAX]);
        arrays.to_bytes("two", Some(("format", "pt"))).unwrap()
    }

    #[test]
    fn arrays_come_back_with_names_shapes_and_metadata() {
        let bytes = two_arrays();
        let read = ArrayReader::new(&bytes, "two").unwrap();
        assert_eq!(read.names(), ["ids", "pixels"]);
        assert_eq!((read.contains("ids"), read.contains("id")), (true, false));
        assert_eq!(read.shape("pixels").unwrap(), [2, 1, 2]);
        assert_eq!(read.u32("ids").unwrap(), [7, 0, u32::MAX]);
        let bits: Vec<u32> = read.f32("pixels").unwrap().iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, [0.5f32, -1.0, f32::NAN, 2.0].map(f32::to_bits));
        assert_eq!((read.metadata("format"), read.metadata("other")), (Some("pt"), None));
    }

    /// Written with the library alone: what others write is read, and in the layout that others read.
    #[test]
    fn the_bytes_are_plain_safetensors() {
        let values: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![1, 2], &values).unwrap();
        let expected = safetensors::serialize([("a", view)], None).unwrap();
        let mut arrays = ArrayWriter::default();
        arrays.put_f32("a", &[1, 2], &[1.5, -2.0]);
        assert_eq!(arrays.to_bytes("x", None).unwrap(), expected);
    }

    #[test]
    fn errors_name_file_array_value_and_need() {
        let bytes = two_arrays();
        let read = ArrayReader::new(&bytes, "shard-3").unwrap();
        let said = [
            read.f32("absent").unwrap_err().to_string(),
            read.f32("ids").unwrap_err().to_string(),
            read.u32("pixels").unwrap_err().to_string(),
            read.finite_f32("pixels").unwrap_err().to_string(),
            read.expect_shape("pixels", &[4]).unwrap_err().to_string(),
        ];
        let expected = [
            "shard-3: tensor `absent`: is missing",
            "shard-3: tensor `ids`: has type U32, supported is F32",
            "shard-3: tensor `pixels`: has type F32, supported is U32",
            "shard-3: tensor `pixels`: value 2 is NaN, not a finite number",
            "shard-3: tensor `pixels`: has shape [2, 1, 2], needed is [4]",
        ];
        assert_eq!(said, expected);
        let mut arrays = ArrayWriter::default();
        arrays.put_f32("a", &[3], &[1.0, 2.0]);
        let said = arrays.to_bytes("new", None).unwrap_err().to_string();
        assert!(said.starts_with("new: tensor `a`: cannot be written with shape [3]"), "{said}");
    }

    #[test]
    fn files_that_end_early_or_late_are_refused() {
        let bytes = two_arrays();
        for length in 0..bytes.len() {
            let said = ArrayReader::new(&bytes[..length], "cut").unwrap_err().to_string();
            assert!(said.starts_with("cut: not safetensors: "), "{length}: {said}");
        }
        assert!(ArrayReader::new(&[&bytes[..], &[0]].concat(), "long").is_err());
    }

    proptest! {
        /// A changed header is refused or read; what is read has the sizes that its shape says.
        #[test]
        fn damaged_headers(changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..=255), 1..5)) {
            let mut bytes = two_arrays();
            let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            for (place, flip) in changes {
                bytes[place.index(header)] ^= flip;
            }
            if let Ok(read) = ArrayReader::new(&bytes, "damaged") {
                for name in read.names() {
                    let count: usize = read.shape(name).unwrap().iter().product();
                    if let Ok(values) = read.f32(name) {
                        prop_assert_eq!(values.len(), count);
                    }
                }
            }
        }
    }
}
