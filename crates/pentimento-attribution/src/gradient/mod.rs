//! Attribution by gradients, for a network that was trained without attribution in mind.
//!
//! A method says what is measured of an image ([`Measurement`]), at which timesteps with which noise ([`Draws`]), whether
//! each timestep's gradient is brought to unit length, and how the features of two images are compared ([`Comparison`]). The
//! names from the literature are lines of a table: [`Method::ALL`].
//!
//! * `measurement`: functions of the network's output, and their derivative in it.
//! * `draws`: timesteps and noise.
//! * `feature`: the gradient of one image in all parameters, averaged over its draws.
//! * `projection`: a long gradient to a short feature that keeps inner products.
//! * `kernel`: scores of many images against many queries from their features, and the damping.
//! * `method`: the table.

mod draws;
mod feature;
mod kernel;
mod measurement;
mod method;
mod projection;

pub use draws::Draws;
pub use feature::{FeatureError, FeatureExtractor};
pub use kernel::{Features, Kernel, KernelError, dot_scores};
pub use measurement::Measurement;
pub use method::{Comparison, Method};
pub use projection::SparseProjection;
