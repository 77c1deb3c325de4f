//! Likeness of queries and training images without gradients, to hold every method against: what a method finds beyond
//! these is what it is worth.

use super::queries::{Queries, Query};
use super::row_key::noise_id;
use super::score_table::ScoreTable;
use super::subject::Subject;
use crate::classify::CLASSIFIER;
use crate::error::{Result, RunError};
use pentimento_attribution::likeness::{Likeness, NearestPatches, cosines, dot, patch_noise, random_scores};
use pentimento_attribution::methods::Method;
use pentimento_data::PreparedSet;
use pentimento_evaluation::classifier::Classifier;
use std::path::Path;

/// The timestep to which queries are noised for nearest patches, of a schedule of 1000 (Zhao et al.
/// 2025 take 100 to 500).
const PATCH_TIMESTEP_OF_1000: usize = 300;

/// Training images whose pixels are in memory as numbers at a time.
const IMAGES_AT_ONCE: usize = 256;

/// Scores every training image for every query by a likeness; `classifier` is the file of one, or the run's own.
///
/// # Errors
///
/// If a query cannot be opened, or the classifier is missing, cannot be read or is for other images.
pub fn score_baseline(
    subject: &Subject<'_>,
    queries: &Queries,
    method: Method,
    likeness: Likeness,
    classifier: Option<&Path>,
) -> Result<ScoreTable> {
    let training = &subject.training.images;
    let asked: Vec<Vec<f32>> = queries.images.iter().map(|query| query.picture.clone()).collect();
    let scores = match likeness {
        Likeness::PixelDot => part_by_part(training, asked.len(), |images| Ok(dot(&asked, images)?))?,
        Likeness::PixelCosine => part_by_part(training, asked.len(), |images| Ok(cosines(&asked, images)?))?,
        Likeness::Patches => {
            // The weights of all images are shares of one sum.
            let images: Vec<Vec<f32>> = (0..training.len()).map(|index| training.scaled(index)).collect();
            patches(subject, &numbers_of(&queries.images), &asked, &images)?
        }
        Likeness::Classifier => {
            let classifier = open_classifier(subject, classifier)?;
            let of = |images: &[Vec<f32>]| -> Result<Vec<Vec<f32>>> {
                let features = classifier.features(&images.concat())?;
                let length = features.len() / images.len().max(1);
                Ok(features.chunks_exact(length.max(1)).map(<[f32]>::to_vec).collect())
            };
            let asked = of(&asked)?;
            part_by_part(training, asked.len(), |images| Ok(cosines(&asked, &of(images)?)?))?
        }
        Likeness::Random => {
            let numbers: Vec<u32> = training.source_indices().iter().map(|&index| index as u32).collect();
            random_scores(subject.workspace.recipe.seed, &numbers_of(&queries.images), &numbers)
        }
    };
    ScoreTable::plain(subject, queries, method, scores)
}

/// The likeness of so many queries to all training images, `[queries][images]`, from `likeness` of some of them at a time: in
/// 512x512 pixels an image takes 3 MB, and a set has thousands.
fn part_by_part(
    training: &PreparedSet,
    queries: usize,
    likeness: impl Fn(&[Vec<f32>]) -> Result<Vec<Vec<f64>>>,
) -> Result<Vec<Vec<f64>>> {
    let mut scores = vec![Vec::with_capacity(training.len()); queries];
    let all: Vec<usize> = (0..training.len()).collect();
    for part in all.chunks(IMAGES_AT_ONCE) {
        let images: Vec<Vec<f32>> = part.iter().map(|&index| training.scaled(index)).collect();
        for (of_query, found) in scores.iter_mut().zip(likeness(&images)?) {
            of_query.extend(found);
        }
    }
    Ok(scores)
}

/// The classifier of a file, or the one that the run trained.
///
/// # Errors
///
/// If there is none, or it is for images of another size.
pub fn open_classifier(subject: &Subject<'_>, file: Option<&Path>) -> Result<Classifier> {
    let run = &subject.workspace.run;
    let (name, bytes) = match file {
        Some(file) => {
            let bytes = std::fs::read(file).map_err(|error| no_classifier(file.display(), error))?;
            (file.display().to_string(), bytes)
        }
        None if run.entry(CLASSIFIER).is_some() => (CLASSIFIER.to_owned(), run.get(CLASSIFIER)?),
        None => {
            return Err(RunError::NoClassifier { run: run.root().to_path_buf() });
        }
    };
    let classifier = Classifier::from_bytes(&bytes).map_err(|error| no_classifier(&name, error))?;
    let (found, wanted) =
        (classifier.config().image_length(), subject.picture_shape().iter().product::<usize>());
    if found != wanted {
        return Err(RunError::RecipeValue {
            file: name,
            field: "the classifier".into(),
            value: format!("for images of {found} values"),
            bound: format!("the run's images have {wanted}"),
        });
    }
    Ok(classifier)
}

fn no_classifier(file: impl std::fmt::Display, error: impl std::fmt::Display) -> RunError {
    RunError::RecipeValue {
        file: file.to_string(),
        field: "the classifier".into(),
        value: format!("not readable ({error})"),
        bound: "`classifier/classifier.safetensors` of a run".into(),
    }
}

/// How many patches [`Likeness::Patches`] compares: the time is about proportional to it,
/// 2 ns each for grey images on two cores.
pub fn compared_patches(subject: &Subject<'_>, queries: usize) -> f64 {
    let [height, width, _] = subject.picture_shape();
    let positions = (height * width) as f64;
    queries as f64 * subject.training.images.len() as f64 * positions * positions
}

/// Numbers that follow from the queries themselves, so that none depends on what else is asked about.
fn numbers_of(queries: &[Query]) -> Vec<u32> {
    queries.iter().map(|query| noise_id(&query.key())).collect()
}

fn patches(
    subject: &Subject<'_>,
    numbers: &[u32],
    queries: &[Vec<f32>],
    images: &[Vec<f32>],
) -> Result<Vec<Vec<f64>>> {
    let recipe = &subject.workspace.recipe;
    let timestep = PATCH_TIMESTEP_OF_1000 * recipe.schedule.num_train_timesteps / 1000;
    let abar = recipe.schedule.alphas_cumprod()[timestep];
    let length = subject.picture_shape().iter().product();
    let noises: Vec<Vec<f32>> =
        numbers.iter().map(|&number| patch_noise(recipe.seed, timestep as u32, number, length)).collect();
    Ok(NearestPatches::new(subject.picture_shape(), abar).scores(queries, &noises, images)?)
}
