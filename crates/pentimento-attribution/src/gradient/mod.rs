//! Attribution by gradients, for a network that was trained without attribution in mind.
//!
//! A method says what is measured of an image ([`Measurement`]), whether each timestep's gradient is brought to unit length,
//! what the network is shown of a query ([`QueryInput`]), and how the features of two images are compared ([`Comparison`]). The names
//! from the literature are lines of a table: [`Method::ALL`](crate::methods::Method::ALL). Timesteps and noise ([`DrawPlan`]) and the projection are the
//! same for all.
//!
//! * `measurement`: functions of the network's output, and their derivative in it.
//! * `draws`: timesteps and noise, in groups.
//! * `timestep_shares`: where in the schedule they lie.
//! * `replay`: the timesteps and noise of training itself, instead of draws.
//! * `feature`: the gradient of one image in all parameters, averaged over draws.
//! * `projection`: a long gradient to a short feature that keeps inner products.
//! * `rows`, `block`: features as Arrow files, and those of some images where they are.
//! * `products`, `kernel`: inner products of features, and through the inverse of their kernel; the damping.
//! * `comparison`: scores by either.
//! * `feature_source`: where features come from; `jackknife`: scores from them by several networks, with all draws, without
//!   each group of draws, and by timestep.
//! * `damping_curve`: what another damping would do.
//! * `candidates`: the training images that are scored for a query, if not all are.
//! * `journey`: what networks predict on the way to a sample.
//! * `spread`: how sure scores are.
//! * `method`: what a method does.

mod block;
mod candidates;
mod comparison;
mod damping_curve;
mod draws;
mod feature;
mod feature_source;
mod jackknife;
mod journey;
mod kernel;
mod measurement;
mod method;
mod products;
mod projection;
mod replay;
mod rows;
mod spread;
mod timestep_shares;

pub use block::FeatureBlock;
pub use candidates::{CandidateQuality, candidate_quality, candidates, evenly, share_of_sample};
pub use comparison::{Compared, Queries};
pub use damping_curve::{DampingPoint, DampingView, damping_view, scores_around};
pub use draws::{
    DrawPlan, FIRST_GROUPS, MOST_BLOCKS, MOST_PARTS, NoiseSharing, batches, groups_per_block, most_groups,
    parts_of_batch,
};
pub use feature::{FeatureError, FeatureExtractor};
pub use feature_source::{FeatureSource, QueryTimesteps};
pub use jackknife::{ImageReader, Strips, compare_networks, image_readers, jackknife, strips};
pub use journey::journeys;
pub use kernel::{ImageMeasures, ImageRows, Kernel, KernelError, QueryCoordinates};
pub use measurement::Measurement;
pub use method::{Comparison, Divisor, GradientMethod, QueryInput, TRAK};
pub use products::products;
pub use projection::SparseProjection;
pub use replay::{events_of_images, replayed};
pub use rows::{FeatureFile, FeatureRows, RowError, RowKey, RowPrecision};
pub use spread::Spread;
pub use timestep_shares::{LossOfTenths, TENTHS, TimestepShares};

/// Gradients of several images are taken side by side.
pub use pentimento_diffusion::side_by_side::side_by_side;
