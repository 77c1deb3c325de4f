//! The training images of a run, for attribution by gradients.

use crate::data::{CodedData, prepare_images};
use crate::encoders::{EncodingPictures, EncodingTexts, Latents, TEXTS, Texts};
use crate::error::{Result, RunError};
use crate::forecast::Forecast;
use crate::network_images::TakenImages;
use crate::networks::Networks;
use crate::piece::Stage;
use crate::recipe::GroupBy;
use crate::words::quoted;
use crate::workspace::Workspace;
use pentimento_data::{Groups, PreparedSet, composed};
use pentimento_diffusion::condition::Condition;
use std::collections::BTreeSet;

/// The training images that scores are for.
pub struct TrainingImages {
    /// As people see them.
    pub images: PreparedSet,
    /// Names of the classes, by label.
    pub class_names: Vec<String>,
    /// Contributors or whatever else the source says images belong to together.
    pub groups: Option<Groups>,
    /// What networks are shown of them; none if that is the pictures.
    latents: Option<Latents>,
    /// What networks are told of them.
    told: Told,
}

/// What networks are told of training images.
enum Told {
    Nothing,
    Classes,
    /// Captions.
    Texts(Texts),
}

/// The training images of an imported network as people see them.
struct Pictures {
    images: PreparedSet,
    class_names: Vec<String>,
    groups: Option<Groups>,
}

impl TrainingImages {
    /// Those that the networks of a run were trained on, or that the recipe of an imported network names.
    ///
    /// # Errors
    ///
    /// [`RunError::NoTrainingImages`] if it names none, [`RunError::RecipeValue`] if they do not fit the network; as reading
    /// and preparing.
    pub fn open(workspace: &Workspace, networks: &Networks<'_>) -> Result<Self> {
        match networks.trained_on {
            Some(data) => Ok(Self::of(data, networks)),
            None => Self::of_imported(workspace, networks),
        }
    }

    fn of_imported(workspace: &Workspace, networks: &Networks<'_>) -> Result<Self> {
        let Pictures { images, class_names, groups } = Self::pictures(workspace, networks)?;
        let latents = match &networks.encoders {
            Some(encoders) => {
                let shape = networks.image_shape();
                let stage = EncodingPictures::of_training_images(workspace, encoders, &images, shape);
                Some(stage.complete()?)
            }
            None => None,
        };
        let told = match &networks.encoders {
            Some(encoders) if networks.knows_texts() => {
                Told::Texts(EncodingTexts::new(workspace, encoders, TEXTS, captions_of(&images)).complete()?)
            }
            _ => Told::without_texts(networks),
        };
        Ok(Self { images, class_names, groups, latents, told })
    }

    /// The same for a forecast: what is not encoded yet has stand-ins, and a forecast of its own.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_or_stand_in(workspace: &Workspace, networks: &Networks<'_>) -> Result<(Self, Vec<Forecast>)> {
        let (None, Some(encoders)) = (networks.trained_on, &networks.encoders) else {
            return Ok((Self::open(workspace, networks)?, Vec::new()));
        };
        let Pictures { images, class_names, groups } = Self::pictures(workspace, networks)?;
        let shape = networks.image_shape();
        let stage = EncodingPictures::of_training_images(workspace, encoders, &images, shape);
        let mut forecasts = Vec::from_iter(stage.forecast()?);
        let latents = if forecasts.is_empty() { stage.complete()? } else { stage.stand_in() };
        let told = if networks.knows_texts() {
            let stage = EncodingTexts::new(workspace, encoders, TEXTS, captions_of(&images));
            match stage.forecast()? {
                None => Told::Texts(stage.complete()?),
                Some(forecast) => {
                    forecasts.push(forecast);
                    Told::Texts(stage.stand_in(&networks.architecture.config().any_condition()))
                }
            }
        } else {
            Told::without_texts(networks)
        };
        Ok((Self { images, class_names, groups, latents: Some(latents), told }, forecasts))
    }

    /// Does something with the stage that encodes the captions of training images; none for a network that is told no texts.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and those of the work.
    pub(crate) fn with_stage_of_texts<R>(
        workspace: &Workspace,
        networks: &Networks<'_>,
        then: impl FnOnce(&dyn Stage) -> Result<R>,
    ) -> Result<Option<R>> {
        let Some(encoders) = networks.encoders.as_ref().filter(|_| networks.knows_texts()) else {
            return Ok(None);
        };
        let Pictures { images, .. } = Self::pictures(workspace, networks)?;
        then(&EncodingTexts::new(workspace, encoders, TEXTS, captions_of(&images))).map(Some)
    }

    /// Does something with the stage that encodes the training images of a network that works on latents; none for another network.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and those of the work.
    pub(crate) fn with_stage_of_latents<R>(
        workspace: &Workspace,
        networks: &Networks<'_>,
        then: impl FnOnce(&dyn Stage) -> Result<R>,
    ) -> Result<Option<R>> {
        let Some(encoders) = &networks.encoders else { return Ok(None) };
        let Pictures { images, .. } = Self::pictures(workspace, networks)?;
        let shape = networks.image_shape();
        then(&EncodingPictures::of_training_images(workspace, encoders, &images, shape)).map(Some)
    }

    fn pictures(workspace: &Workspace, networks: &Networks<'_>) -> Result<Pictures> {
        let data = &workspace.recipe.data;
        if !data.has_source() {
            return Err(RunError::NoTrainingImages);
        }
        let network = TakenImages::of(networks.picture_shape, &networks.architecture);
        let (source, class_names) = network.open(data, &workspace.options)?;
        let images = prepare_images(source.as_ref(), &data.preprocessing, workspace.reporter())?;
        let groups = match source.groups() {
            Some(names) => Some(Groups::by_name(names, &images)?),
            None => None,
        };
        Ok(Pictures { images, class_names, groups })
    }

    /// Refuses images that are all the same, or only one: no score could tell them apart.
    ///
    /// # Errors
    ///
    /// [`RunError::NothingToCompare`].
    pub fn check_differences(&self) -> Result<()> {
        let ids = self.images.ids();
        match ids.first() {
            Some(first) if ids.iter().any(|id| id != first) => Ok(()),
            _ => Err(RunError::NothingToCompare { images: ids.len() }),
        }
    }

    /// Those that an ensemble was trained on.
    fn of(data: &CodedData, networks: &Networks<'_>) -> Self {
        // Classes are groups anyway, and single images are none.
        let are_others = data.trained.codes.groups != GroupBy::Class && data.groups.len() < data.images.len();
        let groups = are_others.then(|| data.groups.clone());
        Self {
            images: data.images.clone(),
            class_names: data.class_names.clone(),
            groups,
            latents: None,
            told: Told::without_texts(networks),
        }
    }

    /// What networks are shown of an image, by its place among the images.
    pub fn input(&self, image: usize) -> Vec<f32> {
        match &self.latents {
            Some(latents) => latents.of(image).to_vec(),
            None => self.images.scaled(image),
        }
    }

    /// What networks are told of an image: one condition, or of an image with several captions each of them.
    pub fn conditions(&self, image: usize) -> Vec<Condition> {
        match &self.told {
            Told::Nothing => vec![Condition::None],
            Told::Classes => vec![Condition::Class(self.images.labels()[image])],
            Told::Texts(texts) => {
                self.images.captions(image).iter().map(|caption| texts.condition(caption)).collect()
            }
        }
    }

    /// The caption that stands for an image where one is wanted: the first; none if networks are told no texts.
    pub fn caption_of(&self, image: usize) -> Option<&str> {
        match &self.told {
            Told::Texts(_) => self.images.captions(image).first().map(String::as_str),
            Told::Nothing | Told::Classes => None,
        }
    }

    /// The number of the class with this name, in either form of Unicode.
    pub fn class_named(&self, name: &str) -> Option<u32> {
        let name = composed(name);
        self.class_names.iter().position(|class| *class == name).map(|class| class as u32)
    }

    /// What a class is called.
    pub fn name_of_class(&self, class: u32) -> String {
        self.class_names.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
    }

    /// What is said of an image beside its position, see [`label_of`], and its caption, if networks are told that.
    pub fn label_of(&self, image: usize) -> String {
        let label = label_of(&self.images, &self.class_names, self.groups.as_ref(), image);
        match self.caption_of(image) {
            None => label,
            Some(caption) if label.is_empty() => quoted(caption),
            Some(caption) => format!("{label}, {}", quoted(caption)),
        }
    }

    /// Groups of images with their names: classes, if there are several, and what else the source says.
    pub fn named_groups(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = Vec::new();
        let labels: BTreeSet<u32> = self.images.labels().iter().copied().collect();
        if labels.len() > 1 {
            for label in labels {
                let members: Vec<usize> =
                    (0..self.images.len()).filter(|&image| self.images.labels()[image] == label).collect();
                all.push((self.name_of_class(label), members));
            }
        }
        // Folders of classes are no groups beside the classes.
        let classes: Vec<Vec<usize>> = all.iter().map(|(_, members)| members.clone()).collect();
        if let Some(groups) = &self.groups {
            let of = |(group, name): (usize, &String)| (name.clone(), groups.members(group as u32));
            let is_other = |(_, members): &(String, Vec<usize>)| !classes.contains(members);
            all.extend(groups.names().iter().enumerate().map(of).filter(is_other));
        }
        all
    }
}

impl Told {
    /// Classes, if networks are told them.
    fn without_texts(networks: &Networks<'_>) -> Self {
        if networks.knows_classes() { Self::Classes } else { Self::Nothing }
    }
}

/// All captions of all images, in their order.
fn captions_of(images: &PreparedSet) -> impl Iterator<Item = &str> {
    (0..images.len()).flat_map(move |image| images.captions(image)).map(String::as_str)
}

/// What is said of an image beside its position: its name, and its class or, of a set without classes, its group, unless it
/// lies in a folder of that name; empty if nothing is known of it.
pub fn label_of(
    images: &PreparedSet,
    class_names: &[String],
    groups: Option<&Groups>,
    image: usize,
) -> String {
    // Of a set without labels all images are of one class, which says nothing.
    let of = if class_names.len() < 2 {
        let name = |groups: &Groups| groups.names().get(groups.group_of()[image] as usize).cloned();
        groups.and_then(name).unwrap_or_default()
    } else {
        let class = images.labels()[image];
        class_names.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
    };
    let name = &images.names()[image];
    if *name == images.source_indices()[image].to_string() {
        return of;
    }
    if of.is_empty() || name.split('/').any(|part| part == of) {
        name.clone()
    } else {
        format!("{name}, {of}")
    }
}
