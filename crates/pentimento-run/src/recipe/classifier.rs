//! The classifier that names what a sample shows.

use super::bound::{BrokenBound, broken};
use super::data::DataRecipe;
use pentimento_evaluation::classifier::ClassifierConfig;
use serde::{Deserialize, Serialize};

/// The classifier, trained on the `train` split of the same public set with the same crop, pad and resize.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierRecipe {
    /// Passes over the training images.
    pub epochs: usize,
}

impl Default for ClassifierRecipe {
    fn default() -> Self {
        Self { epochs: 1 }
    }
}

impl ClassifierRecipe {
    /// The classifier of so many classes for images `[height, width, channels]`.
    pub fn config(self, seed: u64, classes: usize, shape: [usize; 3]) -> ClassifierConfig {
        ClassifierConfig { epochs: self.epochs, seed, ..ClassifierConfig::new(classes, shape) }
    }

    pub(super) fn validate(&self, data: &DataRecipe) -> Result<(), BrokenBound> {
        if data.set.is_none() {
            let bound = "only with `data.set`, as it trains on the set's `train` split";
            return broken("classifier", "given", bound);
        }
        if self.epochs == 0 || self.epochs > 1000 {
            return broken("classifier.epochs", self.epochs, "1 to 1000");
        }
        Ok(())
    }
}
