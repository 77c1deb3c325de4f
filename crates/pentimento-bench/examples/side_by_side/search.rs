//! The two-stage search of one sample, as a run does it, without a run.

use anyhow::Result;
use pentimento_attribution::ensemble::approximation::clamped_distance;
use pentimento_attribution::ensemble::{
    BaseRun, Candidate, CodeBook, Derivatives, Request, Space, TangentMembers, control_variates, jacobians,
    leave_out, linear_candidates, ranked_by_control_variate, sort_by_best,
};
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::Sampler;

/// How far a search looks in its second and third stage.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// How many candidates of the linear stage the control variate ranks again.
    pub candidates: usize,
    /// How many of these are made exactly.
    pub exact: usize,
}

/// The most influential groups of one sample, the first ones first, from nothing but the members.
///
/// # Errors
///
/// If a value is not finite, or whatever `go_on` returns, which is called after each sampler step.
pub fn two_stage_search(
    mixture: &Mixture,
    sampler: &Sampler,
    seed: u64,
    sample: u32,
    codes: &CodeBook,
    depth: Depth,
    go_on: impl Fn(usize) -> Result<()>,
) -> Result<Vec<Candidate>> {
    let (members, length) = (mixture.members(), mixture.image_length());
    let base = BaseRun::<f32>::new(mixture, sampler, seed, &[sample], &go_on)?;
    let one_member_jacobian =
        jacobians(mixture, sampler, &base, TangentMembers::OnePerStep, &go_on)?.remove(0);
    let removals: Vec<Request> =
        (0..members).map(|removed| Request { sample: 0, weights: leave_out(members, removed) }).collect();
    let without = control_variates(mixture, sampler, &base, &removals, &go_on)?;
    let without_member = without.chunks_exact(length).map(<[f32]>::to_vec).collect();
    let derivatives = Derivatives { one_member_jacobian, without_member };
    let linear = linear_candidates(codes, base.image(0), &derivatives, depth.candidates, Space::Pixels)?;

    let requests: Vec<Request> = linear
        .iter()
        .map(|influence| Ok(Request { sample: 0, weights: codes.weights_without(&[influence.group])? }))
        .collect::<Result<_>>()?;
    let varied = control_variates(mixture, sampler, &base, &requests, &go_on)?;
    let varied = varied.chunks_exact(length).map(<[f32]>::to_vec);
    let mut candidates = ranked_by_control_variate(base.image(0), &linear, varied, Space::Pixels);

    let checked: Vec<u32> = candidates.iter().take(depth.exact).map(|candidate| candidate.group).collect();
    let images = exact_counterfactuals(mixture, sampler, seed, sample, codes, &checked, &go_on)?;
    for (candidate, image) in candidates.iter_mut().zip(images.chunks_exact(length)) {
        candidate.exact = Some(clamped_distance(base.image(0), image));
    }
    sort_by_best(&mut candidates);
    Ok(candidates)
}

/// The images without each of some groups, exactly, `[groups, image]`, not clamped.
///
/// # Errors
///
/// If there is no such group, or whatever `go_on` returns.
pub fn exact_counterfactuals(
    mixture: &Mixture,
    sampler: &Sampler,
    seed: u64,
    sample: u32,
    codes: &CodeBook,
    groups: &[u32],
    go_on: impl Fn(usize) -> Result<()>,
) -> Result<Vec<f32>> {
    let trajectories: Vec<Trajectory> = groups
        .iter()
        .map(|&group| Ok(Trajectory { sample, weights: codes.weights_without(&[group])?, condition: None }))
        .collect::<Result<_>>()?;
    mixture.sample(sampler, seed, &trajectories, go_on)
}
