//! Finding a network and its scheduler in a folder, in every layout that diffusers and its training scripts leave behind.

use super::other_files::{described, telling_file};
use super::refusals::{
    refuse_networks_with_texts, refuse_other_networks, refuse_other_outputs, refuse_other_pipelines,
};
use super::scheduler::SchedulerFile;
use super::weight_files::{damage, has_weights, open_weights, weight_files};
use super::weights::{ReadWeights, read_stored_weights};
use crate::DiffusionError;
use crate::unet::{Architecture, StoredValues, UnetConfig};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const SCHEDULER_CONFIG: &str = "scheduler_config.json";

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
    /// Both.
    pub const ALL: [Self; 2] = [Self::Unet, Self::UnetEma];

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
    /// The `config.json` of a network in another place.
    pub config: Option<PathBuf>,
    /// A `scheduler_config.json` in another place.
    pub scheduler: Option<PathBuf>,
}

/// A training checkpoint in a folder of several.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointInside {
    /// Name of its folder, such as `checkpoint-500`.
    pub name: String,
    /// What is wrong with its weights, as far as their headers tell.
    pub damage: Option<String>,
}

impl fmt::Display for CheckpointInside {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.damage {
            Some(damage) => write!(formatter, "{} (damaged: {damage})", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

/// A folder leaves open what is to be taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unclear {
    /// Trained weights and their moving average.
    #[error(
        "it has both `unet` and `unet_ema`, the weights as trained and their moving average{}",
        damaged.iter().map(|(network, damage)| format!("; `{network}` is damaged: {damage}")).collect::<String>()
    )]
    Network {
        /// Those whose weights are damaged, each with what is wrong.
        damaged: Vec<(NetworkFolder, String)>,
    },
    /// Only weights of a named variant.
    #[error("it has weights only in variants: {}", .0.join(", "))]
    Variant(Vec<String>),
    /// Weights without a configuration, as accelerate saves its states.
    #[error("{}", match .0.as_slice() {
        [] => format!("it has weights but no {CONFIG}, as accelerate saves them, so nothing says of which network they are"),
        several => format!(
            "it has weights but no {CONFIG}, as accelerate saves them, and the folder above has configurations of different \
             networks: {}",
            several.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        ),
    })]
    Config(Vec<PathBuf>),
    /// No scheduler beside the network.
    #[error("it has no {SCHEDULER_CONFIG}, so nothing says with which noise schedule it was trained")]
    Scheduler,
    /// A folder of training checkpoints.
    #[error(
        "it has no network of its own but holds {}",
        .0.iter().map(CheckpointInside::to_string).collect::<Vec<_>>().join(", ")
    )]
    Checkpoint(Vec<CheckpointInside>),
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
    /// Its values in memory layout, one for each parameter, in the types in which the files have them.
    pub values: Vec<StoredValues>,
    /// What the names of all its tensors begin with in the file, such as `module.`; empty if nothing.
    pub prefix: String,
    /// Noise schedule and sampler.
    pub scheduler: SchedulerFile,
    /// Keys of `config.json` that are not known, to be warned about.
    pub unknown_keys: Vec<String>,
}

impl Checkpoint {
    /// The values in f32, in memory layout, one vector per parameter.
    pub fn values_in_f32(&self) -> Vec<Vec<f32>> {
        self.values.iter().map(|values| values.to_f32().into_owned()).collect()
    }
}

impl CheckpointFiles {
    /// Finds the files of a network that makes pictures by itself, in a pipeline folder, a flat folder, a training checkpoint
    /// or a network's own folder.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Unclear`] where the folder leaves a choice that `selection` does not make,
    /// [`DiffusionError::File`] for what is no checkpoint, or has weights only as pickles, or is part of a pipeline with an
    /// autoencoder or a text encoder; [`DiffusionError::Config`] for a network that is told texts.
    pub fn find(folder: &Path, selection: &Selection) -> Result<Self, DiffusionError> {
        Self::find_where(folder, selection, refuse_other_pipelines, refuse_networks_with_texts)
    }

    /// [`find`](Self::find), also of the network that removes noise in a pipeline with an autoencoder and text encoders, such
    /// as `StableDiffusionPipeline` and `LDMPipeline`, and of one that is told texts.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find), but for what it refuses of such networks.
    pub fn find_denoiser(folder: &Path, selection: &Selection) -> Result<Self, DiffusionError> {
        Self::find_where(folder, selection, |_| Ok(()), |_| Ok(()))
    }

    /// `pipelines` looks at the folder first, and `networks` at the network's configuration.
    fn find_where(
        folder: &Path,
        selection: &Selection,
        pipelines: fn(&Path) -> Result<(), DiffusionError>,
        networks: fn(&Path) -> Result<(), DiffusionError>,
    ) -> Result<Self, DiffusionError> {
        if !folder.exists() {
            return Err(DiffusionError::NoFolder { folder: folder.display().to_string() });
        }
        if !folder.is_dir() {
            let told = if folder.with_file_name(CONFIG).is_file() {
                "; name the folder that it lies in".into()
            } else {
                described(folder).map_or(String::new(), |told| format!("; by its name it is {told}"))
            };
            return Err(broken(folder, format!("is a file, not a folder{told}")));
        }
        pipelines(folder)?;
        let (network, config) = network_and_config(folder, selection)?;
        refuse_other_networks(&config)?;
        networks(&config)?;
        Ok(Self {
            weights: weight_files(&network, selection.variant.as_deref())?,
            scheduler: scheduler_file(folder, &network, &config, selection)?,
            config,
        })
    }

    /// Opens the network and its scheduler.
    ///
    /// # Errors
    ///
    /// As [`UnetConfig::from_json`], [`SchedulerFile::from_json`] and [`read_stored_weights`], naming the file.
    pub fn open(&self) -> Result<Checkpoint, DiffusionError> {
        let (config, unknown_keys) = read_config(&self.config)?;
        refuse_other_outputs(&config, &self.config)?;
        let scheduler = &self.scheduler;
        let scheduler = SchedulerFile::from_json(&read_text(scheduler)?, &scheduler.display().to_string())?;
        let architecture = Architecture::new(&config)?;
        let mut files = self.weights.iter().map(|path| open_weights(path)).collect::<Result<Vec<_>, _>>()?;
        let ReadWeights { values, prefix } = read_stored_weights(&architecture, &mut files)?;
        Ok(Checkpoint { architecture, values, prefix, scheduler, unknown_keys })
    }
}

pub(super) fn broken(path: &Path, problem: String) -> DiffusionError {
    DiffusionError::File { file: path.display().to_string(), problem }
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> DiffusionError {
    broken(path, format!("cannot be read: {error}"))
}

pub(super) fn unclear(folder: &Path, what: Unclear) -> DiffusionError {
    DiffusionError::Unclear { folder: folder.display().to_string(), what }
}

/// Reads a JSON file of at most 16 MiB.
///
/// # Errors
///
/// [`DiffusionError::File`] if it cannot be read, is longer, or is no text.
pub fn read_text(path: &Path) -> Result<String, DiffusionError> {
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

pub(super) fn read_config(path: &Path) -> Result<(UnetConfig, Vec<String>), DiffusionError> {
    UnetConfig::from_json(&read_text(path)?, &path.display().to_string())
}

/// The folder in which the weights lie, and their `config.json`.
fn network_and_config(folder: &Path, selection: &Selection) -> Result<(PathBuf, PathBuf), DiffusionError> {
    let elsewhere = selection.config.as_ref();
    if let Some(file) = elsewhere.filter(|file| !file.is_file()) {
        return Err(broken(file, if file.exists() { "is no file" } else { "does not exist" }.into()));
    }
    // With a configuration from elsewhere, a network is where weights are.
    let is_network =
        |place: &Path| place.join(CONFIG).is_file() || (elsewhere.is_some() && has_weights(place));
    let has = |kind: NetworkFolder| is_network(&folder.join(kind.name()));
    let found = |place: PathBuf| {
        let config = elsewhere.cloned().unwrap_or_else(|| place.join(CONFIG));
        Ok((place, config))
    };
    if let Some(kind) = selection.network {
        let problem = || format!("has no `{kind}/{CONFIG}`");
        return if has(kind) { found(folder.join(kind.name())) } else { Err(broken(folder, problem())) };
    }
    match NetworkFolder::ALL.map(has) {
        [true, true] => {
            let damage_of = |kind: NetworkFolder| {
                damage(&folder.join(kind.name()), selection.variant.as_deref()).map(|damage| (kind, damage))
            };
            let damaged = NetworkFolder::ALL.into_iter().filter_map(damage_of).collect();
            return Err(unclear(folder, Unclear::Network { damaged }));
        }
        [true, false] => return found(folder.join(NetworkFolder::Unet.name())),
        [false, true] => return found(folder.join(NetworkFolder::UnetEma.name())),
        [false, false] => {}
    }
    if is_network(folder) {
        return found(folder.into());
    }
    if has_weights(folder) {
        return Ok((folder.into(), config_above(folder)?));
    }
    let checkpoints = checkpoints_inside(folder)?;
    if checkpoints.is_empty() {
        let told = telling_file(folder).map_or(String::new(), |told| format!("; {told}"));
        let problem = format!(
            "is no diffusers checkpoint: it has neither `{CONFIG}` nor `unet/{CONFIG}` nor `unet_ema/{CONFIG}`{told}"
        );
        return Err(broken(folder, problem));
    }
    Err(unclear(folder, Unclear::Checkpoint(checkpoints)))
}

/// The folder that a folder lies in, also of `.` and `..`.
fn above(folder: &Path) -> Option<PathBuf> {
    match folder.file_name() {
        Some(_) => folder.parent().map(Path::to_path_buf),
        None => folder.canonicalize().ok()?.parent().map(Path::to_path_buf),
    }
}

/// The configuration of weights that lie without one: that of the pipeline in the folder above, if it has one network.
fn config_above(folder: &Path) -> Result<PathBuf, DiffusionError> {
    let places = above(folder).into_iter().flat_map(|above| {
        let networks = NetworkFolder::ALL.map(|kind| above.join(kind.name()).join(CONFIG));
        networks.into_iter().chain([above.join(CONFIG)])
    });
    let found: Vec<PathBuf> = places.filter(|file| file.is_file()).collect();
    let Some((first, others)) = found.split_first() else {
        return Err(unclear(folder, Unclear::Config(Vec::new())));
    };
    let (config, _) = read_config(first)?;
    for other in others {
        if read_config(other)?.0 != config {
            return Err(unclear(folder, Unclear::Config(found)));
        }
    }
    Ok(first.clone())
}

/// Folders inside that are training checkpoints, `checkpoint-500` before `checkpoint-1000`, each with what is wrong with it.
///
/// # Errors
///
/// [`DiffusionError::File`] if the folder cannot be read.
pub fn checkpoints_inside(folder: &Path) -> Result<Vec<CheckpointInside>, DiffusionError> {
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(step) = name.strip_prefix("checkpoint-").and_then(|step| step.parse::<u64>().ok()) {
            found.push((step, name));
        }
    }
    found.sort();
    let checkpoint = |(_, name): (u64, String)| {
        let inside = folder.join(&name);
        let networks = NetworkFolder::ALL.map(|kind| inside.join(kind.name()));
        let with_weights = networks.into_iter().chain([inside.clone()]).filter(|place| has_weights(place));
        let mut damages = with_weights.map(|place| damage(&place, None)).peekable();
        let damage = match damages.peek() {
            None => Some(format!("{}: has no weights", inside.display())),
            // One network that opens is enough.
            Some(_) => damages.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().next()),
        };
        CheckpointInside { name, damage }
    };
    Ok(found.into_iter().map(checkpoint).collect())
}

/// The scheduler of a network: said by a person, in the pipeline, or where the training script leaves it at its end.
fn scheduler_file(
    folder: &Path,
    network: &Path,
    config: &Path,
    selection: &Selection,
) -> Result<PathBuf, DiffusionError> {
    if let Some(file) = &selection.scheduler {
        let file = if file.is_dir() { file.join(SCHEDULER_CONFIG) } else { file.clone() };
        return if file.is_file() { Ok(file) } else { Err(broken(&file, "does not exist".into())) };
    }
    // Of `pipeline/`, `pipeline/unet`, `output/checkpoint-500`, whose pipeline is in `output`, and a configuration from
    // another pipeline.
    let of_config = config.parent().and_then(above);
    let beside = [Some(folder.to_path_buf()), above(network), above(folder), of_config];
    beside
        .into_iter()
        .flatten()
        .flat_map(|place| [place.join("scheduler").join(SCHEDULER_CONFIG), place.join(SCHEDULER_CONFIG)])
        .find(|file| file.is_file())
        .ok_or_else(|| unclear(folder, Unclear::Scheduler))
}
