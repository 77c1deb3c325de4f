//! Whether a checkpoint computes what it should, and whether images are what it was trained on.

mod finding;
mod reading;
mod shown;
mod spread;

pub use finding::{Derivative, Finding, FindingKind};
pub use reading::Reading;

use crate::checkpoint::{OpenCheckpoint, open_checkpoint};
use crate::data::open_images;
use crate::error::Result;
use crate::event::Reporter;
use crate::imported::MOST_CHANNELS;
use crate::recipe::DataRecipe;
use crate::workspace::RunOptions;
use pentimento_data::{
    Cover, DataError, ImageSource as _, PreparedSet, Preprocessing, PublicSet, ResizeFilter, Split,
    check_captions, converted_without_loss, prepare,
};
use pentimento_diffusion::checkpoint::{Checkpoint, CheckpointFiles, NetworkFolder, Selection};
use pentimento_diffusion::checkup::{check, prediction_error};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::schedule::{BetaSchedule, PredictionType, ScheduleConfig};
use pentimento_diffusion::unet::{Architecture, Parameters, UnetConfig};
use pentimento_diffusion::untrained::untrained;
use shown::{Shown, Taken, said_size, usual_side};
use spread::Chosen;
use std::path::Path;

/// Another reading of the checkpoint is said to fit if it leaves less than this share of the error. (Of a trained MNIST
/// network under five wrong readings the right one left 0.16 to 0.46.)
const BETTER: f64 = 0.5;

/// The same for images in [0, 1], which are easier by themselves: of natural images at 32x32 a network that knows the
/// right range has 0.48 to 0.55 of its error on them, one that was trained on [0, 1] less than 0.33.
const BETTER_RANGE: f64 = 0.4;

/// Noise schedules that are tried as other readings. The rarer ones leave next to nothing of an image in the middle of their
/// timesteps, where predicting the noise is easy for any network.
const SCHEDULES: [BetaSchedule; 4] =
    [BetaSchedule::Linear, BetaSchedule::ScaledLinear, BetaSchedule::Cosine, BetaSchedule::Sigmoid];

/// Factors of latents that are tried as other readings: none, and those of Stable Diffusion.
const SCALING_FACTORS: [f64; 3] = [1.0, 0.18215, 0.13025];

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
/// If the network cannot take images of the size that its configuration says.
pub fn check_network(opened: &OpenCheckpoint) -> Result<Vec<Finding>> {
    let Checkpoint { architecture, values, scheduler, .. } = &opened.checkpoint;
    let mut findings: Vec<Finding> =
        untrained(architecture, values).map(Finding::Untrained).into_iter().collect();
    let config = architecture.config();
    let size = match said_size(config) {
        Some(size) => size,
        None => {
            let checked = [usual_side(config); 2];
            findings.push(Finding::NoSampleSize { checked });
            checked
        }
    };
    config.check_image(size[0], size[1], config.in_channels)?;
    let found =
        check(architecture, &opened.checkpoint.values_in_f32(), size, scheduler.schedule.num_train_timesteps);
    let derivative = |which: Derivative, error: f64| Finding::Derivative { which, error };
    let channels = config.in_channels;
    findings.extend(
        (channels > MOST_CHANNELS && opened.encoders.is_none()).then_some(Finding::NoPictures { channels }),
    );
    findings.extend([
        Finding::Outputs { finite: found.finite },
        Finding::Batches { same: found.same_in_any_batch },
        derivative(Derivative::InImage, found.tangent_error),
        derivative(Derivative::Adjoint, found.adjoint_error),
        derivative(Derivative::InParameters, found.gradient_error),
        Finding::Gradients { tensors: architecture.parameters().len(), unreached: found.unreached },
    ]);
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
    let (mut findings, prepared) = looked_at(opened, data, skip_damaged, options)?;
    let Some(prepared) = prepared else { return Ok(findings) };
    let shown = Shown::of(opened, &prepared)?;
    findings.extend(shown.decoded.map(|error| Finding::Decoded { error }));
    let [prediction, other_readings] = predictions(&opened.checkpoint, &shown)?;
    let mut prompts = None;
    let beside = match prediction {
        Finding::Prediction { error: own, .. } => {
            if !shown.without.is_empty() {
                let without = error_under(&opened.checkpoint, &shown, &shown.without);
                prompts = Some(Finding::Prompts { with: own, without });
            }
            beside(opened).map(|(other, checkpoint)| {
                let error = error_under(&checkpoint, &shown, &shown.conditions);
                Finding::Beside { other, error, own }
            })
        }
        _ => None,
    };
    findings.push(prediction);
    findings.extend(prompts);
    findings.extend(beside);
    findings.push(other_readings);
    Ok(findings)
}

/// Both networks of a training checkpoint, of which none was named, by what they predict of images; none if the images do not
/// fit.
///
/// # Errors
///
/// As opening either, and as [`check_images`].
pub fn compare_networks(
    folder: &Path,
    selection: &Selection,
    data: &str,
    skip_damaged: bool,
    options: &RunOptions,
) -> Result<Vec<Finding>> {
    let mut opened = Vec::new();
    for kind in NetworkFolder::ALL {
        let selection = Selection { network: Some(kind), ..selection.clone() };
        opened.push((kind, open_checkpoint(folder, &selection, &Reporter::silent())?));
    }
    let Some((_, first)) = opened.first() else { return Ok(Vec::new()) };
    let (findings, prepared) = looked_at(first, data, skip_damaged, options)?;
    let Some(prepared) = prepared else { return Ok(findings) };
    // Both have the same encoders.
    let shown = Shown::of(first, &prepared)?;
    let error = |opened: &OpenCheckpoint| error_under(&opened.checkpoint, &shown, &shown.conditions);
    let errors: Vec<f64> = opened.iter().map(|(_, opened)| error(opened)).collect();
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    let checkpoints = opened.into_iter().map(|(network, opened)| (network, opened.checkpoint));
    let found = checkpoints.zip(errors).map(|((network, checkpoint), error)| Finding::OneOfTwo {
        network,
        error,
        better: error == least,
        untrained: untrained(&checkpoint.architecture, &checkpoint.values),
    });
    Ok(found.collect())
}

/// What the doctor says of the images that it looks at, and these, if they can be predicted.
fn looked_at(
    opened: &OpenCheckpoint,
    data: &str,
    skip_damaged: bool,
    options: &RunOptions,
) -> Result<(Vec<Finding>, Option<PreparedSet>)> {
    let (config, taken) = (opened.checkpoint.architecture.config(), Taken::of(opened));
    // A public set by its name, anything else by its path.
    let set = data.parse::<PublicSet>().ok();
    let path = set.is_none().then(|| data.into());
    let recipe = DataRecipe { set, path, skip_damaged, ..DataRecipe::default() };
    let (images, _) = open_images(&recipe, Split::Train, options)?;
    if images.is_empty() {
        return Ok((vec![Finding::NoImage], None));
    }
    let damaged: Vec<_> = (0..images.len())
        .filter(|&index| !images.leaves_out(index))
        .filter_map(|index| images.damage(index))
        .collect();
    if !damaged.is_empty() {
        // Of the whole set, and not only of those that are looked at.
        return Err(DataError::Damaged { images: damaged, of: images.len() }.into());
    }
    let found = images.channels();
    let labels = images.labels().map(<[u32]>::to_vec);
    let chosen = Chosen::of(images);
    let sizes = (0..chosen.len()).map(|index| chosen.size(index)).collect::<Result<Vec<_>, _>>()?;
    let size = taken.said().or_else(|| sizes.first().copied()).unwrap_or([usual_side(config); 2]);
    let [height, width] = size;
    taken.check(opened, size)?;
    let other = sizes.into_iter().find(|&found| found != size);
    let cover = Cover { height, width, filter: ResizeFilter::Bilinear };
    let preprocessing = Preprocessing { cover: other.map(|_| cover), ..Preprocessing::default() };
    let network = taken.channels;
    let chosen = match converted_without_loss(Box::new(chosen), network, &preprocessing) {
        Ok(chosen) if chosen.channels() == network => chosen,
        Ok(_) | Err(DataError::ColourLost { .. }) => {
            return Ok((vec![Finding::Channels { images: found, network }], None));
        }
        Err(error) => return Err(error.into()),
    };
    if config.cross_attention.is_some() {
        check_captions(chosen.as_ref(), &(0..chosen.len()).collect::<Vec<_>>())?;
    }
    let prepared = prepare(chosen.as_ref(), &preprocessing)?;
    let bytes = prepared.pixels();
    let mut findings = vec![
        Finding::Size { network: size, other },
        Finding::Bytes {
            lowest: bytes.iter().min().copied().unwrap_or(0),
            highest: bytes.iter().max().copied().unwrap_or(0),
        },
    ];
    if let Some(classes) = config.classes() {
        let Some(labels) = labels else {
            findings.push(Finding::NoLabels);
            return Ok((findings, None));
        };
        // Of all images, and not only of those that are looked at.
        let largest = labels.iter().max().copied().unwrap_or(0);
        if largest >= classes {
            findings.push(Finding::Labels { largest, classes });
            return Ok((findings, None));
        }
    }
    Ok((findings, Some(prepared)))
}

/// The network of the same training that lies beside an opened one, if it opens: the moving average of the weights, or the
/// weights of a moving average.
fn beside(opened: &OpenCheckpoint) -> Option<(NetworkFolder, Checkpoint)> {
    // An adapter was trained on one of the two.
    if opened.adapter.is_some() {
        return None;
    }
    let own = opened.files.weights.first()?.parent()?;
    let [unet, average] = NetworkFolder::ALL;
    let other = if own.file_name()? == unet.name() { average } else { unet };
    if own.file_name()? != unet.name() && own.file_name()? != average.name() {
        return None;
    }
    let folder = match own.parent()? {
        parent if parent.as_os_str().is_empty() => Path::new("."),
        parent => parent,
    };
    let selection = Selection {
        network: Some(other),
        scheduler: Some(opened.files.scheduler.clone()),
        ..Selection::default()
    };
    let checkpoint = CheckpointFiles::find_denoiser(folder, &selection).ok()?.open().ok()?;
    let same = checkpoint.architecture.config() == opened.checkpoint.architecture.config();
    same.then_some((other, checkpoint))
}

/// How far a network's predictions of images are off under some conditions, read as the checkpoint says.
fn error_under(checkpoint: &Checkpoint, shown: &Shown, conditions: &[Condition]) -> f64 {
    let architecture = &checkpoint.architecture;
    let parameters = Parameters::from_memory(architecture, checkpoint.values_in_f32());
    let schedule = &checkpoint.scheduler.schedule;
    prediction_error(architecture, &parameters, schedule, &shown.values, shown.size, conditions)
}

/// How well the network predicts the images, and whether another reading of the checkpoint predicts them better.
fn predictions(checkpoint: &Checkpoint, shown: &Shown) -> Result<[Finding; 2]> {
    let (architecture, schedule) = (&checkpoint.architecture, &checkpoint.scheduler.schedule);
    let Shown { values, size, conditions, .. } = shown;
    let parameters = Parameters::from_memory(architecture, checkpoint.values_in_f32());
    let error = |architecture: &Architecture, schedule: &ScheduleConfig, [scale, shift]: [f32; 2]| {
        let values: Vec<f32> = values.iter().map(|value| scale * value + shift).collect();
        prediction_error(architecture, &parameters, schedule, &values, *size, conditions)
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
    for other in SCHEDULES {
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
    readings.push((reading, error(&architecture.with_config(&flipped)?, schedule, as_scaled), BETTER));
    match shown.scaling_factor {
        None => {
            readings.push((Reading::ZeroToOne, error(architecture, schedule, [0.5, 0.5]), BETTER_RANGE));
            readings.push((Reading::Inverted, error(architecture, schedule, [-1.0, 0.0]), BETTER));
        }
        Some(own) => {
            for other in SCALING_FACTORS.into_iter().filter(|&other| other != own) {
                let found = error(architecture, schedule, [(other / own) as f32, 0.0]);
                readings.push((Reading::ScalingFactor(other), found, BETTER));
            }
        }
    }
    let better = readings
        .into_iter()
        .filter(|(_, found, share)| *found < share * own)
        .min_by(|(_, a, _), (_, b, _)| a.total_cmp(b))
        .map(|(reading, found, _)| (reading, found));
    Ok([
        Finding::Prediction { predicted, images: conditions.len(), error: own },
        Finding::OtherReadings { better },
    ])
}
