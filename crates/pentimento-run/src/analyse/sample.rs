//! The stage that makes samples.

use super::ensemble::{Ensemble, Members, ensemble_fingerprint};
use super::shards::{remove_beyond, shard_count, shard_name, shard_samples};
use crate::costs::Spent;
use crate::error::{Result, RunError};
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::approximation::clamped;
use pentimento_attribution::ensemble::full_weights;
use pentimento_diffusion::arrays::ArrayWriter;
use pentimento_diffusion::mixture::Trajectory;
use pentimento_store::Fingerprint;

/// Where the samples of a run are.
const FOLDER: &str = "samples";

fn fingerprint(ensemble: Fingerprint, samples: &[u32]) -> Result<Fingerprint> {
    Ok(Fingerprint::of("samples").fingerprint(ensemble).json(&samples)?.finish())
}

fn picture_name(sample: u32) -> String {
    format!("{FOLDER}/{sample:06}.png")
}

/// The shards that are not there: number, samples, and what they are made from.
///
/// # Errors
///
/// [`RunError::NotYet`](crate::error::RunError::NotYet) if the members are not trained.
pub fn missing_sample_shards(
    workspace: &Workspace,
    members: Members<'_>,
) -> Result<Vec<(usize, Vec<u32>, Fingerprint)>> {
    let ensemble = ensemble_fingerprint(workspace, members)?;
    let count = workspace.recipe.samples.count;
    let mut todo = Vec::new();
    for shard in 0..shard_count(count) {
        let ids = shard_samples(shard, count);
        let key = fingerprint(ensemble, &ids)?;
        let pictures = ids.iter().map(|&id| picture_name(id));
        if !pictures.chain([shard_name(FOLDER, shard)]).all(|name| workspace.run.is_current(&name, key)) {
            todo.push((shard, ids, key));
        }
    }
    Ok(todo)
}

/// Makes every sample of the recipe that is not there: a shard of values, and a PNG for each.
///
/// # Errors
///
/// [`RunError::Stopped`](crate::error::RunError::Stopped) on Ctrl-C; finished shards are kept.
pub fn sample<'a>(workspace: &Workspace, members: impl Into<Members<'a>>) -> Result<()> {
    let members = members.into();
    let count = workspace.recipe.samples.count;
    let todo = missing_sample_shards(workspace, members)?;
    remove_beyond(workspace, FOLDER)?;
    if todo.is_empty() {
        return Ok(());
    }
    let ensemble = Ensemble::open(workspace, members)?;
    let steps = ensemble.sampler.len() as u64;
    let progress = workspace.reporter().begin("sampling", todo.len() as u64 * steps, 0);
    for (index, (shard, ids, key)) in todo.iter().enumerate() {
        let mut spent = Spent::default();
        let objects = spent.time("sampling", ids.len(), || {
            let show = |done: usize| progress.set(index as u64 * steps + done as u64, "");
            shard_objects(workspace, &ensemble, *shard, ids, show)
        })?;
        workspace.run.put_many(objects, *key)?;
        spent.record(workspace)?;
    }
    progress.finish(&format!("{count} samples"));
    Ok(())
}

/// The objects of a shard: it says that its samples are there, so it comes with their pictures in one replacement of the
/// manifest.
fn shard_objects(
    workspace: &Workspace,
    ensemble: &Ensemble,
    shard: usize,
    ids: &[u32],
    show: impl Fn(usize),
) -> Result<Vec<(String, Vec<u8>)>> {
    let mixture = &ensemble.mixture;
    let weights = full_weights(mixture.members());
    let trajectories: Vec<Trajectory> =
        ids.iter().map(|&sample| Trajectory { sample, weights: weights.clone() }).collect();
    let images: Vec<f32> = mixture.sample(&ensemble.sampler, ensemble.seed, &trajectories, |done| {
        show(done);
        workspace.options.stop.check()
    })?;
    let [height, width, channels] = mixture.image_shape();
    for (&sample, image) in ids.iter().zip(images.chunks_exact(mixture.image_length())) {
        if image.iter().any(|value| !value.is_finite()) {
            return Err(RunError::NotFinite { sample }.into());
        }
    }
    let mut objects = Vec::new();
    for (&id, image) in ids.iter().zip(images.chunks_exact(mixture.image_length())) {
        let png = crate::pictures::png(&clamped(image), height, width, channels)?;
        objects.push((picture_name(id), png));
    }
    let mut arrays = ArrayWriter::default();
    arrays.put_u32("sample", &[ids.len()], ids);
    arrays.put_f32("image", &[ids.len(), height, width, channels], &images);
    let name = shard_name(FOLDER, shard);
    let bytes = arrays.to_bytes(&name, None)?;
    objects.push((name, bytes));
    Ok(objects)
}
