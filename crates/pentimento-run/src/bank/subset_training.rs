//! The stage that trains networks on some of the images each, which differ by nothing else: those of a bank, and those that
//! are trained again without the images that a method names.

use super::data::BankData;
use crate::error::Result;
use crate::event::{Event, Progress};
use crate::forecast::Forecast;
use crate::piece::{Making, Object, Piece, Stage, missing};
use crate::recipe::Recipe;
use crate::train::{InTraining, NetworkObjects, Tried, steps_of_states, stored};
use crate::words::counted;
use crate::workspace::Workspace;
use pentimento_diffusion::training::{Trainer, TrainingImages};
use pentimento_diffusion::unet::Architecture;
use pentimento_store::{Fingerprint, Run};

/// What its costs are called.
const TRAINING: &str = "training";

/// A network that is trained on some of the images.
pub struct SubsetNetwork {
    /// Where it goes.
    pub objects: NetworkObjects,
    /// What people call it.
    pub called: String,
    /// Whether each image of the bank is trained on.
    pub kept: Vec<bool>,
    /// The seed of the bank that it has.
    pub seed: u32,
    /// What it follows from.
    pub made_from: Fingerprint,
}

/// The stage: a piece is a network.
pub struct SubsetTraining<'a> {
    /// The stage, as in `bank/3`.
    name: &'static str,
    /// Where the networks go.
    workspace: &'a Workspace,
    recipe: &'a Recipe,
    data: &'a BankData,
    networks: Vec<SubsetNetwork>,
    training: InTraining<'a>,
}

impl<'a> SubsetTraining<'a> {
    /// Networks on images of a bank, by its recipe, which go into the run of a workspace.
    pub fn new(
        name: &'static str,
        workspace: &'a Workspace,
        (recipe, data): (&'a Recipe, &'a BankData),
        architecture: Architecture,
        networks: Vec<SubsetNetwork>,
    ) -> Self {
        let training = InTraining::new(workspace, recipe, architecture, data.bank.training);
        Self { name, workspace, recipe, data, networks, training }
    }

    /// The network that all of them are.
    pub fn architecture(&self) -> &Architecture {
        &self.training.architecture
    }

    /// The networks, by the numbers of their pieces.
    pub fn networks(&self) -> &[SubsetNetwork] {
        &self.networks
    }

    /// A network before its training. First weights, timesteps, noises and the order of images are those of its seed, whatever
    /// it is trained on.
    fn trainer(&self, number: usize) -> Result<Trainer> {
        let SubsetNetwork { kept, seed, .. } = &self.networks[number];
        let Recipe { schedule, seed: of_recipe, .. } = self.recipe;
        let InTraining { architecture, training, .. } = &self.training;
        let trainer = Trainer::new(architecture.clone(), schedule, *training, *of_recipe, *seed)?;
        if kept.contains(&false) { Ok(trainer.keeping(positions(kept))?) } else { Ok(trainer) }
    }

    /// Steps of networks in training that are done.
    fn steps_done(&self, run: &Run, missing: &[Piece]) -> Result<u64> {
        let mut states = Vec::new();
        for piece in missing {
            let name = self.networks[piece.number].objects.state();
            if run.is_current(&name, piece.made_from) {
                let bytes = run.get(&name)?;
                states.push((name, bytes));
            }
        }
        steps_of_states(run, states)
    }

    /// How long the networks that are missing will take, from some steps of one of them.
    ///
    /// # Errors
    ///
    /// As training.
    pub fn forecast(&self) -> Result<Forecast> {
        let run = &self.workspace.run;
        let missing = missing(self, run)?;
        let Some(first) = missing.first().map(|piece| piece.number) else {
            return Ok(Forecast::nothing(TRAINING));
        };
        let fresh = || self.trainer(first);
        let tried = self.with_images(|images| Tried::new(self.workspace, missing.len(), &fresh, images))?;
        let steps = self.training.training.steps;
        let left = 1.0 - self.steps_done(run, &missing)? as f64 / (steps * missing.len()) as f64;
        let work = format!("{} of {steps} steps", counted(missing.len(), "network"));
        Ok(Forecast::new(TRAINING, work, left * steps as f64 * tried.fastest(), 0))
    }

    fn with_images<R>(&self, work: impl FnOnce(&TrainingImages<'_>) -> Result<R>) -> Result<R> {
        let images = &self.data.images;
        let read = |index: usize, target: &mut [f32]| images.scaled_into(index, target);
        work(&TrainingImages { count: images.len(), shape: self.data.shape(), read: &read })
    }
}

/// Positions of what is kept, rising.
pub(super) fn positions(kept: &[bool]) -> Vec<u32> {
    (0..).zip(kept).filter(|(_, kept)| **kept).map(|(position, _)| position).collect()
}

impl Stage for SubsetTraining<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn cost_name(&self) -> &str {
        TRAINING
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let piece = |(number, network): (usize, &SubsetNetwork)| Piece {
            stage: self.name.into(),
            number,
            objects: network.objects.known_by(),
            made_from: network.made_from,
        };
        Ok(self.networks.iter().enumerate().map(piece).collect())
    }

    fn beside(&self, piece: &Piece) -> Vec<String> {
        vec![self.networks[piece.number].objects.record()]
    }

    fn begin(&self, run: &Run, all: usize, missing: &[Piece]) -> Result<Progress> {
        let before = self.steps_done(run, missing)?;
        let parameters = self.training.architecture.parameter_count();
        let event = Event::TrainingBank { networks: missing.len(), of: all, parameters };
        let first = missing.first().map_or(0, |piece| piece.number);
        let fresh = || self.trainer(first);
        self.with_images(|images| self.training.begin(event, missing.len(), before, &fresh, images))
    }

    fn side_by_side(&self, _missing: &[Piece]) -> Result<usize> {
        Ok(self.training.lanes())
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let SubsetNetwork { objects, called, .. } = &self.networks[piece.number];
        let state = objects.state();
        let mut trainer = self.trainer(piece.number)?;
        if making.run.is_current(&state, piece.made_from) {
            trainer.restore(&making.run.get(&state)?, &state)?;
        }
        self.with_images(|images| {
            self.training.make(piece, (objects, called), trainer, images, making, |_| Ok(()))
        })
    }

    fn stored(&self, piece: &Piece, run: &Run) -> Result<()> {
        stored(self.recipe, &self.networks[piece.number].objects, run)
    }

    fn summary(&self, missing: &[Piece]) -> Option<String> {
        Some(counted(missing.len(), "network") + " trained")
    }
}
