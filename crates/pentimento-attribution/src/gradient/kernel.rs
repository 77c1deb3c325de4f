//! The kernel of the training images' features, decomposed once; from it follow the scores and leverages of any damping.
//!
//! With N images and Z numbers in a feature, `Phi [N, Z]` has `Phi Phi'` `[N, N]` and `Phi' Phi` `[Z, Z]` with the same
//! eigenvalues above zero, and the smaller of the two is decomposed. Either gives the same: orthonormal directions `v_k` of
//! features with eigenvalues `lambda_k`. The *coordinates* of a feature are its products with the directions, and
//! `phi_q' (Phi' Phi + damping)^-1 phi_i = sum_k q_k c_ik / (lambda_k + damping)`
//! (the score of TRAK, Park et al. 2023, in either form; what of a feature lies outside the directions meets no training
//! image).
//!
//! Features are read in blocks, so that memory does not grow with the number of images beyond the smaller matrix.

use super::block::FeatureBlock;
use super::products::{length, products};
use super::rows::all_finite;
use faer::{Mat, MatRef, Par, Side, get_global_parallelism, linalg::matmul::matmul, set_global_parallelism};
use rayon::prelude::*;
use std::ops::Range;

/// Images that are read at once.
const BLOCK_IMAGES: usize = 256;

/// What cannot be compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KernelError {
    /// Features that are no rows of one length.
    #[error("{found} values are no rows of {expected}")]
    Shape {
        /// Number of values.
        found: usize,
        /// Length of a row.
        expected: usize,
    },
    /// There is nothing to compare with.
    #[error("there are no training images")]
    Empty,
    /// A damping that is none.
    #[error("`damping` is {damping}, but must be a positive number")]
    Damping {
        /// The value.
        damping: f64,
    },
    /// A feature that is no vector of numbers.
    #[error("the feature of image {image} is not finite")]
    NotFinite {
        /// Its position.
        image: usize,
    },
    /// The kernel could not be decomposed.
    #[error("the kernel of the training images' features could not be decomposed")]
    Decomposition,
    /// All features are the same, so nothing tells images apart.
    #[error("the features of all training images are the same, or zero: nothing tells them apart")]
    NoSpread,
}

/// The features of training images, read where they are.
pub struct ImageRows<'a, E> {
    /// Number of images.
    pub images: usize,
    /// Length of a feature.
    pub dimension: usize,
    /// Reads the features of a range of images. May be called from several threads.
    pub read: &'a (dyn Fn(Range<usize>) -> Result<FeatureBlock, E> + Sync),
}

impl<E: From<KernelError> + Send> ImageRows<'_, E> {
    fn blocks(&self) -> Vec<Range<usize>> {
        let blocks = self.images.div_ceil(BLOCK_IMAGES);
        (0..blocks).map(|block| block * BLOCK_IMAGES..((block + 1) * BLOCK_IMAGES).min(self.images)).collect()
    }

    /// The features of some images, where they are: as many as they should be, not yet known to be finite.
    pub(super) fn block(&self, images: Range<usize>) -> Result<FeatureBlock, E> {
        let block = (self.read)(images.clone())?;
        if block.len() != images.len() * self.dimension {
            return Err(KernelError::Shape { found: block.len(), expected: self.dimension }.into());
        }
        Ok(block)
    }

    /// The features of some images, one after another and finite.
    fn values(&self, images: Range<usize>) -> Result<Vec<f32>, E> {
        let values = self.block(images.clone())?.into_values();
        if !all_finite(&values) {
            let place = values.iter().position(|value| !value.is_finite()).unwrap_or_default();
            return Err(KernelError::NotFinite { image: images.start + place / self.dimension }.into());
        }
        Ok(values)
    }

    fn matrix(&self, images: Range<usize>) -> Result<Mat<f64>, E> {
        let values = self.values(images.clone())?;
        Ok(Mat::from_fn(images.len(), self.dimension, |row, column| {
            f64::from(values[row * self.dimension + column])
        }))
    }

    /// Lengths of all features.
    pub(super) fn lengths(&self) -> Result<Vec<f64>, E> {
        let of_block = |images| Ok(self.values(images)?.chunks_exact(self.dimension).map(length).collect());
        let blocks: Vec<Vec<f64>> = self.each_block(of_block)?;
        Ok(blocks.concat())
    }

    /// What `of` makes of each block, in the order of the blocks; several blocks at a time.
    fn each_block<R: Send>(
        &self,
        of: impl Fn(Range<usize>) -> Result<R, E> + Sync + Send,
    ) -> Result<Vec<R>, E> {
        self.blocks().into_par_iter().map(of).collect()
    }
}

/// `a b`, on one thread, so that its sums have one order.
fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut product = Mat::zeros(a.nrows(), b.ncols());
    matmul(&mut product, faer::Accum::Replace, a, b, 1.0, Par::Seq);
    product
}

/// Eigenvalues and eigenvectors, on one thread.
fn decompose(matrix: &Mat<f64>) -> Result<(Vec<f64>, Mat<f64>), KernelError> {
    let before = get_global_parallelism();
    set_global_parallelism(Par::Seq);
    let decomposed = matrix.self_adjoint_eigen(Side::Lower);
    set_global_parallelism(before);
    let decomposed = decomposed.map_err(|_| KernelError::Decomposition)?;
    let values = decomposed.S().column_vector().iter().copied().collect();
    Ok((values, decomposed.U().to_owned()))
}

/// Where the coordinates of training images come from.
enum Directions {
    /// Eigenvectors of `Phi' Phi`, `[Z, directions]`.
    OfFeatures(Mat<f64>),
    /// Coordinates themselves, `[N, directions]`: eigenvectors of `Phi Phi'` times the square roots of its eigenvalues.
    OfImages(Mat<f64>),
}

/// The decomposed kernel.
pub struct Kernel<'a, E> {
    rows: ImageRows<'a, E>,
    values: Vec<f64>,
    directions: Directions,
    mean_eigenvalue: f64,
    mean_centred_eigenvalue: f64,
}

/// What follows for the training images themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageMeasures {
    /// `phi_i' (Phi' Phi + damping)^-1 phi_i`: the score of each image for itself, from 0 to 1.
    pub leverage: Vec<f64>,
    /// The length of `(Phi' Phi + damping)^-1 phi_i`, by which relative influence divides (Barshan et al. 2020).
    pub solved_length: Vec<f64>,
    /// The length of `phi_i`, by which renormalised influence divides (Hammoudeh and Lowd 2022).
    pub length: Vec<f64>,
}

impl<'a, E: From<KernelError> + Send> Kernel<'a, E> {
    /// Decomposes the kernel of these images.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if there is no image, a feature is not finite or the decomposition fails; as reading them.
    pub fn new(rows: ImageRows<'a, E>) -> Result<Self, E> {
        if rows.images == 0 || rows.dimension == 0 {
            return Err(KernelError::Empty.into());
        }
        let (images, dimension) = (rows.images, rows.dimension);
        // Sums of squares and of features, for the mean eigenvalues.
        let sums = rows.each_block(|block| {
            let values = rows.values(block)?;
            let mut sum = vec![0.0f64; dimension];
            let mut squares = 0.0;
            for row in values.chunks_exact(dimension) {
                for (sum, &value) in sum.iter_mut().zip(row) {
                    *sum += f64::from(value);
                    squares += f64::from(value).powi(2);
                }
            }
            Ok((sum, squares))
        })?;
        let trace: f64 = sums.iter().map(|(_, squares)| squares).sum();
        let mut sum = vec![0.0f64; dimension];
        for (part, _) in &sums {
            for (sum, value) in sum.iter_mut().zip(part) {
                *sum += value;
            }
        }
        // The trace of H K H with H = 1 - 1/N is that of K without the share of the mean.
        let of_mean = sum.iter().map(|value| value * value).sum::<f64>() / images as f64;
        let (mean_eigenvalue, mean_centred_eigenvalue) =
            (trace / images as f64, (trace - of_mean) / images as f64);

        let by_images = images <= dimension;
        let matrix = if by_images { Self::of_images(&rows)? } else { Self::of_features(&rows)? };
        let (values, vectors) = decompose(&matrix)?;
        // What is not above the rounding of the largest is no direction.
        let largest = values.iter().fold(0.0f64, |largest, &value| largest.max(value));
        let floor = largest * f64::EPSILON * values.len() as f64;
        let kept: Vec<usize> = (0..values.len()).filter(|&index| values[index] > floor).collect();
        let values: Vec<f64> = kept.iter().map(|&index| values[index]).collect();
        let scale = |column: usize| if by_images { values[column].sqrt() } else { 1.0 };
        let directions = Mat::from_fn(vectors.nrows(), kept.len(), |row, column| {
            vectors[(row, kept[column])] * scale(column)
        });
        let directions =
            if by_images { Directions::OfImages(directions) } else { Directions::OfFeatures(directions) };
        Ok(Self { rows, values, directions, mean_eigenvalue, mean_centred_eigenvalue })
    }

    /// `Phi Phi'`.
    fn of_images(rows: &ImageRows<'_, E>) -> Result<Mat<f64>, E> {
        let mut matrix = Mat::zeros(rows.images, rows.images);
        for left in rows.blocks() {
            let block = rows.matrix(left.clone())?;
            let parts = rows.each_block(|right| {
                // The rest follows by symmetry.
                if right.start > left.start {
                    return Ok(None);
                }
                let other = rows.matrix(right.clone())?;
                Ok(Some((right, product(block.as_ref(), other.transpose()))))
            })?;
            for (right, part) in parts.into_iter().flatten() {
                for (i, row) in left.clone().enumerate() {
                    for (j, column) in right.clone().enumerate() {
                        matrix[(row, column)] = part[(i, j)];
                        matrix[(column, row)] = part[(i, j)];
                    }
                }
            }
        }
        Ok(matrix)
    }

    /// `Phi' Phi`, summed block by block in order.
    fn of_features(rows: &ImageRows<'_, E>) -> Result<Mat<f64>, E> {
        let mut matrix = Mat::<f64>::zeros(rows.dimension, rows.dimension);
        // One matrix per thread at a time: each is as large as the result.
        for blocks in rows.blocks().chunks(rayon::current_num_threads()) {
            let parts: Vec<Result<Mat<f64>, E>> = blocks
                .par_iter()
                .map(|block| {
                    let block = rows.matrix(block.clone())?;
                    Ok(product(block.transpose(), block.as_ref()))
                })
                .collect();
            for part in parts {
                matrix += part?;
            }
        }
        Ok(matrix)
    }

    /// The damping that is taken if a person names none: the mean eigenvalue of the double-centred kernel. The gradient
    /// that all images share is most of the kernel's trace and says nothing of their differences, so it is taken out.
    /// (Of 33 rules this one lost least against the damping chosen with the ground truth in hand, 0.6 points of LDS over
    /// 14 cases, where a tenth of the plain mean eigenvalue lost 7.)
    ///
    /// # Errors
    ///
    /// [`KernelError::NoSpread`] if all features are the same.
    pub fn damping(&self) -> Result<f64, KernelError> {
        let damping = self.mean_centred_eigenvalue;
        // Features are in f32, so what is smaller than their rounding, squared, is no difference of images.
        let rounding = f64::from(f32::EPSILON).powi(2);
        if damping > rounding * self.mean_eigenvalue { Ok(damping) } else { Err(KernelError::NoSpread) }
    }

    /// A hundred times the median eigenvalue, the other rule that needs no retraining. It is the median over as many eigenvalues
    /// as the matrix of the smaller side has, so that with more images than features it is not zero.
    pub fn damping_by_median(&self) -> f64 {
        // Eigenvalues that are not kept are zero: there are as many as the matrix has rows.
        let all = self.rows.images.min(self.rows.dimension);
        let mut values = vec![0.0; all - self.values.len()];
        values.extend(&self.values);
        values.sort_by(f64::total_cmp);
        let middle = all / 2;
        let median = if all.is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        100.0 * median
    }

    /// `sum_k lambda_k / (lambda_k + damping)`: how many directions of the features the damping leaves.
    pub fn degrees_of_freedom(&self, damping: f64) -> f64 {
        self.values.iter().map(|value| value / (value + damping)).sum()
    }

    /// Coordinates of some training images, `[images, directions]`.
    fn coordinates(&self, images: Range<usize>) -> Result<Mat<f64>, E> {
        match &self.directions {
            Directions::OfFeatures(vectors) => {
                Ok(product(self.rows.matrix(images)?.as_ref(), vectors.as_ref()))
            }
            Directions::OfImages(coordinates) => {
                Ok(coordinates.subrows(images.start, images.len()).to_owned())
            }
        }
    }

    /// Coordinates of queries, whose features lie one after another.
    ///
    /// # Errors
    ///
    /// [`KernelError::Shape`] if they have another length than those of the images; as reading these.
    pub fn query_coordinates(&self, queries: &[f32]) -> Result<QueryCoordinates, E> {
        let dimension = self.rows.dimension;
        if !queries.len().is_multiple_of(dimension) {
            return Err(KernelError::Shape { found: queries.len(), expected: dimension }.into());
        }
        if let Some(place) = queries.iter().position(|value| !value.is_finite()) {
            return Err(KernelError::NotFinite { image: place / dimension }.into());
        }
        let queries = Mat::from_fn(queries.len() / dimension, dimension, |row, column| {
            f64::from(queries[row * dimension + column])
        });
        let coordinates = match &self.directions {
            Directions::OfFeatures(vectors) => product(queries.as_ref(), vectors.as_ref()),
            Directions::OfImages(coordinates) => {
                // v_k = Phi' u_k / sqrt(lambda_k), and the coordinates hold sqrt(lambda_k) u_k.
                let parts = self.rows.each_block(|block| {
                    let images = self.rows.matrix(block.clone())?;
                    let cross = product(queries.as_ref(), images.transpose());
                    Ok(product(cross.as_ref(), coordinates.subrows(block.start, block.len())))
                })?;
                let mut sum = Mat::<f64>::zeros(queries.nrows(), self.values.len());
                for part in parts {
                    sum += part;
                }
                for (column, value) in self.values.iter().enumerate() {
                    for row in 0..sum.nrows() {
                        sum[(row, column)] /= value;
                    }
                }
                sum
            }
        };
        Ok(QueryCoordinates(coordinates))
    }

    /// `phi_q' (Phi' Phi + damping)^-1 phi_i`, `[queries][images]`: TRAK's score and its kin.
    ///
    /// # Errors
    ///
    /// [`KernelError::Damping`] if the damping is not positive; as reading the images.
    pub fn scores(&self, queries: &QueryCoordinates, damping: f64) -> Result<Vec<Vec<f64>>, E> {
        self.scores_of(queries, 0..self.rows.images, damping)
    }

    /// [`scores`](Self::scores) for some of the images.
    ///
    /// # Errors
    ///
    /// As [`scores`](Self::scores).
    pub fn scores_of(
        &self,
        queries: &QueryCoordinates,
        images: Range<usize>,
        damping: f64,
    ) -> Result<Vec<Vec<f64>>, E> {
        check(damping)?;
        let QueryCoordinates(queries) = queries;
        let scaled = Mat::from_fn(queries.nrows(), queries.ncols(), |row, column| {
            queries[(row, column)] / (self.values[column] + damping)
        });
        match &self.directions {
            // Back among the features, so that the images' own coordinates, which cost more, are not needed.
            Directions::OfFeatures(vectors) => {
                let solved = product(scaled.as_ref(), vectors.transpose());
                let solved: Vec<f32> =
                    rows_of(&solved).concat().into_iter().map(|value| value as f32).collect();
                products(&self.rows, images, &solved)
            }
            Directions::OfImages(coordinates) => {
                let coordinates = coordinates.subrows(images.start, images.len());
                Ok(rows_of(&product(scaled.as_ref(), coordinates.transpose())))
            }
        }
    }

    /// Leverages and lengths of all training images.
    ///
    /// # Errors
    ///
    /// As [`scores`](Self::scores).
    pub fn measures(&self, damping: f64) -> Result<ImageMeasures, E> {
        check(damping)?;
        let parts = self.rows.each_block(|block| {
            let coordinates = self.coordinates(block)?;
            let of_row = |row: usize| {
                let (mut leverage, mut solved, mut squares) = (0.0, 0.0, 0.0);
                for (column, value) in self.values.iter().enumerate() {
                    let square = coordinates[(row, column)].powi(2);
                    squares += square;
                    leverage += square / (value + damping);
                    solved += square / (value + damping).powi(2);
                }
                [leverage, f64::sqrt(solved), f64::sqrt(squares)]
            };
            Ok((0..coordinates.nrows()).map(of_row).collect::<Vec<_>>())
        })?;
        let all = parts.concat();
        let column = |index: usize| all.iter().map(|row| row[index]).collect();
        Ok(ImageMeasures { leverage: column(0), solved_length: column(1), length: column(2) })
    }
}

fn rows_of(matrix: &Mat<f64>) -> Vec<Vec<f64>> {
    (0..matrix.nrows()).map(|row| (0..matrix.ncols()).map(|column| matrix[(row, column)]).collect()).collect()
}

fn check(damping: f64) -> Result<(), KernelError> {
    if damping > 0.0 && damping.is_finite() { Ok(()) } else { Err(KernelError::Damping { damping }) }
}

/// Coordinates of queries in the directions of a kernel, `[queries, directions]`.
pub struct QueryCoordinates(Mat<f64>);
