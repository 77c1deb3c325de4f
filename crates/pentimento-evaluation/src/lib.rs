//! Measures how far an attribution can be trusted.
//!
//! - [`statistics`] has the correlations, tests and intervals that every figure of an evaluation is stated with.
//! - [`classifier`] trains the small network that says which class a picture shows.
//! - [`class_ablation`] sets the class seen in a sample against the class whose removal moves it most.
//! - [`datamodelling`] holds scores against networks that were trained on subsets of the images.
//! - [`fidelity`] measures how well approximate counterfactuals tell the exact ones.
//! - [`retrieval`] looks for training images of which it is known that a query rests on them.

pub mod class_ablation;
pub mod classifier;
pub mod datamodelling;
pub mod fidelity;
pub mod retrieval;

pub use pentimento_statistics as statistics;
