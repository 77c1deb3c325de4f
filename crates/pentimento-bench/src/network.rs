//! Networks and images to measure with. Speed does not depend on what a network has learnt, so nothing is trained; but
//! agreement with another program is only shown by parameters and images that are not zero.

use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::schedule::{BetaSchedule, PredictionType, ScheduleConfig};
use pentimento_diffusion::training::{TrainingConfig, TrainingImages};
use pentimento_diffusion::unet::{Architecture, ParameterKind, Parameters, SampleSize, UnetConfig};
use pentimento_noise::{Purpose, Stream};

/// Seed of everything that is drawn for a measurement.
pub const SEED: u64 = 20_260_212;

/// The noise schedule of Ho et al. (2020).
pub const SCHEDULE: ScheduleConfig = ScheduleConfig {
    num_train_timesteps: 1000,
    beta_start: 1e-4,
    beta_end: 0.02,
    beta_schedule: BetaSchedule::Linear,
    trained_betas: None,
    rescale_betas_zero_snr: false,
    prediction_type: PredictionType::Epsilon,
};

/// The two networks of the benchmarks, in the files that PyTorch's side reads too.
pub const NETWORKS: [(&str, &str); 2] = [
    ("U-Net 1.16 M", include_str!("../../../bench/unet_28.json")),
    ("U-Net 25.8 M", include_str!("../../../bench/unet_32.json")),
];

/// Opens the configuration of a network to measure.
///
/// # Errors
///
/// As [`UnetConfig::from_json`]; also if it does not say how large its images are.
pub fn architecture(config: &str, file: &str) -> Result<Architecture, DiffusionError> {
    let (config, _) = UnetConfig::from_json(config, file)?;
    if config.sample_size.is_none() {
        return Err(DiffusionError::Config {
            file: file.into(),
            field: "sample_size".into(),
            value: "nothing".into(),
            bound: "height and width of the images, which a measurement needs".into(),
        });
    }
    Architecture::new(&config)
}

/// Height, width and channels of the images of a network that [`architecture`] opened.
pub fn image_shape(architecture: &Architecture) -> [usize; 3] {
    let SampleSize { height, width } = architecture.config().sample_size.unwrap_or(SampleSize::square(1));
    [height, width, architecture.config().in_channels]
}

/// Values of every parameter of one member, in memory layout: a fresh network's, but what starts at zero is drawn too.
pub fn values(architecture: &Architecture, member: u32) -> Vec<Vec<f32>> {
    let mut values = Parameters::initial(architecture, SEED, member);
    for (place, (spec, values)) in architecture.parameters().iter().zip(&mut values).enumerate() {
        let mut normals = vec![0.0; values.len()];
        Stream::new(SEED, Purpose::Test, member, place as u32).fill_normal(&mut normals);
        let is_zero = values.iter().all(|&value| value == 0.0);
        let inputs: usize = spec.disk_shape.iter().skip(1).product();
        let spread = match spec.kind {
            ParameterKind::Vector => 0.1,
            _ if is_zero => 0.5 / (inputs as f32).sqrt(),
            _ => 0.0,
        };
        for (value, normal) in values.iter_mut().zip(normals) {
            *value += spread * normal;
        }
    }
    values
}

/// So many images `[images, height, width, channels]` of uniform noise in [-1, 1].
pub fn images(architecture: &Architecture, count: usize) -> Vec<f32> {
    let mut images = vec![0.0; count * image_shape(architecture).iter().product::<usize>()];
    Stream::new(SEED, Purpose::Test, u32::MAX, 0).fill_uniform(&mut images);
    images.iter_mut().for_each(|value| *value = 2.0 * *value - 1.0);
    images
}

/// A training whose every step takes all of `count` images.
pub fn training(count: usize) -> TrainingConfig {
    // Never finished, and too slow to go anywhere: the same work in every step.
    TrainingConfig { steps: 1_000_000, batch: count, learning_rate: 1e-6, ..TrainingConfig::default() }
}

/// Hands out images `[images, height, width, channels]` to a training.
pub fn reader(images: &[f32], length: usize) -> impl Fn(usize, &mut [f32]) + Sync + '_ {
    move |index, target| target.copy_from_slice(&images[index * length..][..length])
}

/// Images in the shape that a training step takes.
pub fn training_images<'a>(
    architecture: &Architecture,
    count: usize,
    read: &'a (dyn Fn(usize, &mut [f32]) + Sync),
) -> TrainingImages<'a> {
    TrainingImages { count, shape: image_shape(architecture), read }
}
