//! Scores by any comparison, ready for many queries.

use super::kernel::{ImageRows, Kernel, KernelError, QueryCoordinates};
use super::method::{Comparison, Divisor};
use super::products::{length, products};
use std::ops::Range;

/// Training images with all that a comparison needs of them.
pub enum Compared<'a, E> {
    /// Inner products or cosines.
    Products {
        /// The images.
        rows: ImageRows<'a, E>,
        /// Lengths of their features.
        lengths: Vec<f64>,
        /// Whether products are divided by both lengths.
        cosine: bool,
    },
    /// Through the inverse of the kernel.
    Kernel {
        /// The kernel.
        kernel: Kernel<'a, E>,
        /// Its damping.
        damping: f64,
        /// By what the scores of each image are divided.
        divisor: Divisor,
        /// Its values, if it is not one.
        divisors: Option<Vec<f64>>,
    },
}

/// Queries, ready to be scored.
pub enum Queries {
    /// Features, `[queries, feature]`.
    Features(Vec<f32>),
    /// Coordinates in the directions of a kernel.
    Coordinates(QueryCoordinates),
}

impl<'a, E: From<KernelError> + Send> Compared<'a, E> {
    /// Makes what is needed of the images. A damping that is not given is chosen from the features.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if the features or the damping do not do; as reading them.
    pub fn new(comparison: Comparison, rows: ImageRows<'a, E>, damping: Option<f64>) -> Result<Self, E> {
        let divisor = match comparison {
            Comparison::InverseKernel(divisor) => divisor,
            Comparison::Dot | Comparison::Cosine => {
                let lengths = rows.lengths()?;
                return Ok(Self::Products { rows, lengths, cosine: comparison == Comparison::Cosine });
            }
        };
        let kernel = Kernel::new(rows)?;
        let damping = damping.map_or_else(|| kernel.damping(), Ok)?;
        let divisors = divisors(divisor, &kernel, damping)?;
        Ok(Self::Kernel { kernel, damping, divisor, divisors })
    }

    /// The kernel and its damping, if there is one.
    pub fn kernel(&self) -> Option<(&Kernel<'a, E>, f64)> {
        match self {
            Self::Products { .. } => None,
            Self::Kernel { kernel, damping, .. } => Some((kernel, *damping)),
        }
    }

    /// Scores of all images with another damping; none without a kernel.
    ///
    /// # Errors
    ///
    /// As [`scores`](Self::scores).
    pub fn scores_at(&self, queries: &Queries, damping: f64) -> Result<Option<Vec<Vec<f64>>>, E> {
        let (Self::Kernel { kernel, divisor, .. }, Queries::Coordinates(queries)) = (self, queries) else {
            return Ok(None);
        };
        let divisors = divisors(*divisor, kernel, damping)?;
        let scores = kernel.scores(queries, damping)?;
        Ok(Some(scores.iter().map(|scores| divide(scores, divisors.as_deref(), 0)).collect()))
    }

    /// The score of each training image for itself: its leverage, or the square of its feature's length.
    ///
    /// # Errors
    ///
    /// As reading the images.
    pub fn self_influence(&self) -> Result<Vec<f64>, E> {
        Ok(match self {
            Self::Products { cosine: true, lengths, .. } => vec![1.0; lengths.len()],
            Self::Products { lengths, .. } => lengths.iter().map(|length| length * length).collect(),
            Self::Kernel { kernel, damping, divisors, .. } => {
                divide(&kernel.measures(*damping)?.leverage, divisors.as_deref(), 0)
            }
        })
    }

    /// Prepares the features of queries, `[queries, feature]`.
    ///
    /// # Errors
    ///
    /// [`KernelError`] if they are no features of the images' length; as reading the images.
    pub fn queries(&self, features: Vec<f32>) -> Result<Queries, E> {
        match self {
            Self::Products { .. } => Ok(Queries::Features(features)),
            Self::Kernel { kernel, .. } => Ok(Queries::Coordinates(kernel.query_coordinates(&features)?)),
        }
    }

    /// By what the scores of a query are to be multiplied: one, or one over its feature's length for a cosine.
    pub fn query_factor(&self, feature: &[f32]) -> f64 {
        match self {
            Self::Products { cosine: true, .. } => match length(feature) {
                0.0 => 0.0,
                length => 1.0 / length,
            },
            _ => 1.0,
        }
    }

    /// Scores of each query with some of the images, `[queries][images]`, larger = helped more. They are linear in the
    /// query's feature, so parts of a query's draws can be scored by themselves.
    ///
    /// # Errors
    ///
    /// As reading the images.
    pub fn scores(&self, queries: &Queries, images: Range<usize>) -> Result<Vec<Vec<f64>>, E> {
        match (self, queries) {
            (Self::Products { rows, lengths, cosine }, Queries::Features(features)) => {
                let divisors = cosine.then_some(lengths.as_slice());
                let scores = products(rows, images.clone(), features)?;
                Ok(scores.iter().map(|scores| divide(scores, divisors, images.start)).collect())
            }
            (Self::Kernel { kernel, damping, divisors, .. }, Queries::Coordinates(queries)) => {
                let scores = kernel.scores_of(queries, images.clone(), *damping)?;
                Ok(scores.iter().map(|scores| divide(scores, divisors.as_deref(), images.start)).collect())
            }
            // Queries of another comparison have nothing in common with these images.
            (Self::Products { rows, .. }, Queries::Coordinates(_)) => {
                Err(KernelError::Shape { found: 0, expected: rows.dimension }.into())
            }
            (Self::Kernel { .. }, Queries::Features(features)) => {
                Err(KernelError::Shape { found: features.len(), expected: 0 }.into())
            }
        }
    }
}

/// Without a divisor the images are not measured, which costs as much as their scores.
fn divisors<E: From<KernelError> + Send>(
    divisor: Divisor,
    kernel: &Kernel<'_, E>,
    damping: f64,
) -> Result<Option<Vec<f64>>, E> {
    Ok(match divisor {
        Divisor::One => None,
        Divisor::Length => Some(kernel.measures(damping)?.length),
        Divisor::SolvedLength => Some(kernel.measures(damping)?.solved_length),
        Divisor::OneLessLeverage => {
            Some(kernel.measures(damping)?.leverage.into_iter().map(|leverage| 1.0 - leverage).collect())
        }
    })
}

/// Scores of images from `first` on, each divided by its own; 0 for images whose feature is zero.
fn divide(scores: &[f64], divisors: Option<&[f64]>, first: usize) -> Vec<f64> {
    let divided = |(place, &score): (usize, &f64)| match divisors.map(|divisors| divisors[first + place]) {
        None => score,
        Some(0.0) => 0.0,
        Some(divisor) => score / divisor,
    };
    scores.iter().enumerate().map(divided).collect()
}
