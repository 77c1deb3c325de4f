//! The curvature of a network: by how much its loss bends in each direction of its parameters.
//!
//! It is the Gauss-Newton matrix of the mean squared error with respect to the network's output (Mlodozeniec et al. 2025,
//! arXiv 2410.13850), approximated block by block: K-FAC (Martens and Grosse 2015) takes the matrix of a layer's weight for
//! the Kronecker product of two small ones, EK-FAC (George et al. 2018) keeps their eigenvectors and measures the
//! eigenvalues. Biases and norms have blocks of their own, which are exact, so no parameter is left out.
//!
//! * `blocks`: the parts of a network whose curvature is held by itself.
//! * `pass`: draws with pseudo-gradients, and what layers see at them.
//! * `input_moments`: sums of outer products of what goes into a layer.
//! * `factors`: the factors of K-FAC, summed over images.
//! * `basis`: their eigenvectors.
//! * `inverse`: eigenvalues, and the damped inverse.
//! * `conjugate_gradients`: the inverse of the whole matrix, of which the blocks are the first guess.
//! * `damping`: what is added before it is inverted.
//! * `quantised`: query gradients that went through the inverse, kept in 8 bits.
//! * `loss`: losses of images, and networks a step away.
//! * `influence`: scores from products and losses.
//! * `trajectory`: the probability of the steps to a sample.
//! * `method`: what a method does.
//! * `stand_in`: what a curvature costs before there is one.
//! * `matrices`: products, by the kernels of the network.

mod basis;
mod blocks;
mod conjugate_gradients;
mod damping;
mod error;
mod factors;
mod influence;
mod input_moments;
mod inverse;
mod loss;
mod matrices;
mod method;
mod pass;
mod quantised;
mod stand_in;
mod trajectory;

pub use basis::{BlockBasis, bases, read_bases, write_bases};
pub use blocks::{Block, BlockKind, blocks};
pub use conjugate_gradients::{SampledCurvature, Solved};
pub use damping::{DampingRule, TrainingLength};
pub use error::CurvatureError;
pub use factors::{FactorSums, Factors, LOSSES_IN_FILES, WeightSharing};
pub use influence::{InfluenceProducts, RATIO_OFFSET, UnlearningLosses, loss_changes, predicted_changes};
pub use inverse::{Curvature, EigenvalueSums};
pub use loss::{losses, moved, output_gradient};
pub use method::{InfluenceKind, Inverse, LossChange, QueryMeasurement};
pub use pass::{
    CurvatureDraw, CurvaturePart, CurvaturePass, ImageRecords, curvature_draws, whole_curvature_draw,
};
pub use quantised::QuantisedRows;
pub use stand_in::{decomposition_seconds, stand_in_bases, values_of_factors};
pub use trajectory::{TrajectoryStep, trajectory_gradient, trajectory_steps};
