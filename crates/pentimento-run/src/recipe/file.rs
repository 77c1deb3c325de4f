//! A recipe as it stands in its file: flat, so that the sections of either [`Origin`] lie beside all others.

use super::bound::{BrokenBound, broken};
use super::{
    AdapterShape, AttributionRecipe, BankRecipe, BaseRecipe, CheckpointRecipe, ClassifierRecipe, CodesRecipe,
    DataRecipe, GradientRecipe, InfluenceRecipe, OnBaseRecipe, Origin, Recipe, SamplesRecipe, SubsetsRecipe,
    TrainedNetwork, TrainedRecipe,
};
use pentimento_diffusion::sampler::SamplingConfig;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::training::TrainingConfig;
use serde::{Deserialize, Serialize};

/// The recipe file. The order of its sections is part of the text that runs hold the fingerprint of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecipeFile {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    data: DataRecipe,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<CheckpointRecipe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codes: Option<CodesRecipe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bank: Option<SubsetsRecipe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<toml::Table>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<BaseRecipe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adapter: Option<AdapterShape>,
    #[serde(default)]
    schedule: ScheduleConfig,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training: Option<TrainingConfig>,
    #[serde(default)]
    sampling: SamplingConfig,
    #[serde(default)]
    samples: SamplesRecipe,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attribution: Option<AttributionRecipe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gradients: Option<GradientRecipe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    influence: Option<InfluenceRecipe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classifier: Option<ClassifierRecipe>,
}

impl RecipeFile {
    /// The file of a recipe, with all defaults. Gradients and influence came later than the others: where they are as by
    /// default, the text of older runs stays theirs. What is asked by codes is not asked of an imported network.
    pub(super) fn of(recipe: &Recipe) -> Self {
        let recipe = recipe.clone();
        let file = Self {
            name: recipe.name,
            description: recipe.description,
            seed: recipe.seed,
            data: recipe.data,
            checkpoint: None,
            codes: None,
            bank: None,
            model: None,
            base: None,
            adapter: None,
            schedule: recipe.schedule,
            training: None,
            sampling: recipe.sampling,
            samples: recipe.samples,
            attribution: None,
            gradients: Some(recipe.gradients),
            influence: unless_default(recipe.influence),
            classifier: None,
        };
        match recipe.origin {
            Origin::Trained(TrainedRecipe { codes, network, training }) => {
                let (model, base, adapter) = match network {
                    TrainedNetwork::Fresh(model) => (Some(model), None, None),
                    TrainedNetwork::OnBase(on_base) => (None, Some(on_base.base), on_base.adapter),
                };
                Self {
                    codes: Some(codes),
                    model,
                    base,
                    adapter,
                    training: Some(training),
                    attribution: Some(recipe.attribution),
                    gradients: unless_default(recipe.gradients),
                    classifier: recipe.classifier,
                    ..file
                }
            }
            Origin::Bank(BankRecipe { subsets, model, training }) => Self {
                bank: Some(subsets),
                model: Some(model),
                training: Some(training),
                gradients: unless_default(recipe.gradients),
                ..file
            },
            Origin::Imported(checkpoint) => Self { checkpoint: Some(checkpoint), ..file },
        }
    }

    /// The recipe that a file says, its values not yet checked.
    pub(super) fn into_recipe(self) -> Result<Recipe, BrokenBound> {
        let model = self.model.unwrap_or_default();
        if self.base.is_some() && !model.is_empty() {
            broken("model", "given", "not with `base`, whose network the members begin with")?;
        }
        if self.base.is_some() && (self.checkpoint.is_some() || self.bank.is_some()) {
            broken("base", "given", "only with `codes`: the members of an ensemble begin with its network")?;
        }
        if self.base.is_none() && self.adapter.is_some() {
            broken(
                "adapter",
                "given",
                "only with `base`, which says on which network an adapter is trained",
            )?;
        }
        let codes = self.codes.unwrap_or_default();
        let training = self.training.unwrap_or_default();
        let origin = match (self.checkpoint, self.bank) {
            (None, None) => {
                let network = match self.base {
                    None => TrainedNetwork::Fresh(model),
                    Some(base) => {
                        TrainedNetwork::OnBase(Box::new(OnBaseRecipe { base, adapter: self.adapter }))
                    }
                };
                Origin::Trained(TrainedRecipe { codes, network, training })
            }
            (None, Some(subsets)) => {
                if codes != CodesRecipe::default() {
                    broken(
                        "codes",
                        "given",
                        "not with `bank`, which says by itself which network sees what",
                    )?;
                }
                Origin::Bank(BankRecipe { subsets, model, training })
            }
            (Some(checkpoint), bank) => {
                if bank.is_some() {
                    broken("bank", "given", "not with `checkpoint`: a bank's networks are trained here")?;
                }
                refuse_training(&codes, &model, &training)?;
                Origin::Imported(checkpoint)
            }
        };
        Ok(Recipe {
            name: self.name,
            description: self.description,
            seed: self.seed,
            data: self.data,
            origin,
            schedule: self.schedule,
            sampling: self.sampling,
            samples: self.samples,
            attribution: self.attribution.unwrap_or_default(),
            gradients: self.gradients.unwrap_or_default(),
            influence: self.influence.unwrap_or_default(),
            classifier: self.classifier,
        })
    }
}

/// Refuses what only networks that are trained here have, beside a checkpoint.
fn refuse_training(
    codes: &CodesRecipe,
    model: &toml::Table,
    training: &TrainingConfig,
) -> Result<(), BrokenBound> {
    for (section, is_given) in [
        ("codes", *codes != CodesRecipe::default()),
        ("model", !model.is_empty()),
        ("training", *training != TrainingConfig::default()),
    ] {
        if is_given {
            let bound = "not with `checkpoint`: an imported network is not trained here";
            return broken(section, "given", bound);
        }
    }
    Ok(())
}

fn unless_default<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}
