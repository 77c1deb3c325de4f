//! The objects of members: their names, what they are made from, and opening them.

use super::in_training::NetworkObjects;
use super::network::steps_of_states;
use crate::base::BaseNetwork;
use crate::data::CodedData;
use crate::error::{MadeBy, Result, RunError};
use crate::event::Event;
use crate::networks::Weights;
use crate::npy::read_npy;
use crate::piece::Piece;
use crate::recipe::Recipe;
use crate::workspace::Workspace;
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::checkpoint::{SCHEDULER_FILES, scheduler_files};
use pentimento_diffusion::training::StateSummary;
use pentimento_store::{Digest, Fingerprint, Run};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The stage, as in `train/3`.
pub(super) const STAGE: &str = "train";

/// Folder of a member in the run.
pub fn member_folder(member: u32) -> String {
    format!("members/{member:03}")
}

/// What a member follows from, but for the version of the numerics: a finished member is a member, whichever version of
/// the program trained it.
///
/// # Errors
///
/// If a setting has no JSON form.
pub fn member_fingerprint(workspace: &Workspace, data: &CodedData, member: u32) -> Result<Fingerprint> {
    let recipe = &workspace.recipe;
    let mut fingerprint = Fingerprint::of("member")
        .fingerprint(data.fingerprint)
        .text(&data.network.to_json())
        .json(&recipe.schedule)?
        .json(&data.trained.training)?
        .json(&recipe.seed)?
        .json(&member)?;
    if let Some(base) = &data.base {
        fingerprint = fingerprint.json(&base.made_from(&data.images))?;
    }
    Ok(fingerprint.finish())
}

/// The names of a member's objects.
pub(super) fn objects_of(data: &CodedData, member: u32) -> NetworkObjects {
    let folder = member_folder(member);
    let is_adapter = data.base.as_ref().is_some_and(BaseNetwork::is_adapted);
    if is_adapter { NetworkObjects::of_adapter(folder) } else { NetworkObjects::new(folder) }
}

/// Name of the weights of a network that is a member as a whole.
pub fn weights_name(member: u32) -> String {
    NetworkObjects::new(member_folder(member)).weights()
}

/// Name of the weights of a member after some steps, which are kept beside it if the recipe says so.
pub fn checkpoint_name(member: u32, steps: usize) -> String {
    format!("{}/checkpoints/{steps:06}.safetensors", member_folder(member))
}

/// The weights that are kept beside a member: the steps after which they are taken, and their names. The end of the training
/// is the member itself.
pub(super) fn checkpoints_of(data: &CodedData, member: u32) -> Vec<(usize, String)> {
    let mut steps = data.trained.training.checkpoint_steps();
    steps.pop();
    steps.into_iter().map(|steps| (steps, checkpoint_name(member, steps))).collect()
}

/// What a finished member says of its training beside the recipe.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TrainingRecord {
    /// The version of the numerics that trained it.
    pub numerics_version: u32,
}

/// Tells which finished networks another version of the numerics trained. They are kept: training them again takes hours,
/// and they are no worse for their last digits.
pub(crate) fn tell_who_trained(workspace: &Workspace, networks: impl IntoIterator<Item = NetworkObjects>) {
    let mut by_version: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for network in networks {
        let record = workspace.run.get(&network.record()).ok();
        let record = record.and_then(|bytes| serde_json::from_slice::<TrainingRecord>(&bytes).ok());
        let version = record.unwrap_or_default().numerics_version;
        if version != NUMERICS_VERSION {
            by_version.entry(version).or_default().push(network.folder);
        }
    }
    for (version, folders) in by_version {
        workspace.reporter().tell(Event::TrainedByOthers {
            version,
            own: NUMERICS_VERSION,
            members: &folders,
            run: workspace.run.root(),
        });
    }
}

/// The state of an unfinished training, if there is one to go on from: not without the weights that it should have left on
/// its way, which only a new training comes past again.
pub(super) fn state_kept(
    data: &CodedData,
    run: &Run,
    member: u32,
    fingerprint: Fingerprint,
) -> Result<Option<Vec<u8>>> {
    let name = objects_of(data, member).state();
    if !run.is_current(&name, fingerprint) {
        return Ok(None);
    }
    let bytes = run.get(&name)?;
    let done = StateSummary::read(&bytes, &name)?.steps;
    let is_there = |(steps, name): (usize, String)| steps > done || run.is_current(&name, fingerprint);
    Ok(checkpoints_of(data, member).into_iter().all(is_there).then_some(bytes))
}

/// The piece of a member. How it samples is not part of it: the files that say so are written again when the recipe says
/// something else.
///
/// # Errors
///
/// As [`member_fingerprint`].
pub(super) fn piece_of(workspace: &Workspace, data: &CodedData, member: u32) -> Result<Piece> {
    let mut objects = objects_of(data, member).known_by();
    objects.extend(checkpoints_of(data, member).into_iter().map(|(_, name)| name));
    Ok(Piece {
        stage: STAGE.into(),
        number: member as usize,
        objects,
        made_from: member_fingerprint(workspace, data, member)?,
    })
}

/// Steps that interrupted trainings of these members have already done.
///
/// # Errors
///
/// As [`steps_of_states`].
pub fn steps_kept(run: &Run, data: &CodedData, missing: &[Piece]) -> Result<u64> {
    let mut states = Vec::new();
    for piece in missing {
        let member = piece.number as u32;
        let kept = state_kept(data, run, member, piece.made_from)?;
        states.extend(kept.map(|bytes| (objects_of(data, member).state(), bytes)));
    }
    steps_of_states(run, states)
}

/// Writes the files in the folder of a network that tell diffusers how it samples, if they are not there. An adapter is no pipeline, and
/// a network of a pipeline with encoders is not all of it, so these have no list of parts.
pub(super) fn save_scheduler_in(recipe: &Recipe, run: &Run, objects: &NetworkObjects) -> Result<()> {
    let folder = &objects.folder;
    let mut files = scheduler_files(&recipe.schedule, &recipe.sampling).to_vec();
    let is_pipeline = !objects.is_adapter() && recipe.encoders().is_none();
    files.retain(|(file, _)| is_pipeline || *file != SCHEDULER_FILES[0]);
    let mut key = Fingerprint::of("scheduler files");
    for (_, bytes) in &files {
        key = key.bytes(bytes);
    }
    let key = key.finish();
    let name = |file: &str| format!("{folder}/{file}");
    if !files.iter().all(|(file, _)| run.is_current(&name(file), key)) {
        run.put_many(files.into_iter().map(|(file, bytes)| (name(file), bytes)), key)?;
    }
    Ok(())
}

/// The loss curve of a trained member.
///
/// # Errors
///
/// If it is not there.
pub fn losses(workspace: &Workspace, member: u32) -> Result<Vec<f32>> {
    let name = NetworkObjects::new(member_folder(member)).losses();
    read_npy(&workspace.run.get(&name)?, &name)
}

/// The weights of every trained member.
///
/// # Errors
///
/// [`RunError::Missing`] if one is missing or was trained from another recipe.
pub fn trained_members(workspace: &Workspace, data: &CodedData) -> Result<Vec<Weights>> {
    let mut members = Vec::new();
    for member in 0..data.codes.members() {
        let fingerprint = member_fingerprint(workspace, data, member)?;
        let name = objects_of(data, member).weights();
        let entry = workspace.run.entry(&name).filter(|_| workspace.run.is_current(&name, fingerprint));
        let Some(entry) = entry else {
            return Err(not_trained(workspace, &format!("member {member}")));
        };
        members.push(Weights { object: name, digest: digest_of(data, entry.blake3)? });
    }
    Ok(members)
}

/// The weights of a trained member at every moment that was kept, the last of which is the member, each with the number of
/// steps behind it.
///
/// # Errors
///
/// As [`trained_members`].
pub fn kept_weights(workspace: &Workspace, data: &CodedData, member: u32) -> Result<Vec<(usize, Weights)>> {
    let fingerprint = member_fingerprint(workspace, data, member)?;
    let end = (data.trained.training.steps, objects_of(data, member).weights());
    let of = |(steps, name): (usize, String)| {
        let entry = workspace.run.entry(&name).filter(|_| workspace.run.is_current(&name, fingerprint));
        match entry {
            Some(entry) => Ok((steps, Weights { object: name, digest: digest_of(data, entry.blake3)? })),
            None => Err(not_trained(workspace, &format!("{name} of member {member}"))),
        }
    };
    checkpoints_of(data, member).into_iter().chain([end]).map(of).collect()
}

/// Identifies the values of a member whose weights have this digest: of an adapter they are only a part of it.
fn digest_of(data: &CodedData, weights: Digest) -> Result<Digest> {
    data.base.as_ref().map_or(Ok(weights), |base| base.digest_of(weights))
}

fn not_trained(workspace: &Workspace, what: &str) -> RunError {
    workspace.missing(what.into(), MadeBy::Training)
}
