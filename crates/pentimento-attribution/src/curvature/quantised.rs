//! Vectors of a value per parameter in 8 bits, and their inner products with gradients.

use super::CurvatureError;
use super::matrices::product;
use rayon::prelude::*;
use std::ops::Range;

/// Parameters whose products are made at once: as many values of all vectors, widened, as the second-level cache holds.
const PART: usize = 4096;
/// Values that share a scale.
const BLOCK: usize = 256;
/// The largest value of 8 bits, on both sides of zero.
const LARGEST: f32 = 127.0;
/// 1.5 * 2^23.
const ROUNDER: f32 = 12_582_912.0;

/// Vectors of a value for each parameter, in 8 bits with a scale for 256 of them: an error of at most 1/254 of the largest of
/// these.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedRows {
    parameters: usize,
    rows: usize,
    /// `[parameters, rows]`: what is multiplied at once lies together.
    values: Vec<i8>,
    /// `[blocks of parameters, rows]`.
    scales: Vec<f32>,
}

impl QuantisedRows {
    /// Some vectors of zeros.
    pub fn zeros(parameters: usize, rows: usize) -> Self {
        let scales = vec![0.0; parameters.div_ceil(BLOCK) * rows];
        Self { parameters, rows, values: vec![0; parameters * rows], scales }
    }

    /// Rounds a vector into its row.
    ///
    /// # Errors
    ///
    /// [`CurvatureError::Mismatch`] if it has another length, or there is no such row.
    pub fn set(&mut self, row: usize, vector: &[f32]) -> Result<(), CurvatureError> {
        let mismatch = |what: &str, found: usize, expected: String| {
            Err(CurvatureError::Mismatch { what: what.into(), found: found.to_string(), expected })
        };
        if vector.len() != self.parameters {
            return mismatch("the length of a gradient", vector.len(), self.parameters.to_string());
        }
        if row >= self.rows {
            return mismatch("the number of a row", row, format!("below {}", self.rows));
        }
        for (block, values) in vector.chunks(BLOCK).enumerate() {
            let scale = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs())) / LARGEST;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            self.scales[block * self.rows + row] = scale;
            for (place, value) in values.iter().enumerate() {
                // Adding it rounds to a whole number, as f32 then has no places after the point.
                let rounded = (value * inverse + ROUNDER) - ROUNDER;
                self.values[(block * BLOCK + place) * self.rows + row] = rounded as i8;
            }
        }
        Ok(())
    }

    /// Number of vectors.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The parameters, in parts that are worked on at once.
    pub(super) fn parts(&self) -> Vec<Range<usize>> {
        let part = |part: usize| part * PART..((part + 1) * PART).min(self.parameters);
        (0..self.parameters.div_ceil(PART)).map(part).collect()
    }

    /// Some parameters of all vectors, `[parameters, rows]`.
    pub(super) fn widened(&self, first: usize, count: usize) -> Vec<f32> {
        let mut widened = Vec::with_capacity(count * self.rows);
        for place in first..first + count {
            let scales = &self.scales[place / BLOCK * self.rows..][..self.rows];
            let values = &self.values[place * self.rows..][..self.rows];
            widened.extend(values.iter().zip(scales).map(|(&value, scale)| f32::from(value) * scale));
        }
        widened
    }

    /// Inner products `[gradients][rows]` with gradients `[gradients, parameters]`; several parts of the parameters at a time.
    ///
    /// # Errors
    ///
    /// [`CurvatureError`] if the gradients have another length.
    pub fn products(&self, gradients: &[f32]) -> Result<Vec<Vec<f64>>, CurvatureError> {
        let count = gradients.len() / self.parameters.max(1);
        if count * self.parameters != gradients.len() {
            return Err(CurvatureError::Mismatch {
                what: "the length of gradients".into(),
                found: gradients.len().to_string(),
                expected: format!("a multiple of {}", self.parameters),
            });
        }
        let columns = self.rows;
        let mut sums = vec![vec![0.0f64; columns]; count];
        if columns == 0 || count == 0 {
            return Ok(sums);
        }
        let parts: Vec<Vec<f32>> = self
            .parts()
            .into_par_iter()
            .map(|part| {
                let (first, length) = (part.start, part.len());
                let gradients: Vec<f32> = gradients
                    .chunks_exact(self.parameters)
                    .flat_map(|gradient| gradient[first..first + length].iter().copied())
                    .collect();
                let widened = self.widened(first, length);
                product(&gradients, &widened, count, length, columns)
            })
            .collect::<Result<_, CurvatureError>>()?;
        for part in parts {
            for (sums, row) in sums.iter_mut().zip(part.chunks_exact(columns)) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
            }
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_noise::{Purpose, Stream};

    fn normals(number: u32, length: usize) -> Vec<f32> {
        let mut values = vec![0.0; length];
        Stream::new(2, Purpose::Test, number, 0).fill_normal(&mut values);
        values
    }

    #[test]
    fn products_are_those_of_the_rounded_vectors_and_near_those_of_the_vectors() {
        for parameters in [1, 255, 4096, 4097, 10_000] {
            let vectors: Vec<Vec<f32>> = (0..3).map(|row| normals(row, parameters)).collect();
            let gradients: Vec<Vec<f32>> = (10..12).map(|row| normals(row, parameters)).collect();
            let mut rows = QuantisedRows::zeros(parameters, vectors.len());
            for (row, vector) in vectors.iter().enumerate() {
                rows.set(row, vector).unwrap();
            }
            let widened = rows.widened(0, parameters);
            let kept: Vec<Vec<f32>> =
                (0..3).map(|row| widened.iter().skip(row).step_by(3).copied().collect()).collect();
            let products = rows.products(&gradients.concat()).unwrap();
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            };
            for (found, gradient) in products.iter().zip(&gradients) {
                for ((found, vector), kept) in found.iter().zip(&vectors).zip(&kept) {
                    let scale = (dot(gradient, gradient) * dot(vector, vector)).sqrt();
                    assert!((found - dot(gradient, kept)).abs() < 1e-6 * scale);
                    // Rounding errors are up to 1/254 of the largest of 256 values, and independent.
                    assert!(
                        (found - dot(gradient, vector)).abs()
                            < 0.05 * scale / (parameters as f64).sqrt().max(3.0)
                    );
                }
            }
            for (vector, kept) in vectors.iter().zip(&kept) {
                for (vector, kept) in vector.chunks(BLOCK).zip(kept.chunks(BLOCK)) {
                    let largest = vector.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                    assert!(vector.iter().zip(kept).all(|(a, b)| (a - b).abs() <= largest / 253.0));
                }
            }
        }
        let mut rows = QuantisedRows::zeros(300, 1);
        rows.set(0, &[0.0; 300]).unwrap();
        assert_eq!(rows.products(&[1.0; 300]).unwrap(), [[0.0]]);
        assert!(rows.set(0, &[0.0; 299]).is_err() && rows.set(1, &[0.0; 300]).is_err());
        assert!(rows.products(&[1.0; 301]).is_err());
    }
}
