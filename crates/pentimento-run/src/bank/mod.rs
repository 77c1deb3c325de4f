//! Banks: networks that were trained on known subsets of the images and differ by nothing else. What an attribution predicts is
//! held against what really happened to them.
//!
//! * `subsets`: which images each of them is trained on.
//! * `data`: the images with their subsets.
//! * `training`: the stage that trains them, one by one.
//! * `objects`: what they are called in the run.
//! * `opened`: a bank that is asked; the members of an encoded ensemble are one too.

mod data;
mod objects;
mod opened;
mod subsets;
mod training;

pub use data::{BankData, bank_data};
pub use objects::{network_folder, weights_name};
pub use opened::{Bank, BankNetwork};
pub use subsets::Subset;
pub use training::{BankTraining, train_bank};
