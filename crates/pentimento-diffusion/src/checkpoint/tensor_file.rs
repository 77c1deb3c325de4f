//! A safetensors file whose tensors are read one at a time, so that no more than one of them is in memory beside what was
//! made of them.

use super::signature::{FIRST_BYTES, is_pickle, what_it_is};
use crate::arrays::ArrayError;
use crate::unet::StoredValues;
use bytemuck::Pod;
use safetensors::tensor::{Dtype, Metadata};
use std::io::{Read, Seek, SeekFrom};

/// Longest header, which is that of the safetensors library.
const LONGEST_HEADER_BYTES: u64 = 100_000_000;

/// An open safetensors file.
#[derive(Debug)]
pub struct TensorFile<R> {
    file: String,
    reader: R,
    data_start: u64,
    metadata: Metadata,
}

impl<R: Read + Seek> TensorFile<R> {
    /// Reads the header of a file, which errors call `file`.
    ///
    /// # Errors
    ///
    /// [`ArrayError::File`] if it cannot be read, is not safetensors, or is shorter or longer than its header says.
    pub fn open(mut reader: R, file: &str) -> Result<Self, ArrayError> {
        let broken = |problem: String| ArrayError::File { file: file.into(), problem };
        let unreadable = |error: std::io::Error| broken(format!("cannot be read: {error}"));
        let length = reader.seek(SeekFrom::End(0)).map_err(unreadable)?;
        reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let mut start = vec![0; length.min(FIRST_BYTES as u64) as usize];
        reader.read_exact(&mut start).map_err(unreadable)?;
        // The length of a header may have any first bytes; behind it stands a brace.
        let has_header = start.get(8) == Some(&b'{');
        if let Some(instead) = what_it_is(&start).filter(|_| !has_header) {
            return Err(broken(instead.into()));
        }
        if is_pickle(&start) && !has_header {
            return Err(broken(
                "not safetensors but a pickle, as `torch.save` writes it, under another name".into(),
            ));
        }
        let Some(announced) = start.first_chunk() else {
            return Err(broken(format!("cut short: {length} bytes, its header alone takes more")));
        };
        let announced = u64::from_le_bytes(*announced);
        let left = length - size_of_val(&announced) as u64;
        if announced > LONGEST_HEADER_BYTES || (left > 0 && !has_header) {
            return Err(broken(format!(
                "not safetensors: a header of {announced} bytes is announced, {left} bytes follow and at most \
                 {LONGEST_HEADER_BYTES} are taken"
            )));
        }
        if announced > left {
            return Err(broken(format!(
                "cut short within its header: {left} of {announced} bytes are there"
            )));
        }
        reader.seek(SeekFrom::Start(size_of_val(&announced) as u64)).map_err(unreadable)?;
        let mut header = vec![0; announced as usize];
        reader.read_exact(&mut header).map_err(unreadable)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| broken(format!("not safetensors, by its header: {error}")))?;
        let (data, announced) = (left - announced, metadata.data_len() as u64);
        let whole = length - data + announced;
        if data < announced {
            return Err(broken(format!("cut short: {length} of {whole} bytes are there")));
        }
        if data > announced {
            let more = data - announced;
            return Err(broken(format!(
                "not safetensors: {more} bytes follow the {whole} that its header says"
            )));
        }
        Ok(Self { file: file.into(), reader, data_start: length - data, metadata })
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        &self.file
    }

    /// The names of all tensors, in the order in which they lie in the file.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// An entry of the header's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    ///
    /// [`ArrayError::Tensor`] if there is none of this name.
    pub fn shape(&self, name: &str) -> Result<&[usize], ArrayError> {
        match self.metadata.info(name) {
            Some(info) => Ok(&info.shape),
            None => Err(self.broken(name, "is missing".into())),
        }
    }

    /// The values of a tensor of `F32`, `F16` or `BF16`, all of which `f32` holds exactly.
    ///
    /// # Errors
    ///
    /// [`ArrayError::Tensor`] if there is none of this name, it has another type, or a value is infinite or NaN;
    /// [`ArrayError::File`] if the file cannot be read.
    pub fn finite_f32(&mut self, name: &str) -> Result<Vec<f32>, ArrayError> {
        Ok(self.finite(name)?.into_f32())
    }

    /// The values of a tensor of `F32`, `F16` or `BF16` in its type.
    ///
    /// # Errors
    ///
    /// As [`finite_f32`](Self::finite_f32).
    pub fn finite(&mut self, name: &str) -> Result<StoredValues, ArrayError> {
        let Some(info) = self.metadata.info(name) else {
            return Err(self.broken(name, "is missing".into()));
        };
        let (dtype, (from, to)) = (info.dtype, info.data_offsets);
        let values = match dtype {
            Dtype::F32 => StoredValues::F32(
                self.little_endian(from, to, |value: f32| f32::from_bits(u32::from_le(value.to_bits())))?,
            ),
            Dtype::F16 => StoredValues::F16(self.little_endian(from, to, u16::from_le)?),
            Dtype::BF16 => StoredValues::Bf16(self.little_endian(from, to, u16::from_le)?),
            _ => {
                return Err(self.broken(name, format!("has type {dtype:?}, supported are F32, F16 and BF16")));
            }
        };
        let infinite = match &values {
            StoredValues::F32(values) => first_of(values, |value| !value.is_finite()),
            StoredValues::F16(bits) => first_of(bits, |bits| bits & F16_EXPONENT == F16_EXPONENT),
            StoredValues::Bf16(bits) => first_of(bits, |bits| bits & BF16_EXPONENT == BF16_EXPONENT),
        };
        match infinite {
            Some(place) => {
                let value = values.to_f32()[place];
                Err(self.broken(name, format!("value {place} is {value}, not a finite number")))
            }
            None => Ok(values),
        }
    }

    /// The numbers between two places of the data, which `own` turns from the file's order of bytes into the processor's.
    fn little_endian<T: Pod>(
        &mut self,
        from: usize,
        to: usize,
        own: impl Fn(T) -> T,
    ) -> Result<Vec<T>, ArrayError> {
        let mut values = vec![T::zeroed(); (to - from) / size_of::<T>()];
        self.reader
            .seek(SeekFrom::Start(self.data_start + from as u64))
            .and_then(|_| self.reader.read_exact(bytemuck::cast_slice_mut(&mut values)))
            .map_err(|error| ArrayError::File {
                file: self.file.clone(),
                problem: format!("cannot be read: {error}"),
            })?;
        values.iter_mut().for_each(|value| *value = own(*value));
        Ok(values)
    }

    /// The error of a tensor that its caller finds wrong.
    pub fn broken(&self, name: &str, problem: String) -> ArrayError {
        ArrayError::Tensor { file: self.file.clone(), tensor: name.into(), problem }
    }
}

/// The bits of the exponents of numbers of 16 bits; all of them are set in what is no finite number.
const F16_EXPONENT: u16 = 0x7c00;
const BF16_EXPONENT: u16 = 0x7f80;

/// Where the first value of a kind is. All values of a part are looked at together, which processors do many times as fast as one after
/// another.
fn first_of<T: Copy>(values: &[T], is_one: impl Fn(T) -> bool) -> Option<usize> {
    const PART: usize = 1024;
    let any = |part: &[T]| part.iter().fold(false, |found, &value| found | is_one(value));
    let first = PART * values.chunks(PART).position(any)?;
    values[first..].iter().position(|&value| is_one(value)).map(|place| first + place)
}
