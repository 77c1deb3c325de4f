//! Attribution by gradients of an imported network: features of training images and samples, shard by shard, and scores.
//!
//! A feature follows from the network, the image and what the recipe's `gradients` says, so shards can be made in any order
//! and again. What is kept of an image is its projected gradient, and methods that measure the same share it.

use super::analyse::{Members, SAMPLES_PER_SHARD, ensemble_fingerprint, shard_count, shard_samples};
use super::imported;
use super::train::{npy, open_member};
use super::workspace::{Workspace, fingerprint_of_computed};
use crate::error::ProgramError;
use crate::progress::Progress;
use crate::stages::data::open_images;
use anyhow::Result;
use pentimento_attribution::gradient::{
    Comparison, Draws, FeatureExtractor, Features, Kernel, Measurement, Method, SparseProjection, dot_scores,
};
use pentimento_data::{PreparedSet, prepare};
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_store::Fingerprint;

/// Training images of a shard of features; 64 features of 2048 values are half a megabyte.
const IMAGES_PER_SHARD: usize = 64;

/// Most images whose kernel is decomposed: the time grows with the cube of their number, 5,000 take minutes.
const MOST_IMAGES_OF_A_KERNEL: usize = 20_000;

/// The training images of an imported network.
pub struct TrainingImages {
    /// As the network takes them.
    pub images: PreparedSet,
    /// Names of the classes, by label.
    pub class_names: Vec<String>,
}

impl TrainingImages {
    /// Opens and prepares the images that a recipe names.
    ///
    /// # Errors
    ///
    /// [`ProgramError::RecipeValue`] if it names none, or they do not fit the network; as reading and preparing.
    pub fn open(workspace: &Workspace) -> Result<Self> {
        let (recipe, from) = (&workspace.recipe, workspace.options.data_from.as_deref());
        let architecture = imported::architecture(workspace)?;
        let (shape, classes) = (image_shape(workspace)?, architecture.config().classes());
        if !recipe.data.has_source() {
            return Err(ProgramError::RecipeValue {
                file: "recipe".into(),
                field: "data".into(),
                value: "without a source".into(),
                bound: "attribution needs the training images: import the checkpoint again with `--set data.set=NAME` or \
                        `--set data.path=PATH`"
                    .into(),
            }
            .into());
        }
        let (source, class_names) = open_images(&recipe.data, recipe.data.preprocessing.split, from)?;
        let images = prepare(source.as_ref(), &recipe.data.preprocessing)?;
        let found = [images.height(), images.width(), images.channels()];
        if found != shape {
            let text =
                |[height, width, channels]: [usize; 3]| format!("{height}x{width} with {channels} channels");
            return Err(ProgramError::RecipeValue {
                file: "recipe".into(),
                field: "data".into(),
                value: format!("images of {}", text(found)),
                bound: format!("the network takes {}; `data.preprocessing` brings them to it", text(shape)),
            }
            .into());
        }
        if let Some(classes) = classes {
            let broken = |value: String, bound: String| {
                let (file, field) = ("recipe".into(), "data".into());
                ProgramError::RecipeValue { file, field, value, bound }
            };
            if source.labels().is_none() {
                let bound =
                    "the network was trained with classes, so it needs the class of every image".into();
                return Err(broken("images without labels".into(), bound).into());
            }
            let place = images.labels().iter().position(|&label| label >= classes);
            if let Some((index, label)) =
                place.map(|place| (images.source_indices()[place], images.labels()[place]))
            {
                let bound = format!("the network knows classes 0 to {}", classes - 1);
                return Err(broken(format!("label {label} of image {index}"), bound).into());
            }
        }
        Ok(Self { images, class_names })
    }
}

/// Scores of every sample and training image by one method.
pub struct Scores {
    /// The method.
    pub method: Method,
    /// `[samples][training images]`; larger = training on the image helped more to make the sample.
    pub scores: Vec<Vec<f64>>,
    /// The damping, for methods that have one.
    pub damping: Option<f64>,
    /// How many directions of the features the damping leaves.
    pub degrees_of_freedom: Option<f64>,
    /// Identifies them.
    pub fingerprint: Fingerprint,
}

/// What is kept of an image for a method: the name of its folder.
fn feature_kind(method: Method) -> &'static str {
    match (method.measurement, method.unit_length) {
        (Measurement::Loss, false) => "loss",
        (Measurement::Loss, true) => "loss-unit-length",
        (Measurement::Square, false) => "square",
        (Measurement::Square, true) => "square-unit-length",
        (Measurement::Mean, false) => "mean",
        (Measurement::Mean, true) => "mean-unit-length",
    }
}

/// Makes the features that are missing, and the scores from all of them.
///
/// # Errors
///
/// [`ProgramError::Stopped`] on Ctrl-C, finished shards are kept; if the images do not fit, or are too many for a kernel.
pub fn score(workspace: &Workspace, training: &TrainingImages, method: Method) -> Result<Scores> {
    let images = &training.images;
    if method.comparison == Comparison::InverseKernel && images.len() > MOST_IMAGES_OF_A_KERNEL {
        return Err(ProgramError::RecipeValue {
            file: "recipe".into(),
            field: "data".into(),
            value: format!("{} images", images.len()),
            bound: format!(
                "at most {MOST_IMAGES_OF_A_KERNEL} for a method with a kernel; `tracin` and `retrac` take any number, \
                 `data.preprocessing.first_per_class` takes fewer images"
            ),
        }
        .into());
    }
    let work = Work::open(workspace, method)?;
    let trained = images.len().div_ceil(IMAGES_PER_SHARD);
    let samples = workspace.recipe.samples.count;
    let progress = Progress::new(method.name, (images.len() + samples) as u64, 0);
    let (mut of_images, mut of_samples, mut made_from) = (Vec::new(), Vec::new(), Fingerprint::of("scores"));
    for shard in 0..trained {
        let range = shard * IMAGES_PER_SHARD..((shard + 1) * IMAGES_PER_SHARD).min(images.len());
        let ids: Vec<String> = range.clone().map(|index| images.ids()[index].to_string()).collect();
        let labels = work.knows_classes().then(|| &images.labels()[range.clone()]);
        let key = work.fingerprint()?.json(&ids)?.json(&labels)?.finish();
        made_from = made_from.fingerprint(key);
        let of_image = |place: usize| {
            let index = range.start + place;
            let name = format!("{} of the training set", images.source_indices()[index]);
            (images.scaled(index), Some(images.labels()[index]), name)
        };
        let name = format!("features/{}/images-{shard:05}.safetensors", feature_kind(method));
        of_images.extend(work.shard(&name, key, range.len(), of_image, |done| {
            progress.set((range.start + done) as u64, "training images");
        })?);
    }
    for shard in 0..shard_count(samples) {
        let ids = shard_samples(shard, samples);
        let values = read_samples(workspace, shard)?;
        let key = work.fingerprint()?.fingerprint(work.ensemble).json(&ids)?.finish();
        made_from = made_from.fingerprint(key);
        let length = values.len() / ids.len().max(1);
        let of_sample = |place: usize| {
            // As whoever looks at it sees it.
            let clamped =
                values[place * length..(place + 1) * length].iter().map(|value| value.clamp(-1.0, 1.0));
            (clamped.collect(), workspace.recipe.samples.class, format!("sample {}", ids[place]))
        };
        let name = format!("features/{}/samples-{shard:05}.safetensors", feature_kind(method));
        of_samples.extend(work.shard(&name, key, ids.len(), of_sample, |done| {
            progress.set((images.len() + shard * SAMPLES_PER_SHARD + done) as u64, "samples");
        })?);
    }
    progress.finish(&format!("{} images and {samples} samples", images.len()));

    let dimension = workspace.recipe.gradients.dimension;
    let (images, queries) = (Features::new(of_images, dimension)?, Features::new(of_samples, dimension)?);
    let given = workspace.recipe.gradients.damping;
    let fingerprint = made_from.text(method.name).json(&given)?.finish();
    Ok(match method.comparison {
        Comparison::Dot => Scores {
            method,
            scores: dot_scores(&queries, &images)?,
            damping: None,
            degrees_of_freedom: None,
            fingerprint,
        },
        Comparison::InverseKernel => {
            let kernel = Kernel::new(images)?;
            let damping = given.map_or_else(|| kernel.damping(), Ok)?;
            Scores {
                method,
                scores: kernel.scores(&queries, damping)?,
                damping: Some(damping),
                degrees_of_freedom: Some(kernel.degrees_of_freedom(damping)),
                fingerprint,
            }
        }
    })
}

/// The network with what a method measures, ready to take features.
struct Work<'a> {
    workspace: &'a Workspace,
    method: Method,
    ensemble: Fingerprint,
    size: [usize; 2],
    architecture: pentimento_diffusion::unet::Architecture,
    draws: Draws,
    projection: SparseProjection,
}

impl<'a> Work<'a> {
    fn open(workspace: &'a Workspace, method: Method) -> Result<Self> {
        let recipe = &workspace.recipe;
        let architecture = imported::architecture(workspace)?;
        let size = imported::image_size(&architecture)?;
        let length = size[0] * size[1] * architecture.config().in_channels;
        let settings = recipe.gradients;
        Ok(Self {
            workspace,
            method,
            ensemble: ensemble_fingerprint(workspace, Members::Imported)?,
            size,
            draws: Draws::evenly(&recipe.schedule, settings.timesteps, length, recipe.seed),
            projection: SparseProjection::new(
                architecture.parameter_count(),
                settings.dimension,
                recipe.seed,
            ),
            architecture,
        })
    }

    /// Whether the network is told the class of an image.
    fn knows_classes(&self) -> bool {
        self.architecture.config().classes().is_some()
    }

    /// What every feature follows from, but for the image.
    fn fingerprint(&self) -> Result<pentimento_store::FingerprintBuilder> {
        let recipe = &self.workspace.recipe;
        let settings = recipe.gradients;
        let mut key = fingerprint_of_computed("features").text(&self.architecture.config().to_json());
        for (_, digest) in imported::weights(self.workspace)? {
            key = key.bytes(digest.as_bytes());
        }
        Ok(key
            .json(&recipe.schedule)?
            .json(&recipe.data.preprocessing)?
            .json(&(settings.timesteps, settings.dimension, recipe.seed))?
            .text(feature_kind(self.method)))
    }

    /// The features of a shard, made if they are not there.
    fn shard(
        &self,
        name: &str,
        key: Fingerprint,
        count: usize,
        image: impl Fn(usize) -> (Vec<f32>, Option<u32>, String),
        show: impl Fn(usize),
    ) -> Result<Vec<f32>> {
        let dimension = self.projection.dimension();
        if self.workspace.run.is_current(name, key) {
            let bytes = self.workspace.run.get(name)?;
            let arrays = ArrayReader::new(&bytes, name)?;
            arrays.expect_shape("feature", &[count, dimension])?;
            show(count);
            return Ok(arrays.finite_f32("feature")?);
        }
        let (weights, _) = imported::weights(self.workspace)?.swap_remove(0);
        let extractor = FeatureExtractor::new(
            &self.architecture,
            open_member(self.workspace, &self.architecture, &weights)?,
            &self.workspace.recipe.schedule,
            self.method.measurement,
            self.draws.clone(),
            self.method.unit_length,
        );
        let mut features = Vec::with_capacity(count * dimension);
        for place in 0..count {
            self.workspace.stop.check()?;
            let (values, class, name) = image(place);
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let class = class.filter(|_| self.knows_classes());
            let gradient = extractor.gradient::<f32>(&values, self.size, class, &name)?;
            features.extend(self.projection.project(&gradient));
            show(place + 1);
        }
        let mut arrays = ArrayWriter::default();
        arrays.put_f32("feature", &[count, dimension], &features);
        self.workspace.run.put(name, key, &arrays.to_bytes(name, None)?)?;
        Ok(features)
    }
}

/// The values of a shard of samples, `[samples, image]`, not clamped.
fn read_samples(workspace: &Workspace, shard: usize) -> Result<Vec<f32>> {
    let name = format!("samples/shard-{shard:05}.safetensors");
    let bytes = workspace.run.get(&name)?;
    Ok(ArrayReader::new(&bytes, &name)?.f32("image")?)
}

/// The samples of a run, clamped, `[samples][image]`.
///
/// # Errors
///
/// If one is missing or damaged.
pub fn samples(workspace: &Workspace, length: usize) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::new();
    for shard in 0..shard_count(workspace.recipe.samples.count) {
        let values = read_samples(workspace, shard)?;
        let clamped = |image: &[f32]| image.iter().map(|value| value.clamp(-1.0, 1.0)).collect();
        all.extend(values.chunks_exact(length).map(clamped));
    }
    Ok(all)
}

/// Cosines of the pixels of every sample and training image: likeness without any network, to hold scores against.
pub fn pixel_cosines(samples: &[Vec<f32>], images: &PreparedSet) -> Vec<Vec<f64>> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let images: Vec<Vec<f32>> = (0..images.len()).map(|index| images.scaled(index)).collect();
    let lengths: Vec<f64> = images.iter().map(|image| dot(image, image).sqrt()).collect();
    samples
        .iter()
        .map(|sample| {
            let length = dot(sample, sample).sqrt();
            let cosine = |(image, of_image): (&Vec<f32>, &f64)| match length * of_image {
                0.0 => 0.0,
                both => dot(sample, image) / both,
            };
            images.iter().zip(&lengths).map(cosine).collect()
        })
        .collect()
}

/// The positions of the largest scores, ties by position.
pub fn top(scores: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(count);
    order
}

/// Writes `scores/METHOD.npy`, `[samples, training images]` f32, and `scores/METHOD.json`, what its axes are. Returns the
/// name of the first.
///
/// # Errors
///
/// As writing to the run.
pub fn write_scores(workspace: &Workspace, training: &TrainingImages, scores: &Scores) -> Result<String> {
    let Scores { method, scores: values, damping, degrees_of_freedom, fingerprint } = scores;
    let file = format!("scores/{}.npy", method.name);
    let settings = workspace.recipe.gradients;
    let axes = serde_json::json!({
        "method": method.name,
        "title": method.title,
        "value": match method.measurement {
            Measurement::Loss => "larger = training on the image helped more to make the sample",
            // Of other functions than the loss, a step of training has no direction by itself.
            Measurement::Square | Measurement::Mean => {
                "larger = training on the image is held to have helped more to make the sample; the sign is the \
                 convention of the method's authors, not derived from a step of training"
            }
        },
        "damping": damping,
        "degrees_of_freedom": degrees_of_freedom,
        "timesteps": settings.timesteps,
        "projection_dimension": settings.dimension,
        "axes": ["sample", "training_image"],
        "sample": (0..values.len()).collect::<Vec<_>>(),
        "training_image": training.images.source_indices(),
    });
    let flat: Vec<f32> = values.iter().flatten().map(|&value| value as f32).collect();
    let array = npy(&[values.len() as u64, training.images.len() as u64], &flat)?;
    let described = (format!("scores/{}.json", method.name), serde_json::to_vec(&axes)?);
    workspace.run.put_many([(file.clone(), array), described], *fingerprint)?;
    Ok(file)
}

/// Height, width and channels that the imported network takes.
///
/// # Errors
///
/// As opening it.
pub fn image_shape(workspace: &Workspace) -> Result<[usize; 3]> {
    let architecture = imported::architecture(workspace)?;
    let [height, width] = imported::image_size(&architecture)?;
    Ok([height, width, architecture.config().in_channels])
}
