//! Does what is asked for.

use crate::adapted::Adapted;
use crate::layer::Layer;
use crate::request::Request;
use crate::search::{Depth, exact_counterfactuals, two_stage_search};
use anyhow::{Context as _, Result};
use pentimento_attribution::ensemble::{
    BaseRun, CodeBook, TangentMembers, binomial, full_weights, jacobians,
};
use pentimento_bench::network::{self, SCHEDULE, SEED};
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::arrays::ArrayWriter;
use pentimento_diffusion::checkpoint::{network_files, scheduler_files, weights_to_bytes};
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::{Sampler, SamplingConfig};
use pentimento_diffusion::schedule::TimestepSpacing;
use pentimento_diffusion::training::Trainer;
use pentimento_diffusion::unet::{Architecture, Parameters};
use pentimento_kernels::{ConvGeometry, ConvShape, Instructions, conv2d, multiply_adds_in_registers};
use pentimento_noise::{Purpose, Stream};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// What requests leave for those that follow.
#[derive(Default)]
pub struct Side {
    opened: Option<Opened>,
    training: Option<Training>,
    convolution: Option<Convolution>,
    layer: Option<Layer>,
    adapted: Option<Adapted>,
}

struct Opened {
    mixture: Mixture,
    first_member: Vec<Vec<f32>>,
}

struct Training {
    trainer: Trainer,
    architecture: Architecture,
    images: Vec<f32>,
    count: usize,
}

struct Convolution {
    shape: ConvShape,
    input: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    output: Vec<f32>,
}

/// The work and how long it took.
pub fn timed<R>(work: impl FnOnce() -> Result<R>) -> Result<(f64, R)> {
    let start = Instant::now();
    let result = work()?;
    Ok((start.elapsed().as_secs_f64(), result))
}

fn seconds_of(work: impl FnOnce() -> Result<()>) -> Result<Value> {
    Ok(json!({ "seconds": timed(work)?.0 }))
}

fn go_on(_: usize) -> Result<()> {
    Ok(())
}

/// As diffusers' own `DDPMScheduler` steps by default.
fn sampler(steps: usize) -> Result<Sampler> {
    Ok(Sampler::new(
        &SCHEDULE,
        SamplingConfig { steps, spacing: TimestepSpacing::Leading, ..SamplingConfig::default() },
    )?)
}

pub fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

impl Side {
    pub fn answer(&mut self, request: Request) -> Result<Value> {
        match request {
            Request::About {} => Ok(json!({
                "threads": rayon::current_num_threads(),
                "instructions": format!("{:?}", Instructions::detect()),
                "version": env!("CARGO_PKG_VERSION"),
            })),
            Request::Peak {} => {
                let (seconds, operations) = timed(|| Ok(multiply_adds_in_registers(20_000_000)))?;
                Ok(json!({ "seconds": seconds, "operations": operations }))
            }
            Request::Open { config, folder, members } => self.open(&config, &folder, members),
            Request::PrepareTraining { images, folder } => self.prepare_training(images, &folder),
            Request::Train {} => self.training.as_mut().context("no training is prepared")?.step(),
            Request::Sample { images, steps, file } => self.sample(images, steps, file.as_deref()),
            Request::Jacobian { steps, file } => self.jacobian(steps, file.as_deref()),
            Request::Search { steps, weight, candidates, exact } => {
                self.search(steps, weight, Depth { candidates, exact })
            }
            Request::Exact { steps, weight, codes } => {
                let mixture = &self.opened()?.mixture;
                let book = all_codes(mixture, weight)?;
                let groups: Vec<u32> = (0..codes.min(book.groups())).collect();
                let sampler = sampler(steps)?;
                seconds_of(|| {
                    exact_counterfactuals(mixture, &sampler, SEED, 0, &book, &groups, go_on).map(drop)
                })
            }
            Request::OpenAdapted { pipeline, adapter, draws, folder } => {
                let (adapted, answer) = Adapted::open(&pipeline, &adapter, draws)?;
                adapted.write(&adapted.gradient()?, &folder)?;
                self.adapted = Some(adapted);
                Ok(answer)
            }
            Request::AdaptedGradient {} => {
                let adapted = self.adapted.as_ref().context("no adapter is open")?;
                seconds_of(|| adapted.gradient().map(drop))
            }
            Request::PrepareConvolution { images, side, channels, file } => {
                let convolution = Convolution::new(images, side, channels)?;
                convolution.write(&file)?;
                self.convolution = Some(convolution);
                Ok(json!({}))
            }
            Request::Convolution { repeats } => {
                let convolution = self.convolution.as_mut().context("no convolution is prepared")?;
                seconds_of(|| {
                    (0..repeats).for_each(|_| convolution.run());
                    Ok(())
                })
            }
            Request::PrepareLayer { layer, file } => {
                let layer = Layer::new(layer)?;
                layer.write(&file)?;
                self.layer = Some(layer);
                Ok(json!({}))
            }
            Request::Layer { repeats, backward } => {
                let layer = self.layer.as_mut().context("no layer is prepared")?;
                seconds_of(|| (0..repeats).try_for_each(|_| layer.run(backward)))
            }
        }
    }

    fn opened(&self) -> Result<&Opened> {
        self.opened.as_ref().context("no network is open")
    }

    fn open(&mut self, config: &Path, folder: &Path, members: u32) -> Result<Value> {
        let file = config.display().to_string();
        let text = std::fs::read_to_string(config).with_context(|| format!("cannot read {file}"))?;
        let architecture = network::architecture(&text, &file)?;
        let mut values: Vec<Vec<Vec<f32>>> = Vec::new();
        for member in 0..members {
            let of_member = network::values(&architecture, member);
            let network = network_files(&architecture, &of_member)?;
            let scheduler = scheduler_files(&SCHEDULE, &SamplingConfig::default());
            for (name, bytes) in network.into_iter().chain(scheduler) {
                write(&folder.join(format!("{member:03}")).join(name), &bytes)?;
            }
            values.push(of_member);
        }
        let first_member = values.first().context("no member")?.clone();
        let parameters =
            values.into_iter().map(|values| Parameters::from_memory(&architecture, values)).collect();
        let [height, width, _] = network::image_shape(&architecture);
        let count = architecture.parameter_count();
        // As many images at once as a run takes by default.
        let mixture = Mixture::new(architecture, parameters, height, width, 64)?;
        self.training = None;
        self.opened = Some(Opened { mixture, first_member });
        Ok(json!({ "parameters": count }))
    }

    fn prepare_training(&mut self, count: usize, folder: &Path) -> Result<Value> {
        let Opened { mixture, first_member } = self.opened()?;
        let architecture = mixture.architecture().clone();
        let images = network::images(&architecture, count);
        let [height, width, channels] = network::image_shape(&architecture);
        let length = height * width * channels;
        let stream = |purpose| Stream::new(SEED, purpose, 0, 0);
        let order = stream(Purpose::BatchOrder).permutation(count as u32);
        let batch: Vec<f32> =
            order.iter().flat_map(|&index| &images[index as usize * length..][..length]).copied().collect();
        let timesteps: Vec<u32> = (0..count)
            .map(|place| stream(Purpose::TrainingTimestep).below(place as u64, 1000) as u32)
            .collect();
        let mut noise = vec![0.0; batch.len()];
        stream(Purpose::TrainingNoise).fill_normal(&mut noise);
        let mut arrays = ArrayWriter::default();
        let shape = [count, height, width, channels];
        arrays.put_f32("image", &shape, &batch);
        arrays.put_f32("noise", &shape, &noise);
        arrays.put_u32("timestep", &[count], &timesteps);
        write(&folder.join("batch.safetensors"), &arrays.to_bytes("side by side", None)?)?;

        let mut trainer = Trainer::new(architecture.clone(), &SCHEDULE, network::training(count), SEED, 0)?;
        trainer.restore(&training_state(&architecture, first_member)?, "a fresh state")?;
        let mut training = Training { trainer, architecture, images, count };
        training.step()?;
        // After the first step, Adam's mean is 1 - beta1 times the gradient.
        let state = training.trainer.state()?;
        let state = safetensors::SafeTensors::deserialize(&state)?;
        let gradient: Vec<Vec<f32>> = training
            .architecture
            .parameters()
            .iter()
            .map(|spec| {
                let means = state.tensor(&format!("means/{}", spec.name))?;
                let (words, _) = means.data().as_chunks::<4>();
                Ok(words.iter().map(|word| f32::from_le_bytes(*word) / 0.1).collect())
            })
            .collect::<Result<_>>()?;
        write(&folder.join("gradient.safetensors"), &weights_to_bytes(&training.architecture, &gradient)?)?;
        let loss = training.trainer.losses().first().copied();
        self.training = Some(training);
        Ok(json!({ "loss": loss }))
    }

    fn sample(&self, images: usize, steps: usize, file: Option<&Path>) -> Result<Value> {
        let mixture = &self.opened()?.mixture;
        let sampler = sampler(steps)?;
        let weights = full_weights(mixture.members());
        let ids: Vec<u32> = (0..images as u32).collect();
        let trajectories: Vec<Trajectory> = ids
            .iter()
            .map(|&sample| Trajectory { sample, weights: weights.clone(), condition: None })
            .collect();
        let (seconds, made) = timed(|| mixture.sample::<f32, _>(&sampler, SEED, &trajectories, go_on))?;
        if let Some(file) = file {
            let mut arrays = noise_arrays(mixture, &sampler, &ids);
            arrays.put_f32("sample", &[&[images], mixture.image_shape().as_slice()].concat(), &made);
            write(file, &arrays.to_bytes("side by side", None)?)?;
        }
        Ok(json!({ "seconds": seconds }))
    }

    fn jacobian(&self, steps: usize, file: Option<&Path>) -> Result<Value> {
        let mixture = &self.opened()?.mixture;
        let sampler = sampler(steps)?;
        let (seconds, (base, jacobian)) = timed(|| {
            let base = BaseRun::<f32>::new(mixture, &sampler, SEED, &[0], go_on)?;
            let jacobian = jacobians(mixture, &sampler, &base, TangentMembers::All, go_on)?.remove(0);
            Ok((base, jacobian))
        })?;
        if let Some(file) = file {
            let mut arrays = noise_arrays(mixture, &sampler, &[0]);
            let shape = mixture.image_shape();
            arrays.put_f32("sample", &[&[1], shape.as_slice()].concat(), &base.images);
            let columns = [&[mixture.members()], shape.as_slice()].concat();
            arrays.put_f32("jacobian", &columns, &jacobian.columns.concat());
            write(file, &arrays.to_bytes("side by side", None)?)?;
        }
        Ok(json!({ "seconds": seconds }))
    }

    fn search(&self, steps: usize, weight: u32, depth: Depth) -> Result<Value> {
        let mixture = &self.opened()?.mixture;
        let book = all_codes(mixture, weight)?;
        let sampler = sampler(steps)?;
        let (seconds, found) = timed(|| two_stage_search(mixture, &sampler, SEED, 0, &book, depth, go_on))?;
        let groups: Vec<u32> = found.iter().map(|candidate| candidate.group).collect();
        Ok(json!({ "seconds": seconds, "codes": book.groups(), "found": groups }))
    }
}

/// Every code of one weight, in drawn order.
fn all_codes(mixture: &Mixture, weight: u32) -> Result<CodeBook> {
    let members = mixture.members() as u32;
    let count =
        binomial(members, weight).and_then(|count| u32::try_from(count).ok()).context("too many codes")?;
    Ok(CodeBook::draw(members, weight, count, SEED)?)
}

/// The state of a training that has not begun, with these values.
fn training_state(architecture: &Architecture, values: &[Vec<f32>]) -> Result<Vec<u8>> {
    let mut arrays = ArrayWriter::default();
    for (spec, values) in architecture.parameters().iter().zip(values) {
        let zeros = vec![0.0; values.len()];
        arrays.put_f32(&format!("values/{}", spec.name), &[values.len()], values);
        arrays.put_f32(&format!("means/{}", spec.name), &[values.len()], &zeros);
        arrays.put_f32(&format!("squares/{}", spec.name), &[values.len()], &zeros);
    }
    arrays.put_f32("losses", &[0], &[]);
    arrays.put_u32("numerics_version", &[1], &[NUMERICS_VERSION]);
    Ok(arrays.to_bytes("side by side", None)?)
}

/// `noise`, `[steps + 1, samples, height, width, channels]`: the start, then what is added after each step.
fn noise_arrays(mixture: &Mixture, sampler: &Sampler, ids: &[u32]) -> ArrayWriter {
    let noise: Vec<f32> =
        (0..=sampler.len()).flat_map(|place| mixture.noise::<f32>(SEED, ids, place)).collect();
    let mut arrays = ArrayWriter::default();
    let shape = [&[sampler.len() + 1, ids.len()], mixture.image_shape().as_slice()].concat();
    arrays.put_f32("noise", &shape, &noise);
    arrays
}

impl Training {
    fn step(&mut self) -> Result<Value> {
        let length = self.images.len() / self.count;
        let read = network::reader(&self.images, length);
        let images = network::training_images(&self.architecture, self.count, &read);
        let (seconds, loss) = timed(|| Ok(self.trainer.train_step(&images)?))?;
        Ok(json!({ "seconds": seconds, "loss": loss }))
    }
}

impl Convolution {
    fn new(images: usize, side: usize, channels: usize) -> Result<Self> {
        let shape = ConvShape::new([images, side, side, channels], channels, ConvGeometry::SAME_3X3)?;
        let normals = |id: u32, length: usize, scale: f32| {
            let mut values = vec![0.0; length];
            Stream::new(SEED, Purpose::Test, id, 1).fill_normal(&mut values);
            values.iter_mut().for_each(|value| *value *= scale);
            values
        };
        let length = images * side * side * channels;
        Ok(Self {
            shape,
            input: normals(0, length, 1.0),
            weight: normals(1, 9 * channels * channels, 1.0 / (9.0 * channels as f32).sqrt()),
            bias: normals(2, channels, 1.0),
            output: vec![0.0; length],
        })
        .map(|mut convolution: Self| {
            convolution.run();
            convolution
        })
    }

    fn run(&mut self) {
        conv2d(&self.shape, &self.input, &self.weight, Some(&self.bias), &mut self.output);
    }

    fn write(&self, file: &Path) -> Result<()> {
        let ConvShape { images, height, width, input_channels: channels, .. } = self.shape;
        let mut arrays = ArrayWriter::default();
        arrays.put_f32("input", &[images, height, width, channels], &self.input);
        arrays.put_f32("weight", &[3, 3, channels, channels], &self.weight);
        arrays.put_f32("bias", &[channels], &self.bias);
        arrays.put_f32("output", &[images, height, width, channels], &self.output);
        write(file, &arrays.to_bytes("side by side", None)?)
    }
}
