//! The training images of a run, for attribution by gradients.

use crate::data::{CodedData, open_images};
use crate::error::{Result, RunError};
use crate::networks::Networks;
use crate::recipe::GroupBy;
use crate::workspace::Workspace;
use pentimento_data::{Groups, PreparedSet, prepare};
use std::collections::BTreeSet;

/// The training images that scores are for.
pub struct TrainingImages {
    /// As the network takes them.
    pub images: PreparedSet,
    /// Names of the classes, by label.
    pub class_names: Vec<String>,
    /// Contributors or whatever else the source says images belong to together.
    pub groups: Option<Groups>,
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
            Some(data) => Ok(Self::of(data)),
            None => Self::of_imported(workspace, networks),
        }
    }

    fn of_imported(workspace: &Workspace, networks: &Networks<'_>) -> Result<Self> {
        let (recipe, from) = (&workspace.recipe, workspace.options.data_from.as_deref());
        let (shape, classes) = (networks.image_shape(), networks.architecture.config().classes());
        if !recipe.data.has_source() {
            return Err(RunError::NoTrainingImages);
        }
        let (source, class_names) =
            open_images(&recipe.data, recipe.data.preprocessing.split, from, workspace.reporter())?;
        let images = prepare(source.as_ref(), &recipe.data.preprocessing)?;
        let found = [images.height(), images.width(), images.channels()];
        if found != shape {
            let text =
                |[height, width, channels]: [usize; 3]| format!("{height}x{width} with {channels} channels");
            return Err(RunError::RecipeValue {
                file: "recipe".into(),
                field: "data".into(),
                value: format!("images of {}", text(found)),
                bound: format!("the network takes {}; `data.preprocessing` brings them to it", text(shape)),
            });
        }
        if let Some(classes) = classes {
            let broken = |value: String, bound: String| {
                let (file, field) = ("recipe".into(), "data".into());
                RunError::RecipeValue { file, field, value, bound }
            };
            if source.labels().is_none() {
                let bound =
                    "the network was trained with classes, so it needs the class of every image".into();
                return Err(broken("images without labels".into(), bound));
            }
            let place = images.labels().iter().position(|&label| label >= classes);
            if let Some((index, label)) =
                place.map(|place| (images.source_indices()[place], images.labels()[place]))
            {
                let bound = format!("the network knows classes 0 to {}", classes - 1);
                return Err(broken(format!("label {label} of image {index}"), bound));
            }
        }
        let groups = match source.groups() {
            Some(names) => Some(Groups::by_name(names, &images)?),
            None => None,
        };
        Ok(Self { images, class_names, groups })
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
    fn of(data: &CodedData) -> Self {
        // Classes are groups anyway, and single images are none.
        let are_others = data.trained.codes.groups != GroupBy::Class && data.groups.len() < data.images.len();
        let groups = are_others.then(|| data.groups.clone());
        Self { images: data.images.clone(), class_names: data.class_names.clone(), groups }
    }

    /// What is said of an image beside its position: its class or, of a set without classes, its group; empty if there is
    /// neither.
    pub fn label_of(&self, image: usize) -> String {
        // Of a set without labels all images are of one class, which says nothing.
        if self.class_names.len() < 2 {
            let name = |groups: &Groups| groups.names().get(groups.group_of()[image] as usize).cloned();
            return self.groups.as_ref().and_then(name).unwrap_or_default();
        }
        let label = self.images.labels()[image] as usize;
        self.class_names.get(label).cloned().unwrap_or_else(|| label.to_string())
    }

    /// Groups of images with their names: classes, if there are several, and what else the source says.
    pub fn named_groups(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = Vec::new();
        let labels: BTreeSet<u32> = self.images.labels().iter().copied().collect();
        if labels.len() > 1 {
            for label in labels {
                let members: Vec<usize> =
                    (0..self.images.len()).filter(|&image| self.images.labels()[image] == label).collect();
                let name = self.class_names.get(label as usize).cloned().unwrap_or_else(|| label.to_string());
                all.push((name, members));
            }
        }
        if let Some(groups) = &self.groups {
            let of = |(group, name): (usize, &String)| (name.clone(), groups.members(group as u32));
            all.extend(groups.names().iter().enumerate().map(of));
        }
        all
    }
}
