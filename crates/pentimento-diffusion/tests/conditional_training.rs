//! Training networks that are told classes or texts, whole ones and adapters.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::*;
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::arrays::ArrayReader;
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use pentimento_diffusion::denoising::{Denoising, Draw, NoisyBatch};
use pentimento_diffusion::training::{
    Trainer, TrainingConditions, TrainingConfig, TrainingEvents, TrainingImages,
};
use pentimento_diffusion::unet::{AdapterModule, Architecture, BatchCondition, Parameters, UnetConfig};
use std::collections::BTreeSet;
use std::slice::from_ref;

const SIDE: usize = 8;
const IMAGES: usize = 7;
const SEED: u64 = 31;
const MEMBER: u32 = 2;

fn config(steps: usize) -> TrainingConfig {
    TrainingConfig {
        steps,
        batch: 4,
        learning_rate: 1e-2,
        horizontal_flip: true,
        condition_dropout: 0.3,
        ..TrainingConfig::default()
    }
}

fn network(folder: &str) -> Architecture {
    let file = format!("{}/../../tests/{folder}/config.json", env!("CARGO_MANIFEST_DIR"));
    let (config, _) = UnetConfig::from_json(&std::fs::read_to_string(&file).unwrap(), &file).unwrap();
    Architecture::new(&config).unwrap()
}

fn with_classes() -> Architecture {
    network("goldens_configurations/class_table")
}

fn with_texts() -> Architecture {
    network("goldens_latent/sd_conv/unet")
}

/// An adapter of a network whose values are made of this number.
fn adapter(number: u32) -> Architecture {
    let network = with_texts();
    let part = |(name, _): (&str, _)| AdapterModule { name: name.into(), rank: 2, alpha: 2.0 };
    let parts: Vec<AdapterModule> = network.adaptable().map(part).collect();
    network.with_adapter(&parts, random_values(&network, number)).unwrap()
}

fn text(number: u32) -> Condition {
    text_of_tokens(number, 5)
}

fn text_of_tokens(number: u32, tokens: usize) -> Condition {
    Condition::Text(TextEmbedding::new(normals(7000 + number, tokens * 32), 32))
}

/// Of image i one text, or two, or three.
fn texts_of(image: u32) -> Vec<Condition> {
    (0..1 + image % 3).map(|number| text(10 * image + number)).collect()
}

fn some_classes() -> TrainingConditions {
    let of_images = (0..IMAGES as u32).map(|image| vec![Condition::Class(image % 4)]);
    TrainingConditions::new(of_images.collect()).with_empty(Condition::Class(4))
}

fn some_texts() -> TrainingConditions {
    TrainingConditions::new((0..IMAGES as u32).map(texts_of).collect()).with_empty(text(999))
}

/// Every kind of network, with what it is told.
fn networks() -> [(Architecture, TrainingConditions); 3] {
    [(with_classes(), some_classes()), (with_texts(), some_texts()), (adapter(5), some_texts())]
}

fn trainer(case: &(Architecture, TrainingConditions), config: TrainingConfig) -> Trainer {
    let (architecture, conditions) = case.clone();
    Trainer::conditional(architecture, &ten_timesteps(), config, conditions, SEED, MEMBER).unwrap()
}

fn shape(architecture: &Architecture) -> [usize; 3] {
    [SIDE, SIDE, architecture.config().in_channels]
}

/// Image by image, between -1 and 1.
fn images(architecture: &Architecture) -> Vec<Vec<f32>> {
    let length = shape(architecture).iter().product();
    let image = |number| normals(600 + number, length).into_iter().map(|value| value.clamp(-1.0, 1.0));
    (0..IMAGES as u32).map(|number| image(number).collect()).collect()
}

fn train(trainer: &mut Trainer, architecture: &Architecture, steps: usize) {
    let images = images(architecture);
    let read = |index: usize, target: &mut [f32]| target.copy_from_slice(&images[index]);
    for _ in 0..steps {
        let set = TrainingImages { count: IMAGES, shape: shape(architecture), read: &read };
        trainer.train_step(&set).unwrap();
    }
}

/// Adam's running mean of the gradient, one vector for each parameter.
fn means(trainer: &Trainer, architecture: &Architecture) -> Vec<f64> {
    let state = trainer.state().unwrap();
    let arrays = ArrayReader::new(&state, "state").unwrap();
    let of = |name: &str| arrays.f32(&format!("means/{name}")).unwrap();
    architecture.parameters().iter().flat_map(|spec| of(&spec.name)).map(f64::from).collect()
}

/// The gradient of the loss of one image at one draw under one condition, in `f64`.
fn gradient(
    architecture: &Architecture,
    values: &[Vec<f32>],
    (shown, draw): (&[f32], &Draw),
    condition: &Condition,
) -> Vec<f64> {
    let denoising = Denoising::<f64>::new(&ten_timesteps());
    let told = from_ref(condition);
    let NoisyBatch { input, condition, target } =
        denoising.batch::<f64>(architecture, shown, [SIDE, SIDE], [draw], told);
    let tracked = parameters::<f64>(architecture, values).tracked();
    let output = architecture.forward(&tracked, input, &condition);
    let target = tensor::<f64>(&target, output.dims()).autodiff();
    let mut gradients = (output - target).square().mean().backward();
    let gradients = tracked.take_gradients::<f64>(architecture, &mut gradients);
    gradients.iter().flat_map(|gradient| gradient.as_ref().to_vec()).collect()
}

/// What the optimiser gets at a step is the mean of the gradients of the step's images, each computed alone under the condition
/// that the events name; under another image's condition it is not.
#[test]
fn the_gradient_of_a_step_is_that_under_the_conditions_of_its_events() {
    for case in networks() {
        let (architecture, conditions) = &case;
        let (config, images) = (config(40), images(architecture));
        let mut trained = trainer(&case, config);
        let mut events = TrainingEvents::new(&config, 10, IMAGES, SEED, MEMBER).under(conditions.clone());
        let mut told = BTreeSet::new();
        for step in 0..32 {
            let (before, values) = (means(&trained, architecture), trained.member().to_vec());
            train(&mut trained, architecture, 1);
            // A fresh network is told nothing yet: its last layers are zero.
            if step < 24 {
                continue;
            }
            let after = means(&trained, architecture);
            let taken: Vec<f64> =
                before.iter().zip(&after).map(|(old, new)| (new - 0.9 * old) / 0.1).collect();
            let batch = events.of_step(step);
            let of_conditions: Vec<Condition> =
                batch.iter().map(|event| events.condition(event).clone()).collect();
            told.extend(of_conditions.iter().map(Condition::key));
            let mean_under = |conditions: &[Condition]| {
                let mut mean = vec![0.0; taken.len()];
                for (event, condition) in batch.iter().zip(conditions) {
                    let mut shown = images[event.image as usize].clone();
                    let draw = events.show(event, &mut shown, shape(architecture));
                    let gradient = gradient(architecture, &values, (&shown, &draw), condition);
                    mean.iter_mut()
                        .zip(gradient)
                        .for_each(|(mean, value)| *mean += value / batch.len() as f64);
                }
                mean
            };
            let (size, own) = (largest(&taken), mean_under(&of_conditions));
            let error = |found: &[f64]| {
                found.iter().zip(&taken).map(|(a, b)| (a - b).abs() / size).fold(0.0, f64::max)
            };
            // A running mean in f32, whose difference is divided by 0.1.
            assert!(error(&own) < 1e-4, "step {step}: {}", error(&own));
            let mut others = of_conditions.clone();
            others.rotate_left(1);
            if others != of_conditions {
                let other = error(&mean_under(&others));
                assert!(other > 1e-3, "step {step}: the condition decides only {other}");
            }
        }
        assert!(told.len() > 4, "{} conditions", told.len());
    }
}

#[test]
fn losses_fall() {
    for case in networks() {
        let mut trained = trainer(&case, config(100));
        train(&mut trained, &case.0, 100);
        let mean = |losses: &[f32]| wide(losses).iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&trained.losses()[..20]), mean(&trained.losses()[80..]));
        assert!(last < 0.8 * first, "losses of {first} became {last}");
    }
}

/// Whether it was stopped and restored, and on how many threads.
#[test]
fn a_training_has_the_same_bytes_however_it_was_made() {
    for case in networks() {
        for replacement in [false, true] {
            let config = TrainingConfig { replacement, ..config(9) };
            let run = |threads: usize, stops: &[usize]| {
                with_threads(threads, || {
                    let mut trained = trainer(&case, config);
                    for &steps in stops {
                        let state = trained.state().unwrap();
                        trained = trainer(&case, config);
                        trained.restore(&state, "state").unwrap();
                        assert_eq!(trained.state().unwrap(), state);
                        train(&mut trained, &case.0, steps);
                    }
                    assert!(trained.is_finished());
                    trained.state().unwrap()
                })
            };
            let whole = run(1, &[9]);
            assert!(run(1, &[4, 5]) == whole, "another state after a stop");
            assert!(run(2, &[9]) == whole, "another state on two threads");
            assert!(run(3, &[1, 2, 6]) == whole, "another state on three threads");
        }
    }
}

/// A network that knows no conditions may be told none of each image, and one whose conditions are never dropped takes no notice of
/// the empty one.
#[test]
fn what_is_not_used_changes_nothing() {
    let config = TrainingConfig { condition_dropout: 0.0, ..config(3) };
    let run = |mut trained: Trainer, architecture: &Architecture| {
        train(&mut trained, architecture, 3);
        trained.state().unwrap()
    };
    let plain = network("goldens/plain/unet");
    let none = TrainingConditions::new(vec![vec![Condition::None]; IMAGES]);
    let without = Trainer::new(plain.clone(), &ten_timesteps(), config, SEED, MEMBER).unwrap();
    let with = trainer(&(plain.clone(), none), config);
    assert!(run(without, &plain) == run(with, &plain));

    let texts = TrainingConditions::new((0..IMAGES as u32).map(texts_of).collect());
    let [without, with] =
        [texts, some_texts()].map(|texts| run(trainer(&(with_texts(), texts), config), &with_texts()));
    assert!(without == with);
}

/// Conditions are dropped as often as is asked for, texts of an image are taken equally often, and both follow from step and place:
/// neither the size of the batch nor the images that are left out change them.
#[test]
fn conditions_are_dropped_and_drawn_by_address() {
    const STEPS: usize = 3000;
    let empty = text(999);
    let events_of = |dropout: f64, batch: usize| {
        let config = TrainingConfig { batch, condition_dropout: dropout, replacement: true, ..config(1) };
        TrainingEvents::new(&config, 10, IMAGES, SEED, MEMBER).under(some_texts())
    };
    let dropped = |mut events: TrainingEvents| -> BTreeSet<(u32, u32)> {
        let all: Vec<_> = (0..STEPS).flat_map(|step| events.of_step(step)).collect();
        let dropped = all.iter().filter(|event| *events.condition(event) == empty);
        dropped.map(|event| (event.step, event.place)).collect()
    };
    assert!(dropped(events_of(0.0, 5)).is_empty());
    assert_eq!(dropped(events_of(1.0, 5)).len(), 5 * STEPS);
    for dropout in [0.1, 0.5] {
        let of_five = dropped(events_of(dropout, 5));
        let count = (5 * STEPS) as f64;
        let (expected, deviation) = (count * dropout, (count * dropout * (1.0 - dropout)).sqrt());
        assert!((of_five.len() as f64 - expected).abs() < 4.5 * deviation, "{} of {count}", of_five.len());
        for batch in [1, 3] {
            let cut: BTreeSet<_> =
                of_five.iter().copied().filter(|(_, place)| (*place as usize) < batch).collect();
            assert_eq!(dropped(events_of(dropout, batch)), cut, "batches of {batch}");
        }
        assert_eq!(dropped(events_of(dropout, 5).keeping(vec![1, 2, 6])), of_five);
    }

    let mut events = events_of(0.1, 5);
    let mut counts: Vec<Vec<u32>> = (0..IMAGES as u32).map(|image| vec![0; texts_of(image).len()]).collect();
    for step in 0..STEPS {
        for event in events.of_step(step) {
            let condition = events.condition(&event);
            if *condition == empty {
                continue;
            }
            let texts = texts_of(event.image);
            counts[event.image as usize][texts.iter().position(|text| text == condition).unwrap()] += 1;
        }
    }
    for counts in counts {
        let (total, share) = (counts.iter().sum::<u32>(), 1.0 / counts.len() as f64);
        let deviation = (f64::from(total) * share * (1.0 - share)).sqrt();
        for &count in &counts {
            assert!((f64::from(count) - f64::from(total) * share).abs() <= 4.5 * deviation, "{counts:?}");
        }
    }
}

/// Neither the values of the network beneath an adapter nor what it gives without the adapter change.
#[test]
fn the_network_beneath_an_adapter_stands_still() {
    let (base, adapted) = (with_texts(), adapter(5));
    let digest = adapted.base_digest().unwrap();
    let mut trained = trainer(&(adapted.clone(), some_texts()), config(10));
    train(&mut trained, &adapted, 10);
    assert_eq!(adapted.base_digest().unwrap(), digest);
    assert_eq!(adapter(5).base_digest().unwrap(), digest);
    let run = |architecture: &Architecture, values: Vec<Vec<f32>>| {
        let parameters = Parameters::from_memory(architecture, values);
        let input = tensor::<f32>(&wide(&images(&base)[0]), [1, SIDE, SIDE, 4]);
        let told = BatchCondition::new::<f32>(&base, &[4], &[text(3)]);
        bits(&architecture.forward(&parameters, input, &told).into_data().try_into_vec::<f32>().unwrap())
    };
    let without_b = adapted.parameters().iter().zip(trained.member());
    let without_b = without_b.map(|(spec, values)| match spec.name.ends_with(".lora_B.weight") {
        true => vec![0.0; values.len()],
        false => values.clone(),
    });
    let of_base = run(&base, random_values(&base, 5));
    assert_eq!(run(&adapted, without_b.collect()), of_base);
    assert_ne!(run(&adapted, trained.member().to_vec()), of_base);
}

/// A training of an adapter goes on upon its own network only.
#[test]
fn states_of_adapters_of_other_networks_are_refused() {
    let mut trained = trainer(&(adapter(5), some_texts()), config(10));
    train(&mut trained, &adapter(5), 3);
    let state = trained.state().unwrap();
    for other in [adapter(6), with_texts()] {
        let mut fresh = trainer(&(other, some_texts()), config(10));
        let before = fresh.state().unwrap();
        let error = fresh.restore(&state, "members/003/state").unwrap_err().to_string();
        assert!(error.starts_with("members/003/state: its adapter was begun on another network"), "{error}");
        assert!(error.contains(&adapter(5).base_digest().unwrap()), "{error}");
        assert!(fresh.state().unwrap() == before, "a refused state must change nothing");
    }
    let whole = trainer(&(with_texts(), some_texts()), config(10)).state().unwrap();
    let error = trained.restore(&whole, "state").unwrap_err().to_string();
    assert!(error.contains("another network"), "{error}");
    assert!(with_texts().base_digest().is_none());
}

#[test]
fn conditions_that_do_not_fit_are_named() {
    let dropping = config(5);
    let keeping = TrainingConfig { condition_dropout: 0.0, ..dropping };
    let refused = |architecture: &Architecture, config, conditions: Option<TrainingConditions>| {
        let (architecture, schedule) = (architecture.clone(), ten_timesteps());
        let trainer = match conditions {
            None => Trainer::new(architecture, &schedule, config, 1, 1),
            Some(conditions) => Trainer::conditional(architecture, &schedule, config, conditions, 1, 1),
        };
        match trainer.err() {
            Some(error @ DiffusionError::Config { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let of = |of_images: &[&[Condition]]| {
        TrainingConditions::new(of_images.iter().map(|own| own.to_vec()).collect())
    };
    let [class_0, class_5] = [0, 5].map(Condition::Class);
    let (classes, texts, plain) = (with_classes(), with_texts(), network("goldens/plain/unet"));
    let (one, longer) = (text(1), text_of_tokens(2, 6));
    let narrow = Condition::Text(TextEmbedding::new(vec![0.5; 24], 6));
    let own = |condition: &Condition| Some(of(&[from_ref(&class_0), from_ref(condition)]));
    let texts_and = |condition: &Condition| Some(of(&[from_ref(&one), from_ref(condition)]));
    let cases = [
        (refused(&classes, keeping, None), "model: `num_class_embeds`"),
        (refused(&texts, keeping, None), "model: `_class_name` is UNet2DConditionModel"),
        (refused(&adapter(1), keeping, None), "model: `_class_name`"),
        (refused(&plain, dropping, None), "training: `condition_dropout` is 0.3: 0, as the network has no"),
        (refused(&classes, dropping, own(&class_0)), "training: `condition_dropout` is 0.3: 0, as no empty"),
        (refused(&classes, keeping, own(&class_5)), "training: `conditions of image 1` is 5: below 5"),
        (refused(&classes, keeping, own(&Condition::None)), "`conditions of image 1` is absent"),
        (refused(&classes, keeping, own(&one)), "`conditions of image 1` is set"),
        (
            refused(&classes, keeping, Some(of(&[from_ref(&class_0), &[]]))),
            "`conditions of image 1` is empty",
        ),
        (
            refused(&classes, dropping, own(&class_0).map(|own| own.with_empty(class_0.clone()))),
            "`conditions of image 0` is 0: another class",
        ),
        (
            refused(&classes, dropping, own(&class_0).map(|own| own.with_empty(class_5.clone()))),
            "`empty condition` is 5: below 5",
        ),
        (refused(&texts, keeping, texts_and(&class_0)), "`conditions of image 1` is 0"),
        (refused(&texts, keeping, texts_and(&narrow)), "`conditions of image 1` is embedded with 6 values"),
        (
            refused(&texts, keeping, texts_and(&longer)),
            "`conditions of image 1` is of 6 tokens: 5 tokens, as other texts",
        ),
        (
            refused(&texts, dropping, texts_and(&one).map(|own| own.with_empty(longer.clone()))),
            "is of 5 tokens: 6 tokens",
        ),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{error}, wanted is {expected}");
    }

    let mut trainer = trainer(&(texts.clone(), some_texts()), keeping);
    let read = |_: usize, image: &mut [f32]| image.fill(0.1);
    let set = TrainingImages { count: IMAGES + 1, shape: shape(&texts), read: &read };
    let error = trainer.train_step(&set).unwrap_err().to_string();
    assert_eq!(error, "training: `conditions` is those of 7 images: those of all 8");
    assert_eq!(trainer.steps_done(), 0);
}
