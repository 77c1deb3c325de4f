//! pentimento: finds, for an image made by a diffusion model, the training images it rests on, and proves it by making
//! the image again without them.
//!
//! This crate is the program: arguments, commands, forecasts, and what people see on a terminal. A run itself is
//! [`pentimento_run`], here under the name [`run`]; the libraries below it are here under their names too.

pub mod arguments;
pub mod commands;
pub mod error;
mod hub;
pub mod plan;
pub mod progress;
pub mod stop;

pub use pentimento_attribution as attribution;
pub use pentimento_data as data;
pub use pentimento_diffusion as diffusion;
pub use pentimento_evaluation as evaluation;
pub use pentimento_noise as noise;
pub use pentimento_report as report;
pub use pentimento_run as run;
pub use pentimento_store as store;
