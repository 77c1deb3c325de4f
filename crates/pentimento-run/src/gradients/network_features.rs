//! The features of one network that a method compares: those of training images and those of queries.

use super::feature_store::Features;
use super::featuring::{FeatureKind, Featuring, ImageDraws, Item};
use super::projection_quality::{
    ItemSource, ProjectionQuality, bytes_of_whole_gradients, projection_quality, taking_part,
};
use super::queries::QueryParts;
use super::replay::Replay;
use super::row_key::{noise_id, row_key};
use super::subject::{Network, Subject};
use crate::error::Result;
use crate::event::{Progress, Reporter};
use crate::forecast::Forecast;
use crate::piece::Stage;
use crate::words::counted;
use pentimento_attribution::gradient::{Comparison, GradientMethod, RowKey};

/// Images whose gradients are taken without a forecast.
const FEW_IMAGES: usize = 8;

/// Features of one network.
pub(super) struct NetworkFeatures {
    pub images: Features,
    pub queries: Features,
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
        let images = &subject.training.images;
        let replay = match &network.training {
            Some(part) if subject.replays() => Some(Replay::new(subject, part)?),
            _ => None,
        };
        let key = |&index: &usize| match &replay {
            Some(replay) => replay.key(index, &images.scaled(index)),
            None => Some(row_key(&images.scaled(index), subject.class_of(index))),
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
        let progress = subject.workspace.reporter().begin(&title, (images + queries) as u64, 0);
        let image = |place: usize| self.image(place);
        let of_images = self.images_stage(&image, &progress)?.complete()?;
        let query = |query: usize| self.query(query);
        let of_queries = self.queries_stage(&query, &progress)?.complete()?;
        let queries = if queries == 1 { "1 query".into() } else { format!("{queries} queries") };
        progress.finish(&format!("{} and {queries}", counted(images, "training image")));
        let projection = if measures_projection { self.projection_quality()? } else { None };
        Ok(NetworkFeatures {
            images: of_images,
            queries: of_queries,
            factor: network.factor,
            events: self.replay.as_ref().map(Replay::count),
            projection,
        })
    }

    /// How long the gradients that are missing will take, in all of some networks, which are taken to lack as many as this one,
    /// the first; none if so few are missing that measuring takes as long.
    ///
    /// # Errors
    ///
    /// As taking some of them.
    pub(super) fn forecast(&self, networks: usize) -> Result<Option<Forecast>> {
        let progress = Reporter::silent().begin(self.method.name, 0, 0);
        let (image, query) = (|place: usize| self.image(place), |query: usize| self.query(query));
        let images = self.images_stage(&image, &progress)?;
        let queries = self.queries_stage(&query, &progress)?;
        // Of the first network the projection is measured too, with the same draws.
        let measured = taking_part(self.subject, self.keys.iter().flatten().count(), self.query_keys.len());
        if images.missing() + queries.missing() <= FEW_IMAGES {
            return Ok(None);
        }
        let (mut seconds, mut draws) = (0.0, 0);
        let (of_images, of_queries) = measured.unwrap_or_default();
        for (stage, measured) in [(&images, of_images), (&queries, of_queries)] {
            // Draws of queries are kept one by one, which takes longer.
            if let Some((of_image, of_draw)) = stage.seconds_per_draw()? {
                draws = draws.max(of_image);
                seconds += ((stage.missing() * networks + measured) * of_image) as f64 * of_draw;
            }
        }
        let asked = match queries.missing() {
            1 => "1 query".into(),
            count => format!("{count} queries"),
        };
        let work = format!(
            "gradients of {} and {asked} in {} at {} of each",
            counted(images.missing(), "training image"),
            counted(networks, "network"),
            counted(draws, "draw"),
        );
        Ok(Some(Forecast::new(self.method.name, work, seconds, self.bytes_held(networks))))
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
        let scores = images * queries * (self.subject.draws().groups + 2) * F64;
        whole.max(kernels + 2 * threads * block + 2 * queries * length * F32 + scores)
    }

    /// Does something with one of its stages: that of the training images or that of the queries.
    ///
    /// # Errors
    ///
    /// Those of the work, and as reading the run.
    pub fn with_stage<R>(&self, what: Asked, then: impl FnOnce(&dyn Stage) -> Result<R>) -> Result<R> {
        let progress = Reporter::silent().begin(self.method.name, 0, 0);
        let image = |place: usize| self.image(place);
        let query = |query: usize| self.query(query);
        match what {
            Asked::Images => then(&self.images_stage(&image, &progress)?),
            Asked::Queries => then(&self.queries_stage(&query, &progress)?),
        }
    }

    fn images_stage<'s>(
        &'s self,
        image: &'s (dyn Fn(usize) -> Result<Item> + Sync),
        progress: &'s Progress,
    ) -> Result<Featuring<'s>> {
        let show = (progress, "training images", 0);
        let kind = self.images_kind()?;
        Featuring::new(self.subject, Asked::Images, self.number, kind, &self.keys, image, show)
    }

    fn queries_stage<'s>(
        &'s self,
        query: &'s (dyn Fn(usize) -> Result<Item> + Sync),
        progress: &'s Progress,
    ) -> Result<Featuring<'s>> {
        let show = (progress, "queries", self.keys.len() as u64);
        let kind = self.queries_kind()?;
        Featuring::new(self.subject, Asked::Queries, self.number, kind, &self.query_keys, query, show)
    }

    fn images_kind(&self) -> Result<FeatureKind> {
        let weights = &self.network.weights;
        let (features_of, parts_are, parts) = match (&self.replay, &self.network.training) {
            (Some(_), Some(part)) => {
                (self.subject.replayed_features_of(weights.digest, self.method, part.member)?, "events", 1)
            }
            _ => (
                self.subject.features_of(weights.digest, self.method)?,
                "groups",
                self.subject.draws().groups,
            ),
        };
        Ok(FeatureKind { weights: weights.clone(), features_of, method: self.method, parts_are, parts })
    }

    fn queries_kind(&self) -> Result<FeatureKind> {
        let weights = &self.network.weights;
        Ok(FeatureKind {
            weights: weights.clone(),
            features_of: self.subject.features_of(weights.digest, self.method)?,
            method: self.method,
            parts_are: self.parts.are,
            parts: self.parts.timesteps.len(),
        })
    }

    /// What the network is shown of a training image, by its place among the chosen ones.
    fn image(&self, place: usize) -> Result<Item> {
        let Self { subject, method, .. } = *self;
        let (images, plan) = (&subject.training.images, subject.draws());
        let index = self.chosen[place];
        let name = format!("{} of the training set", images.source_indices()[index]);
        let image = images.scaled(index);
        if let Some(replay) = &self.replay {
            return Ok(replay.item(index, &image, method.unit_length, name));
        }
        let id = self.keys[place].as_ref().map_or(0, noise_id);
        let of_group = |group| {
            let draws = plan.draws(&subject.workspace.recipe.schedule, group, image.len(), id);
            vec![ImageDraws { draws, image: image.clone() }]
        };
        Ok(Item { parts: (0..plan.groups).map(of_group).collect(), class: subject.class_of(index), name })
    }

    fn query(&self, query: usize) -> Result<Item> {
        Ok(self.parts.item(self.subject, query))
    }

    fn projection_quality(&self) -> Result<Option<ProjectionQuality>> {
        // An image without a gradient tells nothing.
        let seen: Vec<usize> = (0..self.keys.len()).filter(|&place| self.keys[place].is_some()).collect();
        let image = |place: usize| self.image(seen[place]);
        let query = |query: usize| self.query(query);
        projection_quality(
            self.subject,
            &self.network.weights,
            &self.images_kind()?.features_of,
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
    /// That of a word in a stage's name.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Images, Self::Queries].into_iter().find(|asked| asked.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Queries => "queries",
        }
    }

    /// The name of the stage, such as `d-trak/0/images`.
    pub fn stage(self, method: GradientMethod, network: usize) -> String {
        format!("{}/{network}/{}", method.name, self.word())
    }
}
