//! How fast gradients become features and scores: `cargo bench -p pentimento-attribution --bench features -- [featurise|scores|kernel]`.
//!
//! * `featurise`: an image's feature at ten timesteps, projected to 2048 numbers, beside a training step, in turn.
//! * `scores`: 50,000 features of 2048 numbers as they are kept (f16) against 100 queries, beside a product of numbers that
//!   stay in registers.
//! * `kernel`: the eigendecomposition for 5,000 images.
//!
//! Prints medians over rounds as JSON.

#![expect(clippy::print_stdout, reason = "a bench prints its measurements")]

use arrow_buffer::Buffer;
use pentimento_attribution::gradient::{
    DrawPlan, FeatureBlock, FeatureError, FeatureExtractor, FeatureFile, FeatureRows, ImageRows, Kernel,
    KernelError, Measurement, NoiseSharing, RowError, RowPrecision, SparseProjection, TimestepShares,
    products, side_by_side,
};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::training::{Trainer, TrainingConfig, TrainingImages};
use pentimento_diffusion::unet::{Architecture, Parameters, UnetConfig};
use pentimento_kernels::multiply_adds_in_registers;
use pentimento_noise::{Purpose, Stream};
use serde_json::{Value, json};
use std::error::Error;
use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

const ROUNDS: usize = 7;
const DIMENSION: usize = 2048;
/// Images of a round of features; a file of the store has 64.
const IMAGES_AT_ONCE: usize = 4;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let which: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let asked = |name: &str| which.is_empty() || which.iter().any(|asked| asked == name);
    let mut all = serde_json::Map::new();
    if asked("featurise") {
        let of: Result<Vec<Value>> = NETWORKS.iter().map(|network| featurise(network)).collect();
        all.insert("featurise".into(), of?.into());
    }
    if asked("scores") {
        all.insert("scores".into(), scores()?);
    }
    if asked("kernel") {
        all.insert("kernel".into(), kernel()?);
    }
    println!("{}", serde_json::to_string_pretty(&all)?);
    Ok(())
}

struct Network {
    config: &'static str,
    /// Other widths than the file's.
    widths: Option<[usize; 4]>,
    /// Images of a training step.
    batch: usize,
}

const NETWORKS: [Network; 4] = [
    Network { config: include_str!("../../../bench/unet_28.json"), widths: Some([24, 48, 48, 0]), batch: 64 },
    Network { config: include_str!("../../../bench/unet_28.json"), widths: None, batch: 64 },
    Network { config: include_str!("../../../bench/unet_32.json"), widths: None, batch: 8 },
    Network {
        config: include_str!("../../../bench/unet_32.json"),
        widths: Some([128, 256, 256, 256]),
        batch: 8,
    },
];

impl Network {
    fn architecture(&self) -> Result<Architecture> {
        let mut config: Value = serde_json::from_str(self.config)?;
        if let Some(widths) = self.widths {
            let widths: Vec<usize> = widths.into_iter().filter(|&width| width > 0).collect();
            for (key, plain) in [("down_block_types", "DownBlock2D"), ("up_block_types", "UpBlock2D")] {
                let blocks = config[key].as_array_mut().ok_or("blocks")?;
                while blocks.len() < widths.len() {
                    blocks.push(plain.into());
                }
            }
            config["block_out_channels"] = widths.into();
        }
        let (config, _) = UnetConfig::from_json(&config.to_string(), "bench")?;
        Ok(Architecture::new(&config)?)
    }
}

fn featurise(network: &Network) -> Result<Value> {
    let architecture = network.architecture()?;
    let schedule = ScheduleConfig::default();
    let side = architecture.config().sample_size.ok_or("no size")?.height;
    let channels = architecture.config().in_channels;
    let length = side * side * channels;
    let read = |index: usize, image: &mut [f32]| {
        Stream::new(1, Purpose::Test, index as u32, 0).fill_uniform(image);
    };
    let config = TrainingConfig { batch: network.batch, ..TrainingConfig::default() };
    let mut trainer = Trainer::new(architecture.clone(), &schedule, config, 1, 0)?;
    let images = TrainingImages { count: network.batch, shape: [side, side, channels], read: &read };

    let plan = DrawPlan {
        timesteps: 10,
        groups: 1,
        antithetic: false,
        sharing: NoiseSharing::Shared,
        shares: TimestepShares::EVEN,
        seed: 1,
    };
    let values = Parameters::initial(&architecture, 1, 0);
    let parameters = Parameters::from_memory(&architecture, values);
    let extractor = FeatureExtractor::new(&architecture, parameters, &schedule, Measurement::Square, false);
    let projection = SparseProjection::new(architecture.parameter_count(), DIMENSION, 1);
    let mut image = vec![0.0f32; length];
    Stream::new(1, Purpose::Test, 7, 0).fill_uniform(&mut image);

    let (mut steps, mut features, mut ratios, mut singles) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let begin = Instant::now();
        black_box(trainer.train_step(&images)?);
        let step = begin.elapsed().as_secs_f64() / network.batch as f64;
        let begin = Instant::now();
        side_by_side(IMAGES_AT_ONCE, |_| {
            let draws = plan.draws(&schedule, 0, length, 0);
            black_box(extractor.feature(&image, [side, side], None, &draws, &projection, "bench")?);
            Ok::<(), FeatureError>(())
        })?;
        let feature = begin.elapsed().as_secs_f64() / (10.0 * IMAGES_AT_ONCE as f64);
        let begin = Instant::now();
        side_by_side(IMAGES_AT_ONCE, |_| {
            let draws = &plan.draws(&schedule, 0, length, 0)[..1];
            black_box(extractor.feature(&image, [side, side], None, draws, &projection, "bench")?);
            Ok::<(), FeatureError>(())
        })?;
        let single = begin.elapsed().as_secs_f64() / IMAGES_AT_ONCE as f64;
        // The first round warms up.
        if round > 0 {
            singles.push(single);
            steps.push(step);
            features.push(feature);
            ratios.push(feature / step);
        }
    }
    Ok(json!({
        "parameters": architecture.parameter_count(),
        "training_step_ms_per_image": 1e3 * median(steps),
        "feature_ms_per_draw": 1e3 * median(features),
        "ratio": median(ratios),
        "feature_ms_of_one_draw": 1e3 * median(singles),
    }))
}

/// A file of features in memory, as the store has it.
fn file(images: usize, number: u32) -> Result<Vec<u8>> {
    let mut values = vec![0.0f32; images * DIMENSION];
    Stream::new(2, Purpose::Test, number, 0).fill_normal(&mut values);
    let keys = (0..images).map(|_| [0u8; 32]).collect();
    let rows = FeatureRows { images: keys, parts: 1, dimension: DIMENSION, values };
    Ok(rows.to_arrow(RowPrecision::F16, "bench")?)
}

#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Row(#[from] RowError),
}

fn scores() -> Result<Value> {
    const IMAGES: usize = 50_000;
    const QUERIES: usize = 100;
    // As the store has them.
    const PER_FILE: usize = 64;
    let files: Vec<Buffer> = (0..IMAGES.div_ceil(PER_FILE))
        .map(|number| Ok(file(PER_FILE.min(IMAGES - number * PER_FILE), number as u32)?.into()))
        .collect::<Result<_>>()?;
    let read = |images: Range<usize>| -> std::result::Result<FeatureBlock, BenchError> {
        let first = images.start / PER_FILE;
        let opened = files[first..images.end.div_ceil(PER_FILE)]
            .iter()
            .map(|file| FeatureFile::open(file.clone(), "bench", "bench", 1, DIMENSION));
        let opened: Vec<FeatureFile> = opened.collect::<std::result::Result<_, RowError>>()?;
        let places = images.map(|image| (image / PER_FILE - first, image % PER_FILE)).collect();
        Ok(FeatureBlock::kept(opened, places, vec![0]))
    };
    let decoded: Vec<f32> = read(0..IMAGES)?.into_values();
    let from_memory = |images: Range<usize>| -> std::result::Result<FeatureBlock, BenchError> {
        Ok(decoded[images.start * DIMENSION..images.end * DIMENSION].to_vec().into())
    };
    let mut queries = vec![0.0f32; QUERIES * DIMENSION];
    Stream::new(3, Purpose::Test, 0, 0).fill_normal(&mut queries);
    let operations = 2.0 * (IMAGES * DIMENSION * QUERIES) as f64;
    let (mut stored, mut in_memory, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let rows = ImageRows { images: IMAGES, dimension: DIMENSION, read: &read };
        let begin = Instant::now();
        black_box(products(&rows, 0..IMAGES, &queries)?);
        let from_store = begin.elapsed().as_secs_f64();
        let rows = ImageRows { images: IMAGES, dimension: DIMENSION, read: &from_memory };
        let begin = Instant::now();
        black_box(products(&rows, 0..IMAGES, &queries)?);
        let memory = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let done = multiply_adds_in_registers(50_000_000);
        let peak = done / begin.elapsed().as_secs_f64();
        if round > 0 {
            stored.push(from_store);
            in_memory.push(memory);
            peaks.push(peak);
        }
    }
    let (stored, in_memory, peak) = (median(stored), median(in_memory), median(peaks));
    Ok(json!({
        "images": IMAGES, "queries": QUERIES, "dimension": DIMENSION,
        "seconds_from_f16_files": stored,
        "seconds_from_f32_in_memory": in_memory,
        "gflops_from_f16_files": operations / stored / 1e9,
        "gflops_from_f32_in_memory": operations / in_memory / 1e9,
        "gflops_in_registers": peak / 1e9,
        "share_of_peak_from_f16_files": operations / stored / peak,
        "share_of_peak_from_f32_in_memory": operations / in_memory / peak,
    }))
}

fn kernel() -> Result<Value> {
    const IMAGES: usize = 5_000;
    let dimension = 6_000;
    let mut values = vec![0.0f32; IMAGES * dimension];
    Stream::new(4, Purpose::Test, 0, 0).fill_normal(&mut values);
    let read = |images: Range<usize>| -> std::result::Result<FeatureBlock, BenchError> {
        Ok(values[images.start * dimension..images.end * dimension].to_vec().into())
    };
    let begin = Instant::now();
    let kernel = Kernel::new(ImageRows { images: IMAGES, dimension, read: &read })?;
    let seconds = begin.elapsed().as_secs_f64();
    black_box(kernel.damping()?);
    Ok(json!({ "images": IMAGES, "seconds_with_the_products": seconds }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
