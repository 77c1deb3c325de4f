//! The stage that makes everything asked about the samples, and reads it again.

use super::analysis::SampleAnalysis;
use super::attribution_shard;
use super::counterfactuals::analyse_samples;
use super::ensemble::{Ensemble, ensemble_fingerprint};
use super::shards::{SAMPLES_PER_SHARD, remove_beyond, shard_count, shard_name, shard_samples};
use crate::error::ProgramError;
use crate::progress::Progress;
use crate::recipe::AttributionRecipe;
use crate::stages::costs::Spent;
use crate::stages::data::CodedData;
use crate::stages::workspace::Workspace;
use anyhow::Result;
use pentimento_store::Fingerprint;

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

/// Makes every shard that is not there.
///
/// # Errors
///
/// [`ProgramError::Stopped`] on Ctrl-C; finished shards are kept.
pub fn attribute(workspace: &Workspace, data: &CodedData) -> Result<()> {
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
    remove_beyond(workspace, FOLDER)?;
    if todo.is_empty() {
        return Ok(());
    }
    let ensemble = Ensemble::open(workspace, data)?;
    let before = shard_count(count) - todo.len();
    let progress = Progress::new("attribution", shard_count(count) as u64, before as u64);
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
/// [`ProgramError::NotYet`] if one is missing or was made from another recipe.
pub fn read_analysis(workspace: &Workspace, data: &CodedData) -> Result<(Vec<SampleAnalysis>, Fingerprint)> {
    let ensemble = ensemble_fingerprint(workspace, data)?;
    let sizes = attribution_shard::Sizes {
        image_length: data.images.image_len(),
        members: data.codes.members() as usize,
    };
    let count = workspace.recipe.samples.count;
    let mut all = Vec::new();
    let mut combined = Fingerprint::of("analysis");
    for shard in 0..shard_count(count) {
        let ids = shard_samples(shard, count);
        let key = fingerprint(workspace, ensemble, data, &ids)?;
        let name = shard_name(FOLDER, shard);
        if !workspace.run.is_current(&name, key) {
            return Err(ProgramError::NotYet {
                what: name,
                command: format!("pentimento attribute {}", workspace.run.root().display()),
            }
            .into());
        }
        combined = combined.fingerprint(key);
        all.extend(attribution_shard::from_bytes(&workspace.run.get(&name)?, &name, &ids, sizes)?);
    }
    Ok((all, combined.finish()))
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
