//! Adapters of low rank (LoRA) in the forms in which they are found, and as peft and diffusers write them.
//!
//! * `names`: how tensors are called in each form.
//! * `settings`: the configuration of peft, where alpha stands.
//! * `files`, `read`: which file of a folder is the adapter, and what it has for a network.
//! * `write`: a folder of peft, and a file of diffusers.

mod files;
mod names;
mod read;
mod settings;
mod write;

pub use files::AdapterFiles;
pub use names::{AdapterForm, TextEncoder};
pub use read::{ReadAdapter, TextEncoderPart};
pub use write::{ADAPTER_FILES, DIFFUSERS_ADAPTER, adapter_as_diffusers, adapter_files};

use super::folder::Checkpoint;
use crate::DiffusionError;

/// What PEFT calls its configuration, and where diffusers keeps the same in the header of a file.
const CONFIG: &str = "adapter_config.json";
const METADATA: &str = "lora_adapter_metadata";

impl Checkpoint {
    /// This network beneath an adapter: the values are then those of the adapter, and the network's own stand still.
    ///
    /// # Errors
    ///
    /// As [`Architecture::with_adapter`](crate::unet::Architecture::with_adapter).
    ///
    /// # Panics
    ///
    /// If the values of the checkpoint are not those of its network.
    pub fn with_adapter(self, adapter: ReadAdapter) -> Result<Self, DiffusionError> {
        let architecture = self.architecture.with_adapter(&adapter.modules, self.values)?;
        Ok(Self { architecture, values: adapter.values.into_iter().map(Into::into).collect(), ..self })
    }
}
