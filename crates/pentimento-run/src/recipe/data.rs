//! Which images a run is about.

use super::bound::{BrokenBound, broken};
use super::origin::Origin;
use crate::error::RunError;
use pentimento_data::{Channels, Preprocessing, PublicSet};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a recipe's `data` needs.
pub const NO_SOURCE: &str = "it needs one of `set`, `path`, or both `images` and `labels`";

/// What stands for the name of an image's class in a caption.
const CLASS: &str = "{class}";

/// Which images a run trains on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// A public set, fetched when it is not in the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<PublicSet>,
    /// An IDX file of images instead of a public set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// The IDX file of their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// An image set of any layout that can be read, instead of a public set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The channels that images are brought to. If absent: those of the network where one was imported and nothing is lost by
    /// that; else grey if every image is, otherwise RGB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
    /// With `path`: red, green and blue behind transparent pixels; white if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<[u8; 3]>,
    /// The captions of the images: a text with `{class}` for the name of an image's class; or with `path` where they are, a column
    /// of a table or an ending of files beside the images such as `txt`. If absent, what is usual. Only networks that were trained
    /// with texts are told them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captions: Option<String>,
    /// Which latent stands for a picture where networks work on latents.
    #[serde(default, skip_serializing_if = "is_default")]
    pub latents: LatentChoice,
    /// With `path`: go on without damaged images; otherwise selecting one is an error.
    #[serde(default, skip_serializing_if = "is_false")]
    pub skip_damaged: bool,
    /// Selection, crop, pad and resize.
    #[serde(default)]
    pub preprocessing: Preprocessing,
}

/// Which latent stands for a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatentChoice {
    /// The mode of the distribution that an `AutoencoderKL` makes of it; of a `VQModel` what is not yet quantised.
    #[default]
    Mode,
    /// One draw from that distribution, with a noise that follows from the recipe's seed and the picture. Networks are trained on
    /// such draws, but mostly on a fresh one each time.
    Sample,
}

fn is_default(value: &LatentChoice) -> bool {
    *value == LatentChoice::default()
}

fn is_false(value: &bool) -> bool {
    !value
}

impl DataRecipe {
    /// Where the captions of a set of `path` are, if the recipe says so.
    pub fn caption_column(&self) -> Option<&str> {
        self.captions.as_deref().filter(|captions| !captions.contains(CLASS))
    }

    /// The caption of each class, if captions are made of the names of classes.
    pub fn captions_of_classes(&self, class_names: &[String]) -> Option<Vec<String>> {
        let template = self.captions.as_deref().filter(|captions| captions.contains(CLASS))?;
        Some(class_names.iter().map(|name| template.replace(CLASS, name)).collect())
    }

    /// Whether it says where images are.
    pub fn has_source(&self) -> bool {
        self.set.is_some() || self.path.is_some() || self.images.is_some() || self.labels.is_some()
    }

    /// Refuses paths at which there is nothing.
    ///
    /// # Errors
    ///
    /// [`RunError::ImagesGone`].
    pub fn check_paths(&self) -> Result<(), RunError> {
        let paths = [("data.path", &self.path), ("data.images", &self.images), ("data.labels", &self.labels)];
        for (field, path) in paths {
            if let Some(path) = path.as_ref().filter(|path| !path.exists()) {
                return Err(RunError::ImagesGone { field, path: path.clone() });
            }
        }
        Ok(())
    }

    /// Refuses two sources, and none where one is needed; an imported network can be sampled without its training images.
    pub(super) fn validate(&self, origin: &Origin) -> Result<(), BrokenBound> {
        match (&self.set, &self.path, &self.images, &self.labels) {
            (Some(_), None, None, None) | (None, Some(_), None, None) | (None, None, Some(_), Some(_)) => {}
            (None, None, None, None) if matches!(origin, Origin::Imported(_)) => {}
            (set, path, images, labels) => {
                let given = [
                    ("set", set.is_some()),
                    ("path", path.is_some()),
                    ("images", images.is_some()),
                    ("labels", labels.is_some()),
                ];
                let given: Vec<&str> =
                    given.into_iter().filter_map(|(key, given)| given.then_some(key)).collect();
                let value = if given.is_empty() { "without a source".into() } else { given.join(" and ") };
                return broken("data", value, NO_SOURCE);
            }
        }
        if let (None, Some(background)) = (&self.path, self.background) {
            return broken("data.background", format!("{background:?}"), "only with `data.path`");
        }
        if let (None, Some(captions)) = (&self.path, self.caption_column()) {
            let bound =
                format!("with `data.path`, or a text with `{CLASS}` for the name of an image's class");
            return broken("data.captions", format!("{captions:?}"), bound);
        }
        Ok(())
    }
}
