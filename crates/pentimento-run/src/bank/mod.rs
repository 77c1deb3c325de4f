//! Banks: networks that were trained on known subsets of the images and differ by nothing else. What an attribution predicts is
//! held against what really happened to them.
//!
//! * `subsets`: which images each of them is trained on.
//! * `data`: the images with their subsets.
//! * `subset_training`: the stage that trains networks on some of the images each, one by one.
//! * `training`: which networks a bank has of them; `objects`: what they are called in the run.
//! * `opened`: a bank that is asked; the members of an encoded ensemble are one too.

mod data;
mod objects;
mod opened;
mod subset_training;
mod subsets;
mod training;

pub use data::{BankData, bank_data};
pub(crate) use objects::objects_of;
pub use objects::{network_folder, weights_name};
pub use opened::{Bank, BankNetwork};
pub(crate) use opened::{places_in, refuse_other_questions};
pub(crate) use subset_training::SubsetNetwork;
pub use subset_training::SubsetTraining;
pub use subsets::Subset;
pub(crate) use training::fingerprint_of_network;
pub use training::{BankTraining, train_bank};
