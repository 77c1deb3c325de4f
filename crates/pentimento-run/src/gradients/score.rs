//! Scores of training images for queries by one method, from the features in the run.

use super::candidates::{CandidateQuality, candidates, quality, sample};
use super::network_features::{AskedNetwork, NetworkFeatures};
use super::queries::{Queries as QueriedImages, QueryParts};
use super::rank_agreement;
use super::score_table::{DampingPoint, DampingView, FollowedTraining, ScoreTable, Strips};
use super::subject::{Network, Subject};
use crate::error::{Result, RunError};
use pentimento_attribution::gradient::{
    Compared, FeatureBlock, GradientMethod, ImageRows, Kernel, Queries, Spread,
};
use pentimento_attribution::methods::Method;
use std::collections::BTreeSet;
use std::ops::Range;

/// Training images of each query whose scores are told by timestep.
const IN_STRIPS: usize = 20;

/// Dampings of the curve, each a factor 10^(1/3) above the last, from 10^-4 of the one that is taken to 10^4 of it.
const CURVE_STEPS_PER_DECADE: usize = 3;
const CURVE_DECADES: i32 = 4;

/// Queries that the damping's curve looks at; their order of all training images is made for every damping.
const IN_CURVE: usize = 16;

impl NetworkFeatures {
    /// Those of some of the images and queries, by their positions.
    fn of(&self, images: &[usize], queries: &[usize]) -> Self {
        Self { images: self.images.of(images), queries: self.queries.of(queries), ..*self }
    }

    /// Whether a group of draws of a training image takes part. What an image met in training is what it was: only the
    /// draws of queries can be left out.
    fn keeps(&self, group: usize, left_out: usize) -> bool {
        self.events.is_some() || group != left_out
    }
}

/// Scores every training image for every query, or each query's candidates. Features that are missing are made.
///
/// # Errors
///
/// [`Stopped`](crate::error::RunError::Stopped) on Ctrl-C, finished features are kept; what the features, the damping
/// or the queries do not allow.
pub fn score(
    subject: &Subject<'_>,
    queries: &QueriedImages,
    named: Method,
    method: GradientMethod,
) -> Result<ScoreTable> {
    let parts = QueryParts::new(subject, queries, method)?;
    let asked = subject.networks_of(method)?;
    let all: Vec<usize> = (0..subject.training.images.len()).collect();
    let count = subject.workspace.recipe.gradients.candidates.filter(|&count| count < all.len());
    let chosen = count.map(|count| candidates(subject, queries, &all, count)).transpose()?;
    let images = match &chosen {
        None => all,
        Some(chosen) => chosen.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect(),
    };
    let networks: Vec<NetworkFeatures> = asked
        .iter()
        .enumerate()
        .map(|(number, network)| {
            let asked = AskedNetwork::new(subject, network, number, method, &parts, &images)?;
            asked.features(number == 0)
        })
        .collect::<Result<_>>()?;
    let Scored { scores, replicates, self_influence, strips, dampings } = match &chosen {
        None => scored(subject, method, &networks, &parts, &images)?,
        Some(chosen) => each_with_its_own(subject, method, &networks, &parts, (&images, chosen))?,
    };
    let candidates = match (count, asked.first()) {
        (Some(count), Some(first)) => Some(quality_of(subject, queries, method, &parts, (first, count))?),
        _ => None,
    };
    Ok(ScoreTable {
        spread: Spread::new(replicates),
        self_influence,
        strips,
        dampings,
        projection: networks.first().and_then(|network| network.projection),
        draws: subject.draws().count(),
        most_draws: subject.workspace.recipe.schedule.num_train_timesteps * subject.draws().per_timestep(),
        dimension: networks.first().map_or(0, |network| network.images.dimension()),
        networks: subject.networks.weights.len(),
        followed: followed(&asked, &networks),
        candidates,
        ..ScoreTable::plain(subject, queries, named, scores)?
    })
}

/// What is known of some training images for some queries.
struct Scored {
    /// `[queries][images]`.
    scores: Vec<Vec<f64>>,
    /// Scores without each group of draws.
    replicates: Vec<Vec<Vec<f64>>>,
    self_influence: Vec<f64>,
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
    let groups = subject.draws().groups;
    let given = subject.workspace.recipe.gradients.damping;

    // With all draws, for each network.
    let readers: Vec<_> = networks
        .iter()
        .map(|network| move |images: Range<usize>| network.images.block(images, |_| true))
        .collect();
    let mut compared = Vec::new();
    for (network, read) in networks.iter().zip(&readers) {
        subject.workspace.options.stop.check()?;
        compared.push(Compared::new(method.comparison, rows(network, read), given)?);
    }
    let scores = together(compared.iter().zip(networks).map(|(compared, network)| {
        let (prepared, factors) = prepare(compared, network, |_| true)?;
        let scores = compared.scores(&prepared, 0..network.images.len())?;
        Ok((network.factor, scaled(scores, &factors)))
    }))?;
    let of_itself = compared.iter().zip(networks);
    let self_influence = together(
        of_itself.map(|(compared, network)| Ok((network.factor, vec![compared.self_influence()?]))),
    )?
    .concat();

    // Without each group of draws in turn, at the same damping.
    let mut replicates = Vec::new();
    // A journey of fewer steps than groups leaves groups without a part of the query: then there is no spread.
    let all_take_part = (0..groups).all(|group| parts.groups.contains(&group));
    for left_out in (0..groups).filter(|_| groups > 1 && all_take_part) {
        subject.workspace.options.stop.check()?;
        replicates.push(together(networks.iter().zip(&compared).map(|(network, all)| {
            let read =
                |images: Range<usize>| network.images.block(images, |group| network.keeps(group, left_out));
            let damping = all.kernel().map(|(_, damping)| damping);
            let compared = Compared::new(method.comparison, rows(network, &read), damping)?;
            let (prepared, factors) = prepare(&compared, network, |part| parts.groups[part] != left_out)?;
            let scores = compared.scores(&prepared, 0..network.images.len())?;
            Ok((network.factor, scaled(scores, &factors)))
        }))?);
    }

    if let Some((_, place)) = first_infinite(&scores) {
        let image = subject.training.images.source_indices()[images[place]];
        return Err(RunError::RecipeValue {
            file: method.name.into(),
            field: format!("a score of training image {image}"),
            value: "not finite".into(),
            bound: "a number; the network's output is so large that products of its gradients overflow"
                .into(),
        }
        .into());
    }
    let strips = strips(&compared, networks, parts, &scores)?;
    let views = compared.iter().zip(networks).map(|(compared, network)| damping_view(compared, network));
    let dampings = views.filter_map(Result::transpose).collect::<Result<_>>()?;
    Ok(Scored { scores, replicates, self_influence, strips, dampings })
}

/// Scores each query with its own candidates, as if they were all training images: so its scores do not depend on what else
/// is asked. Other images have none (NaN), and nothing is said of the damping, of which each query has its own, nor of the
/// images' scores for themselves.
fn each_with_its_own(
    subject: &Subject<'_>,
    method: GradientMethod,
    networks: &[NetworkFeatures],
    parts: &QueryParts,
    (images, chosen): (&[usize], &[Vec<usize>]),
) -> Result<Scored> {
    let all = subject.training.images.len();
    let mut together = Scored {
        scores: Vec::new(),
        replicates: Vec::new(),
        self_influence: Vec::new(),
        strips: Strips { timesteps: Vec::new(), of_queries: Vec::new() },
        dampings: Vec::new(),
    };
    for (query, own) in chosen.iter().enumerate() {
        let places: Vec<usize> =
            own.iter().map(|image| images.partition_point(|before| before < image)).collect();
        let of_query: Vec<NetworkFeatures> =
            networks.iter().map(|network| network.of(&places, &[query])).collect();
        let Scored { scores, replicates, strips, .. } = scored(subject, method, &of_query, parts, own)?;
        let among_all = |scores: Vec<f64>| {
            let mut row = vec![f64::NAN; all];
            own.iter().zip(scores).for_each(|(&image, score)| row[image] = score);
            row
        };
        together.scores.extend(scores.into_iter().map(among_all));
        together.replicates.resize_with(replicates.len(), Vec::new);
        for (together, replicate) in together.replicates.iter_mut().zip(replicates) {
            together.extend(replicate.into_iter().map(among_all));
        }
        together.strips.timesteps = strips.timesteps;
        let of_image = |(place, values): (usize, Vec<f64>)| (own[place], values);
        let strips = strips.of_queries.into_iter();
        together
            .strips
            .of_queries
            .extend(strips.map(|of_images| of_images.into_iter().map(of_image).collect::<Vec<_>>()));
    }
    Ok(together)
}

/// Scores some queries in full, with as many training images as is bearable, and compares with the candidates.
fn quality_of(
    subject: &Subject<'_>,
    queries: &QueriedImages,
    method: GradientMethod,
    parts: &QueryParts,
    (network, count): (&Network<'_>, usize),
) -> Result<CandidateQuality> {
    let (images, sampled) = sample(subject, queries);
    let network = AskedNetwork::new(subject, network, 0, method, parts, &images)?.features(false)?;
    let everything: Vec<usize> = (0..images.len()).collect();
    let scored = scored(subject, method, &[network.of(&everything, &sampled)], parts, &images)?;
    let queries = QueriedImages {
        set: queries.set.clone(),
        images: sampled.iter().map(|&query| queries.images[query].clone()).collect(),
    };
    quality(subject, &queries, &images, &scored.scores, count)
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

fn rows<'a>(
    network: &NetworkFeatures,
    read: &'a (dyn Fn(Range<usize>) -> Result<FeatureBlock> + Sync),
) -> ImageRows<'a, RunError> {
    ImageRows { images: network.images.len(), dimension: network.images.dimension(), read }
}

/// Queries ready to be scored, and the factor of each.
fn prepare(
    compared: &Compared<'_, RunError>,
    network: &NetworkFeatures,
    keep: impl Fn(usize) -> bool,
) -> Result<(Queries, Vec<f64>)> {
    let features = network.queries.read(0..network.queries.len(), keep)?;
    let factors =
        features.chunks_exact(network.queries.dimension()).map(|row| compared.query_factor(row)).collect();
    Ok((compared.queries(features)?, factors))
}

fn scaled(mut scores: Vec<Vec<f64>>, factors: &[f64]) -> Vec<Vec<f64>> {
    for (scores, factor) in scores.iter_mut().zip(factors) {
        scores.iter_mut().for_each(|score| *score *= factor);
    }
    scores
}

fn first_infinite(scores: &[Vec<f64>]) -> Option<(usize, usize)> {
    let in_query = |(query, scores): (usize, &Vec<f64>)| {
        scores.iter().position(|score| !score.is_finite()).map(|image| (query, image))
    };
    scores.iter().enumerate().find_map(in_query)
}

/// The sum of tables of one shape, each times its factor, in order.
fn together(tables: impl Iterator<Item = Result<(f64, Vec<Vec<f64>>)>>) -> Result<Vec<Vec<f64>>> {
    let mut sum: Vec<Vec<f64>> = Vec::new();
    for table in tables {
        let (factor, table) = table?;
        if sum.is_empty() {
            sum = table.iter().map(|row| vec![0.0; row.len()]).collect();
        }
        for (sum, row) in sum.iter_mut().zip(table) {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += factor * value;
            }
        }
    }
    Ok(sum)
}

/// The scores of each query's first images by the timestep of the query's draws. Their mean is the score.
fn strips(
    compared: &[Compared<'_, RunError>],
    networks: &[NetworkFeatures],
    parts: &QueryParts,
    scores: &[Vec<f64>],
) -> Result<Strips> {
    let mut order: Vec<usize> = (0..parts.timesteps.len()).collect();
    order.sort_by_key(|&part| parts.timesteps[part]);
    let timesteps = order.iter().map(|&part| parts.timesteps[part]).collect();
    let mut of_queries = Vec::new();
    for (query, scores) in scores.iter().enumerate() {
        let first = super::top(scores, IN_STRIPS);
        let table = together(compared.iter().zip(networks).map(|(compared, network)| {
            let dimension = network.queries.dimension();
            let by_part = network.queries.read_parts(query..query + 1)?;
            let whole = network.queries.read(query..query + 1, |_| true)?;
            let factor = compared.query_factor(&whole);
            let sorted: Vec<f32> = order
                .iter()
                .flat_map(|&part| by_part[part * dimension..(part + 1) * dimension].iter().copied())
                .collect();
            let prepared = compared.queries(sorted)?;
            let of_image = |&image: &usize| -> Result<Vec<f64>> {
                let column = compared.scores(&prepared, image..image + 1)?;
                Ok(column.into_iter().flatten().map(|score| factor * score).collect())
            };
            Ok((network.factor, first.iter().map(of_image).collect::<Result<_>>()?))
        }))?;
        of_queries.push(first.into_iter().zip(table).collect());
    }
    Ok(Strips { timesteps, of_queries })
}

/// What the damping does to the scores of one network.
fn damping_view(all: &Compared<'_, RunError>, network: &NetworkFeatures) -> Result<Option<DampingView>> {
    let Some((kernel, damping)) = all.kernel() else { return Ok(None) };
    let count = network.queries.len().min(IN_CURVE);
    let queries = all.queries(network.queries.read(0..count, |_| true)?)?;
    let scores_at = |damping: f64| Ok::<_, RunError>(all.scores_at(&queries, damping)?.unwrap_or_default());
    let taken = scores_at(damping)?;
    let mut curve: Vec<DampingPoint> = Vec::new();
    let mut before: Option<Vec<Vec<f64>>> = None;
    let steps = CURVE_DECADES * CURVE_STEPS_PER_DECADE as i32;
    for step in -steps..=steps {
        let at = damping * libm::pow(10.0, f64::from(step) / CURVE_STEPS_PER_DECADE as f64);
        let scores = scores_at(at)?;
        let with_before = match &before {
            Some(before) => rank_agreement(&scores, before)?,
            None => None,
        };
        curve.push(DampingPoint {
            damping: at,
            degrees_of_freedom: kernel.degrees_of_freedom(at),
            agreement_with_taken: rank_agreement(&scores, &taken)?,
            agreement_with_before: with_before,
        });
        before = Some(scores);
    }
    Ok(Some(view(kernel, damping, curve)))
}

fn view(kernel: &Kernel<'_, RunError>, damping: f64, curve: Vec<DampingPoint>) -> DampingView {
    DampingView {
        taken: damping,
        by_centred_eigenvalue: kernel.damping().ok(),
        by_median_eigenvalue: kernel.damping_by_median(),
        degrees_of_freedom: kernel.degrees_of_freedom(damping),
        curve,
    }
}
