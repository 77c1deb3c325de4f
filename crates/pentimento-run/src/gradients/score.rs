//! Scores of training images for queries by one method, from the features in the run.

use super::candidates::{candidates, quality, sample};
use super::network_features::{AskedNetwork, Batch, NetworkFeatures};
use super::queries::Queries;
use super::query_parts::QueryParts;
use super::rounds::{InRounds, in_rounds};
use super::score_table::{Details, FollowedTraining, GradientDetails, GradientsTaken, ScoreTable};
use super::subject::{Network, Subject};
use crate::error::{Result, RunError};
use crate::forecast::Forecast;
use pentimento_attribution::gradient::{
    CandidateQuality, Comparison, DampingView, FeatureBlock, FeatureSource, GradientMethod, QueryInput,
    QueryTimesteps, Spread, Strips, compare_networks, damping_view, image_readers, jackknife, scores_around,
    strips,
};
use pentimento_attribution::methods::Method;
use pentimento_attribution::scores::{ScoreRows, Scores};
use std::collections::BTreeSet;
use std::ops::Range;

impl NetworkFeatures {
    /// Those of some of the images and queries, by their positions.
    fn of(&self, images: &[usize], queries: &[usize]) -> Self {
        let of = |batches: &[Batch], places: &[usize]| {
            let of_batch = |batch: &Batch| Batch { features: batch.features.of(places), ..*batch };
            batches.iter().map(of_batch).collect()
        };
        Self { images: of(&self.images, images), queries: of(&self.queries, queries), ..*self }
    }
}

impl FeatureSource for NetworkFeatures {
    type Error = RunError;

    fn images(&self) -> usize {
        self.images.first().map_or(0, |batch| batch.features.len())
    }

    fn queries(&self) -> usize {
        self.queries.first().map_or(0, |batch| batch.features.len())
    }

    fn dimension(&self) -> usize {
        self.images.first().map_or(0, |batch| batch.features.dimension())
    }

    fn factor(&self) -> f64 {
        self.factor
    }

    /// What an image met in training is what it was: only the draws of queries can be left out.
    fn image_block(&self, images: Range<usize>, left_out: Option<usize>) -> Result<FeatureBlock> {
        let keep = |group: usize| self.events.is_some() || Some(group / self.groups_per_block) != left_out;
        let kept = with_shares(&self.images, &keep);
        let block = |(share, batch): (f32, &Batch)| -> Result<(f32, FeatureBlock)> {
            Ok((share, batch.features.block(images.clone(), |part| keep(batch.first + part))?))
        };
        Ok(FeatureBlock::mean(kept.into_iter().map(block).collect::<Result<_>>()?))
    }

    fn query_features(&self, queries: Range<usize>, keep: &dyn Fn(usize) -> bool) -> Result<Vec<f32>> {
        let block = |(share, batch): (f32, &Batch)| -> Result<(f32, FeatureBlock)> {
            Ok((share, batch.features.read(queries.clone(), |part| keep(batch.first + part))?.into()))
        };
        let kept = with_shares(&self.queries, keep);
        Ok(FeatureBlock::mean(kept.into_iter().map(block).collect::<Result<_>>()?).into_values())
    }

    fn query_parts(&self, query: usize) -> Result<Vec<f32>> {
        let mut parts = Vec::new();
        for batch in &self.queries {
            parts.extend(batch.features.read_parts(query..query + 1)?);
        }
        Ok(parts)
    }
}

/// The batches of which parts are kept, each with the share that they are of all that are kept; the first one, if none is.
fn with_shares<'a>(batches: &'a [Batch], keep: &dyn Fn(usize) -> bool) -> Vec<(f32, &'a Batch)> {
    let kept = |batch: &Batch| (0..batch.features.parts()).filter(|part| keep(batch.first + part)).count();
    let counts: Vec<usize> = batches.iter().map(kept).collect();
    let all: usize = counts.iter().sum();
    if all == 0 {
        return batches.iter().take(1).map(|batch| (1.0, batch)).collect();
    }
    let shares = counts.iter().map(|&count| count as f32 / all as f32);
    shares.zip(batches).filter(|&(share, _)| share > 0.0).collect()
}

/// Scores every training image for every query, or each query's candidates. Features that are missing are made.
///
/// # Errors
///
/// [`Stopped`](crate::error::RunError::Stopped) on Ctrl-C, finished features are kept; what the features, the damping
/// or the queries do not allow.
pub fn score(
    subject: &Subject<'_>,
    queries: &Queries,
    named: Method,
    method: GradientMethod,
) -> Result<ScoreTable> {
    let asked = subject.networks_of(method)?;
    let chosen = chosen(subject, queries)?;
    let images = images_of(subject, chosen.as_deref());
    if let Some(forecast) = forecast_of(subject, queries, method, &asked, &images)? {
        forecast.tell(subject.workspace.reporter());
    }
    let of_round = |subject: &Subject<'_>| -> Result<Round> {
        let parts = QueryParts::new(subject, queries, method)?;
        let networks: Vec<NetworkFeatures> = asked
            .iter()
            .enumerate()
            .map(|(number, network)| {
                let asked = AskedNetwork::new(subject, network, number, method, &parts, &images)?;
                asked.features(number == 0)
            })
            .collect::<Result<_>>()?;
        let mut scored = match &chosen {
            None => scored(subject, method, &networks, &parts, &images)?,
            Some(chosen) => each_with_its_own(subject, method, &networks, &parts, &images, chosen)?,
        };
        Ok(Round { networks, spread: Spread::new(std::mem::take(&mut scored.scores.replicates)), scored })
    };
    let adapts = adapts(subject, method);
    let InRounds { found, draws, ended_by } = in_rounds(subject, method.name, adapts, of_round, |round| {
        (round.scored.scores.scores.as_slice(), &round.spread)
    })?;
    let Round { networks, scored: Scored { scores, strips, dampings }, spread } = found;
    let candidates = match (candidates_wanted(subject), asked.first()) {
        (Some(count), Some(first)) => {
            Some(quality_of(&subject.with_groups(draws.groups), queries, method, first, count)?)
        }
        _ => None,
    };
    let dimension = networks.first().map_or(0, FeatureSource::dimension);
    Ok(ScoreTable {
        spread,
        details: Details::Gradients(GradientDetails {
            taken: GradientsTaken::new(subject, &draws, ended_by, dimension),
            self_influence: scores.self_influence,
            strips,
            dampings,
            projection: networks.first().and_then(|network| network.projection),
            followed: followed(&asked, &networks),
            candidates,
        }),
        ..ScoreTable::plain(subject, queries, named, scores.scores)?
    })
}

/// Scores at multiples of the damping that the method takes, `[factors][queries][images]`, from the features of [`score`] in as
/// many groups of draws as it came to; none for a method without a kernel, and where only candidates are scored.
///
/// # Errors
///
/// As [`score`].
pub fn scores_around_damping(
    subject: &Subject<'_>,
    queries: &Queries,
    method: GradientMethod,
    groups: usize,
    factors: &[f64],
) -> Result<Option<Vec<ScoreRows>>> {
    let subject = &subject.with_groups(groups);
    if !matches!(method.comparison, Comparison::InverseKernel(_)) || candidates_wanted(subject).is_some() {
        return Ok(None);
    }
    let parts = QueryParts::new(subject, queries, method)?;
    let images = images_of(subject, None);
    let features = |(number, network): (usize, &Network<'_>)| {
        AskedNetwork::new(subject, network, number, method, &parts, &images)?.features(false)
    };
    let networks: Vec<NetworkFeatures> =
        subject.networks_of(method)?.iter().enumerate().map(features).collect::<Result<_>>()?;
    let damping = subject.workspace.recipe.gradients.damping;
    let go_on = || subject.workspace.options.stop.check();
    let readers = image_readers(&networks);
    let compared = compare_networks(&networks, &readers, method.comparison, damping, go_on)?;
    scores_around(&compared, &networks, factors)
}

/// What a round of draws gave.
struct Round {
    networks: Vec<NetworkFeatures>,
    scored: Scored,
    spread: Spread,
}

/// Whether a method can have more draws. Steps of the sampler and events of training are as many as there are: where one side
/// has them, the other is asked at a fixed number of draws.
fn adapts(subject: &Subject<'_>, method: GradientMethod) -> bool {
    method.query != QueryInput::Journey && !(method.follows_training && subject.replays())
}

/// How long [`score`] will take.
///
/// # Errors
///
/// As taking some of the gradients.
pub fn forecast(subject: &Subject<'_>, queries: &Queries, method: GradientMethod) -> Result<Forecast> {
    let asked = subject.networks_of(method)?;
    let images = images_of(subject, chosen(subject, queries)?.as_deref());
    let forecast = forecast_of(subject, queries, method, &asked, &images)?;
    Ok(forecast.unwrap_or_else(|| Forecast::nothing(method.name)))
}

fn forecast_of(
    subject: &Subject<'_>,
    queries: &Queries,
    method: GradientMethod,
    asked: &[Network<'_>],
    images: &[usize],
) -> Result<Option<Forecast>> {
    let Some(network) = asked.first() else { return Ok(None) };
    let last = if adapts(subject, method) { subject.in_last_round() } else { *subject };
    let rounds = subject.draws().groups..last.draws().groups;
    let parts = QueryParts::new(&last, queries, method)?;
    AskedNetwork::new(&last, network, 0, method, &parts, images)?.forecast(asked.len(), rounds)
}

/// How many candidates each query has, if not all training images are scored.
fn candidates_wanted(subject: &Subject<'_>) -> Option<usize> {
    let all = subject.training.images.len();
    subject.workspace.recipe.gradients.candidates.filter(|&count| count < all)
}

/// The candidates of each query, if not all training images are scored.
fn chosen(subject: &Subject<'_>, queries: &Queries) -> Result<Option<Vec<Vec<usize>>>> {
    candidates_wanted(subject).map(|count| candidates(subject, queries, count)).transpose()
}

/// The training images that are candidates of any query; all, if none are chosen.
fn images_of(subject: &Subject<'_>, chosen: Option<&[Vec<usize>]>) -> Vec<usize> {
    match chosen {
        None => (0..subject.training.images.len()).collect(),
        Some(chosen) => chosen.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect(),
    }
}

/// What is known of some training images for some queries.
#[derive(Default)]
struct Scored {
    scores: Scores,
    strips: Strips,
    dampings: Vec<DampingView>,
}

/// Scores all images that the networks have features of, which are those at `images` of the training set.
fn scored(
    subject: &Subject<'_>,
    method: GradientMethod,
    networks: &[NetworkFeatures],
    parts: &QueryParts,
    images: &[usize],
) -> Result<Scored> {
    let (comparison, damping) = (method.comparison, subject.workspace.recipe.gradients.damping);
    let parts = QueryTimesteps { timesteps: &parts.timesteps, blocks: &parts.blocks };
    let go_on = || subject.check();
    let readers = image_readers(networks);
    let compared = compare_networks(networks, &readers, comparison, damping, go_on)?;
    let scores = jackknife(networks, &compared, comparison, subject.draws().blocks(), parts, go_on)?;
    if let Some((_, place)) = scores.first_not_finite() {
        let image = subject.training.images.source_indices()[images[place]];
        return Err(RunError::RecipeValue {
            file: method.name.into(),
            field: format!("a score of training image {image}"),
            value: "not finite".into(),
            bound: "a number; the network's output is so large that products of its gradients overflow"
                .into(),
        });
    }
    let strips = strips(networks, &compared, parts, &scores.scores)?;
    let views = compared.iter().zip(networks).map(|(compared, network)| damping_view(compared, network));
    let dampings = views.filter_map(Result::transpose).collect::<Result<_>>()?;
    Ok(Scored { scores, strips, dampings })
}

/// Scores each query with its own candidates, as if they were all training images: so its scores do not depend on what else
/// is asked. Nothing is said of the damping, of which each query has its own. `images` are those that the networks have
/// features of, `chosen` the candidates of each query.
fn each_with_its_own(
    subject: &Subject<'_>,
    method: GradientMethod,
    networks: &[NetworkFeatures],
    parts: &QueryParts,
    images: &[usize],
    chosen: &[Vec<usize>],
) -> Result<Scored> {
    let mut together = Scored::default();
    for (query, own) in chosen.iter().enumerate() {
        let places: Vec<usize> =
            own.iter().map(|image| images.partition_point(|before| before < image)).collect();
        let of_query: Vec<NetworkFeatures> =
            networks.iter().map(|network| network.of(&places, &[query])).collect();
        let Scored { scores, strips, .. } = scored(subject, method, &of_query, parts, own)?;
        together.scores.append(scores.among(own, subject.training.images.len()));
        together.strips.append(strips, own);
    }
    Ok(together)
}

/// Scores some queries in full, with as many training images as is bearable, and compares with the candidates.
fn quality_of(
    subject: &Subject<'_>,
    queries: &Queries,
    method: GradientMethod,
    network: &Network<'_>,
    count: usize,
) -> Result<CandidateQuality> {
    let (images, sampled) = sample(subject, queries);
    let parts = &QueryParts::new(subject, queries, method)?;
    let network = AskedNetwork::new(subject, network, 0, method, parts, &images)?.features(false)?;
    let everything: Vec<usize> = (0..images.len()).collect();
    let scored = scored(subject, method, &[network.of(&everything, &sampled)], parts, &images)?;
    let queries = Queries {
        set: queries.set.clone(),
        images: sampled.iter().map(|&query| queries.images[query].clone()).collect(),
    };
    quality(subject, &queries, &images, &scored.scores.scores, count)
}

/// What was followed of the training.
fn followed(asked: &[Network<'_>], networks: &[NetworkFeatures]) -> Option<FollowedTraining> {
    let mut checkpoints: Vec<usize> =
        asked.iter().filter_map(|network| Some(network.training.as_ref()?.steps.end)).collect();
    checkpoints.sort_unstable();
    checkpoints.dedup();
    let events = networks.iter().map(|network| network.events).sum();
    (!checkpoints.is_empty()).then_some(FollowedTraining { checkpoints, events })
}
