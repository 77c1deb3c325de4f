//! The classifier that says what a sample shows: trained on the `train` split of the run's public set.

use super::data::{open_images, prepare_images};
use super::workspace::{Workspace, fingerprint_of_computed};
use crate::drive::drive;
use crate::error::{Result, RunError};
use crate::event::Progress;
use crate::piece::{Making, Object, Piece, Stage};
use crate::recipe::{ClassifierRecipe, Recipe};
use pentimento_data::{Preprocessing, Split};
use pentimento_evaluation::classifier::Classifier;
use pentimento_store::{Fingerprint, Run};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// Object that holds the classifier.
pub const CLASSIFIER: &str = "classifier/classifier.safetensors";
/// Object that says how good it is.
const ACCURACY: &str = "classifier/accuracy.json";

/// A trained classifier and its accuracy on images that it was not trained on.
pub struct TrainedClassifier {
    /// The classifier.
    pub classifier: Classifier,
    /// Accuracy on the whole `test` split.
    pub accuracy: Accuracy,
}

/// How good a classifier is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of the `test` split that it names rightly.
    pub test: f64,
    /// Number of images in that split.
    pub test_images: usize,
}

fn fingerprint(workspace: &Workspace, preprocessing: &Preprocessing) -> Result<Fingerprint> {
    let recipe = &workspace.recipe;
    Ok(fingerprint_of_computed("classifier")
        .json(&recipe.data.set)?
        .json(preprocessing)?
        .json(&recipe.classifier)?
        .json(&recipe.seed)?
        .finish())
}

/// All classes and all images, brought to the same shape as those of the run.
fn preprocessing(recipe: &Recipe) -> Preprocessing {
    Preprocessing {
        classes: None,
        first_per_class: None,
        first: None,
        split: Split::Train,
        ..recipe.data.preprocessing.clone()
    }
}

/// What a run's classifier is made from, if it is there.
///
/// # Errors
///
/// If a setting has no JSON form.
pub fn trained_classifier(workspace: &Workspace) -> Result<Option<Fingerprint>> {
    let key = fingerprint(workspace, &preprocessing(&workspace.recipe))?;
    let there = [CLASSIFIER, ACCURACY].iter().all(|name| workspace.run.is_current(name, key));
    Ok(there.then_some(key))
}

/// The stage: its one piece is the classifier with its accuracy.
pub struct Classifying<'a> {
    workspace: &'a Workspace,
    settings: ClassifierRecipe,
    preprocessing: Preprocessing,
    accuracy: OnceLock<Accuracy>,
}

impl<'a> Classifying<'a> {
    /// The classifier of a recipe, if it asks for one.
    pub fn new(workspace: &'a Workspace) -> Option<Self> {
        let preprocessing = preprocessing(&workspace.recipe);
        let settings = workspace.recipe.classifier?;
        Some(Self { workspace, settings, preprocessing, accuracy: OnceLock::new() })
    }
}

/// Trains the classifier of a run if it is not there. Returns what identifies it; none if the recipe asks for none.
///
/// # Errors
///
/// As opening images, training, and [`RunError::Stopped`].
pub fn train_classifier(workspace: &Workspace) -> Result<Option<Fingerprint>> {
    let Some(stage) = Classifying::new(workspace) else { return Ok(None) };
    drive(workspace, &stage)?;
    trained_classifier(workspace)
}

impl Stage for Classifying<'_> {
    fn name(&self) -> &str {
        "classifier"
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        Ok(vec![Piece {
            stage: self.name().into(),
            number: 0,
            objects: vec![CLASSIFIER.into(), ACCURACY.into()],
            made_from: fingerprint(self.workspace, &self.preprocessing)?,
        }])
    }

    fn begin(&self, _run: &Run, _all: usize, _missing: &[Piece]) -> Result<Progress> {
        // How many steps it takes is known once its images are open.
        Ok(self.workspace.reporter().begin("classifier", 0, 0))
    }

    fn make(&self, _piece: &Piece, _making: &mut Making<'_>) -> Result<Vec<Object>> {
        let workspace = self.workspace;
        let recipe = &workspace.recipe;
        let open = |split| open_images(&recipe.data, split, &workspace.options);
        let (train, names) = open(Split::Train)?;
        let train = prepare_images(train.as_ref(), &self.preprocessing, workspace.reporter())?;
        let shape = [train.height(), train.width(), train.channels()];
        let config = self.settings.config(recipe.seed, names.len(), shape);
        let images = |index: usize, target: &mut [f32]| train.scaled_into(index, target);
        let steps = config.epochs * (train.len() / config.batch).max(1);
        let progress = workspace.reporter().begin("classifier", steps as u64, 0);
        let classifier =
            Classifier::train(config, &images, train.len(), train.labels(), |state| -> Result<()> {
                progress.set(state.step as u64, &format!("loss {:.3}", state.loss));
                workspace.options.stop.check()
            })?;
        let (test, _) = open(Split::Test)?;
        let test = prepare_images(test.as_ref(), &self.preprocessing, workspace.reporter())?;
        let mut values = vec![0.0; test.len() * test.image_len()];
        for (index, target) in values.chunks_exact_mut(test.image_len()).enumerate() {
            test.scaled_into(index, target);
        }
        let accuracy =
            Accuracy { test: classifier.accuracy(&values, test.labels())?, test_images: test.len() };
        let accuracy = self.accuracy.get_or_init(|| accuracy);
        Ok(vec![
            (CLASSIFIER.into(), classifier.to_bytes()?),
            (ACCURACY.into(), serde_json::to_vec_pretty(accuracy)?),
        ])
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        let Accuracy { test, test_images } = self.accuracy.get().copied().unwrap_or_default();
        Some(format!("{:.2} % right on {test_images} test images", 100.0 * test))
    }
}

/// Opens the classifier that [`train_classifier`] left; none if the recipe asks for none.
///
/// # Errors
///
/// If it is damaged.
pub fn open_classifier(workspace: &Workspace) -> Result<Option<TrainedClassifier>> {
    if workspace.recipe.classifier.is_none() {
        return Ok(None);
    }
    let run = &workspace.run;
    let classifier = Classifier::from_bytes(&run.get(CLASSIFIER)?)?;
    let accuracy = serde_json::from_slice(&run.get(ACCURACY)?)?;
    Ok(Some(TrainedClassifier { classifier, accuracy }))
}

/// Classes and probabilities of images given before their final clamp.
///
/// # Errors
///
/// [`RunError::Inconsistent`] if the images have not the classifier's size.
pub fn see(trained: &TrainedClassifier, images: &[Vec<f32>]) -> Result<Vec<(u32, f64)>, RunError> {
    let values: Vec<f32> = images
        .iter()
        .flat_map(|image| pentimento_attribution::ensemble::approximation::clamped(image))
        .collect();
    let seen = trained
        .classifier
        .predict(&values)
        .map_err(|error| RunError::Inconsistent { object: CLASSIFIER.into(), problem: error.to_string() })?;
    Ok(seen.iter().map(|prediction| (prediction.class, f64::from(prediction.probability))).collect())
}
