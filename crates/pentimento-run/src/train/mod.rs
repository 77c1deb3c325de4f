//! The stage that trains the members, resumable at any moment.

mod in_training;
mod network;
mod objects;
mod side_by_side;

pub(crate) use in_training::{InTraining, NetworkObjects, stored};
pub(crate) use network::steps_of_states;
pub(crate) use objects::tell_who_trained;
pub use objects::{
    checkpoint_name, kept_weights, losses, member_fingerprint, member_folder, steps_kept, trained_members,
    weights_name,
};
pub use side_by_side::TRIAL_STEPS;
pub(crate) use side_by_side::Tried;

use crate::data::CodedData;
use crate::drive::drive_some;
use crate::error::{Result, RunError};
use crate::event::{Event, Progress};
use crate::network_inputs::{NetworkInputs, Showing};
use crate::piece::{Making, Object, Piece, Stage};
use crate::recipe::Recipe;
use crate::workspace::Workspace;
use in_training::files_of;
use objects::{STAGE, checkpoints_of, objects_of, piece_of, state_kept};
use once_cell::sync::OnceCell;
use pentimento_diffusion::training::{Trainer, TrainingImages};
use pentimento_store::{Fingerprint, Run};
use std::collections::BTreeMap;

/// The stage: a piece is a member.
pub struct Training<'a> {
    workspace: &'a Workspace,
    data: &'a CodedData,
    /// Known once something is trained.
    ready: OnceCell<Ready<'a>>,
}

/// What members are trained with.
struct Ready<'a> {
    networks: InTraining<'a>,
    inputs: NetworkInputs,
}

impl<'a> Training<'a> {
    /// The members of a recipe. To know whether there is anything to do, no network is opened.
    pub fn new(workspace: &'a Workspace, data: &'a CodedData) -> Self {
        Self { workspace, data, ready: OnceCell::new() }
    }

    /// Opens the network that members begin with, and encodes images and captions where that is needed.
    fn ready(&self) -> Result<&Ready<'a>> {
        self.ready.get_or_try_init(|| {
            let (workspace, data) = (self.workspace, self.data);
            let architecture = data.architecture()?;
            let inputs = Showing::to_members(workspace, data).open()?;
            let networks = InTraining::new(workspace, &workspace.recipe, architecture, data.trained.training);
            Ok(Ready { networks, inputs })
        })
    }

    /// How many members of another recipe are in training in a run.
    ///
    /// # Errors
    ///
    /// As [`Stage::pieces`].
    pub fn unfinished_of_others(&self, run: &Run) -> Result<usize> {
        let is_other = |piece: &Piece| {
            let state = run.entry(&objects_of(self.data, piece.number as u32).state());
            state.is_some_and(|entry| entry.made_from != piece.made_from)
        };
        Ok(self.pieces()?.iter().filter(|piece| is_other(piece)).count())
    }

    /// A member before its training.
    fn trainer(&self, member: u32) -> Result<Trainer> {
        let Ready { networks: InTraining { architecture, training, .. }, inputs } = self.ready()?;
        let (data, Recipe { schedule, seed, .. }) = (self.data, &self.workspace.recipe);
        let own = data.member_images(member)?;
        let trainer = match inputs.training_conditions(&data.images, &own, training) {
            None => Trainer::new(architecture.clone(), schedule, *training, *seed, member)?,
            Some(told) => {
                Trainer::conditional(architecture.clone(), schedule, *training, told, *seed, member)?
            }
        };
        Ok(match data.first_values()? {
            Some(values) => trainer.beginning_with(values.to_vec())?,
            None => trainer,
        })
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
            let [_, bytes] = files_of(&self.ready()?.networks.architecture, trainer.member())?;
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
    let stage = Training::new(workspace, data);
    let mut pieces = stage.pieces()?;
    pieces.retain(|piece| member.is_none_or(|member| piece.number == member as usize));
    let there = pieces.iter().filter(|piece| piece.is_in(&workspace.run));
    tell_who_trained(workspace, there.map(|piece| objects_of(data, piece.number as u32)));
    if pieces.iter().any(|piece| !piece.is_in(&workspace.run)) {
        // What is encoded has stages of its own, before this one.
        stage.ready()?;
    }
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
        let piece = |member| piece_of(self.workspace, self.data, member);
        (0..self.data.codes.members()).map(piece).collect()
    }

    fn beside(&self, piece: &Piece) -> Vec<String> {
        vec![objects_of(self.data, piece.number as u32).record()]
    }

    fn begin(&self, run: &Run, all: usize, missing: &[Piece]) -> Result<Progress> {
        let before = steps_kept(run, self.data, missing)?;
        let Ready { networks, inputs } = self.ready()?;
        let parameters = networks.architecture.parameter_count();
        let event = Event::Training { members: missing.len(), of: all as u32, parameters };
        let first = missing.first().map_or(0, |piece| piece.number as u32);
        let fresh = || self.trainer(first);
        with_images(self.data, inputs, first, |images| {
            networks.begin(event, missing.len(), before, &fresh, images)
        })
    }

    fn side_by_side(&self, _missing: &[Piece]) -> Result<usize> {
        Ok(self.ready.get().map_or(1, |ready| ready.networks.lanes()))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let (run, member) = (making.run, piece.number as u32);
        let Ready { networks, inputs } = self.ready()?;
        let objects = objects_of(self.data, member);
        let mut trainer = self.trainer(member)?;
        if let Some(bytes) = state_kept(self.data, run, member, piece.made_from)? {
            trainer.restore(&bytes, &objects.state())?;
        }
        let checkpoints: BTreeMap<usize, String> = checkpoints_of(self.data, member).into_iter().collect();
        let called = format!("member {member}");
        with_images(self.data, inputs, member, |images| {
            networks.make(piece, (&objects, &called), trainer, images, making, |trainer| {
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
        let objects = objects_of(self.data, member);
        stored(&self.workspace.recipe, &objects, run)?;
        // Those of an earlier recipe that kept more, or whose members were of another kind.
        let folder = format!("{}/checkpoints/", member_folder(member));
        let other_kind = objects.of_other_kind();
        let is_left = |name: &String| {
            name.starts_with(&folder) && !piece.objects.contains(name) || other_kind.contains(name)
        };
        for name in run.names().into_iter().filter(is_left) {
            run.remove(&name)?;
        }
        Ok(())
    }

    fn summary(&self, missing: &[Piece]) -> Option<String> {
        Some(format!("{} members trained", missing.len()))
    }
}

/// Runs `work` with the images of one member, as networks are shown them.
fn with_images<R>(
    data: &CodedData,
    inputs: &NetworkInputs,
    member: u32,
    work: impl FnOnce(&TrainingImages<'_>) -> Result<R>,
) -> Result<R> {
    let own = data.member_images(member)?;
    let read =
        |index: usize, target: &mut [f32]| inputs.input_into(&data.images, own[index] as usize, target);
    work(&TrainingImages { count: own.len(), shape: data.input_shape(), read: &read })
}
