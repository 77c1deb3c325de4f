//! The stage that makes samples.

use super::ensemble::Ensemble;
use super::shards::{
    FingerprintOf, SAMPLES_PER_SHARD, remove_beyond, shard_count, shard_name, shard_samples, shards_of_others,
};
use crate::drive::drive;
use crate::error::{Result, RunError};
use crate::event::Progress;
use crate::forecast::Forecast;
use crate::networks::Networks;
use crate::piece::{Making, Object, Piece, Stage, missing};
use crate::words::counted;
use crate::workspace::Workspace;
use once_cell::sync::OnceCell;
use pentimento_attribution::ensemble::approximation::clamped;
use pentimento_diffusion::arrays::ArrayWriter;
use pentimento_store::{Fingerprint, Run};
use std::time::Instant;

/// Where the samples of a run are.
const FOLDER: &str = "samples";

fn fingerprint(workspace: &Workspace, networks: &Networks<'_>, samples: &[u32]) -> Result<Fingerprint> {
    let mut fingerprint = Fingerprint::of("samples").fingerprint(networks.fingerprint).json(&samples)?;
    let prompts = workspace.recipe.samples.prompts_of(samples);
    // Most networks are told no texts.
    if !prompts.is_empty() {
        fingerprint = fingerprint.json(&prompts)?;
    }
    Ok(fingerprint.finish())
}

fn picture_name(sample: u32) -> String {
    format!("{FOLDER}/{sample:06}.png")
}

/// The stage: a piece is a shard of samples, values and a picture of each.
pub struct Sampling<'a> {
    workspace: &'a Workspace,
    networks: &'a Networks<'a>,
    ensemble: OnceCell<Ensemble>,
}

impl<'a> Sampling<'a> {
    /// The samples of a recipe.
    pub fn new(workspace: &'a Workspace, networks: &'a Networks<'a>) -> Self {
        Self { workspace, networks, ensemble: OnceCell::new() }
    }

    fn ensemble(&self) -> Result<&Ensemble> {
        self.ensemble.get_or_try_init(|| Ensemble::open(self.workspace, self.networks))
    }
}

/// How many shards of samples in a run other networks made, or another recipe; all, if its networks are not there.
///
/// # Errors
///
/// If a setting has no JSON form.
pub fn samples_of_others(workspace: &Workspace, networks: Option<&Networks<'_>>) -> Result<usize> {
    let of = networks.map(|networks| move |samples: &[u32]| fingerprint(workspace, networks, samples));
    let of = of.as_ref().map(|of| of as FingerprintOf<'_>);
    shards_of_others(workspace, FOLDER, of)
}

/// Makes every sample of the recipe that is not there: a shard of values, and a PNG for each.
///
/// # Errors
///
/// [`RunError::Stopped`] once it is asked to stop; finished shards are kept. [`RunError::Missing`] if the members are not
/// trained.
pub fn sample(workspace: &Workspace, networks: &Networks<'_>) -> Result<()> {
    let stage = Sampling::new(workspace, networks);
    // Nothing is removed before it is known that the rest can be made.
    stage.pieces()?;
    remove_beyond(workspace, FOLDER)?;
    drive(workspace, &stage)
}

/// How long the samples that are missing will take, from one step of some of them.
///
/// # Errors
///
/// As opening the networks.
pub fn sampling_forecast(workspace: &Workspace, networks: &Networks<'_>) -> Result<Forecast> {
    let stage = Sampling::new(workspace, networks);
    let missing = missing(&stage, &workspace.run)?;
    let shards = missing.iter().map(|piece| shard_samples(piece.number, workspace.recipe.samples.count));
    let samples: usize = shards.map(|ids| ids.len()).sum();
    if samples == 0 {
        return Ok(Forecast::nothing("sampling"));
    }
    let Ensemble { mixture, sampler, .. } = stage.ensemble()?;
    let at_once = samples.min(SAMPLES_PER_SHARD);
    let images = vec![0.0f32; at_once * mixture.image_length()];
    let step = || {
        for member in 0..mixture.members() {
            mixture.predict(member, &images, sampler.timestep(0));
        }
    };
    // The first one also pays for memory that later ones reuse.
    step();
    let started = Instant::now();
    step();
    let step = started.elapsed().as_secs_f64() / at_once as f64;
    // Guided, a network predicts with the prompt and without.
    let is_guided = networks.knows_texts() && workspace.recipe.samples.guided().is_some();
    let passes = if is_guided { 2 } else { 1 };
    let mut seconds = step * (passes * samples * sampler.len()) as f64;
    if let Some(encoders) = &networks.encoders {
        let latent = vec![0.0; networks.image_shape().iter().product()];
        // The first time opens the autoencoder too.
        encoders.pictures(&latent, networks.size)?;
        let started = Instant::now();
        encoders.pictures(&latent, networks.size)?;
        seconds += started.elapsed().as_secs_f64() * samples as f64;
    }
    let work = format!("{} in {} steps", counted(samples, "sample"), sampler.len());
    Ok(Forecast::new("sampling", work, seconds, 0))
}

impl Stage for Sampling<'_> {
    fn name(&self) -> &str {
        "sample"
    }

    fn cost_name(&self) -> &str {
        "sampling"
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let count = self.workspace.recipe.samples.count;
        let piece = |shard| {
            let ids = shard_samples(shard, count);
            let pictures = ids.iter().map(|&id| picture_name(id));
            Ok(Piece {
                stage: self.name().into(),
                number: shard,
                objects: pictures.chain([shard_name(FOLDER, shard)]).collect(),
                made_from: fingerprint(self.workspace, self.networks, &ids)?,
            })
        };
        (0..shard_count(count)).map(piece).collect()
    }

    fn begin(&self, _run: &Run, _all: usize, missing: &[Piece]) -> Result<Progress> {
        let steps = self.ensemble()?.sampler.len() as u64;
        Ok(self.workspace.reporter().begin("sampling", missing.len() as u64 * steps, 0))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let ensemble = self.ensemble()?;
        let ids = shard_samples(piece.number, self.workspace.recipe.samples.count);
        let (before, progress) = (making.place * ensemble.sampler.len(), making.progress);
        making.spent.time("sampling", ids.len(), || {
            let show = |done: usize| progress.set((before + done) as u64, "");
            shard_objects(self.workspace, self.networks, ensemble, piece.number, &ids, show)
        })
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        Some(counted(self.workspace.recipe.samples.count, "sample"))
    }
}

/// Refuses samples that are no numbers, of values `[samples, ...]`.
fn check_finite(samples: &[u32], values: &[f32]) -> Result<()> {
    let length = (values.len() / samples.len().max(1)).max(1);
    let is_broken = |values: &[f32]| values.iter().any(|value| !value.is_finite());
    match samples.iter().zip(values.chunks_exact(length)).find(|(_, values)| is_broken(values)) {
        Some((&sample, _)) => Err(RunError::NotFinite { sample }),
        None => Ok(()),
    }
}

/// The objects of a shard: it says that its samples are there, so it comes with their pictures in one replacement of the
/// manifest.
fn shard_objects(
    workspace: &Workspace,
    networks: &Networks<'_>,
    ensemble: &Ensemble,
    shard: usize,
    ids: &[u32],
    show: impl Fn(usize),
) -> Result<Vec<Object>> {
    let mixture = &ensemble.mixture;
    let trajectories = ensemble.trajectories(ids.iter().copied());
    let made: Vec<f32> = mixture.sample(&ensemble.sampler, ensemble.seed, &trajectories, |done| {
        show(done);
        workspace.options.stop.check()
    })?;
    check_finite(ids, &made)?;
    let decoded = match &networks.encoders {
        Some(encoders) => Some(encoders.pictures(&made, networks.size)?),
        None => None,
    };
    let images = decoded.as_ref().unwrap_or(&made);
    check_finite(ids, images)?;
    let [height, width, channels] = networks.picture_shape;
    let mut objects = Vec::new();
    for (&id, image) in ids.iter().zip(images.chunks_exact(height * width * channels)) {
        let png = crate::pictures::png(&clamped(image), height, width, channels)?;
        objects.push((picture_name(id), png));
    }
    let mut arrays = ArrayWriter::default();
    arrays.put_u32("sample", &[ids.len()], ids);
    arrays.put_f32("image", &[ids.len(), height, width, channels], images);
    if decoded.is_some() {
        let [height, width, channels] = networks.image_shape();
        arrays.put_f32("latent", &[ids.len(), height, width, channels], &made);
    }
    let name = shard_name(FOLDER, shard);
    let bytes = arrays.to_bytes(&name, None)?;
    objects.push((name, bytes));
    Ok(objects)
}
