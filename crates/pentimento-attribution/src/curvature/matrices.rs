//! Products of matrices, by the kernels of the network.
//!
//! Each value is one chain of sums in the order of the rows, so it has the same bytes for any number of threads.

use super::CurvatureError;
use pentimento_kernels::{ConvGeometry, ConvShape, conv2d, conv2d_backward_weight};

/// `a b` of `[rows, inner]` and `[inner, columns]`.
pub(super) fn product(
    a: &[f32],
    b: &[f32],
    rows: usize,
    inner: usize,
    columns: usize,
) -> Result<Vec<f32>, CurvatureError> {
    let shape = shape([rows, 1, 1, inner], columns, ConvGeometry::POINTWISE)?;
    let mut output = vec![0.0; rows * columns];
    conv2d(&shape, a, b, None, &mut output);
    Ok(output)
}

/// `a' b` of `[rows, left]` and `[rows, right]`.
pub(super) fn transposed_product(
    a: &[f32],
    b: &[f32],
    rows: usize,
    left: usize,
    right: usize,
) -> Result<Vec<f32>, CurvatureError> {
    let shape = shape([rows, 1, 1, left], right, ConvGeometry::POINTWISE)?;
    let mut output = vec![0.0; left * right];
    conv2d_backward_weight(&shape, a, b, &mut output);
    Ok(output)
}

/// The sizes of a convolution, if the kernels can do it.
pub(super) fn shape(
    input: [usize; 4],
    outputs: usize,
    geometry: ConvGeometry,
) -> Result<ConvShape, CurvatureError> {
    ConvShape::new(input, outputs, geometry).map_err(CurvatureError::Shape)
}

/// `[rows, columns]` with rows and columns exchanged.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    /// Side of the squares that are exchanged one after another, so that both sides stay in the cache.
    const SQUARE: usize = 32;
    let mut result = vec![0.0; values.len()];
    for (first_row, first_column) in (0..rows)
        .step_by(SQUARE)
        .flat_map(|row| (0..columns).step_by(SQUARE).map(move |column| (row, column)))
    {
        for column in first_column..columns.min(first_column + SQUARE) {
            for row in first_row..rows.min(first_row + SQUARE) {
                result[column * rows + row] = values[row * columns + column];
            }
        }
    }
    result
}

/// The upper triangle of a symmetric matrix, row after row, in f64.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Triangle {
    pub(super) side: usize,
    pub(super) values: Vec<f64>,
}

impl Triangle {
    pub(super) fn zero(side: usize) -> Self {
        Self { side, values: vec![0.0; Self::length(side)] }
    }

    /// Number of values of a triangle.
    pub(super) fn length(side: usize) -> usize {
        side * (side + 1) / 2
    }

    /// Adds a symmetric matrix `[side, side]`, times `factor`.
    pub(super) fn add(&mut self, matrix: &[f32], factor: f64) {
        let mut rest = self.values.as_mut_slice();
        for (row, line) in matrix.chunks_exact(self.side).enumerate() {
            let (own, behind) = rest.split_at_mut(self.side - row);
            for (sum, value) in own.iter_mut().zip(&line[row..]) {
                *sum += factor * f64::from(*value);
            }
            rest = behind;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, value) in self.values.iter_mut().zip(&other.values) {
            *sum += value;
        }
    }

    /// The value at a row and a column that is not before it, times `factor`.
    pub(super) fn matrix(&self, factor: f64) -> faer::Mat<f64> {
        let first_of = |row: usize| row * self.side - row * row.saturating_sub(1) / 2;
        faer::Mat::from_fn(self.side, self.side, |a, b| {
            let (row, column) = (a.min(b), a.max(b));
            factor * self.values[first_of(row) + column - row]
        })
    }
}
