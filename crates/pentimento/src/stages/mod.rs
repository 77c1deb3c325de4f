//! The stages of a run. Each reads objects that earlier stages finished and writes its own; an object that is there
//! and was made from the same inputs is not made again.

pub mod analyse;
pub mod classify;
pub mod costs;
pub mod data;
pub mod figures;
pub mod gradients;
pub mod imported;
pub mod imported_report;
pub mod influence;
pub mod report;
pub mod train;
pub mod workspace;

pub use workspace::{RunOptions, Workspace};
