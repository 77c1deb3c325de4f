//! The probability of the sampler's steps on the way to a sample, and its gradient in the networks' parameters.

use super::loss::output_gradient;
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::Sampler;
use pentimento_diffusion::unet::{Architecture, Parameters};

/// A step of a sampler on the way to a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct TrajectoryStep {
    /// Its timestep.
    pub timestep: usize,
    /// The image in the making before the step.
    pub x: Vec<f32>,
    /// The gradient of the step's log-probability, mean over values, in the networks' output.
    pub cotangent: Vec<f32>,
}

/// The steps of each trajectory; those without noise have no density and are left out.
///
/// # Errors
///
/// Whatever `go_on` returns, which is called at each step.
pub fn trajectory_steps<E>(
    mixture: &Mixture,
    sampler: &Sampler,
    seed: u64,
    trajectories: &[Trajectory],
    mut go_on: impl FnMut() -> Result<(), E>,
) -> Result<Vec<Vec<TrajectoryStep>>, E> {
    let length = mixture.image_length();
    let mut steps: Vec<Vec<TrajectoryStep>> = vec![Vec::new(); trajectories.len()];
    mixture.follow::<f32, E>(sampler, seed, trajectories, |step, x, predicted| {
        go_on()?;
        for (place, (trajectory, steps)) in trajectories.iter().zip(&mut steps).enumerate() {
            let of = |values: &[f32]| values[place * length..][..length].to_vec();
            let mut noise = vec![0.0f32; length];
            Sampler::noise(seed, trajectory.sample, step + 1, &mut noise);
            let (x, output) = (of(x), of(predicted));
            if let Some(mut cotangent) = sampler.log_probability_gradient(step, &x, &output, &noise) {
                cotangent.iter_mut().for_each(|value| *value /= length as f32);
                steps.push(TrajectoryStep { timestep: sampler.timestep(step), x, cotangent });
            }
        }
        Ok(())
    })?;
    Ok(steps)
}

/// The gradient of the decrease of a trajectory's log-probability by the steps of one group, every `groups`-th from `group` on,
/// as if they were all of them: the mean over groups is the gradient of the sum over steps. Zero for a group without a step.
pub fn trajectory_gradient(
    architecture: &Architecture,
    parameters: &Parameters,
    steps: &[TrajectoryStep],
    group: usize,
    groups: usize,
    size: [usize; 2],
    condition: &Condition,
) -> Vec<f32> {
    let steps: Vec<&TrajectoryStep> = steps.iter().skip(group).step_by(groups).collect();
    let of_group = |values: fn(&TrajectoryStep) -> &Vec<f32>, factor: f32| -> Vec<f32> {
        steps.iter().flat_map(|step| values(step).iter().map(move |value| factor * value)).collect()
    };
    let timesteps: Vec<usize> = steps.iter().map(|step| step.timestep).collect();
    if timesteps.is_empty() {
        return vec![0.0; architecture.parameter_count()];
    }
    // A score is the decrease of the log-probability, and each group stands for all steps.
    let factor = -(groups as f32);
    let x = of_group(|step| &step.x, 1.0);
    let cotangent = of_group(|step| &step.cotangent, factor);
    output_gradient(architecture, parameters, x, size, &timesteps, condition, cotangent)
}
