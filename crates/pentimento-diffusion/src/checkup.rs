//! Whether an opened network is what it should be: its derivatives against differences, its outputs against the batch, and
//! its predictions against images.

use crate::condition::Condition;
use crate::denoising::{Denoising, Draw, NoisyBatch};
use crate::schedule::ScheduleConfig;
use crate::unet::{Architecture, BatchCondition, Dual, Parameters};
use burn::tensor::{DType, Tensor, TensorData};
use pentimento_kernels::extension::device_for;
use pentimento_noise::{Purpose, Stream};

/// Images that outputs are computed for, alone and together.
const IMAGES: usize = 3;

/// Seed of the made-up images and directions.
const SEED: u64 = 1;

/// Half the width of differences in the image, whose values have size one: small enough that what is beyond the derivative
/// (some 1e-4 of it) and large enough that the rounding of f32 (some 1e-5) do not show.
const DIFFERENCE: f32 = 1e-2;

/// What a network's own derivatives and batches come to. Errors are relative, in the Euclidean norm.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkup {
    /// The derivative along a direction of the image, against differences of outputs.
    pub tangent_error: f64,
    /// `<u, J v>` by tangents against `<J' u, v>` by the backward pass.
    pub adjoint_error: f64,
    /// The mean square of an output along its gradient in all parameters, against differences.
    pub gradient_error: f64,
    /// Whether images have the same output, bit by bit, alone and together.
    pub same_in_any_batch: bool,
    /// Whether every output is a finite number.
    pub finite: bool,
    /// Names of the parameters of which no value has a gradient.
    pub unreached: Vec<String>,
}

fn tensor(values: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, shape), &device_for(DType::F32))
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn normals(number: u32, length: usize) -> Vec<f32> {
    let mut values = vec![0.0; length];
    Stream::new(SEED, Purpose::Test, number, 0).fill_normal(&mut values);
    values
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn moved(x: &[f32], by: f32, along: &[f32]) -> Vec<f32> {
    x.iter().zip(along).map(|(x, v)| x + by * v).collect()
}

/// Checks a network on made-up images of one size, in the middle of its schedule.
///
/// # Panics
///
/// If the image does not fit ([`crate::unet::UnetConfig::check_image`]).
pub fn check(
    architecture: &Architecture,
    memory: &[Vec<f32>],
    [height, width]: [usize; 2],
    timesteps: usize,
) -> Checkup {
    let config = architecture.config();
    let shape = [1, height, width, config.in_channels];
    let length = height * width * config.in_channels;
    let condition = BatchCondition::new::<f32>(architecture, &[timesteps / 2], &[config.any_condition()]);
    let parameters = Parameters::from_memory(architecture, memory.to_vec());
    let run = |parameters: &Parameters, images: Vec<f32>| {
        let shape = [images.len() / length, height, width, config.in_channels];
        values(architecture.forward(parameters, tensor(images, shape), &condition))
    };

    let images = normals(0, IMAGES * length);
    let together = run(&parameters, images.clone());
    let alone: Vec<f32> =
        images.chunks_exact(length).flat_map(|image| run(&parameters, image.to_vec())).collect();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();

    let (x, v) = (&images[..length], normals(1, length));
    let dual = Dual::new(tensor(x.to_vec(), shape), tensor(v.clone(), shape));
    let tangent = values(architecture.forward(&parameters, dual, &condition).into_parts(1).1);
    let difference = |by: f32| -> Vec<f32> {
        let (above, below) = (run(&parameters, moved(x, by, &v)), run(&parameters, moved(x, -by, &v)));
        above.iter().zip(&below).map(|(a, b)| (a - b) / (2.0 * by)).collect()
    };
    // What a difference has beyond the derivative falls with the square of its width, so that of two widths it is taken out
    // (Richardson). Networks over texts may bend so much that it would be a hundredth otherwise.
    let (wide, narrow) = (difference(DIFFERENCE), difference(DIFFERENCE / 2.0));
    let differences: Vec<f32> =
        wide.iter().zip(&narrow).map(|(wide, narrow)| (4.0 * narrow - wide) / 3.0).collect();
    let apart = moved(&tangent, -1.0, &differences);
    let tangent_error = (dot(&apart, &apart) / dot(&differences, &differences)).sqrt();

    let u = normals(2, tangent.len());
    let tracked = parameters.tracked();
    let input = tensor(x.to_vec(), shape).autodiff().require_grad();
    let output = architecture.forward(&tracked, input.clone(), &condition);
    let cotangent = tensor(u.clone(), output.dims()).autodiff();
    let gradients = (output * cotangent).sum().backward();
    let pulled_back = input.grad(&gradients).map(values).unwrap_or_default();
    // Against the size that the products may have, as their sums may be near zero.
    let size = (dot(&u, &u) * dot(&tangent, &tangent)).sqrt();
    let adjoint_error = (dot(&u, &tangent) - dot(&pulled_back, &v)).abs() / size;
    drop(gradients);

    let output = architecture.forward(&tracked, tensor(x.to_vec(), shape).autodiff(), &condition);
    let mut gradients = output.square().mean().backward();
    let gradients = tracked.take_gradients::<f32>(architecture, &mut gradients);
    drop(tracked);
    let of_square: f64 = gradients.iter().map(|gradient| dot(gradient.as_ref(), gradient.as_ref())).sum();
    let mean_square = |by: f64| {
        let values = memory
            .iter()
            .zip(&gradients)
            .map(|(values, gradient)| moved(values, by as f32, gradient.as_ref()));
        let output = run(&Parameters::from_memory(architecture, values.collect()), x.to_vec());
        dot(&output, &output) / output.len() as f64
    };
    // As far as the mean square changes by a hundredth.
    let by = 0.01 * mean_square(0.0) / of_square;
    let slope = (mean_square(by) - mean_square(-by)) / (2.0 * by);
    let specs = architecture.parameters().iter().zip(&gradients);
    let unreached = specs.filter(|(_, gradient)| gradient.as_ref().iter().all(|value| *value == 0.0));
    Checkup {
        tangent_error,
        adjoint_error,
        gradient_error: (slope - of_square).abs() / of_square,
        same_in_any_batch: bits(&together) == bits(&alone),
        finite: together.iter().all(|value| value.is_finite()),
        unreached: unreached.map(|(spec, _)| spec.name.clone()).collect(),
    }
}

/// How well a network predicts what it should for noisy images: the mean square of what is wrong over that of what is to be
/// predicted. 1 is what always answering zero reaches, so a network that knows nothing.
///
/// `images` are `[images, height, width, channels]` in the range that the network is to be tried with; their timesteps
/// are spread over the middle half of the schedule, where neither the image nor the noise gives the answer away. Of conditions there
/// is one for each image, or for a network without conditions none.
///
/// # Panics
///
/// As [`check`].
pub fn prediction_error(
    architecture: &Architecture,
    parameters: &Parameters,
    schedule: &ScheduleConfig,
    images: &[f32],
    [height, width]: [usize; 2],
    conditions: &[Condition],
) -> f64 {
    let length = height * width * architecture.config().in_channels;
    let denoising = Denoising::<f32>::new(schedule);
    let (timesteps, count) = (denoising.timesteps(), images.len() / length);
    let (mut wrong, mut all) = (0.0, 0.0);
    for (index, image) in images.chunks_exact(length).enumerate() {
        let timestep = timesteps / 4 + timesteps * (2 * index + 1) / (4 * count);
        let draw = Draw { timestep, noise: normals(3 + index as u32, length) };
        let condition = conditions.get(index).cloned().unwrap_or_default();
        let NoisyBatch { input, condition, target } =
            denoising.batch::<f32>(architecture, image, [height, width], [&draw], &[condition]);
        let output = values(architecture.forward(parameters, input, &condition));
        for (output, target) in output.into_iter().zip(target) {
            let target = f64::from(target);
            wrong += (f64::from(output) - target).powi(2);
            all += target * target;
        }
    }
    wrong / all
}
