//! Evidence: whether scores predict what really happens to networks that are trained on other images.
//!
//! * `outcomes`: what the networks of a bank make of queries.
//! * `subsets`: scores of methods held against that.
//! * `arrays`: the same for anybody's arrays.
//! * `table`: the results as files.
//! * `page`: the results as a person reads them; `finding`: the sentences in it.

mod arrays;
mod finding;
mod outcomes;
mod page;
mod subsets;
mod table;

pub use arrays::{ArraysToJudge, judge_arrays};
pub use outcomes::{MeasuringOutcomes, Outcomes};
pub use subsets::{Evaluation, EvaluationSettings, Judged, JudgedSet, TARGETS, evaluate};
pub use table::PAGE;
