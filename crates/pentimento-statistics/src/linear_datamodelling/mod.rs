//! The linear datamodelling score: how well scores of training images predict what networks do that were trained on subsets
//! of them (Park, Georgiev, Ilyas, Leclerc and Madry, *TRAK: Attributing model behavior at scale*, 2023).
//!
//! Subset m is a choice of training images on which a network was trained. Its *outcome* for query q is the measured loss
//! of q on that network. Scores are larger for images whose presence lowers the loss, so the *prediction* is minus the sum
//! of the scores of the subset's images, and scores that say all there is to say reach a correlation of 1.
//!
//! Tables of outcomes and predictions have the shape `[subsets][queries]`. A query's score is the Spearman correlation over
//! subsets between the two. The score of a method is its mean over queries, with a bootstrap over subsets: they, and not the
//! queries, are what the networks were drawn with.
//!
//! - [`predictions`] makes predictions of scores, [`without_query_mean`] takes away what all queries share.
//! - [`score`] is the score of one method, [`difference`] that of two on the same resamples.
//! - [`noise_ceiling`] says what training again with another seed leaves to be predicted.
//! - [`held_out_choice`] chooses a setting on other subsets than those its score is told of.

mod difference;
mod held_out_choice;
mod noise_ceiling;
mod prediction;
mod query_mean;
mod ranked_table;
mod resampling;
mod score;

pub use difference::{ScoreDifference, difference};
pub use held_out_choice::{HeldOutChoice, HeldOutHalf, held_out_choice};
pub use noise_ceiling::{NoiseCeiling, noise_ceiling};
pub use prediction::predictions;
pub use query_mean::without_query_mean;
pub use score::{LinearDatamodellingScore, SIGNIFICANCE_LEVEL, score};
