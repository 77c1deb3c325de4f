//! Adapters (LoRA) of imported networks: opened beside a checkpoint, kept in the run, and laid over the network beneath them.
//!
//! The adapter is what the run has as the weights of its member, a folder that peft opens. The network beneath it may have
//! gigabytes and stands still, so it stays where the checkpoint lies, as encoders do; whoever opens the adapter opens it too, and
//! compares its digest.

use crate::checkpoint::OpenCheckpoint;
use crate::error::{PartError, Result, RunError};
use crate::event::{Event, Reporter};
use crate::part_files::{absolute, compare, digest_of};
use crate::recipe::{AdapterRecipe, CheckpointRecipe};
use crate::train::member_folder;
use crate::workspace::Workspace;
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::{
    AdapterFiles, AdapterForm, Checkpoint, TextEncoder, TextEncoderPart, adapter_files, open_weights,
    read_stored_weights,
};
use pentimento_diffusion::unet::{AdapterModule, Architecture};
use pentimento_encoders::EncoderError;
use pentimento_store::Digest;
use std::path::{Path, PathBuf};

/// Names of the files of a member that is an adapter, in the folder of the member.
pub(crate) const FILES_OF_MEMBER: [&str; 2] =
    ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"];

/// An adapter that was opened beside a checkpoint.
#[derive(Clone, Debug)]
pub struct OpenAdapter {
    /// Its files.
    pub files: AdapterFiles,
    /// How they name tensors.
    pub form: AdapterForm,
    /// What it has for the text encoder.
    pub of_text: Vec<TextEncoderPart>,
}

impl OpenCheckpoint {
    /// The checkpoint with an adapter, which lies in a file or a folder: its trained values are then those of the adapter. What the
    /// adapter has for the text encoder is added to it.
    ///
    /// # Errors
    ///
    /// [`PartError::Adapter`] for what [`AdapterFiles::find`] and [`AdapterFiles::read`] refuse, and for parts of a text encoder that
    /// is not there or has no such layers.
    pub fn with_adapter(self, path: &Path, reporter: &Reporter) -> Result<Self> {
        let folder = self.folder.clone();
        let wrong =
            |source: DiffusionError| PartError::Adapter { network: folder.clone(), source: source.into() };
        let files = AdapterFiles::find(path).map_err(wrong)?;
        let mut read = files.read(&self.checkpoint.architecture).map_err(wrong)?;
        let (form, of_text) = (read.form, std::mem::take(&mut read.text_encoders));
        let checkpoint = self.checkpoint.with_adapter(read).map_err(wrong)?;
        let mut encoders = self.encoders;
        if let Some(part) = of_text.first() {
            let whose = of_text.iter().find(|part| part.encoder == TextEncoder::Second);
            let text = encoders.as_mut().and_then(|opened| opened.encoders.text.take());
            let Some(text) = text.filter(|_| whose.is_none()) else {
                let tensor = whose.unwrap_or(part).module.clone();
                let which = if whose.is_some() { "second text encoder" } else { "text encoder" };
                let problem = format!("it is a part for a {which}, and this network has none");
                let file = files.weights.display().to_string();
                return Err(wrong(DiffusionError::Tensor { file, tensor, problem }).into());
            };
            let text = text.with_adapter(&of_text, &files.weights).map_err(|error| match error {
                EncoderError::Model(error) => RunError::from(wrong(error)),
                error => error.into(),
            })?;
            if let Some(opened) = &mut encoders {
                opened.encoders.text = Some(text);
            }
        }
        let architecture = &checkpoint.architecture;
        reporter.tell(Event::Adapter {
            form,
            modules: architecture.adapter_modules(),
            parameters: architecture.parameter_count(),
            of_text: of_text.len(),
        });
        Ok(Self { checkpoint, encoders, adapter: Some(OpenAdapter { files, form, of_text }), ..self })
    }

    /// What a run remembers of the adapter, if there is one.
    ///
    /// # Errors
    ///
    /// If a file of the network beneath cannot be read.
    pub(crate) fn adapter_recipe(&self) -> Result<Option<AdapterRecipe>> {
        let of = |adapter: &OpenAdapter| -> Result<AdapterRecipe> {
            let weights = absolute(&adapter.files.weights);
            let config = adapter.files.config.as_ref().filter(|_| adapter.form == AdapterForm::Peft);
            let base = digest_of_base(&self.files.config, &self.files.weights)?;
            let config = config.map(|path| absolute(path));
            Ok(AdapterRecipe::of(&self.checkpoint.architecture, weights, config, base))
        };
        self.adapter.as_ref().map(of).transpose()
    }
}

/// A digest of the files of a network beneath adapters.
pub(crate) fn digest_of_base(config: &Path, weights: &[PathBuf]) -> Result<Digest> {
    digest_of(std::iter::once(config).chain(weights.iter().map(PathBuf::as_path)))
}

/// Names of the objects of a member that is an adapter, its settings and its values, as peft has them.
pub(crate) fn object_names(member: u32) -> [String; 2] {
    FILES_OF_MEMBER.map(|file| format!("{}/{file}", member_folder(member)))
}

/// The adapter of a checkpoint as objects of a run.
///
/// # Errors
///
/// As [`adapter_files`].
pub(crate) fn objects(checkpoint: &Checkpoint) -> Result<Vec<(String, Vec<u8>)>> {
    let files = adapter_files(&checkpoint.architecture, &checkpoint.values_in_f32())?;
    Ok(object_names(0).into_iter().zip(files.into_iter().map(|(_, bytes)| bytes)).collect())
}

/// A network beneath the adapter that a run keeps.
///
/// # Errors
///
/// [`PartError::Gone`] and [`PartError::Other`] if the network beneath is not where it lay at the import, or is another one; as reading
/// it and the adapter.
pub(crate) fn over(
    workspace: &Workspace,
    source: &CheckpointRecipe,
    recipe: &AdapterRecipe,
    network: &Architecture,
) -> Result<Architecture> {
    let modules = modules(workspace, network)?;
    let found = digest_of_base(&source.config, &source.weights);
    compare("network beneath the adapter", &source.config, found, recipe.base)?;
    let mut files = source.weights.iter().map(|path| open_weights(path)).collect::<Result<Vec<_>, _>>()?;
    let values = read_stored_weights(network, &mut files)?.values;
    Ok(network.with_adapter(&modules, values)?)
}

/// The parts of the adapter that a run keeps.
fn modules(workspace: &Workspace, network: &Architecture) -> Result<Vec<AdapterModule>> {
    let [config, weights] = object_names(0);
    let (config, weights) = (workspace.run.path_of(&config)?, workspace.run.path_of(&weights)?);
    Ok(AdapterFiles { weights, config: Some(config) }.read(network)?.modules)
}

/// Identifies the values of a network with an adapter: those of the adapter, its scales, and the network beneath.
///
/// # Errors
///
/// [`RunError::Inconsistent`] if the run has no such adapter.
pub(crate) fn digest(workspace: &Workspace, recipe: &AdapterRecipe) -> Result<Digest> {
    let mut digests = recipe.base.as_bytes().to_vec();
    for object in object_names(0) {
        let Some(entry) = workspace.run.entry(&object) else {
            return Err(RunError::Inconsistent { object, problem: "is not there".into() });
        };
        digests.extend_from_slice(entry.blake3.as_bytes());
    }
    Ok(Digest::of(&digests))
}
