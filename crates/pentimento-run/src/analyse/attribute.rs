//! The stage that makes everything asked about the samples, and reads it again.

use super::analysis::SampleAnalysis;
use super::attribution_shard;
use super::counterfactuals::analyse_samples;
use super::ensemble::Ensemble;
use super::shards::{
    FingerprintOf, SAMPLES_PER_SHARD, remove_beyond, shard_count, shard_name, shard_samples, shards_of_others,
};
use crate::data::CodedData;
use crate::drive::drive;
use crate::error::{MadeBy, Result, RunError};
use crate::event::Progress;
use crate::networks::Networks;
use crate::piece::{Making, Object, Piece, Stage};
use crate::recipe::AttributionRecipe;
use crate::words::counted;
use crate::workspace::Workspace;
use once_cell::sync::OnceCell;
use pentimento_store::{Fingerprint, Run};
use std::collections::BTreeSet;

/// Where the shards are.
const FOLDER: &str = "attribution";

fn fingerprint(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
    samples: &[u32],
) -> Result<Fingerprint> {
    // How long the list on the page is changes nothing that is computed.
    let asked = AttributionRecipe { top: 0, ..workspace.recipe.attribution };
    let mut fingerprint = Fingerprint::of("attribution")
        .fingerprint(networks.fingerprint)
        .fingerprint(data.fingerprint)
        .json(&asked)?
        .json(&samples)?;
    let prompts = workspace.recipe.samples.prompts_of(samples);
    // Most networks are told no texts.
    if !prompts.is_empty() {
        fingerprint = fingerprint.json(&prompts)?;
    }
    Ok(fingerprint.finish())
}

/// The stage: a piece is a shard of samples with everything that is asked about them.
pub struct Attribution<'a> {
    workspace: &'a Workspace,
    data: &'a CodedData,
    networks: &'a Networks<'a>,
    ensemble: OnceCell<Ensemble>,
}

impl<'a> Attribution<'a> {
    /// What a recipe asks about its samples.
    pub fn new(workspace: &'a Workspace, data: &'a CodedData, networks: &'a Networks<'a>) -> Self {
        Self { workspace, data, networks, ensemble: OnceCell::new() }
    }

    fn ensemble(&self) -> Result<&Ensemble> {
        self.ensemble.get_or_try_init(|| Ensemble::open(self.workspace, self.networks))
    }
}

/// How many shards of counterfactuals in a run other networks made, or another recipe; all, if its networks are not there.
///
/// # Errors
///
/// If a setting has no JSON form.
pub fn attribution_of_others(
    workspace: &Workspace,
    data: &CodedData,
    networks: Option<&Networks<'_>>,
) -> Result<usize> {
    let of = networks.map(|networks| move |samples: &[u32]| fingerprint(workspace, data, networks, samples));
    let of = of.as_ref().map(|of| of as FingerprintOf<'_>);
    shards_of_others(workspace, FOLDER, of)
}

/// Makes every shard that is not there.
///
/// # Errors
///
/// [`RunError::Stopped`] once it is asked to stop; finished shards are kept. [`RunError::Missing`] if the members are not
/// trained.
pub fn attribute(workspace: &Workspace, data: &CodedData, networks: &Networks<'_>) -> Result<()> {
    let stage = Attribution::new(workspace, data, networks);
    // Nothing is removed before it is known that the rest can be made.
    stage.pieces()?;
    remove_beyond(workspace, FOLDER)?;
    drive(workspace, &stage)
}

impl Stage for Attribution<'_> {
    fn name(&self) -> &str {
        "attribute"
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let count = self.workspace.recipe.samples.count;
        let piece = |shard| {
            Ok(Piece {
                stage: self.name().into(),
                number: shard,
                objects: vec![shard_name(FOLDER, shard)],
                made_from: fingerprint(
                    self.workspace,
                    self.data,
                    self.networks,
                    &shard_samples(shard, count),
                )?,
            })
        };
        (0..shard_count(count)).map(piece).collect()
    }

    fn begin(&self, _run: &Run, all: usize, missing: &[Piece]) -> Result<Progress> {
        self.ensemble()?;
        Ok(self.workspace.reporter().begin("attribution", all as u64, (all - missing.len()) as u64))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let count = self.workspace.recipe.samples.count;
        let ids = shard_samples(piece.number, count);
        making.tell_place(&format!("shards of {SAMPLES_PER_SHARD} samples"));
        let analyses = analyse_samples(self.workspace, self.data, self.ensemble()?, &ids, &mut making.spent)?;
        let name = shard_name(FOLDER, piece.number);
        let bytes = attribution_shard::to_bytes(&analyses, &name)?;
        Ok(vec![(name, bytes)])
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        Some(counted(self.workspace.recipe.samples.count, "sample"))
    }
}

/// Reads every shard of a run.
///
/// # Errors
///
/// [`RunError::Missing`] if one is missing or was made from another recipe.
pub fn read_analysis(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
) -> Result<(Vec<SampleAnalysis>, Fingerprint)> {
    let mut all = Vec::new();
    let mut combined = Fingerprint::of("analysis");
    for shard in 0..shard_count(workspace.recipe.samples.count) {
        let (samples, key) = read_shard(workspace, data, networks, shard)?;
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
pub fn read_samples(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
    asked: &[u32],
) -> Result<Vec<SampleAnalysis>> {
    let shards: BTreeSet<usize> = asked.iter().map(|&sample| sample as usize / SAMPLES_PER_SHARD).collect();
    let mut read = Vec::new();
    for shard in shards {
        let (samples, _) = read_shard(workspace, data, networks, shard)?;
        read.extend(samples.into_iter().filter(|sample| asked.contains(&sample.sample)));
    }
    asked
        .iter()
        .map(|&asked| {
            let found = read.iter().find(|sample| sample.sample == asked).cloned();
            found.ok_or_else(|| {
                let object = shard_name(FOLDER, asked as usize / SAMPLES_PER_SHARD);
                RunError::Inconsistent { object, problem: format!("it has no sample {asked}") }
            })
        })
        .collect()
}

fn read_shard(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
    shard: usize,
) -> Result<(Vec<SampleAnalysis>, Fingerprint)> {
    let ids = shard_samples(shard, workspace.recipe.samples.count);
    let key = fingerprint(workspace, data, networks, &ids)?;
    let name = shard_name(FOLDER, shard);
    if !workspace.run.is_current(&name, key) {
        return Err(workspace.missing(name, MadeBy::Attribution));
    }
    let sizes = attribution_shard::Sizes {
        image_length: data.input_shape().iter().product(),
        members: data.codes.members() as usize,
    };
    Ok((attribution_shard::from_bytes(&workspace.run.get(&name)?, &name, &ids, sizes)?, key))
}

/// The fingerprint that [`read_analysis`] would return, without reading.
///
/// # Errors
///
/// As [`read_analysis`].
pub fn analysis_fingerprint(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
) -> Result<Fingerprint> {
    let count = workspace.recipe.samples.count;
    let mut combined = Fingerprint::of("analysis");
    for shard in 0..shard_count(count) {
        let ids = shard_samples(shard, count);
        combined = combined.fingerprint(fingerprint(workspace, data, networks, &ids)?);
    }
    Ok(combined.finish())
}
