//! What a network is trained on: a noised image, with what the network should give for it.
//!
//! Training, gradients, curvature, losses and the doctor all take expectations over *draws*, a timestep and a noise each
//! ([`Draw`]; Ho et al. 2020, equation 14). An image x0 at a draw (t, eps) is `x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps`,
//! and the network, told t, should give eps, x0 or v, as its schedule says. This arithmetic is here and nowhere else.

use crate::condition::Condition;
use crate::schedule::ScheduleConfig;
use crate::unet::{Architecture, BatchCondition, Precision};
use burn::tensor::{Tensor, TensorData};
use pentimento_kernels::extension::device_for;

/// A timestep and the noise that is added at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// The timestep to which an image is noised.
    pub timestep: usize,
    /// The noise, as many values as the image has.
    pub noise: Vec<f32>,
}

/// A noise schedule, ready to noise images.
///
/// `A` is the float in which image and noise are mixed. Training and the doctor mix in f32. What measures a trained network
/// mixes in f64 and rounds the input once, to the network's precision; its targets stay in f64. Both are part of results, so
/// neither takes the other's place.
#[derive(Clone, Debug)]
pub struct Denoising<A> {
    /// By timestep, the factors of the image and of the noise: in what the network gets, and in what it should give.
    factors: Vec<[[A; 2]; 2]>,
}

/// Some noised images, and what a network should make of them.
pub struct NoisyBatch<A> {
    /// The noised images, `[draws, height, width, channels]`.
    pub input: Tensor<4>,
    /// Their timesteps, and the conditions under which they were made.
    pub condition: BatchCondition,
    /// What the network should give, `[draws, height, width, channels]`.
    pub target: Vec<A>,
}

impl<A: Precision> Denoising<A> {
    /// Works out the factors of every timestep.
    pub fn new(schedule: &ScheduleConfig) -> Self {
        let of_timestep = |bar: f64| {
            let input = [bar.sqrt(), (1.0 - bar).sqrt()];
            [input, schedule.prediction_type.target(bar)].map(|factors| factors.map(A::of))
        };
        Self { factors: schedule.alphas_cumprod().into_iter().map(of_timestep).collect() }
    }

    /// Number of timesteps of the schedule.
    pub fn timesteps(&self) -> usize {
        self.factors.len()
    }

    /// The factors of the image and of the noise in what the network should give at a timestep.
    ///
    /// # Panics
    ///
    /// If the schedule has no such timestep.
    pub fn target_factors(&self, timestep: usize) -> [A; 2] {
        self.factors[timestep][1]
    }

    /// Noises `images`, `[images, height, width, channels]` in [-1, 1], for a network of precision `T`. Of images and of
    /// conditions there is one for each draw, or one for all draws; a network without conditions may be told none.
    ///
    /// # Panics
    ///
    /// If the images do not fit the network or the draws, a noise does not fit its image, or a timestep the schedule; as
    /// [`BatchCondition::new`].
    pub fn batch<'d, T: Precision>(
        &self,
        architecture: &Architecture,
        images: &[f32],
        [height, width]: [usize; 2],
        draws: impl IntoIterator<Item = &'d Draw>,
        conditions: &[Condition],
    ) -> NoisyBatch<A> {
        let draws: Vec<&Draw> = draws.into_iter().collect();
        let channels = architecture.config().in_channels;
        let length = height * width * channels;
        assert!(
            [length, draws.len() * length].contains(&images.len()),
            "images for {} draws: {} values, {length} each",
            draws.len(),
            images.len()
        );
        let mut input = Vec::with_capacity(draws.len() * length);
        let mut target = Vec::with_capacity(draws.len() * length);
        for (draw, image) in draws.iter().zip(images.chunks_exact(length).cycle()) {
            assert_eq!(draw.noise.len(), length, "lengths of an image and its noise");
            let [of_input, of_target] = self.factors[draw.timestep];
            let mixed = |[of_image, of_noise]: [A; 2]| {
                let values = image.iter().zip(&draw.noise);
                values
                    .map(move |(&x, &eps)| of_image * A::of(f64::from(x)) + of_noise * A::of(f64::from(eps)))
            };
            input.extend(mixed(of_input).map(|value| T::of(value.wide())));
            target.extend(mixed(of_target));
        }
        let timesteps: Vec<usize> = draws.iter().map(|draw| draw.timestep).collect();
        let input = TensorData::new(input, [draws.len(), height, width, channels]);
        NoisyBatch {
            input: Tensor::from_data(input, (&device_for(T::dtype()), T::dtype())),
            condition: BatchCondition::new::<T>(architecture, &timesteps, conditions),
            target,
        }
    }
}
