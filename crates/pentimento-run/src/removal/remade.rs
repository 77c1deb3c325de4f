//! Samples of a run, made again from their recorded noise by other networks.

use super::retraining::short;
use crate::drive::drive;
use crate::error::{Result, RunError};
use crate::event::Progress;
use crate::kept::kept_or_made_again;
use crate::networks::NetworksAlike;
use crate::piece::{Making, Object, Piece, Stage};
use crate::words::counted;
use crate::workspace::{Workspace, fingerprint_of_computed};
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::Sampler;
use pentimento_store::Run;

/// The stage, as in `remade/3`.
const STAGE: &str = "remade";

/// The stage: a piece is a network that makes all of the samples.
pub(super) struct Remaking<'a> {
    workspace: &'a Workspace,
    networks: &'a NetworksAlike<'a>,
    samples: Vec<u32>,
}

impl<'a> Remaking<'a> {
    /// Samples of the workspace's run, made as its recipe says.
    pub fn new(workspace: &'a Workspace, networks: &'a NetworksAlike<'a>, samples: Vec<u32>) -> Self {
        Self { workspace, networks, samples }
    }

    /// Makes what is missing, and gives all images, not clamped: `[networks][samples]`.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`] once it is asked to stop, the images of finished networks are kept; as opening them.
    pub fn complete(&self) -> Result<Vec<Vec<Vec<f32>>>> {
        drive(self.workspace, self)?;
        let length = self.shape().iter().product();
        let images = |piece: &Piece| {
            let bytes = kept_or_made_again(self.workspace, self, piece)?;
            let name = piece.objects.first().map_or("", String::as_str);
            let values = ArrayReader::new(&bytes, name)?.f32("image")?;
            Ok(values.chunks_exact(length).map(<[f32]>::to_vec).collect())
        };
        self.pieces()?.iter().map(images).collect()
    }

    fn shape(&self) -> [usize; 3] {
        let [height, width] = self.networks.size;
        [height, width, self.networks.architecture.config().in_channels]
    }
}

impl Stage for Remaking<'_> {
    fn name(&self) -> &str {
        STAGE
    }

    fn cost_name(&self) -> &str {
        "sampling"
    }

    fn asks_queries(&self) -> bool {
        true
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let recipe = &self.workspace.recipe;
        let piece = |number| {
            let made_from = fingerprint_of_computed("samples made again")
                .fingerprint(self.networks.fingerprint(number)?)
                .json(&recipe.schedule)?
                .json(&recipe.sampling)?
                .json(&(recipe.seed, recipe.samples.class, &self.samples))?
                .finish();
            let objects = vec![format!("evaluation/remade/{}.safetensors", short(made_from))];
            Ok(Piece { stage: STAGE.into(), number, objects, made_from })
        };
        (0..self.networks.weights.len()).map(piece).collect()
    }

    fn begin(&self, _run: &Run, all: usize, missing: &[Piece]) -> Result<Progress> {
        let steps = self.workspace.recipe.sampling.steps as u64;
        let there = (all - missing.len()) as u64;
        Ok(self.workspace.reporter().begin("making samples again", all as u64 * steps, there * steps))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let (recipe, [height, width, channels]) = (&self.workspace.recipe, self.shape());
        let parameters = vec![self.networks.parameters(piece.number)?];
        let architecture = self.networks.architecture.clone();
        let mixture = Mixture::new(architecture, parameters, height, width, self.workspace.batch())?
            .of_class(recipe.samples.class)?;
        let sampler = Sampler::new(&recipe.schedule, recipe.sampling)?;
        let trajectory = |&sample: &u32| Trajectory { sample, weights: vec![1.0], condition: None };
        let trajectories: Vec<Trajectory> = self.samples.iter().map(trajectory).collect();
        let before = (making.there + making.place) * sampler.len();
        let images: Vec<f32> = mixture.sample(&sampler, recipe.seed, &trajectories, |done| {
            making.progress.set((before + done) as u64, "");
            self.workspace.options.stop.check()
        })?;
        for (&sample, image) in self.samples.iter().zip(images.chunks_exact(mixture.image_length())) {
            if image.iter().any(|value| !value.is_finite()) {
                return Err(RunError::NotFinite { sample });
            }
        }
        let mut arrays = ArrayWriter::default();
        arrays.put_u32("sample", &[self.samples.len()], &self.samples);
        arrays.put_f32("image", &[self.samples.len(), height, width, channels], &images);
        let name = piece.objects.first().cloned().unwrap_or_default();
        let bytes = arrays.to_bytes(&name, None)?;
        Ok(vec![(name, bytes)])
    }

    fn summary(&self, missing: &[Piece]) -> Option<String> {
        let networks = counted(missing.len(), "network");
        Some(format!("{} by {networks}", counted(self.samples.len(), "sample")))
    }
}
