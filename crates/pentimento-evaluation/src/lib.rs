//! Measures how far an attribution can be trusted.
//!
//! [`statistics`] has the correlations, tests and intervals that every figure of an evaluation is stated with.

pub mod statistics;
