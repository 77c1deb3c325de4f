//! Finding a network and its scheduler in a folder, in every layout that diffusers and its training scripts leave behind.

use super::scheduler::SchedulerFile;
use super::tensor_file::TensorFile;
use super::weights::read_weights;
use crate::DiffusionError;
use crate::unet::{Architecture, UnetConfig};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const SCHEDULER_CONFIG: &str = "scheduler_config.json";
const WEIGHTS: &str = "diffusion_pytorch_model";

/// Longest JSON file that is read; the index of the largest sharded models of the field has some 200 kB.
const LONGEST_JSON_BYTES: u64 = 16 << 20;

/// A training checkpoint has the weights as they were trained, and often their moving average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFolder {
    /// `unet`.
    Unet,
    /// `unet_ema`.
    UnetEma,
}

impl NetworkFolder {
    /// Name of the folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::UnetEma => "unet_ema",
        }
    }
}

impl fmt::Display for NetworkFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a person says where a folder leaves a choice.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Which network of a training checkpoint.
    pub network: Option<NetworkFolder>,
    /// Which variant of the weights, such as `fp16`; that without a name if absent.
    pub variant: Option<String>,
    /// A `scheduler_config.json` in another place.
    pub scheduler: Option<PathBuf>,
}

/// A folder leaves open what is to be taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unclear {
    /// Trained weights and their moving average.
    #[error("it has both `unet` and `unet_ema`, the weights as trained and their moving average")]
    Network,
    /// Only weights of a named variant.
    #[error("it has weights only in variants: {}", .0.join(", "))]
    Variant(Vec<String>),
    /// No scheduler beside the network.
    #[error("it has no {SCHEDULER_CONFIG}, so nothing says with which noise schedule it was trained")]
    Scheduler,
    /// A folder of training checkpoints.
    #[error("it holds several checkpoints: {}", .0.join(", "))]
    Checkpoint(Vec<String>),
}

/// The files of one network.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointFiles {
    /// Its `config.json`.
    pub config: PathBuf,
    /// Its weights; several if they are cut into shards.
    pub weights: Vec<PathBuf>,
    /// The `scheduler_config.json`.
    pub scheduler: PathBuf,
}

/// An opened checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The network without its values.
    pub architecture: Architecture,
    /// Its values in memory layout, one vector per parameter.
    pub values: Vec<Vec<f32>>,
    /// Noise schedule and sampler.
    pub scheduler: SchedulerFile,
    /// Keys of `config.json` that are not known, to be warned about.
    pub unknown_keys: Vec<String>,
}

impl CheckpointFiles {
    /// Finds the files of a network in a pipeline folder, a flat folder, a training checkpoint or a network's own folder.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Unclear`] where the folder leaves a choice that `selection` does not make,
    /// [`DiffusionError::File`] for what is no checkpoint, or has weights only as pickles.
    pub fn find(folder: &Path, selection: &Selection) -> Result<Self, DiffusionError> {
        if !folder.is_dir() {
            let problem = if folder.exists() { "is a file, not a folder" } else { "does not exist" };
            return Err(broken(folder, problem.into()));
        }
        refuse_other_pipelines(folder)?;
        let network = network_folder(folder, selection)?;
        let config = network.join(CONFIG);
        Ok(Self {
            weights: weight_files(&network, selection.variant.as_deref())?,
            scheduler: scheduler_file(folder, &network, selection)?,
            config,
        })
    }

    /// Opens the network and its scheduler.
    ///
    /// # Errors
    ///
    /// As [`UnetConfig::from_json`], [`SchedulerFile::from_json`] and [`read_weights`], naming the file.
    pub fn open(&self) -> Result<Checkpoint, DiffusionError> {
        let name = |path: &Path| path.display().to_string();
        let (config, unknown_keys) = UnetConfig::from_json(&read_json(&self.config)?, &name(&self.config))?;
        if config.out_channels != config.in_channels {
            // Twice as many are a variance that the network learned.
            return Err(DiffusionError::Config {
                file: name(&self.config),
                field: "out_channels".into(),
                value: config.out_channels.to_string(),
                bound: format!("as in_channels, {}: learned variances are not supported", config.in_channels),
            });
        }
        let scheduler = SchedulerFile::from_json(&read_json(&self.scheduler)?, &name(&self.scheduler))?;
        let architecture = Architecture::new(&config)?;
        let mut files = Vec::new();
        for path in &self.weights {
            let file = File::open(path).map_err(|error| unreadable(path, &error))?;
            files.push(TensorFile::open(BufReader::new(file), &name(path))?);
        }
        let values = read_weights(&architecture, &mut files)?;
        Ok(Checkpoint { architecture, values, scheduler, unknown_keys })
    }
}

/// Parts of a pipeline whose network does not make images of pixels by itself.
const PARTS_OF_LATENT_PIPELINES: [&str; 5] =
    ["vae", "vqvae", "text_encoder", "text_encoder_2", "image_encoder"];

/// Refuses a pipeline of which the network is only one part.
fn refuse_other_pipelines(folder: &Path) -> Result<(), DiffusionError> {
    let file = folder.join("model_index.json");
    if !file.is_file() {
        return Ok(());
    }
    let index: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&read_json(&file)?)
        .map_err(|error| broken(&file, format!("no list of a pipeline's parts: {error}")))?;
    if let Some(part) =
        PARTS_OF_LATENT_PIPELINES.iter().find(|part| index.get(**part).is_some_and(|p| !p.is_null()))
    {
        let problem = format!(
            "the pipeline has a `{part}`, so its network makes no pixels by itself; supported are pipelines of a `unet` and a `scheduler`"
        );
        return Err(broken(&file, problem));
    }
    Ok(())
}

fn broken(path: &Path, problem: String) -> DiffusionError {
    DiffusionError::File { file: path.display().to_string(), problem }
}

fn unreadable(path: &Path, error: &std::io::Error) -> DiffusionError {
    broken(path, format!("cannot be read: {error}"))
}

fn unclear(folder: &Path, what: Unclear) -> DiffusionError {
    DiffusionError::Unclear { folder: folder.display().to_string(), what }
}

fn read_json(path: &Path) -> Result<String, DiffusionError> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut text = String::new();
    file.take(LONGEST_JSON_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > LONGEST_JSON_BYTES {
        return Err(broken(
            path,
            format!("longer than {LONGEST_JSON_BYTES} bytes, so it is no configuration"),
        ));
    }
    Ok(text)
}

/// The folder in which `config.json` and the weights lie.
fn network_folder(folder: &Path, selection: &Selection) -> Result<PathBuf, DiffusionError> {
    let has = |kind: NetworkFolder| folder.join(kind.name()).join(CONFIG).is_file();
    if let Some(kind) = selection.network {
        let problem = || format!("has no `{kind}/{CONFIG}`");
        return if has(kind) { Ok(folder.join(kind.name())) } else { Err(broken(folder, problem())) };
    }
    match (has(NetworkFolder::Unet), has(NetworkFolder::UnetEma)) {
        (true, true) => return Err(unclear(folder, Unclear::Network)),
        (true, false) => return Ok(folder.join(NetworkFolder::Unet.name())),
        (false, true) => return Ok(folder.join(NetworkFolder::UnetEma.name())),
        (false, false) => {}
    }
    if folder.join(CONFIG).is_file() {
        return Ok(folder.into());
    }
    let checkpoints = checkpoints_in(folder)?;
    if checkpoints.is_empty() {
        let problem = format!(
            "is no diffusers checkpoint: it has neither `{CONFIG}` nor `unet/{CONFIG}` nor `unet_ema/{CONFIG}`"
        );
        return Err(broken(folder, problem));
    }
    Err(unclear(folder, Unclear::Checkpoint(checkpoints)))
}

/// Names of folders inside that are training checkpoints, `checkpoint-500` before `checkpoint-1000`.
fn checkpoints_in(folder: &Path) -> Result<Vec<String>, DiffusionError> {
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(step) = name.strip_prefix("checkpoint-").and_then(|step| step.parse::<u64>().ok()) {
            found.push((step, name));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// The index of weights that are cut into shards.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// The weights of a variant: one file, or those that an index lists.
fn weight_files(network: &Path, variant: Option<&str>) -> Result<Vec<PathBuf>, DiffusionError> {
    if let Some(variant) = variant
        && (variant.is_empty() || !variant.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
    {
        return Err(broken(
            network,
            format!("`{variant}` is no name of a variant: those are letters and digits"),
        ));
    }
    let of_variant = variant.map(|variant| format!(".{variant}")).unwrap_or_default();
    let single = network.join(format!("{WEIGHTS}{of_variant}.safetensors"));
    let index = network.join(format!("{WEIGHTS}.safetensors.index{of_variant}.json"));
    match (single.is_file(), index.is_file()) {
        (true, true) => {
            let problem =
                format!("lies beside `{}`: one of the two is left over from another save", index.display());
            Err(broken(&single, problem))
        }
        (true, false) => Ok(vec![single]),
        (false, true) => shards(network, &index),
        (false, false) if single.symlink_metadata().is_ok() => {
            let problem = match single.metadata() {
                Ok(_) => "is no file but a folder, a pipe or a device".into(),
                Err(error) => format!("cannot be read: {error}"),
            };
            Err(broken(&single, problem))
        }
        (false, false) => Err(no_weights(network, &single)?),
    }
}

fn shards(network: &Path, index: &Path) -> Result<Vec<PathBuf>, DiffusionError> {
    let listed: ShardIndex = serde_json::from_str(&read_json(index)?)
        .map_err(|error| broken(index, format!("no index of shards: {error}")))?;
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
        let Some(rest) = name.strip_prefix(WEIGHTS) else { continue };
        if let Some(variant) = rest.strip_prefix('.').and_then(|rest| rest.strip_suffix(".safetensors")) {
            // `diffusion_pytorch_model.fp16.safetensors`, and not `...-00001-of-00002.safetensors`.
            variants.insert(variant.to_owned());
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
    Ok(match pickle {
        Some(name) => DiffusionError::Pickle {
            file: network.join(name).display().to_string(),
            folder: network.display().to_string(),
        },
        None => broken(wanted, "is missing".into()),
    })
}

/// The scheduler of a network: said by a person, in the pipeline, or where the training script leaves it at its end.
fn scheduler_file(folder: &Path, network: &Path, selection: &Selection) -> Result<PathBuf, DiffusionError> {
    if let Some(file) = &selection.scheduler {
        let file = if file.is_dir() { file.join(SCHEDULER_CONFIG) } else { file.clone() };
        return if file.is_file() { Ok(file) } else { Err(broken(&file, "does not exist".into())) };
    }
    // Of `pipeline/`, `pipeline/unet` and `output/checkpoint-500`, whose pipeline is in `output`.
    let beside = [Some(folder), network.parent(), folder.parent()];
    beside
        .into_iter()
        .flatten()
        .flat_map(|place| [place.join("scheduler").join(SCHEDULER_CONFIG), place.join(SCHEDULER_CONFIG)])
        .find(|file| file.is_file())
        .ok_or_else(|| unclear(folder, Unclear::Scheduler))
}
