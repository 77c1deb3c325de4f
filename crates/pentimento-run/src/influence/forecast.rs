//! How long influence functions will take: a few images pass through each part of the work before any of it is done.

use super::curvature_store::{Curvatures, Measurement as CurvatureMeasurement};
use super::damping::dampings;
use super::influence_products::{HeldQueries, MOST_GRADIENT_VALUES, MOST_QUERY_BYTES, ProductsOf};
use super::query_gradients::{MOST_CG_VALUES, QueryDraws, QueryGradients, image_draws};
use super::unlearning::{UnlearningOf, unlearning_draws};
use crate::error::Result;
use crate::forecast::{FEW_IMAGES, Forecast, MoreDraws};
use crate::gradients::{Queries, Subject, noise_id};
use crate::piece::{Stage, missing};
use crate::recipe::{Eigenvalues, InfluenceTimesteps};
use crate::words::counted;
use pentimento_attribution::curvature::{
    Curvature, InfluenceKind, Inverse, QuantisedRows, QueryMeasurement, SampledCurvature,
    decomposition_seconds, losses, stand_in_bases, values_of_factors,
};
use pentimento_attribution::gradient::{
    FeatureExtractor, MOST_PARTS, Measurement, batches, parts_of_batch, side_by_side,
};
use pentimento_attribution::methods::Method;
use pentimento_diffusion::unet::Parameters;
use std::time::Instant;

/// Most draws of an image that are timed.
const MEASURED_DRAWS: usize = 16;
/// Most images of a block of products that are timed.
const MEASURED_IMAGES: usize = 4;

/// What is missing of a network.
#[derive(Default)]
struct Missing {
    /// Images of each part of the curvature.
    factors: usize,
    decomposition: bool,
    eigenvalues: usize,
    /// Training images of the first round, and the batches of queries that they meet; of whichever batch of draws lacks the most.
    products: usize,
    /// The same with their draws: those of the first round and those of later ones.
    draws: usize,
    later_draws: usize,
    /// The same with the batches of draws in which they are taken.
    blocks: usize,
    later_blocks: usize,
    /// Queries to be unlearned.
    unlearned: usize,
}

/// What one of each costs on this machine, in seconds.
#[derive(Default)]
struct Costs {
    factors: f64,
    decomposition: f64,
    eigenvalues: f64,
    /// A gradient at one draw, while every thread takes one.
    draw: f64,
    /// A gradient through the inverse, while every thread has one.
    solve: f64,
    /// The products of one image with all queries of a batch.
    products: f64,
    /// The loss of an image in all draws, while every thread takes one.
    losses: f64,
    /// Conjugate gradients of one network for all queries, with the sample that they go through.
    whole: f64,
}

/// Forecasts a method that goes through the curvature of each network.
///
/// # Errors
///
/// As measuring the curvature and taking gradients of some images.
pub fn forecast(
    subject: &Subject<'_>,
    queries: &Queries,
    method: Method,
    kind: InfluenceKind,
) -> Result<Forecast> {
    forecast_with(&Curvatures::new(subject), subject, queries, method, kind)
}

/// The same with curvatures that are opened for it and used afterwards.
pub(super) fn forecast_with(
    curvatures: &Curvatures<'_>,
    subject: &Subject<'_>,
    queries: &Queries,
    method: Method,
    kind: InfluenceKind,
) -> Result<Forecast> {
    let networks = subject.networks.weights.len();
    let missing: Vec<Missing> = (0..networks)
        .map(|network| missing_of(curvatures, subject, network, queries, method, kind))
        .collect::<Result<_>>()?;
    let Some(first) = missing.iter().position(|missing| !missing.is_little()) else {
        return Ok(Forecast::nothing(method.name));
    };
    let plan = image_draws(subject);
    let draws = plan.groups * plan.timesteps;
    let costs = Costs::measure(subject, first, queries, kind)?;
    let asked = queries.images.len();
    let of_query = QueryDraws::of_kind(subject, kind);
    let query_rows = of_query.rows;
    let (mut seconds, mut later) = (0.0, 0.0);
    for missing in &missing {
        let of_images = |draws: usize, blocks: usize| {
            draws as f64 * costs.draw + blocks as f64 * (costs.solve + costs.products)
        };
        let of_query = of_query.count(&plan) as f64 * costs.draw;
        let of_queries = asked as f64 * (of_query + query_rows as f64 * costs.solve) + costs.whole;
        seconds += missing.factors as f64 * costs.factors
            + if missing.decomposition { costs.decomposition } else { 0.0 }
            + missing.eigenvalues as f64 * costs.eigenvalues
            + of_images(missing.draws, missing.blocks);
        later += of_images(missing.later_draws, missing.later_blocks);
        match (missing.products, missing.later_draws) {
            (0, 0) => {}
            (0, _) => later += of_queries,
            _ => seconds += of_queries,
        }
        if missing.unlearned > 0 {
            let images = subject.training.images.len() as f64;
            let of_query = of_query + costs.solve + images * costs.losses;
            seconds += missing.unlearned as f64 * of_query + images * costs.losses;
        }
    }
    let more = (later > 0.0)
        .then(|| MoreDraws { draws: subject.in_last_round().draws().count(), seconds: seconds + later });
    let words = words(&missing, asked, [draws, of_query.count(&plan)]);
    Ok(Forecast::new(method.name, words, seconds, bytes_held(subject, asked, kind)).with_more(more))
}

impl Missing {
    /// Whether so little is missing that measuring takes as long.
    fn is_little(&self) -> bool {
        let images = self.factors + self.eigenvalues + self.blocks + self.later_blocks;
        !self.decomposition && self.unlearned == 0 && images <= FEW_IMAGES
    }

    /// Takes in products of images that are missing in a batch of groups of draws, each of so many draws.
    fn add(&mut self, missing: usize, draws: usize, is_first_round: bool) {
        if is_first_round {
            self.products = self.products.max(missing);
            self.draws += missing * draws;
            self.blocks += missing;
        } else {
            self.later_draws += missing * draws;
            self.later_blocks += missing;
        }
    }
}

fn missing_of(
    curvatures: &Curvatures<'_>,
    subject: &Subject<'_>,
    network: usize,
    queries: &Queries,
    method: Method,
    kind: InfluenceKind,
) -> Result<Missing> {
    let measurement = CurvatureMeasurement::new(subject, network)?;
    let run = &subject.workspace.run;
    let images_of = |stage: &dyn Stage, of_all: usize| -> Result<usize> {
        let all = stage.pieces()?.len().max(1);
        Ok((missing(stage, run)?.len() * of_all).div_ceil(all))
    };
    let corrected = subject.workspace.recipe.influence.eigenvalues == Eigenvalues::Corrected;
    let images = measurement.images.len();
    let last = &match kind {
        InfluenceKind::Linear(..) => subject.in_last_round(),
        InfluenceKind::Unlearning(_) => *subject,
    };
    let rounds = (subject.draws().groups, batches(last.draws().groups));
    let of_group = last.draws().count() / last.draws().groups;
    let mut found_missing = Missing::default();
    let found = match curvatures.kept(network) {
        Ok(measured) => Some(measured),
        Err(crate::RunError::Missing { .. }) => None,
        Err(error) => return Err(error),
    };
    let Some(measured) = found else {
        let bases = measurement.kept_bases()?;
        let eigenvalues = match &bases {
            _ if !corrected => 0,
            Some(kept) => images_of(&measurement.eigenvalues_in(&kept.bases), images)?,
            None => images,
        };
        let factors = if bases.is_some() { 0 } else { images_of(&measurement.factors(), images)? };
        let saw = (0..subject.training.images.len()).filter(|&image| subject.networks.saw(network, image));
        let saw = saw.count();
        let mut unlearned = 0;
        match kind {
            InfluenceKind::Linear(measurement, _) => {
                let products = saw * turns(subject, queries.images.len(), measurement);
                for groups in &rounds.1 {
                    found_missing.add(products, groups.len() * of_group, groups.start < rounds.0);
                }
            }
            InfluenceKind::Unlearning(_) => unlearned = queries.images.len(),
        }
        return Ok(Missing {
            factors,
            decomposition: bases.is_none(),
            eigenvalues,
            unlearned,
            ..found_missing
        });
    };
    let (dampings, _) = &dampings(subject, &measured);
    let loss = QueryMeasurement::OfImage(Measurement::Loss);
    // What a network is shown of a query does not matter to which pieces there are.
    let gradients = QueryGradients::new(subject, queries, loss, measured.shares)?;
    match kind {
        InfluenceKind::Linear(measurement, inverse) => {
            let (measured, held) = (&measured, &HeldQueries::default());
            let name = method.name;
            let of = ProductsOf {
                subject: last,
                network,
                measured,
                dampings,
                factors: &[1.0],
                name,
                measurement,
                inverse,
                held,
            };
            for groups in rounds.1 {
                let (draws, is_first_round) = (groups.len() * of_group, groups.start < rounds.0);
                let missing = of.stage(&gradients, &queries.images, groups)?.missing_images(run)?;
                found_missing.add(missing, draws, is_first_round);
            }
        }
        InfluenceKind::Unlearning(_) => {
            let of = UnlearningOf { subject, network, measured: &measured, dampings };
            found_missing.unlearned = missing(&of.stage(&gradients, &queries.images)?, run)?.len();
        }
    }
    Ok(found_missing)
}

impl Costs {
    fn measure(
        subject: &Subject<'_>,
        network: usize,
        queries: &Queries,
        kind: InfluenceKind,
    ) -> Result<Self> {
        let architecture = &subject.networks.architecture;
        let measurement = CurvatureMeasurement::new(subject, network)?;
        let bases = stand_in_bases(architecture);
        let mut costs = Self {
            factors: measurement.factors().seconds_per_image()?,
            decomposition: decomposition_seconds(architecture)?,
            ..Self::default()
        };
        if subject.workspace.recipe.influence.eigenvalues == Eigenvalues::Corrected {
            costs.eigenvalues = measurement.eigenvalues_in(&bases).seconds_per_image()?;
        }
        let weights = &subject.networks.weights[network];
        let parameters = subject.networks.parameters(subject.workspace, weights)?;
        let curvature = Curvature::kronecker(bases);
        let dampings = vec![1.0; curvature.bases().len()];
        let threads = rayon::current_num_threads().max(1);
        let (gradients, draw) = gradients(subject, &parameters, threads)?;
        costs.draw = draw;
        let solved = twice(|| {
            side_by_side(gradients.len(), |place| curvature.solve(&gradients[place], &dampings)).map(drop)
        })?;
        costs.solve = solved / gradients.len().max(1) as f64;
        match kind {
            InfluenceKind::Linear(measurement, inverse) => {
                costs.products = products_of_image(subject, queries.images.len(), measurement, &gradients)?;
                if inverse == Inverse::Whole {
                    let columns = QueryDraws::new(subject, measurement).rows * queries.images.len();
                    costs.whole = whole(subject, &curvature, &gradients, columns, draw)?;
                }
            }
            InfluenceKind::Unlearning(_) => costs.losses = losses_of_image(subject, &parameters, threads)?,
        }
        Ok(costs)
    }
}

/// The gradients of the first training images, as many as there are threads, and the seconds of one draw.
fn gradients(subject: &Subject<'_>, parameters: &Parameters, threads: usize) -> Result<(Vec<Vec<f32>>, f64)> {
    let (plan, schedule) = (image_draws(subject), &subject.workspace.recipe.schedule);
    let extractor = FeatureExtractor::new(
        &subject.networks.architecture,
        parameters.clone(),
        schedule,
        Measurement::Loss,
        false,
    );
    let count = threads.min(subject.training.images.len());
    let mut found = Vec::new();
    let seconds = twice(|| -> Result<()> {
        found = side_by_side(count, |image| -> Result<Vec<f32>> {
            subject.workspace.options.stop.check()?;
            let values = subject.training.input(image);
            let mut draws = plan.draws(schedule, 0, values.len(), noise_id(&subject.image_key(image)));
            draws.truncate(MEASURED_DRAWS);
            let name = format!("{} of the training set", subject.training.images.source_indices()[image]);
            let (size, condition) = (subject.networks.size, subject.condition_of(image, 0));
            Ok(extractor.gradient::<f32>(&values, size, condition, &draws, &name)?)
        })?;
        Ok(())
    })?;
    let draws = count * plan.timesteps.min(MEASURED_DRAWS);
    Ok((found, seconds / draws.max(1) as f64))
}

/// Seconds of the products of one image with all queries that are held at once.
fn products_of_image(
    subject: &Subject<'_>,
    queries: usize,
    measurement: QueryMeasurement,
    gradients: &[Vec<f32>],
) -> Result<f64> {
    let parameters = subject.networks.architecture.parameter_count();
    let rows = QueryDraws::new(subject, measurement).rows * at_once(subject, queries, measurement);
    let rows = QuantisedRows::zeros(parameters, rows);
    let images = MEASURED_IMAGES.min(images_at_once(subject));
    let parts = parts_of_batch(&batches(image_draws(subject).groups)[0]).len();
    let block: Vec<f32> = gradients.iter().cycle().take(images * parts).flatten().copied().collect();
    Ok(twice(|| rows.products(&block).map(drop).map_err(crate::RunError::from))? / images as f64)
}

/// Right-hand sides that are timed.
const MEASURED_COLUMNS: usize = 16;

/// Seconds of conjugate gradients for so many right-hand sides, and of the sample of the curvature that they go through, of which
/// each part costs a draw.
fn whole(
    subject: &Subject<'_>,
    curvature: &Curvature,
    gradients: &[Vec<f32>],
    columns: usize,
    draw: f64,
) -> Result<f64> {
    let parameters = subject.networks.architecture.parameter_count();
    let settings = subject.workspace.recipe.influence;
    let count = settings.pseudo_gradients(parameters);
    let sample = SampledCurvature::zeros(parameters, count);
    let dampings = vec![1.0; curvature.bases().len()];
    let right: Vec<Vec<f32>> =
        gradients.iter().cycle().take(MEASURED_COLUMNS.min(columns)).cloned().collect();
    let started = Instant::now();
    sample.solve(curvature, &dampings, &right, 0)?;
    let once = started.elapsed().as_secs_f64() / right.len().max(1) as f64;
    Ok(count as f64 * draw + (settings.steps() + 1) as f64 * once * columns as f64)
}

/// Seconds of the losses of one image in all draws.
fn losses_of_image(subject: &Subject<'_>, parameters: &Parameters, threads: usize) -> Result<f64> {
    // What few draws of the curvature leave in equal distances is nothing to forecast.
    let by_loss = subject.workspace.recipe.influence.timesteps == InfluenceTimesteps::ByLoss;
    let (plan, schedule) = (unlearning_draws(subject, by_loss), &subject.workspace.recipe.schedule);
    let count = threads.min(subject.training.images.len());
    let seconds = twice(|| -> Result<()> {
        side_by_side(count, |image| -> Result<()> {
            subject.workspace.options.stop.check()?;
            let values = subject.training.input(image);
            let draws = plan.draws(schedule, 0, values.len(), noise_id(&subject.image_key(image)));
            let (architecture, size) = (&subject.networks.architecture, subject.networks.size);
            losses(architecture, parameters, schedule, &values, size, subject.condition_of(image, 0), &draws);
            Ok(())
        })
        .map(drop)
    })?;
    Ok(seconds * plan.groups as f64 / count.max(1) as f64)
}

/// Seconds of some work; it is done once before, which pays for memory that is used again.
pub(super) fn twice<E>(mut work: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    work()?;
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64())
}

/// Queries whose gradients are held at once.
fn at_once(subject: &Subject<'_>, queries: usize, measurement: QueryMeasurement) -> usize {
    let rows = QueryDraws::new(subject, measurement).rows;
    let bytes = (rows * subject.networks.architecture.parameter_count()).max(1);
    (MOST_QUERY_BYTES / bytes).clamp(1, queries.max(1))
}

/// How often each training image is asked, for some queries each time.
fn turns(subject: &Subject<'_>, queries: usize, measurement: QueryMeasurement) -> usize {
    queries.div_ceil(at_once(subject, queries, measurement))
}

/// Images whose gradients are held at once.
fn images_at_once(subject: &Subject<'_>) -> usize {
    let values = MOST_PARTS * subject.networks.architecture.parameter_count();
    (MOST_GRADIENT_VALUES / values.max(1)).max(1)
}

/// The most that is held beside a network: of the sums of the factors, of their decomposition, or of the bases with the
/// gradients that go through them.
fn bytes_held(subject: &Subject<'_>, queries: usize, kind: InfluenceKind) -> usize {
    const F32: usize = size_of::<f32>();
    const F64: usize = size_of::<f64>();
    let architecture = &subject.networks.architecture;
    let (factors, parameters) = (values_of_factors(architecture), architecture.parameter_count());
    let networks = subject.networks.weights.len();
    // Half of each symmetric matrix: a shard, the total and the file that it is read from.
    let summing = 3 * factors / 2 * F64;
    // Whole matrices, with eigenvectors in f64 and f32.
    let decomposing = factors * (2 * F64 + F32);
    let curvature = factors * F32 + 3 * parameters * F64;
    let asking = match kind {
        InfluenceKind::Linear(measurement, inverse) => {
            let of_query = QueryDraws::new(subject, measurement).rows;
            let rows = at_once(subject, queries, measurement) * of_query * parameters;
            // Those of all networks are held, if they fit.
            let all = networks * queries * of_query * parameters;
            let rows = if all <= MOST_QUERY_BYTES { all } else { rows };
            // As they are found, and one after another.
            let whole = match inverse {
                Inverse::Blocks => 0,
                Inverse::Whole => {
                    let settings = subject.workspace.recipe.influence;
                    let systems = 6 * queries * of_query * parameters * F32;
                    settings.pseudo_gradients(parameters) * parameters
                        + systems.min(6 * MOST_CG_VALUES / 5 * F32)
                }
            };
            rows + whole + 2 * images_at_once(subject).min(64) * MOST_PARTS * parameters * F32
        }
        InfluenceKind::Unlearning(_) => 4 * parameters * F32,
    };
    summing.max(decomposing).max(curvature + asking)
}

/// What is missing, in words; with the draws of an image and of a query.
fn words(missing: &[Missing], queries: usize, [draws, of_query]: [usize; 2]) -> String {
    let curved = missing.iter().filter(|missing| missing.decomposition || missing.eigenvalues > 0).count();
    let mut parts = Vec::new();
    if curved > 0 {
        let images = missing.iter().map(|missing| missing.factors.max(missing.eigenvalues)).max();
        let images = counted(images.unwrap_or_default(), "image");
        parts.push(format!("the curvature of {} on {images}", counted(curved, "network")));
    }
    let products: usize = missing.iter().map(|missing| missing.products).sum();
    let asked = if queries == 1 { "1 query".to_owned() } else { format!("{queries} queries") };
    if products > 0 {
        let images = counted(products, "training image");
        parts.push(format!("gradients of {images} at {draws} draws of each and of {asked} at {of_query}"));
    }
    let unlearned: usize = missing.iter().map(|missing| missing.unlearned).sum();
    if unlearned > 0 {
        parts.push(format!("{unlearned} times the loss of every training image after a query is unlearned"));
    }
    parts.join("; ")
}
