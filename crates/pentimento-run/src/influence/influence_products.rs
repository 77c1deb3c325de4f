//! Gradients of training images against those of queries that went through the inverse of the curvature.
//!
//! The gradient of each image is taken once and multiplied with all queries that the memory holds; what is kept of it in the
//! run is these products, one file for some images.

use super::curvature_store::{MeasuredCurvature, Measurement};
use super::query_gradients::{InverseOf, QueryDraws, QueryGradients};
use super::score::Solution;
use super::whole_curvature::whole_curvature;
use crate::drive::drive;
use crate::error::Result;
use crate::event::{Event, Progress};
use crate::gradients::{Query, Subject, batch_ending, noise_id};
use crate::kept::kept_or_made_again;
use crate::piece::{Making, Object, Piece, Stage, missing};
use once_cell::sync::OnceCell;
use pentimento_attribution::curvature::{
    InfluenceProducts, Inverse, QuantisedRows, QueryMeasurement, SampledCurvature,
};
use pentimento_attribution::gradient::{
    FeatureExtractor, Measurement as Measured, batches, parts_of_batch, side_by_side,
};
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::unet::Parameters;
use pentimento_store::{Digest, Fingerprint, Run};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Images of a file. A kill loses the gradients of one file that is not finished.
const IMAGES_PER_FILE: usize = 64;
/// Bytes that the gradients of queries may take at once, unless those of one query take more.
pub(super) const MOST_QUERY_BYTES: usize = 2 << 30;

/// Values of training images' gradients that are held at once, unless those of one image are more: 256 MiB.
pub(super) const MOST_GRADIENT_VALUES: usize = 1 << 26;

/// What the stage of the products in a batch of groups of draws is called.
pub fn products_of(groups: &Range<usize>) -> String {
    format!("products{}", batch_ending(groups))
}

/// One network with everything that products follow from.
pub struct ProductsOf<'a> {
    /// The networks and images.
    pub subject: &'a Subject<'a>,
    /// Which network.
    pub network: usize,
    /// Its curvature.
    pub measured: &'a MeasuredCurvature,
    /// The damping of each block.
    pub dampings: &'a [f64],
    /// Multiples of it at which each query goes through the inverse, one after another: 1 alone for scores.
    pub factors: &'a [f64],
    /// What tells one measurement of queries from another.
    pub name: &'a str,
    /// What is measured of queries.
    pub measurement: QueryMeasurement,
    /// Which inverse queries go through.
    pub inverse: Inverse,
    /// The gradients of queries that are held from one round to the next.
    pub held: &'a HeldQueries,
}

impl ProductsOf<'_> {
    /// The products of all training images that the network saw with all queries, each at all multiples of the damping before the
    /// next, and how far conjugate gradients came with the queries, if they were taken; those that are in the run are not made again.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`](crate::RunError::Stopped) once it is asked to stop, finished files are kept; a gradient that is not
    /// finite, with the image and the layer.
    pub fn complete(
        &self,
        gradients: &QueryGradients,
        queries: &[Query],
    ) -> Result<(InfluenceProducts, Option<Solution>)> {
        let (subject, workspace) = (self.subject, self.subject.workspace);
        let (plan, rows) = (self.measured.image_draws(subject), self.query_draws().rows);
        let factors = self.factors.len();
        let (blocks, of_block) = (plan.blocks(), plan.groups_per_block());
        let images = subject.training.images.len();
        let mut products = InfluenceProducts {
            of_images: vec![Vec::new(); images],
            rows,
            self_influence: vec![0.0; images],
        };
        // What has draws of its own on both sides counts, if there is any.
        let all = batches(plan.groups);
        let counts = |batch: &Range<usize>| if batch.len() > 1 || all.len() == 1 { batch.len() } else { 0 };
        let counted: usize = all.iter().map(counts).sum();
        let (mut residuals, mut last_steps) = (Vec::new(), Vec::new());
        for (number, groups) in all.iter().enumerate() {
            let stage = self.stage(gradients, queries, groups.clone())?;
            if number == 0 {
                for image in &stage.images {
                    products.of_images[*image] = vec![vec![0.0; queries.len() * factors * rows]; blocks];
                }
            }
            drive(workspace, &stage)?;
            let (parts, own_share) = (parts_of_batch(groups), counts(groups) as f64 / counted as f64);
            for piece in stage.pieces()? {
                let (batch, images) = stage.part(&piece);
                let name = stage.file_name(&piece);
                let bytes = kept_or_made_again(workspace, &stage, &piece)?;
                let arrays = ArrayReader::new(&bytes, &name)?;
                let columns = batch.queries.len() * factors * rows;
                // Each file of a batch says the same of its queries.
                if arrays.contains("residuals") {
                    residuals.extend(arrays.f64("residuals")?);
                    last_steps.extend(arrays.f64("last_steps")?);
                }
                arrays.expect_shape("products", &[images.len(), parts.len(), columns])?;
                arrays.expect_shape("self_influence", &[images.len()])?;
                let (values, own) = (arrays.f64("products")?, arrays.f64("self_influence")?);
                for ((&image, values), own) in
                    images.iter().zip(values.chunks_exact(parts.len() * columns)).zip(own)
                {
                    // It is the same beside each batch of queries.
                    if batch.first == 0 {
                        products.self_influence[image] += own_share * own;
                    }
                    for (part, from) in parts.iter().zip(values.chunks_exact(columns)) {
                        let share = part.len() as f64 / of_block as f64;
                        let to = &mut products.of_images[image][part.start / of_block];
                        let to = to.iter_mut().skip(batch.first * factors * rows);
                        to.zip(from).for_each(|(sum, value)| *sum += share * value);
                    }
                }
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let solution = Solution { residual: mean(&residuals), last_step: mean(&last_steps) };
        Ok((products, (!residuals.is_empty()).then_some(solution)))
    }

    /// The draws of queries. Several multiples of the damping are for scores alone and not for their intervals, so their parts
    /// are not told apart.
    pub fn query_draws(&self) -> QueryDraws {
        let draws = QueryDraws::new(self.subject, self.measurement);
        if self.factors.len() > 1 { QueryDraws { rows: 1, ..draws } } else { draws }
    }

    /// The stage that makes the products with some queries of training images in a batch of groups of draws.
    ///
    /// # Errors
    ///
    /// As opening the network.
    pub fn stage<'s>(
        &'s self,
        gradients: &'s QueryGradients,
        queries: &'s [Query],
        groups: Range<usize>,
    ) -> Result<MakingProducts<'s>> {
        let subject = self.subject;
        let query_draws = self.query_draws();
        let rows = query_draws.rows * self.factors.len();
        let bytes_per_query = (rows * subject.networks.architecture.parameter_count()).max(1);
        let at_once = (MOST_QUERY_BYTES / bytes_per_query).clamp(1, queries.len().max(1));
        let batch = |(number, queries): (usize, &'s [Query])| -> Result<Batch<'s>> {
            Ok(Batch { first: number * at_once, queries, identity: self.identity(queries, &groups)? })
        };
        let network = &subject.networks.weights[self.network];
        Ok(MakingProducts {
            of: self,
            name: format!("{}/{}/{}", self.name, self.network, products_of(&groups)),
            gradients,
            parameters: subject.networks.parameters(subject.workspace, network)?,
            batches: queries.chunks(at_once).enumerate().map(batch).collect::<Result<_>>()?,
            images: (0..subject.training.images.len())
                .filter(|&image| subject.networks.saw(self.network, image))
                .collect(),
            bytes: bytes_per_query * queries.len(),
            query_draws,
            groups,
            whole: OnceCell::new(),
            done: AtomicUsize::new(0),
        })
    }

    /// What products with some queries in a batch of groups follow from, but for the training images.
    fn identity(&self, queries: &[Query], groups: &Range<usize>) -> Result<Fingerprint> {
        let Self { subject, measured, dampings, name, .. } = self;
        let queries_have_draws = self.measurement != QueryMeasurement::Trajectory;
        let recipe = &subject.workspace.recipe;
        let queries: Vec<Vec<u8>> = queries.iter().map(|query| query.key().to_vec()).collect();
        let (plan, draws) = (measured.image_draws(subject), self.query_draws());
        let settings = recipe.influence;
        let label = match self.inverse {
            Inverse::Blocks => Fingerprint::of("influence"),
            Inverse::Whole => {
                let count = settings.pseudo_gradients(subject.networks.architecture.parameter_count());
                Fingerprint::of("influence through the whole curvature, version 3")
                    .json(&(settings.steps(), count))?
            }
        };
        let label = match self.factors {
            [1.0] => label,
            factors => label.text("at multiples of the damping").json(&factors)?,
        };
        Ok(label
            .fingerprint(measured.identity)
            .json(&recipe.influence.eigenvalues)?
            .json(dampings)?
            .text(name)
            .json(&recipe.influence.query_timestep.filter(|_| queries_have_draws))?
            .json(&(plan.timesteps, [groups.start, groups.end], plan.antithetic, plan.sharing, recipe.seed))?
            .json(&plan.shares)?
            .json(&[draws.groups, draws.rows])?
            .bytes(Digest::of(&queries.concat()).as_bytes())
            .finish())
    }

    /// The products of some images in a batch of groups.
    fn file(
        &self,
        parameters: &Parameters,
        SolvedQueries { rows, residuals, last_steps }: &SolvedQueries,
        images: &[usize],
        groups: &Range<usize>,
        show: impl Fn() + Sync,
    ) -> Result<ArrayWriter> {
        let Self { subject, measured, dampings, .. } = *self;
        let schedule = &subject.workspace.recipe.schedule;
        let (plan, count) = (measured.image_draws(subject), subject.networks.architecture.parameter_count());
        let parts = parts_of_batch(groups);
        let extractor = FeatureExtractor::new(
            &subject.networks.architecture,
            parameters.clone(),
            schedule,
            Measured::Loss,
            false,
        )
        .for_shares(plan.shares);
        let of = |image: usize| -> Result<(Vec<f32>, f64)> {
            let key = subject.image_key(image);
            let values = subject.training.input(image);
            let name = format!("{} of the training set", subject.training.images.source_indices()[image]);
            let size = subject.networks.size;
            let mut gradients = vec![0.0f32; parts.len() * count];
            // Draws that stood on both sides would have their noise squared in it: every second group against the others.
            let mut halves = [vec![0.0f32; count], vec![0.0f32; count]];
            for (part, mean) in parts.iter().zip(gradients.chunks_exact_mut(count)) {
                for group in part.clone() {
                    subject.check()?;
                    let draws = plan.draws(schedule, group, values.len(), noise_id(&key));
                    let condition = subject.condition_of(image, group);
                    let gradient = extractor.gradient::<f32>(&values, size, condition, &draws, &name)?;
                    add_share(mean, &gradient, part.len());
                    let place = group - groups.start;
                    let of_half =
                        if place.is_multiple_of(2) { groups.len().div_ceil(2) } else { groups.len() / 2 };
                    add_share(&mut halves[place % 2], &gradient, of_half);
                }
            }
            let [even, odd] = halves;
            let solved = measured.curvature.solve(&even, dampings)?;
            let other = if groups.len() > 1 { &odd } else { &even };
            let own = other.iter().zip(&solved).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            show();
            Ok((gradients, own))
        };
        // Queries are widened once for all gradients of a block.
        let at_once = (MOST_GRADIENT_VALUES / (parts.len() * count).max(1)).clamp(1, IMAGES_PER_FILE);
        let (mut products, mut own) = (Vec::new(), Vec::with_capacity(images.len()));
        for block in images.chunks(at_once) {
            let found = side_by_side(block.len(), |index| of(block[index]))?;
            own.extend(found.iter().map(|(_, own)| *own));
            let gradients: Vec<f32> = found.into_iter().flat_map(|(gradients, _)| gradients).collect();
            products.extend(rows.products(&gradients)?);
        }
        let columns = products.first().map_or(0, Vec::len);
        let products = products.concat();
        let mut arrays = ArrayWriter::default();
        arrays.put_f64("products", &[images.len(), parts.len(), columns], &products);
        arrays.put_f64("self_influence", &[images.len()], &own);
        if !residuals.is_empty() {
            arrays.put_f64("residuals", &[residuals.len()], residuals);
            arrays.put_f64("last_steps", &[last_steps.len()], last_steps);
        }
        Ok(arrays)
    }
}

/// Adds one of `count` vectors to their mean.
fn add_share(mean: &mut [f32], vector: &[f32], count: usize) {
    mean.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value / count as f32);
}

/// Gradients of queries that are held from one round of draws to the next: those of all queries, if the memory is there, else
/// those of the batch that was asked last.
#[derive(Default)]
pub struct HeldQueries(Mutex<BTreeMap<(usize, usize), Arc<SolvedQueries>>>);

/// The gradients of queries through the inverse.
pub(super) struct SolvedQueries {
    pub(super) rows: QuantisedRows,
    /// What conjugate gradients left of each, and what their last step added, as shares; empty without them.
    pub(super) residuals: Vec<f64>,
    pub(super) last_steps: Vec<f64>,
}

/// Queries whose gradients are held at once.
struct Batch<'a> {
    /// Number of the first of them among all.
    first: usize,
    queries: &'a [Query],
    /// What their products follow from, but for the training images.
    identity: Fingerprint,
}

/// The stage: a piece is the products of some training images in a batch of groups of draws with a batch of queries, batch by
/// batch.
pub struct MakingProducts<'a> {
    of: &'a ProductsOf<'a>,
    name: String,
    gradients: &'a QueryGradients,
    parameters: Parameters,
    batches: Vec<Batch<'a>>,
    /// Positions of the images that the network saw.
    images: Vec<usize>,
    /// What the gradients of all queries would take.
    bytes: usize,
    query_draws: QueryDraws,
    /// The groups of draws of the training images.
    groups: Range<usize>,
    /// A sample of the whole curvature, if that is inverted.
    whole: OnceCell<SampledCurvature>,
    done: AtomicUsize,
}

impl MakingProducts<'_> {
    fn files_of_batch(&self) -> usize {
        self.images.len().div_ceil(IMAGES_PER_FILE).max(1)
    }

    /// The batch and the images of a piece.
    fn part(&self, piece: &Piece) -> (&Batch<'_>, &[usize]) {
        let (batch, file) = (piece.number / self.files_of_batch(), piece.number % self.files_of_batch());
        (&self.batches[batch], self.images.chunks(IMAGES_PER_FILE).nth(file).unwrap_or_default())
    }

    /// Training images of the pieces that a run does not have; one counts for each batch of queries.
    ///
    /// # Errors
    ///
    /// As [`Stage::pieces`].
    pub(super) fn missing_images(&self, run: &Run) -> Result<usize> {
        Ok(missing(self, run)?.iter().map(|piece| self.part(piece).1.len()).sum())
    }

    fn file_name(&self, piece: &Piece) -> String {
        let (batch, _) = self.part(piece);
        let file = piece.number % self.files_of_batch();
        format!("curvature/products/{}/{file:05}.safetensors", &batch.identity.to_string()[..16])
    }

    fn rows(&self, batch: &Batch<'_>) -> Result<Arc<SolvedQueries>> {
        let ProductsOf { subject, measured, dampings, factors, network, inverse, held, .. } = *self.of;
        let mut held = held.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.query_draws.groups, batch.first);
        if let Some(rows) = held.get(&key) {
            return Ok(Arc::clone(rows));
        }
        // Those that are not asked any more go first.
        let all_fit = self.bytes * subject.networks.weights.len() <= MOST_QUERY_BYTES;
        held.retain(|&(groups, _), _| all_fit && groups == self.query_draws.groups);
        let whole = match inverse {
            Inverse::Blocks => None,
            Inverse::Whole => {
                let sample = || whole_curvature(&Measurement::new(subject, network)?, &self.parameters);
                let steps = subject.workspace.recipe.influence.steps();
                Some((self.whole.get_or_try_init(sample)?, steps))
            }
        };
        let at = |factor: &f64| InverseOf {
            curvature: &measured.curvature,
            dampings: dampings.iter().map(|damping| factor * damping).collect(),
            whole,
        };
        let inverses: Vec<InverseOf<'_>> = factors.iter().map(at).collect();
        let (queries, draws) = ((batch.first, batch.queries), self.query_draws);
        let solved = self.gradients.solved(subject, &self.parameters, queries, draws, &inverses)?;
        let rows = Arc::new(solved);
        held.insert(key, Arc::clone(&rows));
        Ok(rows)
    }
}

impl Stage for MakingProducts<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn cost_name(&self) -> &str {
        "influence"
    }

    fn asks_queries(&self) -> bool {
        true
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let keys: Vec<Vec<u8>> = self
            .images
            .chunks(IMAGES_PER_FILE)
            .map(|images| images.iter().flat_map(|&image| self.of.subject.image_key(image)).collect())
            .collect();
        let mut pieces = Vec::new();
        for batch in &self.batches {
            for keys in &keys {
                let made_from = Fingerprint::of("products").fingerprint(batch.identity).bytes(keys).finish();
                let (stage, number) = (self.name.clone(), pieces.len());
                let mut piece = Piece { stage, number, objects: Vec::new(), made_from };
                piece.objects.push(self.file_name(&piece));
                pieces.push(piece);
            }
        }
        Ok(pieces)
    }

    fn begin(&self, _run: &Run, all: usize, missing: &[Piece]) -> Result<Progress> {
        let reporter = self.of.subject.workspace.reporter();
        if let [first, _, ..] = self.batches.as_slice() {
            let queries = self.batches.iter().map(|batch| batch.queries.len()).sum();
            let (bytes, at_once) = (self.bytes, first.queries.len());
            reporter.tell(Event::QueriesInTurns { queries, bytes, at_once });
        }
        let total = self.images.len() * self.batches.len();
        let left: usize = missing.iter().map(|piece| self.part(piece).1.len()).sum();
        // One piece alone may be asked for.
        let done = if missing.len() < all { total.saturating_sub(left) } else { 0 };
        self.done.store(done, Ordering::Relaxed);
        let networks = self.of.subject.networks.weights.len();
        let title = self.of.subject.work_on("influence", self.of.network, networks);
        Ok(reporter.begin(&title, total as u64, done as u64))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let (batch, images) = self.part(piece);
        let rows = self.rows(batch)?;
        let arrays = self.of.file(&self.parameters, &rows, images, &self.groups, || {
            let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
            making.progress.set(done as u64, "training images");
        })?;
        let name = self.file_name(piece);
        let bytes = arrays.to_bytes(&name, None)?;
        Ok(vec![(name, bytes)])
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        let queries: usize = self.batches.iter().map(|batch| batch.queries.len()).sum();
        Some(format!("{} training images and {queries} queries", self.images.len()))
    }
}
