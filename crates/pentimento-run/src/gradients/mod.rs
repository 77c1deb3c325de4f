//! Attribution by gradients: features of training images and queries in the run, and scores from them.
//!
//! A feature follows from the network, the image and what the recipe's `gradients` says, so features can be made in any order
//! and again, and methods that measure the same share them.
//!
//! * `training_images`: the images that scores are for.
//! * `subject`: the networks that are asked, and what their features follow from.
//! * `queries`: the images that are asked about, and `query_sources` where they come from; `query_parts`: in which parts their
//!   gradients are taken.
//! * `featuring`: the stage that makes features, in pieces of some images; `feature_store`: features in the run, as Arrow files.
//! * `network_features`: what one network is asked, and its features.
//! * `row_key`: the digest by which an image is found again.
//! * `replay`: training images as they were met in training.
//! * `projection_quality`: what the projection does to their order.
//! * `candidates`: the training images that are scored for a query, if not all are.
//! * `rounds`: as many draws as it takes.
//! * `score`: scores, with intervals, by timestep, and what the damping does to them.
//! * `score_table`: the result, and its files; `score_columns`: the columns of its table; `digests`: whether it is still that of today.
//! * `baseline`: likeness without gradients, in tables of the same form.

mod baseline;
mod candidates;
mod digests;
mod feature_store;
mod featuring;
mod network_features;
mod projection_quality;
mod queries;
mod query_parts;
mod query_sources;
mod replay;
mod rounds;
mod row_key;
mod score;
pub(crate) mod score_columns;
mod score_table;
mod subject;
mod training_images;

pub use baseline::{compared_patches, open_classifier, score_baseline};
pub use digests::{images_digest, made_with_digest, queries_digest};
pub(crate) use network_features::batch_ending;
pub use network_features::{Asked, AskedNetwork};
pub use projection_quality::ProjectionQuality;
pub use queries::{Queries, Query, QuerySet};
pub use query_parts::QueryParts;
pub use rounds::EndedBy;
pub(crate) use rounds::{InRounds, in_rounds};
pub(super) use row_key::{noise_id, row_key};
pub use score::{forecast, score, scores_around_damping};
pub use score_table::{
    Details, FollowedTraining, GradientDetails, GradientsTaken, InfluenceDetails, InfluenceNote, SAMPLES,
    ScoreTable,
};
pub use subject::Subject;
pub use training_images::{TrainingImages, label_of};
