//! Products of matrices, by the kernels of the network.
//!
//! Each value is one chain of sums in the order of the rows, so it has the same bytes for any number of threads.

use super::CurvatureError;
use pentimento_kernels::{ConvGeometry, ConvShape, conv2d, conv2d_backward_weight};
use std::ops::Range;

/// Most columns, and most values of a sum, of one product of the kernels, which are channels to them. Wider matrices, such as those
/// of some thousand queries, are multiplied part by part.
const WIDEST: usize = 16_384;

/// `a b` of `[rows, inner]` and `[inner, columns]`.
pub(super) fn product(
    a: &[f32],
    b: &[f32],
    rows: usize,
    inner: usize,
    columns: usize,
) -> Result<Vec<f32>, CurvatureError> {
    product_in_parts(a, b, [rows, inner, columns], WIDEST)
}

fn product_in_parts(
    a: &[f32],
    b: &[f32],
    [rows, inner, columns]: [usize; 3],
    widest: usize,
) -> Result<Vec<f32>, CurvatureError> {
    let mut output = vec![0.0; rows * columns];
    if inner.max(columns) <= widest {
        let shape = shape([rows, 1, 1, inner], columns, ConvGeometry::POINTWISE)?;
        conv2d(&shape, a, b, None, &mut output);
        return Ok(output);
    }
    for inside in parts(inner, widest) {
        let a = columns_of(a, inner, &inside);
        for part in parts(columns, widest) {
            let b = columns_of(&b[inside.start * columns..inside.end * columns], columns, &part);
            let found = product_in_parts(&a, &b, [rows, inside.len(), part.len()], widest)?;
            for (output, found) in output.chunks_exact_mut(columns).zip(found.chunks_exact(part.len())) {
                output[part.clone()].iter_mut().zip(found).for_each(|(sum, value)| *sum += value);
            }
        }
    }
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
    transposed_product_in_parts(a, b, [rows, left, right], WIDEST)
}

fn transposed_product_in_parts(
    a: &[f32],
    b: &[f32],
    [rows, left, right]: [usize; 3],
    widest: usize,
) -> Result<Vec<f32>, CurvatureError> {
    let mut output = vec![0.0; left * right];
    if left.max(right) <= widest {
        let shape = shape([rows, 1, 1, left], right, ConvGeometry::POINTWISE)?;
        conv2d_backward_weight(&shape, a, b, &mut output);
        return Ok(output);
    }
    for of_left in parts(left, widest) {
        let a = columns_of(a, left, &of_left);
        let output = &mut output[of_left.start * right..of_left.end * right];
        for of_right in parts(right, widest) {
            let b = columns_of(b, right, &of_right);
            let found = transposed_product_in_parts(&a, &b, [rows, of_left.len(), of_right.len()], widest)?;
            for (output, found) in output.chunks_exact_mut(right).zip(found.chunks_exact(of_right.len())) {
                output[of_right.clone()].copy_from_slice(found);
            }
        }
    }
    Ok(output)
}

/// The numbers below `whole`, in parts of at most so many.
fn parts(whole: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    (0..whole).step_by(most).map(move |first| first..(first + most).min(whole))
}

/// Some columns of a matrix that has `width` of them.
fn columns_of(matrix: &[f32], width: usize, columns: &Range<usize>) -> Vec<f32> {
    matrix.chunks_exact(width).flat_map(|row| &row[columns.clone()]).copied().collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, of which every order of a sum gives the same.
    fn matrix(rows: usize, columns: usize, seed: usize) -> Vec<f32> {
        (0..rows * columns).map(|place| ((place * 7 + seed) % 11) as f32 - 5.0).collect()
    }

    #[test]
    fn wide_matrices_are_multiplied_part_by_part() {
        let [rows, inner, columns] = [5, 7, 8];
        let (a, b) = (matrix(rows, inner, 1), matrix(inner, columns, 2));
        let naive: Vec<f32> = (0..rows * columns)
            .map(|place| {
                let (row, column) = (place / columns, place % columns);
                (0..inner).map(|inside| a[row * inner + inside] * b[inside * columns + column]).sum()
            })
            .collect();
        let turned = transposed(&a, rows, inner);
        for widest in [1, 3, 4, 7, 8, 100] {
            assert_eq!(product_in_parts(&a, &b, [rows, inner, columns], widest).unwrap(), naive, "{widest}");
            let found = transposed_product_in_parts(&turned, &b, [inner, rows, columns], widest).unwrap();
            assert_eq!(found, naive, "{widest}");
        }
    }

    /// One more than the kernels take.
    #[test]
    fn more_columns_than_channels() {
        let ones = vec![1.0; WIDEST + 1];
        assert_eq!(product(&[2.0], &ones, 1, 1, WIDEST + 1).unwrap(), vec![2.0; WIDEST + 1]);
        assert_eq!(product(&ones, &ones, 1, WIDEST + 1, 1).unwrap(), [(WIDEST + 1) as f32]);
        assert_eq!(transposed_product(&ones, &[2.0], 1, WIDEST + 1, 1).unwrap(), vec![2.0; WIDEST + 1]);
    }
}
