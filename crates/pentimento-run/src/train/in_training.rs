//! What all stages that train networks have in common, whatever the networks are for: how they begin, how many are trained
//! side by side, and what a finished network is in a run.

use super::network::{Rate, Saving, check_finite};
use super::objects::{TrainingRecord, save_scheduler_in};
use super::side_by_side::choose_lanes;
use crate::adapters::FILES_OF_MEMBER;
use crate::error::Result;
use crate::event::{Event, Progress};
use crate::npy::npy;
use crate::piece::{Making, Object, Piece};
use crate::recipe::Recipe;
use crate::workspace::Workspace;
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::checkpoint::{NETWORK_FILES, SCHEDULER_FILES, adapter_files, network_files};
use pentimento_diffusion::training::{Trainer, TrainingConfig, TrainingImages};
use pentimento_diffusion::unet::Architecture;
use pentimento_store::Run;
use std::sync::OnceLock;

/// The folder of a network in a run, which diffusers opens, or peft the folder of an adapter in it; and the names of the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkObjects {
    /// The folder.
    pub folder: String,
    /// Names in it of what says which network it is, and of its weights.
    files: [&'static str; 2],
}

impl NetworkObjects {
    /// Those of a whole network.
    pub fn new(folder: String) -> Self {
        Self { folder, files: NETWORK_FILES }
    }

    /// Those of an adapter.
    pub fn of_adapter(folder: String) -> Self {
        Self { folder, files: FILES_OF_MEMBER }
    }

    /// Whether it is an adapter.
    pub fn is_adapter(&self) -> bool {
        self.files == FILES_OF_MEMBER
    }

    /// What would say which network it is, and its weights, if it were of the other kind, an adapter or whole: files that a run may have
    /// from another recipe.
    pub(super) fn of_other_kind(&self) -> Vec<String> {
        match self.is_adapter() {
            true => NETWORK_FILES.iter().chain(&SCHEDULER_FILES[..1]).map(|file| self.name(file)).collect(),
            false => FILES_OF_MEMBER.iter().map(|file| self.name(file)).collect(),
        }
    }

    /// The weights of the finished network.
    pub fn weights(&self) -> String {
        self.name(self.files[1])
    }

    /// The loss of each step.
    pub fn losses(&self) -> String {
        self.name("losses.npy")
    }

    /// The version of the numerics that trained it.
    pub fn record(&self) -> String {
        self.name("training.json")
    }

    /// An unfinished training.
    pub fn state(&self) -> String {
        self.name("training_state.safetensors")
    }

    /// The objects by which a finished network is known to be there.
    pub fn known_by(&self) -> Vec<String> {
        self.files.iter().map(|file| self.name(file)).chain([self.losses()]).collect()
    }

    fn name(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }
}

/// What a trained network is in a run: what says which network it is, and its weights.
///
/// # Errors
///
/// If it cannot be written.
pub(super) fn files_of(architecture: &Architecture, values: &[Vec<f32>]) -> Result<[Vec<u8>; 2]> {
    let files = if architecture.adapter_modules().is_empty() {
        network_files(architecture, values)?
    } else {
        adapter_files(architecture, values)?
    };
    Ok(files.map(|(_, bytes)| bytes))
}

/// Networks that are trained by one recipe.
pub struct InTraining<'a> {
    /// Where they go, and what stops them.
    workspace: &'a Workspace,
    /// How they are trained and sample.
    recipe: &'a Recipe,
    /// The network that all of them are.
    pub architecture: Architecture,
    /// How each is trained.
    pub training: TrainingConfig,
    begun: OnceLock<Begun>,
}

struct Begun {
    rate: Rate,
    /// Networks that are trained side by side.
    lanes: usize,
}

impl<'a> InTraining<'a> {
    /// Networks of a recipe that go into the run of a workspace.
    pub fn new(
        workspace: &'a Workspace,
        recipe: &'a Recipe,
        architecture: Architecture,
        training: TrainingConfig,
    ) -> Self {
        Self { workspace, recipe, architecture, training, begun: OnceLock::new() }
    }

    /// Begins to train the networks that are missing, of which `before` steps are done: tells it, and finds out how the cores
    /// are used best with one of them, `fresh`, and its images.
    ///
    /// # Errors
    ///
    /// As training.
    pub fn begin(
        &self,
        event: Event<'_>,
        missing: usize,
        before: u64,
        fresh: &(dyn Fn() -> Result<Trainer> + Sync),
        images: &TrainingImages<'_>,
    ) -> Result<Progress> {
        let reporter = self.workspace.reporter();
        reporter.tell(event);
        if self.begun.get().is_none() {
            let lanes = choose_lanes(self.workspace, missing, fresh, images)?;
            self.begun.get_or_init(|| Begun { rate: Rate::new(before), lanes });
        }
        let total = self.training.steps as u64 * missing as u64;
        Ok(reporter.begin("training", total, before))
    }

    /// Networks that are trained side by side, which is known once they began.
    pub fn lanes(&self) -> usize {
        self.begun.get().map_or(1, |begun| begun.lanes)
    }

    /// Trains a network, new or restored, to its end, and gives its objects; `called` is what people call it.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`](crate::error::RunError::Stopped) after its state was written; as training; those of `after_step`.
    pub fn make(
        &self,
        piece: &Piece,
        (objects, called): (&NetworkObjects, &str),
        mut trainer: Trainer,
        images: &TrainingImages<'_>,
        making: &Making<'_>,
        mut after_step: impl FnMut(&Trainer) -> Result<()>,
    ) -> Result<Vec<Object>> {
        let (run, state) = (making.run, objects.state());
        let saving = Saving { run, state: &state, made_from: piece.made_from };
        saving.train_to_the_end(self.workspace, &mut trainer, images, |trainer, loss| {
            after_step(trainer)?;
            if let Some(Begun { rate, .. }) = self.begun.get() {
                rate.tell_step(making.progress, self.training.batch, called, loss);
            }
            Ok(())
        })?;
        check_finite(&trainer, piece.number)?;
        // First, so that the folder of a finished network is one that diffusers opens.
        save_scheduler_in(self.recipe, run, objects)?;
        let files = files_of(&self.architecture, trainer.member())?;
        let mut made: Vec<Object> = objects.files.iter().map(|name| objects.name(name)).zip(files).collect();
        made.push((objects.losses(), npy(&[trainer.losses().len() as u64], trainer.losses())?));
        let record = TrainingRecord { numerics_version: NUMERICS_VERSION };
        made.push((objects.record(), serde_json::to_vec_pretty(&record)?));
        Ok(made)
    }
}

/// Removes what only the training of a network by a recipe needed.
///
/// # Errors
///
/// As writing to the run.
pub(crate) fn stored(recipe: &Recipe, objects: &NetworkObjects, run: &Run) -> Result<()> {
    run.remove(&objects.state())?;
    save_scheduler_in(recipe, run, objects)
}
