//! The stage that trains the members, resumable at any moment.

mod network;
mod objects;
mod side_by_side;

pub(crate) use network::{Rate, Saving, check_finite, steps_of_states};
pub(crate) use objects::{TrainingRecord, save_scheduler_in};
pub use objects::{
    architecture, checkpoint_name, kept_weights, losses, member_fingerprint, member_folder, steps_kept,
    trained_members, weights_name,
};
pub use side_by_side::TRIAL_STEPS;
pub(crate) use side_by_side::choose_lanes;

use crate::data::CodedData;
use crate::drive::drive_some;
use crate::error::{Result, RunError};
use crate::event::{Event, Progress};
use crate::npy::npy;
use crate::piece::{Making, Object, Piece, Stage};
use crate::workspace::Workspace;
use objects::{
    STAGE, checkpoints_of, losses_name, piece_of, record_name, save_scheduler, state_kept, state_name,
    tell_who_trained,
};
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::checkpoint::network_files;
use pentimento_diffusion::training::{Trainer, TrainingImages};
use pentimento_diffusion::unet::Architecture;
use pentimento_store::{Fingerprint, Run};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The stage: a piece is a member.
pub struct Training<'a> {
    workspace: &'a Workspace,
    data: &'a CodedData,
    architecture: Architecture,
    begun: OnceLock<Begun>,
}

struct Begun {
    rate: Rate,
    /// Members that are trained side by side.
    lanes: usize,
}

impl<'a> Training<'a> {
    /// The members of a recipe.
    ///
    /// # Errors
    ///
    /// If the recipe's network does not fit the images.
    pub fn new(workspace: &'a Workspace, data: &'a CodedData) -> Result<Self> {
        Ok(Self { workspace, data, architecture: architecture(workspace, data)?, begun: OnceLock::new() })
    }
}

impl Training<'_> {
    /// How many members of another recipe are in training in a run.
    ///
    /// # Errors
    ///
    /// As [`Stage::pieces`].
    pub fn unfinished_of_others(&self, run: &Run) -> Result<usize> {
        let is_other = |piece: &Piece| {
            let state = run.entry(&state_name(piece.number as u32));
            state.is_some_and(|entry| entry.made_from != piece.made_from)
        };
        Ok(self.pieces()?.iter().filter(|piece| is_other(piece)).count())
    }
}

/// Trains every member that is not there yet, or only `member`.
///
/// # Errors
///
/// [`RunError::Stopped`] once it is asked to stop, after the state of every member in training was written.
pub fn train(workspace: &Workspace, data: &CodedData, member: Option<u32>) -> Result<()> {
    let members = data.codes.members();
    if let Some(member) = member.filter(|&member| member >= members) {
        let bound = format!("members are 0 to {}", members - 1);
        return Err(RunError::NoSuch { what: "member".into(), value: member.to_string(), bound });
    }
    let stage = Training::new(workspace, data)?;
    let mut pieces = stage.pieces()?;
    pieces.retain(|piece| member.is_none_or(|member| piece.number == member as usize));
    let there = pieces.iter().filter(|piece| piece.is_in(&workspace.run)).map(|piece| piece.number as u32);
    tell_who_trained(workspace, &there.collect::<Vec<_>>());
    drive_some(workspace, &stage, pieces, members as usize, None)
}

impl Stage for Training<'_> {
    fn name(&self) -> &str {
        STAGE
    }

    fn cost_name(&self) -> &str {
        "training"
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let piece = |member| piece_of(self.workspace, self.data, &self.architecture, member);
        (0..self.data.codes.members()).map(piece).collect()
    }

    fn beside(&self, piece: &Piece) -> Vec<String> {
        vec![record_name(piece.number as u32)]
    }

    fn begin(&self, run: &Run, all: usize, missing: &[Piece]) -> Result<Progress> {
        let before = steps_kept(run, self.data, missing)?;
        let total = self.data.trained.training.steps as u64 * missing.len() as u64;
        let reporter = self.workspace.reporter();
        let parameters = self.architecture.parameter_count();
        reporter.tell(Event::Training { members: missing.len(), of: all as u32, parameters });
        let lanes = self.side_by_side(missing)?;
        self.begun.get_or_init(|| Begun { rate: Rate::new(before), lanes });
        Ok(reporter.begin("training", total, before))
    }

    fn side_by_side(&self, missing: &[Piece]) -> Result<usize> {
        if let Some(begun) = self.begun.get() {
            return Ok(begun.lanes);
        }
        let Some(first) = missing.first().map(|piece| piece.number as u32) else { return Ok(1) };
        let fresh = || trainer(self.workspace, self.data, &self.architecture, first);
        with_images(self.data, first, |images| choose_lanes(self.workspace, missing.len(), &fresh, images))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let (workspace, run, member) = (self.workspace, making.run, piece.number as u32);
        let mut trainer = trainer(workspace, self.data, &self.architecture, member)?;
        let state = state_name(member);
        if let Some(bytes) = state_kept(self.data, run, member, piece.made_from)? {
            trainer.restore(&bytes, &state)?;
        }
        let checkpoints: BTreeMap<usize, String> = checkpoints_of(self.data, member).into_iter().collect();
        let saving = Saving { run, state: &state, made_from: piece.made_from };
        with_images(self.data, member, |images| {
            saving.train_to_the_end(workspace, &mut trainer, images, |trainer, loss| {
                // Before any state that has this step behind it.
                if let Some(name) = checkpoints.get(&trainer.steps_done()) {
                    self.save_checkpoint(run, name, piece.made_from, trainer)?;
                }
                if let Some(Begun { rate, .. }) = self.begun.get() {
                    let batch = self.data.trained.training.batch;
                    rate.tell_step(making.progress, batch, &format!("member {member}"), loss);
                }
                Ok(())
            })
        })?;
        // First, so that the folder of a finished member is one that diffusers opens.
        save_scheduler(workspace, run, member)?;
        self.member_objects(member, &trainer)
    }

    fn stored(&self, piece: &Piece, run: &Run) -> Result<()> {
        let member = piece.number as u32;
        run.remove(&state_name(member))?;
        save_scheduler(self.workspace, run, member)?;
        // Those of an earlier recipe that kept more.
        let folder = format!("{}/checkpoints/", member_folder(member));
        let of_member = |name: &String| name.starts_with(&folder) && !piece.objects.contains(name);
        for name in run.names().into_iter().filter(of_member) {
            run.remove(&name)?;
        }
        Ok(())
    }

    fn summary(&self, missing: &[Piece]) -> Option<String> {
        Some(format!("{} members trained", missing.len()))
    }
}

impl Training<'_> {
    /// Keeps the weights of a moment of training, which would be the member if it ended there.
    fn save_checkpoint(
        &self,
        run: &Run,
        name: &str,
        made_from: Fingerprint,
        trainer: &Trainer,
    ) -> Result<()> {
        if !run.is_current(name, made_from) {
            let [_, (_, bytes)] = network_files(&self.architecture, trainer.member())?;
            run.put(name, made_from, &bytes)?;
        }
        Ok(())
    }

    fn member_objects(&self, member: u32, trainer: &Trainer) -> Result<Vec<Object>> {
        check_finite(trainer, member as usize)?;
        let folder = member_folder(member);
        let mut objects: Vec<Object> = network_files(&self.architecture, trainer.member())?
            .into_iter()
            .map(|(name, bytes)| (format!("{folder}/{name}"), bytes))
            .collect();
        objects.push((losses_name(member), npy(&[trainer.losses().len() as u64], trainer.losses())?));
        let record = TrainingRecord { numerics_version: NUMERICS_VERSION };
        objects.push((record_name(member), serde_json::to_vec_pretty(&record)?));
        Ok(objects)
    }
}

fn trainer(
    workspace: &Workspace,
    data: &CodedData,
    architecture: &Architecture,
    member: u32,
) -> Result<Trainer> {
    let (recipe, training) = (&workspace.recipe, data.trained.training);
    Ok(Trainer::new(architecture.clone(), &recipe.schedule, training, recipe.seed, member)?)
}

/// Runs `work` with the images of one member.
fn with_images<R>(
    data: &CodedData,
    member: u32,
    work: impl FnOnce(&TrainingImages<'_>) -> Result<R>,
) -> Result<R> {
    let own = data.member_images(member)?;
    let read = |index: usize, target: &mut [f32]| data.images.scaled_into(own[index] as usize, target);
    let shape = [data.images.height(), data.images.width(), data.images.channels()];
    work(&TrainingImages { count: own.len(), shape, read: &read })
}
