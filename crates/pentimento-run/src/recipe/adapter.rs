//! The adapter of an imported network.

use pentimento_diffusion::unet::{Architecture, ParameterSpec};
use pentimento_store::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Where an adapter (LoRA) came from, and beneath which it lies. Its values are in the run. The network beneath it, which stands
/// still, is not copied into the run: it lies where the checkpoint's files are, and whoever opens it compares its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterRecipe {
    /// The file of its tensors.
    pub weights: PathBuf,
    /// PEFT's `adapter_config.json`, where the scale stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// A digest of the files of the network beneath it.
    pub base: Digest,
    /// The different ranks of its parts, from the least.
    pub ranks: Vec<usize>,
    /// Layers of the network that have a part.
    pub layers: usize,
    /// Numbers in all parts.
    pub parameters: usize,
}

/// The part of an adapter that belongs to the text encoder. It stays where the adapter came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextAdapterRecipe {
    /// The file of its tensors.
    pub weights: PathBuf,
    /// A digest of it.
    pub digest: Digest,
}

impl AdapterRecipe {
    /// That of a network that has one, beside where it came from and the digest of the network beneath.
    pub(crate) fn of(
        architecture: &Architecture,
        weights: PathBuf,
        config: Option<PathBuf>,
        base: Digest,
    ) -> Self {
        let modules = architecture.adapter_modules();
        let mut ranks: Vec<usize> = modules.iter().map(|module| module.rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        let parameters = architecture.parameters().iter().map(ParameterSpec::len).sum();
        Self { weights, config, base, ranks, layers: modules.len(), parameters }
    }
}

impl fmt::Display for AdapterRecipe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ranks.as_slice() {
            [] => formatter.write_str("an adapter"),
            [rank] => write!(formatter, "an adapter of rank {rank}"),
            [least, .., most] => write!(formatter, "an adapter of ranks {least} to {most}"),
        }?;
        write!(formatter, " on {}", crate::words::counted(self.layers, "layer"))
    }
}
