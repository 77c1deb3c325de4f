//! The images that are asked about.

use super::query_sources::{held_out, images_of, samples, training_images};
use super::row_key::row_key;
use super::subject::Subject;
use crate::analyse::sample;
use crate::error::{MadeBy, Result, RunError};
use crate::words::quoted;
use pentimento_attribution::gradient::{GradientMethod, QueryInput, RowKey};
use pentimento_diffusion::condition::Condition;
use pentimento_store::Digest;
use std::path::PathBuf;
use std::slice;
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
        /// Their prompt, for networks that are told texts; absent: the caption of each image in its set.
        prompt: Option<String>,
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
        Ok(numbers.map_or_else(
            |_| Self::Path { path: text.into(), class: None, prompt: None },
            Self::TrainingImages,
        ))
    }
}

impl QuerySet {
    /// The same, all of whose images a network is told to be of one class, or of one prompt, if they are given.
    ///
    /// # Errors
    ///
    /// [`RunError::NoSuch`] for images whose class and prompt are known: only those of a folder or file may be told anything.
    pub fn told(self, class: Option<String>, prompt: Option<String>) -> Result<Self> {
        match self {
            Self::Path { path, .. } => Ok(Self::Path { path, class, prompt }),
            set => {
                refuse_to_tell(&set.to_string(), class.as_deref(), prompt.as_deref())?;
                Ok(set)
            }
        }
    }

    /// The prompt that was given for all of its images.
    pub fn prompt(&self) -> Option<&str> {
        match self {
            Self::Path { prompt, .. } => prompt.as_deref(),
            Self::Samples | Self::TrainingImages(_) | Self::HeldOut(_) => None,
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
    /// What people call it, with what the network is told.
    pub title: String,
    /// As people see it, `[height, width, channels]` in [-1, 1].
    pub picture: Vec<f32>,
    /// What networks are shown of it: the picture, or a latent. Of a sample it is the very latent that was sampled; encoding its
    /// picture again, as files have to be, would give another.
    pub input: Vec<f32>,
    /// What networks are told.
    pub condition: Condition,
    /// That in words: the name of a class, or a text.
    pub told: Option<String>,
}

impl Query {
    /// The digest of what networks are shown and told.
    pub fn key(&self) -> RowKey {
        row_key(&self.input, slice::from_ref(&self.condition))
    }
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
            Self::Path { path, class, prompt } => {
                let path = path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string();
                let class = class.as_ref().map_or(String::new(), |class| format!("\0{class}"));
                let prompt = prompt.as_ref().map_or(String::new(), |prompt| format!("\0\0{prompt}"));
                format!("path-{}", of(&(path + &class + &prompt)))
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
                let training = subject.training;
                let stand_in = |id: usize| {
                    let image = id % training.images.len();
                    Query {
                        name: id.to_string(),
                        title: format!("sample {id}"),
                        picture: training.images.scaled(image),
                        input: training.input(image),
                        condition: subject.condition_of(image, 0),
                        told: None,
                    }
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
            Self::Path { path, class, prompt } if path.exists() => {
                images_of(subject, path, class.as_deref(), prompt.as_deref())
            }
            Self::Path { path, class, prompt } => {
                refuse_to_tell(&path.display().to_string(), class.as_deref(), prompt.as_deref())?;
                let images = &subject.training.images;
                let names = images.names_in(&path.display().to_string());
                training_images(subject, &names, "file, folder or training image", |name| images.find(name))
            }
        }?;
        Ok(Queries { set: self, images })
    }
}

/// Refuses a class or a prompt for images that have theirs.
fn refuse_to_tell(whose: &str, class: Option<&str>, prompt: Option<&str>) -> Result<()> {
    let given = prompt.map(|prompt| ("prompt", quoted(prompt)));
    match given.or_else(|| class.map(|class| ("class", format!("`{class}`")))) {
        None => Ok(()),
        Some((what, value)) => Err(RunError::NoSuch {
            what: what.into(),
            value: format!("{value} for `{whose}`"),
            bound: "samples, held-out and training images have their own; it is for the images of a folder or file".into(),
        }),
    }
}
