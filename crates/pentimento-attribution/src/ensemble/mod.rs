//! Encoded ensembles (Dai and Gifford, 2023, arXiv 2306.02174).
//!
//! A [`CodeBook`] gives each group of training images a binary code of length n and weight h; member k trains on the
//! groups whose code has bit k. A *group* is one super sample: a single image, all images of a class, all images of a
//! contributor. The image made without some groups is the one made by the members that saw none of them
//! ([`CodeBook::weights_without`]).
//!
//! To first order that image differs from the one of the whole ensemble by `J (u - 1/n)`, where the columns of J are the
//! derivatives of the image by the members' weights. The length of that difference needs only the n x n Gram matrix of J
//! and the code, so [`QuadraticForm`] measures every code of a book without touching an image, and [`CodeFile`] those of any
//! number of further images of the same design.
//!
//! The images themselves come from a [`BaseRun`]: [`jacobians`] and [`control_variates`] work along it, and
//! [`approximation`] turns what they return into approximate counterfactual images, which are named by
//! [`Approximation`]. A [`Candidate`] is a group on its way through the stages of a search.

mod ablation;
pub mod approximation;
mod base_run;
mod bounds;
mod candidate;
mod code_distance;
mod code_file;
mod code_map;
mod code_table;
mod codes;
mod combinatorics;
mod control_variate;
mod counterfactual;
mod displacement;
mod error;
mod influential;
mod jacobian;
mod npy_header;
mod ranking;
mod scan;
mod search;
mod space;
mod walsh;
mod weights;

pub use base_run::BaseRun;
pub use bounds::{BiasBounds, BiasBoundsNotApplicable, bias_bounds};
pub use candidate::{
    Candidate, first_by, linear_candidates, ranked_by_control_variate, ranked_exactly, sort_by_best,
};
pub use code_distance::{CodeDistance, jacobian_form, second_order_form};
pub use code_file::{CodeFile, CodeFileError};
pub use codes::{Code, CodeBook, MAX_MEMBERS};
pub use combinatorics::binomial;
pub use control_variate::{Request, control_variates};
pub use counterfactual::{Approximation, Derivatives, FidelityInputs};
pub use displacement::{displacement_distance, linear_coefficients, second_order_coefficients};
pub use error::{EnsembleError, MembersThatWouldDo};
pub use influential::{DistinctLists, distinct_influences};
pub use jacobian::{Jacobian, TangentMembers, gram_matrix, jacobians};
pub use ranking::FoundCode;
pub use search::{Influence, QuadraticForm};
pub use space::Space;
pub use weights::{full_weights, leave_out, only};
