//! Members that begin with a network that is there: which network, and what an adapter on it has beside its layers.

use super::bound::{BrokenBound, broken};
use super::encoders::EncodersRecipe;
use crate::error::RunError;
use pentimento_diffusion::unet::{AdapterModule, Architecture, SampleSize};
use pentimento_store::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The layers that peft and diffusers' training scripts adapt: the projections of attentions.
const USUAL_LAYERS: [&str; 4] = ["to_k", "to_q", "to_v", "to_out.0"];

/// Largest rank; published adapters of images have at most 256.
const LARGEST_RANK: usize = 4096;

/// The members of an ensemble that begin with one network: the sections `base` and `adapter`.
#[derive(Clone, Debug, PartialEq)]
pub struct OnBaseRecipe {
    /// The network.
    pub base: BaseRecipe,
    /// What an adapter (LoRA) of each member has, beneath which the network stands still; none if each member trains all of the
    /// network on, from the values that it has.
    pub adapter: Option<AdapterShape>,
}

/// The network that members begin with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseRecipe {
    /// Its folder, or that of its pipeline: whatever can be imported.
    pub folder: PathBuf,
    /// Height and width of what the network is shown, its latents if it has any; those of its configuration if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_size: Option<SampleSize>,
    /// What was found in the folder when the recipe was read first. A run holds it, so that another network is noticed.
    pub files: BaseFiles,
}

/// The files of that network. None is copied into the run; whoever opens them compares their digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseFiles {
    /// The file of its configuration.
    pub config: PathBuf,
    /// The files of its weights.
    pub weights: Vec<PathBuf>,
    /// The file of its scheduler, from which the recipe has `schedule` and `sampling` where it says nothing else.
    pub scheduler: PathBuf,
    /// A digest of configuration and weights.
    pub digest: Digest,
    /// The encoders of its pipeline; none where the network makes pictures by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoders: Option<Box<EncodersRecipe>>,
}

/// What an adapter has beside the layers of its network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdapterShape {
    /// Rank of each of its parts.
    pub rank: usize,
    /// What its parts are multiplied with, times the rank; the rank if absent, so that they are multiplied with 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// The layers that have a part, by their names or the ends of these, as peft's `target_modules` has them.
    pub layers: Vec<String>,
}

impl Default for AdapterShape {
    fn default() -> Self {
        Self { rank: 4, alpha: None, layers: USUAL_LAYERS.map(str::to_owned).into() }
    }
}

impl AdapterShape {
    pub(super) fn validate(&self) -> Result<(), BrokenBound> {
        if !(1..=LARGEST_RANK).contains(&self.rank) {
            return broken("adapter.rank", self.rank, format!("1 to {LARGEST_RANK}"));
        }
        match self.alpha {
            Some(alpha) if !(alpha > 0.0 && alpha.is_finite()) => {
                broken("adapter.alpha", alpha, "a positive number")
            }
            _ => Ok(()),
        }
    }

    /// The parts of an adapter on a network, in the order of its layers.
    ///
    /// # Errors
    ///
    /// [`RunError::RecipeValue`] for layers that the network does not have.
    pub(crate) fn modules(&self, network: &Architecture) -> Result<Vec<AdapterModule>, RunError> {
        let names: Vec<&str> = network.adaptable().map(|(name, _)| name).collect();
        let is_meant = |name: &str, layer: &str| {
            name.strip_suffix(layer).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let refuse = |value: String| {
            let ends: BTreeSet<&str> = names.iter().map(|name| end_of(name)).collect();
            let ends = Vec::from_iter(ends).join(", ");
            let bound =
                format!("names of layers, or the ends of names; those of the network end with {ends}");
            let (file, field) = ("recipe".into(), "adapter.layers".into());
            Err(RunError::RecipeValue { file, field, value, bound })
        };
        if self.layers.is_empty() {
            return refuse("empty".into());
        }
        let absent: Vec<&String> =
            self.layers.iter().filter(|layer| !names.iter().any(|name| is_meant(name, layer))).collect();
        if !absent.is_empty() {
            return refuse(format!("{absent:?}"));
        }
        let is_adapted = |name: &&str| self.layers.iter().any(|layer| is_meant(name, layer));
        let alpha = self.alpha.unwrap_or(self.rank as f64);
        let module = |name: &str| AdapterModule { name: name.to_owned(), rank: self.rank, alpha };
        Ok(names.iter().copied().filter(is_adapted).map(module).collect())
    }
}

/// The end of a layer's name that is a word: `to_out.0` of `mid_block.attentions.0.to_out.0`.
fn end_of(name: &str) -> &str {
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mut place = name.len();
    for part in name.rsplit('.') {
        place -= part.len();
        if !is_number(part) {
            break;
        }
        place = place.saturating_sub(1);
    }
    &name[place..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_diffusion::unet::UnetConfig;

    fn network(block: &str) -> Architecture {
        Architecture::new(&UnetConfig {
            block_out_channels: vec![8],
            down_block_types: vec![format!("{block}DownBlock2D")],
            up_block_types: vec![format!("{block}UpBlock2D")],
            layers_per_block: 1,
            norm_num_groups: 4,
            ..UnetConfig::default()
        })
        .unwrap()
    }

    fn modules(layers: &[&str], network: &Architecture) -> Result<Vec<String>, RunError> {
        let layers = layers.iter().map(ToString::to_string).collect();
        let shape = AdapterShape { layers, ..AdapterShape::default() };
        Ok(shape.modules(network)?.into_iter().map(|module| module.name).collect())
    }

    #[test]
    fn layers_are_named_as_in_peft() {
        let network = network("Attn");
        // One attention on the way down, one in the middle, and two on the way up, each with four projections.
        assert_eq!(AdapterShape::default().modules(&network).unwrap().len(), 4 * 4);
        assert_eq!(modules(&["conv_in"], &network).unwrap(), ["conv_in"]);
        assert_eq!(modules(&["mid_block.attentions.0.to_q", "conv_out"], &network).unwrap().len(), 2);
        // `in` is the end of a word, and not of a name.
        for absent in ["in", "to_out", "nothing"] {
            let said = modules(&["to_q", absent], &network).unwrap_err().to_string();
            assert!(said.contains(&format!("`adapter.layers` is [{absent:?}]")), "{said}");
            assert!(said.contains("to_k, to_out.0, to_q, to_v"), "{said}");
        }
        assert!(modules(&[], &network).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn alpha_is_the_rank_unless_it_is_said() {
        let network = network("Attn");
        let scale = |alpha| {
            let shape = AdapterShape { rank: 2, alpha, ..AdapterShape::default() };
            shape.modules(&network).unwrap()[0].scale()
        };
        assert_eq!((scale(None), scale(Some(1.0))), (1.0, 0.5));
    }
}
