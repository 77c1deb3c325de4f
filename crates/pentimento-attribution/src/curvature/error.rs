//! What can be wrong with a curvature.

use pentimento_kernels::ShapeError;

/// Why a curvature could not be measured or inverted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CurvatureError {
    /// A layer that the kernels do not do.
    #[error("{0}")]
    Shape(ShapeError),
    /// What a layer sees, or its gradient, overflows.
    #[error(
        "image {image}: `{block}` has values that are not finite; the network is damaged, or was not trained on such images"
    )]
    NotFinite {
        /// What the caller calls the image.
        image: String,
        /// The block in which it shows.
        block: String,
    },
    /// Sums that are not numbers.
    #[error(
        "the curvature of `{block}` is not finite: gradients overflow when they are squared; \
         the weights are damaged or out of all proportion"
    )]
    Sums {
        /// The block.
        block: String,
    },
    /// The eigenvalues of a factor could not be found.
    #[error("the curvature of `{block}` could not be decomposed")]
    Decomposition {
        /// The block.
        block: String,
    },
    /// No draw was added.
    #[error("a curvature needs one draw at the least")]
    Empty,
    /// Sums of another network, other settings or another kind.
    #[error("{what} is {found} and not {expected}: these sums are of another network or other settings")]
    Mismatch {
        /// What differs.
        what: String,
        /// What it is.
        found: String,
        /// What it ought to be.
        expected: String,
    },
    /// A block that does not bend in some direction, without a damping.
    #[error(
        "`{block}` has directions without curvature (smallest eigenvalue {smallest:e}), so its inverse does not exist without a \
         damping above zero"
    )]
    Singular {
        /// The block.
        block: String,
        /// Its smallest eigenvalue.
        smallest: f64,
    },
    /// A damping that is negative or no number.
    #[error("a damping is a number that is zero or larger, not {found}")]
    Damping {
        /// What it is.
        found: f64,
    },
}
