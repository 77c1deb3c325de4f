//! The images that are asked about.

use super::row_key::row_key;
use super::subject::Subject;
use crate::analyse::{Sampling, sample, shard_count, shard_samples};
use crate::data::{open_images, open_path, prepare_images};
use crate::error::{MadeBy, Result, RunError};
use crate::network_images::in_channels_of;
use crate::piece::missing;
use crate::words::first_of;
use pentimento_attribution::gradient::{GradientMethod, QueryInput, RowKey};
use pentimento_data::{ImageSource, Preprocessing, Split};
use pentimento_diffusion::arrays::ArrayReader;
use pentimento_store::Digest;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Whom a person asks about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QuerySet {
    /// The samples of the run.
    #[default]
    Samples,
    /// Training images, by their position in the source.
    TrainingImages(Vec<usize>),
    /// The images of a folder or file, or training images by their names.
    Path {
        /// The folder or file; if there is none, names of training images with commas between them.
        path: PathBuf,
        /// Their class, for networks that are told; absent: that of each image in its set.
        class: Option<String>,
    },
    /// So many images that were not trained on, from the other split of the training images' set, of each class as many.
    HeldOut(usize),
}

/// Held-out images, if no number is given.
const HELD_OUT: usize = 24;

impl FromStr for QuerySet {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "samples" {
            return Ok(Self::Samples);
        }
        if text == "held-out" {
            return Ok(Self::HeldOut(HELD_OUT));
        }
        if let Some(count) = text.strip_prefix("held-out:").and_then(|count| count.parse().ok()) {
            return Ok(Self::HeldOut(count));
        }
        let numbers: Result<Vec<usize>, _> = text.split(',').map(|number| number.trim().parse()).collect();
        Ok(numbers.map_or_else(|_| Self::Path { path: text.into(), class: None }, Self::TrainingImages))
    }
}

impl QuerySet {
    /// The same, all images of one class, if one is given. Samples and training images have theirs.
    pub fn of_class(self, class: Option<String>) -> Self {
        match self {
            Self::Path { path, .. } => Self::Path { path, class },
            other => other,
        }
    }

    /// The class that was given for all of its images.
    pub fn class(&self) -> Option<&str> {
        match self {
            Self::Path { class, .. } => class.as_deref(),
            Self::Samples | Self::TrainingImages(_) | Self::HeldOut(_) => None,
        }
    }

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
    /// What tables call it: `3` for sample 3, an image's position or, if it has one, its name.
    pub name: String,
    /// What people call it, with the class that the network is told.
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
            Self::Path { path, .. } => write!(formatter, "{}", path.display()),
            Self::HeldOut(count) => write!(formatter, "held-out:{count}"),
        }
    }
}

impl QuerySet {
    /// The name under which its scores are kept.
    pub fn name(&self) -> String {
        let of = |text: &str| Digest::of(text.as_bytes()).to_string()[..8].to_owned();
        match self {
            Self::Samples => "samples".into(),
            Self::HeldOut(count) => format!("held-out-{count}"),
            Self::TrainingImages(positions) => format!("images-{}", of(&format!("{positions:?}"))),
            Self::Path { path, class } => {
                let path = path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string();
                let class = class.as_ref().map_or(String::new(), |class| format!("\0{class}"));
                format!("path-{}", of(&(path + &class)))
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

    /// The images themselves, for a forecast: for samples that are not made, training images stand in.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_or_stand_in(self, subject: &Subject<'_>) -> Result<Queries> {
        let count = subject.workspace.recipe.samples.count;
        match self.clone().open(subject) {
            Err(RunError::Missing { made_by: MadeBy::Sampling, .. }) => {
                let training = &subject.training.images;
                let stand_in = |id: usize| Query {
                    name: id.to_string(),
                    title: format!("sample {id}"),
                    image: training.scaled(id % training.len()),
                    class: subject.workspace.recipe.samples.class,
                };
                Ok(Queries { set: self, images: (0..count).map(stand_in).collect() })
            }
            opened => opened,
        }
    }

    /// The images themselves.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`] for samples that are not made; if there is no such image, or it does not fit the network.
    pub fn open(self, subject: &Subject<'_>) -> Result<Queries> {
        let images = match &self {
            Self::Samples => samples(subject),
            Self::TrainingImages(positions) => {
                let names: Vec<String> = positions.iter().map(ToString::to_string).collect();
                let position = |name: &String| subject.training.images.position(name);
                training_images(subject, &names, "training image", position)
            }
            Self::HeldOut(count) => held_out(subject, *count),
            Self::Path { path, class } if path.exists() => images_of(subject, path, class.as_deref()),
            Self::Path { path, .. } => {
                let images = &subject.training.images;
                let names = images.names_in(&path.display().to_string());
                training_images(subject, &names, "file, folder or training image", |name| images.find(name))
            }
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
                title: format!("sample {id}{}", as_class(subject, workspace.recipe.samples.class)),
                // As whoever looks at it sees it.
                image: image.iter().map(|value| value.clamp(-1.0, 1.0)).collect(),
                class: workspace.recipe.samples.class,
            });
        }
    }
    Ok(queries)
}

fn training_images(
    subject: &Subject<'_>,
    names: &[String],
    what: &str,
    find: impl Fn(&String) -> Option<usize>,
) -> Result<Vec<Query>> {
    let images = &subject.training.images;
    let query = |name: &String| {
        let index = find(name).ok_or_else(|| RunError::NoSuch {
            what: what.into(),
            value: format!("`{name}`"),
            bound: format!(
                "the run has {} training images, at positions {} to {} of their source, such as {}",
                images.len(),
                images.source_indices().first().copied().unwrap_or_default(),
                images.source_indices().last().copied().unwrap_or_default(),
                images.title(0)
            ),
        })?;
        let class = subject.knows_classes().then(|| images.labels()[index]);
        Ok(Query {
            name: images.source_indices()[index].to_string(),
            title: format!("training image {}{}", images.title(index), as_class(subject, class)),
            image: images.scaled(index),
            class,
        })
    };
    names.iter().map(query).collect()
}

/// Images of the other split, the first of each class, that are not among the training images.
fn held_out(subject: &Subject<'_>, count: usize) -> Result<Vec<Query>> {
    let (recipe, training) = (&subject.workspace.recipe, &subject.training.images);
    let preprocessing = &recipe.data.preprocessing;
    let other = match preprocessing.split {
        Split::Train => Split::Test,
        Split::Test => Split::Train,
    };
    let labels: BTreeSet<u32> = training.labels().iter().copied().collect();
    let preprocessing = Preprocessing {
        split: other,
        first: None,
        // Copies of training images do not count, so a few more are looked at.
        first_per_class: Some(2 * count.div_ceil(labels.len().max(1))),
        ..preprocessing.clone()
    };
    let (source, class_names) = open_images(&recipe.data, other, &subject.workspace.options)?;
    let source = in_channels_of(source, subject.shape()[2], &preprocessing, "held-out images")?;
    let images = prepare_images(source.as_ref(), &preprocessing, subject.workspace.reporter())?;
    let known: HashSet<RowKey> =
        (0..training.len()).map(|index| row_key(&training.scaled(index), None)).collect();
    let mut of_class: BTreeMap<u32, usize> = BTreeMap::new();
    let mut chosen: Vec<(usize, usize)> = Vec::new();
    for index in 0..images.len() {
        if !known.contains(&row_key(&images.scaled(index), None)) {
            let place = of_class.entry(images.labels()[index]).or_default();
            chosen.push((*place, index));
            *place += 1;
        }
    }
    // The first of every class, then the second of every class.
    chosen.sort_unstable();
    if count == 0 || chosen.len() < count {
        return Err(RunError::NoSuch {
            what: "set of".into(),
            value: format!("{count} held-out images"),
            bound: format!("the other split of the training images' set has {} for it", chosen.len()),
        });
    }
    let query = |&(_, index): &(usize, usize)| {
        let label = images.labels()[index];
        let class = match (subject.knows_classes(), class_names.get(label as usize)) {
            (false, _) => None,
            (true, name) => Some(name.and_then(|name| subject.training.class_named(name)).unwrap_or(label)),
        };
        Query {
            name: images.names()[index].clone(),
            title: format!("held-out image {}{}", images.title(index), as_class(subject, class)),
            image: images.scaled(index),
            class,
        }
    };
    Ok(chosen.iter().take(count).map(query).collect())
}

/// What stands behind the title of a query of which the network is told the class.
fn as_class(subject: &Subject<'_>, class: Option<u32>) -> String {
    class.map_or(String::new(), |class| format!(" (as {})", subject.training.name_of_class(class)))
}

fn images_of(subject: &Subject<'_>, path: &Path, class: Option<&str>) -> Result<Vec<Query>> {
    let recipe = &subject.workspace.recipe;
    let shape = subject.shape();
    let source = open_path(path, Split::Train, &recipe.data, &subject.workspace.options)?;
    let mut preprocessing = recipe.data.preprocessing.clone();
    // These choose among training images.
    (preprocessing.classes, preprocessing.first_per_class, preprocessing.first) = (None, None, None);
    let source = in_channels_of(Box::new(source), shape[2], &preprocessing, &path.display().to_string())?;
    let images = prepare_images(source.as_ref(), &preprocessing, subject.workspace.reporter())?;
    let found = [images.height(), images.width(), images.channels()];
    if found != shape {
        let text =
            |[height, width, channels]: [usize; 3]| format!("{height}x{width} with {channels} channels");
        let bound = format!("the network takes {}; the run's preprocessing was applied to them", text(shape));
        return Err(RunError::RecipeValue {
            file: path.display().to_string(),
            field: "the images".into(),
            value: text(found),
            bound,
        });
    }
    let classes = classes_of(subject, path, source.as_ref(), class)?;
    let query = |index: usize| {
        let position = images.source_indices()[index];
        let name = images.names()[index].clone();
        let class = classes.as_ref().map(|classes| classes[position]);
        let title = match name == position.to_string() {
            true => format!("image {position} of {}", path.display()),
            false => name.clone(),
        };
        Query { name, title: title + &as_class(subject, class), image: images.scaled(index), class }
    };
    Ok((0..images.len()).map(query).collect())
}

/// The class of each image of a set of queries, as the network numbers them; none if the network is not told. Classes are
/// the same if their names are: a set of queries need not have all of them, nor in the same order.
fn classes_of(
    subject: &Subject<'_>,
    path: &Path,
    source: &dyn ImageSource,
    given: Option<&str>,
) -> Result<Option<Vec<u32>>> {
    if !subject.knows_classes() {
        return match given {
            None => Ok(None),
            Some(class) => Err(RunError::NoSuch {
                what: "class".into(),
                value: format!("`{class}`"),
                bound: "the network was trained without classes, so it cannot be told one".into(),
            }),
        };
    }
    let class_of = |name: &str| {
        subject.training.class_named(name).ok_or_else(|| RunError::NoSuch {
            what: "class".into(),
            value: format!("`{name}` of {}", path.display()),
            bound: format!(
                "the training images have the classes {}",
                first_of(&subject.training.class_names)
            ),
        })
    };
    if let Some(name) = given {
        // Or its number.
        let number =
            name.parse().ok().filter(|&class: &u32| (class as usize) < subject.training.class_names.len());
        let class = class_of(name).or_else(|error| number.ok_or(error))?;
        return Ok(Some(vec![class; source.len()]));
    }
    let Some(labels) = source.labels() else {
        let classes = subject.training.class_names.clone();
        return Err(RunError::QueriesWithoutClass { path: path.to_path_buf(), classes });
    };
    // Of a set without names the label itself is the name.
    let name = |label: u32| source.class_names().get(label as usize).cloned().unwrap_or(label.to_string());
    let mut known = BTreeMap::new();
    for &label in labels {
        if let Entry::Vacant(place) = known.entry(label) {
            place.insert(class_of(&name(label))?);
        }
    }
    Ok(Some(labels.iter().map(|label| known[label]).collect()))
}
