//! A value of a recipe that breaks a bound.

use pentimento_diffusion::DiffusionError;
use std::fmt::Display;

/// A key whose value breaks a bound, before it is known in which file it stands.
#[derive(Debug)]
pub(super) struct BrokenBound {
    /// The key, with its sections: `training.steps`.
    pub field: String,
    /// What it holds.
    pub value: String,
    /// What would be accepted.
    pub bound: String,
}

/// The failure of a check, for its last line.
pub(super) fn broken(field: &str, value: impl Display, bound: impl Into<String>) -> Result<(), BrokenBound> {
    Err(BrokenBound { field: field.into(), value: value.to_string(), bound: bound.into() })
}

impl BrokenBound {
    /// What a library found wrong with a section; its own names for it and its file are not the recipe's.
    pub fn of_section(section: &'static str) -> impl Fn(DiffusionError) -> Self {
        move |error| match error {
            DiffusionError::Config { field, value, bound, file } => {
                // The sampler also looks at the schedule, which was checked before.
                let section = if file == "noise schedule" { "schedule" } else { section };
                Self { field: format!("{section}.{field}"), value, bound }
            }
            DiffusionError::Image { height, width, channels, problem } => Self {
                field: section.into(),
                value: format!("given images of {height}x{width} with {channels} channels"),
                bound: problem,
            },
            other => Self { field: section.into(), value: "not usable".into(), bound: other.to_string() },
        }
    }
}
