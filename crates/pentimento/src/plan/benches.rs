//! The real work of each stage, done once at a time to be timed and weighed.

use super::work::Work;
use anyhow::{Context, Result};
use pentimento_attribution::ensemble::approximation::{second_order, second_order_terms};
use pentimento_attribution::ensemble::{Derivatives, Jacobian, linear_candidates, linear_coefficients};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::mixture::{CallShape, Mixture};
use pentimento_diffusion::sampler::Sampler;
use pentimento_diffusion::training::{Trainer, TrainingConditions, TrainingConfig, TrainingImages};
use pentimento_diffusion::unet::Parameters;
use pentimento_evaluation::classifier::{Classifier, ClassifierConfig};
use pentimento_noise::{Purpose, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Members that take turns in calls, so that weights come from memory about as they do among all members.
const MEMBERS_AT_MOST: usize = 4;
/// Images of one call of the classifier that are timed: as many as it takes at once.
const CLASSIFIER_IMAGES: usize = 256;

/// Members that train side by side when that is tried: as many as threads, if there are so many left.
pub(super) fn lanes(work: &Work<'_>) -> usize {
    let threads = rayon::current_num_threads();
    if threads >= 2 && work.situation.remaining.training_steps.len() >= threads { threads } else { 0 }
}

/// Seconds of `work`, divided by how many units it does.
pub(super) fn timed<R>(units: f64, work: impl FnOnce() -> Result<R>) -> Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64() / units)
}

pub(super) fn trainer(work: &Work<'_>, member: u32) -> Result<Trainer> {
    let (recipe, data) = (work.recipe, &work.situation.data);
    let architecture = work.situation.architecture.clone();
    // Any condition takes the time that another one takes.
    let training = TrainingConfig { condition_dropout: 0.0, ..data.trained.training };
    let (schedule, seed) = (&recipe.schedule, recipe.seed);
    let trainer = match data.network.any_condition() {
        Condition::None => Trainer::new(architecture, schedule, training, seed, member)?,
        condition => {
            let told = TrainingConditions::new(vec![vec![condition]; data.member_images(member)?.len()]);
            Trainer::conditional(architecture, schedule, training, told, seed, member)?
        }
    };
    // So that what they hold is measured with all else.
    Ok(match data.first_values()? {
        Some(values) => trainer.beginning_with(values.to_vec())?,
        None => trainer,
    })
}

/// Runs `train` with the images of one member.
pub(super) fn with_images<R>(
    work: &Work<'_>,
    member: u32,
    train: impl FnOnce(&TrainingImages<'_>) -> Result<R>,
) -> Result<R> {
    let data = &work.situation.data;
    let own = data.member_images(member)?;
    // Latents are not made for a forecast: it takes blank ones.
    let works_on_latents = work.recipe.encoders().is_some();
    let read = |index: usize, target: &mut [f32]| match works_on_latents {
        true => target.fill(0.0),
        false => data.images.scaled_into(own[index] as usize, target),
    };
    train(&TrainingImages { count: own.len(), shape: data.input_shape(), read: &read })
}

/// A member in training on each thread.
pub(super) struct SideBySide {
    lanes: Vec<(rayon::ThreadPool, Trainer)>,
}

impl SideBySide {
    /// Steps that a lane makes in one go: more than one, so that the lanes are not always at the same place.
    const STEPS: usize = 2;

    pub(super) fn new(work: &Work<'_>, lanes: usize) -> Result<Self> {
        let lane = |member: usize| -> Result<_> {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(1).build().context("cannot start a thread")?;
            Ok((pool, trainer(work, member as u32)?))
        };
        Ok(Self { lanes: (0..lanes).map(lane).collect::<Result<_>>()? })
    }

    /// Mean seconds of a step over the lanes.
    pub(super) fn step(&mut self, work: &Work<'_>) -> Result<f64> {
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
pub(super) struct Bench<'a> {
    work: &'a Work<'a>,
    mixture: Mixture,
    sampler: Sampler,
    /// The calls to be timed.
    pub(super) shapes: Vec<CallShape>,
    /// As many normals as the largest call takes.
    normals: Vec<f32>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(work: &'a Work<'a>) -> Result<Self> {
        let [height, width, _] = work.situation.data.input_shape();
        let architecture = &work.situation.architecture;
        let members = (0..work.sizes.members.min(MEMBERS_AT_MOST) as u32)
            .map(|member| {
                Parameters::from_memory(
                    architecture,
                    Parameters::initial(architecture, work.recipe.seed, member),
                )
            })
            .collect();
        let mixture = Mixture::new(architecture.clone(), members, height, width, work.sizes.batch)?
            .under(architecture.config().any_condition())?;
        let sampler = Sampler::new(&work.recipe.schedule, work.recipe.sampling)?;
        let largest = work.sizes.batch.max(work.sizes.members + 1).max(2 * work.sizes.members);
        let mut normals = vec![0.0; largest * mixture.image_length()];
        Stream::new(0, Purpose::Test, 0, 0).fill_normal(&mut normals);
        Ok(Self { work, mixture, sampler, shapes: shapes_to_time(work), normals })
    }

    fn images(&self, count: usize) -> &[f32] {
        &self.normals[..count * self.mixture.image_length()]
    }

    pub(super) fn call(&self, turn: usize, shape: CallShape) -> Result<()> {
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
    pub(super) fn advance(&self) -> Result<f64> {
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
    pub(super) fn linear_search(&self) -> Result<f64> {
        let derivatives = Derivatives {
            one_member_jacobian: Jacobian { columns: self.columns() },
            without_member: self.columns(),
        };
        let codes = &self.work.situation.data.codes;
        timed(1.0, || {
            Ok(linear_candidates(
                codes,
                self.images(1),
                &derivatives,
                self.work.candidates(),
                self.work.recipe.space(),
            )?)
        })
    }

    /// Seconds per image.
    pub(super) fn approximate_image(&self) -> Result<f64> {
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
pub(super) struct ClassifierBench {
    config: ClassifierConfig,
    pixels: Vec<f32>,
    labels: Vec<u32>,
}

impl ClassifierBench {
    /// None for a run that needs none any more.
    pub(super) fn new(work: &Work<'_>) -> Option<Self> {
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
    pub(super) fn step(&self) -> Result<f64> {
        let mut ends = Vec::new();
        self.train(CLASSIFIER_IMAGES / self.config.batch, || ends.push(Instant::now()))?;
        let seconds = match ends.as_slice() {
            [first, .., last] => last.duration_since(*first).as_secs_f64(),
            _ => 0.0,
        };
        Ok(seconds / ends.len().saturating_sub(1).max(1) as f64)
    }

    /// Seconds per image.
    pub(super) fn predict(&self) -> Result<f64> {
        let classifier = self.train(1, || ())?;
        timed(CLASSIFIER_IMAGES as f64, || Ok(classifier.predict(&self.pixels)?))
    }

    pub(super) fn file_bytes(&self) -> Result<u64> {
        Ok(self.train(1, || ())?.to_bytes()?.len() as u64)
    }
}
