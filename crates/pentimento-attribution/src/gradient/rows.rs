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
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;
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
    /// [`RowError`] naming the column or property, if the file is damaged, is of something else than `subject`, or its
    /// features have other sizes.
    pub fn from_arrow(
        bytes: &[u8],
        file: &str,
        subject: &str,
        parts: usize,
        dimension: usize,
    ) -> Result<Self, RowError> {
        let arrow = |source| RowError::Arrow { file: file.into(), source };
        let bad = |field, value: String, bound: &str| RowError::Field {
            file: file.into(),
            field,
            value,
            bound: bound.into(),
        };
        let reader = FileReader::try_new(Cursor::new(bytes), None).map_err(arrow)?;
        let schema = reader.schema();
        let found = |key| schema.metadata().get(key).map_or("", String::as_str).to_owned();
        if found(SUBJECT) != subject {
            return Err(bad(SUBJECT, format!("`{}`", found(SUBJECT)), &format!("`{subject}`")));
        }
        let mut rows = Self { images: Vec::new(), parts, dimension, values: Vec::new() };
        for batch in reader {
            let batch = batch.map_err(arrow)?;
            rows.append(&batch, &found(PRECISION)).map_err(|(field, value)| {
                bad(field, value, "as this program writes it: without nulls, the parts of an image in order")
            })?;
        }
        Ok(rows)
    }

    fn append(&mut self, batch: &RecordBatch, precision: &str) -> Result<(), (&'static str, String)> {
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
        let parts: &UInt32Array = column(batch, "part")?;
        let scales: &Float32Array = column(batch, "scale")?;
        let features: &FixedSizeListArray = column(batch, "feature")?;
        if features.value_length() as usize != self.dimension {
            return Err((
                "feature",
                format!("a list of {}, not {}", features.value_length(), self.dimension),
            ));
        }
        if self.parts == 0 || !batch.num_rows().is_multiple_of(self.parts) {
            return Err(("part", format!("{} rows, not {} for each image", batch.num_rows(), self.parts)));
        }
        let stored = Stored::of(features.values().as_ref(), precision)
            .ok_or_else(|| ("feature", format!("of type {}", features.values().data_type())))?;
        let start = self.values.len();
        self.values.resize(start + batch.num_rows() * self.dimension, 0.0);
        for (row, target) in self.values[start..].chunks_exact_mut(self.dimension).enumerate() {
            let part = row % self.parts;
            let image = RowKey::try_from(images.value(row))
                .map_err(|_| ("image", format!("of {} bytes", images.value(row).len())))?;
            if parts.value(row) as usize != part {
                return Err(("part", format!("{} in row {row}", parts.value(row))));
            }
            if part == 0 {
                self.images.push(image);
            } else if self.images.last() != Some(&image) {
                return Err(("image", format!("another within the parts of one, in row {row}")));
            }
            let range = row * self.dimension..(row + 1) * self.dimension;
            if !scales.value(row).is_finite() || !stored.read(range, scales.value(row), target) {
                return Err(("feature", format!("not finite in row {row}")));
            }
        }
        Ok(())
    }
}

/// The numbers of features as they are kept.
enum Stored<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl<'a> Stored<'a> {
    fn of(values: &'a dyn Array, precision: &str) -> Option<Self> {
        Some(match precision {
            "f32" => Self::F32(numbers::<Float32Type>(values)?),
            "f16" => Self::F16(numbers::<Float16Type>(values)?),
            "bf16" => Self::Bf16(numbers::<UInt16Type>(values)?.reinterpret_cast()),
            _ => return None,
        })
    }

    /// Writes a range of numbers, each times `scale`; false if one is not finite.
    fn read(&self, range: Range<usize>, scale: f32, target: &mut [f32]) -> bool {
        match self {
            Self::F32(values) => target.copy_from_slice(&values[range]),
            Self::F16(values) => values[range].convert_to_f32_slice(target),
            Self::Bf16(values) => values[range].convert_to_f32_slice(target),
        }
        target.iter_mut().for_each(|value| *value *= scale);
        all_finite(target)
    }
}

/// Whether all values are finite. The largest exponent tells, and integers have a largest in whole vectors.
pub(super) fn all_finite(values: &[f32]) -> bool {
    let exponent = f32::INFINITY.to_bits();
    values.iter().fold(0, |largest: u32, value| largest.max(value.to_bits() & exponent)) < exponent
}

fn numbers<T: ArrowPrimitiveType>(values: &dyn Array) -> Option<&[T::Native]> {
    if values.null_count() > 0 {
        return None;
    }
    Some(values.as_any().downcast_ref::<PrimitiveArray<T>>()?.values())
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
            let again = FeatureRows::from_arrow(&file, "file", "a network", 3, 17).unwrap();
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
            FeatureRows::from_arrow(bytes, "file", subject, parts, dimension).unwrap_err().to_string()
        };
        assert!(read(&file, "another", 2, 4).contains("`a network`, but must be `another`"));
        assert!(read(&file, "a network", 3, 4).contains("`part`"));
        assert!(read(&file, "a network", 2, 5).contains("`feature`"));
        assert!(read(&file, "a network", 1, 4).contains("`part`"));
        assert!(read(b"no Arrow", "a network", 2, 4).contains("Arrow IPC"));
        for length in (0..file.len()).step_by(7) {
            assert!(FeatureRows::from_arrow(&file[..length], "file", "a network", 2, 4).is_err());
        }
    }
}
