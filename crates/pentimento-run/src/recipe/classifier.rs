//! The classifier that names what a sample shows.

use super::bound::{BrokenBound, broken};
use super::data::DataRecipe;
use pentimento_data::{Preprocessing, Split};
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

    /// What to take out of a recipe for which there is no classifier, as its images are of no public set: it, and what else
    /// may have been meant for the set whose place other images took. None if it can stay.
    pub(super) fn does_not_fit(data: &DataRecipe) -> Option<Vec<&'static str>> {
        if data.set.is_some() {
            return None;
        }
        let Preprocessing { split, classes, .. } = &data.preprocessing;
        let of_set = [
            (*split == Split::Test, "data.preprocessing.split"),
            (classes.is_some(), "data.preprocessing.classes"),
        ];
        let of_set = of_set.into_iter().filter_map(|(is_given, key)| is_given.then_some(key));
        Some(["classifier"].into_iter().chain(of_set).collect())
    }

    pub(super) fn validate(&self) -> Result<(), BrokenBound> {
        if self.epochs == 0 || self.epochs > 1000 {
            return broken("classifier.epochs", self.epochs, "1 to 1000");
        }
        Ok(())
    }
}
