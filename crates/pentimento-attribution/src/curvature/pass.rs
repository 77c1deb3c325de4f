//! What layers see of an image, and pseudo-gradients of the output.

use super::CurvatureError;
use super::blocks::{Block, BlockKind};
use super::loss::gradient_of_input;
use crate::gradient::LossOfTenths;
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::denoising::{Denoising, Draw, NoisyBatch};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, LayerRecord, Parameters};
use pentimento_noise::{Purpose, Stream};

/// A timestep and a noise, with a random direction of the output.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvatureDraw {
    /// The timestep and the noise.
    pub draw: Draw,
    /// The direction eta, normal, as many values as the output has.
    pub direction: Vec<f32>,
}

/// What is measured of the curvature; each part has draws of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CurvaturePart {
    /// The factors of K-FAC.
    Factors,
    /// The eigenvalues of EK-FAC.
    Eigenvalues,
}

/// The draws of an image: `count` timesteps drawn from as many equal parts of the schedule, each with its own noise and
/// direction. `image` tells images apart.
pub fn curvature_draws(
    schedule: &ScheduleConfig,
    seed: u64,
    part: CurvaturePart,
    count: usize,
    image: u32,
    length: usize,
) -> Vec<CurvatureDraw> {
    let bits = u32::from(part == CurvaturePart::Eigenvalues);
    (0..count).map(|index| draw_apart(schedule, seed, bits, index, count, image, length)).collect()
}

/// One of `count` draws of an image for a sample of the whole matrix, which has draws of its own.
pub fn whole_curvature_draw(
    schedule: &ScheduleConfig,
    seed: u64,
    index: usize,
    count: usize,
    image: u32,
    length: usize,
) -> CurvatureDraw {
    // No part has 2^30 draws of an image.
    draw_apart(schedule, seed, 1 << 31, index, count, image, length)
}

/// One of `count` draws of an image, which `bits` keep apart from those of others.
fn draw_apart(
    schedule: &ScheduleConfig,
    seed: u64,
    bits: u32,
    index: usize,
    count: usize,
    image: u32,
    length: usize,
) -> CurvatureDraw {
    let total = schedule.num_train_timesteps;
    let step = (index as u32) << 1 | bits;
    let stream = |purpose| Stream::new(seed, purpose, image, step);
    let mut within = [0.0f32];
    stream(Purpose::CurvatureTimestep).fill_uniform(&mut within);
    let timestep = (index as f64 + f64::from(within[0])) / count as f64 * total as f64;
    let normals = |purpose| {
        let mut values = vec![0.0f32; length];
        stream(purpose).fill_normal(&mut values);
        values
    };
    let timestep = (timestep as usize).min(total - 1);
    CurvatureDraw {
        draw: Draw { timestep, noise: normals(Purpose::CurvatureNoise) },
        direction: normals(Purpose::PseudoGradient),
    }
}

/// What all layers saw of one image in all of its draws.
pub struct ImageRecords {
    pub(super) records: Vec<LayerRecord<f32>>,
    pub(super) draws: usize,
    /// The sum over the draws of the mean square that the network was wrong.
    pub(super) loss: f64,
    /// The same by where in the schedule they are.
    pub(super) losses: LossOfTenths,
}

/// What files of sums call the number of their draws. Other versions read these files too.
pub(super) const DRAWS_IN_FILES: &str = "looks";
/// Most draws that pass through the network at once.
const MOST_DRAWS_OF_A_PASS: usize = 16;
/// Most values of all layers' inputs and gradients that are held at once, unless one draw has more: 128 MiB.
const MOST_VALUES_OF_A_PASS: usize = 1 << 25;

/// A network whose curvature is measured.
pub struct CurvaturePass<'a> {
    architecture: &'a Architecture,
    parameters: Parameters,
    denoising: Denoising<f64>,
    size: [usize; 2],
    /// Of the schedule.
    timesteps: usize,
    draws_at_once: usize,
}

impl<'a> CurvaturePass<'a> {
    /// Prepares a network for images of a height and width. How many draws pass at once follows from these alone, as sums over
    /// the draws of a pass have one order.
    pub fn new(
        architecture: &'a Architecture,
        parameters: Parameters,
        schedule: &ScheduleConfig,
        size: [usize; 2],
    ) -> Self {
        let denoising = Denoising::new(schedule);
        let timesteps = schedule.num_train_timesteps;
        let mut pass = Self { architecture, parameters, denoising, size, timesteps, draws_at_once: 1 };
        let zeros = vec![0.0f32; size[0] * size[1] * architecture.config().in_channels];
        let draw = Draw { timestep: 0, noise: zeros.clone() };
        let draw = CurvatureDraw { draw, direction: zeros.clone() };
        let condition = architecture.config().any_condition();
        let of_layer =
            |record: &LayerRecord<f32>| record.input.values().len() + record.output_gradient.values().len();
        let values: usize = pass.pass(&zeros, &condition, &[draw]).0.iter().map(of_layer).sum();
        pass.draws_at_once = (MOST_VALUES_OF_A_PASS / values.max(1)).clamp(1, MOST_DRAWS_OF_A_PASS);
        pass
    }

    /// Passes an image `[height, width, channels]` in [-1, 1] at some draws through the network and, for each, the gradient
    /// `sqrt(2 / D) eta` back from its output of D values. The mean outer product of such gradients in the parameters is
    /// the Gauss-Newton matrix of the mean squared error (Mlodozeniec et al. 2025, section 3).
    ///
    /// At most [`draws_at_once`](Self::draws_at_once); more are cut into parts of so many, so that sums do not depend on
    /// how it is done. Errors call the image `name`.
    ///
    /// # Errors
    ///
    /// [`CurvatureError::NotFinite`].
    ///
    /// # Panics
    ///
    /// If there are more draws or none, the image does not fit the network, the draws the image, or a timestep the schedule.
    pub fn records(
        &self,
        image: &[f32],
        condition: impl Into<Condition>,
        draws: &[CurvatureDraw],
        name: &str,
    ) -> Result<ImageRecords, CurvatureError> {
        assert!((1..=self.draws_at_once).contains(&draws.len()), "draws of a pass");
        let (records, of_draws) = self.pass(image, &condition.into(), draws);
        let loss = of_draws.iter().sum();
        self.check(&records, loss, name)?;
        let mut losses = LossOfTenths::default();
        for (CurvatureDraw { draw, .. }, loss) in draws.iter().zip(of_draws) {
            losses.add(draw.timestep, self.timesteps, loss);
        }
        Ok(ImageRecords { records, draws: draws.len(), loss, losses })
    }

    /// One pseudo-gradient in all parameters: the sum over some draws, whose directions are independent, so that the mean outer
    /// product of such sums is again the Gauss-Newton matrix, with less noise than that of single draws.
    ///
    /// # Errors
    ///
    /// [`CurvatureError::NotFinite`], which calls the image `name`.
    ///
    /// # Panics
    ///
    /// As [`records`](Self::records).
    pub fn pseudo_gradient(
        &self,
        image: &[f32],
        condition: impl Into<Condition>,
        draws: &[CurvatureDraw],
        name: &str,
    ) -> Result<Vec<f32>, CurvatureError> {
        let conditions = vec![condition.into(); draws.len()];
        let of_draws = draws.iter().map(|draw| &draw.draw);
        let NoisyBatch { input, condition, .. } =
            self.denoising.batch::<f32>(self.architecture, image, self.size, of_draws, &conditions);
        let length = draws.first().map_or(1, |draw| draw.direction.len());
        let scale = (2.0 / (length * draws.len().max(1)) as f64).sqrt();
        let direction = draws.iter().flat_map(|draw| &draw.direction);
        let cotangents = direction.map(|eta| (scale * f64::from(*eta)) as f32).collect();
        let gradient = gradient_of_input(self.architecture, &self.parameters, input, &condition, cotangents);
        match gradient.iter().all(|value| value.is_finite()) {
            true => Ok(gradient),
            false => Err(CurvatureError::NotFinite { image: name.into(), block: "a pseudo-gradient".into() }),
        }
    }

    /// How many draws pass through the network at once.
    pub fn draws_at_once(&self) -> usize {
        self.draws_at_once
    }

    /// What layers see at some draws, and the loss at each.
    fn pass(
        &self,
        image: &[f32],
        condition: &Condition,
        draws: &[CurvatureDraw],
    ) -> (Vec<LayerRecord<f32>>, Vec<f64>) {
        let conditions = vec![condition.clone(); draws.len()];
        let of_draws = draws.iter().map(|draw| &draw.draw);
        let NoisyBatch { input, condition, .. } =
            self.denoising.batch::<f32>(self.architecture, image, self.size, of_draws, &conditions);
        let mut losses = Vec::with_capacity(draws.len());
        let records = self.architecture.observe::<f32>(&self.parameters, input, &condition, |output| {
            let length = output.len() / draws.len();
            let scale = (2.0 / length as f64).sqrt();
            for (CurvatureDraw { draw, .. }, output) in draws.iter().zip(output.chunks_exact(length)) {
                // Image and noise are taken off one after the other, not their sum, the batch's target: for velocities that
                // is rounded otherwise, and the mean loss is kept and scores follow from it.
                let [of_image, of_noise] = self.denoising.target_factors(draw.timestep);
                let wrong = output.iter().zip(image.iter().zip(&draw.noise)).map(|(output, (x, eps))| {
                    let wrong = f64::from(*output) - of_image * f64::from(*x) - of_noise * f64::from(*eps);
                    wrong * wrong
                });
                losses.push(wrong.sum::<f64>() / length as f64);
            }
            let direction = draws.iter().flat_map(|draw| &draw.direction);
            direction.map(|eta| (scale * f64::from(*eta)) as f32).collect()
        });
        (records, losses)
    }

    /// Names the first layer, in the order of the pass, whose input or gradient is not finite.
    fn check(&self, records: &[LayerRecord<f32>], loss: f64, image: &str) -> Result<(), CurvatureError> {
        // Whole chunks, which are looked through many values at a time.
        let finite = |values: &[f32]| {
            values.chunks(1024).all(|chunk| chunk.iter().fold(true, |all, value| all & value.is_finite()))
        };
        let bad = records
            .iter()
            .find(|record| !finite(record.input.values()) || !finite(record.output_gradient.values()));
        let name = |at: usize| {
            self.architecture.parameters().get(at).map(|spec| spec.name.clone()).unwrap_or_default()
        };
        match bad {
            Some(record) => Err(CurvatureError::NotFinite { image: image.into(), block: name(record.at) }),
            None if !loss.is_finite() => {
                Err(CurvatureError::NotFinite { image: image.into(), block: "the output".into() })
            }
            None => Ok(()),
        }
    }
}

impl ImageRecords {
    /// What the layer of a block saw.
    pub(super) fn of(&self, block: &Block) -> Result<&LayerRecord<f32>, CurvatureError> {
        self.records.iter().find(|record| record.at == block.layer).ok_or_else(|| CurvatureError::Mismatch {
            what: "the layer of a block".into(),
            found: "not in the network".into(),
            expected: block.name.clone(),
        })
    }

    /// The pseudo-gradient of each draw in a block of one row, `[draws, outputs]`.
    pub(super) fn vector_gradients(&self, block: &Block) -> Result<Vec<f32>, CurvatureError> {
        let record = self.of(block)?;
        let gradient = &record.output_gradient;
        let [draws, height, width, channels] = gradient.sides;
        let mut sums = vec![0.0f64; draws * block.outputs];
        let pixels = height * width * channels;
        for (draw, sum) in sums.chunks_exact_mut(block.outputs).enumerate() {
            let range = draw * pixels..(draw + 1) * pixels;
            let (of_scale, of_shift) = sum.split_at_mut(block.outputs - channels);
            let positions = gradient.values()[range.clone()].chunks_exact(channels);
            if block.kind == BlockKind::Norm {
                for (gradient, input) in positions.zip(record.input.values()[range].chunks_exact(channels)) {
                    for channel in 0..channels {
                        of_scale[channel] += f64::from(gradient[channel]) * f64::from(input[channel]);
                        of_shift[channel] += f64::from(gradient[channel]);
                    }
                }
            } else {
                for gradient in positions {
                    of_shift.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += f64::from(*value));
                }
            }
        }
        Ok(sums.into_iter().map(|sum| sum as f32).collect())
    }
}
