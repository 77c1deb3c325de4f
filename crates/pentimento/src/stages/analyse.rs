//! Making samples and their counterfactuals: exact, and by every approximation, shard by shard.
//!
//! A shard is a fixed number of samples. What a shard holds follows from the members and the recipe alone, so shards
//! can be made in any order, on any machine, and again.

use super::arrays::Arrays;
use super::data::CodedData;
use super::train::{architecture, open_members};
use super::workspace::Workspace;
use crate::error::ProgramError;
use crate::progress::Progress;
use crate::recipe::AttributionRecipe;
use anyhow::Result;
use pentimento_attribution::ensemble::approximation::{clamped, last_step, second_order, second_order_terms};
use pentimento_attribution::ensemble::{
    BaseRun, CodeBook, Influence, Jacobian, QuadraticForm, Request, TangentMembers, control_variates,
    full_weights, gram_matrix, jacobians, linear_coefficients,
};
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::Sampler;
use pentimento_noise::{Purpose, Stream};
use pentimento_store::Fingerprint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// Samples of a shard. With 50 steps, 16 members and 28x28 pixels the base runs of a shard take 40 MB.
pub const SAMPLES_PER_SHARD: usize = 16;

/// The trained ensemble of a run, ready to sample.
pub struct Ensemble {
    /// The members.
    pub mixture: Mixture,
    /// The update rule.
    pub sampler: Sampler,
    /// Identifies the members and the update rule.
    pub fingerprint: Fingerprint,
    /// Seed of the recorded noise.
    pub seed: u64,
}

impl Ensemble {
    /// Opens the members of a run.
    ///
    /// # Errors
    ///
    /// [`ProgramError::NotYet`] if they are not trained.
    pub fn open(workspace: &Workspace, data: &CodedData) -> Result<Self> {
        let architecture = architecture(workspace, data)?;
        let (members, fingerprint) = open_members(workspace, data, &architecture)?;
        let recipe = &workspace.recipe;
        let (height, width) = (data.images.height(), data.images.width());
        let mixture = Mixture::new(architecture, members, height, width, workspace.batch())?;
        let sampler = Sampler::new(&recipe.schedule, recipe.sampling)?;
        let fingerprint = Fingerprint::of("ensemble")
            .fingerprint(fingerprint)
            .json(&recipe.schedule)?
            .json(&recipe.sampling)?
            .json(&recipe.seed)?
            .finish();
        Ok(Self { mixture, sampler, fingerprint, seed: recipe.seed })
    }
}

/// Ids of the samples of a shard.
pub fn shard_samples(shard: usize, count: usize) -> Vec<u32> {
    (shard * SAMPLES_PER_SHARD..((shard + 1) * SAMPLES_PER_SHARD).min(count)).map(|id| id as u32).collect()
}

/// Number of shards of so many samples.
pub fn shard_count(samples: usize) -> usize {
    samples.div_ceil(SAMPLES_PER_SHARD)
}

fn sample_fingerprint(ensemble: &Ensemble, samples: &[u32]) -> Result<Fingerprint> {
    Ok(Fingerprint::of("samples").fingerprint(ensemble.fingerprint).json(&samples)?.finish())
}

fn picture_name(sample: u32) -> String {
    format!("samples/{sample:06}.png")
}

fn sample_shard_name(shard: usize) -> String {
    format!("samples/shard-{shard:05}.safetensors")
}

/// Makes every sample of the recipe that is not there: a shard of values, and a PNG for each.
///
/// # Errors
///
/// [`ProgramError::Stopped`] on Ctrl-C; finished shards are kept.
pub fn sample(workspace: &Workspace, data: &CodedData) -> Result<()> {
    let ensemble = Ensemble::open(workspace, data)?;
    let count = workspace.recipe.samples.count;
    let mut todo = Vec::new();
    for shard in 0..shard_count(count) {
        let ids = shard_samples(shard, count);
        let key = sample_fingerprint(&ensemble, &ids)?;
        let pictures = ids.iter().map(|&id| picture_name(id));
        if !pictures.chain([sample_shard_name(shard)]).all(|name| workspace.run.is_current(&name, key)) {
            todo.push((shard, ids, key));
        }
    }
    remove_beyond(workspace, "samples/shard-", shard_count(count))?;
    if todo.is_empty() {
        return Ok(());
    }
    let steps = ensemble.sampler.len() as u64;
    let progress = Progress::new("sampling", todo.len() as u64 * steps, 0);
    for (index, (shard, ids, key)) in todo.iter().enumerate() {
        let weights = full_weights(ensemble.mixture.members());
        let trajectories: Vec<Trajectory> =
            ids.iter().map(|&sample| Trajectory { sample, weights: weights.clone() }).collect();
        let started = Instant::now();
        let images: Vec<f32> =
            ensemble.mixture.sample(&ensemble.sampler, ensemble.seed, &trajectories, |done| {
                progress.set(index as u64 * steps + done as u64, "");
                workspace.stop.check()
            })?;
        let mut arrays = Arrays::default();
        arrays.put_u32("sample", &[ids.len()], ids);
        let [height, width, channels] = ensemble.mixture.image_shape();
        arrays.put_f32("image", &[ids.len(), height, width, channels], &images);
        let mut objects = Vec::new();
        for (id, image) in ids.iter().zip(images.chunks_exact(ensemble.mixture.image_length())) {
            let png = crate::pictures::png(&clamped(image), height, width, channels)?;
            objects.push((picture_name(*id), png));
        }
        // The shard says that its samples are there, so it comes with them in one replacement of the manifest.
        objects.push((sample_shard_name(*shard), arrays.to_bytes()?));
        workspace.run.put_many(objects, *key)?;
        Costs::record(workspace, &[("sampling", started.elapsed().as_secs_f64(), ids.len())])?;
    }
    progress.finish(&format!("{count} samples"));
    Ok(())
}

/// Removes shards that an earlier recipe with more samples left, with the pictures of their samples.
fn remove_beyond(workspace: &Workspace, prefix: &str, shards: usize) -> Result<()> {
    let count = workspace.recipe.samples.count;
    for name in workspace.run.names() {
        let number = |rest: &str, suffix: &str| {
            rest.strip_suffix(suffix).and_then(|digits| digits.parse::<usize>().ok())
        };
        let shard = name.strip_prefix(prefix).and_then(|rest| number(rest, ".safetensors"));
        let picture = name.strip_prefix("samples/").and_then(|rest| number(rest, ".png"));
        if shard.is_some_and(|shard| shard >= shards) || picture.is_some_and(|sample| sample >= count) {
            workspace.run.remove(&name)?;
        }
    }
    Ok(())
}

/// What the stages of a run cost, over all times that they ran in this folder. Seconds differ from run to run, so this
/// object and the page that shows it do too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Seconds and number of units (samples, counterfactuals) by stage.
    pub stages: BTreeMap<String, (f64, usize)>,
}

impl Costs {
    /// Reads the costs so far.
    pub fn read(workspace: &Workspace) -> Self {
        let bytes = workspace.run.get("costs.json").ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Adds what stages cost, as (stage, seconds, units).
    ///
    /// # Errors
    ///
    /// As writing to the run.
    pub fn record(workspace: &Workspace, new: &[(&str, f64, usize)]) -> Result<()> {
        let mut costs = Self::read(workspace);
        for &(stage, seconds, units) in new {
            let entry = costs.stages.entry(stage.into()).or_default();
            entry.0 += seconds;
            entry.1 += units;
        }
        let key = Fingerprint::of("costs").finish();
        workspace.run.put("costs.json", key, &serde_json::to_vec_pretty(&costs)?)?;
        Ok(())
    }
}

fn shard_name(shard: usize) -> String {
    format!("attribution/shard-{shard:05}.safetensors")
}

fn shard_fingerprint(
    workspace: &Workspace,
    ensemble: &Ensemble,
    data: &CodedData,
    samples: &[u32],
) -> Result<Fingerprint> {
    // How long the list on the page is changes nothing that is computed.
    let asked = AttributionRecipe { top: 0, ..workspace.recipe.attribution };
    Ok(Fingerprint::of("attribution")
        .fingerprint(ensemble.fingerprint)
        .fingerprint(data.fingerprint)
        .json(&asked)?
        .json(&samples)?
        .finish())
}

/// The groups whose counterfactuals are made exactly for a sample: all, or so many drawn at random.
fn asked_groups(workspace: &Workspace, data: &CodedData, sample: u32) -> Vec<u32> {
    let all = data.groups.len() as u32;
    let count = workspace.recipe.attribution.counterfactuals;
    if count >= all as usize {
        return (0..all).collect();
    }
    let stream = Stream::new(workspace.recipe.seed, Purpose::CounterfactualChoice, sample, 0);
    let mut chosen = stream.permutation(all);
    chosen.truncate(count);
    chosen.sort_unstable();
    chosen
}

/// One sample's part of a shard.
#[derive(Clone, Debug)]
pub struct SampleAnalysis {
    /// Id of the sample.
    pub sample: u32,
    /// Values before the final clamp, `[image]`.
    pub image: Vec<f32>,
    /// Groups whose counterfactuals were made.
    pub groups: Vec<u32>,
    /// Exact counterfactuals, one per group, not clamped.
    pub exact: Vec<Vec<f32>>,
    /// What the approximations need, for the samples that they are measured on and for every sample that is searched.
    pub along: Option<Along>,
    /// What only the measuring of approximations needs.
    pub measured: Option<Measured>,
    /// The most influential groups, the first ones first.
    pub candidates: Vec<Candidate>,
    /// After a search: the groups that were made exactly, with their counterfactuals, not clamped.
    pub checked: Vec<(u32, Vec<f32>)>,
}

/// Derivatives along the full ensemble's trajectory.
#[derive(Clone, Debug)]
pub struct Along {
    /// One member's tangents per step, one image per member.
    pub one_member_jacobian: Jacobian<f32>,
    /// The image without each member, by control variate, not clamped.
    pub without_member: Vec<Vec<f32>>,
}

/// Approximations of one sample's counterfactuals.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Control-variate counterfactuals, one per group, not clamped.
    pub control_variate: Vec<Vec<f32>>,
    /// The last-step baseline, one per group, not clamped.
    pub last_step: Vec<Vec<f32>>,
    /// The paper's Jacobian, if the recipe asks for it.
    pub full_jacobian: Option<Jacobian<f32>>,
    /// Each member's own image from the same noise, not clamped.
    pub alone: Vec<Vec<f32>>,
}

/// A group in a sample's search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The group.
    pub group: u32,
    /// Distance by the one-member Jacobian with second-order term; absent where every counterfactual was made exactly.
    pub linear: Option<f32>,
    /// Distance by the control variate; absent likewise.
    pub control_variate: Option<f32>,
    /// Exact distance, where it was made.
    pub exact: Option<f32>,
}

impl Candidate {
    /// The distance by the best way that was taken: exact, else control variate, else linear.
    pub fn best(&self) -> f32 {
        self.exact.or(self.control_variate).or(self.linear).unwrap_or(0.0)
    }
}

/// Makes every shard that is not there.
///
/// # Errors
///
/// [`ProgramError::Stopped`] on Ctrl-C; finished shards are kept.
pub fn attribute(workspace: &Workspace, data: &CodedData) -> Result<()> {
    let ensemble = Ensemble::open(workspace, data)?;
    let count = workspace.recipe.samples.count;
    let mut todo = Vec::new();
    for shard in 0..shard_count(count) {
        let ids = shard_samples(shard, count);
        let key = shard_fingerprint(workspace, &ensemble, data, &ids)?;
        if !workspace.run.is_current(&shard_name(shard), key) {
            todo.push((shard, ids, key));
        }
    }
    remove_beyond(workspace, "attribution/shard-", shard_count(count))?;
    if todo.is_empty() {
        return Ok(());
    }
    let progress =
        Progress::new("attribution", shard_count(count) as u64, (shard_count(count) - todo.len()) as u64);
    let before = shard_count(count) - todo.len();
    for (index, (shard, ids, key)) in todo.into_iter().enumerate() {
        progress.set((before + index) as u64, &format!("shards of {SAMPLES_PER_SHARD} samples"));
        let mut costs = Vec::new();
        let arrays = analyse_shard(workspace, data, &ensemble, &ids, &mut costs)?;
        workspace.run.put(&shard_name(shard), key, &arrays.to_bytes()?)?;
        Costs::record(workspace, &costs)?;
    }
    progress.finish(&format!("{count} samples"));
    Ok(())
}

fn timed<R>(
    costs: &mut Vec<(&'static str, f64, usize)>,
    stage: &'static str,
    units: usize,
    work: impl FnOnce() -> Result<R>,
) -> Result<R> {
    let started = Instant::now();
    let result = work()?;
    costs.push((stage, started.elapsed().as_secs_f64(), units));
    Ok(result)
}

fn analyse_shard(
    workspace: &Workspace,
    data: &CodedData,
    ensemble: &Ensemble,
    ids: &[u32],
    costs: &mut Vec<(&'static str, f64, usize)>,
) -> Result<Arrays> {
    let Ensemble { mixture, sampler, seed, .. } = ensemble;
    let (length, members) = (mixture.image_length(), mixture.members());
    let recipe = workspace.recipe.attribution;
    let go_on = |_: usize| workspace.stop.check();
    let base: BaseRun<f32> = timed(costs, "base trajectories", ids.len(), || {
        Ok(BaseRun::new(mixture, sampler, *seed, ids, go_on)?)
    })?;

    let groups: Vec<Vec<u32>> = ids.iter().map(|&id| asked_groups(workspace, data, id)).collect();
    let mut asked = Vec::new();
    for (sample, groups) in groups.iter().enumerate() {
        for &group in groups {
            asked.push(Request { sample, weights: data.codes.weights_without(&[group])? });
        }
    }
    let exact = timed(costs, "exact counterfactuals", asked.len(), || {
        exact_images(workspace, ensemble, ids, &asked)
    })?;
    let (samples, asked_per_sample) = (ids.len(), groups[0].len());
    let mut arrays = Arrays::default();
    arrays.put_u32("sample", &[samples], ids);
    arrays.put_f32("image", &[samples, length], &base.images);
    arrays.put_u32("group", &[samples, asked_per_sample], &groups.concat());
    arrays.put_f32("exact", &[samples, asked_per_sample, length], &exact);

    // Ids rise, so the samples to be measured are the first ones.
    let measured = ids.iter().filter(|&&id| (id as usize) < recipe.fidelity_samples).count();
    let complete = asked_per_sample == data.groups.len();
    if measured > 0 || !complete {
        let one = timed(costs, "one-member Jacobian", samples, || {
            Ok(jacobians(mixture, sampler, &base, TangentMembers::OnePerStep, go_on)?)
        })?;
        let without = timed(costs, "second-order term", samples, || {
            let requests: Vec<Request> = (0..samples)
                .flat_map(|sample| {
                    (0..members).map(move |removed| Request { sample, weights: leave_out(members, removed) })
                })
                .collect();
            Ok(control_variates(mixture, sampler, &base, &requests, go_on)?)
        })?;
        arrays.put_f32("one_member_jacobian", &[samples, members, length], &flat(&one));
        arrays.put_f32("without_member", &[samples, members, length], &without);
        if !complete {
            let (found, checked) = search(workspace, data, ensemble, &base, &one, &without, costs)?;
            put_candidates(&mut arrays, &found);
            arrays.put_f32("checked", &[samples, checked.len() / (samples * length), length], &checked);
        }
    }
    if measured > 0 {
        let base = base.first(measured, length);
        let asked: Vec<Request> = asked.iter().filter(|request| request.sample < measured).cloned().collect();
        let last = timed(costs, "last step", asked.len(), || {
            let image =
                |request: &Request| last_step(mixture, sampler, &base, request.sample, &request.weights);
            Ok(asked.iter().flat_map(image).collect::<Vec<f32>>())
        })?;
        arrays.put_f32("last_step", &[measured, asked_per_sample, length], &last);
        let varied: Vec<f32> = timed(costs, "control-variate counterfactuals", asked.len(), || {
            Ok(control_variates(mixture, sampler, &base, &asked, go_on)?)
        })?;
        arrays.put_f32("control_variate", &[measured, asked_per_sample, length], &varied);
        if recipe.full_jacobian {
            let all = timed(costs, "full Jacobian", measured, || {
                Ok(jacobians(mixture, sampler, &base, TangentMembers::All, go_on)?)
            })?;
            arrays.put_f32("full_jacobian", &[measured, members, length], &flat(&all));
        }
        let alone = timed(costs, "individual members", measured, || {
            let trajectories: Vec<Trajectory> = base
                .samples
                .iter()
                .flat_map(|&sample| {
                    (0..members).map(move |member| Trajectory { sample, weights: only(members, member) })
                })
                .collect();
            Ok(mixture.sample::<f32, _>(sampler, *seed, &trajectories, go_on)?)
        })?;
        arrays.put_f32("alone", &[measured, members, length], &alone);
    }
    if complete {
        let found: Vec<Vec<Candidate>> = (0..samples)
            .map(|sample| {
                let own = &exact[sample * asked_per_sample * length..][..asked_per_sample * length];
                let distances =
                    own.chunks_exact(length).map(|image| clamped_distance(base.image(sample), image));
                let mut candidates: Vec<Candidate> = groups[sample]
                    .iter()
                    .zip(distances)
                    .map(|(&group, exact)| Candidate {
                        group,
                        linear: None,
                        control_variate: None,
                        exact: Some(exact),
                    })
                    .collect();
                sort_by_best(&mut candidates);
                candidates
            })
            .collect();
        put_candidates(&mut arrays, &found);
    }
    Ok(arrays)
}

/// The most influential first, ties by group. Those that were made exactly come before those that were not: they are
/// the first of the stage before, and distances of two kinds are not compared.
pub fn sort_by_best(candidates: &mut [Candidate]) {
    let exact = |candidate: &Candidate| candidate.exact.is_some();
    candidates.sort_by(|a, b| {
        exact(b).cmp(&exact(a)).then(b.best().total_cmp(&a.best())).then(a.group.cmp(&b.group))
    });
}

fn put_candidates(arrays: &mut Arrays, found: &[Vec<Candidate>]) {
    let shape = [found.len(), found.first().map_or(0, Vec::len)];
    // What was not computed is NaN, which no distance is.
    let of = |value: &dyn Fn(&Candidate) -> Option<f32>| -> Vec<f32> {
        found.iter().flatten().map(|candidate| value(candidate).unwrap_or(f32::NAN)).collect()
    };
    let groups: Vec<u32> = found.iter().flatten().map(|candidate| candidate.group).collect();
    arrays.put_u32("candidate", &shape, &groups);
    arrays.put_f32("candidate_linear", &shape, &of(&|candidate| candidate.linear));
    arrays.put_f32("candidate_control_variate", &shape, &of(&|candidate| candidate.control_variate));
    arrays.put_f32("candidate_exact", &shape, &of(&|candidate| candidate.exact));
}

fn exact_images(
    workspace: &Workspace,
    ensemble: &Ensemble,
    ids: &[u32],
    requests: &[Request],
) -> Result<Vec<f32>> {
    let trajectories: Vec<Trajectory> = requests
        .iter()
        .map(|request| Trajectory { sample: ids[request.sample], weights: request.weights.clone() })
        .collect();
    let go_on = |_: usize| workspace.stop.check();
    Ok(ensemble.mixture.sample(&ensemble.sampler, ensemble.seed, &trajectories, go_on)?)
}

fn flat(jacobians: &[Jacobian<f32>]) -> Vec<f32> {
    jacobians.iter().flat_map(|jacobian| jacobian.columns.iter().flatten()).copied().collect()
}

/// All members but one, equally.
pub fn leave_out(members: usize, removed: usize) -> Vec<f64> {
    (0..members).map(|member| if member == removed { 0.0 } else { 1.0 / (members - 1) as f64 }).collect()
}

/// One member alone.
fn only(members: usize, member: usize) -> Vec<f64> {
    (0..members).map(|index| f64::from(u8::from(index == member))).collect()
}

/// The quadratic form of one sample's distances, by Jacobian and second-order term, both of the clamped image.
///
/// # Errors
///
/// If a value is not finite.
pub fn search_form(
    codes: &CodeBook,
    image: &[f32],
    jacobian: &Jacobian<f32>,
    without: &[Vec<f32>],
) -> Result<QuadraticForm> {
    let terms = Jacobian { columns: second_order_terms(image, jacobian, without) };
    let mut columns = jacobian.masked(image).columns;
    columns.extend(terms.masked(image).columns);
    Ok(QuadraticForm::second_order(codes, &gram_matrix::<f32>(&columns))?)
}

/// The Gram form picks so many times more candidates than are wanted; their approximate images pick among these.
const WIDER: usize = 8;

/// The most influential groups by one-member Jacobian and second-order term, the first ones first.
///
/// The Gram form ranks all codes, but it counts pixels beyond black or white as still. The approximate images themselves
/// say what moves there, so the best are ranked again by them.
///
/// # Errors
///
/// If a value is not finite.
pub fn linear_candidates(
    codes: &CodeBook,
    image: &[f32],
    jacobian: &Jacobian<f32>,
    without: &[Vec<f32>],
    count: usize,
) -> Result<Vec<Influence>> {
    let form = search_form(codes, image, jacobian, without)?;
    let mut influences = form.most_influential(codes, WIDER * count)?;
    let terms = second_order_terms(image, jacobian, without);
    for influence in &mut influences {
        let direction = linear_coefficients(&codes.weights_without(&[influence.group])?);
        let approximate = second_order(image, jacobian, &terms, &direction);
        influence.distance = f64::from(clamped_distance(image, &approximate));
    }
    influences.sort_by(|a, b| b.distance.total_cmp(&a.distance).then(a.group.cmp(&b.group)));
    influences.truncate(count);
    Ok(influences)
}

/// Two stages and a check: linear over all codes, control variate over the best, exact for the first few. Returns each
/// sample's candidates, and the images of those made exactly, `[samples, exact, image]`.
fn search(
    workspace: &Workspace,
    data: &CodedData,
    ensemble: &Ensemble,
    base: &BaseRun<f32>,
    jacobians: &[Jacobian<f32>],
    without: &[f32],
    costs: &mut Vec<(&'static str, f64, usize)>,
) -> Result<(Vec<Vec<Candidate>>, Vec<f32>)> {
    let Ensemble { mixture, sampler, .. } = ensemble;
    let (length, members) = (mixture.image_length(), mixture.members());
    let recipe = workspace.recipe.attribution;
    let ids = &base.samples;
    let go_on = |_: usize| workspace.stop.check();
    let linear: Vec<Vec<Influence>> =
        timed(costs, "search: linear stage", ids.len() * data.groups.len(), || {
            (0..ids.len())
                .map(|sample| {
                    let own = &without[sample * members * length..][..members * length];
                    let own: Vec<Vec<f32>> = own.chunks_exact(length).map(<[f32]>::to_vec).collect();
                    linear_candidates(
                        &data.codes,
                        base.image(sample),
                        &jacobians[sample],
                        &own,
                        recipe.candidates,
                    )
                })
                .collect()
        })?;
    let mut requests = Vec::new();
    for (sample, influences) in linear.iter().enumerate() {
        for influence in influences {
            requests.push(Request { sample, weights: data.codes.weights_without(&[influence.group])? });
        }
    }
    let varied: Vec<f32> = timed(costs, "search: control-variate stage", requests.len(), || {
        Ok(control_variates(mixture, sampler, base, &requests, go_on)?)
    })?;
    let distance = |sample: usize, image: &[f32]| clamped_distance(base.image(sample), image);
    let mut varied = varied.chunks_exact(length);
    let mut found: Vec<Vec<Candidate>> = Vec::new();
    for (sample, influences) in linear.iter().enumerate() {
        let mut candidates: Vec<Candidate> = influences
            .iter()
            .zip(varied.by_ref())
            .map(|(influence, image)| Candidate {
                group: influence.group,
                linear: Some(influence.distance as f32),
                control_variate: Some(distance(sample, image)),
                exact: None,
            })
            .collect();
        // None is exact yet, so this is the order of the control variate.
        sort_by_best(&mut candidates);
        found.push(candidates);
    }
    let mut check = Vec::new();
    for (sample, candidates) in found.iter().enumerate() {
        for candidate in candidates.iter().take(recipe.exact) {
            check.push(Request { sample, weights: data.codes.weights_without(&[candidate.group])? });
        }
    }
    let checked =
        timed(costs, "search: exact check", check.len(), || exact_images(workspace, ensemble, ids, &check))?;
    let mut exact = checked.chunks_exact(length);
    for (sample, candidates) in found.iter_mut().enumerate() {
        for (candidate, image) in candidates.iter_mut().take(recipe.exact).zip(exact.by_ref()) {
            candidate.exact = Some(distance(sample, image));
        }
    }
    Ok((found, checked))
}

/// Euclidean distance of two images after their final clamp, in the scale of [-1, 1].
pub fn clamped_distance(a: &[f32], b: &[f32]) -> f32 {
    let square = |(a, b): (f32, f32)| f64::from(a - b) * f64::from(a - b);
    clamped(a).into_iter().zip(clamped(b)).map(square).sum::<f64>().sqrt() as f32
}

/// Reads every shard of a run.
///
/// # Errors
///
/// [`ProgramError::NotYet`] if one is missing or was made from another recipe.
pub fn read_analysis(workspace: &Workspace, data: &CodedData) -> Result<(Vec<SampleAnalysis>, Fingerprint)> {
    let ensemble = Ensemble::open(workspace, data)?;
    let count = workspace.recipe.samples.count;
    let mut all = Vec::new();
    let mut fingerprint = Fingerprint::of("analysis");
    for shard in 0..shard_count(count) {
        let ids = shard_samples(shard, count);
        let key = shard_fingerprint(workspace, &ensemble, data, &ids)?;
        let name = shard_name(shard);
        if !workspace.run.is_current(&name, key) {
            return Err(ProgramError::NotYet {
                what: name,
                command: format!("pentimento attribute {}", workspace.run.root().display()),
            }
            .into());
        }
        fingerprint = fingerprint.fingerprint(key);
        let arrays = Arrays::from_bytes(&workspace.run.get(&name)?, &name)?;
        all.extend(read_shard(
            &arrays,
            ids.len(),
            ensemble.mixture.image_length(),
            ensemble.mixture.members(),
        )?);
    }
    Ok((all, fingerprint.finish()))
}

/// The fingerprint that [`read_analysis`] would return, without reading.
///
/// # Errors
///
/// As [`read_analysis`].
pub fn analysis_fingerprint(workspace: &Workspace, data: &CodedData) -> Result<Fingerprint> {
    let ensemble = Ensemble::open(workspace, data)?;
    let count = workspace.recipe.samples.count;
    let mut fingerprint = Fingerprint::of("analysis");
    for shard in 0..shard_count(count) {
        let ids = shard_samples(shard, count);
        fingerprint = fingerprint.fingerprint(shard_fingerprint(workspace, &ensemble, data, &ids)?);
    }
    Ok(fingerprint.finish())
}

fn read_shard(arrays: &Arrays, samples: usize, length: usize, members: usize) -> Result<Vec<SampleAnalysis>> {
    // `[samples][columns][image]`; samples from the front may be fewer than those of the shard.
    let columns_of = |values: Vec<f32>, columns: usize| -> Vec<Vec<Vec<f32>>> {
        let images = |part: &[f32]| part.chunks_exact(length).map(<[f32]>::to_vec).collect();
        values.chunks_exact((columns * length).max(1)).map(images).collect()
    };
    let optional = |name: &str, columns: usize| -> Result<Vec<Vec<Vec<f32>>>> {
        Ok(if arrays.contains(name) { columns_of(arrays.f32(name)?, columns) } else { Vec::new() })
    };
    let ids = arrays.u32("sample")?;
    let images = columns_of(arrays.f32("image")?, 1);
    let groups = arrays.u32("group")?;
    let candidate_groups = arrays.u32("candidate")?;
    let (linear, second) = (arrays.f32("candidate_linear")?, arrays.f32("candidate_control_variate")?);
    let made_exactly = arrays.f32("candidate_exact")?;
    let (asked, found) = (groups.len() / samples.max(1), candidate_groups.len() / samples.max(1));
    let exact = columns_of(arrays.f32("exact")?, asked);
    let (one, without) = (optional("one_member_jacobian", members)?, optional("without_member", members)?);
    let (varied, last) = (optional("control_variate", asked)?, optional("last_step", asked)?);
    let (full, alone) = (optional("full_jacobian", members)?, optional("alone", members)?);
    let checked_images =
        if arrays.contains("checked") { arrays.f32("checked")?.len() / (samples * length).max(1) } else { 0 };
    let checked = optional("checked", checked_images)?;
    let fits = [ids.len(), images.len(), exact.len()] == [samples; 3]
        && checked_images <= found
        && one.len() == without.len()
        && [last.len(), alone.len()] == [varied.len(); 2]
        && varied.len() <= one.len()
        && [linear.len(), second.len(), made_exactly.len()] == [candidate_groups.len(); 3];
    if !fits {
        return Err(ProgramError::Inconsistent {
            object: "attribution shard".into(),
            problem: format!("its arrays are not those of {samples} samples and {members} members"),
        }
        .into());
    }
    let known = |value: f32| Some(value).filter(|value| value.is_finite());
    Ok((0..samples)
        .map(|s| SampleAnalysis {
            sample: ids[s],
            image: images[s].concat(),
            groups: groups[s * asked..(s + 1) * asked].to_vec(),
            exact: exact[s].clone(),
            along: one.get(s).zip(without.get(s)).map(|(one, without)| Along {
                one_member_jacobian: Jacobian { columns: one.clone() },
                without_member: without.clone(),
            }),
            measured: varied.get(s).zip(last.get(s)).zip(alone.get(s)).map(|((varied, last), alone)| {
                Measured {
                    control_variate: varied.clone(),
                    last_step: last.clone(),
                    full_jacobian: full.get(s).map(|full| Jacobian { columns: full.clone() }),
                    alone: alone.clone(),
                }
            }),
            checked: candidate_groups[s * found..]
                .iter()
                .copied()
                .zip(checked.get(s).into_iter().flatten().cloned())
                .collect(),
            candidates: (s * found..(s + 1) * found)
                .map(|at| Candidate {
                    group: candidate_groups[at],
                    linear: known(linear[at]),
                    control_variate: known(second[at]),
                    exact: known(made_exactly[at]),
                })
                .collect(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_two_kinds_are_not_ranked_against_each_other() {
        let candidate = |group, control_variate: f32, exact: Option<f32>| Candidate {
            group,
            linear: Some(9.0),
            control_variate: Some(control_variate),
            exact,
        };
        // The control variate put 4 and 7 first, so they were made exactly; exactly, 7 is the larger.
        let mut candidates = vec![
            candidate(2, 0.60, None),
            candidate(4, 0.70, Some(0.50)),
            candidate(1, 0.60, None),
            candidate(7, 0.65, Some(0.55)),
        ];
        sort_by_best(&mut candidates);
        assert_eq!(candidates.iter().map(|candidate| candidate.group).collect::<Vec<_>>(), [7, 4, 1, 2]);
    }

    #[test]
    fn shards_cover_every_sample_once() {
        for count in [1, 15, 16, 17, 1000] {
            let ids: Vec<u32> =
                (0..shard_count(count)).flat_map(|shard| shard_samples(shard, count)).collect();
            assert_eq!(ids, (0..count as u32).collect::<Vec<_>>());
        }
    }
}
