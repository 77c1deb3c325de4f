//! A few seconds of the real work on this machine: real training steps, real calls of the recipe's network with the
//! numbers of images that the stages will use, and how much memory they take.

use super::memory::ProcessMemory;
use super::work::Work;
use crate::progress::say;
use anyhow::{Context, Result};
use pentimento_attribution::ensemble::approximation::{second_order, second_order_terms};
use pentimento_attribution::ensemble::{Derivatives, Jacobian, linear_candidates, linear_coefficients};
use pentimento_diffusion::mixture::{CallShape, Mixture};
use pentimento_diffusion::sampler::Sampler;
use pentimento_diffusion::training::{Trainer, TrainingImages};
use pentimento_diffusion::unet::Parameters;
use pentimento_evaluation::classifier::{Classifier, ClassifierConfig};
use pentimento_noise::{Purpose, Stream};
use pentimento_run::Stop;
use pentimento_run::train::TRIAL_STEPS;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Does a piece of work once and says how many seconds it took.
type TimedWork<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// How long everything is measured over and over, one after another. The first round is not counted.
const MEASURING_SECONDS: f64 = 6.0;
/// At least so many rounds are counted, however long they take.
const LEAST_ROUNDS: usize = 2;
/// Members that take turns in calls, so that weights come from memory about as they do among all members.
const MEMBERS_AT_MOST: usize = 4;
/// Images of one call of the classifier that are timed: as many as it takes at once.
const CLASSIFIER_IMAGES: usize = 256;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// An optimiser step with all threads.
    StepTogether,
    /// An optimiser step of one member while every other thread makes one of another member.
    StepSideBySide,
    /// A call of a network.
    Call(CallShape),
    /// One image moves one step on, with its recorded noise.
    Advance,
    /// The linear stage of one sample's search.
    LinearSearch,
    /// An approximate image with its second-order terms.
    ApproximateImage,
    /// A training step of the classifier.
    ClassifierStep,
    /// What the classifier says of an image.
    ClassifierImage,
}

/// The mean of some measurements, and how sure it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// Mean.
    pub seconds: f64,
    /// Standard error of the mean.
    pub error: f64,
}

impl Timing {
    fn of(values: &[f64]) -> Self {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let error = if values.len() > 1 { (squares / (count - 1.0) / count).sqrt() } else { mean };
        Self { seconds: mean, error }
    }

    /// So many times this; the errors are those of one calibration, so they add up.
    pub fn times(self, count: f64) -> Self {
        Self { seconds: self.seconds * count, error: self.error * count }
    }

    /// One after the other.
    pub fn plus(self, other: Self) -> Self {
        Self { seconds: self.seconds + other.seconds, error: self.error + other.error }
    }
}

/// Memory that calls of networks take beyond their results, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkMemory {
    /// What the process holds with the images open, before there is a network.
    pub before: u64,
    /// A call with one image.
    pub one_image: u64,
    /// The largest call.
    pub largest_call: u64,
    /// Images of that call, tangents counted as images.
    pub largest_images: usize,
    /// Training, the way that takes more.
    pub training: u64,
    /// What the allocator keeps of it afterwards.
    pub kept: u64,
    /// The classifier's calls.
    pub classifier: u64,
}

impl NetworkMemory {
    /// A call with so many images, on the line through the two calls that were measured.
    pub fn call(&self, images: usize) -> u64 {
        let span = self.largest_images.saturating_sub(1).max(1) as f64;
        let slope = self.largest_call.saturating_sub(self.one_image) as f64 / span;
        self.one_image + (slope * images.saturating_sub(1) as f64).ceil() as u64
    }
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Seconds of everything that was timed.
    pub timings: BTreeMap<Probe, Timing>,
    /// Members that train side by side, if they do: one per thread.
    pub lanes: usize,
    /// Length of the classifier's file, if the recipe asks for one.
    pub classifier_bytes: u64,
    /// How many rounds were counted.
    pub rounds: usize,
}

impl Calibration {
    /// What was measured for a probe; nothing for one that this run has no use for.
    pub fn timing(&self, probe: Probe) -> Timing {
        self.timings.get(&probe).copied().unwrap_or_default()
    }

    /// A call of a network: on the line through the two nearest sizes that were measured.
    pub fn call(&self, shape: CallShape) -> Timing {
        let known: Vec<(usize, Timing)> = self
            .timings
            .iter()
            .filter_map(|(probe, timing)| match probe {
                Probe::Call(known) if known.directions == shape.directions => Some((known.images, *timing)),
                _ => None,
            })
            .collect();
        let above = known.partition_point(|&(images, _)| images < shape.images);
        match (above.checked_sub(1).and_then(|below| known.get(below)), known.get(above)) {
            (_, Some(&(images, timing))) if images == shape.images => timing,
            (Some(&(less, low)), Some(&(more, high))) => {
                let part = (shape.images - less) as f64 / (more - less) as f64;
                low.times(1.0 - part).plus(high.times(part))
            }
            // The smallest and the largest call of a run are always measured.
            (Some(&(images, timing)), None) | (None, Some(&(images, timing))) => {
                timing.times(shape.images as f64 / images as f64)
            }
            (None, None) => Timing::default(),
        }
    }
}

/// Measures how much memory networks take: small calls first, then larger ones, training last, so that what the
/// allocator keeps of one is not more than the next one needs. None where the system does not tell.
///
/// # Errors
///
/// As making and training networks.
pub fn measure_memory(work: &Work<'_>, stop: &Stop) -> Result<Option<NetworkMemory>> {
    let Some(before) = ProcessMemory::now() else { return Ok(None) };
    say("calibrating: memory");
    let before = before.resident;
    let growth = |call: &mut dyn FnMut() -> Result<()>| -> Result<u64> {
        stop.check()?;
        ProcessMemory::restart_peak();
        call()?;
        Ok(ProcessMemory::now().map_or(0, |now| now.peak.saturating_sub(before)))
    };
    let bench = Bench::new(work)?;
    let members = work.sizes.members;
    let one_image = growth(&mut || bench.call(0, CallShape { images: 1, directions: 0 }))?;
    let forward = CallShape { images: work.sizes.batch, directions: 0 };
    let tangents = CallShape { images: (work.sizes.batch / (members + 1)).max(1), directions: members };
    let largest_images = forward.images.max(tangents.images * (members + 1));
    let largest_call = growth(&mut || bench.call(0, forward))?.max(growth(&mut || bench.call(0, tangents))?);
    drop(bench);
    let classifier = match ClassifierBench::new(work) {
        Some(bench) => growth(&mut || bench.step().and(bench.predict()).map(|_| ()))?,
        None => 0,
    };
    let mut training = 0;
    if !work.situation.remaining.training_steps.is_empty() {
        let steps = |trainer: &mut Trainer| -> Result<()> {
            for _ in 0..=TRIAL_STEPS {
                stop.check()?;
                with_images(work, 0, |images| Ok(trainer.train_step(images)?))?;
            }
            Ok(())
        };
        let mut trainer = trainer(work, 0)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().context("cannot start a thread")?;
        let alone = growth(&mut || pool.install(|| steps(&mut trainer)))?;
        training = growth(&mut || steps(&mut trainer))?;
        drop(trainer);
        if lanes(work) > 0 {
            // Side by side, each thread holds as much as one alone, though hardly at the same moment in a few steps.
            let mut side_by_side = SideBySide::new(work, lanes(work))?;
            let few = growth(&mut || (0..TRIAL_STEPS).try_for_each(|_| side_by_side.step(work).map(|_| ())))?;
            training = training.max(few).max(alone * lanes(work) as u64);
        }
    }
    let kept = ProcessMemory::now().map_or(0, |now| now.resident.saturating_sub(before));
    Ok(Some(NetworkMemory { before, one_image, largest_call, largest_images, training, kept, classifier }))
}

/// Members that train side by side when that is tried: as many as threads, if there are so many left.
fn lanes(work: &Work<'_>) -> usize {
    let threads = rayon::current_num_threads();
    if threads >= 2 && work.situation.remaining.training_steps.len() >= threads { threads } else { 0 }
}

/// Times everything that the work is made of.
///
/// # Errors
///
/// As making and training networks, and [`crate::error::ProgramError::Stopped`].
pub fn measure_times(work: &Work<'_>, stop: &Stop) -> Result<Calibration> {
    let lanes = lanes(work);
    let (bench, classifier) = (Bench::new(work)?, ClassifierBench::new(work));
    let mut probes: Vec<(Probe, TimedWork<'_>)> = Vec::new();
    if !work.situation.remaining.training_steps.is_empty() {
        let mut trainer = trainer(work, 0)?;
        probes.push((
            Probe::StepTogether,
            Box::new(move || with_images(work, 0, |images| timed(1.0, || Ok(trainer.train_step(images)?)))),
        ));
    }
    if lanes > 0 {
        let mut side_by_side = SideBySide::new(work, lanes)?;
        probes.push((Probe::StepSideBySide, Box::new(move || side_by_side.step(work))));
    }
    for shape in bench.shapes.clone() {
        let (bench, mut turn) = (&bench, 0);
        probes.push((
            Probe::Call(shape),
            Box::new(move || {
                turn += 1;
                timed(1.0, || bench.call(turn, shape))
            }),
        ));
    }
    if !bench.shapes.is_empty() {
        probes.push((Probe::Advance, Box::new(|| bench.advance())));
    }
    if work.candidates() > 0 && !work.situation.remaining.attribution_shards.is_empty() {
        probes.push((Probe::LinearSearch, Box::new(|| bench.linear_search())));
    }
    if work.situation.remaining.report && work.measured_samples() > 0 {
        probes.push((Probe::ApproximateImage, Box::new(|| bench.approximate_image())));
    }
    if let Some(classifier) = &classifier {
        if work.situation.remaining.classifier {
            probes.push((Probe::ClassifierStep, Box::new(|| classifier.step())));
        }
        probes.push((Probe::ClassifierImage, Box::new(|| classifier.predict())));
    }
    let mut measured: BTreeMap<Probe, Vec<f64>> = BTreeMap::new();
    let mut rounds = 0;
    say(&format!("calibrating: time, about {MEASURING_SECONDS:.0} s"));
    for (_, probe) in &mut probes {
        stop.check()?;
        // The first time also pays for memory that later ones reuse.
        probe()?;
    }
    let started = Instant::now();
    while rounds < LEAST_ROUNDS || started.elapsed().as_secs_f64() < MEASURING_SECONDS && !probes.is_empty() {
        for (key, probe) in &mut probes {
            stop.check()?;
            measured.entry(*key).or_default().push(probe()?);
        }
        rounds += 1;
    }
    drop(probes);
    let classifier_bytes = classifier.map_or(Ok(0), |bench| bench.file_bytes())?;
    let timings = measured.into_iter().map(|(probe, values)| (probe, Timing::of(&values))).collect();
    Ok(Calibration { timings, lanes, classifier_bytes, rounds })
}

/// Seconds of `work`, divided by how many units it does.
fn timed<R>(units: f64, work: impl FnOnce() -> Result<R>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64() / units)
}

fn trainer(work: &Work<'_>, member: u32) -> Result<Trainer> {
    let (recipe, training) = (work.recipe, work.situation.data.trained.training);
    let architecture = work.situation.architecture.clone();
    Ok(Trainer::new(architecture, &recipe.schedule, training, recipe.seed, member)?)
}

/// Runs `train` with the images of one member.
fn with_images<R>(
    work: &Work<'_>,
    member: u32,
    train: impl FnOnce(&TrainingImages<'_>) -> Result<R>,
) -> Result<R> {
    let data = &work.situation.data;
    let own = data.member_images(member)?;
    let read = |index: usize, target: &mut [f32]| data.images.scaled_into(own[index] as usize, target);
    let shape = [data.images.height(), data.images.width(), data.images.channels()];
    train(&TrainingImages { count: own.len(), shape, read: &read })
}

/// A member in training on each thread.
struct SideBySide {
    lanes: Vec<(rayon::ThreadPool, Trainer)>,
}

impl SideBySide {
    /// Steps that a lane makes in one go: more than one, so that the lanes are not always at the same place.
    const STEPS: usize = 2;

    fn new(work: &Work<'_>, lanes: usize) -> Result<Self> {
        let lane = |member: usize| -> Result<_> {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(1).build().context("cannot start a thread")?;
            Ok((pool, trainer(work, member as u32)?))
        };
        Ok(Self { lanes: (0..lanes).map(lane).collect::<Result<_>>()? })
    }

    /// Mean seconds of a step over the lanes.
    fn step(&mut self, work: &Work<'_>) -> Result<f64> {
        let count = self.lanes.len() as f64;
        let results: Vec<Result<f64>> = std::thread::scope(|scope| {
            let handles: Vec<_> = self
                .lanes
                .iter_mut()
                .enumerate()
                .map(|(member, (pool, trainer))| {
                    scope.spawn(move || {
                        with_images(work, member as u32, |images| {
                            pool.install(|| {
                                timed(Self::STEPS as f64, || {
                                    for _ in 0..Self::STEPS {
                                        trainer.train_step(images)?;
                                    }
                                    Ok(())
                                })
                            })
                        })
                    })
                })
                .collect();
            handles
                .into_iter()
                .map(|handle| {
                    handle.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a training thread failed")))
                })
                .collect()
        });
        let mut sum = 0.0;
        for seconds in results {
            sum += seconds?;
        }
        Ok(sum / count)
    }
}

/// The recipe's network with random weights, and something to put into it.
struct Bench<'a> {
    work: &'a Work<'a>,
    mixture: Mixture,
    sampler: Sampler,
    /// The calls to be timed.
    shapes: Vec<CallShape>,
    /// As many normals as the largest call takes.
    normals: Vec<f32>,
}

impl<'a> Bench<'a> {
    fn new(work: &'a Work<'a>) -> Result<Self> {
        let data = &work.situation.data.images;
        let architecture = &work.situation.architecture;
        let members = (0..work.sizes.members.min(MEMBERS_AT_MOST) as u32)
            .map(|member| {
                Parameters::from_memory(
                    architecture,
                    Parameters::initial(architecture, work.recipe.seed, member),
                )
            })
            .collect();
        let mixture =
            Mixture::new(architecture.clone(), members, data.height(), data.width(), work.sizes.batch)?;
        let sampler = Sampler::new(&work.recipe.schedule, work.recipe.sampling)?;
        let largest = work.sizes.batch.max(work.sizes.members + 1).max(2 * work.sizes.members);
        let mut normals = vec![0.0; largest * mixture.image_length()];
        Stream::new(0, Purpose::Test, 0, 0).fill_normal(&mut normals);
        Ok(Self { work, mixture, sampler, shapes: shapes_to_time(work), normals })
    }

    fn images(&self, count: usize) -> &[f32] {
        &self.normals[..count * self.mixture.image_length()]
    }

    fn call(&self, turn: usize, shape: CallShape) -> Result<()> {
        let member = turn % self.mixture.members();
        let timestep = self.sampler.timestep(turn % self.sampler.len());
        let images = self.images(shape.images);
        if shape.directions == 0 {
            self.mixture.predict(member, images, timestep);
        } else {
            let tangents = self.images(shape.images * shape.directions);
            self.mixture.predict_with_tangents(member, images, tangents, shape.directions, timestep);
        }
        Ok(())
    }

    /// Seconds per image.
    fn advance(&self) -> Result<f64> {
        const IMAGES: usize = 4;
        let images = IMAGES.min(self.normals.len() / self.mixture.image_length());
        let samples: Vec<u32> = (0..images as u32).collect();
        let mut x = self.images(images).to_vec();
        let predicted = x.clone();
        timed(images as f64, || {
            self.mixture.advance(&self.sampler, 0, 0, &samples, &mut x, &predicted);
            Ok(())
        })
    }

    fn columns(&self) -> Vec<Vec<f32>> {
        let columns = self.images(self.work.sizes.members).chunks_exact(self.mixture.image_length());
        columns.map(<[f32]>::to_vec).collect()
    }

    /// Seconds per sample.
    fn linear_search(&self) -> Result<f64> {
        let derivatives = Derivatives {
            one_member_jacobian: Jacobian { columns: self.columns() },
            without_member: self.columns(),
        };
        let codes = &self.work.situation.data.codes;
        timed(1.0, || Ok(linear_candidates(codes, self.images(1), &derivatives, self.work.candidates())?))
    }

    /// Seconds per image.
    fn approximate_image(&self) -> Result<f64> {
        let jacobian = Jacobian { columns: self.columns() };
        let direction = linear_coefficients(&self.work.situation.data.codes.weights_without(&[0])?);
        timed(1.0, || {
            let terms = second_order_terms(self.images(1), &jacobian, &jacobian.columns);
            Ok(second_order(self.images(1), &jacobian, &terms, &direction))
        })
    }
}

/// Of all calls that the work makes: the smallest and the largest with and without tangents, and of those without the
/// one that most images go through.
fn shapes_to_time(work: &Work<'_>) -> Vec<CallShape> {
    let mut images: BTreeMap<CallShape, u64> = BTreeMap::new();
    for stage in work.attribution().into_iter().chain([work.sampling()]) {
        for (shape, count) in stage.calls.network {
            *images.entry(shape).or_default() += shape.images as u64 * count;
        }
    }
    let mut chosen = BTreeSet::new();
    for with_tangents in [false, true] {
        let of_kind = || images.iter().filter(|(shape, _)| (shape.directions > 0) == with_tangents);
        chosen.extend(of_kind().next().map(|(shape, _)| *shape));
        chosen.extend(of_kind().next_back().map(|(shape, _)| *shape));
        chosen.extend(of_kind().max_by_key(|(_, images)| **images).map(|(shape, _)| *shape));
    }
    chosen.into_iter().collect()
}

/// The recipe's classifier, and images for it.
struct ClassifierBench {
    config: ClassifierConfig,
    pixels: Vec<f32>,
    labels: Vec<u32>,
}

impl ClassifierBench {
    /// None for a run that needs none any more.
    fn new(work: &Work<'_>) -> Option<Self> {
        let remaining = &work.situation.remaining;
        if work.recipe.classifier.is_none() || !(remaining.classifier || remaining.report) {
            return None;
        }
        let images = &work.situation.data.images;
        let shape = [images.height(), images.width(), images.channels()];
        let mut config = ClassifierConfig::new(work.situation.data.class_names.len(), shape);
        config.epochs = 1;
        let mut pixels = vec![0.0; CLASSIFIER_IMAGES * images.image_len()];
        for (index, target) in pixels.chunks_exact_mut(images.image_len()).enumerate() {
            images.scaled_into(index % images.len(), target);
        }
        let labels = (0..CLASSIFIER_IMAGES).map(|index| (index % config.classes) as u32).collect();
        Some(Self { config, pixels, labels })
    }

    fn train(&self, steps: usize, mut after_step: impl FnMut()) -> Result<Classifier> {
        let length = self.config.image_length();
        let count = (steps * self.config.batch).min(CLASSIFIER_IMAGES);
        let read = |index: usize, target: &mut [f32]| {
            target.copy_from_slice(&self.pixels[index * length..][..length])
        };
        Classifier::train(self.config, &read, count, &self.labels[..count], |_| {
            after_step();
            anyhow::Ok(())
        })
    }

    /// Seconds of a training step, from the end of the first to that of the last: what comes before the first is done
    /// once in a training, and is nothing beside it.
    fn step(&self) -> Result<f64> {
        let mut ends = Vec::new();
        self.train(CLASSIFIER_IMAGES / self.config.batch, || ends.push(Instant::now()))?;
        let seconds = match ends.as_slice() {
            [first, .., last] => last.duration_since(*first).as_secs_f64(),
            _ => 0.0,
        };
        Ok(seconds / ends.len().saturating_sub(1).max(1) as f64)
    }

    /// Seconds per image.
    fn predict(&self) -> Result<f64> {
        let classifier = self.train(1, || ())?;
        timed(CLASSIFIER_IMAGES as f64, || Ok(classifier.predict(&self.pixels)?))
    }

    fn file_bytes(&self) -> Result<u64> {
        Ok(self.train(1, || ())?.to_bytes()?.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(times: &[(usize, f64)]) -> Calibration {
        let timing = |&(images, seconds): &(usize, f64)| {
            (Probe::Call(CallShape { images, directions: 0 }), Timing { seconds, error: seconds / 10.0 })
        };
        let timings = times.iter().map(timing).collect();
        Calibration { timings, lanes: 0, classifier_bytes: 0, rounds: 2 }
    }

    #[test]
    fn calls_between_two_sizes_lie_on_the_line_between_them() {
        let calibration = calibration(&[(2, 1.0), (4, 1.4), (64, 13.4)]);
        for (images, seconds) in [(2, 1.0), (3, 1.2), (4, 1.4), (34, 7.4), (64, 13.4)] {
            let call = calibration.call(CallShape { images, directions: 0 });
            assert!((call.seconds - seconds).abs() < 1e-12, "{images}: {call:?}");
        }
        // There are no measurements with tangents.
        assert_eq!(calibration.call(CallShape { images: 2, directions: 7 }), Timing::default());
    }

    #[test]
    fn the_mean_and_its_error_are_those_of_statistics() {
        // Variance of 1, 2, 3, 4 is 5/3; the mean of four has a quarter of it.
        let timing = Timing::of(&[1.0, 2.0, 3.0, 4.0]);
        assert!((timing.seconds - 2.5).abs() < 1e-12);
        assert!((timing.error - (5.0_f64 / 12.0).sqrt()).abs() < 1e-12);
        // Of a single measurement nothing is known of its spread: it may be off by all of itself.
        assert_eq!(Timing::of(&[2.0]), Timing { seconds: 2.0, error: 2.0 });
    }

    #[test]
    fn memory_of_calls_grows_with_their_images() {
        let memory = NetworkMemory {
            before: 0,
            one_image: 10,
            largest_call: 640,
            largest_images: 64,
            training: 0,
            kept: 0,
            classifier: 0,
        };
        assert_eq!([1, 2, 64].map(|images| memory.call(images)), [10, 20, 640]);
    }
}
