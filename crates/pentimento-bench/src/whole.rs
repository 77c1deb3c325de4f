//! Whole pieces of work as a user meets them: training, sampling, the Jacobian of a sample, the search over codes.

use crate::Result;
use crate::kernels::{Amount, Measurement};
use crate::network::{self, NETWORKS, SCHEDULE, SEED};
use crate::operations::Operations;
use crate::timing::Timing;
use pentimento_attribution::ensemble::{
    BaseRun, CodeBook, QuadraticForm, TangentMembers, full_weights, gram_matrix, jacobians,
};
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::{Sampler, SamplingConfig};
use pentimento_diffusion::training::Trainer;
use pentimento_diffusion::unet::{Architecture, Parameters};
use pentimento_noise::{Purpose, Stream};
use pentimento_run::Stop;
use std::time::Duration;

const BUDGET: Duration = Duration::from_secs(2);
const MEMBERS: usize = 7;
/// Fewer steps than a run takes, so that all measurements end within a minute; time is proportional to them.
const STEPS: usize = 5;
const IMAGES: usize = 32;
/// Codes of the search.
const CODES: u32 = 1_000_000;
const CODE_MEMBERS: u32 = 24;

/// Measures all of them; `say` gets the name of what comes next.
///
/// # Errors
///
/// If the user stops it.
pub fn measure(stop: &Stop, batch: usize, say: &mut dyn FnMut(&str)) -> Result<Vec<Measurement>> {
    let mut all = Vec::new();
    for ((name, config), images) in NETWORKS.into_iter().zip([64, 8]) {
        say(&format!("training step, {name}"));
        all.push(training_step(stop, name, &network::architecture(config, name)?, images)?);
    }
    let (name, config) = NETWORKS[0];
    let architecture = network::architecture(config, name)?;
    let members = (0..MEMBERS as u32)
        .map(|member| Parameters::from_memory(&architecture, network::values(&architecture, member)))
        .collect();
    let [height, width, _] = network::image_shape(&architecture);
    let operations = Operations::of(&architecture, height);
    let mixture = Mixture::new(architecture, members, height, width, batch)?;
    let sampler = Sampler::new(&SCHEDULE, SamplingConfig { steps: STEPS, ..SamplingConfig::default() })?;
    say("sampling");
    all.push(sampling(stop, &mixture, &sampler, operations)?);
    say("Jacobian");
    all.extend(derivatives(stop, &mixture, &sampler, operations)?);
    say("search over codes");
    all.push(search(stop)?);
    Ok(all)
}

fn training_step(stop: &Stop, name: &str, architecture: &Architecture, images: usize) -> Result<Measurement> {
    let values = network::images(architecture, images);
    let read = network::reader(&values, values.len() / images);
    let batch = network::training_images(architecture, images, &read);
    let mut trainer = Trainer::new(architecture.clone(), &SCHEDULE, network::training(images), SEED, 0)?;
    let timing = Timing::of(stop, BUDGET, || Ok(trainer.train_step(&batch).map(drop)?))?;
    let operations = Operations::of(architecture, network::image_shape(architecture)[0]).training;
    Ok(Measurement {
        subject: format!("training step, {name}, {images} images"),
        part: String::new(),
        timing,
        amount: Amount::Operations(operations as f64 * images as f64),
        counted: Some(("images", images as f64)),
    })
}

fn sampling(
    stop: &Stop,
    mixture: &Mixture,
    sampler: &Sampler,
    operations: Operations,
) -> Result<Measurement> {
    let weights = full_weights(MEMBERS);
    let trajectories: Vec<Trajectory> = (0..IMAGES as u32)
        .map(|sample| Trajectory { sample, weights: weights.clone(), condition: None })
        .collect();
    let timing = Timing::of(stop, BUDGET, || {
        mixture.sample::<f32, _>(sampler, SEED, &trajectories, |_| stop.check()).map(drop)?;
        Ok(())
    })?;
    Ok(Measurement {
        subject: format!("sampling, {MEMBERS} members, {STEPS} steps, {IMAGES} images"),
        part: String::new(),
        timing,
        amount: Amount::Operations((operations.forward as usize * MEMBERS * STEPS * IMAGES) as f64),
        counted: Some(("images", IMAGES as f64)),
    })
}

fn derivatives(
    stop: &Stop,
    mixture: &Mixture,
    sampler: &Sampler,
    operations: Operations,
) -> Result<Vec<Measurement>> {
    let base = BaseRun::<f32>::new(mixture, sampler, SEED, &[0], |_| stop.check())?;
    let mut all = Vec::new();
    for (name, which, per_step) in [
        ("Jacobian of all members", TangentMembers::All, MEMBERS),
        ("Jacobian of one member a step", TangentMembers::OnePerStep, 1),
    ] {
        let timing = Timing::of(stop, BUDGET, || {
            jacobians(mixture, sampler, &base, which, |_| stop.check()).map(drop)?;
            Ok(())
        })?;
        // Each call has the image and its tangents; the first step has nothing to carry.
        let images = per_step * (STEPS - 1) * (1 + MEMBERS);
        all.push(Measurement {
            subject: format!("{name}, {MEMBERS} tangents, {STEPS} steps"),
            part: String::new(),
            timing,
            amount: Amount::Operations((operations.forward as usize * images) as f64),
            counted: Some(("samples", 1.0)),
        });
    }
    Ok(all)
}

fn search(stop: &Stop) -> Result<Measurement> {
    let book = CodeBook::draw(CODE_MEMBERS, CODE_MEMBERS / 2, CODES, SEED)?;
    let columns: Vec<Vec<f32>> = (0..2 * CODE_MEMBERS)
        .map(|column| {
            let mut image = vec![0.0; 784];
            Stream::new(SEED, Purpose::Test, column, 3).fill_normal(&mut image);
            image
        })
        .collect();
    let form = QuadraticForm::second_order(&book, &gram_matrix::<f32>(&columns))?;
    let timing =
        Timing::of(stop, Duration::from_secs(1), || Ok(form.most_influential(&book, 100).map(drop)?))?;
    Ok(Measurement {
        subject: format!("search, {CODES} codes of {CODE_MEMBERS} members, top 100"),
        part: String::new(),
        timing,
        amount: Amount::Bytes(f64::from(CODES) * size_of::<u64>() as f64),
        counted: Some(("codes", f64::from(CODES))),
    })
}
