//! Training: repeatable to the byte, resumable, and right.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::*;
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::optimiser::AdamConfig;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::training::{
    LearningRateDecay, LossReduction, StateSummary, Trainer, TrainingConfig, TrainingImages,
};
use pentimento_diffusion::unet::{AdapterModule, Architecture, BatchCondition, Parameters};
use pentimento_diffusion::{DiffusionError, NUMERICS_VERSION};
use pentimento_noise::{Purpose, Stream};
use proptest::prelude::*;
use safetensors::tensor::SafeTensors;
use std::sync::Mutex;

const SIDE: usize = 4;
const LENGTH: usize = SIDE * SIDE;
const SEED: u64 = 20;
const MEMBER: u32 = 3;

/// Images between -1 and 1.
fn images(count: usize) -> Vec<f32> {
    normals(500, count * LENGTH).into_iter().map(|value| value.clamp(-1.0, 1.0)).collect()
}

fn trainer(config: TrainingConfig) -> Trainer {
    Trainer::new(tiny(), &ten_timesteps(), config, SEED, MEMBER).unwrap()
}

fn set_of<'a>(read: &'a (dyn Fn(usize, &mut [f32]) + Sync), count: usize) -> TrainingImages<'a> {
    TrainingImages { count, shape: [SIDE, SIDE, 1], read }
}

/// Trains for `steps` steps on `images`.
fn train(trainer: &mut Trainer, images: &[f32], steps: usize) {
    let read = |index: usize, image: &mut [f32]| image.copy_from_slice(&images[index * LENGTH..][..LENGTH]);
    for _ in 0..steps {
        trainer.train_step(&set_of(&read, images.len() / LENGTH)).unwrap();
    }
}

fn short(steps: usize) -> TrainingConfig {
    TrainingConfig { steps, batch: 3, learning_rate: 1e-2, ..TrainingConfig::default() }
}

/// Member and losses as bits.
fn result(trainer: &Trainer) -> (Vec<Vec<u32>>, Vec<u32>) {
    (trainer.member().iter().map(|values| bits(values)).collect(), bits(trainer.losses()))
}

/// Every setting that changes what happens in a step.
fn variants(steps: usize) -> Vec<TrainingConfig> {
    let mut all = Vec::new();
    for replacement in [false, true] {
        for horizontal_flip in [false, true] {
            for ema_decay in [None, Some(0.9)] {
                all.push(TrainingConfig { replacement, horizontal_flip, ema_decay, ..short(steps) });
            }
        }
    }
    let optimiser = AdamConfig { weight_decay: 0.1, ..AdamConfig::default() };
    all.push(TrainingConfig { optimiser, warmup_steps: 4, decay: LearningRateDecay::Cosine, ..short(steps) });
    all.push(TrainingConfig { loss: LossReduction::Sum, decay: LearningRateDecay::Linear, ..short(steps) });
    all
}

#[test]
fn a_resumed_training_ends_with_the_same_bytes() {
    let images = images(7);
    for config in variants(12) {
        let mut whole = trainer(config);
        train(&mut whole, &images, 12);
        assert!(whole.is_finished());

        let mut first = trainer(config);
        train(&mut first, &images, 5);
        assert!(!first.is_finished());
        let state = first.state().unwrap();
        drop(first);
        let mut resumed = trainer(config);
        resumed.restore(&state, "state").unwrap();
        assert_eq!(resumed.steps_done(), 5);
        // What was restored is stored again as it was.
        assert_eq!(resumed.state().unwrap(), state);
        train(&mut resumed, &images, 7);
        assert_eq!(result(&resumed), result(&whole), "{config:?}");
        assert_eq!(resumed.state().unwrap(), whole.state().unwrap(), "{config:?}");
    }
}

/// An adapter learns while the network beneath it stands still, and a resumed training of it ends with the same bytes.
#[test]
fn an_adapter_is_trained_by_itself() {
    let (images, base) = (images(7), random_values(&tiny(), 4));
    let part = |(name, _): (&str, _)| AdapterModule { name: name.into(), rank: 2, alpha: 2.0 };
    let parts: Vec<AdapterModule> = tiny().adaptable().map(part).collect();
    let adapted = tiny().with_adapter(&parts, base.clone()).unwrap();
    for ema_decay in [None, Some(0.9)] {
        let trainer = || {
            let config = TrainingConfig { ema_decay, ..short(80) };
            Trainer::new(adapted.clone(), &ten_timesteps(), config, SEED, MEMBER).unwrap()
        };
        let mut whole = trainer();
        assert_eq!(whole.member(), Parameters::initial(&adapted, SEED, MEMBER));
        train(&mut whole, &images, 80);
        let mean = |losses: &[f32]| wide(losses).iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&whole.losses()[..20]), mean(&whole.losses()[60..]));
        assert!(last < 0.8 * first, "losses of {first} became {last}");

        let mut stopped = trainer();
        train(&mut stopped, &images, 30);
        let mut resumed = trainer();
        resumed.restore(&stopped.state().unwrap(), "state").unwrap();
        train(&mut resumed, &images, 50);
        assert_eq!(result(&resumed), result(&whole));
        assert_eq!(resumed.state().unwrap(), whole.state().unwrap());

        // Without B, what was trained is the network that was given.
        let specs = adapted.parameters().iter().zip(whole.member());
        let without_b = specs.map(|(spec, values)| match spec.name.ends_with(".lora_B.weight") {
            true => vec![0.0; values.len()],
            false => values.clone(),
        });
        let told = BatchCondition::new::<f32>(&tiny(), &[4], &[]);
        let run = |architecture: &Architecture, values: Vec<Vec<f32>>| {
            let parameters = Parameters::from_memory(architecture, values);
            let input = tensor::<f32>(&wide(&images[..2 * LENGTH]), [2, SIDE, SIDE, 1]);
            architecture.forward(&parameters, input, &told).into_data().try_into_vec::<f32>().unwrap()
        };
        let of_base = run(&tiny(), base.clone());
        assert_eq!(run(&adapted, without_b.collect()), of_base);
        assert_ne!(run(&adapted, whole.member().to_vec()), of_base);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let images = images(7);
    for config in variants(6) {
        let run = |threads| {
            with_threads(threads, || {
                let mut trainer = trainer(config);
                train(&mut trainer, &images, 6);
                result(&trainer)
            })
        };
        let one = run(1);
        assert_eq!(one, run(2), "{config:?}");
        assert_eq!(one, run(3), "{config:?}");
    }
}

/// Members with one seed and members of other seeds go their own ways; the same number gives the same member.
#[test]
fn randomness_follows_seed_and_stream() {
    let images = images(7);
    let run = |seed, stream| {
        let mut trainer = Trainer::new(tiny(), &ten_timesteps(), short(3), seed, stream).unwrap();
        train(&mut trainer, &images, 3);
        result(&trainer)
    };
    assert_eq!(run(1, 1), run(1, 1));
    assert_ne!(run(1, 1), run(1, 2));
    assert_ne!(run(1, 1), run(2, 1));
}

/// A fresh network ends in zeros, so it predicts no noise, and its first loss is the mean square of the noise.
#[test]
fn the_first_loss_is_known() {
    let images = images(7);
    let mut noise = vec![0.0f32; 3 * LENGTH];
    Stream::new(SEED, Purpose::TrainingNoise, MEMBER, 0).fill_normal(&mut noise);
    let squares: f64 = noise.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    for (loss, per_image) in [(LossReduction::Mean, LENGTH as f64), (LossReduction::Sum, 1.0)] {
        let mut trainer = trainer(TrainingConfig { loss, ..short(1) });
        train(&mut trainer, &images, 1);
        assert_close("loss", &wide(trainer.losses()), &[squares / (3.0 * per_image)], 1e-6);
    }
}

/// A value of the training state.
fn stored(state: &[u8], name: &str) -> Vec<f64> {
    let tensors = SafeTensors::deserialize(state).unwrap();
    let view = tensors.tensor(name).unwrap();
    view.data().as_chunks::<4>().0.iter().map(|chunk| f64::from(f32::from_le_bytes(*chunk))).collect()
}

/// A state with the values of all parameters moved by `step * direction`.
fn moved(state: &[u8], architecture: &Architecture, direction: &[Vec<f64>], step: f64) -> Vec<u8> {
    let mut bytes = state.to_vec();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (_, metadata) = SafeTensors::read_metadata(state).unwrap();
    for (spec, direction) in architecture.parameters().iter().zip(direction) {
        let (start, _) = metadata.info(&format!("values/{}", spec.name)).unwrap().data_offsets;
        for (place, direction) in direction.iter().enumerate() {
            let at = data + start + 4 * place;
            let value = f64::from(f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
            bytes[at..at + 4].copy_from_slice(&((value + step * direction) as f32).to_le_bytes());
        }
    }
    bytes
}

/// What the optimiser gets is the gradient of the loss that is reported: Adam would hide a wrong factor, so the
/// gradient is read off the change of its running mean and compared with differences of the loss.
#[test]
fn the_gradient_is_that_of_the_loss() {
    let images = images(7);
    let architecture = tiny();
    for (loss, flip) in [(LossReduction::Mean, false), (LossReduction::Sum, true)] {
        let config = TrainingConfig { loss, horizontal_flip: flip, ..short(30) };
        let mut trained = trainer(config);
        train(&mut trained, &images, 20);
        let before = trained.state().unwrap();
        train(&mut trained, &images, 1);
        let after = trained.state().unwrap();
        let gradient: Vec<Vec<f64>> = (architecture.parameters().iter())
            .map(|spec| {
                let name = format!("means/{}", spec.name);
                let (old, new) = (stored(&before, &name), stored(&after, &name));
                old.iter().zip(&new).map(|(old, new)| (new - 0.9 * old) / 0.1).collect()
            })
            .collect();
        let squared: f64 = gradient.iter().flatten().map(|value| value * value).sum();
        assert!(squared > 1e-6, "the test would show nothing");
        let loss_at = |step: f64| {
            let mut other = trainer(config);
            other.restore(&moved(&before, &architecture, &gradient, step), "moved").unwrap();
            train(&mut other, &images, 1);
            f64::from(other.losses()[20])
        };
        // A step along the gradient that changes the loss by about two thousandths of it: far above the rounding of
        // f32 (1e-7) and small enough for curvature not to matter.
        let step = 1e-3 * f64::from(trained.losses()[20]) / squared;
        let difference = (loss_at(step) - loss_at(-step)) / (2.0 * step);
        assert!((difference / squared - 1.0).abs() < 5e-3, "{difference} instead of {squared}");
    }
}

/// One image and a few timesteps: the noise can be read off exactly, and the network learns to do so.
#[test]
fn a_tiny_network_overfits_one_image() {
    let config =
        TrainingConfig { batch: 16, replacement: true, decay: LearningRateDecay::Cosine, ..short(600) };
    let mut trainer = trainer(config);
    train(&mut trainer, &images(1), 600);
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&trainer.losses()[..5]), mean(&trainer.losses()[580..]));
    assert!(first > 0.5, "{first}");
    assert!(last < first / 20.0, "from {first} to {last}");
}

/// The images that each of some steps reads.
fn visited(config: TrainingConfig, count: usize, steps: usize) -> Vec<Vec<usize>> {
    let seen = Mutex::new(Vec::new());
    let read = |index: usize, image: &mut [f32]| {
        seen.lock().unwrap().push(index);
        image.fill(0.1);
    };
    let mut trainer = trainer(TrainingConfig { steps, ..config });
    let mut all = Vec::new();
    for _ in 0..steps {
        trainer.train_step(&set_of(&read, count)).unwrap();
        let mut batch = std::mem::take(&mut *seen.lock().unwrap());
        batch.sort_unstable();
        all.push(batch);
    }
    all
}

#[test]
fn an_epoch_visits_every_image_once() {
    for (count, batch) in [(6, 2), (7, 3), (5, 5), (9, 1)] {
        let per_epoch = count / batch;
        let steps = visited(TrainingConfig { batch, ..short(1) }, count, 4 * per_epoch);
        let epochs: Vec<Vec<usize>> = (steps.chunks(per_epoch))
            .map(|epoch| {
                assert!(epoch.iter().all(|images| images.len() == batch));
                let mut images = epoch.concat();
                images.sort_unstable();
                images.dedup();
                // Whole batches only: what does not fill one is left out of its epoch.
                assert_eq!(images.len(), per_epoch * batch, "an image twice in one epoch");
                images
            })
            .collect();
        assert!(epochs.iter().flatten().all(|&image| image < count));
        if count % batch != 0 {
            assert!(
                epochs.iter().any(|epoch| epoch != &epochs[0]),
                "the same image is left out in every epoch"
            );
        }
    }
    // Fewer images than a batch: all of them in each step.
    assert_eq!(visited(TrainingConfig { batch: 8, ..short(1) }, 3, 4), vec![vec![0, 1, 2]; 4]);
    // Another order in the next epoch.
    let steps = visited(TrainingConfig { batch: 1, ..short(1) }, 20, 40);
    assert_ne!(steps[..20], steps[20..]);
    assert_ne!(steps[..20].concat(), (0..20).collect::<Vec<_>>());
}

/// 2000 draws from 8 images: each about 250 times, with a standard deviation of 15.
#[test]
fn draws_with_replacement_are_even() {
    let steps = visited(TrainingConfig { batch: 100, replacement: true, ..short(1) }, 8, 20);
    let mut counts = [0usize; 8];
    for &image in steps.iter().flatten() {
        counts[image] += 1;
    }
    assert!(counts.iter().all(|count| count.abs_diff(250) < 5 * 15), "{counts:?}");
    assert!(steps.iter().all(|step| step.len() == 100));
}

/// Mirroring changes nothing in images that are their own mirror images, and something in others.
#[test]
fn flips_mirror_left_and_right() {
    let run = |images: &[f32], horizontal_flip: bool| {
        let mut trainer = trainer(TrainingConfig { horizontal_flip, ..short(4) });
        train(&mut trainer, images, 4);
        result(&trainer)
    };
    let mut symmetric = images(6);
    for row in symmetric.chunks_exact_mut(SIDE) {
        (row[2], row[3]) = (row[1], row[0]);
    }
    assert_eq!(run(&symmetric, true), run(&symmetric, false));
    // The same turned by a quarter: symmetric from top to bottom only.
    let turned: Vec<f32> = (0..symmetric.len())
        .map(|at| {
            let (image, y, x) = (at / LENGTH, at % LENGTH / SIDE, at % SIDE);
            symmetric[image * LENGTH + x * SIDE + y]
        })
        .collect();
    assert_ne!(run(&turned, true), run(&turned, false));
}

/// The moving average against its formula in `f64`, from the weights of the same training without an average.
#[test]
fn the_moving_average_follows_its_formula() {
    let images = images(5);
    let decay = 0.7;
    let mut averaged = trainer(TrainingConfig { ema_decay: Some(decay), ..short(40) });
    let mut plain = trainer(short(40));
    let wide_of =
        |values: &[Vec<f32>]| -> Vec<Vec<f64>> { values.iter().map(|values| wide(values)).collect() };
    let mut expected = wide_of(&Parameters::initial(&tiny(), SEED, MEMBER));
    assert_eq!(wide_of(averaged.member()), expected);
    for step in 0..40 {
        train(&mut averaged, &images, 1);
        train(&mut plain, &images, 1);
        let ramp = (1.0 + f64::from(step)) / (10.0 + f64::from(step));
        let decay = if ramp < decay { ramp } else { decay };
        for (expected, values) in expected.iter_mut().zip(wide_of(plain.member())) {
            for (average, value) in expected.iter_mut().zip(values) {
                *average = decay * *average + (1.0 - decay) * value;
            }
        }
        // Two roundings of f32 in each of some ten steps that an average remembers.
        for (found, expected) in wide_of(averaged.member()).iter().zip(&expected) {
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 2e-6, "step {step}: {a} instead of {b}");
            }
        }
    }
    assert_ne!(averaged.member(), plain.member());
    assert_eq!(averaged.losses(), plain.losses(), "an average does not touch the training");
}

#[test]
fn learning_rates() {
    let config =
        TrainingConfig { steps: 110, warmup_steps: 10, learning_rate: 0.5, ..TrainingConfig::default() };
    for decay in [LearningRateDecay::Constant, LearningRateDecay::Cosine, LearningRateDecay::Linear] {
        let config = TrainingConfig { decay, ..config };
        let rates: Vec<f64> = (0..110).map(|step| config.learning_rate_at(step)).collect();
        for (step, rate) in rates[..10].iter().enumerate() {
            assert!((rate - 0.05 * (step + 1) as f64).abs() < 1e-12, "warm-up step {step}: {rate}");
        }
        assert!((rates[10] - 0.5).abs() < 1e-12);
        let (middle, last) = match decay {
            LearningRateDecay::Constant => (0.5, 0.5),
            LearningRateDecay::Cosine => (0.25, 0.5 * 0.5 * (1.0 - libm::cos(std::f64::consts::PI / 100.0))),
            LearningRateDecay::Linear => (0.25, 0.005),
        };
        assert!((rates[60] - middle).abs() < 1e-12 && (rates[109] - last).abs() < 1e-12, "{decay:?}");
        assert!(rates[10..].windows(2).all(|pair| pair[1] <= pair[0]), "{decay:?}");
        assert!(rates.iter().all(|&rate| rate > 0.0), "{decay:?}");
    }
    let without = TrainingConfig { warmup_steps: 0, ..config };
    assert_eq!(without.learning_rate_at(0), 0.5);
}

/// Adam's first step moves a weight by the learning rate of that step, whatever its gradient is.
#[test]
fn the_first_step_has_the_first_learning_rate() {
    for (warmup_steps, expected) in [(0, 1e-2), (5, 2e-3)] {
        let mut trainer = trainer(TrainingConfig { warmup_steps, ..short(10) });
        let place = tiny().parameters().iter().position(|spec| spec.name == "conv_out.bias").unwrap();
        let before = f64::from(trainer.member()[place][0]);
        train(&mut trainer, &images(3), 1);
        let moved = (f64::from(trainer.member()[place][0]) - before).abs();
        assert!((moved / expected - 1.0).abs() < 1e-3, "{moved} instead of {expected}");
    }
}

#[test]
fn a_loss_that_is_no_number_is_an_error() {
    let images = images(3);
    let mut trainer = trainer(TrainingConfig { learning_rate: 1e30, ..short(20) });
    let read = |index: usize, image: &mut [f32]| image.copy_from_slice(&images[index * LENGTH..][..LENGTH]);
    let error = (0..20).find_map(|_| trainer.train_step(&set_of(&read, 3)).err()).expect("no step diverged");
    let done = trainer.steps_done();
    match &error {
        DiffusionError::Diverged { member, step, loss } => {
            assert_eq!((*member, *step), (MEMBER as usize, done));
            assert!(!(*loss as f32).is_finite());
        }
        other => panic!("{other}"),
    }
    let text = error.to_string();
    assert!(
        text.starts_with("member 3: the loss became ") && text.contains("lower the learning rate"),
        "{text}"
    );
    assert!(trainer.losses().iter().all(|loss| loss.is_finite()));
    assert_eq!(trainer.losses().len(), done);
}

/// An image with a NaN stops the training at once, and what was trained before stays as it was.
#[test]
fn an_image_with_a_nan_is_an_error() {
    let mut trainer = trainer(short(20));
    train(&mut trainer, &images(3), 4);
    let before = trainer.state().unwrap();
    let read = |index: usize, image: &mut [f32]| image.fill(if index == 1 { f32::NAN } else { 0.2 });
    let error = trainer.train_step(&set_of(&read, 3)).unwrap_err();
    assert!(matches!(error, DiffusionError::Diverged { step: 4, .. }), "{error}");
    assert_eq!(trainer.state().unwrap(), before);
}

#[test]
fn images_that_do_not_fit() {
    let mut trainer = trainer(short(5));
    let read = |_: usize, image: &mut [f32]| image.fill(0.0);
    let mut refused = |count, shape| {
        let error = trainer.train_step(&TrainingImages { count, shape, read: &read }).unwrap_err();
        assert!(matches!(error, DiffusionError::Image { .. }), "{error}");
        error.to_string()
    };
    assert!(refused(0, [4, 4, 1]).contains("member 3 has none to train on"));
    assert!(refused(2, [4, 4, 3]).contains("the network takes 1 channels"));
    assert!(refused(2, [5, 4, 1]).contains("multiples of 2"));
    assert_eq!(trainer.steps_done(), 0);
}

#[test]
fn settings_out_of_bounds_are_named() {
    let adam = AdamConfig::default();
    let with = |optimiser| TrainingConfig { optimiser, ..short(5) };
    for (field, config) in [
        ("steps", TrainingConfig { steps: 0, ..short(5) }),
        ("steps", TrainingConfig { steps: 1 << 32, ..short(5) }),
        ("batch", TrainingConfig { batch: 0, ..short(5) }),
        ("batch", TrainingConfig { batch: (1 << 20) + 1, ..short(5) }),
        ("learning_rate", TrainingConfig { learning_rate: 0.0, ..short(5) }),
        ("learning_rate", TrainingConfig { learning_rate: f64::NAN, ..short(5) }),
        ("learning_rate", TrainingConfig { learning_rate: f64::INFINITY, ..short(5) }),
        ("optimiser.beta1", with(AdamConfig { beta1: 1.0, ..adam })),
        ("optimiser.beta2", with(AdamConfig { beta2: -0.1, ..adam })),
        ("optimiser.epsilon", with(AdamConfig { epsilon: 0.0, ..adam })),
        ("optimiser.weight_decay", with(AdamConfig { weight_decay: f64::NAN, ..adam })),
        ("condition_dropout", TrainingConfig { condition_dropout: 1.5, ..short(5) }),
        ("condition_dropout", TrainingConfig { condition_dropout: f64::NAN, ..short(5) }),
        ("ema_decay", TrainingConfig { ema_decay: Some(1.0), ..short(5) }),
        ("ema_decay", TrainingConfig { ema_decay: Some(f64::NAN), ..short(5) }),
    ] {
        match Trainer::new(tiny(), &ten_timesteps(), config, 1, 1).err() {
            Some(DiffusionError::Config { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let schedule = ScheduleConfig { beta_end: 1.0, ..ten_timesteps() };
    let error = Trainer::new(tiny(), &schedule, short(5), 1, 1).err().unwrap();
    assert!(error.to_string().contains("`beta_end`"), "{error}");
}

#[test]
fn states_of_another_training_are_refused() {
    let mut trained = trainer(short(8));
    train(&mut trained, &images(3), 6);
    let state = trained.state().unwrap();
    let refused = |config: TrainingConfig, state: &[u8]| {
        let mut fresh = trainer(config);
        let before = fresh.state().unwrap();
        let error = fresh.restore(state, "members/003/state").unwrap_err();
        assert_eq!(fresh.state().unwrap(), before, "a refused state must change nothing");
        error.to_string()
    };
    let text = refused(short(5), &state);
    assert_eq!(text, "members/003/state: 6 steps were done, the recipe has 5");
    let text = refused(TrainingConfig { ema_decay: Some(0.9), ..short(8) }, &state);
    assert!(text.starts_with("members/003/state: tensor `average/conv_in.weight`"), "{text}");
    for length in [0, 7, 100, state.len() - 1] {
        assert!(refused(short(8), &state[..length]).starts_with("members/003/state: not safetensors"));
    }
    // Another network's state: every name is there, the sizes are not.
    let wider = Architecture::new(&pentimento_diffusion::unet::UnetConfig {
        block_out_channels: vec![8, 8],
        ..tiny_config()
    });
    let other = Trainer::new(wider.unwrap(), &ten_timesteps(), short(8), 1, 1).unwrap().state().unwrap();
    let text = refused(short(8), &other);
    assert!(text.contains("`values/conv_in.weight`: has shape [72], needed is [36]"), "{text}");
}

/// The same state but for its version; without a version it is that of a program that recorded none.
#[test]
fn states_of_another_version_are_refused() {
    let mut trained = trainer(short(8));
    train(&mut trained, &images(3), 6);
    let state = trained.state().unwrap();
    let own = StateSummary { steps: 6, numerics_version: NUMERICS_VERSION };
    assert_eq!(StateSummary::read(&state, "state").unwrap(), own);
    let whole = ArrayReader::new(&state, "state").unwrap();
    for version in [None, Some(NUMERICS_VERSION + 1)] {
        let mut arrays = ArrayWriter::default();
        for name in whole.names().into_iter().filter(|&name| name != "numerics_version") {
            arrays.put_f32(name, &whole.shape(name).unwrap(), &whole.f32(name).unwrap());
        }
        if let Some(version) = version {
            arrays.put_u32("numerics_version", &[1], &[version]);
        }
        let other = arrays.to_bytes("other", None).unwrap();
        let recorded = version.unwrap_or(0);
        assert_eq!(StateSummary::read(&other, "state").unwrap().numerics_version, recorded);
        let mut fresh = trainer(short(8));
        let before = fresh.state().unwrap();
        let error = fresh.restore(&other, "members/003/state").unwrap_err();
        assert!(matches!(error, DiffusionError::OtherNumerics { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("members/003/state: ") && text.contains(&recorded.to_string()), "{text}");
        assert_eq!(fresh.state().unwrap(), before, "a refused state must change nothing");
    }
}

proptest! {
    #![proptest_config(cases(100))]

    /// Damage anywhere in a state is an error or a state that trains on; never a panic.
    #[test]
    fn damaged_states(changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..=255), 1..4)) {
        let mut state = trainer(short(8)).state().unwrap();
        let header = 8 + u64::from_le_bytes(state[..8].try_into().unwrap()) as usize;
        for (place, flip) in changes {
            state[place.index(header)] ^= flip;
        }
        let mut fresh = trainer(short(8));
        if fresh.restore(&state, "state").is_ok() {
            prop_assert!(fresh.steps_done() <= 8);
        }
    }
}
