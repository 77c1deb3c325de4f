//! Losses of images, gradients in what a network puts out, and networks a step away.

use burn::tensor::{DType, Tensor, TensorData};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::denoising::{Denoising, Draw, NoisyBatch};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, BatchCondition, Parameters};
use pentimento_kernels::extension::device_for;

/// The gradient in all parameters of the inner product of a network's outputs with `cotangents`, both `[inputs, height,
/// width, channels]` for inputs at some timesteps.
///
/// # Panics
///
/// If the lengths do not fit.
pub fn output_gradient(
    architecture: &Architecture,
    parameters: &Parameters,
    inputs: Vec<f32>,
    size: [usize; 2],
    timesteps: &[usize],
    condition: impl Into<Condition>,
    cotangents: Vec<f32>,
) -> Vec<f32> {
    let condition = BatchCondition::new::<f32>(architecture, timesteps, &[condition.into()]);
    let shape = [timesteps.len(), size[0], size[1], architecture.config().in_channels];
    gradient_of_input(architecture, parameters, tensor(inputs, shape), &condition, cotangents)
}

/// The same for inputs that are a tensor.
pub(super) fn gradient_of_input(
    architecture: &Architecture,
    parameters: &Parameters,
    input: Tensor<4>,
    condition: &BatchCondition,
    cotangents: Vec<f32>,
) -> Vec<f32> {
    let tracked = parameters.tracked();
    let output = architecture.forward(&tracked, input, condition);
    let shape = output.dims();
    let mut gradients = (output * tensor(cotangents, shape)).sum().backward();
    let gradients = tracked.take_gradients::<f32>(architecture, &mut gradients);
    gradients.iter().flat_map(|gradient| gradient.as_ref().iter().copied()).collect()
}

/// The loss of an image, `[height, width, channels]` in [-1, 1], at each draw: the mean square that the network is wrong.
///
/// # Panics
///
/// If the image does not fit the network, the noise the image, or a timestep the schedule.
pub fn losses(
    architecture: &Architecture,
    parameters: &Parameters,
    schedule: &ScheduleConfig,
    image: &[f32],
    size: [usize; 2],
    condition: impl Into<Condition>,
    draws: &[Draw],
) -> Vec<f64> {
    let NoisyBatch { input, condition, target } =
        Denoising::<f64>::new(schedule).batch::<f32>(architecture, image, size, draws, &[condition.into()]);
    let output: Vec<f64> =
        architecture.forward(parameters, input, &condition).into_data().iter::<f64>().collect();
    let length = image.len();
    let loss = |(output, target): (&[f64], &[f64])| {
        output.iter().zip(target).map(|(output, target)| (output - target) * (output - target)).sum::<f64>()
            / length as f64
    };
    output.chunks_exact(length).zip(target.chunks_exact(length)).map(loss).collect()
}

/// The parameters moved by `step` times a direction, which has a value for each.
///
/// # Panics
///
/// If the direction has another length.
pub fn moved(
    architecture: &Architecture,
    parameters: &Parameters,
    direction: &[f32],
    step: f64,
) -> Parameters {
    assert_eq!(direction.len(), architecture.parameter_count(), "length of a direction");
    let mut rest = direction;
    let values = parameters.to_memory().into_iter().map(|values| {
        let (own, behind) = rest.split_at(values.len());
        rest = behind;
        values.iter().zip(own).map(|(value, by)| (value + step * f64::from(*by)) as f32).collect()
    });
    Parameters::from_memory::<f32>(architecture, values.collect())
}

fn tensor(values: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, shape), &device_for(DType::F32))
}
