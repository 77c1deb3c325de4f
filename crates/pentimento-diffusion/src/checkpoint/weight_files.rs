//! Which files of a network's folder hold its weights, and whether they are whole as far as their headers tell.

use super::folder::{Unclear, broken, read_text, unclear, unreadable};
use super::other_files::telling_file;
use super::signature::{FIRST_BYTES, LONGEST_END_OF_ZIP, is_end_of_zip, is_pickle, what_it_is};
use super::tensor_file::TensorFile;
use crate::DiffusionError;
use crate::json;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// What diffusers calls weights, and what accelerate calls those of its states.
const NAMES: [&str; 2] = ["diffusion_pytorch_model", "model"];

/// What accelerate calls weights as a pickle.
const PICKLE_OF_ACCELERATE: &str = "pytorch_model.bin";

/// The index of weights that are cut into shards.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// The weights of a variant in a network's folder: one file, or those that an index lists.
///
/// # Errors
///
/// [`DiffusionError::File`] if there are none, or a file that is listed is not there; [`DiffusionError::Unclear`] if there are
/// only other variants; [`DiffusionError::Pickle`] if there are only pickles.
pub fn weight_files(network: &Path, variant: Option<&str>) -> Result<Vec<PathBuf>, DiffusionError> {
    if let Some(variant) = variant
        && (variant.is_empty() || !variant.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
    {
        return Err(broken(
            network,
            format!("`{variant}` is no name of a variant: those are letters and digits"),
        ));
    }
    let of_variant = variant.map(|variant| format!(".{variant}")).unwrap_or_default();
    for name in NAMES {
        if let Some(files) = weights_called(network, name, &of_variant)? {
            return Ok(files);
        }
    }
    let [name, _] = NAMES;
    Err(no_weights(network, &network.join(format!("{name}{of_variant}.safetensors")))?)
}

/// The weights of one name, if there are any.
fn weights_called(
    network: &Path,
    name: &str,
    of_variant: &str,
) -> Result<Option<Vec<PathBuf>>, DiffusionError> {
    let single = network.join(format!("{name}{of_variant}.safetensors"));
    let index = network.join(format!("{name}.safetensors.index{of_variant}.json"));
    match (single.is_file(), index.is_file()) {
        (true, true) => {
            let problem =
                format!("lies beside `{}`: one of the two is left over from another save", index.display());
            Err(broken(&single, problem))
        }
        (true, false) => Ok(Some(vec![single])),
        (false, true) => shards(network, &index).map(Some),
        (false, false) if single.symlink_metadata().is_ok() => {
            let problem = match single.metadata() {
                Ok(_) => "is no file but a folder, a pipe or a device".into(),
                Err(error) => format!("cannot be read: {error}"),
            };
            Err(broken(&single, problem))
        }
        (false, false) => Ok(None),
    }
}

fn shards(network: &Path, index: &Path) -> Result<Vec<PathBuf>, DiffusionError> {
    let none = |problem: String| broken(index, format!("no index of shards: {problem}"));
    let listed = json::object(&read_text(index)?).map_err(none)?;
    let listed: ShardIndex =
        serde_json::from_value(listed.into()).map_err(|error| none(error.to_string()))?;
    let names: BTreeSet<String> = listed.weight_map.into_values().collect();
    if names.is_empty() {
        return Err(broken(index, "`weight_map` lists no file".into()));
    }
    names
        .into_iter()
        .map(|name| {
            // A file of the folder, and nothing that a path could lead to.
            if !name.ends_with(".safetensors") || name.contains(['/', '\\']) {
                let problem =
                    format!("`weight_map` names {name:?}, which is no safetensors file of its own folder");
                return Err(broken(index, problem));
            }
            let file = network.join(&name);
            if !file.is_file() {
                return Err(broken(index, format!("`weight_map` names `{name}`, which is not there")));
            }
            Ok(file)
        })
        .collect()
}

/// Why there are no weights where they should be.
fn no_weights(network: &Path, wanted: &Path) -> Result<DiffusionError, DiffusionError> {
    let mut variants = BTreeSet::new();
    let mut pickle = None;
    for entry in network.read_dir().map_err(|error| unreadable(network, &error))? {
        let entry = entry.map_err(|error| unreadable(network, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == PICKLE_OF_ACCELERATE {
            pickle.get_or_insert(name);
            continue;
        }
        let Some(rest) = NAMES.iter().find_map(|weights| name.strip_prefix(weights)) else { continue };
        if let Some(variant) = rest.strip_prefix('.').and_then(|rest| rest.strip_suffix(".safetensors")) {
            // `diffusion_pytorch_model.fp16.safetensors`, and not `...fp16-00001-of-00002.safetensors`, which an index lists.
            if !variant.contains('-') {
                variants.insert(variant.to_owned());
            }
        } else if let Some(variant) =
            rest.strip_prefix(".safetensors.index.").and_then(|rest| rest.strip_suffix(".json"))
        {
            variants.insert(variant.to_owned());
        } else if rest.ends_with(".bin") || rest.ends_with(".bin.index.json") {
            pickle = Some(name);
        }
    }
    if !variants.is_empty() {
        return Ok(unclear(network, Unclear::Variant(variants.into_iter().collect())));
    }
    let Some(pickle) = pickle.map(|name| network.join(name)) else {
        let told = telling_file(network).map_or(String::new(), |told| format!("; {told}"));
        return Ok(broken(wanted, format!("is missing{told}")));
    };
    Ok(match damage_of_pickle(&pickle).map_err(|error| unreadable(&pickle, &error))? {
        Some(problem) => broken(&pickle, problem),
        None => DiffusionError::Pickle {
            file: pickle.display().to_string(),
            folder: network.display().to_string(),
            is_of_accelerate: pickle.ends_with(PICKLE_OF_ACCELERATE),
        },
    })
}

/// What is wrong with a file that should be a pickle, as far as its two ends tell.
fn damage_of_pickle(path: &Path) -> std::io::Result<Option<String>> {
    let mut file = File::open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut start = Vec::new();
    file.by_ref().take(FIRST_BYTES as u64).read_to_end(&mut start)?;
    if let Some(instead) = what_it_is(&start) {
        return Ok(Some(instead.into()));
    }
    if !start.starts_with(b"PK") || !is_pickle(&start) {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_END_OF_ZIP)))?;
    let mut end = Vec::new();
    file.take(LONGEST_END_OF_ZIP).read_to_end(&mut end)?;
    Ok((!is_end_of_zip(&end)).then(|| {
        format!("cut short: the end of the archive that `torch.save` wrote is not among its {length} bytes")
    }))
}

/// Whether a folder has weights of any kind or variant.
pub(super) fn has_weights(folder: &Path) -> bool {
    let is_weights = |name: &str| {
        let is_named = NAMES
            .iter()
            .any(|weights| name.strip_prefix(weights).is_some_and(|rest| rest.starts_with(['.', '-'])));
        let is_tensors = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
        (is_named && (is_tensors || name.ends_with(".bin"))) || name == PICKLE_OF_ACCELERATE
    };
    folder.read_dir().is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_weights))
    })
}

/// What is wrong with the weights of a folder, as far as the headers of their files tell; none of weights that are there in
/// variants only, of which none was named.
pub(super) fn damage(network: &Path, variant: Option<&str>) -> Option<String> {
    let files = match weight_files(network, variant) {
        Ok(files) => files,
        Err(DiffusionError::Unclear { .. }) => return None,
        Err(error) => return Some(error.to_string()),
    };
    let problem = |path: PathBuf| open_weights(&path).err().map(|error| error.to_string());
    files.into_iter().find_map(problem)
}

/// Opens one file of weights.
///
/// # Errors
///
/// As [`TensorFile::open`].
pub fn open_weights(path: &Path) -> Result<TensorFile<BufReader<File>>, DiffusionError> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(TensorFile::open(BufReader::new(file), &path.display().to_string())?)
}
