//! Where the networks of a run come from.

use super::adapter::AdapterRecipe;
use super::bank::BankRecipe;
use super::base::{AdapterShape, OnBaseRecipe};
use super::bound::{BrokenBound, broken};
use super::codes::CodesRecipe;
use super::data::DataRecipe;
use super::encoders::EncodersRecipe;
use crate::error::RunError;
use pentimento_diffusion::training::TrainingConfig;
use pentimento_diffusion::unet::{SampleSize, UnetConfig};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the networks of a run come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// They are an ensemble that the run trains.
    Trained(TrainedRecipe),
    /// It is one network that was trained elsewhere.
    Imported(CheckpointRecipe),
    /// They are networks on known subsets, to hold attributions against.
    Bank(BankRecipe),
}

/// How an ensemble is trained: the sections that the recipe of an imported network does not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainedRecipe {
    /// Which member trains on which images.
    pub codes: CodesRecipe,
    /// What a member begins with.
    pub network: TrainedNetwork,
    /// How a member is trained.
    pub training: TrainingConfig,
}

/// What each member of an ensemble begins with.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainedNetwork {
    /// A fresh network: keys of diffusers' `UNet2DModel`; sizes that follow from the images may be left out.
    Fresh(toml::Table),
    /// A network that is there.
    OnBase(Box<OnBaseRecipe>),
}

impl Default for TrainedNetwork {
    fn default() -> Self {
        Self::Fresh(toml::Table::new())
    }
}

/// Where an imported network comes from. What it computes follows from the weights in the run, not from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointRecipe {
    /// The folder, as it was given.
    pub folder: PathBuf,
    /// The file of the configuration in it, which says which of several networks was taken.
    pub config: PathBuf,
    /// The files of the weights.
    pub weights: Vec<PathBuf>,
    /// The file of the scheduler.
    pub scheduler: PathBuf,
    /// Height and width of the network's images, where its configuration does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_size: Option<SampleSize>,
    /// The encoders of its pipeline; none where the network makes pictures by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoders: Option<Box<EncodersRecipe>>,
    /// The adapter that the run is about; none where it is about the network itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Box<AdapterRecipe>>,
}

impl Origin {
    pub(super) fn validate(&self, data: &DataRecipe) -> Result<(), BrokenBound> {
        match self {
            Self::Trained(trained) => {
                let TrainedRecipe { codes, training, .. } = trained;
                training.validate().map_err(BrokenBound::of_section("training"))?;
                if let Some(OnBaseRecipe { base, adapter }) = trained.on_base() {
                    adapter.as_ref().map_or(Ok(()), AdapterShape::validate)?;
                    if training.horizontal_flip && base.files.encoders.is_some() {
                        let bound = "false where networks work on latents: a mirrored latent is not that of the mirrored picture";
                        return broken("training.horizontal_flip", true, bound);
                    }
                }
                codes.validate(data)
            }
            Self::Imported(_) => Ok(()),
            Self::Bank(BankRecipe { subsets, training, .. }) => {
                training.validate().map_err(BrokenBound::of_section("training"))?;
                subsets.validate(data)
            }
        }
    }

    /// Keys of the networks that are trained here from the beginning.
    pub(super) fn model(&self) -> Option<&toml::Table> {
        match self {
            Self::Trained(TrainedRecipe { network: TrainedNetwork::Fresh(model), .. })
            | Self::Bank(BankRecipe { model, .. }) => Some(model),
            Self::Trained(_) | Self::Imported(_) => None,
        }
    }
}

impl TrainedRecipe {
    /// The network that members begin with, if it is one that is there.
    pub fn on_base(&self) -> Option<&OnBaseRecipe> {
        match &self.network {
            TrainedNetwork::Fresh(_) => None,
            TrainedNetwork::OnBase(on_base) => Some(on_base),
        }
    }
}

/// The network that the keys of a recipe's `model` say, for images `[height, width, channels]`. `recipe` is what messages call
/// the recipe.
///
/// # Errors
///
/// [`RunError::RecipeValue`] for keys that do not exist or values that contradict the images.
pub fn unet(
    model: &toml::Table,
    recipe: &str,
    [height, width, channels]: [usize; 3],
) -> Result<UnetConfig, RunError> {
    let file = || format!("recipe `{recipe}`");
    let told = |BrokenBound { field, value, bound }: BrokenBound| {
        let file = file();
        RunError::RecipeValue { file, field, value, bound }
    };
    let json = serde_json::to_string(model)
        .map_err(|error| RunError::Recipe { file: file(), message: error.to_string() })?;
    let (mut config, unknown) = UnetConfig::from_json(&json, "recipe, [model]")
        .map_err(|error| told(BrokenBound::of_section("model")(error)))?;
    if let Some(key) = unknown.first() {
        let value = model.get(key).map_or_else(String::new, ToString::to_string);
        let bound = "not a key of UNet2DModel".into();
        return Err(told(BrokenBound { field: format!("model.{key}"), value, bound }));
    }
    for (key, value) in [("in_channels", &mut config.in_channels), ("out_channels", &mut config.out_channels)]
    {
        if model.contains_key(key) && *value != channels {
            let bound = format!("the images have {channels} channels");
            let (field, value) = (format!("model.{key}"), value.to_string());
            return Err(told(BrokenBound { field, value, bound }));
        }
        *value = channels;
    }
    config.sample_size.get_or_insert(SampleSize { height, width });
    config
        .check_image(height, width, channels)
        .map_err(|error| told(BrokenBound::of_section("model")(error)))?;
    Ok(config)
}
