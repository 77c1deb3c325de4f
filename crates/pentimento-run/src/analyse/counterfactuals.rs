//! What the `attribute` stage computes for the samples of a shard.

use super::analysis::SampleAnalysis;
use super::ensemble::Ensemble;
use super::search::{SearchResult, search};
use crate::costs::Spent;
use crate::data::CodedData;
use crate::error::Result;
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::approximation::last_step;
use pentimento_attribution::ensemble::{
    BaseRun, Derivatives, FidelityInputs, Jacobian, Request, TangentMembers, control_variates, jacobians,
    leave_out, only, ranked_exactly,
};
use pentimento_diffusion::mixture::Trajectory;
use pentimento_noise::{Purpose, Stream};

/// Analyses the samples of a shard together: base trajectories, exact counterfactuals, derivatives and a search where
/// they are needed, and every approximation for the samples that it is measured on.
///
/// # Errors
///
/// [`RunError::Stopped`](crate::error::RunError::Stopped) on Ctrl-C.
pub(super) fn analyse_samples(
    workspace: &Workspace,
    data: &CodedData,
    ensemble: &Ensemble,
    ids: &[u32],
    spent: &mut Spent,
) -> Result<Vec<SampleAnalysis>> {
    let (length, space) = (ensemble.mixture.image_length(), workspace.recipe.space());
    let base = spent.time("base trajectories", ids.len(), || ensemble.base_run(workspace, ids))?;
    let groups: Vec<Vec<u32>> = ids.iter().map(|&id| asked_groups(workspace, data, id)).collect();
    let mut asked = Vec::new();
    for (sample, groups) in groups.iter().enumerate() {
        for &group in groups {
            asked.push(Request { sample, weights: data.codes.weights_without(&[group])? });
        }
    }
    let mut exact = spent
        .time("exact counterfactuals", asked.len(), || exact_images(workspace, ensemble, ids, &asked))?
        .into_iter();

    // Ids rise, so the samples to be measured are the first ones.
    let fidelity_samples = workspace.recipe.attribution.fidelity_samples;
    let measured = ids.iter().filter(|&&id| (id as usize) < fidelity_samples).count();
    // Every sample is asked about equally many groups.
    let complete = groups.iter().all(|groups| groups.len() == data.groups.len());
    let derivatives =
        if measured > 0 || !complete { derivatives(workspace, ensemble, &base, spent)? } else { Vec::new() };
    let searched =
        if complete { Vec::new() } else { search(workspace, data, ensemble, &base, &derivatives, spent)? };
    let first: Vec<Request> = asked.into_iter().filter(|request| request.sample < measured).collect();
    let fidelity_inputs = if measured > 0 {
        fidelity_inputs(workspace, ensemble, &base.first(measured, length), &first, spent)?
    } else {
        Vec::new()
    };

    let (mut derivatives, mut searched) = (derivatives.into_iter(), searched.into_iter());
    let mut fidelity_inputs = fidelity_inputs.into_iter();
    let analyses = groups.into_iter().enumerate().map(|(sample, groups)| {
        let image = base.image(sample).to_vec();
        let exact: Vec<Vec<f32>> = exact.by_ref().take(groups.len()).collect();
        let SearchResult { candidates, checked } = searched.next().unwrap_or_else(|| SearchResult {
            candidates: ranked_exactly(&image, &groups, &exact, space),
            checked: Vec::new(),
        });
        SampleAnalysis {
            sample: ids[sample],
            image,
            groups,
            exact,
            derivatives: derivatives.next(),
            fidelity_inputs: fidelity_inputs.next(),
            candidates,
            checked,
        }
    });
    Ok(analyses.collect())
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

/// What the approximations need of each sample.
fn derivatives(
    workspace: &Workspace,
    ensemble: &Ensemble,
    base: &BaseRun<f32>,
    spent: &mut Spent,
) -> Result<Vec<Derivatives>> {
    let Ensemble { mixture, sampler, .. } = ensemble;
    let (samples, members) = (base.samples.len(), mixture.members());
    let go_on = |_: usize| workspace.options.stop.check();
    let one = spent.time("one-member Jacobian", samples, || {
        jacobians(mixture, sampler, base, TangentMembers::OnePerStep, go_on)
    })?;
    let without = spent.time("second-order term", samples, || {
        let requests: Vec<Request> = (0..samples)
            .flat_map(|sample| {
                (0..members).map(move |removed| Request { sample, weights: leave_out(members, removed) })
            })
            .collect();
        Ok(images(&control_variates(mixture, sampler, base, &requests, go_on)?, mixture.image_length()))
    })?;
    let mut without = without.into_iter();
    Ok(one
        .into_iter()
        .map(|one_member_jacobian| Derivatives {
            one_member_jacobian,
            without_member: without.by_ref().take(members).collect(),
        })
        .collect())
}

/// What else the approximations of the asked counterfactuals take, for each sample of `base`.
fn fidelity_inputs(
    workspace: &Workspace,
    ensemble: &Ensemble,
    base: &BaseRun<f32>,
    asked: &[Request],
    spent: &mut Spent,
) -> Result<Vec<FidelityInputs>> {
    let Ensemble { mixture, sampler, seed, .. } = ensemble;
    let (samples, members, length) = (base.samples.len(), mixture.members(), mixture.image_length());
    let go_on = |_: usize| workspace.options.stop.check();
    let last = spent.time("last step", asked.len(), || {
        let image = |request: &Request| last_step(mixture, sampler, base, request.sample, &request.weights);
        Ok(asked.iter().map(image).collect::<Vec<Vec<f32>>>())
    })?;
    let varied = spent.time("control-variate counterfactuals", asked.len(), || {
        Ok(images(&control_variates(mixture, sampler, base, asked, go_on)?, length))
    })?;
    let all: Vec<Jacobian<f32>> = if workspace.recipe.attribution.full_jacobian {
        spent.time("full Jacobian", samples, || {
            jacobians(mixture, sampler, base, TangentMembers::All, go_on)
        })?
    } else {
        Vec::new()
    };
    let alone = spent.time("individual members", samples, || {
        let of_sample = |&sample: &u32| {
            (0..members).map(move |member| ensemble.trajectory(sample, only(members, member)))
        };
        let trajectories: Vec<Trajectory> = base.samples.iter().flat_map(of_sample).collect();
        Ok(images(&mixture.sample::<f32, _>(sampler, *seed, &trajectories, go_on)?, length))
    })?;
    let (mut last, mut varied) = (last.into_iter(), varied.into_iter());
    let (mut all, mut alone) = (all.into_iter(), alone.into_iter());
    Ok((0..samples)
        .map(|sample| {
            let count = asked.iter().filter(|request| request.sample == sample).count();
            FidelityInputs {
                control_variate: varied.by_ref().take(count).collect(),
                last_step: last.by_ref().take(count).collect(),
                full_jacobian: all.next(),
                alone: alone.by_ref().take(members).collect(),
            }
        })
        .collect())
}

/// The images of the requests, each by a run of its own.
pub(super) fn exact_images(
    workspace: &Workspace,
    ensemble: &Ensemble,
    ids: &[u32],
    requests: &[Request],
) -> Result<Vec<Vec<f32>>> {
    let trajectories: Vec<Trajectory> = requests
        .iter()
        .map(|request| ensemble.trajectory(ids[request.sample], request.weights.clone()))
        .collect();
    let go_on = |_: usize| workspace.options.stop.check();
    let values: Vec<f32> = ensemble.mixture.sample(&ensemble.sampler, ensemble.seed, &trajectories, go_on)?;
    Ok(images(&values, ensemble.mixture.image_length()))
}

/// Cuts values, `[images, length]`, into images.
pub(super) fn images(values: &[f32], length: usize) -> Vec<Vec<f32>> {
    values.chunks_exact(length).map(<[f32]>::to_vec).collect()
}
