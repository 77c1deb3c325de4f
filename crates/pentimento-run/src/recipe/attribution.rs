//! What is asked about each sample.

use super::bound::{BrokenBound, broken};
use serde::{Deserialize, Serialize};

/// What is asked about each sample of an ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttributionRecipe {
    /// For how many groups the exact counterfactual is made, drawn at random for each sample; all, if there are no more.
    pub counterfactuals: usize,
    /// For how many samples the approximations are compared with the exact counterfactuals.
    pub fidelity_samples: usize,
    /// Whether the paper's Jacobian (the tangents of all members in each step) is computed for these samples too; it
    /// costs n times the one-member Jacobian that the search uses.
    pub full_jacobian: bool,
    /// Length of each sample's list of most influential groups.
    pub top: usize,
    /// How many candidates of the linear stage the control variate ranks again.
    pub candidates: usize,
    /// How many of the list are made exactly, to check it.
    pub exact: usize,
}

impl Default for AttributionRecipe {
    fn default() -> Self {
        Self {
            counterfactuals: 64,
            fidelity_samples: 32,
            full_jacobian: true,
            top: 10,
            candidates: 32,
            exact: 3,
        }
    }
}

impl AttributionRecipe {
    pub(super) fn validate(&self) -> Result<(), BrokenBound> {
        let Self { counterfactuals, top, candidates, exact, .. } = *self;
        for (field, value) in [
            ("attribution.counterfactuals", counterfactuals),
            ("attribution.top", top),
            ("attribution.candidates", candidates),
        ] {
            if value == 0 || value > 100_000 {
                return broken(field, value, "1 to 100,000");
            }
        }
        for (field, value) in [("attribution.top", top), ("attribution.exact", exact)] {
            if value > candidates {
                let bound = format!("at most as many as `attribution.candidates`, {candidates}");
                return broken(field, value, bound);
            }
        }
        Ok(())
    }
}
