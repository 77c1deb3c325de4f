//! The stage that trains the members, resumable at any moment.

mod in_training;
mod network;
mod objects;
mod side_by_side;

pub(crate) use in_training::{InTraining, NetworkObjects};
pub(crate) use network::steps_of_states;
pub(crate) use objects::tell_who_trained;
pub use objects::{
    architecture, checkpoint_name, kept_weights, losses, member_fingerprint, member_folder, steps_kept,
    trained_members, weights_name,
};
pub use side_by_side::TRIAL_STEPS;
pub(crate) use side_by_side::Tried;

use crate::data::CodedData;
use crate::drive::drive_some;
use crate::error::{Result, RunError};
use crate::event::{Event, Progress};
use crate::piece::{Making, Object, Piece, Stage};
use crate::workspace::Workspace;
use objects::{STAGE, checkpoints_of, objects_of, piece_of, state_kept};
use pentimento_diffusion::checkpoint::network_files;
use pentimento_diffusion::training::{Trainer, TrainingImages};
use pentimento_store::{Fingerprint, Run};
use std::collections::BTreeMap;

/// The stage: a piece is a member.
pub struct Training<'a> {
    workspace: &'a Workspace,
    data: &'a CodedData,
    networks: InTraining<'a>,
}

impl<'a> Training<'a> {
    /// The members of a recipe.
    ///
    /// # Errors
    ///
    /// If the recipe's network does not fit the images.
    pub fn new(workspace: &'a Workspace, data: &'a CodedData) -> Result<Self> {
        let architecture = architecture(workspace, data)?;
        let networks = InTraining::new(workspace, &workspace.recipe, architecture, data.trained.training);
        Ok(Self { workspace, data, networks })
    }

    /// How many members of another recipe are in training in a run.
    ///
    /// # Errors
    ///
    /// As [`Stage::pieces`].
    pub fn unfinished_of_others(&self, run: &Run) -> Result<usize> {
        let is_other = |piece: &Piece| {
            let state = run.entry(&objects_of(piece.number as u32).state());
            state.is_some_and(|entry| entry.made_from != piece.made_from)
        };
        Ok(self.pieces()?.iter().filter(|piece| is_other(piece)).count())
    }

    /// A member before its training.
    fn trainer(&self, member: u32) -> Result<Trainer> {
        let (recipe, InTraining { architecture, training, .. }) = (&self.workspace.recipe, &self.networks);
        Ok(Trainer::new(architecture.clone(), &recipe.schedule, *training, recipe.seed, member)?)
    }

    /// Keeps the weights of a moment of training, which would be the member if it ended there.
    fn save_checkpoint(
        &self,
        run: &Run,
        name: &str,
        made_from: Fingerprint,
        trainer: &Trainer,
    ) -> Result<()> {
        if !run.is_current(name, made_from) {
            let [_, (_, bytes)] = network_files(&self.networks.architecture, trainer.member())?;
            run.put(name, made_from, &bytes)?;
        }
        Ok(())
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
    let there = pieces.iter().filter(|piece| piece.is_in(&workspace.run));
    tell_who_trained(workspace, there.map(|piece| objects_of(piece.number as u32)));
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
        let piece = |member| piece_of(self.workspace, self.data, &self.networks.architecture, member);
        (0..self.data.codes.members()).map(piece).collect()
    }

    fn beside(&self, piece: &Piece) -> Vec<String> {
        vec![objects_of(piece.number as u32).record()]
    }

    fn begin(&self, run: &Run, all: usize, missing: &[Piece]) -> Result<Progress> {
        let before = steps_kept(run, self.data, missing)?;
        let parameters = self.networks.architecture.parameter_count();
        let event = Event::Training { members: missing.len(), of: all as u32, parameters };
        let first = missing.first().map_or(0, |piece| piece.number as u32);
        let fresh = || self.trainer(first);
        with_images(self.data, first, |images| {
            self.networks.begin(event, missing.len(), before, &fresh, images)
        })
    }

    fn side_by_side(&self, _missing: &[Piece]) -> Result<usize> {
        Ok(self.networks.lanes())
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let (run, member) = (making.run, piece.number as u32);
        let objects = objects_of(member);
        let mut trainer = self.trainer(member)?;
        if let Some(bytes) = state_kept(self.data, run, member, piece.made_from)? {
            trainer.restore(&bytes, &objects.state())?;
        }
        let checkpoints: BTreeMap<usize, String> = checkpoints_of(self.data, member).into_iter().collect();
        let called = format!("member {member}");
        with_images(self.data, member, |images| {
            self.networks.make(piece, (&objects, &called), trainer, images, making, |trainer| {
                // Before any state that has this step behind it.
                match checkpoints.get(&trainer.steps_done()) {
                    Some(name) => self.save_checkpoint(run, name, piece.made_from, trainer),
                    None => Ok(()),
                }
            })
        })
    }

    fn stored(&self, piece: &Piece, run: &Run) -> Result<()> {
        let member = piece.number as u32;
        self.networks.stored(&objects_of(member), run)?;
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
