//! The classifier that says what a sample shows: trained on the `train` split of the run's public set.

use super::costs::Costs;
use super::data::open_images;
use super::workspace::{Workspace, fingerprint_of_computed};
use crate::error::{Result, RunError};
use crate::recipe::{ClassifierRecipe, Recipe};
use pentimento_data::{Preprocessing, Split, prepare};
use pentimento_evaluation::classifier::{Classifier, ClassifierConfig};
use pentimento_store::Fingerprint;
use serde::{Deserialize, Serialize};
use std::time::Instant;

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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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

/// The classifier of a recipe for images `[height, width, channels]`.
pub fn classifier_config(
    settings: ClassifierRecipe,
    seed: u64,
    classes: usize,
    shape: [usize; 3],
) -> ClassifierConfig {
    ClassifierConfig { epochs: settings.epochs, seed, ..ClassifierConfig::new(classes, shape) }
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

/// Trains the classifier of a run if it is not there. Returns what identifies it; none if the recipe asks for none.
///
/// # Errors
///
/// As opening images, training, and [`RunError::Stopped`].
pub fn train_classifier(workspace: &Workspace) -> Result<Option<Fingerprint>> {
    let Some(settings) = workspace.recipe.classifier else { return Ok(None) };
    let preprocessing = preprocessing(&workspace.recipe);
    let key = fingerprint(workspace, &preprocessing)?;
    let run = &workspace.run;
    if run.is_current(CLASSIFIER, key) && run.is_current(ACCURACY, key) {
        return Ok(Some(key));
    }
    let started = Instant::now();
    let from = workspace.options.data_from.as_deref();
    let (train, names) = open_images(&workspace.recipe.data, Split::Train, from, workspace.reporter())?;
    let train = prepare(train.as_ref(), &preprocessing)?;
    let shape = [train.height(), train.width(), train.channels()];
    let config = classifier_config(settings, workspace.recipe.seed, names.len(), shape);
    let images = |index: usize, target: &mut [f32]| train.scaled_into(index, target);
    let steps = (config.epochs * (train.len() / config.batch).max(1)) as u64;
    let progress = workspace.reporter().begin("classifier", steps, 0);
    let classifier =
        Classifier::train(config, &images, train.len(), train.labels(), |state| -> Result<()> {
            progress.set(state.step as u64, &format!("loss {:.3}", state.loss));
            Ok(workspace.options.stop.check()?)
        })?;
    let (test, _) = open_images(&workspace.recipe.data, Split::Test, from, workspace.reporter())?;
    let test = prepare(test.as_ref(), &preprocessing)?;
    let mut values = vec![0.0; test.len() * test.image_len()];
    for (index, target) in values.chunks_exact_mut(test.image_len()).enumerate() {
        test.scaled_into(index, target);
    }
    let accuracy = Accuracy { test: classifier.accuracy(&values, test.labels())?, test_images: test.len() };
    run.put_many(
        [(CLASSIFIER, classifier.to_bytes()?), (ACCURACY, serde_json::to_vec_pretty(&accuracy)?)],
        key,
    )?;
    Costs::record(workspace, &[("classifier", started.elapsed().as_secs_f64(), 1)])?;
    progress.finish(&format!("{:.2} % right on {} test images", 100.0 * accuracy.test, accuracy.test_images));
    Ok(Some(key))
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
