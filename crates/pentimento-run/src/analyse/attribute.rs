//! The stage that makes everything asked about the samples, and reads it again.

use super::analysis::SampleAnalysis;
use super::attribution_shard;
use super::counterfactuals::analyse_samples;
use super::ensemble::{Ensemble, ensemble_fingerprint};
use super::shards::{SAMPLES_PER_SHARD, remove_beyond, shard_count, shard_name, shard_samples};
use crate::costs::Spent;
use crate::data::CodedData;
use crate::error::{MadeBy, Result, RunError};
use crate::recipe::AttributionRecipe;
use crate::workspace::Workspace;
use pentimento_store::Fingerprint;
use std::collections::BTreeSet;

/// Where the shards are.
const FOLDER: &str = "attribution";

fn fingerprint(
    workspace: &Workspace,
    ensemble: Fingerprint,
    data: &CodedData,
    samples: &[u32],
) -> Result<Fingerprint> {
    // How long the list on the page is changes nothing that is computed.
    let asked = AttributionRecipe { top: 0, ..workspace.recipe.attribution };
    Ok(Fingerprint::of("attribution")
        .fingerprint(ensemble)
        .fingerprint(data.fingerprint)
        .json(&asked)?
        .json(&samples)?
        .finish())
}

/// A shard to be made: its name, its samples, and what it is made from.
pub type ShardToMake = (String, Vec<u32>, Fingerprint);

/// The shards that are not there.
///
/// # Errors
///
/// [`RunError::NotYet`] if the members are not trained.
pub fn missing_attribution_shards(workspace: &Workspace, data: &CodedData) -> Result<Vec<ShardToMake>> {
    let ensemble = ensemble_fingerprint(workspace, data)?;
    let count = workspace.recipe.samples.count;
    let mut todo = Vec::new();
    for shard in 0..shard_count(count) {
        let ids = shard_samples(shard, count);
        let key = fingerprint(workspace, ensemble, data, &ids)?;
        let name = shard_name(FOLDER, shard);
        if !workspace.run.is_current(&name, key) {
            todo.push((name, ids, key));
        }
    }
    Ok(todo)
}

/// Makes every shard that is not there.
///
/// # Errors
///
/// [`RunError::Stopped`] on Ctrl-C; finished shards are kept.
pub fn attribute(workspace: &Workspace, data: &CodedData) -> Result<()> {
    let count = workspace.recipe.samples.count;
    let todo = missing_attribution_shards(workspace, data)?;
    remove_beyond(workspace, FOLDER)?;
    if todo.is_empty() {
        return Ok(());
    }
    let ensemble = Ensemble::open(workspace, data)?;
    let before = shard_count(count) - todo.len();
    let progress = workspace.reporter().begin("attribution", shard_count(count) as u64, before as u64);
    for (index, (name, ids, key)) in todo.into_iter().enumerate() {
        progress.set((before + index) as u64, &format!("shards of {SAMPLES_PER_SHARD} samples"));
        let mut spent = Spent::default();
        let analyses = analyse_samples(workspace, data, &ensemble, &ids, &mut spent)?;
        workspace.run.put(&name, key, &attribution_shard::to_bytes(&analyses, &name)?)?;
        spent.record(workspace)?;
    }
    progress.finish(&format!("{count} samples"));
    Ok(())
}

/// Reads every shard of a run.
///
/// # Errors
///
/// [`RunError::NotYet`] if one is missing or was made from another recipe.
pub fn read_analysis(workspace: &Workspace, data: &CodedData) -> Result<(Vec<SampleAnalysis>, Fingerprint)> {
    let ensemble = ensemble_fingerprint(workspace, data)?;
    let mut all = Vec::new();
    let mut combined = Fingerprint::of("analysis");
    for shard in 0..shard_count(workspace.recipe.samples.count) {
        let (samples, key) = read_shard(workspace, data, ensemble, shard)?;
        combined = combined.fingerprint(key);
        all.extend(samples);
    }
    Ok((all, combined.finish()))
}

/// Reads what is stored of some samples, in the order asked for, from their shards alone.
///
/// # Errors
///
/// As [`read_analysis`].
pub fn read_samples(workspace: &Workspace, data: &CodedData, asked: &[u32]) -> Result<Vec<SampleAnalysis>> {
    let ensemble = ensemble_fingerprint(workspace, data)?;
    let shards: BTreeSet<usize> = asked.iter().map(|&sample| sample as usize / SAMPLES_PER_SHARD).collect();
    let mut read = Vec::new();
    for shard in shards {
        let (samples, _) = read_shard(workspace, data, ensemble, shard)?;
        read.extend(samples.into_iter().filter(|sample| asked.contains(&sample.sample)));
    }
    asked
        .iter()
        .map(|&asked| {
            let found = read.iter().find(|sample| sample.sample == asked).cloned();
            found.ok_or_else(|| {
                let object = shard_name(FOLDER, asked as usize / SAMPLES_PER_SHARD);
                RunError::Inconsistent { object, problem: format!("it has no sample {asked}") }.into()
            })
        })
        .collect()
}

fn read_shard(
    workspace: &Workspace,
    data: &CodedData,
    ensemble: Fingerprint,
    shard: usize,
) -> Result<(Vec<SampleAnalysis>, Fingerprint)> {
    let ids = shard_samples(shard, workspace.recipe.samples.count);
    let key = fingerprint(workspace, ensemble, data, &ids)?;
    let name = shard_name(FOLDER, shard);
    if !workspace.run.is_current(&name, key) {
        return Err(workspace.missing(name, MadeBy::Attribution));
    }
    let sizes = attribution_shard::Sizes {
        image_length: data.images.image_len(),
        members: data.codes.members() as usize,
    };
    Ok((attribution_shard::from_bytes(&workspace.run.get(&name)?, &name, &ids, sizes)?, key))
}

/// The fingerprint that [`read_analysis`] would return, without reading.
///
/// # Errors
///
/// As [`read_analysis`].
pub fn analysis_fingerprint(workspace: &Workspace, data: &CodedData) -> Result<Fingerprint> {
    let ensemble = ensemble_fingerprint(workspace, data)?;
    let count = workspace.recipe.samples.count;
    let mut combined = Fingerprint::of("analysis");
    for shard in 0..shard_count(count) {
        let ids = shard_samples(shard, count);
        combined = combined.fingerprint(fingerprint(workspace, ensemble, data, &ids)?);
    }
    Ok(combined.finish())
}
