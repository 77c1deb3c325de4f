//! Removal: whether taking away the images that a method names really changes a picture, more than taking away others does.
//!
//! Networks are trained again by a bank's recipe without some images each, and all else stays. Then the picture is made again
//! from the same noise, and its loss is measured at the same draws.
//!
//! * `retraining`: the bank's network that a run judges, and networks without some of its images; `removals` says which.
//! * `remade`: samples made again by such networks.
//! * `measured`: what all of them come to.
//! * `one_image`: the images that a method names for one query.
//! * `pooled`: the first images of many queries at once, beside queries that nothing was removed for.
//! * `table`: results as files.

mod measured;
mod one_image;
mod pooled;
mod remade;
mod removals;
mod retraining;
mod table;

pub use measured::Measured;
pub use one_image::{
    AskedImage, OneImage, RemovedBy, RemovedImage, VerifiedRemoval, the_only_method, verify_removal,
};
pub use pooled::{Effect, Paired, PooledRemoval, PooledSettings, RemovedForMany, removal_of_many};
pub use removals::{Removal, in_turns};
pub use retraining::Retraining;
pub(crate) use table::name_of_one;
