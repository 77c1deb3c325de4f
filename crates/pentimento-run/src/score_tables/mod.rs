//! Scores of training images as tables: made by a method that is named, kept in the run, read again, told from stale ones,
//! and written where other programs find them.

mod kept;
mod made;

pub use kept::{ImagesSince, KeptSet, KeptTable, ScoredQuery, Staleness, kept_sets};
pub use made::score_training_images;

use crate::error::RunError;
use crate::gradients::ScoreTable;
use pentimento_attribution::methods::Method;
use pentimento_attribution::scores::top;

/// The failure of whoever asks for the table of a method that writes none, or that does not exist.
fn no_table(method: &str) -> RunError {
    let tables = format!("methods that write one are {}", Method::names_of_tables().join(", "));
    match Method::named(method) {
        Some(method) => RunError::OtherUse {
            method: method.name.into(),
            problem: format!(
                "writes no table of scores but distances by codes, which are in scores/{}.npy; {tables}",
                method.name
            ),
        },
        None => RunError::NoSuch { what: "method".into(), value: format!("`{method}`"), bound: tables },
    }
}

/// A training image with its score for a query.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredImage {
    /// Its position in the source.
    pub image: usize,
    /// What is said of it beside its position: its name, its class. Empty if nothing is known, or in a table of an earlier
    /// program.
    pub label: String,
    /// Its place among the images of the query, from 1: the largest score comes first.
    pub rank: usize,
    /// The score.
    pub score: f64,
    /// The 95 % interval of the score, over the draws of timesteps and noise; absent if it is not known.
    pub interval: Option<[f64; 2]>,
}

impl ScoreTable {
    /// The training images with the largest scores for the query at this position, the largest first.
    pub fn first(&self, query: usize, count: usize) -> Vec<ScoredImage> {
        let scores = self.scores.get(query).map_or(&[][..], Vec::as_slice);
        let scored = |(place, rank): (usize, usize)| {
            let score = scores[place];
            let interval = self.reach(query, place).map(|reach| [score - reach, score + reach]);
            ScoredImage {
                image: self.images[place],
                label: self.labels[place].clone(),
                rank,
                score,
                interval,
            }
        };
        top(scores, count).into_iter().zip(1..).map(scored).collect()
    }
}
