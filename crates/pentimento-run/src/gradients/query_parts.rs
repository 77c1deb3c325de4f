//! What a method shows the network of queries.

use super::featuring::{ImageDraws, Item};
use super::queries::{Queries, Query};
use super::row_key::{noise_id, row_key};
use super::subject::Subject;
use crate::analyse::Ensemble;
use crate::error::Result;
use pentimento_attribution::gradient::{GradientMethod, QueryInput, RowKey, batches, journeys};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::denoising::Draw;
use std::ops::Range;
use std::slice;

/// What a method shows the network of queries: in parts, each of one timestep, so that scores of timesteps follow too.
pub struct QueryParts {
    /// What the parts are, a word.
    pub are: &'static str,
    /// The timestep of each.
    pub timesteps: Vec<usize>,
    /// The block of draws to which each belongs.
    pub blocks: Vec<usize>,
    /// The batches of groups in which they are taken, and the parts of each.
    pub batches: Vec<(Range<usize>, Range<usize>)>,
    /// Keys and images by query.
    items: Vec<QueryItem>,
}

struct QueryItem {
    key: RowKey,
    name: String,
    condition: Condition,
    shown: QueryImages,
}

/// What the network is shown of a query.
enum QueryImages {
    /// The image, in every part.
    Image(Vec<f32>),
    /// What was predicted at each step, one for each part.
    Journey(Vec<Vec<f32>>),
}

impl QueryParts {
    /// Prepares queries for a method. For the journey to a sample, it is made once more, to see the images on the way.
    ///
    /// # Errors
    ///
    /// [`RunError::OtherUse`] for the journey of an image that was not generated; as sampling.
    pub fn new(subject: &Subject<'_>, queries: &Queries, method: GradientMethod) -> Result<Self> {
        queries.set.check(method)?;
        match method.query {
            QueryInput::Image => Ok(Self::of_images(subject, &queries.images)),
            QueryInput::Journey => Self::of_journeys(subject, &queries.images),
        }
    }

    fn of_images(subject: &Subject<'_>, queries: &[Query]) -> Self {
        let plan = subject.draws();
        let schedule = &subject.workspace.recipe.schedule;
        let of_block = plan.groups_per_block();
        let of_group = |group| {
            plan.timesteps_of(schedule, group).into_iter().map(move |timestep| (timestep, group / of_block))
        };
        let (timesteps, blocks) = (0..plan.groups).flat_map(of_group).unzip();
        let parts = |groups: Range<usize>| groups.start * plan.timesteps..groups.end * plan.timesteps;
        let batches =
            batches(plan.groups).into_iter().map(|groups| (groups.clone(), parts(groups))).collect();
        let items = queries
            .iter()
            .map(|query| QueryItem {
                key: query.key(),
                name: query.title.clone(),
                condition: query.condition.clone(),
                shown: QueryImages::Image(query.input.clone()),
            })
            .collect();
        Self { are: "timesteps", timesteps, blocks, batches, items }
    }

    /// Each part is a step of the sampler, and its image what the networks then predicted, with one noise.
    fn of_journeys(subject: &Subject<'_>, queries: &[Query]) -> Result<Self> {
        let ensemble = Ensemble::open(subject.workspace, subject.networks)?;
        let Ensemble { mixture, sampler, seed, .. } = &ensemble;
        let sampling = subject.workspace.recipe.sampling;
        let range = sampling.clip.then_some(sampling.clip_range as f32);
        let go_on = || subject.workspace.options.stop.check();
        let trajectories = ensemble.trajectories(0..queries.len() as u32);
        let images = journeys(mixture, sampler, *seed, &trajectories, range, go_on)?;
        let timesteps: Vec<usize> = (0..sampler.len()).map(|step| sampler.timestep(step)).collect();
        let plan = subject.draws();
        let blocks = (0..timesteps.len()).map(|step| step % plan.groups / plan.groups_per_block()).collect();
        let batches = vec![(0..plan.groups, 0..timesteps.len())];
        let items = queries
            .iter()
            .zip(images)
            .map(|(query, images)| QueryItem {
                key: row_key(&images.concat(), slice::from_ref(&query.condition)),
                name: query.title.clone(),
                condition: query.condition.clone(),
                shown: QueryImages::Journey(images),
            })
            .collect();
        Ok(Self { are: "steps", timesteps, blocks, batches, items })
    }

    /// Keys of the queries' rows.
    pub fn keys(&self) -> Vec<RowKey> {
        self.items.iter().map(|item| item.key).collect()
    }

    /// What is featurised of a query in a batch of groups.
    pub fn item(&self, subject: &Subject<'_>, query: usize, groups: &Range<usize>) -> Item {
        let QueryItem { key, name, condition, shown } = &self.items[query];
        let (plan, schedule) = (subject.draws(), &subject.workspace.recipe.schedule);
        let parts = match shown {
            QueryImages::Image(image) => {
                let of_group = |group| {
                    let draws = plan.draws(schedule, group, image.len(), noise_id(key));
                    let of_timestep = |draws: &[Draw]| {
                        vec![ImageDraws {
                            image: image.clone(),
                            condition: condition.clone(),
                            draws: draws.to_vec(),
                        }]
                    };
                    draws.chunk_by(|a, b| a.timestep == b.timestep).map(of_timestep).collect::<Vec<_>>()
                };
                groups.clone().flat_map(of_group).collect()
            }
            QueryImages::Journey(images) => {
                let of_step = |(image, &timestep): (&Vec<f32>, &usize)| {
                    let draws = plan.draws_at(timestep, image.len(), noise_id(key));
                    vec![ImageDraws { draws, image: image.clone(), condition: condition.clone() }]
                };
                images.iter().zip(&self.timesteps).map(of_step).collect()
            }
        };
        Item { parts, name: name.clone() }
    }
}
