//! Training the members, resumable at any moment.

use super::costs::Costs;
use super::data::CodedData;
use super::workspace::Workspace;
use crate::error::ProgramError;
use crate::progress::{Progress, human_duration, say};
use anyhow::{Context, Result};
use npyz::WriterBuilder;
use pentimento_diffusion::checkpoint::{
    NETWORK_FILES, SCHEDULER_FILES, TensorFile, network_files, read_weights, scheduler_files,
};
use pentimento_diffusion::side_by_side::side_by_side;
use pentimento_diffusion::training::{StateSummary, Trainer, TrainingImages};
use pentimento_diffusion::unet::{Architecture, Parameters};
use pentimento_diffusion::{DiffusionError, NUMERICS_VERSION};
use pentimento_store::{Digest, Fingerprint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::BufReader;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Steps that each way of using the cores is tried for before one is chosen.
pub(crate) const TRIAL_STEPS: usize = 3;

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
pub fn member_fingerprint(
    workspace: &Workspace,
    data: &CodedData,
    architecture: &Architecture,
    member: u32,
) -> Result<Fingerprint> {
    let recipe = &workspace.recipe;
    Ok(Fingerprint::of("member")
        .fingerprint(data.fingerprint)
        .text(&architecture.config().to_json())
        .json(&recipe.schedule)?
        .json(&recipe.training)?
        .json(&recipe.seed)?
        .json(&member)?
        .finish())
}

/// The network of a run.
///
/// # Errors
///
/// If the recipe's model does not fit the images.
pub fn architecture(workspace: &Workspace, data: &CodedData) -> Result<Architecture> {
    let images = &data.images;
    let config = workspace.recipe.unet(images.height(), images.width(), images.channels())?;
    Ok(Architecture::new(&config)?)
}

struct Job<'a> {
    workspace: &'a Workspace,
    data: &'a CodedData,
    architecture: &'a Architecture,
    progress: &'a Progress,
    /// Optimiser steps over all members, for the progress bar.
    steps_done: &'a AtomicU64,
    images_seen: &'a AtomicU64,
    started: Instant,
    steps_before: u64,
    steps_total: u64,
}

/// Trains every member that is not there yet, or only `member`.
///
/// # Errors
///
/// [`ProgramError::Stopped`] on Ctrl-C, after the state of every member in training was written.
pub fn train(workspace: &Workspace, data: &CodedData, member: Option<u32>) -> Result<()> {
    let members = data.codes.members();
    if let Some(member) = member.filter(|&member| member >= members) {
        let bound = format!("members are 0 to {}", members - 1);
        return Err(ProgramError::NoSuch { what: "member".into(), value: member.to_string(), bound }.into());
    }
    let architecture = architecture(workspace, data)?;
    let (mut todo, mut kept) = (Vec::new(), Vec::new());
    for index in member.map_or(0..members, |member| member..member + 1) {
        let fingerprint = member_fingerprint(workspace, data, &architecture, index)?;
        if is_trained(workspace, index, fingerprint) {
            // A kill between the last two operations of a training leaves its state.
            workspace.run.remove(&state_name(index))?;
            save_scheduler(workspace, index)?;
            kept.push(index);
        } else {
            todo.push((index, fingerprint));
        }
    }
    say_who_trained(workspace, &kept);
    if todo.is_empty() {
        return Ok(());
    }
    let steps = workspace.recipe.training.steps as u64;
    let before = steps_kept(workspace, &todo)?;
    let total = steps * todo.len() as u64;
    say(&format!(
        "training {} of {members} members, {} parameters each",
        todo.len(),
        architecture.parameter_count()
    ));
    let lanes = choose_lanes(workspace, data, &architecture, &todo)?;
    let progress = Progress::new("training", total, before);
    let (steps_done, images_seen) = (AtomicU64::new(before), AtomicU64::new(0));
    let job = Job {
        workspace,
        data,
        architecture: &architecture,
        progress: &progress,
        steps_done: &steps_done,
        images_seen: &images_seen,
        started: Instant::now(),
        steps_before: before,
        steps_total: total,
    };
    let trained = if lanes == 1 {
        todo.iter().try_for_each(|&(index, fingerprint)| train_member(&job, index, fingerprint))
    } else {
        train_side_by_side(&job, &todo)
    };
    let done = todo.iter().filter(|(index, key)| is_trained(workspace, *index, *key)).count();
    Costs::record(workspace, &[("training", job.started.elapsed().as_secs_f64(), done)])?;
    trained?;
    progress.finish(&format!("{} members trained", todo.len()));
    Ok(())
}

/// Several members at once, one thread each. One that fails does not keep the others from being finished.
fn train_side_by_side(job: &Job<'_>, todo: &[(u32, Fingerprint)]) -> Result<()> {
    let results: Vec<Result<()>> = side_by_side(todo.len(), |place| {
        let (index, fingerprint) = todo[place];
        // After a stop none begins.
        let begin = job.workspace.stop.check().map_err(anyhow::Error::from);
        Ok::<_, Infallible>(begin.and_then(|()| train_member(job, index, fingerprint)))
    })
    .unwrap_or_else(|never| match never {});
    // A real failure says more than that the others stopped.
    let (stopped, failed): (Vec<_>, Vec<_>) = results
        .into_iter()
        .filter_map(Result::err)
        .partition(|error| matches!(error.downcast_ref(), Some(ProgramError::Stopped)));
    failed.into_iter().chain(stopped).next().map_or(Ok(()), Err)
}

pub(crate) fn weights_name(member: u32) -> String {
    format!("{}/unet/diffusion_pytorch_model.safetensors", member_folder(member))
}

/// Name of the weights of a member after some steps, which are kept beside it if the recipe says so.
pub(crate) fn checkpoint_name(member: u32, steps: usize) -> String {
    format!("{}/checkpoints/{steps:06}.safetensors", member_folder(member))
}

/// The weights that are kept beside a member: the steps after which they are taken, and their names. The end of the training
/// is the member itself.
fn checkpoints_of(workspace: &Workspace, member: u32) -> Vec<(usize, String)> {
    let mut steps = workspace.recipe.training.checkpoint_steps();
    steps.pop();
    steps.into_iter().map(|steps| (steps, checkpoint_name(member, steps))).collect()
}

fn losses_name(member: u32) -> String {
    format!("{}/losses.npy", member_folder(member))
}

fn record_name(member: u32) -> String {
    format!("{}/training.json", member_folder(member))
}

/// What a finished member says of its training beside the recipe.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct TrainingRecord {
    /// The version of the numerics that trained it.
    numerics_version: u32,
}

/// Says which finished members another version of the numerics trained. They are kept: training them again takes hours,
/// and they are no worse for their last digits.
fn say_who_trained(workspace: &Workspace, members: &[u32]) {
    let mut by_version: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for &member in members {
        let record = workspace.run.get(&record_name(member)).ok();
        let record = record.and_then(|bytes| serde_json::from_slice::<TrainingRecord>(&bytes).ok());
        let version = record.unwrap_or_default().numerics_version;
        if version != NUMERICS_VERSION {
            by_version.entry(version).or_default().push(member_folder(member));
        }
    }
    for (version, folders) in by_version {
        say(&format!(
            "note: trained by {}, kept as they are: {}. This program computes with version {NUMERICS_VERSION}; to train a \
             member again, delete its folder in {}",
            match version {
                0 => "a program that did not record its numerics version".into(),
                version => format!("numerics version {version}"),
            },
            folders.join(", "),
            workspace.run.root().display()
        ));
    }
}

fn state_name(member: u32) -> String {
    format!("{}/training_state.safetensors", member_folder(member))
}

/// The state of an unfinished training, if there is one to go on from: not without the weights that it should have left on
/// its way, which only a new training comes past again.
fn state_kept(workspace: &Workspace, member: u32, fingerprint: Fingerprint) -> Result<Option<Vec<u8>>> {
    let name = state_name(member);
    if !workspace.run.is_current(&name, fingerprint) {
        return Ok(None);
    }
    let bytes = workspace.run.get(&name)?;
    let done = StateSummary::read(&bytes, &name)?.steps;
    let is_there =
        |(steps, name): (usize, String)| steps > done || workspace.run.is_current(&name, fingerprint);
    Ok(checkpoints_of(workspace, member).into_iter().all(is_there).then_some(bytes))
}

/// Whether a member is finished. How it samples is not part of it: the files that say so are written again when the recipe
/// says something else.
fn is_trained(workspace: &Workspace, member: u32, fingerprint: Fingerprint) -> bool {
    let folder = member_folder(member);
    NETWORK_FILES
        .iter()
        .map(|file| format!("{folder}/{file}"))
        .chain([losses_name(member)])
        .chain(checkpoints_of(workspace, member).into_iter().map(|(_, name)| name))
        .all(|name| workspace.run.is_current(&name, fingerprint))
}

/// Optimiser steps that every unfinished member still has to make.
///
/// # Errors
///
/// [`ProgramError::UnfinishedByOtherNumerics`] if another version of the program began one.
pub(crate) fn steps_left(
    workspace: &Workspace,
    data: &CodedData,
    architecture: &Architecture,
) -> Result<Vec<u64>> {
    let mut left = Vec::new();
    for member in 0..data.codes.members() {
        let fingerprint = member_fingerprint(workspace, data, architecture, member)?;
        if !is_trained(workspace, member, fingerprint) {
            let steps = workspace.recipe.training.steps as u64;
            left.push(steps.saturating_sub(steps_kept(workspace, &[(member, fingerprint)])?));
        }
    }
    Ok(left)
}

/// Steps that interrupted trainings of these members have already done.
///
/// Refuses trainings that another version of the numerics began, before any member trains on: a member has the bytes of
/// one version or of another, and not of a mixture that nobody could make again.
fn steps_kept(workspace: &Workspace, todo: &[(u32, Fingerprint)]) -> Result<u64> {
    let (mut steps, mut others) = (0, Vec::new());
    for &(member, fingerprint) in todo {
        let name = state_name(member);
        let Some(bytes) = state_kept(workspace, member, fingerprint)? else { continue };
        let state = StateSummary::read(&bytes, &name)?;
        steps += state.steps as u64;
        if state.numerics_version != NUMERICS_VERSION {
            others.push((workspace.run.root().join(name), state.numerics_version));
        }
    }
    if others.is_empty() {
        return Ok(steps);
    }
    Err(ProgramError::UnfinishedByOtherNumerics { states: others, own: NUMERICS_VERSION }.into())
}

fn trainer(workspace: &Workspace, architecture: &Architecture, member: u32) -> Result<Trainer> {
    let recipe = &workspace.recipe;
    Ok(Trainer::new(architecture.clone(), &recipe.schedule, recipe.training, recipe.seed, member)?)
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

/// Tries both ways of using the cores for a few steps and takes the faster: one member after another with all threads,
/// or one member per thread. Both give the same bytes.
fn choose_lanes(
    workspace: &Workspace,
    data: &CodedData,
    architecture: &Architecture,
    todo: &[(u32, Fingerprint)],
) -> Result<usize> {
    let threads = rayon::current_num_threads();
    let lanes = threads.min(todo.len());
    // Fewer members left than threads: side by side would leave cores idle.
    if lanes < 2 || lanes < threads {
        return Ok(1);
    }
    let member = todo[0].0;
    let trial = || -> Result<f64> {
        let mut trainer = trainer(workspace, architecture, member)?;
        with_images(data, member, |images| {
            // The first step also pays for memory that later ones reuse.
            trainer.train_step(images)?;
            let started = Instant::now();
            for _ in 0..TRIAL_STEPS {
                workspace.stop.check()?;
                trainer.train_step(images)?;
            }
            Ok(started.elapsed().as_secs_f64())
        })
    };
    let together = trial()?;
    let slowest = side_by_side(lanes, |_| trial())?.into_iter().fold(0.0, f64::max);
    // Members that do not fill a last round leave threads idle in it.
    let rounds = todo.len().div_ceil(lanes) as f64;
    let faster_apart = rounds * slowest <= todo.len() as f64 * together;
    let per_step = |seconds: f64| 1000.0 * seconds / TRIAL_STEPS as f64;
    say(&format!(
        "one member at a time: {:.0} ms per step; {lanes} side by side: {:.0} ms per step and member; taking the {}",
        per_step(together),
        per_step(slowest),
        if faster_apart { "second" } else { "first" }
    ));
    Ok(if faster_apart { lanes } else { 1 })
}

fn train_member(job: &Job<'_>, member: u32, fingerprint: Fingerprint) -> Result<()> {
    let workspace = job.workspace;
    let mut trainer = trainer(workspace, job.architecture, member)?;
    let state = state_name(member);
    if let Some(bytes) = state_kept(workspace, member, fingerprint)? {
        trainer.restore(&bytes, &state)?;
    }
    let checkpoints: BTreeMap<usize, String> = checkpoints_of(workspace, member).into_iter().collect();
    with_images(job.data, member, |images| {
        let mut written = Instant::now();
        while !trainer.is_finished() {
            let stopping = workspace.stop.is_set();
            if stopping || written.elapsed() >= workspace.options.checkpoint_every {
                workspace.run.put(&state, fingerprint, &trainer.state()?)?;
                written = Instant::now();
                if stopping {
                    return Err(ProgramError::Stopped.into());
                }
            }
            let loss = trainer.train_step(images)?;
            // Before any state that has this step behind it.
            if let Some(name) = checkpoints.get(&trainer.steps_done()) {
                save_checkpoint(job, name, fingerprint, &trainer)?;
            }
            show_progress(job, member, loss);
        }
        Ok(())
    })?;
    save_member(job, member, fingerprint, &trainer)
}

fn show_progress(job: &Job<'_>, member: u32, loss: f32) {
    let done = job.steps_done.fetch_add(1, Ordering::Relaxed) + 1;
    let batch = job.workspace.recipe.training.batch as u64;
    let images = job.images_seen.fetch_add(batch, Ordering::Relaxed) + batch;
    let seconds = job.started.elapsed().as_secs_f64().max(1e-9);
    let new = (done - job.steps_before) as f64;
    let left = Duration::from_secs_f64((job.steps_total - done) as f64 * seconds / new);
    let rate = images as f64 / seconds;
    let left = human_duration(left);
    job.progress.set(done, &format!("{rate:.0} images/s, loss {loss:.4} (member {member}), {left} left"));
}

/// Writes the files of a member that tell diffusers how the ensemble samples, if they are not there.
fn save_scheduler(workspace: &Workspace, member: u32) -> Result<()> {
    let files = scheduler_files(&workspace.recipe.schedule, &workspace.recipe.sampling);
    let mut key = Fingerprint::of("scheduler files");
    for (_, bytes) in &files {
        key = key.bytes(bytes);
    }
    let key = key.finish();
    let name = |file: &str| format!("{}/{file}", member_folder(member));
    if !SCHEDULER_FILES.iter().all(|file| workspace.run.is_current(&name(file), key)) {
        workspace.run.put_many(files.into_iter().map(|(file, bytes)| (name(file), bytes)), key)?;
    }
    Ok(())
}

/// Keeps the weights of a moment of training, which would be the member if it ended there.
fn save_checkpoint(job: &Job<'_>, name: &str, fingerprint: Fingerprint, trainer: &Trainer) -> Result<()> {
    if job.workspace.run.is_current(name, fingerprint) {
        return Ok(());
    }
    let [_, (_, bytes)] = network_files(job.architecture, trainer.member())?;
    job.workspace.run.put(name, fingerprint, &bytes)?;
    Ok(())
}

fn save_member(job: &Job<'_>, member: u32, fingerprint: Fingerprint, trainer: &Trainer) -> Result<()> {
    let folder = member_folder(member);
    // The loss of a step is that of the weights before it, so the last step's weights were not looked at yet.
    if let Some(value) = trainer.member().iter().flatten().find(|value| !value.is_finite()) {
        let (member, step, loss) = (member as usize, trainer.steps_done(), f64::from(*value));
        return Err(DiffusionError::Diverged { member, step, loss }.into());
    }
    // First, so that the folder of a finished member is one that diffusers opens.
    save_scheduler(job.workspace, member)?;
    let mut files: Vec<(String, Vec<u8>)> = network_files(job.architecture, trainer.member())?
        .into_iter()
        .map(|(name, bytes)| (format!("{folder}/{name}"), bytes))
        .collect();
    files.push((losses_name(member), npy(&[trainer.losses().len() as u64], trainer.losses())?));
    let record = TrainingRecord { numerics_version: NUMERICS_VERSION };
    files.push((record_name(member), serde_json::to_vec_pretty(&record)?));
    job.workspace.run.put_many(files, fingerprint)?;
    job.workspace.run.remove(&state_name(member))?;
    // Those of an earlier recipe that kept more.
    let kept: Vec<String> = checkpoints_of(job.workspace, member).into_iter().map(|(_, name)| name).collect();
    for name in job.workspace.run.names() {
        if name.starts_with(&format!("{folder}/checkpoints/")) && !kept.contains(&name) {
            job.workspace.run.remove(&name)?;
        }
    }
    Ok(())
}

/// The bytes of a `.npy` file of `f32`.
///
/// # Errors
///
/// If the values do not fill the shape.
pub fn npy(shape: &[u64], values: &[f32]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    Ok(bytes)
}

/// The loss curve of a trained member.
///
/// # Errors
///
/// If it is not there.
pub fn losses(workspace: &Workspace, member: u32) -> Result<Vec<f32>> {
    let bytes = workspace.run.get(&losses_name(member))?;
    Ok(npyz::NpyFile::new(&bytes[..])?.into_vec()?)
}

/// The weights of every trained member: the object's name, and the digest of its bytes.
///
/// # Errors
///
/// [`ProgramError::NotYet`] if one is missing or was trained from another recipe.
pub fn trained_members(
    workspace: &Workspace,
    data: &CodedData,
    architecture: &Architecture,
) -> Result<Vec<(String, Digest)>> {
    let mut members = Vec::new();
    for member in 0..data.codes.members() {
        let fingerprint = member_fingerprint(workspace, data, architecture, member)?;
        let name = weights_name(member);
        let entry = workspace.run.entry(&name).filter(|_| workspace.run.is_current(&name, fingerprint));
        let Some(entry) = entry else {
            return Err(not_trained(workspace, &format!("member {member}")).into());
        };
        members.push((name, entry.blake3));
    }
    Ok(members)
}

/// The weights of a trained member at every moment that was kept, the last of which is the member: the number of steps
/// behind each, the object's name, and the digest of its bytes.
///
/// # Errors
///
/// As [`trained_members`].
pub fn kept_weights(
    workspace: &Workspace,
    data: &CodedData,
    architecture: &Architecture,
    member: u32,
) -> Result<Vec<(usize, String, Digest)>> {
    let fingerprint = member_fingerprint(workspace, data, architecture, member)?;
    let end = (workspace.recipe.training.steps, weights_name(member));
    let of = |(steps, name): (usize, String)| {
        let entry = workspace.run.entry(&name).filter(|_| workspace.run.is_current(&name, fingerprint));
        match entry {
            Some(entry) => Ok((steps, name, entry.blake3)),
            None => Err(not_trained(workspace, &format!("{name} of member {member}")).into()),
        }
    };
    checkpoints_of(workspace, member).into_iter().chain([end]).map(of).collect()
}

fn not_trained(workspace: &Workspace, what: &str) -> ProgramError {
    let command = format!("pentimento train {}", workspace.run.root().display());
    ProgramError::NotYet { what: what.into(), command }
}

/// Opens the weights of a member.
///
/// # Errors
///
/// If they are damaged, or not those of this network.
pub fn open_member(workspace: &Workspace, architecture: &Architecture, name: &str) -> Result<Parameters> {
    // Tensor by tensor from the file, which may be as large as the memory that its values take.
    let path = workspace.run.path_of(name)?;
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut files = [TensorFile::open(BufReader::new(file), name).map_err(DiffusionError::from)?];
    Ok(Parameters::from_memory(architecture, read_weights(architecture, &mut files)?))
}
