//! Evidence: whether scores predict what really happens to networks that are trained on other images.
//!
//! * `outcomes`: what the networks of a bank make of queries.
//! * `subsets`: scores of methods held against that.
//! * `dampings`: the same at multiples of the damping that a method takes.
//! * `kept_arrays`: scores, masks and outcomes as NumPy arrays in the run.
//! * `arrays`: scores judged of anybody's arrays.
//! * `retrieval`: whether methods find known sources.
//! * `table`: the results as files.
//! * `page`: the results as a person reads them; `finding`: the sentences in it.

mod arrays;
mod dampings;
mod finding;
mod kept_arrays;
mod outcomes;
mod page;
mod retrieval;
mod subsets;
mod table;

pub use arrays::{ArraysToJudge, judge_arrays};
pub use dampings::JudgedDampings;
pub use outcomes::{MeasuringOutcomes, Outcomes};
pub use retrieval::{MethodRetrieved, Retrieval, evaluate_retrieval};
pub use subsets::{Evaluation, EvaluationSettings, Judged, JudgedSet, TARGETS, evaluate};
pub use table::PAGE;
