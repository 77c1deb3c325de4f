//! A run of pentimento as a library: a recipe, the folder that keeps what follows from it, and the stages that make it.
//!
//! Each stage reads objects that earlier stages finished and writes its own; an object that is there and was made from the
//! same inputs is not made again. Nothing here prints: what happens is told as an [`Event`], results are values, and failures
//! are a [`RunError`] whose [`FailureKind`] says what they mean to whoever asked.

pub mod ablate;
pub mod adapters;
pub mod analyse;
pub mod bank;
pub mod base;
mod binding;
pub mod checkpoint;
pub mod classify;
pub mod code_scores;
pub mod code_search;
pub mod costs;
pub mod data;
pub mod doctor;
pub mod drive;
pub mod encoders;
pub mod error;
pub mod evaluate;
pub mod event;
pub mod everything;
pub mod figures;
pub mod forecast;
pub mod gradients;
pub mod imported;
pub mod influence;
mod kept;
mod known_sets;
pub mod memory;
pub mod network_images;
mod network_inputs;
pub mod networks;
pub mod npy;
pub mod page;
mod part_files;
pub mod pictures;
pub mod piece;
pub mod pool;
pub mod recipe;
pub mod removal;
pub mod score_tables;
pub mod scores;
pub mod stages;
pub mod stop;
pub mod train;
pub mod words;
pub mod workspace;

pub use error::{FailureKind, MadeBy, PartError, RunError};
pub use event::{Event, Reporter};
pub use known_sets::KnownSets;
pub use networks::Networks;
pub use recipe::Recipe;
pub use stop::{Stop, TimeAllowed};
pub use workspace::{RunOptions, Workspace};
