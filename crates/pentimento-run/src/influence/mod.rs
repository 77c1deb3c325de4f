//! Influence functions: the curvature of each network in the run, and scores through its inverse.
//!
//! * `curvature_store`: the curvature of a network, kept in the run; `curvature_sums` sums it shard by shard, `decomposition` takes
//!   its eigenvectors.
//! * `damping`: what is added to it; `around_damping`: scores at multiples of it.
//! * `query_gradients`: gradients of the queries, through the inverse, in 8 bits.
//! * `influence_products`: gradients of the training images against all of them, kept in the run.
//! * `forecast`: how long all this will take.
//! * `whole_curvature`: a sample of the whole curvature, for conjugate gradients.
//! * `score`: scores with intervals.
//! * `stages`: the stages of all this by their names.
//! * `unlearning`: what unlearning a query does to the loss of each training image.

mod around_damping;
mod curvature_store;
mod curvature_sums;
mod damping;
mod decomposition;
mod forecast;
mod influence_products;
mod query_gradients;
mod score;
mod stages;
mod unlearning;
mod whole_curvature;

pub use around_damping::scores_around_damping;
pub use forecast::forecast;
pub use influence_products::products_of;
pub use score::{check_influence, score_influence};
pub use stages::{with_curvature_stage, with_influence_stage};
