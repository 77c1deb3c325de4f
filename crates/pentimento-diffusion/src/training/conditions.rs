//! What the images of a training are shown under.

use super::TrainingConfig;
use crate::DiffusionError;
use crate::condition::Condition;
use crate::unet::UnetConfig;
use std::sync::Arc;

/// What a network is told of its training images. Clones share it.
#[derive(Clone, Debug)]
pub struct TrainingConditions {
    of_images: Arc<[Vec<Condition>]>,
    empty: Option<Condition>,
}

impl TrainingConditions {
    /// Of each image its class, or its texts: each time that it is shown one of them is drawn.
    pub fn new(of_images: Vec<Vec<Condition>>) -> Self {
        Self { of_images: of_images.into(), empty: None }
    }

    /// With the empty condition, which takes the place of those that [`TrainingConfig::condition_dropout`] drops: the empty text, or
    /// a class that no image has.
    pub fn with_empty(mut self, empty: Condition) -> Self {
        self.empty = Some(empty);
        self
    }

    /// The conditions of an image; none if there is no such image.
    pub(super) fn of(&self, image: usize) -> &[Condition] {
        self.of_images.get(image).map_or(&[], Vec::as_slice)
    }

    /// What stands in place of a condition that is dropped.
    pub(super) fn empty(&self) -> Option<&Condition> {
        self.empty.as_ref()
    }

    /// Checks that the network can be told all of them, in any batch.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] naming the image.
    pub(super) fn check(
        &self,
        network: &UnetConfig,
        training: &TrainingConfig,
    ) -> Result<(), DiffusionError> {
        if training.condition_dropout > 0.0 && self.empty.is_none() {
            return Err(dropping(training, "0, as no empty condition is given to show images under"));
        }
        let field = |image: usize| format!("conditions of image {image}");
        let empty = self.empty.iter().map(|empty| ("empty condition".to_owned(), empty));
        let own = self.of_images.iter().enumerate();
        let own = own.flat_map(|(image, own)| own.iter().map(move |own| (field(image), own)));
        let mut tokens = None;
        for (field, condition) in empty.chain(own) {
            check_one(network, field.clone(), condition)?;
            if let Condition::Text(text) = condition
                && *tokens.get_or_insert(text.tokens()) != text.tokens()
            {
                let bound = format!("{} tokens, as other texts have", tokens.unwrap_or_default());
                return Err(refused(field, format!("of {} tokens", text.tokens()), bound));
            }
        }
        for (image, own) in self.of_images.iter().enumerate() {
            if own.is_empty() {
                return Err(refused(field(image), "empty".into(), "at least one".into()));
            }
            // A class stands for none only if the network never sees an image as one of it.
            if let Some(Condition::Class(null)) = self.empty
                && own.contains(&Condition::Class(null))
            {
                let bound = "another class, as this one is the empty condition".into();
                return Err(refused(field(image), null.to_string(), bound));
            }
        }
        Ok(())
    }

    /// Checks that they are of so many images.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`].
    pub(super) fn check_count(&self, images: usize) -> Result<(), DiffusionError> {
        let given = self.of_images.len();
        if given == images {
            return Ok(());
        }
        Err(refused(
            "conditions".into(),
            format!("those of {given} images"),
            format!("those of all {images}"),
        ))
    }
}

/// Checks that a network is told nothing.
///
/// # Errors
///
/// [`DiffusionError::Config`].
pub(super) fn check_none(network: &UnetConfig, training: &TrainingConfig) -> Result<(), DiffusionError> {
    let (field, value, kind) = if network.cross_attention.is_some() {
        ("_class_name", network.class_name(), "texts")
    } else if network.classes().is_some() {
        ("num_class_embeds", "given", "classes")
    } else if training.condition_dropout > 0.0 {
        return Err(dropping(training, "0, as the network has no classes or texts that could be dropped"));
    } else {
        return Ok(());
    };
    let bound = format!("a network without {kind}, as none are given for the training images");
    Err(DiffusionError::Config { file: "model".into(), field: field.into(), value: value.into(), bound })
}

fn check_one(network: &UnetConfig, field: String, condition: &Condition) -> Result<(), DiffusionError> {
    network.check_condition(condition).map_err(|error| match error {
        DiffusionError::Config { value, bound, .. } => refused(field, value, bound),
        other => other,
    })
}

fn dropping(training: &TrainingConfig, bound: &str) -> DiffusionError {
    refused("condition_dropout".into(), training.condition_dropout.to_string(), bound.into())
}

fn refused(field: String, value: String, bound: String) -> DiffusionError {
    DiffusionError::Config { file: "training".into(), field, value, bound }
}
