//! Whether a checkpoint computes what it should, and whether images are what it was trained on.

mod finding;

pub use finding::{Derivative, Finding, FindingKind, Reading};

use crate::checkpoint::OpenCheckpoint;
use crate::data::open_images;
use crate::error::Result;
use crate::imported::{MOST_CHANNELS, image_size};
use crate::recipe::DataRecipe;
use crate::workspace::RunOptions;
use pentimento_data::{
    Cover, DataError, PreparedSet, Preprocessing, PublicSet, ResizeFilter, Split, converted_without_loss,
    prepare,
};
use pentimento_diffusion::checkpoint::Checkpoint;
use pentimento_diffusion::checkup::{check, prediction_error};
use pentimento_diffusion::schedule::{BetaSchedule, PredictionType, ScheduleConfig};
use pentimento_diffusion::unet::{Architecture, Parameters, UnetConfig};

/// Images that predictions are tried on.
const IMAGES: usize = 16;

/// Another reading of the checkpoint is said to fit if it leaves less than this share of the error. (Of a trained MNIST
/// network under five wrong readings the right one left 0.16 to 0.46.)
const BETTER: f64 = 0.5;

/// The same for images in [0, 1], which are easier by themselves: of natural images at 32x32 a network that knows the
/// right range has 0.48 to 0.55 of its error on them, one that was trained on [0, 1] less than 0.33.
const BETTER_RANGE: f64 = 0.4;

/// What the files of a checkpoint hold.
pub fn what_was_opened(opened: &OpenCheckpoint) -> Finding {
    let architecture = &opened.checkpoint.architecture;
    Finding::Opened {
        parameters: architecture.parameter_count(),
        tensors: architecture.parameters().len(),
        weights: opened.files.weights.clone(),
    }
}

/// Checks what the network computes: its outputs, alone and in a batch, its derivatives, and what its gradients reach.
///
/// # Errors
///
/// If its configuration does not say of which size its images are, or the network cannot take images of that size.
pub fn check_network(opened: &OpenCheckpoint) -> Result<Vec<Finding>> {
    let Checkpoint { architecture, values, scheduler, .. } = &opened.checkpoint;
    let size = image_size(architecture)?;
    architecture.config().check_image(size[0], size[1], architecture.config().in_channels)?;
    let found = check(architecture, values, size, scheduler.schedule.num_train_timesteps);
    let derivative = |which: Derivative, error: f64| Finding::Derivative { which, error };
    let channels = architecture.config().in_channels;
    let no_pictures = (channels > MOST_CHANNELS).then_some(Finding::NoPictures { channels });
    let mut findings = vec![
        Finding::Outputs { finite: found.finite },
        Finding::Batches { same: found.same_in_any_batch },
        derivative(Derivative::InImage, found.tangent_error),
        derivative(Derivative::Adjoint, found.adjoint_error),
        derivative(Derivative::InParameters, found.gradient_error),
        Finding::Gradients { tensors: architecture.parameters().len(), unreached: found.unreached },
    ];
    findings.extend(no_pictures);
    Ok(findings)
}

/// Checks whether the network knows images: those of a public set, by its name, or of a path. What makes the next check
/// meaningless is the last finding.
///
/// # Errors
///
/// As [`check_network`], and as opening and preparing the images.
pub fn check_images(
    opened: &OpenCheckpoint,
    data: &str,
    skip_damaged: bool,
    options: &RunOptions,
) -> Result<Vec<Finding>> {
    let checkpoint = &opened.checkpoint;
    let config = checkpoint.architecture.config();
    let size = image_size(&checkpoint.architecture)?;
    // A public set by its name, anything else by its path.
    let set = data.parse::<PublicSet>().ok();
    let path = set.is_none().then(|| data.into());
    let recipe = DataRecipe { set, path, skip_damaged, ..DataRecipe::default() };
    let (images, _) = open_images(&recipe, Split::Train, options)?;
    if images.is_empty() {
        return Ok(vec![Finding::NoImage]);
    }
    let (found, network) = (images.channels(), config.in_channels);
    let first = Preprocessing { first: Some(images.len().min(IMAGES)), ..Preprocessing::default() };
    let of_other_channels = vec![Finding::Channels { images: found, network }];
    let images = match converted_without_loss(images, network, &first) {
        Ok(images) if images.channels() == network => images,
        Ok(_) | Err(DataError::ColourLost { .. }) => return Ok(of_other_channels),
        Err(error) => return Err(error.into()),
    };
    let images = images.as_ref();
    let count = images.len().min(IMAGES);
    let selected = (0..images.len()).filter(|&index| !images.leaves_out(index)).take(count);
    let sizes = selected.map(|index| images.size(index)).collect::<Result<Vec<_>, _>>()?;
    let [height, width] = size;
    let other = sizes.into_iter().find(|&found| found != size);
    let cover = Cover { height, width, filter: ResizeFilter::Bilinear };
    let preprocessing =
        Preprocessing { first: Some(count), cover: other.map(|_| cover), ..Preprocessing::default() };
    let prepared = prepare(images, &preprocessing)?;
    let bytes = prepared.pixels();
    let mut findings = vec![
        Finding::Size { network: size, other },
        Finding::Bytes {
            lowest: bytes.iter().min().copied().unwrap_or(0),
            highest: bytes.iter().max().copied().unwrap_or(0),
        },
    ];
    if let Some(classes) = config.classes() {
        let largest = prepared.labels().iter().max().copied().unwrap_or(0);
        if images.labels().is_none() {
            findings.push(Finding::NoLabels);
            return Ok(findings);
        }
        if largest >= classes {
            findings.push(Finding::Labels { largest, classes });
            return Ok(findings);
        }
    }
    findings.extend(predictions(checkpoint, &prepared, size)?);
    Ok(findings)
}

/// How well the network predicts the images, and whether another reading of the checkpoint predicts them better.
fn predictions(checkpoint: &Checkpoint, prepared: &PreparedSet, size: [usize; 2]) -> Result<[Finding; 2]> {
    let (architecture, schedule) = (&checkpoint.architecture, &checkpoint.scheduler.schedule);
    let values: Vec<f32> = (0..prepared.len()).flat_map(|index| prepared.scaled(index)).collect();
    let classes: Vec<u32> = match architecture.config().classes() {
        Some(_) => prepared.labels().to_vec(),
        None => Vec::new(),
    };
    let parameters = Parameters::from_memory(architecture, checkpoint.values.clone());
    let error = |architecture: &Architecture, schedule: &ScheduleConfig, [scale, shift]: [f32; 2]| {
        let values: Vec<f32> = values.iter().map(|value| scale * value + shift).collect();
        prediction_error(architecture, &parameters, schedule, &values, size, &classes)
    };
    let as_scaled = [1.0, 0.0];
    let own = error(architecture, schedule, as_scaled);
    let predicted = schedule.prediction_type;

    // The best of the other ways to read the checkpoint, if it is clearly better.
    let mut readings: Vec<(Reading, f64, f64)> = Vec::new();
    for other in PredictionType::ALL {
        if other != predicted {
            let schedule = ScheduleConfig { prediction_type: other, ..schedule.clone() };
            readings.push((Reading::Predicts(other), error(architecture, &schedule, as_scaled), BETTER));
        }
    }
    for other in BetaSchedule::ALL {
        if other != schedule.beta_schedule && schedule.trained_betas.is_none() {
            let schedule = ScheduleConfig { beta_schedule: other, ..schedule.clone() };
            if schedule.validate().is_ok() {
                readings.push((Reading::Schedule(other), error(architecture, &schedule, as_scaled), BETTER));
            }
        }
    }
    let config = architecture.config();
    let flipped = UnetConfig { flip_sin_to_cos: !config.flip_sin_to_cos, ..config.clone() };
    let reading = Reading::FlipSinToCos(flipped.flip_sin_to_cos);
    readings.push((reading, error(&Architecture::new(&flipped)?, schedule, as_scaled), BETTER));
    readings.push((Reading::ZeroToOne, error(architecture, schedule, [0.5, 0.5]), BETTER_RANGE));
    readings.push((Reading::Inverted, error(architecture, schedule, [-1.0, 0.0]), BETTER));
    let better = readings
        .into_iter()
        .filter(|(_, found, share)| *found < share * own)
        .min_by(|(_, a, _), (_, b, _)| a.total_cmp(b))
        .map(|(reading, found, _)| (reading, found));
    Ok([
        Finding::Prediction { predicted, images: prepared.len(), error: own },
        Finding::OtherReadings { better },
    ])
}
