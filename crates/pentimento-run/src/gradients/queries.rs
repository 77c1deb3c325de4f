//! The images that are asked about.

use super::featuring::{ImageDraws, Item};
use super::row_key::{noise_id, row_key};
use super::subject::Subject;
use crate::analyse::{Ensemble, Sampling, sample, shard_count, shard_samples};
use crate::data::open_path;
use crate::error::{MadeBy, Result, RunError};
use crate::piece::missing;
use pentimento_attribution::gradient::{GradientMethod, QueryInput, RowKey, journeys};
use pentimento_data::{Colours, Split, prepare};
use pentimento_diffusion::arrays::ArrayReader;
use pentimento_diffusion::denoising::Draw;
use pentimento_store::Digest;
use std::path::PathBuf;
use std::str::FromStr;

/// Whom a person asks about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QuerySet {
    /// The samples of the run.
    #[default]
    Samples,
    /// Training images, by their position in the source.
    TrainingImages(Vec<usize>),
    /// The images of a folder or file.
    Path(PathBuf),
}

impl FromStr for QuerySet {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "samples" {
            return Ok(Self::Samples);
        }
        let numbers: Result<Vec<usize>, _> = text.split(',').map(|number| number.trim().parse()).collect();
        Ok(numbers.map_or_else(|_| Self::Path(text.into()), Self::TrainingImages))
    }
}

impl QuerySet {
    /// Refuses a method that needs samples, before anything is computed.
    ///
    /// # Errors
    ///
    /// [`RunError::OtherUse`] for the journey of an image that was not generated.
    pub fn check(&self, method: GradientMethod) -> Result<(), RunError> {
        if method.query == QueryInput::Journey && *self != Self::Samples {
            return Err(RunError::OtherUse {
                method: method.name.into(),
                problem: "follows the steps in which an image was made, and these are known of samples of the run only".into(),
            });
        }
        Ok(())
    }
}

/// An image that is asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What tables call it: `3` for sample 3, an image's position or key.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// `[height, width, channels]` in [-1, 1].
    pub image: Vec<f32>,
    /// Its class, for networks that are told.
    pub class: Option<u32>,
}

/// The images of a set, opened once for all methods.
#[derive(Clone, Debug)]
pub struct Queries {
    /// Whom the person asked about.
    pub set: QuerySet,
    /// Its images.
    pub images: Vec<Query>,
}

impl std::fmt::Display for QuerySet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Samples => formatter.write_str("samples"),
            Self::TrainingImages(positions) => {
                let positions: Vec<String> = positions.iter().map(ToString::to_string).collect();
                formatter.write_str(&positions.join(","))
            }
            Self::Path(path) => write!(formatter, "{}", path.display()),
        }
    }
}

impl QuerySet {
    /// The name under which its scores are kept.
    pub fn name(&self) -> String {
        let of = |text: &str| Digest::of(text.as_bytes()).to_string()[..8].to_owned();
        match self {
            Self::Samples => "samples".into(),
            Self::TrainingImages(positions) => format!("images-{}", of(&format!("{positions:?}"))),
            Self::Path(path) => {
                let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                format!("path-{}", of(&path.display().to_string()))
            }
        }
    }

    /// The images themselves; samples are made if they are not there.
    ///
    /// # Errors
    ///
    /// As sampling and [`open`](Self::open).
    pub fn make_and_open(self, subject: &Subject<'_>) -> Result<Queries> {
        if self == Self::Samples {
            sample(subject.workspace, subject.networks)?;
        }
        self.open(subject)
    }

    /// The images themselves.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`] for samples that are not made; if there is no such image, or it does not fit the network.
    pub fn open(self, subject: &Subject<'_>) -> Result<Queries> {
        let images = match &self {
            Self::Samples => samples(subject),
            Self::TrainingImages(positions) => training_images(subject, positions),
            Self::Path(path) => images_of(subject, path),
        }?;
        Ok(Queries { set: self, images })
    }
}

fn samples(subject: &Subject<'_>) -> Result<Vec<Query>> {
    let workspace = subject.workspace;
    if !missing(&Sampling::new(workspace, subject.networks), &workspace.run)?.is_empty() {
        return Err(workspace.missing("the samples".into(), MadeBy::Sampling));
    }
    let count = workspace.recipe.samples.count;
    let length = subject.shape().iter().product();
    let mut queries = Vec::new();
    for shard in 0..shard_count(count) {
        let name = format!("samples/shard-{shard:05}.safetensors");
        let bytes = workspace.run.get(&name)?;
        let values = ArrayReader::new(&bytes, &name)?.f32("image")?;
        for (id, image) in shard_samples(shard, count).into_iter().zip(values.chunks_exact(length)) {
            queries.push(Query {
                name: id.to_string(),
                title: format!("sample {id}"),
                // As whoever looks at it sees it.
                image: image.iter().map(|value| value.clamp(-1.0, 1.0)).collect(),
                class: workspace.recipe.samples.class,
            });
        }
    }
    Ok(queries)
}

fn training_images(subject: &Subject<'_>, positions: &[usize]) -> Result<Vec<Query>> {
    let images = &subject.training.images;
    let query = |&position: &usize| {
        let index =
            images.source_indices().iter().position(|&source| source == position).ok_or_else(|| {
                RunError::NoSuch {
                    what: "training image".into(),
                    value: position.to_string(),
                    bound: format!(
                        "the run has {} training images, at positions {} to {} of their source",
                        images.len(),
                        images.source_indices().iter().min().copied().unwrap_or_default(),
                        images.source_indices().iter().max().copied().unwrap_or_default()
                    ),
                }
            })?;
        Ok(Query {
            name: position.to_string(),
            title: format!("training image {position}"),
            image: images.scaled(index),
            class: subject.knows_classes().then(|| images.labels()[index]),
        })
    };
    positions.iter().map(query).collect()
}

fn images_of(subject: &Subject<'_>, path: &std::path::Path) -> Result<Vec<Query>> {
    let recipe = &subject.workspace.recipe;
    let shape = subject.shape();
    let default = Colours::default();
    let colours = Colours {
        channels: recipe.data.channels,
        background: recipe.data.background.unwrap_or(default.background),
    };
    let source = open_path(path, Split::Train, colours, subject.workspace.reporter())?;
    let mut preprocessing = recipe.data.preprocessing.clone();
    // These choose among training images.
    (preprocessing.classes, preprocessing.first_per_class, preprocessing.first) = (None, None, None);
    let images = prepare(&source, &preprocessing)?;
    let found = [images.height(), images.width(), images.channels()];
    let broken = |value: String, bound: String| RunError::RecipeValue {
        file: path.display().to_string(),
        field: "the images".into(),
        value,
        bound,
    };
    if found != shape {
        let text =
            |[height, width, channels]: [usize; 3]| format!("{height}x{width} with {channels} channels");
        let bound = format!("the network takes {}; the run's preprocessing was applied to them", text(shape));
        return Err(broken(text(found), bound));
    }
    let class_of = |index: usize| -> Result<Option<u32>, RunError> {
        let Some(classes) = subject.networks.architecture.config().classes() else { return Ok(None) };
        let label = pentimento_data::ImageSource::labels(&source).map(|_| images.labels()[index]);
        match label.or(recipe.samples.class) {
            Some(class) if class < classes => Ok(Some(class)),
            Some(class) => Err(broken(
                format!("of class {class}"),
                format!("the network knows classes 0 to {}", classes - 1),
            )),
            None => Err(broken(
                "without classes".into(),
                "the network was trained with classes: put the images into folders of classes, or name `samples.class`"
                    .into(),
            )),
        }
    };
    (0..images.len())
        .map(|index| {
            let position = images.source_indices()[index];
            Ok(Query {
                name: position.to_string(),
                title: match pentimento_data::ImageSource::key(&source, position) {
                    key if key == position.to_string() => format!("image {position} of {}", path.display()),
                    key => key,
                },
                image: images.scaled(index),
                class: class_of(index)?,
            })
        })
        .collect()
}

/// What a method shows the network of queries: in parts, each of one timestep, so that scores of timesteps follow too.
pub struct QueryParts {
    /// What the parts are, a word.
    pub are: &'static str,
    /// The timestep of each.
    pub timesteps: Vec<usize>,
    /// The group of draws to which each belongs.
    pub groups: Vec<usize>,
    /// Keys and images by query.
    items: Vec<QueryItem>,
}

struct QueryItem {
    key: RowKey,
    name: String,
    class: Option<u32>,
    shown: QueryImages,
}

/// What the network is shown of a query.
enum QueryImages {
    /// The image, in every part.
    Image(Vec<f32>),
    /// What was predicted at each step, one for each part.
    Journey(Vec<Vec<f32>>),
}

impl QueryParts {
    /// Prepares queries for a method. For the journey to a sample, it is made once more, to see the images on the way.
    ///
    /// # Errors
    ///
    /// [`RunError::OtherUse`] for the journey of an image that was not generated; as sampling.
    pub fn new(subject: &Subject<'_>, queries: &Queries, method: GradientMethod) -> Result<Self> {
        queries.set.check(method)?;
        match method.query {
            QueryInput::Image => Ok(Self::of_images(subject, &queries.images)),
            QueryInput::Journey => Self::of_journeys(subject, &queries.images),
        }
    }

    fn of_images(subject: &Subject<'_>, queries: &[Query]) -> Self {
        let plan = subject.draws();
        let schedule = &subject.workspace.recipe.schedule;
        let of_group =
            |group| plan.timesteps_of(schedule, group).into_iter().map(move |timestep| (timestep, group));
        let (timesteps, groups) = (0..plan.groups).flat_map(of_group).unzip();
        let items = queries
            .iter()
            .map(|query| QueryItem {
                key: row_key(&query.image, query.class),
                name: query.title.clone(),
                class: query.class,
                shown: QueryImages::Image(query.image.clone()),
            })
            .collect();
        Self { are: "timesteps", timesteps, groups, items }
    }

    /// Each part is a step of the sampler, and its image what the networks then predicted, with one noise.
    fn of_journeys(subject: &Subject<'_>, queries: &[Query]) -> Result<Self> {
        let Ensemble { mixture, sampler, seed, .. } = Ensemble::open(subject.workspace, subject.networks)?;
        let sampling = subject.workspace.recipe.sampling;
        let range = sampling.clip.then_some(sampling.clip_range as f32);
        let go_on = || subject.workspace.options.stop.check();
        let images = journeys(&mixture, &sampler, seed, queries.len(), range, go_on)?;
        let timesteps: Vec<usize> = (0..sampler.len()).map(|step| sampler.timestep(step)).collect();
        let count = subject.draws().groups;
        let groups = (0..timesteps.len()).map(|step| step % count).collect();
        let items = queries
            .iter()
            .zip(images)
            .map(|(query, images)| QueryItem {
                key: row_key(&images.concat(), query.class),
                name: query.title.clone(),
                class: query.class,
                shown: QueryImages::Journey(images),
            })
            .collect();
        Ok(Self { are: "steps", timesteps, groups, items })
    }

    /// Keys of the queries' rows.
    pub fn keys(&self) -> Vec<RowKey> {
        self.items.iter().map(|item| item.key).collect()
    }

    /// What is featurised of a query.
    pub fn item(&self, subject: &Subject<'_>, query: usize) -> Item {
        let QueryItem { key, name, class, shown } = &self.items[query];
        let (plan, schedule) = (subject.draws(), &subject.workspace.recipe.schedule);
        let parts = match shown {
            QueryImages::Image(image) => {
                let of_group = |group| {
                    let draws = plan.draws(schedule, group, image.len(), noise_id(key));
                    let of_timestep =
                        |draws: &[Draw]| vec![ImageDraws { image: image.clone(), draws: draws.to_vec() }];
                    draws.chunk_by(|a, b| a.timestep == b.timestep).map(of_timestep).collect::<Vec<_>>()
                };
                (0..plan.groups).flat_map(of_group).collect()
            }
            QueryImages::Journey(images) => {
                let of_step = |(image, &timestep): (&Vec<f32>, &usize)| {
                    let draws = plan.draws_at(timestep, image.len(), noise_id(key));
                    vec![ImageDraws { draws, image: image.clone() }]
                };
                images.iter().zip(&self.timesteps).map(of_step).collect()
            }
        };
        Item { parts, class: *class, name: name.clone() }
    }
}
