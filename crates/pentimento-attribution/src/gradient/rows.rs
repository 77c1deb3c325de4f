//! Features as a file: an Arrow IPC file (Feather 2), which pyarrow, pandas, polars and DuckDB open by themselves.
//!
//! | column | type | |
//! | --- | --- | --- |
//! | `image` | fixed-size binary, 32 bytes | digest of what the network was shown |
//! | `part` | uint32 | which part of the image's draws: a group of draws, or one draw |
//! | `scale` | float32 | what the feature is to be multiplied with |
//! | `feature` | fixed-size list of float32, float16 or, for bf16, uint16 | Z numbers |
//!
//! The parts of an image follow each other. Rows of 16 bits are divided by their largest magnitude, so that gradients of any
//! size fit; `scale` has it. The schema's metadata say what the features are of.

use arrow_array::types::{Float16Type, Float32Type, UInt16Type};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, FixedSizeBinaryArray, FixedSizeListArray, Float32Array,
    PrimitiveArray, RecordBatch, UInt32Array,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::root_as_footer;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use half::{bf16, f16};
use pentimento_kernels::{widen_bf16, widen_f16};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// How the numbers of a feature are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowPrecision {
    /// 32 bits.
    F32,
    /// 16 bits with 11 of precision: a rounding of 0.05 %, where the projection itself has one of some per cent.
    #[default]
    F16,
    /// 16 bits with 8 of precision.
    Bf16,
}

impl RowPrecision {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// Digest of what the network was shown: the image's values and its class.
pub type RowKey = [u8; 32];

/// Features of some images.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRows {
    /// The images.
    pub images: Vec<RowKey>,
    /// Parts of each image.
    pub parts: usize,
    /// Length of a feature.
    pub dimension: usize,
    /// `[images, parts, dimension]`.
    pub values: Vec<f32>,
}

/// A file that does not hold the features that are looked for.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// Not an Arrow file, or one that is damaged.
    #[error("{file} cannot be read as Arrow IPC")]
    Arrow {
        /// The file.
        file: String,
        /// What Arrow says.
        #[source]
        source: ArrowError,
    },
    /// A column or a property that is not as it should be.
    #[error("{file}: `{field}` is {value}, but must be {bound}")]
    Field {
        /// The file.
        file: String,
        /// The column or property.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it would have to be.
        bound: String,
    },
}

/// Key of the metadata that say what the features are of.
const SUBJECT: &str = "pentimento.features_of";
/// Key of the metadata that say how 16 bits are to be read.
const PRECISION: &str = "pentimento.precision";

impl FeatureRows {
    /// Values of one image.
    pub fn parts_of(&self, image: usize) -> &[f32] {
        let length = self.parts * self.dimension;
        &self.values[image * length..(image + 1) * length]
    }

    /// The file. `subject` says what the features are of (network, draws, projection); reading compares it.
    ///
    /// # Errors
    ///
    /// [`RowError`] if the values are not as many as images, parts and dimension say.
    pub fn to_arrow(&self, precision: RowPrecision, subject: &str) -> Result<Vec<u8>, RowError> {
        let file = "features".to_owned();
        let rows = self.images.len() * self.parts;
        if self.values.len() != rows * self.dimension {
            return Err(RowError::Field {
                file,
                field: "feature",
                value: format!("{} values", self.values.len()),
                bound: format!("{rows} rows of {}", self.dimension),
            });
        }
        self.write(precision, subject).map_err(|source| RowError::Arrow { file, source })
    }

    fn write(&self, precision: RowPrecision, subject: &str) -> Result<Vec<u8>, ArrowError> {
        let images = self.images.iter().flat_map(|image| std::iter::repeat_n(image, self.parts));
        let images: ArrayRef = if self.images.is_empty() {
            Arc::new(FixedSizeBinaryArray::new_null(32, 0))
        } else {
            Arc::new(FixedSizeBinaryArray::try_from_iter(images)?)
        };
        let parts = UInt32Array::from_iter_values(self.images.iter().flat_map(|_| 0..self.parts as u32));
        let largest = |row: &[f32]| row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let scales: Vec<f32> = self
            .values
            .chunks_exact(self.dimension)
            .map(|row| match (precision, largest(row)) {
                (RowPrecision::F32, _) | (_, 0.0) => 1.0,
                (_, largest) => largest,
            })
            .collect();
        let scaled = || {
            let rows = self.values.chunks_exact(self.dimension).zip(&scales);
            rows.flat_map(|(row, scale)| row.iter().map(move |value| value / scale))
        };
        let values: ArrayRef = match precision {
            RowPrecision::F32 => Arc::new(PrimitiveArray::<Float32Type>::from_iter_values(scaled())),
            RowPrecision::F16 => {
                Arc::new(PrimitiveArray::<Float16Type>::from_iter_values(scaled().map(f16::from_f32)))
            }
            RowPrecision::Bf16 => Arc::new(PrimitiveArray::<UInt16Type>::from_iter_values(
                scaled().map(|value| bf16::from_f32(value).to_bits()),
            )),
        };
        let item = Arc::new(Field::new("item", values.data_type().clone(), false));
        let features = FixedSizeListArray::try_new(Arc::clone(&item), self.dimension as i32, values, None)?;
        let metadata = HashMap::from([
            (SUBJECT.to_owned(), subject.to_owned()),
            (PRECISION.to_owned(), precision.name().to_owned()),
        ]);
        let schema = Schema::new(vec![
            Field::new("image", DataType::FixedSizeBinary(32), false),
            Field::new("part", DataType::UInt32, false),
            Field::new("scale", DataType::Float32, false),
            Field::new("feature", features.data_type().clone(), false),
        ])
        .with_metadata(metadata);
        let columns: Vec<ArrayRef> =
            vec![images, Arc::new(parts), Arc::new(Float32Array::from(scales)), Arc::new(features)];
        let batch = RecordBatch::try_new(Arc::new(schema), columns)?;
        let mut writer = FileWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        writer.into_inner()
    }

    /// Reads what [`to_arrow`](Self::to_arrow) wrote, in any precision. Errors call it `file`.
    ///
    /// # Errors
    ///
    /// As [`FeatureFile::open`], or if a value is not finite.
    pub fn from_arrow(
        bytes: Vec<u8>,
        file: &str,
        subject: &str,
        parts: usize,
        dimension: usize,
    ) -> Result<Self, RowError> {
        let kept = FeatureFile::open(bytes.into(), file, subject, parts, dimension)?;
        let mut values = vec![0.0; kept.images.len() * parts * dimension];
        for (row, target) in values.chunks_exact_mut(dimension.max(1)).enumerate() {
            kept.read(row, 0, target);
            if !all_finite(target) {
                return Err(RowError::Field {
                    file: file.into(),
                    field: "feature",
                    value: format!("not finite in row {row}"),
                    bound: "numbers".into(),
                });
            }
        }
        Ok(Self { images: kept.images, parts, dimension, values })
    }
}

/// A file of features, whose numbers are read where they are.
pub struct FeatureFile {
    images: Vec<RowKey>,
    parts: usize,
    dimension: usize,
    scales: Vec<f32>,
    numbers: Numbers,
}

/// The numbers of features as they are kept.
enum Numbers {
    F32(ScalarBuffer<f32>),
    F16(ScalarBuffer<u16>),
    Bf16(ScalarBuffer<u16>),
}

impl FeatureFile {
    /// Opens what [`FeatureRows::to_arrow`] wrote, in any precision; its numbers are not copied. Errors call it `file`.
    ///
    /// # Errors
    ///
    /// [`RowError`] naming the column or property, if the file is damaged, is of something else than `subject`, or its
    /// features have other sizes. Whether the numbers are finite is for the reader to see.
    pub fn open(
        bytes: Buffer,
        file: &str,
        subject: &str,
        parts: usize,
        dimension: usize,
    ) -> Result<Self, RowError> {
        let bad = |field, value: String, bound: &str| RowError::Field {
            file: file.into(),
            field,
            value,
            bound: bound.into(),
        };
        let (schema, batches) =
            batches(&bytes).map_err(|source| RowError::Arrow { file: file.into(), source })?;
        let found = |key| schema.metadata().get(key).map_or("", String::as_str).to_owned();
        if found(SUBJECT) != subject {
            return Err(bad(SUBJECT, format!("`{}`", found(SUBJECT)), &format!("`{subject}`")));
        }
        let [batch] = batches.as_slice() else {
            return Err(bad("feature", format!("in {} batches", batches.len()), "in one batch"));
        };
        Self::of(batch, &found(PRECISION), parts, dimension).map_err(|(field, value)| {
            bad(field, value, "as this program writes it: without nulls, the parts of an image in order")
        })
    }

    fn of(
        batch: &RecordBatch,
        precision: &str,
        parts: usize,
        dimension: usize,
    ) -> Result<Self, (&'static str, String)> {
        fn column<'a, A: 'static>(
            batch: &'a RecordBatch,
            name: &'static str,
        ) -> Result<&'a A, (&'static str, String)> {
            let column = batch.column_by_name(name).ok_or((name, "missing".to_owned()))?;
            let kind = || (name, format!("of type {}", column.data_type()));
            if column.null_count() > 0 {
                return Err((name, "null in places".into()));
            }
            column.as_any().downcast_ref::<A>().ok_or_else(kind)
        }
        let images: &FixedSizeBinaryArray = column(batch, "image")?;
        let numbers_of_parts: &UInt32Array = column(batch, "part")?;
        let scales: &Float32Array = column(batch, "scale")?;
        let features: &FixedSizeListArray = column(batch, "feature")?;
        if features.value_length() as usize != dimension {
            return Err(("feature", format!("a list of {}, not {dimension}", features.value_length())));
        }
        if parts == 0 || !batch.num_rows().is_multiple_of(parts) {
            return Err(("part", format!("{} rows, not {parts} for each image", batch.num_rows())));
        }
        let numbers = Numbers::of(features.values().as_ref(), precision)
            .filter(|numbers| numbers.len() == batch.num_rows() * dimension)
            .ok_or_else(|| ("feature", format!("of type {}", features.values().data_type())))?;
        let mut keys: Vec<RowKey> = Vec::with_capacity(batch.num_rows() / parts);
        for row in 0..batch.num_rows() {
            let image = RowKey::try_from(images.value(row))
                .map_err(|_| ("image", format!("of {} bytes", images.value(row).len())))?;
            if numbers_of_parts.value(row) as usize != row % parts {
                return Err(("part", format!("{} in row {row}", numbers_of_parts.value(row))));
            }
            if row % parts == 0 {
                keys.push(image);
            } else if keys.last() != Some(&image) {
                return Err(("image", format!("another within the parts of one, in row {row}")));
            }
            if !scales.value(row).is_finite() {
                return Err(("scale", format!("not finite in row {row}")));
            }
        }
        Ok(Self { images: keys, parts, dimension, scales: scales.values().to_vec(), numbers })
    }

    /// The images.
    pub fn images(&self) -> &[RowKey] {
        &self.images
    }

    /// Parts of each image.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Length of a feature.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Writes the numbers of a row from `first` on, as many as there is room for.
    fn read(&self, row: usize, first: usize, target: &mut [f32]) {
        let start = row * self.dimension + first;
        let range = start..start + target.len();
        let scale = self.scales[row];
        match &self.numbers {
            Numbers::F32(values) => {
                for (target, value) in target.iter_mut().zip(&values[range]) {
                    *target = value * scale;
                }
            }
            Numbers::F16(values) => widen_f16(&values[range], scale, target),
            Numbers::Bf16(values) => widen_bf16(&values[range], scale, target),
        }
    }

    /// Writes the mean over some parts of an image's feature, from number `first` on.
    pub(super) fn read_mean(&self, image: usize, parts: &[usize], first: usize, target: &mut [f32]) {
        let row = |part: &usize| image * self.parts + part;
        if let [part] = parts {
            return self.read(row(part), first, target);
        }
        let share = 1.0 / parts.len() as f32;
        let mut values = [0.0; 256];
        for (piece, sums) in target.chunks_mut(values.len()).enumerate() {
            let values = &mut values[..sums.len()];
            sums.fill(0.0);
            for part in parts {
                self.read(row(part), first + piece * 256, values);
                for (sum, value) in sums.iter_mut().zip(&*values) {
                    *sum += value;
                }
            }
            sums.iter_mut().for_each(|sum| *sum *= share);
        }
    }
}

/// What an Arrow file has, without a copy.
fn batches(bytes: &Buffer) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let damaged = || ArrowError::ParseError("a part of the file lies outside of it".into());
    let trailer = bytes.len().checked_sub(TRAILER).ok_or_else(damaged)?;
    let end = bytes[trailer..].try_into().map_err(|_| damaged())?;
    let start = trailer.checked_sub(read_footer_length(end)?).ok_or_else(damaged)?;
    let footer = root_as_footer(&bytes[start..trailer])
        .map_err(|error| ArrowError::ParseError(format!("unable to read the footer: {error}")))?;
    let schema = Arc::new(try_fb_to_schema(footer.schema().ok_or_else(damaged)?)?);
    let decoder = FileDecoder::new(Arc::clone(&schema), footer.version());
    let mut batches = Vec::new();
    for block in footer.recordBatches().iter().flatten() {
        let size = |length: i64| usize::try_from(length).map_err(|_| damaged());
        let (offset, head) = (size(block.offset())?, size(i64::from(block.metaDataLength()))?);
        let length = head.checked_add(size(block.bodyLength())?).ok_or_else(damaged)?;
        if offset.checked_add(length).is_none_or(|end| end > bytes.len()) {
            return Err(damaged());
        }
        batches.extend(decoder.read_record_batch(block, &bytes.slice_with_length(offset, length))?);
    }
    Ok((schema, batches))
}

/// Bytes behind the footer of an Arrow file: its length, and six letters.
const TRAILER: usize = 10;

impl Numbers {
    fn of(values: &dyn Array, precision: &str) -> Option<Self> {
        fn buffer<T: ArrowPrimitiveType>(values: &dyn Array) -> Option<&ScalarBuffer<T::Native>> {
            if values.null_count() > 0 {
                return None;
            }
            Some(values.as_any().downcast_ref::<PrimitiveArray<T>>()?.values())
        }
        Some(match precision {
            "f32" => Self::F32(buffer::<Float32Type>(values)?.clone()),
            "f16" => {
                let values = buffer::<Float16Type>(values)?;
                Self::F16(ScalarBuffer::new(values.inner().clone(), 0, values.len()))
            }
            "bf16" => Self::Bf16(buffer::<UInt16Type>(values)?.clone()),
            _ => return None,
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) | Self::Bf16(values) => values.len(),
        }
    }
}

/// Whether all values are finite. The largest exponent tells, and integers have a largest in whole vectors.
pub(super) fn all_finite(values: &[f32]) -> bool {
    let exponent = f32::INFINITY.to_bits();
    values.iter().fold(0, |largest: u32, value| largest.max(value.to_bits() & exponent)) < exponent
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_noise::{Purpose, Stream};

    fn rows(images: usize, parts: usize, dimension: usize) -> FeatureRows {
        let mut values = vec![0.0; images * parts * dimension];
        Stream::new(5, Purpose::Test, 0, 0).fill_normal(&mut values);
        // As small as gradients are: far below the smallest number of f16.
        values.iter_mut().for_each(|value| *value *= 1e-9);
        let images = (0..images).map(|image| [image as u8 + 1; 32]).collect();
        FeatureRows { images, parts, dimension, values }
    }

    #[test]
    fn rows_come_back_in_the_precision_they_were_kept_in() {
        let rows = rows(5, 3, 17);
        for (precision, bound) in [
            (RowPrecision::F32, 0.0),
            (RowPrecision::F16, 2f32.powi(-11)),
            (RowPrecision::Bf16, 2f32.powi(-8)),
        ] {
            let file = rows.to_arrow(precision, "a network").unwrap();
            let again = FeatureRows::from_arrow(file.clone(), "file", "a network", 3, 17).unwrap();
            assert_eq!((&again.images, again.parts), (&rows.images, 3));
            for (row, (a, b)) in rows.values.chunks(17).zip(again.values.chunks(17)).enumerate() {
                let largest = a.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                for (a, b) in a.iter().zip(b) {
                    // Half a unit of the value, or of the smallest number of f16 beside a largest of one.
                    let bound = bound * a.abs() + if bound > 0.0 { 2f32.powi(-24) * largest } else { 0.0 };
                    assert!((a - b).abs() <= bound, "{a} and {b} in row {row} at {precision:?}");
                }
            }
            assert_eq!(file, rows.to_arrow(precision, "a network").unwrap(), "the same bytes");
        }
    }

    #[test]
    fn files_of_something_else_are_refused() {
        let file = rows(2, 2, 4).to_arrow(RowPrecision::F16, "a network").unwrap();
        let read = |bytes: &[u8], subject, parts, dimension| {
            FeatureRows::from_arrow(bytes.to_vec(), "file", subject, parts, dimension)
                .unwrap_err()
                .to_string()
        };
        assert!(read(&file, "another", 2, 4).contains("`a network`, but must be `another`"));
        assert!(read(&file, "a network", 3, 4).contains("`part`"));
        assert!(read(&file, "a network", 2, 5).contains("`feature`"));
        assert!(read(&file, "a network", 1, 4).contains("`part`"));
        assert!(read(b"no Arrow", "a network", 2, 4).contains("Arrow IPC"));
        for length in (0..file.len()).step_by(7) {
            assert!(FeatureRows::from_arrow(file[..length].to_vec(), "file", "a network", 2, 4).is_err());
        }
    }
}
