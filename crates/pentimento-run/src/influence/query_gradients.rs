//! Gradients of queries, through the inverse of the curvature.

use super::influence_products::SolvedQueries;
use crate::analyse::Ensemble;
use crate::error::{Result, RunError};
use crate::gradients::{Queries, Query, QuerySet, Subject, noise_id};
use pentimento_attribution::curvature::{
    Curvature, InfluenceKind, QuantisedRows, QueryMeasurement, SampledCurvature, Solved, TrajectoryStep,
    trajectory_gradient, trajectory_steps,
};
use pentimento_attribution::gradient::{
    DrawPlan, FeatureExtractor, MOST_BLOCKS, Measurement, NoiseSharing, TimestepShares, most_groups,
    side_by_side,
};
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::sampler::Sampler;
use pentimento_diffusion::unet::Parameters;
use pentimento_noise::{Purpose, Stream};
use std::ops::Range;

/// The inverse that gradients go through.
pub struct InverseOf<'a> {
    /// The curvature in blocks.
    pub curvature: &'a Curvature,
    /// The damping of each block.
    pub dampings: Vec<f64>,
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

    fn solve(&self, gradients: &[Vec<f32>]) -> Result<Solved> {
        if let Some((sample, steps)) = self.whole {
            return Ok(sample.solve(self.curvature, &self.dampings, gradients, steps)?);
        }
        let vectors =
            side_by_side(gradients.len(), |index| self.curvature.solve(&gradients[index], &self.dampings))?;
        Ok(Solved { vectors, residuals: Vec::new(), last_steps: Vec::new() })
    }
}

/// The gradient of each query in each group of draws, before any inverse: what a network is shown does not depend on it.
pub struct QueryGradients {
    measurement: QueryMeasurement,
    /// Where in the schedule their draws lie.
    shares: TimestepShares,
    /// For trajectories, the steps of each query.
    trajectories: Vec<Vec<TrajectoryStep>>,
}

impl QueryGradients {
    /// Prepares queries. Their losses, and whatever is measured at noise that they share with training images, are asked where in the schedule
    /// these are; other measures follow other curves and are asked in equal distances.
    ///
    /// # Errors
    ///
    /// [`RunError::OtherUse`] for the trajectory of an image that was not generated, or one whose steps are not random.
    pub fn new(
        subject: &Subject<'_>,
        queries: &Queries,
        measurement: QueryMeasurement,
        shares: TimestepShares,
    ) -> Result<Self> {
        let Queries { set, images: queries } = queries;
        let by_loss = subject.workspace.recipe.influence.asks_by_loss(measurement);
        let shares = if by_loss { shares } else { TimestepShares::EVEN };
        let trajectories = match measurement {
            QueryMeasurement::OfImage(_) => Vec::new(),
            QueryMeasurement::Trajectory => {
                check_trajectory(subject, set)?;
                let ensemble = Ensemble::open(subject.workspace, subject.networks)?;
                let Ensemble { mixture, sampler, seed, .. } = &ensemble;
                let go_on = || subject.workspace.options.stop.check();
                let trajectories = ensemble.trajectories(0..queries.len() as u32);
                trajectory_steps(mixture, sampler, *seed, &trajectories, go_on)?
            }
        };
        Ok(Self { measurement, shares, trajectories })
    }

    /// The gradients of some queries, of which the first has its number among all, in each part of their draws, through inverses of a
    /// network's curvature and in 8 bits: query by query, inverse by inverse, part by part.
    ///
    /// # Errors
    ///
    /// As taking gradients.
    pub fn solved(
        &self,
        subject: &Subject<'_>,
        parameters: &Parameters,
        (first, queries): (usize, &[Query]),
        draws: QueryDraws,
        inverses: &[InverseOf<'_>],
    ) -> Result<SolvedQueries> {
        let count = queries.len() * draws.rows;
        let length = subject.networks.architecture.parameter_count();
        let mut rows = QuantisedRows::zeros(length, count * inverses.len());
        let (mut residuals, mut last_steps) = (Vec::new(), Vec::new());
        let at_once = inverses.iter().map(|inverse| inverse.at_once(length)).min().unwrap_or(1);
        for first_row in (0..count).step_by(at_once) {
            let of_step = at_once.min(count - first_row);
            let gradients = side_by_side(of_step, |index| -> Result<Vec<f32>> {
                let (query, row) = ((first_row + index) / draws.rows, (first_row + index) % draws.rows);
                self.gradient(subject, parameters, &queries[query], first + query, draws.groups_of(row))
            })?;
            for (number, inverse) in inverses.iter().enumerate() {
                let Solved { vectors, residuals: left, last_steps: last } = inverse.solve(&gradients)?;
                for (index, solved) in vectors.iter().enumerate() {
                    let (query, row) = ((first_row + index) / draws.rows, (first_row + index) % draws.rows);
                    rows.set((query * inverses.len() + number) * draws.rows + row, solved)?;
                }
                residuals.extend(left);
                last_steps.extend(last);
            }
        }
        Ok(SolvedQueries { rows, residuals, last_steps })
    }

    /// The gradient of a query in some groups of draws, the mean over them. Of a trajectory, whose steps are no draws, it is
    /// always that of all steps.
    pub fn gradient(
        &self,
        subject: &Subject<'_>,
        parameters: &Parameters,
        query: &Query,
        index: usize,
        groups: Range<usize>,
    ) -> Result<Vec<f32>> {
        match self.measurement {
            QueryMeasurement::OfImage(measurement) => {
                let schedule = &subject.workspace.recipe.schedule;
                let extractor = FeatureExtractor::new(
                    &subject.networks.architecture,
                    parameters.clone(),
                    schedule,
                    measurement,
                    false,
                )
                .for_shares(self.shares);
                let (size, count) = (subject.networks.size, groups.len() as f32);
                let mut mean = vec![0.0f32; subject.networks.architecture.parameter_count()];
                for group in groups {
                    subject.check()?;
                    let draws = query_draws(subject, query, group, self.shares);
                    let part = extractor.gradient::<f32>(
                        &query.input,
                        size,
                        &query.condition,
                        &draws,
                        &query.title,
                    )?;
                    mean.iter_mut().zip(part).for_each(|(sum, value)| *sum += value / count);
                }
                Ok(mean)
            }
            QueryMeasurement::Trajectory => {
                let steps = self.trajectories.get(index).map_or(&[][..], Vec::as_slice);
                Ok(trajectory_gradient(
                    &subject.networks.architecture,
                    parameters,
                    steps,
                    0,
                    1,
                    subject.networks.size,
                    &query.condition,
                ))
            }
        }
    }
}

/// The draws of training images: as for scores by gradients, but each with noise of its own, unless the recipe says otherwise.
/// Noise that a training image shared with a query would be in both gradients, and its square in every score: predictions for
/// groups of images then were half as much again too large (docs/results/influence-retraining.md).
pub fn image_draws(subject: &Subject<'_>) -> DrawPlan {
    DrawPlan { sharing: subject.workspace.recipe.influence.noise(), ..subject.draws() }
}

/// Groups of draws of a query, if that fits their number for training images and the schedule has them.
const QUERY_GROUPS: usize = 32;

/// The draws of a query, and in how many parts its gradient is kept.
///
/// A product of an image's gradient with that of a query is kept, and neither of the two. If queries had more draws in each
/// round, all gradients of training images would be taken again to meet them. Queries are few beside the training images, so
/// they have all their draws in the first round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryDraws {
    /// Groups of draws.
    pub groups: usize,
    /// Parts of as many groups that follow each other, of which as many stand for each block of the images' draws.
    pub rows: usize,
}

impl QueryDraws {
    /// Those of a measurement.
    pub fn new(subject: &Subject<'_>, measurement: QueryMeasurement) -> Self {
        if measurement == QueryMeasurement::Trajectory {
            return Self { groups: 1, rows: 1 };
        }
        let plan = image_draws(subject);
        match plan.sharing {
            // At the same noise as training images: at the same draws.
            NoiseSharing::Shared => Self { groups: plan.groups, rows: plan.blocks() },
            NoiseSharing::PerImage => {
                let of_schedule =
                    most_groups(subject.workspace.recipe.schedule.num_train_timesteps, plan.timesteps);
                Self::beside(plan.blocks(), QUERY_GROUPS.min(of_schedule))
            }
        }
    }

    /// Those of a method.
    pub fn of_kind(subject: &Subject<'_>, kind: InfluenceKind) -> Self {
        let measurement = match kind {
            InfluenceKind::Linear(measurement, _) => measurement,
            InfluenceKind::Unlearning(_) => QueryMeasurement::OfImage(Measurement::Loss),
        };
        Self::new(subject, measurement)
    }

    /// How many draws they are, of groups as a plan has them.
    pub fn count(&self, plan: &DrawPlan) -> usize {
        DrawPlan { groups: self.groups, ..*plan }.count()
    }

    /// At most so many groups, beside so many blocks of training images' draws.
    fn beside(blocks: usize, most: usize) -> Self {
        let of_block = (most / blocks).max(1);
        // Twice as many blocks have the same rows.
        let parts =
            (1..=MOST_BLOCKS / blocks).rev().find(|parts| of_block.is_multiple_of(*parts)).unwrap_or(1);
        Self { groups: of_block * blocks, rows: parts * blocks }
    }

    /// The groups of a row.
    fn groups_of(&self, row: usize) -> Range<usize> {
        let of_row = self.groups / self.rows;
        row * of_row..(row + 1) * of_row
    }
}

/// The draws of a query in a group.
fn query_draws(subject: &Subject<'_>, query: &Query, group: usize, shares: TimestepShares) -> Vec<Draw> {
    let (plan, recipe) = (DrawPlan { shares, ..image_draws(subject) }, &subject.workspace.recipe);
    let key = query.key();
    let Some(timestep) = recipe.influence.query_timestep else {
        // Other noise than as a training image, which it may be too.
        return plan.draws(&recipe.schedule, group, query.input.len(), !noise_id(&key));
    };
    let draw = |index: usize| {
        let mut noise = vec![0.0f32; query.input.len()];
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
    if recipe.samples.guided().is_some() {
        return refuse(
            "asks how probable the steps of the sampler were to the network, and guided steps are not the network's own; \
             `samples.guidance = 1` guides none",
        );
    }
    let sampler = Sampler::new(&recipe.schedule, recipe.sampling)?;
    if !(0..sampler.len()).any(|step| sampler.adds_noise(step)) {
        return refuse(
            "asks how probable the steps of the sampler were, and those of the recipe's are not random; \
             `sampling.sampler = \"ddpm\"` has noise in all but the last of them",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::InfluenceRecipe;

    /// Only the loss of a query follows the curve of the loss, unless its draws have to be those of training images.
    #[test]
    fn losses_are_asked_where_losses_lie() {
        let asked = |recipe: InfluenceRecipe| {
            [Measurement::Loss, Measurement::WeightedLoss, Measurement::Square]
                .map(|measurement| recipe.asks_by_loss(QueryMeasurement::OfImage(measurement)))
        };
        let own = InfluenceRecipe::default();
        let shared = InfluenceRecipe { noise: Some(NoiseSharing::Shared), ..own };
        assert_eq!((asked(own), asked(shared)), ([true, false, false], [true; 3]));
        assert_eq!(asked(InfluenceRecipe { query_timestep: Some(3), ..shared }), [false; 3]);
    }

    /// Queries have the same draws in every round, and their parts stand for blocks of the images' draws evenly.
    #[test]
    fn draws_of_queries_do_not_change_with_rounds() {
        for blocks in [1, 2, 4, 8] {
            let draws = QueryDraws::beside(blocks, 32);
            assert_eq!(draws, QueryDraws { groups: 32, rows: 8 });
            assert_eq!((draws.groups_of(0), draws.groups_of(7)), (0..4, 28..32));
            assert_eq!(QueryDraws::beside(blocks.min(4), 4), QueryDraws { groups: 4, rows: 4 });
        }
        for blocks in 1..=8 {
            for most in [8, 16, 32] {
                let QueryDraws { groups, rows } = QueryDraws::beside(blocks, most);
                assert!(groups <= most && groups > most - blocks && rows <= 8, "{blocks} {most}");
                assert!(rows.is_multiple_of(blocks) && groups.is_multiple_of(rows), "{blocks} {most}");
            }
        }
    }
}
