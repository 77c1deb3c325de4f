//! Gradients of queries, through the inverse of the curvature.

use crate::analyse::Ensemble;
use crate::error::{Result, RunError};
use crate::gradients::{Query, QuerySet, Subject, noise_id, row_key};
use pentimento_attribution::curvature::{
    Curvature, QuantisedRows, QueryMeasurement, SampledCurvature, Solved, TrajectoryStep,
    trajectory_gradient, trajectory_steps,
};
use pentimento_attribution::gradient::{DrawPlan, FeatureExtractor, NoiseSharing, side_by_side};
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::sampler::Sampler;
use pentimento_diffusion::unet::Parameters;
use pentimento_noise::{Purpose, Stream};

/// The inverse that gradients go through.
pub struct InverseOf<'a> {
    /// The curvature in blocks.
    pub curvature: &'a Curvature,
    /// The damping of each block.
    pub dampings: &'a [f64],
    /// A sample of the whole one with the steps that are taken, if that is to be inverted.
    pub whole: Option<(&'a SampledCurvature, usize)>,
}

/// Values of all vectors that conjugate gradients hold at once: five for each right-hand side, 1 GiB.
pub(super) const MOST_CG_VALUES: usize = 1 << 28;

impl InverseOf<'_> {
    /// Gradients that are solved together.
    fn at_once(&self, parameters: usize) -> usize {
        match self.whole {
            None => rayon::current_num_threads().max(1),
            Some(_) => (MOST_CG_VALUES / (5 * parameters).max(1)).max(1),
        }
    }

    fn solve(&self, gradients: Vec<Vec<f32>>) -> Result<Solved> {
        if let Some((sample, steps)) = self.whole {
            return Ok(sample.solve(self.curvature, self.dampings, &gradients, steps)?);
        }
        let vectors =
            side_by_side(gradients.len(), |index| self.curvature.solve(&gradients[index], self.dampings))?;
        Ok(Solved { vectors, residuals: Vec::new() })
    }
}

/// The gradient of each query in each group of draws, before any inverse: what a network is shown does not depend on it.
pub struct QueryGradients {
    measurement: QueryMeasurement,
    /// For trajectories, the steps of each query.
    trajectories: Vec<Vec<TrajectoryStep>>,
}

impl QueryGradients {
    /// Prepares queries.
    ///
    /// # Errors
    ///
    /// [`RunError::OtherUse`] for the trajectory of an image that was not generated, or one whose steps are not random.
    pub fn new(
        subject: &Subject<'_>,
        set: &QuerySet,
        queries: &[Query],
        measurement: QueryMeasurement,
    ) -> Result<Self> {
        let trajectories = match measurement {
            QueryMeasurement::OfImage(_) => Vec::new(),
            QueryMeasurement::Trajectory => {
                check_trajectory(subject, set)?;
                let Ensemble { mixture, sampler, seed, .. } =
                    Ensemble::open(subject.workspace, subject.networks)?;
                let go_on = || subject.workspace.options.stop.check();
                trajectory_steps(&mixture, &sampler, seed, queries.len(), go_on)?
            }
        };
        Ok(Self { measurement, trajectories })
    }

    /// The gradients of some queries in each group of draws, through the inverse of a network's curvature and in 8 bits,
    /// query by query; and for the whole curvature, what conjugate gradients left of each, as a share.
    ///
    /// # Errors
    ///
    /// As taking gradients.
    pub fn solved(
        &self,
        subject: &Subject<'_>,
        parameters: &Parameters,
        queries: &[Query],
        first: usize,
        inverse: &InverseOf<'_>,
    ) -> Result<(QuantisedRows, Vec<f64>)> {
        let groups = subject.draws().groups;
        let count = queries.len() * groups;
        let length = subject.networks.architecture.parameter_count();
        let mut rows = QuantisedRows::zeros(length, count);
        let mut residuals = Vec::new();
        for first_row in (0..count).step_by(inverse.at_once(length)) {
            let of_step = inverse.at_once(length).min(count - first_row);
            let gradients = side_by_side(of_step, |index| -> Result<Vec<f32>> {
                subject.workspace.options.stop.check()?;
                let (query, group) = ((first_row + index) / groups, (first_row + index) % groups);
                self.gradient(subject, parameters, &queries[query], first + query, group)
            })?;
            let Solved { vectors, residuals: left } = inverse.solve(gradients)?;
            for (index, solved) in vectors.iter().enumerate() {
                rows.set(first_row + index, solved)?;
            }
            residuals.extend(left);
        }
        Ok((rows, residuals))
    }

    /// The gradient of a query in one group of draws. The mean over the groups is the gradient of the measurement.
    pub fn gradient(
        &self,
        subject: &Subject<'_>,
        parameters: &Parameters,
        query: &Query,
        index: usize,
        group: usize,
    ) -> Result<Vec<f32>> {
        let plan = subject.draws();
        match self.measurement {
            QueryMeasurement::OfImage(measurement) => {
                let schedule = &subject.workspace.recipe.schedule;
                let extractor = FeatureExtractor::new(
                    &subject.networks.architecture,
                    parameters.clone(),
                    schedule,
                    measurement,
                    false,
                );
                let draws = query_draws(subject, query, group);
                Ok(extractor.gradient::<f32>(
                    &query.image,
                    subject.networks.size,
                    query.class,
                    &draws,
                    &query.title,
                )?)
            }
            QueryMeasurement::Trajectory => {
                let steps = self.trajectories.get(index).map_or(&[][..], Vec::as_slice);
                Ok(trajectory_gradient(
                    &subject.networks.architecture,
                    parameters,
                    steps,
                    group,
                    plan.groups,
                    subject.networks.size,
                    query.class,
                ))
            }
        }
    }
}

/// The draws of training images: as for scores by gradients, but each with noise of its own. Noise that a training image
/// shared with a query would be in both gradients, and its square in every score: predictions for groups of images then were
/// half as much again too large, and less right in their order (docs/results/influence-retraining.md).
pub fn image_draws(subject: &Subject<'_>) -> DrawPlan {
    DrawPlan { sharing: NoiseSharing::PerImage, ..subject.draws() }
}

/// The draws of a query in a group.
fn query_draws(subject: &Subject<'_>, query: &Query, group: usize) -> Vec<Draw> {
    let (plan, recipe) = (image_draws(subject), &subject.workspace.recipe);
    let key = row_key(&query.image, query.class);
    let Some(timestep) = recipe.influence.query_timestep else {
        // Other noise than as a training image, which it may be too.
        return plan.draws(&recipe.schedule, group, query.image.len(), !noise_id(&key));
    };
    let draw = |index: usize| {
        let mut noise = vec![0.0f32; query.image.len()];
        let number = (group * plan.timesteps + index) as u32;
        Stream::new(recipe.seed, Purpose::AttributionNoise, number, timestep as u32).fill_normal(&mut noise);
        Draw { timestep, noise }
    };
    (0..plan.timesteps).map(draw).collect()
}

/// Refuses trajectories that have no probability.
///
/// # Errors
///
/// [`RunError::OtherUse`] for images that were not generated, or a sampler without noise.
pub fn check_trajectory(subject: &Subject<'_>, set: &QuerySet) -> Result<()> {
    let refuse = |problem: &str| {
        Err(RunError::OtherUse { method: "influence-trajectory".into(), problem: problem.into() })
    };
    if *set != QuerySet::Samples {
        return refuse(
            "follows the steps in which an image was made, and these are known of samples of the run only",
        );
    }
    let recipe = &subject.workspace.recipe;
    let sampler = Sampler::new(&recipe.schedule, recipe.sampling)?;
    if !(0..sampler.len()).any(|step| sampler.adds_noise(step)) {
        return refuse(
            "asks how probable the steps of the sampler were, and those of the recipe's are not random; \
             `sampling.sampler = \"ddpm\"` has noise in all but the last of them",
        );
    }
    Ok(())
}
