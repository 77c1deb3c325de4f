//! Counterfactuals along the full ensemble's trajectory, corrected by one surviving member.
//!
//! On its own trajectory x' a counterfactual with weights u would need `sum_k u_k f_k(x')`: n - h evaluations per
//! step. But the members' values along the base trajectory x are known, and the difference of the members is smooth,
//! so `sum_k u_k f_k(x) + f_j(x') - f_j(x)` with one surviving member j, taken in turn, is a control variate: exact at
//! x' = x, fully nonlinear in x', one evaluation per step. Measured before this code: Pearson 0.996 with the exact
//! counterfactuals where the Jacobian reaches 0.896 (32 samples, 7 members).

use super::base_run::BaseRun;
use pentimento_diffusion::mixture::Mixture;
use pentimento_diffusion::sampler::Sampler;
use pentimento_diffusion::unet::Precision;

/// A counterfactual of one sample of a base run.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Index of the sample in the base run.
    pub sample: usize,
    /// The members' weights; zero for those that saw what is removed.
    pub weights: Vec<f64>,
}

/// Runs every request to its end, all of them side by side: in each step, each member is called once on the batch of
/// all trajectories whose turn it is to correct. Returns `[requests, image]`, not clamped.
///
/// # Errors
///
/// Whatever `progress` returns; it is called after each step with the number of steps done.
pub fn control_variates<T: Precision, E>(
    mixture: &Mixture,
    sampler: &Sampler,
    base: &BaseRun<T>,
    requests: &[Request],
    mut progress: impl FnMut(usize) -> Result<(), E>,
) -> Result<Vec<T>, E> {
    let length = mixture.image_length();
    let samples: Vec<u32> = requests.iter().map(|request| base.samples[request.sample]).collect();
    let survivors: Vec<Vec<usize>> = requests
        .iter()
        .map(|request| (0..request.weights.len()).filter(|&member| request.weights[member] != 0.0).collect())
        .collect();
    let mut x = mixture.noise::<T>(base.seed, &samples, 0);
    for (step, record) in base.steps.iter().enumerate() {
        let mut predicted: Vec<T> = requests
            .iter()
            .flat_map(|request| record.mixed(request.sample, length, &request.weights))
            .collect();
        // At the start both trajectories are at the same place and there is nothing to correct.
        let correctors = if step == 0 { 0 } else { mixture.members() };
        let users: Vec<Vec<usize>> = (0..correctors)
            .map(|member| {
                let turn = |index: usize| survivors[index].get(step % survivors[index].len().max(1));
                (0..requests.len()).filter(|&index| turn(index) == Some(&member)).collect()
            })
            .collect();
        let condition = |index: usize| base.condition(mixture, requests[index].sample);
        let corrections = mixture.predict_guided_for(&users, &x, condition, sampler.timestep(step));
        for (member, (users, here)) in users.iter().zip(corrections).enumerate() {
            for (&index, here) in users.iter().zip(here.chunks_exact(length)) {
                let there = &record.predictions[member][requests[index].sample * length..][..length];
                let sum = &mut predicted[index * length..][..length];
                for ((sum, &here), &there) in sum.iter_mut().zip(here).zip(there) {
                    *sum += here - there;
                }
            }
        }
        mixture.advance(sampler, step, base.seed, &samples, &mut x, &predicted);
        progress(step + 1)?;
    }
    Ok(x)
}
