//! Banks: networks that were trained on known subsets of the images and differ by nothing else. What an attribution predicts is
//! held against what really happened to them.
//!
//! * `subsets`: which images each of them is trained on.
//! * `data`: the images with their subsets.
//! * `training`: the stage that trains them, one by one.
//! * `objects`: what they are called in the run.

mod data;
mod objects;
mod subsets;
mod training;

pub use data::{BankData, bank_data};
pub use objects::{network_folder, weights_name};
pub use subsets::Subset;
pub use training::{BankTraining, train_bank};
