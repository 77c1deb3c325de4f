//! What a page of an evaluation shows, as plain data.

use serde::{Deserialize, Serialize};

use crate::{Estimate, MadeWith, Statement};

/// Everything on a page that holds scores of training images against networks trained on parts of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvaluationView {
    /// Heading of the page.
    pub title: String,
    /// One to three sentences for a reader who knows nothing of it.
    pub what_this_is: String,
    /// The program, recipe, machine and date; empty parts are left out.
    pub made_with: MadeWith,
    /// What was measured of the queries, what was taken away, and what was trained again.
    pub statement: Statement,
    /// What every interval on the page is.
    pub interval_meaning: String,
    /// Queries that were judged together, in the order of the page.
    pub sets: Vec<JudgedSetView>,
    /// The methods, each with what its scores stand for.
    pub methods: Vec<JudgedMethodView>,
}

/// A method that was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgedMethodView {
    /// The name used elsewhere in the view.
    pub name: String,
    /// The name for people, with its source.
    pub title: String,
    /// What its scores stand for.
    pub statement: Statement,
}

/// A set of queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedSetView {
    /// What it is called, e.g. "Generated queries".
    pub title: String,
    /// How many queries, and which.
    pub note: String,
    /// What was measured of them, one after another.
    pub targets: Vec<TargetView>,
}

/// A measurement of queries, and how well each method predicts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetView {
    /// What was measured, e.g. "loss".
    pub name: String,
    /// The finding in a few plain sentences.
    pub finding: String,
    /// How far the measurements come back with another training seed; absent with one seed.
    pub ceiling: Option<CeilingView>,
    /// The same with the mean over queries taken away.
    pub ceiling_without_query_mean: Option<CeilingView>,
    /// The methods, best first.
    pub rows: Vec<JudgedRow>,
    /// Predicted changes beside measured ones, for methods that predict numbers.
    pub scatters: Vec<ScatterView>,
}

/// What training again with another seed leaves to be predicted. Correlations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CeilingView {
    /// About the largest score that is to be expected.
    pub largest_score: f64,
    /// The correlation of the outcomes of two seeds.
    pub between_seeds: f64,
}

/// How well a method predicts. Scores are correlations, from -1 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedRow {
    /// Name of the method, as in [`EvaluationView::methods`].
    pub method: String,
    /// The linear datamodelling score; absent if no query has a correlation.
    pub score: Option<Estimate>,
    /// The same with the mean over queries taken away.
    pub without_query_mean: Option<Estimate>,
    /// Share of queries whose correlation is told from none.
    pub significant_share: Option<f64>,
    /// The score of the best method less this one, on the same resamples; absent for the best.
    pub behind_the_best: Option<Estimate>,
    /// The correlation of each query that has one.
    pub by_query: Vec<f64>,
    /// Queries that have none.
    pub undefined: u64,
}

/// Predicted changes beside measured ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScatterView {
    /// Name of the method, as in [`EvaluationView::methods`].
    pub method: String,
    /// The measured change for a predicted change of one, over all pairs.
    pub slope: f64,
    /// Pearson's correlation over all pairs.
    pub pearson: f64,
    /// All pairs of a network and a query.
    pub pairs: u64,
    /// The queries of which pairs are shown.
    pub queries: Vec<QueryPairs>,
}

/// The pairs of a query that are shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryPairs {
    /// Name of the query.
    pub query: String,
    /// Predicted and measured change.
    pub pairs: Vec<[f64; 2]>,
}
