//! The features of one network that a method compares: those of training images and those of queries.

use super::feature_store::Features;
use super::featuring::{FeatureKind, Featuring, ImageDraws, Item};
use super::projection_quality::{
    ItemSource, ProjectionQuality, bytes_of_whole_gradients, projection_quality, taking_part,
};
use super::query_parts::QueryParts;
use super::replay::Replay;
use super::row_key::noise_id;
use super::subject::{Network, Subject};
use crate::error::Result;
use crate::event::{Progress, Reporter};
use crate::forecast::{FEW_IMAGES, Forecast, MoreDraws};
use crate::piece::Stage;
use crate::words::counted;
use pentimento_attribution::gradient::{Comparison, DrawPlan, GradientMethod, QueryInput, RowKey, batches};
use std::ops::Range;

/// Features in a batch of groups of draws.
#[derive(Clone)]
pub(super) struct Batch {
    /// The number of its first part among those of all batches: a group of draws for images, a timestep for queries.
    pub first: usize,
    pub features: Features,
}

/// Features of one network.
pub(super) struct NetworkFeatures {
    pub images: Vec<Batch>,
    pub queries: Vec<Batch>,
    /// Groups of draws that are left out together.
    pub groups_per_block: usize,
    /// What the network's scores are multiplied with.
    pub factor: f64,
    /// Events of training that were taken, if those were.
    pub events: Option<usize>,
    pub projection: Option<ProjectionQuality>,
}

/// A network that is asked by a method about some training images and queries.
pub struct AskedNetwork<'a> {
    subject: &'a Subject<'a>,
    network: &'a Network<'a>,
    /// Its number among those that the method asks.
    number: usize,
    method: GradientMethod,
    parts: &'a QueryParts,
    /// Positions of the images among the training images.
    chosen: &'a [usize],
    replay: Option<Replay>,
    /// What the network is shown of each of them; none without a gradient.
    keys: Vec<Option<RowKey>>,
    query_keys: Vec<Option<RowKey>>,
}

impl<'a> AskedNetwork<'a> {
    /// A network, asked about the training images at the positions `chosen` and about queries.
    ///
    /// # Errors
    ///
    /// If codes and groups contradict each other.
    pub fn new(
        subject: &'a Subject<'a>,
        network: &'a Network<'a>,
        number: usize,
        method: GradientMethod,
        parts: &'a QueryParts,
        chosen: &'a [usize],
    ) -> Result<Self> {
        let replay = match &network.training {
            Some(part) if subject.replays() => Some(Replay::new(subject, part)?),
            _ => None,
        };
        let key = |&index: &usize| match &replay {
            Some(replay) => replay.key(index, &subject.training.input(index)),
            None => Some(subject.image_key(index)),
        };
        let keys = chosen.iter().map(key).collect();
        let query_keys = parts.keys().into_iter().map(Some).collect();
        Ok(Self { subject, network, number, method, parts, chosen, replay, keys, query_keys })
    }

    /// All features, made where they are missing.
    ///
    /// # Errors
    ///
    /// As making them, and measuring the projection if that is wanted.
    pub(super) fn features(&self, measures_projection: bool) -> Result<NetworkFeatures> {
        let Self { subject, network, method, .. } = *self;
        let (images, queries) = (self.keys.len(), self.query_keys.len());
        let title = subject.work_on(method.name, self.number, subject.networks_of(method)?.len());
        let image_batches = self.image_batches();
        let all = images * image_batches.len() + queries * self.parts.batches.len();
        let progress = subject.workspace.reporter().begin(&title, all as u64, 0);
        let (mut of_images, mut of_queries, mut done) = (Vec::new(), Vec::new(), 0);
        for groups in image_batches {
            let image = |place: usize| self.image(place, &groups);
            let features = self.images_stage(&groups, &image, (&progress, done))?.complete()?;
            of_images.push(Batch { first: groups.start, features });
            done += images;
        }
        for (groups, parts) in &self.parts.batches {
            let query = |query: usize| self.query(query, groups);
            let features =
                self.queries_stage((groups, parts.len()), &query, (&progress, done))?.complete()?;
            of_queries.push(Batch { first: parts.start, features });
            done += queries;
        }
        let queries = if queries == 1 { "1 query".into() } else { format!("{queries} queries") };
        progress.finish(&format!("{} and {queries}", counted(images, "training image")));
        let projection = if measures_projection { self.projection_quality()? } else { None };
        Ok(NetworkFeatures {
            images: of_images,
            queries: of_queries,
            groups_per_block: subject.draws().groups_per_block(),
            factor: network.factor,
            events: self.replay.as_ref().map(Replay::count),
            projection,
        })
    }

    /// How long the gradients that are missing of some batches will take, in all of some networks, which are taken to lack as
    /// many as this one, the first; none if so few are missing that measuring takes as long. `rounds` are the groups of the first
    /// round and of the last one that there may be, which are those of this network's subject.
    ///
    /// # Errors
    ///
    /// As taking some of them.
    pub(super) fn forecast(&self, networks: usize, rounds: Range<usize>) -> Result<Option<Forecast>> {
        let progress = Reporter::silent().begin(self.method.name, 0, 0);
        // Of the first network the projection is measured too, with the draws of the first batch.
        let measured = taking_part(self.subject, self.keys.iter().flatten().count(), self.query_keys.len());
        let (of_images, of_queries) = measured.unwrap_or_default();
        let (mut images, mut queries) = (Missing::default(), Missing::default());
        for groups in self.image_batches() {
            let image = |place: usize| self.image(place, &groups);
            images.add(&self.images_stage(&groups, &image, (&progress, 0))?, &groups, &rounds, of_images)?;
        }
        for (groups, parts) in &self.parts.batches {
            let query = |query: usize| self.query(query, groups);
            let stage = self.queries_stage((groups, parts.len()), &query, (&progress, 0))?;
            queries.add(&stage, groups, &rounds, of_queries)?;
        }
        if images.first + queries.first + images.later <= FEW_IMAGES {
            return Ok(None);
        }
        let seconds = images.seconds(networks) + queries.seconds(networks);
        let most = seconds + images.later_seconds(networks) + queries.later_seconds(networks);
        let asked = match queries.first {
            1 => "1 query".into(),
            count => format!("{count} queries"),
        };
        let draws = |groups: usize| DrawPlan { groups, ..self.subject.draws() }.count();
        let work = if images.first + queries.first == 0 {
            String::new()
        } else {
            format!(
                "gradients of {} and {asked} in {} at {} of each",
                counted(images.first, "training image"),
                counted(networks, "network"),
                counted(images.draws.max(queries.draws), "draw"),
            )
        };
        let more = (rounds.end > rounds.start).then(|| MoreDraws { draws: draws(rounds.end), seconds: most });
        Ok(Some(Forecast::new(self.method.name, work, seconds, self.bytes_held(networks)).with_more(more)))
    }

    /// The most that is held beside a network: of the whole gradients with which the projection is compared, or of the kernels
    /// of all networks with the features that are read at once.
    fn bytes_held(&self, networks: usize) -> usize {
        const F32: usize = size_of::<f32>();
        const F64: usize = size_of::<f64>();
        /// Images whose features are read at once by each thread.
        const BLOCK_IMAGES: usize = 256;
        let (images, queries, length) = (self.keys.len(), self.query_keys.len(), self.subject.dimension());
        let whole = match taking_part(self.subject, images, queries) {
            Some((images, queries)) => bytes_of_whole_gradients(self.subject, images + queries),
            None => 0,
        };
        let side = images.min(length);
        let kernels = match self.method.comparison {
            // Of each network the directions; of one more the matrix, its eigenvectors and what finding them takes.
            Comparison::InverseKernel(_) => (networks + 4) * side * side * F64,
            Comparison::Dot | Comparison::Cosine => 0,
        };
        let threads = rayon::current_num_threads().max(1);
        let block = BLOCK_IMAGES.min(images) * length * (2 * F32 + F64);
        let scores = images * queries * (self.subject.draws().blocks() + 2) * F64;
        whole.max(kernels + 2 * threads * block + 2 * queries * length * F32 + scores)
    }

    /// Does something with one of its stages: that of the training images or that of the queries, in the batch of groups that
    /// begins with `first`; none if there is no such batch.
    ///
    /// # Errors
    ///
    /// Those of the work, and as reading the run.
    pub fn with_stage<R>(
        &self,
        what: Asked,
        first: usize,
        then: impl FnOnce(&dyn Stage) -> Result<R>,
    ) -> Result<Option<R>> {
        let progress = Reporter::silent().begin(self.method.name, 0, 0);
        match what {
            Asked::Images => {
                let groups = self.image_batches().into_iter().find(|groups| groups.start == first);
                let Some(groups) = groups else { return Ok(None) };
                let image = |place: usize| self.image(place, &groups);
                then(&self.images_stage(&groups, &image, (&progress, 0))?).map(Some)
            }
            Asked::Queries => {
                let batch = self.parts.batches.iter().find(|(groups, _)| groups.start == first);
                let Some((groups, parts)) = batch else { return Ok(None) };
                let query = |query: usize| self.query(query, groups);
                then(&self.queries_stage((groups, parts.len()), &query, (&progress, 0))?).map(Some)
            }
        }
    }

    /// The batches of groups in which training images are asked; what they met in training is one.
    fn image_batches(&self) -> Vec<Range<usize>> {
        let groups = self.subject.draws().groups;
        if self.replay.is_some() { std::iter::once(0..groups).collect() } else { batches(groups) }
    }

    fn images_stage<'s>(
        &'s self,
        groups: &Range<usize>,
        image: &'s (dyn Fn(usize) -> Result<Item> + Sync),
        (progress, done): (&'s Progress, usize),
    ) -> Result<Featuring<'s>> {
        let show = (progress, "training images", done as u64);
        let kind = self.images_kind(groups)?;
        Featuring::new(self.subject, Asked::Images, self.number, kind, &self.keys, image, show)
    }

    fn queries_stage<'s>(
        &'s self,
        (groups, parts): (&Range<usize>, usize),
        query: &'s (dyn Fn(usize) -> Result<Item> + Sync),
        (progress, done): (&'s Progress, usize),
    ) -> Result<Featuring<'s>> {
        let show = (progress, "queries", done as u64);
        let kind = self.queries_kind(groups, parts)?;
        Featuring::new(self.subject, Asked::Queries, self.number, kind, &self.query_keys, query, show)
    }

    fn images_kind(&self, groups: &Range<usize>) -> Result<FeatureKind> {
        let (weights, method) = (&self.network.weights, self.method);
        let (features_of, parts_are, parts) = match (&self.replay, &self.network.training) {
            (Some(_), Some(part)) => {
                (self.subject.replayed_features_of(weights.digest, method, part.member)?, "events", 1)
            }
            _ => (self.subject.features_of(weights.digest, method, groups)?, "groups", groups.len()),
        };
        let (weights, groups) = (weights.clone(), groups.clone());
        Ok(FeatureKind { weights, features_of, method, parts_are, parts, groups })
    }

    fn queries_kind(&self, groups: &Range<usize>, parts: usize) -> Result<FeatureKind> {
        let weights = &self.network.weights;
        Ok(FeatureKind {
            weights: weights.clone(),
            features_of: self.subject.features_of(weights.digest, self.method, groups)?,
            method: self.method,
            parts_are: self.parts.are,
            parts,
            groups: groups.clone(),
        })
    }

    /// What the network is shown of a training image in a batch of groups, by its place among the chosen ones.
    fn image(&self, place: usize, groups: &Range<usize>) -> Result<Item> {
        let Self { subject, method, .. } = *self;
        let (images, plan) = (&subject.training.images, subject.draws());
        let index = self.chosen[place];
        let name = format!("{} of the training set", images.source_indices()[index]);
        let image = subject.training.input(index);
        if let Some(replay) = &self.replay {
            return Ok(replay.item(index, &image, method.unit_length, name));
        }
        let id = self.keys[place].as_ref().map_or(0, noise_id);
        let of_group = |group| {
            let draws = plan.draws(&subject.workspace.recipe.schedule, group, image.len(), id);
            vec![ImageDraws { draws, image: image.clone(), condition: subject.condition_of(index, group) }]
        };
        Ok(Item { parts: groups.clone().map(of_group).collect(), name })
    }

    fn query(&self, query: usize, groups: &Range<usize>) -> Result<Item> {
        Ok(self.parts.item(self.subject, query, groups))
    }

    fn projection_quality(&self) -> Result<Option<ProjectionQuality>> {
        // An image without a gradient tells nothing.
        let seen: Vec<usize> = (0..self.keys.len()).filter(|&place| self.keys[place].is_some()).collect();
        // With the draws of the first batch: a projection is none the better for more of them.
        let (groups, batches) = (self.image_batches(), &self.parts.batches);
        let (Some(groups), Some((of_query, _))) = (groups.first(), batches.first()) else { return Ok(None) };
        let image = |place: usize| self.image(seen[place], groups);
        let query = |query: usize| self.query(query, of_query);
        projection_quality(
            self.subject,
            &self.network.weights,
            &self.images_kind(groups)?.features_of,
            self.method,
            &ItemSource { count: seen.len(), item: &image },
            &ItemSource { count: self.query_keys.len(), item: &query },
        )
    }
}

/// Of what the features are that a stage makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Training images.
    Images,
    /// Queries.
    Queries,
}

impl Asked {
    /// That of a word in a stage's name, and the first group of the batch, such as `queries` or `images-4-7`.
    pub fn named(word: &str) -> Option<(Self, usize)> {
        let (word, first) = match word.split_once('-') {
            None => (word, 0),
            Some((word, groups)) => (word, groups.split_once('-')?.0.parse().ok()?),
        };
        let asked = [Self::Images, Self::Queries].into_iter().find(|asked| asked.word() == word)?;
        Some((asked, first))
    }

    fn word(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Queries => "queries",
        }
    }

    /// The name of the stage for a batch of groups of draws: `d-trak/0/images` for the first one, `d-trak/0/images-4-7` for
    /// that of the groups 4 to 7.
    pub fn stage(self, method: GradientMethod, network: usize, groups: Range<usize>) -> String {
        format!("{}/{network}/{}{}", method.name, self.word(), batch_ending(&groups))
    }

    /// The names of the stages of a network by a method in the first round.
    pub fn stages(subject: &Subject<'_>, method: GradientMethod, network: usize) -> Vec<String> {
        let all = batches(subject.draws().groups);
        let replays = method.follows_training && subject.replays();
        let only_one = |asked| match asked {
            Self::Images => replays,
            Self::Queries => method.query == QueryInput::Journey,
        };
        let of = |asked: Self| {
            let count = if only_one(asked) { 1 } else { all.len() };
            all.iter()
                .take(count)
                .map(move |groups| asked.stage(method, network, groups.clone()))
                .collect::<Vec<_>>()
        };
        [Self::Images, Self::Queries].into_iter().flat_map(of).collect()
    }
}

/// What stands behind the name of a stage that has a part for each batch of groups of draws; nothing for the first.
pub(crate) fn batch_ending(groups: &Range<usize>) -> String {
    if groups.start == 0 { String::new() } else { format!("-{}-{}", groups.start, groups.end - 1) }
}

/// What is missing of images or of queries.
#[derive(Default)]
struct Missing {
    /// Images of the first round without a row, of whichever batch lacks the most.
    first: usize,
    /// Those of later rounds.
    later: usize,
    /// Draws of each in the first round.
    draws: usize,
    /// Draws of all images together: in the first round, of the images on which the projection is measured, in later ones.
    of_first: usize,
    of_measured: usize,
    of_later: usize,
    /// Seconds of a draw.
    of_draw: f64,
}

impl Missing {
    /// Adds what a stage lacks, which is of some groups. `measured` images are measured with the draws of the first batch.
    fn add(
        &mut self,
        stage: &Featuring<'_>,
        groups: &Range<usize>,
        rounds: &Range<usize>,
        measured: usize,
    ) -> Result<()> {
        let missing = stage.missing();
        let Some(draws) = stage.draws_of_missing()? else { return Ok(()) };
        if self.of_draw == 0.0 {
            self.of_draw = stage.seconds_per_draw()?.unwrap_or_default();
        }
        if groups.start < rounds.start {
            self.first = self.first.max(missing);
            self.draws += draws;
            self.of_first += missing * draws;
            self.of_measured += if groups.start == 0 { measured * draws } else { 0 };
        } else {
            self.later = self.later.max(missing);
            self.of_later += missing * draws;
        }
        Ok(())
    }

    fn seconds(&self, networks: usize) -> f64 {
        (self.of_first * networks + self.of_measured) as f64 * self.of_draw
    }

    fn later_seconds(&self, networks: usize) -> f64 {
        (self.of_later * networks) as f64 * self.of_draw
    }
}
