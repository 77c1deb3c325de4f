//! How many samples a run makes.

use super::bound::{BrokenBound, broken};
use crate::error::RunError;
use pentimento_diffusion::unet::UnetConfig;
use serde::{Deserialize, Serialize};

/// How many samples a run makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplesRecipe {
    /// Number of samples; their ids are 0, 1, 2, ...
    pub count: usize,
    /// How many of them the report shows in detail.
    pub in_report: usize,
    /// Of which class they are, for a network that was trained with classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
    /// What they are made of, for a network that was trained with texts: sample 0 of the first prompt, and so on in turn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// How far their predictions are taken away from those without a prompt; 1 or less, and absent: not at all. An import writes
    /// diffusers' 7.5 for a network with texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f64>,
}

/// What diffusers' `StableDiffusionPipeline` takes if it is not told otherwise.
pub(crate) const USUAL_GUIDANCE: f64 = 7.5;

/// More makes no picture.
const MOST_GUIDANCE: f64 = 1000.0;

impl Default for SamplesRecipe {
    fn default() -> Self {
        Self { count: 64, in_report: 24, class: None, prompts: Vec::new(), guidance: None }
    }
}

impl SamplesRecipe {
    pub(super) fn validate(&self) -> Result<(), BrokenBound> {
        if self.count == 0 || self.count > 1 << 24 {
            return broken("samples.count", self.count, "1 to 16,777,216 samples");
        }
        match self.guidance {
            Some(guidance) if !(0.0..=MOST_GUIDANCE).contains(&guidance) => {
                broken("samples.guidance", guidance, "0 to 1000")
            }
            _ => Ok(()),
        }
    }

    /// The prompt of a sample; none without prompts.
    pub fn prompt(&self, sample: u32) -> Option<&str> {
        let place = sample as usize % self.prompts.len().max(1);
        self.prompts.get(place).map(String::as_str)
    }

    /// The prompts of some samples, in their order; none without prompts.
    pub fn prompts_of(&self, samples: &[u32]) -> Vec<&str> {
        samples.iter().filter_map(|&sample| self.prompt(sample)).collect()
    }

    /// The guidance, if there is any; as in diffusers, up to 1 there is none.
    pub fn guided(&self) -> Option<f64> {
        self.guidance.filter(|&guidance| guidance > 1.0)
    }

    /// Refuses samples that a network cannot make: without what it has to be told, or with what it cannot.
    ///
    /// # Errors
    ///
    /// [`RunError::RecipeValue`] and as [`UnetConfig::check_class`].
    pub fn check(&self, network: &UnetConfig) -> Result<(), RunError> {
        let refuse = |field: &str, value: String, bound: &str| {
            let (file, field, bound) = ("recipe".into(), field.into(), bound.into());
            Err(RunError::RecipeValue { file, field, value, bound })
        };
        if network.cross_attention.is_some() {
            return match self.class {
                Some(class) => {
                    let bound = "left out, as the network was trained with texts and without classes";
                    refuse("samples.class", class.to_string(), bound)
                }
                None if self.prompts.is_empty() => {
                    let bound = "a list of prompts, of which samples take turns, as the network was trained with texts: \
                                 `samples.prompts=[\"a red house\"]`";
                    refuse("samples.prompts", "absent".into(), bound)
                }
                None => Ok(()),
            };
        }
        let bound = "left out, as the network was trained without texts";
        if !self.prompts.is_empty() {
            return refuse("samples.prompts", "given".into(), bound);
        }
        if let Some(guidance) = self.guidance {
            return refuse("samples.guidance", guidance.to_string(), bound);
        }
        Ok(network.check_class(self.class)?)
    }
}
