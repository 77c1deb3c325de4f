//! The full ensemble's own trajectory, with what every member said along it.

use super::weights::full_weights;
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::mixture::Mixture;
use pentimento_diffusion::sampler::Sampler;
use pentimento_diffusion::unet::Precision;

/// The trajectories of several samples under the full ensemble (every member at weight 1/n), kept step by step.
///
/// Everything that is cheap to say about counterfactuals starts here: the Jacobian and the control variate both work
/// along this trajectory, and the last-step baseline only needs its end.
#[derive(Clone, Debug)]
pub struct BaseRun<T> {
    /// Which recorded noise each trajectory follows.
    pub samples: Vec<u32>,
    /// Under which condition each is made; that of the mixture if absent.
    pub conditions: Vec<Option<Condition>>,
    /// Seed of the recorded noise.
    pub seed: u64,
    /// What was there before each step, the noisiest first.
    pub(crate) steps: Vec<BaseStep<T>>,
    /// The ends, `[samples, image]`, not clamped.
    pub images: Vec<T>,
}

/// One step of a [`BaseRun`].
#[derive(Clone, Debug)]
pub(crate) struct BaseStep<T> {
    /// `[samples, image]`.
    pub(crate) x: Vec<T>,
    /// What each member says at `x`, `[member][samples, image]`: its predicted noise, guided if the mixture is.
    pub(crate) predictions: Vec<Vec<T>>,
}

impl<T: Precision> BaseStep<T> {
    /// `sum_k weight_k f_k(x)` of one sample, in the order of the members.
    pub(crate) fn mixed(&self, sample: usize, length: usize, weights: &[f64]) -> Vec<T> {
        let mut sum = vec![T::of(0.0); length];
        for (prediction, &weight) in self.predictions.iter().zip(weights) {
            if weight != 0.0 {
                let weight = T::of(weight);
                for (total, &value) in sum.iter_mut().zip(&prediction[sample * length..][..length]) {
                    *total += weight * value;
                }
            }
        }
        sum
    }
}

impl<T: Precision> BaseRun<T> {
    /// Runs the full ensemble under the mixture's own condition. Costs one forward pass per member, step and sample, two if the
    /// mixture is guided; memory is that many images.
    ///
    /// # Errors
    ///
    /// Whatever `progress` returns; it is called after each step with the number of steps done.
    pub fn new<E>(
        mixture: &Mixture,
        sampler: &Sampler,
        seed: u64,
        samples: &[u32],
        progress: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Self, E> {
        let conditions = vec![None; samples.len()];
        Self::under(mixture, sampler, seed, (samples, conditions), progress)
    }

    /// The same where each sample has a condition of its own.
    ///
    /// # Errors
    ///
    /// Whatever `progress` returns.
    pub fn under<E>(
        mixture: &Mixture,
        sampler: &Sampler,
        seed: u64,
        (samples, conditions): (&[u32], Vec<Option<Condition>>),
        mut progress: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut x = mixture.noise::<T>(seed, samples, 0);
        let mut steps = Vec::with_capacity(sampler.len());
        for step in 0..sampler.len() {
            let (record, predicted) = base_step(mixture, sampler, step, &x, &conditions);
            mixture.advance(sampler, step, seed, samples, &mut x, &predicted);
            steps.push(record);
            progress(step + 1)?;
        }
        Ok(Self { samples: samples.to_vec(), conditions, seed, steps, images: x })
    }

    /// Runs one sample on given noise instead of the counter's: `noise[0]` is the start, `noise[k]` is added after
    /// step k. For comparison with other programs.
    ///
    /// # Panics
    ///
    /// If there are not `steps + 1` images of noise.
    pub fn with_noise(mixture: &Mixture, sampler: &Sampler, noise: &[Vec<T>]) -> Self {
        let mut x = noise[0].clone();
        let mut steps = Vec::with_capacity(sampler.len());
        for step in 0..sampler.len() {
            let (record, predicted) = base_step(mixture, sampler, step, &x, &[None]);
            sampler.advance(step, &mut x, &predicted, &noise[step + 1]);
            steps.push(record);
        }
        Self { samples: vec![0], conditions: vec![None], seed: 0, steps, images: x }
    }

    /// The first `count` samples alone; `length` is that of an image.
    pub fn first(&self, count: usize, length: usize) -> Self {
        let cut = |images: &[T]| images[..(count * length).min(images.len())].to_vec();
        let step = |step: &BaseStep<T>| BaseStep {
            x: cut(&step.x),
            predictions: step.predictions.iter().map(|prediction| cut(prediction)).collect(),
        };
        Self {
            samples: self.samples.iter().copied().take(count).collect(),
            conditions: self.conditions.iter().take(count).cloned().collect(),
            seed: self.seed,
            steps: self.steps.iter().map(step).collect(),
            images: cut(&self.images),
        }
    }

    /// Under which condition one of the samples is made.
    pub(crate) fn condition<'a>(&'a self, mixture: &'a Mixture, sample: usize) -> &'a Condition {
        condition_of(mixture, &self.conditions, sample)
    }

    /// The end of one trajectory, not clamped.
    ///
    /// # Panics
    ///
    /// If there is no such trajectory.
    pub fn image(&self, index: usize) -> &[T] {
        let length = self.images.len() / self.samples.len();
        &self.images[index * length..][..length]
    }
}

fn condition_of<'a>(
    mixture: &'a Mixture,
    conditions: &'a [Option<Condition>],
    sample: usize,
) -> &'a Condition {
    conditions.get(sample).and_then(Option::as_ref).unwrap_or(mixture.condition())
}

/// What every member says at `x`, and their average.
fn base_step<T: Precision>(
    mixture: &Mixture,
    sampler: &Sampler,
    step: usize,
    x: &[T],
    conditions: &[Option<Condition>],
) -> (BaseStep<T>, Vec<T>) {
    let (length, members) = (mixture.image_length(), mixture.members());
    let timestep = sampler.timestep(step);
    let calls: Vec<(usize, &[T])> = (0..members).map(|member| (member, x)).collect();
    let condition = |_: usize, sample: usize| condition_of(mixture, conditions, sample);
    let predictions = mixture.predict_guided(&calls, condition, timestep);
    let record = BaseStep { x: x.to_vec(), predictions };
    let weights = full_weights(members);
    let predicted = (0..x.len() / length).flat_map(|sample| record.mixed(sample, length, &weights)).collect();
    (record, predicted)
}
