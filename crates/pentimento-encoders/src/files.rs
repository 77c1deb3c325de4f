//! The files of one network of a pipeline, and their values.

use crate::EncoderError;
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::{Unclear, open_weights, read_parameters, read_text, weight_files};
use pentimento_diffusion::json;
use pentimento_diffusion::unet::ParameterSpec;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";

/// What diffusers and transformers call weights.
const WEIGHTS: [&str; 2] = ["diffusion_pytorch_model", "model"];

/// The files of one network: of an autoencoder, or of a text encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct PartFiles {
    /// Its `config.json`.
    pub config: PathBuf,
    /// Its weights; several if they are cut into shards.
    pub weights: Vec<PathBuf>,
}

impl PartFiles {
    /// Finds the files in a network's own folder.
    ///
    /// The weights are those of `variant` (such as `fp16`) if the folder has it, as diffusers takes them; without one, or where
    /// it is not there, those without a name; and if there is only one variant, that one.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] if there are none, [`DiffusionError::Unclear`] for several variants of which none is asked for,
    /// [`EncoderError::Pickle`] for pickles.
    pub fn find(folder: &Path, variant: Option<&str>) -> Result<Self, EncoderError> {
        let config = folder.join(CONFIG);
        if !config.is_file() {
            return Err(EncoderError::file(&config, "does not exist"));
        }
        let variant = variant.filter(|variant| has_variant(folder, variant));
        let weights = match weight_files(folder, variant) {
            Err(DiffusionError::Unclear { what: Unclear::Variant(names), .. }) if names.len() == 1 => {
                weight_files(folder, names.first().map(String::as_str))
            }
            found => found,
        };
        match weights {
            Ok(weights) => Ok(Self { config, weights }),
            Err(DiffusionError::Pickle { file, folder, .. }) => {
                let (library, class) = class_of(&config)?;
                Err(EncoderError::Pickle { file, folder, library, class })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What errors call the configuration.
    pub(crate) fn config_name(&self) -> String {
        self.config.display().to_string()
    }

    pub(crate) fn read_config(&self) -> Result<String, EncoderError> {
        Ok(read_text(&self.config)?)
    }

    /// The values in memory layout, one vector per parameter; tensors whose names end with one of `buffers` are passed over.
    pub(crate) fn read_values(
        &self,
        parameters: &[ParameterSpec],
        buffers: &[&str],
    ) -> Result<Vec<Vec<f32>>, EncoderError> {
        let mut files = self.weights.iter().map(|path| open_weights(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(read_parameters(parameters, buffers, &mut files)?.values)
    }
}

/// Reads a JSON object.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>, EncoderError> {
    json::object(&read_text(path)?)
        .map_err(|problem| EncoderError::file(path, format!("no JSON object: {problem}")))
}

fn has_variant(folder: &Path, variant: &str) -> bool {
    let names = WEIGHTS.iter().flat_map(|name| {
        [format!("{name}.{variant}.safetensors"), format!("{name}.safetensors.index.{variant}.json")]
    });
    names.into_iter().any(|name| folder.join(name).symlink_metadata().is_ok())
}

/// The library and the class that write the weights of a configuration again.
fn class_of(config: &Path) -> Result<(&'static str, String), EncoderError> {
    let object = read_object(config)?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(String::from);
    if let Some(class) = text(object.get("_class_name")) {
        return Ok(("diffusers", class));
    }
    let architecture = object.get("architectures").and_then(|all| all.get(0));
    Ok(("transformers", text(architecture).unwrap_or_else(|| "CLIPTextModel".into())))
}
