//! The training images of a run, for attribution by gradients.

use crate::data::{CodedData, prepare_images};
use crate::error::{Result, RunError};
use crate::network_images::TakenImages;
use crate::networks::Networks;
use crate::recipe::GroupBy;
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
    /// Whether networks are told their classes.
    told_classes: bool,
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
        let data = &workspace.recipe.data;
        if !data.has_source() {
            return Err(RunError::NoTrainingImages);
        }
        let network = TakenImages::of(networks.image_shape(), &networks.architecture);
        let (source, class_names) = network.open(data, &workspace.options)?;
        let images = prepare_images(source.as_ref(), &data.preprocessing, workspace.reporter())?;
        let groups = match source.groups() {
            Some(names) => Some(Groups::by_name(names, &images)?),
            None => None,
        };
        Ok(Self { images, class_names, groups, told_classes: networks.knows_classes() })
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
            told_classes: networks.knows_classes(),
        }
    }

    /// Height, width and channels of the pictures.
    pub fn picture_shape(&self) -> [usize; 3] {
        [self.images.height(), self.images.width(), self.images.channels()]
    }

    /// What networks are shown of an image, by its place among the images.
    pub fn input(&self, image: usize) -> Vec<f32> {
        self.images.scaled(image)
    }

    /// What networks are told of an image; nothing of most networks.
    pub fn conditions(&self, image: usize) -> Vec<Condition> {
        let class = self.told_classes.then(|| self.images.labels()[image]);
        vec![class.into()]
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

    /// What is said of an image beside its position, see [`label_of`].
    pub fn label_of(&self, image: usize) -> String {
        label_of(&self.images, &self.class_names, self.groups.as_ref(), image)
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
