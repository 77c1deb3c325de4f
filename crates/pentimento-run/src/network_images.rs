//! Whether images fit a network that was trained elsewhere. All of them are looked at before anything is computed.

use crate::data::{NamedImages, open_images};
use crate::error::{Result, RunError};
use crate::recipe::DataRecipe;
use crate::workspace::RunOptions;
use pentimento_data::{
    DataError, ImageSet, ImageSource, Preprocessing, PublicSet, Survey, check_captions,
    converted_without_loss, survey,
};
use pentimento_diffusion::unet::Architecture;

/// What a network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenImages {
    /// Height, width and channels.
    pub shape: [usize; 3],
    /// Number of classes, if it was trained with them.
    pub classes: Option<u32>,
    /// Whether it was trained with texts.
    pub texts: bool,
}

impl TakenImages {
    /// What a network takes at this shape.
    pub fn of(shape: [usize; 3], architecture: &Architecture) -> Self {
        let config = architecture.config();
        Self { shape, classes: config.classes(), texts: config.cross_attention.is_some() }
    }

    /// Opens the images of a recipe and brings them to the network's channels, if nothing is lost by that.
    ///
    /// # Errors
    ///
    /// As opening; [`DataError::Damaged`] and [`DataError::Sizes`] with all images concerned; [`RunError::ColourLost`] and
    /// [`RunError::RecipeValue`] for images that the network does not take.
    pub fn open(&self, data: &DataRecipe, options: &RunOptions) -> Result<NamedImages> {
        let (source, names) = open_images(data, data.preprocessing.split, options)?;
        let source = in_channels_of(source, self.shape[2], &data.preprocessing, "recipe")?;
        let survey = survey(source.as_ref(), &data.preprocessing)?;
        self.check(&survey, source.labels().is_some())?;
        if self.texts {
            check_captions(source.as_ref(), &survey.source_indices)?;
        }
        Ok((source, names))
    }

    /// Looks at the images of a recipe as [`open`](Self::open) does. A public set is known without fetching it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn check_recipe(&self, data: &DataRecipe, options: &RunOptions) -> Result<()> {
        match data.set {
            Some(set) => self.check_public(set, data),
            None => self.open(data, options).map(drop),
        }
    }

    fn check_public(&self, set: PublicSet, data: &DataRecipe) -> Result<()> {
        if self.texts && data.captions.is_none() {
            return Err(RunError::RecipeValue {
                file: "recipe".into(),
                field: "data.set".into(),
                value: set.name().into(),
                bound: "images with captions, as the network was trained with texts; this set has none, but \
                        `data.captions = \"a photo of a {class}\"` makes them of the names of its classes"
                    .into(),
            });
        }
        let [height, width, channels] = set.shape();
        // In colour, if the set is.
        let pixels = (0..height * width * channels).map(|value| value as u8).collect();
        let stand_in = ImageSet::new(height, width, channels, pixels, vec![0])?;
        let alone =
            Preprocessing { classes: None, first_per_class: None, first: None, ..data.preprocessing.clone() };
        let mut source: Box<dyn ImageSource> = Box::new(stand_in);
        if let Some(channels) = data.channels {
            source = pentimento_data::converted(source, channels);
        }
        let source = in_channels_of(source, self.shape[2], &alone, set.name())?;
        self.check(&survey(source.as_ref(), &alone)?, true)
    }

    fn check(&self, survey: &Survey, has_labels: bool) -> Result<()> {
        let broken = |value: String, bound: String| {
            let (file, field) = ("recipe".into(), "data".into());
            Err(RunError::RecipeValue { file, field, value, bound })
        };
        let [height, width, channels] = self.shape;
        if survey.shape != self.shape {
            let text = |[height, width, channels]: [usize; 3]| match channels {
                1 => format!("{height}x{width} with one channel"),
                channels => format!("{height}x{width} with {channels} channels"),
            };
            let advice = if survey.shape[2] != channels {
                "images have one or three".to_owned()
            } else {
                format!(
                    "`data.preprocessing.cover = {{ height = {height}, width = {width} }}` brings them to it"
                )
            };
            let bound = format!("the network takes {}; {advice}", text(self.shape));
            return broken(format!("images of {}", text(survey.shape)), bound);
        }
        match self.classes {
            Some(classes) => {
                check_labels(classes, has_labels, survey.source_indices.iter().zip(&survey.labels))
            }
            None => Ok(()),
        }
    }
}

/// Refuses images, given by position and label, of which one is of a class that a network with so many does not know.
///
/// # Errors
///
/// [`RunError::RecipeValue`].
pub(crate) fn check_labels<'a>(
    classes: u32,
    has_labels: bool,
    mut labels: impl Iterator<Item = (&'a usize, &'a u32)>,
) -> Result<()> {
    let broken = |value: String, bound: String| {
        let (file, field) = ("recipe".into(), "data".into());
        Err(RunError::RecipeValue { file, field, value, bound })
    };
    if !has_labels {
        let bound = "the network was trained with classes, so it needs the class of every image".into();
        return broken("images without labels".into(), bound);
    }
    match labels.find(|&(_, &label)| label >= classes) {
        Some((index, label)) => {
            let bound = format!("the network knows classes 0 to {}", classes - 1);
            broken(format!("label {label} of image {index}"), bound)
        }
        None => Ok(()),
    }
}

/// Images with the channels of a network, if nothing is lost by that. `whose` says whose they are, for errors.
///
/// # Errors
///
/// [`RunError::ColourLost`]; as [`survey`].
pub fn in_channels_of(
    source: Box<dyn ImageSource>,
    channels: usize,
    preprocessing: &Preprocessing,
    whose: &str,
) -> Result<Box<dyn ImageSource>> {
    converted_without_loss(source, channels, preprocessing).map_err(|error| match error {
        DataError::ColourLost { .. } => {
            RunError::ColourLost { whose: whose.to_owned(), lost: error.to_string() }
        }
        error => error.into(),
    })
}
