//! The training images of a run, for attribution by gradients.

use crate::data::prepare_images;
use crate::error::{Result, RunError};
use crate::forecast::Forecast;
use crate::network_images::TakenImages;
use crate::network_inputs::{NetworkInputs, Showing};
use crate::networks::Networks;
use crate::recipe::GroupBy;
use crate::words::quoted;
use crate::workspace::Workspace;
use pentimento_data::{Groups, PreparedSet, composed};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::training::{TrainingConditions, TrainingConfig};
use std::collections::BTreeSet;

/// The training images that scores are for.
pub struct TrainingImages {
    /// As people see them.
    pub images: PreparedSet,
    /// Names of the classes, by label.
    pub class_names: Vec<String>,
    /// Contributors or whatever else the source says images belong to together.
    pub groups: Option<Groups>,
    /// What networks are shown and told of them.
    inputs: NetworkInputs,
}

/// The training images of networks as people see them.
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
        let pictures = Pictures::of(workspace, networks)?;
        let inputs = pictures.shown_to(workspace, networks).open()?;
        Ok(pictures.with(inputs))
    }

    /// The same for a forecast: what is not encoded yet has stand-ins, and a forecast of its own.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_or_stand_in(workspace: &Workspace, networks: &Networks<'_>) -> Result<(Self, Vec<Forecast>)> {
        let pictures = Pictures::of(workspace, networks)?;
        let (inputs, forecasts) = pictures.shown_to(workspace, networks).open_or_stand_in()?;
        Ok((pictures.with(inputs), forecasts))
    }

    /// Does something with what an imported network is shown and told of its training images.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and those of the work.
    pub(crate) fn with_showing<R>(
        workspace: &Workspace,
        networks: &Networks<'_>,
        then: impl FnOnce(&Showing<'_>) -> Result<R>,
    ) -> Result<R> {
        then(&Pictures::of(workspace, networks)?.shown_to(workspace, networks))
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

    /// What networks are shown of an image, by its place among the images.
    pub fn input(&self, image: usize) -> Vec<f32> {
        self.inputs.input(&self.images, image)
    }

    /// What networks are told of an image: one condition, or of an image with several captions each of them.
    pub fn conditions(&self, image: usize) -> Vec<Condition> {
        self.inputs.conditions(&self.images, image)
    }

    /// What networks were told of some images in their training; nothing of networks that are told nothing.
    pub(super) fn training_conditions(
        &self,
        own: &[u32],
        training: &TrainingConfig,
    ) -> Option<TrainingConditions> {
        self.inputs.training_conditions(&self.images, own, training)
    }

    /// The caption that stands for an image where one is wanted: the first; none if networks are told no texts.
    pub fn caption_of(&self, image: usize) -> Option<&str> {
        self.inputs.caption_of(&self.images, image)
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

impl Pictures {
    fn of(workspace: &Workspace, networks: &Networks<'_>) -> Result<Self> {
        if let Some(data) = networks.trained_on {
            // Classes are groups anyway, and single images are none.
            let are_others =
                data.trained.codes.groups != GroupBy::Class && data.groups.len() < data.images.len();
            let groups = are_others.then(|| data.groups.clone());
            return Ok(Self { images: data.images.clone(), class_names: data.class_names.clone(), groups });
        }
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
        Ok(Self { images, class_names, groups })
    }

    fn shown_to<'a>(&'a self, workspace: &'a Workspace, networks: &'a Networks<'_>) -> Showing<'a> {
        Showing {
            workspace,
            encoders: networks.encoders.as_ref(),
            network: networks.architecture.config(),
            shape: networks.image_shape(),
            images: &self.images,
        }
    }

    fn with(self, inputs: NetworkInputs) -> TrainingImages {
        let Self { images, class_names, groups } = self;
        TrainingImages { images, class_names, groups, inputs }
    }
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
