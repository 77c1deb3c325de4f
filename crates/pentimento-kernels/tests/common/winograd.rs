//! How far a convolution by Winograd's minimal filtering may be off, from matrices that are made here anew.

use pentimento_kernels::{ConvGeometry, ConvShape};

/// The finite interpolation points.
const POINTS: [f64; 5] = [0.0, 0.75, -0.75, 1.5, -1.5];

/// Whether a convolution may be computed this way.
pub fn possible(shape: &ConvShape) -> bool {
    let channels = shape.input_channels.min(shape.output_channels);
    shape.geometry == ConvGeometry::SAME_3X3 && channels >= 16 && shape.height.min(shape.width) >= 4
}

/// Coefficients of the product of `x - root`, the lowest power first.
fn polynomial(roots: &[f64]) -> Vec<f64> {
    let mut coefficients = vec![1.0];
    for root in roots {
        let shifted = [vec![0.0], coefficients.clone()].concat();
        coefficients.push(0.0);
        coefficients = shifted.iter().zip(&coefficients).map(|(high, low)| high - root * low).collect();
    }
    coefficients
}

type Matrix = Vec<Vec<f64>>;

/// The absolute values of A (`[6][4]`), G (`[6][3]`) and B' (`[6][6]`), by the formulas of Toom and Cook.
fn absolute_matrices() -> (Matrix, Matrix, Matrix) {
    let powers = |point: f64, count: usize| (0..count).map(|power| point.abs().powi(power as i32)).collect();
    let (mut a, mut g, mut b): (Matrix, Matrix, Matrix) = (Vec::new(), Vec::new(), Vec::new());
    for point in POINTS {
        let others: Vec<f64> = POINTS.into_iter().filter(|&other| other != point).collect();
        let scale: f64 = others.iter().map(|other| point - other).product();
        a.push(powers(point, 4));
        let row: Vec<f64> = powers(point, 3);
        g.push(row.iter().map(|value| (value / scale).abs()).collect());
        let mut row: Vec<f64> = polynomial(&others).iter().map(|value| value.abs()).collect();
        row.push(0.0);
        b.push(row);
    }
    a.push(vec![0.0, 0.0, 0.0, 1.0]);
    g.push(vec![0.0, 0.0, 1.0]);
    b.push(polynomial(&POINTS).iter().map(|value| value.abs()).collect());
    (a, g, b)
}

/// `left * block * left'` with a block of side `left[0].len()`.
fn sandwich(left: &Matrix, block: &dyn Fn(usize, usize) -> f64) -> Matrix {
    let (rows, side) = (left.len(), left[0].len());
    let half: Matrix = (0..rows)
        .map(|i| (0..side).map(|y| (0..side).map(|x| left[i][x] * block(x, y)).sum()).collect())
        .collect();
    (0..rows).map(|i| (0..rows).map(|j| (0..side).map(|y| half[i][y] * left[j][y]).sum()).collect()).collect()
}

fn transposed(matrix: &Matrix) -> Matrix {
    (0..matrix[0].len()).map(|column| matrix.iter().map(|row| row[column]).collect()).collect()
}

/// The largest sums of absolute values that go into any output, for outputs and for the weight's gradient. Each rounding
/// on the way is wrong by at most half a unit of a part of them.
pub fn largest_sums(shape: &ConvShape, input: &[f64], weight: &[f64], gradient: &[f64]) -> (f64, f64) {
    let (a, g, b) = absolute_matrices();
    let (height, width) = (shape.height as isize, shape.width as isize);
    let (depth, columns) = (shape.input_channels, shape.output_channels);
    let at = |values: &[f64], channels: usize, image: usize, y: isize, x: isize, channel: usize| {
        let inside = (0..height).contains(&y) && (0..width).contains(&x);
        let pixel = (image as isize * height + y) * width + x;
        if inside { values[pixel as usize * channels + channel].abs() } else { 0.0 }
    };
    let points_of_weight: Vec<Matrix> = (0..depth * columns)
        .map(|pair| sandwich(&g, &|row, column| weight[(row * 3 + column) * depth * columns + pair].abs()))
        .collect();
    let mut largest_output = 0.0f64;
    let mut sums: Vec<Matrix> = vec![vec![vec![0.0; 6]; 6]; depth * columns];
    for image in 0..shape.images {
        for y in (0..height).step_by(4) {
            for x in (0..width).step_by(4) {
                let inputs: Vec<Matrix> = (0..depth)
                    .map(|k| {
                        sandwich(&b, &|row, column| {
                            at(input, depth, image, y + row as isize - 1, x + column as isize - 1, k)
                        })
                    })
                    .collect();
                for column in 0..columns {
                    let point = |row: usize, place: usize| -> f64 {
                        (0..depth)
                            .map(|k| {
                                inputs[k][row][place] * points_of_weight[k * columns + column][row][place]
                            })
                            .sum()
                    };
                    let outputs = sandwich(&transposed(&a), &point);
                    largest_output = outputs.iter().flatten().copied().fold(largest_output, f64::max);
                    let of_gradient = sandwich(&a, &|row, place| {
                        at(gradient, columns, image, y + row as isize, x + place as isize, column)
                    });
                    for (k, input) in inputs.iter().enumerate() {
                        let sum = &mut sums[k * columns + column];
                        for row in 0..6 {
                            for place in 0..6 {
                                sum[row][place] += input[row][place] * of_gradient[row][place];
                            }
                        }
                    }
                }
            }
        }
    }
    let back = transposed(&g);
    let largest_gradient = sums
        .iter()
        .flat_map(|sum| sandwich(&back, &|row, column| sum[row][column]).concat())
        .fold(0.0f64, f64::max);
    (largest_output, largest_gradient)
}
