//! Losses of images, gradients in what a network puts out, and networks a step away.

use crate::gradient::Draw;
use burn::tensor::{DType, Tensor, TensorData};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, Condition, Parameters};
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
    class: Option<u32>,
    cotangents: Vec<f32>,
) -> Vec<f32> {
    let condition = Condition::new::<f32>(architecture, timesteps, class.as_slice());
    let tracked = parameters.tracked();
    let shape = |channels| [timesteps.len(), size[0], size[1], channels];
    let config = architecture.config();
    let output = architecture.forward(&tracked, tensor(inputs, shape(config.in_channels)), &condition);
    let mut gradients = (output * tensor(cotangents, shape(config.out_channels))).sum().backward();
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
    image: &[f64],
    size: [usize; 2],
    class: Option<u32>,
    draws: &[Draw],
) -> Vec<f64> {
    let bars = schedule.alphas_cumprod();
    let timesteps: Vec<usize> = draws.iter().map(|draw| draw.timestep).collect();
    let mix = |draw: &Draw, [of_image, of_noise]: [f64; 2]| -> Vec<f64> {
        assert_eq!(draw.noise.len(), image.len(), "lengths of an image and its noise");
        image.iter().zip(&draw.noise).map(|(x, eps)| of_image * x + of_noise * eps).collect()
    };
    let noisy = draws.iter().flat_map(|draw| {
        let bar = bars[draw.timestep];
        mix(draw, [bar.sqrt(), (1.0 - bar).sqrt()])
    });
    let shape = [draws.len(), size[0], size[1], architecture.config().in_channels];
    let condition = Condition::new::<f32>(architecture, &timesteps, class.as_slice());
    let input = tensor(noisy.map(|value| value as f32).collect(), shape);
    let output: Vec<f64> =
        architecture.forward(parameters, input, &condition).into_data().iter::<f64>().collect();
    let loss = |(draw, output): (&Draw, &[f64])| {
        let target = mix(draw, schedule.prediction_type.target(bars[draw.timestep]));
        output.iter().zip(&target).map(|(output, target)| (output - target) * (output - target)).sum::<f64>()
            / output.len() as f64
    };
    draws.iter().zip(output.chunks_exact(image.len().max(1))).map(loss).collect()
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
