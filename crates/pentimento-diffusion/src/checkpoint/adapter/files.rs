//! Which file is an adapter.

use super::super::folder::{broken, unreadable};
use super::CONFIG;
use crate::DiffusionError;
use std::path::{Path, PathBuf};

/// What peft and diffusers call the file of an adapter.
const NAMES: [&str; 2] = ["adapter_model.safetensors", "pytorch_lora_weights.safetensors"];

/// How names of pickles end.
const PICKLES: [&str; 4] = [".bin", ".ckpt", ".pt", ".pth"];

/// The files of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterFiles {
    /// The tensors.
    pub weights: PathBuf,
    /// PEFT's `adapter_config.json`, if it lies beside them.
    pub config: Option<PathBuf>,
}

impl AdapterFiles {
    /// Finds an adapter: a file, or the one of a folder.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] if there is none, there are several, or there are only pickles.
    pub fn find(path: &Path) -> Result<Self, DiffusionError> {
        let weights = if path.is_dir() {
            in_folder(path)?
        } else if path.is_file() {
            path.into()
        } else {
            return Err(broken(path, if path.exists() { "is no file" } else { "does not exist" }.into()));
        };
        let name = weights.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if PICKLES.iter().any(|ending| name.ends_with(ending)) {
            return Err(pickle(&weights));
        }
        let config = Some(weights.with_file_name(CONFIG)).filter(|config| config.is_file());
        Ok(Self { weights, config })
    }
}

fn in_folder(folder: &Path) -> Result<PathBuf, DiffusionError> {
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        found.push(entry.file_name().to_string_lossy().into_owned());
    }
    found.sort();
    let ending = |endings: &[&str]| -> Vec<&String> {
        found.iter().filter(|name| endings.iter().any(|ending| name.ends_with(ending))).collect()
    };
    let mut candidates: Vec<&String> = found.iter().filter(|name| NAMES.contains(&name.as_str())).collect();
    if candidates.is_empty() {
        candidates = ending(&[".safetensors"]);
    }
    match candidates.as_slice() {
        [one] => Ok(folder.join(one)),
        [] => match ending(&PICKLES).first() {
            Some(name) => Err(pickle(&folder.join(name))),
            None => Err(broken(
                folder,
                format!("has no adapter: neither {} nor another safetensors file", NAMES.join(" nor ")),
            )),
        },
        several => {
            let names = several.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            Err(broken(
                folder,
                format!("has several files that may be the adapter: {names}; name one of them"),
            ))
        }
    }
}

fn pickle(file: &Path) -> DiffusionError {
    let target = file.with_extension("safetensors");
    let problem = format!(
        "an adapter as a pickle is not opened, as a pickle may run any code; with Python: `import torch, safetensors.torch as s; \
         s.save_file(torch.load({:?}, weights_only=True), {:?})` writes it as safetensors",
        file.display().to_string(),
        target.display().to_string()
    );
    broken(file, problem)
}
