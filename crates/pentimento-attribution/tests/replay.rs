//! What is replayed of a training is what the training did.

#![allow(clippy::unwrap_used, reason = "tests")]

use pentimento_attribution::gradient::{FeatureExtractor, Measurement, events_of_images, replayed};
use pentimento_diffusion::arrays::ArrayReader;
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::training::{
    Trainer, TrainingConditions, TrainingConfig, TrainingEvents, TrainingImages,
};
use pentimento_diffusion::unet::{Architecture, Parameters, SampleSize, UnetConfig};
use pentimento_noise::{Purpose, Stream};

const SHAPE: [usize; 3] = [8, 8, 2];
const IMAGES: usize = 9;
const SEED: u64 = 41;
const MEMBER: u32 = 5;

fn network(classes: Option<usize>) -> Architecture {
    let names = |names: [&str; 2]| names.map(String::from).to_vec();
    Architecture::new(&UnetConfig {
        sample_size: Some(SampleSize::square(8)),
        in_channels: 2,
        out_channels: 2,
        down_block_types: names(["DownBlock2D", "AttnDownBlock2D"]),
        up_block_types: names(["AttnUpBlock2D", "UpBlock2D"]),
        block_out_channels: vec![4, 8],
        layers_per_block: 1,
        attention_head_dim: Some(4),
        norm_num_groups: 2,
        num_class_embeds: classes,
        ..UnetConfig::default()
    })
    .unwrap()
}

fn images() -> Vec<Vec<f32>> {
    let image = |number| {
        let mut values = vec![0.0f32; SHAPE.iter().product()];
        Stream::new(3, Purpose::Test, number, 0).fill_normal(&mut values);
        values
    };
    (0..IMAGES as u32).map(image).collect()
}

/// Adam's running mean of the gradient.
fn means(trainer: &Trainer, architecture: &Architecture) -> Vec<f64> {
    let state = trainer.state().unwrap();
    let arrays = ArrayReader::new(&state, "state").unwrap();
    let of = |name: &str| arrays.f32(&format!("means/{name}")).unwrap();
    architecture.parameters().iter().flat_map(|spec| of(&spec.name)).map(f64::from).collect()
}

/// The mean of the gradients at the replayed events of a step, by the network before it, is the gradient that training
/// gave its optimiser: so the images, timesteps, noises, flips and conditions are those of the step.
#[test]
fn the_events_of_a_step_give_the_gradient_that_training_took() {
    let images = images();
    let schedule = ScheduleConfig::default();
    let read = |index: usize, target: &mut [f32]| target.copy_from_slice(&images[index]);
    let set = TrainingImages { count: IMAGES, shape: SHAPE, read: &read };
    let cases = [(None, false, false), (None, false, true), (None, true, true), (Some(4), false, true)];
    for (classes, replacement, horizontal_flip) in cases {
        let architecture = network(classes);
        // Each image has two classes, and class 3 stands for none.
        let of_image = |image: u32| [image % 3, (image + 1) % 3].map(Condition::Class).to_vec();
        let conditions = TrainingConditions::new((0..IMAGES as u32).map(of_image).collect());
        let conditions = classes.map(|_| conditions.with_empty(Condition::Class(3)));
        let config = TrainingConfig {
            steps: 30,
            batch: 4,
            learning_rate: 1e-3,
            replacement,
            horizontal_flip,
            condition_dropout: if classes.is_some() { 0.3 } else { 0.0 },
            ..TrainingConfig::default()
        };
        let network = architecture.clone();
        let trainer = match &conditions {
            None => Trainer::new(network, &schedule, config, SEED, MEMBER),
            Some(told) => Trainer::conditional(network, &schedule, config, told.clone(), SEED, MEMBER),
        };
        let mut trainer = trainer.unwrap();
        let timesteps = schedule.num_train_timesteps;
        let mut events = TrainingEvents::new(&config, timesteps, IMAGES, SEED, MEMBER);
        if let Some(conditions) = conditions {
            events = events.under(conditions);
        }
        let mut mirrored = 0;
        for step in 0..12 {
            let (before, values) = (means(&trainer, &architecture), trainer.member().to_vec());
            trainer.train_step(&set).unwrap();
            let after = means(&trainer, &architecture);
            let taken: Vec<f64> =
                before.iter().zip(&after).map(|(old, new)| (new - 0.9 * old) / 0.1).collect();

            let parameters = Parameters::from_memory(&architecture, values);
            let extractor =
                FeatureExtractor::new(&architecture, parameters, &schedule, Measurement::Loss, false);
            let of_images = events_of_images(&mut events, step..step + 1, usize::MAX);
            let mut sum = vec![0.0f64; architecture.parameter_count()];
            let mut count = 0;
            for (image, own) in images.iter().zip(&of_images) {
                for event in own {
                    let (shown, draw) = replayed(&events, event, image, SHAPE);
                    let told = events.condition(event);
                    let gradient =
                        extractor.gradient::<f32>(&shown, [8, 8], told, &[draw], "an image").unwrap();
                    sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += f64::from(value));
                    count += 1;
                    mirrored += usize::from(event.mirrored);
                }
            }
            assert_eq!(count, 4);
            let largest = taken.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
            for (place, (sum, taken)) in sum.iter().zip(&taken).enumerate() {
                // Sums of f32 in another order, and a running mean whose difference is divided by 0.1.
                let error = (sum / 4.0 - taken).abs() / largest;
                assert!(error < 1e-4, "step {step}, value {place}: {} instead of {taken}", sum / 4.0);
            }
        }
        assert_eq!(mirrored > 0, horizontal_flip);
    }
}
