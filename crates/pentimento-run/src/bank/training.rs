//! The stage that trains the networks of a bank, resumable at any moment.

use super::data::BankData;
use super::objects::{losses_name, network_folder, record_name, state_name, weights_name};
use crate::drive::drive_some;
use crate::error::{MadeBy, Result, RunError};
use crate::event::{Event, Progress};
use crate::networks::Weights;
use crate::npy::npy;
use crate::piece::{Making, Object, Piece, Stage};
use crate::recipe::unet;
use crate::train::{
    Rate, Saving, TrainingRecord, check_finite, choose_lanes, save_scheduler_in, steps_of_states,
};
use crate::words::counted;
use crate::workspace::Workspace;
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::checkpoint::{NETWORK_FILES, network_files};
use pentimento_diffusion::training::{Trainer, TrainingImages};
use pentimento_diffusion::unet::Architecture;
use pentimento_store::{Fingerprint, Run};
use std::sync::OnceLock;

/// The stage, as in `bank/3`.
const STAGE: &str = "bank";

/// The stage: a piece is a network, trained on a subset.
pub struct BankTraining<'a> {
    workspace: &'a Workspace,
    data: &'a BankData,
    architecture: Architecture,
    begun: OnceLock<Begun>,
}

struct Begun {
    rate: Rate,
    /// Networks that are trained side by side.
    lanes: usize,
}

impl<'a> BankTraining<'a> {
    /// The networks of a bank.
    ///
    /// # Errors
    ///
    /// If the recipe's network does not fit the images.
    pub fn new(workspace: &'a Workspace, data: &'a BankData) -> Result<Self> {
        let config = unet(&data.bank.model, &workspace.recipe.name, data.shape())?;
        Ok(Self { workspace, data, architecture: Architecture::new(&config)?, begun: OnceLock::new() })
    }

    /// The network that all of them are.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The weights of a finished network.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`] if it is not there, or was trained from another recipe.
    pub fn weights(&self, number: usize) -> Result<Weights> {
        let (subset, seed) = self.data.network(number);
        let (name, run) = (weights_name(subset, seed), &self.workspace.run);
        let fingerprint = self.fingerprint(number)?;
        match run.entry(&name).filter(|_| run.is_current(&name, fingerprint)) {
            Some(entry) => Ok(Weights { object: name, digest: entry.blake3 }),
            None => {
                let what = format!("network {}", network_folder(subset, seed));
                Err(self.workspace.missing(what, MadeBy::Bank))
            }
        }
    }

    /// What a network follows from: its own images, and nothing of the other subsets.
    fn fingerprint(&self, number: usize) -> Result<Fingerprint> {
        let (subset, seed) = self.data.network(number);
        let recipe = &self.workspace.recipe;
        Ok(Fingerprint::of("bank network")
            .fingerprint(self.data.fingerprint)
            .json(&self.data.subsets[subset].positions())?
            .text(&self.architecture.config().to_json())
            .json(&recipe.schedule)?
            .json(&self.data.bank.training)?
            .json(&(recipe.seed, seed))?
            .finish())
    }

    fn piece(&self, number: usize) -> Result<Piece> {
        let (subset, seed) = self.data.network(number);
        let folder = network_folder(subset, seed);
        let files = NETWORK_FILES.iter().map(|file| format!("{folder}/{file}"));
        let objects = files.chain([losses_name(subset, seed)]).collect();
        Ok(Piece { stage: STAGE.into(), number, objects, made_from: self.fingerprint(number)? })
    }

    /// A network before its training. First weights, timesteps, noises and the order of images are those of its seed, whatever
    /// the subset.
    fn trainer(&self, number: usize) -> Result<Trainer> {
        let (subset, seed) = self.data.network(number);
        let recipe = &self.workspace.recipe;
        let training = self.data.bank.training;
        let trainer = Trainer::new(self.architecture.clone(), &recipe.schedule, training, recipe.seed, seed)?;
        let subset = &self.data.subsets[subset];
        if subset.kept.contains(&false) { Ok(trainer.keeping(subset.positions())?) } else { Ok(trainer) }
    }

    fn with_images<R>(&self, work: impl FnOnce(&TrainingImages<'_>) -> Result<R>) -> Result<R> {
        let images = &self.data.images;
        let read = |index: usize, target: &mut [f32]| images.scaled_into(index, target);
        work(&TrainingImages { count: images.len(), shape: self.data.shape(), read: &read })
    }

    /// Names of networks, finished or in training, that another recipe made.
    fn of_others(&self) -> Result<Vec<String>> {
        let run = &self.workspace.run;
        let mut found = Vec::new();
        for piece in self.pieces()? {
            let (subset, seed) = self.data.network(piece.number);
            let objects =
                piece.objects.iter().chain([&state_name(subset, seed)]).cloned().collect::<Vec<_>>();
            let is_other =
                |name: &String| run.entry(name).is_some_and(|entry| entry.made_from != piece.made_from);
            if objects.iter().any(is_other) {
                found.push(network_folder(subset, seed));
            }
        }
        Ok(found)
    }
}

/// Trains every network of a bank that is not there yet.
///
/// # Errors
///
/// [`RunError::Stopped`] once it is asked to stop, after the state of every network in training was written.
pub fn train_bank(workspace: &Workspace, data: &BankData) -> Result<()> {
    let stage = BankTraining::new(workspace, data)?;
    let pieces = stage.pieces()?;
    let all = pieces.len();
    drive_some(workspace, &stage, pieces, all, None)
}

/// Puts the recipe of a bank in its run. Networks of another recipe are not replaced unasked.
///
/// # Errors
///
/// [`RunError::WouldReplace`] if networks would be trained again, unless the workspace may replace them; as writing to the run.
pub(super) fn take_bank_recipe(workspace: &Workspace, data: &BankData) -> Result<()> {
    let changes = workspace.recipe_changes()?;
    let others = BankTraining::new(workspace, data)?.of_others()?;
    let beyond = beyond(workspace, data);
    let replaced = others.len() + beyond.len();
    if replaced > 0 && !workspace.options.replace {
        return Err(RunError::WouldReplace {
            run: workspace.run.root().to_path_buf(),
            what: vec![counted(replaced, "trained network")],
            changes: changes.map(|changes| changes.now_says),
        });
    }
    workspace.save_recipe()?;
    let run = &workspace.run;
    let is_beyond = |name: &String| beyond.iter().any(|folder| name.starts_with(&format!("{folder}/")));
    let gone: Vec<String> = run.names().into_iter().filter(is_beyond).collect();
    for name in &gone {
        run.remove(name)?;
    }
    if !gone.is_empty() {
        workspace.reporter().tell(Event::RemovedBeyondRecipe { objects: &gone });
    }
    Ok(())
}

/// Folders of networks that the recipe does not have.
fn beyond(workspace: &Workspace, data: &BankData) -> Vec<String> {
    let own: Vec<String> = (0..data.networks())
        .map(|number| data.network(number))
        .map(|(subset, seed)| network_folder(subset, seed))
        .collect();
    let folder_of = |name: String| {
        let folder = name.strip_prefix("networks/")?.split('/').next()?;
        Some(format!("networks/{folder}"))
    };
    let mut found: Vec<String> = workspace.run.names().into_iter().filter_map(folder_of).collect();
    found.dedup();
    found.retain(|folder| !own.contains(folder));
    found
}

impl Stage for BankTraining<'_> {
    fn name(&self) -> &str {
        STAGE
    }

    fn cost_name(&self) -> &str {
        "training"
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        (0..self.data.networks()).map(|number| self.piece(number)).collect()
    }

    fn beside(&self, piece: &Piece) -> Vec<String> {
        let (subset, seed) = self.data.network(piece.number);
        vec![record_name(subset, seed)]
    }

    fn begin(&self, run: &Run, all: usize, missing: &[Piece]) -> Result<Progress> {
        let mut states = Vec::new();
        for piece in missing {
            let (subset, seed) = self.data.network(piece.number);
            let name = state_name(subset, seed);
            if run.is_current(&name, piece.made_from) {
                let bytes = run.get(&name)?;
                states.push((name, bytes));
            }
        }
        let before = steps_of_states(run, states)?;
        let total = self.data.bank.training.steps as u64 * missing.len() as u64;
        let reporter = self.workspace.reporter();
        let parameters = self.architecture.parameter_count();
        reporter.tell(Event::TrainingBank { networks: missing.len(), of: all, parameters });
        let lanes = self.side_by_side(missing)?;
        self.begun.get_or_init(|| Begun { rate: Rate::new(before), lanes });
        Ok(reporter.begin("training", total, before))
    }

    fn side_by_side(&self, missing: &[Piece]) -> Result<usize> {
        if let Some(begun) = self.begun.get() {
            return Ok(begun.lanes);
        }
        let Some(first) = missing.first().map(|piece| piece.number) else { return Ok(1) };
        let fresh = || self.trainer(first);
        self.with_images(|images| choose_lanes(self.workspace, missing.len(), &fresh, images))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let (subset, seed) = self.data.network(piece.number);
        let (run, state) = (making.run, state_name(subset, seed));
        let mut trainer = self.trainer(piece.number)?;
        if run.is_current(&state, piece.made_from) {
            trainer.restore(&run.get(&state)?, &state)?;
        }
        let called = format!("{}, seed {seed}", self.data.subsets[subset].name);
        let saving = Saving { run, state: &state, made_from: piece.made_from };
        self.with_images(|images| {
            saving.train_to_the_end(self.workspace, &mut trainer, images, |_, loss| {
                if let Some(Begun { rate, .. }) = self.begun.get() {
                    rate.tell_step(making.progress, self.data.bank.training.batch, &called, loss);
                }
                Ok(())
            })
        })?;
        check_finite(&trainer, piece.number)?;
        let folder = network_folder(subset, seed);
        // First, so that the folder of a finished network is one that diffusers opens.
        save_scheduler_in(self.workspace, run, &folder)?;
        let mut objects: Vec<Object> = network_files(&self.architecture, trainer.member())?
            .into_iter()
            .map(|(name, bytes)| (format!("{folder}/{name}"), bytes))
            .collect();
        let losses = npy(&[trainer.losses().len() as u64], trainer.losses())?;
        objects.push((losses_name(subset, seed), losses));
        let record = TrainingRecord { numerics_version: NUMERICS_VERSION };
        objects.push((record_name(subset, seed), serde_json::to_vec_pretty(&record)?));
        Ok(objects)
    }

    fn stored(&self, piece: &Piece, run: &Run) -> Result<()> {
        let (subset, seed) = self.data.network(piece.number);
        run.remove(&state_name(subset, seed))?;
        save_scheduler_in(self.workspace, run, &network_folder(subset, seed))
    }

    fn summary(&self, missing: &[Piece]) -> Option<String> {
        Some(counted(missing.len(), "network") + " trained")
    }
}
