//! How many samples a run makes.

use super::bound::{BrokenBound, broken};
use serde::{Deserialize, Serialize};

/// How many samples a run makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplesRecipe {
    /// Number of samples; their ids are 0, 1, 2, ...
    pub count: usize,
    /// How many of them the report shows in detail.
    pub in_report: usize,
    /// Of which class they are, for a network that was trained with classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
}

impl Default for SamplesRecipe {
    fn default() -> Self {
        Self { count: 64, in_report: 24, class: None }
    }
}

impl SamplesRecipe {
    pub(super) fn validate(&self) -> Result<(), BrokenBound> {
        if self.count == 0 || self.count > 1 << 24 {
            return broken("samples.count", self.count, "1 to 16,777,216 samples");
        }
        Ok(())
    }
}
