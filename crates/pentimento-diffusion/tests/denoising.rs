//! Noised images and their targets against plain loops over the definition, and the condition against one that is made by hand.

#![allow(clippy::unwrap_used, reason = "tests")]

use burn::tensor::Tensor;
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::denoising::{Denoising, Draw, NoisyBatch};
use pentimento_diffusion::schedule::{PredictionType, ScheduleConfig};
use pentimento_diffusion::unet::{Architecture, BatchCondition, Parameters, Precision, UnetConfig};
use pentimento_noise::{Purpose, Stream};

const SIZE: [usize; 2] = [4, 6];
const CHANNELS: usize = 2;
const LENGTH: usize = SIZE[0] * SIZE[1] * CHANNELS;
const TIMESTEPS: [usize; 5] = [0, 1, 999, 431, 431];

fn network(classes: Option<usize>) -> Architecture {
    Architecture::new(&UnetConfig {
        in_channels: CHANNELS,
        out_channels: CHANNELS,
        down_block_types: vec!["DownBlock2D".into(), "DownBlock2D".into()],
        up_block_types: vec!["UpBlock2D".into(), "UpBlock2D".into()],
        block_out_channels: vec![4, 8],
        layers_per_block: 1,
        norm_num_groups: 2,
        num_class_embeds: classes,
        ..UnetConfig::default()
    })
    .unwrap()
}

/// Random values: a fresh network ends with a layer of zeros.
fn parameters(architecture: &Architecture) -> Parameters {
    let mut memory = Parameters::initial(architecture, 1, 0);
    for (number, values) in memory.iter_mut().enumerate() {
        Stream::new(6, Purpose::Test, number as u32, 0).fill_normal(values);
    }
    Parameters::from_memory(architecture, memory)
}

fn normals(number: u32) -> Vec<f32> {
    let mut values = vec![0.0; LENGTH];
    Stream::new(5, Purpose::Test, number, 0).fill_normal(&mut values);
    values
}

fn draws() -> Vec<Draw> {
    let draw = |(number, timestep)| Draw { timestep, noise: normals(number) };
    (0..).zip(TIMESTEPS).map(draw).collect()
}

/// An image for each draw.
fn images() -> Vec<Vec<f32>> {
    (0..TIMESTEPS.len() as u32).map(|number| normals(100 + number)).collect()
}

/// abar_t of Ho et al. (2020): betas from 1e-4 to 0.02 in a straight line.
fn abar(timestep: usize) -> f64 {
    (0..=timestep).map(|t| 1.0 - (1e-4 + t as f64 * (0.02 - 1e-4) / 999.0)).product()
}

/// A mixture with the sum of its terms' magnitudes, which its rounding goes with.
fn mixture(a: f64, x: f32, b: f64, eps: f32) -> (f64, f64) {
    let (x, eps) = (a * f64::from(x), b * f64::from(eps));
    (x + eps, x.abs() + eps.abs())
}

#[track_caller]
fn assert_near(found: f64, (value, size): (f64, f64), epsilon: f64, what: &str) {
    // Two factors, two products and a sum are rounded, and the result once more.
    assert!((found - value).abs() <= 3.0 * epsilon * size, "{what}: {found} instead of {value}");
}

fn values(tensor: Tensor<4>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Mixed in `A` for a network of precision `T`; `input` and `target` are the roundings that these have.
fn check<A: Precision, T: Precision>(input_epsilon: f64, target_epsilon: f64) {
    let (architecture, draws, images) = (network(None), draws(), images());
    for prediction_type in PredictionType::ALL {
        let schedule = ScheduleConfig { prediction_type, ..ScheduleConfig::default() };
        let denoising = Denoising::<A>::new(&schedule);
        assert_eq!(denoising.timesteps(), 1000);
        let NoisyBatch { input, target, .. } =
            denoising.batch::<T>(&architecture, &images.concat(), SIZE, &draws, &[]);
        assert_eq!(input.dims(), [draws.len(), SIZE[0], SIZE[1], CHANNELS]);
        let input = values(input);
        assert_eq!(target.len(), input.len());
        for (place, (draw, image)) in draws.iter().zip(&images).enumerate() {
            let bar = abar(draw.timestep);
            let (signal, noise) = (bar.sqrt(), (1.0 - bar).sqrt());
            for (at, (&x, &eps)) in image.iter().zip(&draw.noise).enumerate() {
                let what = format!("{prediction_type:?}, draw {place}, value {at}");
                let (input, target) = (input[place * LENGTH + at], target[place * LENGTH + at].wide());
                assert_near(input, mixture(signal, x, noise, eps), input_epsilon, &what);
                let truth = match prediction_type {
                    PredictionType::Epsilon => mixture(0.0, x, 1.0, eps),
                    PredictionType::Sample => mixture(1.0, x, 0.0, eps),
                    PredictionType::VPrediction => mixture(-noise, x, signal, eps),
                };
                assert_near(target, truth, target_epsilon, &what);
            }
        }
    }
}

#[test]
fn batches_are_those_of_the_definition() {
    // A product of a thousand alphas is rounded a thousand times, by half an epsilon.
    let (wide, narrow) = (500.0 * f64::EPSILON, f64::from(f32::EPSILON));
    check::<f64, f64>(wide, wide);
    check::<f64, f32>(narrow, wide);
    check::<f32, f32>(narrow, narrow);
}

/// Whatever the network predicts, input and target together give the image back (Salimans and Ho 2022, appendix D).
#[test]
fn input_and_target_give_the_image_back() {
    let (architecture, draws, images) = (network(None), draws(), images());
    for prediction_type in PredictionType::ALL {
        let rescale_betas_zero_snr = prediction_type != PredictionType::Epsilon;
        let schedule =
            ScheduleConfig { prediction_type, rescale_betas_zero_snr, ..ScheduleConfig::default() };
        let bars = schedule.alphas_cumprod();
        let NoisyBatch { input, target, .. } =
            Denoising::<f64>::new(&schedule).batch::<f64>(&architecture, &images.concat(), SIZE, &draws, &[]);
        for (at, (x, target)) in values(input).into_iter().zip(target).enumerate() {
            let bar = bars[TIMESTEPS[at / LENGTH]];
            let image = match prediction_type {
                PredictionType::Epsilon => (x - (1.0 - bar).sqrt() * target) / bar.sqrt(),
                PredictionType::Sample => target,
                PredictionType::VPrediction => bar.sqrt() * x - (1.0 - bar).sqrt() * target,
            };
            let truth = f64::from(images.concat()[at]);
            // Divided by sqrt(abar) of the last timestep, 0.006, at the most.
            assert!((image - truth).abs() < 1e-12, "{prediction_type:?}, value {at}: {image}, {truth}");
        }
    }
}

#[test]
fn one_image_and_class_serve_all_draws() {
    let (architecture, draws, image) = (network(Some(3)), draws(), normals(100));
    let denoising = Denoising::<f64>::new(&ScheduleConfig {
        prediction_type: PredictionType::VPrediction,
        ..ScheduleConfig::default()
    });
    let parameters = parameters(&architecture);
    let output = |batch: &NoisyBatch<f64>| {
        values(architecture.forward(&parameters, batch.input.clone(), &batch.condition))
    };
    let one = denoising.batch::<f32>(&architecture, &image, SIZE, &draws, &[Condition::Class(2)]);
    let copies = image.repeat(draws.len());
    let each = denoising.batch::<f32>(
        &architecture,
        &copies,
        SIZE,
        &draws,
        &vec![Condition::Class(2); TIMESTEPS.len()],
    );
    assert_eq!(one.target, each.target);
    assert_eq!(output(&one), output(&each));
}

/// The network is told the timestep and the class of each draw.
#[test]
fn conditions_are_those_of_the_draws() {
    let (draws, images) = (draws(), images());
    let denoising = Denoising::<f32>::new(&ScheduleConfig::default());
    for knows_classes in [false, true] {
        let architecture = network(knows_classes.then_some(3));
        let classes = [2, 0, 1, 1, 0].map(Condition::Class);
        let classes: &[Condition] = if knows_classes { &classes } else { &[] };
        let parameters = parameters(&architecture);
        let NoisyBatch { input, condition, .. } =
            denoising.batch::<f32>(&architecture, &images.concat(), SIZE, &draws, classes);
        let together = values(architecture.forward(&parameters, input.clone(), &condition));
        for (place, draw) in draws.iter().enumerate() {
            let class = classes.get(place).map(std::slice::from_ref).unwrap_or_default();
            let condition = BatchCondition::new::<f32>(&architecture, &[draw.timestep], class);
            let alone = input.clone().narrow(0, place, 1);
            let alone = values(architecture.forward(&parameters, alone, &condition));
            assert_eq!(together[place * LENGTH..][..LENGTH], alone, "draw {place}");
        }
        let other = if knows_classes { Condition::Class(0) } else { Condition::None };
        let other = BatchCondition::new::<f32>(&architecture, &[7], &[other]);
        assert_ne!(together, values(architecture.forward(&parameters, input, &other)));
    }
}

fn batch(images: &[f32], draws: &[Draw]) {
    Denoising::<f32>::new(&ScheduleConfig::default()).batch::<f32>(&network(None), images, SIZE, draws, &[]);
}

#[test]
#[should_panic(expected = "images for 5 draws")]
fn images_of_another_number_are_refused() {
    batch(&images()[..2].concat(), &draws());
}

#[test]
#[should_panic(expected = "lengths of an image and its noise")]
fn noise_of_another_length_is_refused() {
    batch(&normals(0), &[Draw { timestep: 3, noise: vec![0.0; LENGTH - 1] }]);
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn timesteps_beyond_the_schedule_are_refused() {
    batch(&normals(0), &[Draw { timestep: 1000, noise: normals(1) }]);
}
