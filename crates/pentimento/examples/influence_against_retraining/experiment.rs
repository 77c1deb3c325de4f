//! The network, the images, the removals, and what is computed of them.

use anyhow::{Context, Result, ensure};
use pentimento_attribution::curvature::{
    BlockBasis, Curvature, CurvatureDraw, CurvatureError, CurvaturePart, CurvaturePass, EigenvalueSums,
    FactorSums, ImageRecords, WeightSharing, bases, curvature_draws, losses,
};
use pentimento_attribution::gradient::{
    DrawPlan, FeatureExtractor, Measurement, NoiseSharing, TimestepShares, side_by_side,
};
use pentimento_data::{
    FetchOptions, PreparedSet, Preprocessing, PublicSet, Resize, ResizeFilter, Split, default_cache_dir,
    fetch, prepare,
};
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::training::{LearningRateDecay, Trainer, TrainingConfig, TrainingImages};
use pentimento_diffusion::unet::{Architecture, Parameters, UnetConfig};
use pentimento_noise::{Purpose, Stream};
use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

const SIDE: usize = 8;
const PER_CLASS: usize = 20;
const CLASSES: usize = 10;
const SEED: u64 = 9;
/// Queries: this many training images, and as many that were not trained on.
const QUERIES_OF_A_KIND: usize = 10;
const SINGLE_IMAGES: usize = 20;
const RANDOM_GROUPS: usize = 20;
const IMAGES_OF_A_GROUP: usize = 20;
/// Draws of each image for the factors, and as many for the eigenvalues.
const CURVATURE_DRAWS: usize = 48;

/// Images that are left out.
pub struct Removal {
    pub name: String,
    pub kind: &'static str,
    pub images: Vec<usize>,
}

impl Removal {
    pub const KINDS: [&str; 3] = ["single images", "random groups", "classes"];
}

/// A trained network, and the loss of each query.
pub struct Base {
    values: Vec<Vec<f32>>,
    pub losses: Vec<f64>,
}

/// Gradients of the loss: of queries and of training images.
pub struct Gradients {
    queries: Vec<Vec<f32>>,
    images: Vec<Vec<f32>>,
}

pub struct Experiment {
    folder: PathBuf,
    architecture: Architecture,
    schedule: ScheduleConfig,
    training: TrainingConfig,
    images: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
    removals: Vec<Removal>,
}

impl Experiment {
    pub fn new(folder: &Path, steps: usize) -> Result<Self> {
        let config = serde_json::json!({
            "sample_size": SIDE, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "norm_num_groups": 4,
            "block_out_channels": [8], "add_attention": false,
            "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
        });
        let architecture = Architecture::new(&UnetConfig::from_json(&config.to_string(), "the network")?.0)?;
        let training = TrainingConfig {
            steps,
            batch: 32,
            learning_rate: 2e-3,
            warmup_steps: 100,
            decay: LearningRateDecay::Cosine,
            replacement: true,
            ..TrainingConfig::default()
        };
        let set = fetch(PublicSet::Mnist, &FetchOptions::new(default_cache_dir()?), &mut |_| {})?;
        let resize = Some(Resize { height: SIDE, width: SIDE, filter: ResizeFilter::Box });
        let prepared = |split, per_class| -> Result<PreparedSet> {
            let preprocessing =
                Preprocessing { first_per_class: Some(per_class), resize, ..Preprocessing::default() };
            Ok(prepare(&set.open(split)?, &preprocessing)?)
        };
        let train = prepared(Split::Train, PER_CLASS)?;
        let held_out = prepared(Split::Test, QUERIES_OF_A_KIND.div_ceil(CLASSES))?;
        let images: Vec<Vec<f32>> = (0..train.len()).map(|index| train.scaled(index)).collect();
        let of_training = |index: usize| images[index * images.len() / QUERIES_OF_A_KIND].clone();
        let mut queries: Vec<Vec<f32>> = (0..QUERIES_OF_A_KIND).map(of_training).collect();
        queries.extend((0..QUERIES_OF_A_KIND).map(|index| held_out.scaled(index)));
        let removals = removals(train.labels());
        Ok(Self {
            folder: folder.into(),
            architecture,
            schedule: ScheduleConfig::default(),
            training,
            images,
            queries,
            removals,
        })
    }

    pub fn parameters(&self) -> usize {
        self.architecture.parameter_count()
    }

    pub fn removals(&self) -> &[Removal] {
        &self.removals
    }

    pub fn learning_rates(&self) -> f64 {
        (0..self.training.steps).map(|step| self.training.learning_rate_at(step)).sum()
    }

    pub fn batch(&self) -> usize {
        self.training.batch
    }

    pub fn outputs(&self) -> usize {
        SIDE * SIDE
    }

    /// The draws at which losses of queries and their gradients are taken.
    fn draws(&self) -> Vec<Draw> {
        self.draws_of(SEED, 0, 100)
    }

    /// Training images have draws of their own: noise that they shared with a query would pass for influence.
    fn draws_of(&self, seed: u64, image: u32, timesteps: usize) -> Vec<Draw> {
        let sharing = NoiseSharing::PerImage;
        let plan =
            DrawPlan { timesteps, groups: 4, antithetic: false, sharing, shares: TimestepShares::EVEN, seed };
        (0..plan.groups).flat_map(|group| plan.draws(&self.schedule, group, SIDE * SIDE, image)).collect()
    }

    fn network(&self, values: &[Vec<f32>]) -> Parameters {
        Parameters::from_memory::<f32>(&self.architecture, values.to_vec())
    }

    /// Trains without some images: their places in the batches go to others, drawn anew each time.
    fn train(&self, removed: &[usize]) -> Result<Vec<Vec<f32>>> {
        let mut trainer = Trainer::new(self.architecture.clone(), &self.schedule, self.training, SEED, 0)?;
        let kept: Vec<usize> = (0..self.images.len()).filter(|image| !removed.contains(image)).collect();
        let (replaced, others) = (AtomicU64::new(0), Stream::new(SEED, Purpose::Test, 1, 0));
        let read = |index: usize, image: &mut [f32]| {
            let index = match removed.contains(&index) {
                true => {
                    let number = replaced.fetch_add(1, Ordering::Relaxed);
                    kept[others.below(number, kept.len() as u64) as usize]
                }
                false => index,
            };
            image.copy_from_slice(&self.images[index]);
        };
        let set = TrainingImages { count: self.images.len(), shape: [SIDE, SIDE, 1], read: &read };
        while !trainer.is_finished() {
            trainer.train_step(&set)?;
        }
        Ok(trainer.member().to_vec())
    }

    fn losses(&self, values: &[Vec<f32>]) -> Vec<f64> {
        let (network, draws) = (self.network(values), self.draws());
        let of = |image: &Vec<f32>| {
            let losses =
                losses(&self.architecture, &network, &self.schedule, image, [SIDE, SIDE], None, &draws);
            losses.iter().sum::<f64>() / losses.len() as f64
        };
        self.queries.iter().map(of).collect()
    }

    /// The network that was trained on all images; from the folder, if it is there.
    pub fn base(&self) -> Result<Base> {
        let file = self.folder.join(format!("base-{}.f32", self.training.steps));
        let values = match std::fs::read(&file) {
            Ok(bytes) => {
                let mut values = bytes
                    .chunks_exact(4)
                    .map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]));
                let specs = self.architecture.parameters().iter();
                specs.map(|spec| values.by_ref().take(spec.len()).collect()).collect()
            }
            Err(_) => {
                let values = one_thread(|| self.train(&[]))?;
                let bytes: Vec<u8> = values.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
                std::fs::write(&file, bytes)?;
                values
            }
        };
        let losses = self.losses(&values);
        Ok(Base { values, losses })
    }

    /// The change of each query's loss after training without each removal, `[removals][queries]`.
    pub fn retrained(&self, base: &Base) -> Result<Vec<Vec<f64>>> {
        let path = self.folder.join(format!("losses-{}.csv", self.training.steps));
        let mut known: HashMap<String, Vec<f64>> = HashMap::new();
        for line in std::fs::read_to_string(&path).unwrap_or_default().lines() {
            let mut fields = line.split(',');
            let name = fields.next().unwrap_or_default().to_owned();
            let losses: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
            if losses.len() == self.queries.len() {
                known.insert(name, losses);
            }
        }
        let missing: Vec<&Removal> =
            self.removals.iter().filter(|removal| !known.contains_key(&removal.name)).collect();
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
        let (file, known) = (Mutex::new(file), Mutex::new(known));
        side_by_side(missing.len(), |index| -> Result<()> {
            let removal = missing[index];
            let losses = self.losses(&self.train(&removal.images)?);
            let fields: Vec<String> = losses.iter().map(|loss| format!("{loss:e}")).collect();
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(file, "{},{}", removal.name, fields.join(","))?;
            eprintln!("{}: {} of {}", removal.name, index + 1, missing.len());
            known.lock().unwrap_or_else(PoisonError::into_inner).insert(removal.name.clone(), losses);
            Ok(())
        })?;
        let known = known.into_inner().unwrap_or_else(PoisonError::into_inner);
        let change = |removal: &Removal| {
            let losses = known.get(&removal.name).context("every removal was trained")?;
            Ok(losses.iter().zip(&base.losses).map(|(after, before)| after - before).collect())
        };
        self.removals.iter().map(change).collect()
    }

    /// Bases, sums for the eigenvalues, and the mean loss over the draws, of all training images.
    pub fn curvature(&self, base: &Base) -> Result<(Vec<BlockBasis>, EigenvalueSums, f64)> {
        let pass =
            CurvaturePass::new(&self.architecture, self.network(&base.values), &self.schedule, [SIDE, SIDE]);
        let records = |part, image: usize| -> Result<Vec<ImageRecords>, CurvatureError> {
            let length = SIDE * SIDE;
            let draws = curvature_draws(&self.schedule, SEED, part, CURVATURE_DRAWS, image as u32, length);
            let of =
                |draws: &[CurvatureDraw]| pass.records(&self.images[image], None, draws, "a training image");
            draws.chunks(pass.draws_at_once()).map(of).collect()
        };
        let mut factors = FactorSums::new(&self.architecture, WeightSharing::Expand);
        for image in 0..self.images.len() {
            factors.add(&records(CurvaturePart::Factors, image)?)?;
        }
        let mean_loss = factors.mean_loss();
        let bases = bases(factors)?;
        let mut squares = EigenvalueSums::new(&bases, (CURVATURE_DRAWS * self.images.len()) as u64);
        for image in 0..self.images.len() {
            squares.add(&bases, &records(CurvaturePart::Eigenvalues, image)?)?;
        }
        Ok((bases, squares, mean_loss))
    }

    pub fn gradients(&self, base: &Base) -> Result<Gradients> {
        let extractor = FeatureExtractor::new(
            &self.architecture,
            self.network(&base.values),
            &self.schedule,
            Measurement::Loss,
            false,
        );
        let draws = self.draws();
        let gradient = |image: &[f32], draws: &[Draw]| {
            extractor.gradient::<f32>(image, [SIDE, SIDE], None, draws, "an image")
        };
        let queries = side_by_side(self.queries.len(), |index| gradient(&self.queries[index], &draws))?;
        let images = side_by_side(self.images.len(), |index| {
            gradient(&self.images[index], &self.draws_of(SEED + 1, index as u32, 250))
        })?;
        Ok(Gradients { queries, images })
    }

    /// The predicted change of each query's loss, `[removals][queries]`.
    pub fn predicted(
        &self,
        gradients: &Gradients,
        curvature: &Curvature,
        dampings: &[f64],
    ) -> Result<Vec<Vec<f64>>> {
        let solved: Vec<Vec<f32>> = gradients
            .queries
            .iter()
            .map(|gradient| curvature.solve(gradient, dampings))
            .collect::<Result<_, _>>()?;
        ensure!(solved.len() == self.queries.len(), "a gradient for each query");
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let of = |removal: &Removal| {
            let change = |query: &Vec<f32>| {
                let sum: f64 = removal.images.iter().map(|&image| dot(query, &gradients.images[image])).sum();
                sum / self.images.len() as f64
            };
            solved.iter().map(change).collect()
        };
        Ok(self.removals.iter().map(of).collect())
    }
}

/// Works in a pool of one thread, as retraining does, so that both see the same order of sums and replacements.
fn one_thread<R: Send>(work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    rayon::ThreadPoolBuilder::new().num_threads(1).build()?.install(work)
}

fn removals(labels: &[u32]) -> Vec<Removal> {
    let count = labels.len();
    let single = |index: usize| {
        let image = index * count / SINGLE_IMAGES;
        Removal { name: format!("image {image}"), kind: Removal::KINDS[0], images: vec![image] }
    };
    let group = |index: usize| {
        let mut order: Vec<usize> = (0..count).collect();
        let stream = Stream::new(SEED, Purpose::Test, 2, index as u32);
        order.sort_by_key(|&image| stream.below(image as u64, u64::MAX));
        order.truncate(IMAGES_OF_A_GROUP);
        Removal { name: format!("group {index}"), kind: Removal::KINDS[1], images: order }
    };
    let class = |class: usize| {
        let images = (0..count).filter(|&image| labels[image] as usize == class).collect();
        Removal { name: format!("class {class}"), kind: Removal::KINDS[2], images }
    };
    (0..SINGLE_IMAGES)
        .map(single)
        .chain((0..RANDOM_GROUPS).map(group))
        .chain((0..CLASSES).map(class))
        .collect()
}
