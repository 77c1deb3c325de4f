//! Finds the training images that an image made by a diffusion model rests on.
//!
//! [`ensemble`] is attribution by encoded ensembles (Dai and Gifford, 2023, arXiv 2306.02174): every training image has
//! a code that says which members of an ensemble are trained on it, so that leaving out the members that saw an image
//! removes its influence exactly, without retraining.
//!
//! [`gradient`] is attribution by gradients, for a network that was trained without attribution in mind: TracIn, TRAK and
//! their kin.
//!
//! [`likeness`] has scores that need no gradient of a network: what every method of attribution is held against.
//!
//! [`methods`] names all of them; [`scores`] is what they give.

pub mod curvature;
pub mod ensemble;
pub mod gradient;
pub mod likeness;
pub mod methods;
pub mod scores;
