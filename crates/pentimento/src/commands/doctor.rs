//! `pentimento doctor`: whether a checkpoint computes what it should, and whether images are what it was trained on.

use super::checkpoint;
use super::print;
use crate::arguments::CheckpointArguments;
use crate::error::ProgramError;
use anyhow::Result;
use pentimento_data::{Cover, PreparedSet, Preprocessing, PublicSet, ResizeFilter, Split, prepare};
use pentimento_diffusion::checkpoint::Checkpoint;
use pentimento_diffusion::checkup::{check, prediction_error};
use pentimento_diffusion::schedule::{BetaSchedule, PredictionType, ScheduleConfig};
use pentimento_diffusion::unet::{Architecture, Parameters, UnetConfig};
use pentimento_run::RunOptions;
use pentimento_run::data::open_images;
use pentimento_run::imported::image_size;
use pentimento_run::recipe::DataRecipe;

/// Images that predictions are tried on.
const IMAGES: usize = 16;

/// What rounding and the width of differences leave of a derivative that is right. Seen over the networks of the golden
/// cases: at most 3e-4 for the first and the last, 2e-6 for the second. A derivative that is wrong is wrong by about itself.
const DIFFERENCE_BOUND: f64 = 1e-2;
const ADJOINT_BOUND: f64 = 1e-3;

/// A network that predicts no better than this knows next to nothing of the images; always answering zero reaches 1.
const GUESSING: f64 = 0.9;

/// Another reading of the checkpoint is said to fit if it leaves less than this share of the error. (Of a trained MNIST
/// network under five wrong readings the right one left 0.16 to 0.46.)
const BETTER: f64 = 0.5;

/// The same for images in [0, 1], which are easier by themselves: of natural images at 32x32 a network that knows the
/// right range has 0.48 to 0.55 of its error on them, one that was trained on [0, 1] less than 0.33.
const BETTER_RANGE: f64 = 0.4;

/// Prints every check with what it found, and fails if one of them was not passed.
pub(super) fn doctor(
    arguments: &CheckpointArguments,
    data: Option<&str>,
    options: &RunOptions,
) -> Result<()> {
    let (files, checkpoint) = checkpoint::open(arguments)?;
    let mut page = Page::default();
    let architecture = &checkpoint.architecture;
    page.good(&format!(
        "opened: {} parameters in {} tensors from {}",
        architecture.parameter_count(),
        architecture.parameters().len(),
        match files.weights.as_slice() {
            [one] => one.display().to_string(),
            several => format!("{} files", several.len()),
        }
    ))?;
    let size = image_size(architecture)?;
    architecture.config().check_image(size[0], size[1], architecture.config().in_channels)?;
    network(&mut page, &checkpoint, size)?;
    if let Some(data) = data {
        images(&mut page, &checkpoint, size, data, options)?;
    } else {
        page.note("no images were given (`--data`), so it was not seen whether the network knows them")?;
    }
    if page.problems > 0 {
        return Err(ProgramError::Unwell { problems: page.problems }.into());
    }
    Ok(())
}

/// Lines of results, each with what it means.
#[derive(Default)]
struct Page {
    problems: usize,
}

impl Page {
    fn good(&self, text: &str) -> Result<()> {
        Ok(print(&format!("good     {text}"))?)
    }

    fn note(&self, text: &str) -> Result<()> {
        Ok(print(&format!("note     {text}"))?)
    }

    fn bad(&mut self, text: &str) -> Result<()> {
        self.problems += 1;
        Ok(print(&format!("PROBLEM  {text}"))?)
    }

    fn check(&mut self, passed: bool, good: &str, bad: &str) -> Result<()> {
        if passed { self.good(good) } else { self.bad(bad) }
    }
}

fn network(page: &mut Page, checkpoint: &Checkpoint, size: [usize; 2]) -> Result<()> {
    let timesteps = checkpoint.scheduler.schedule.num_train_timesteps;
    let found = check(&checkpoint.architecture, &checkpoint.values, size, timesteps);
    page.check(
        found.finite,
        "every output is a number",
        "outputs are infinite or not numbers: the weights are damaged, or too large for f32",
    )?;
    page.check(
        found.same_in_any_batch,
        "an image has the same output, bit by bit, alone and in a batch",
        "an image's output depends on the images beside it",
    )?;
    for (what, error, bound) in [
        ("the derivative in the image agrees with differences", found.tangent_error, DIFFERENCE_BOUND),
        ("tangents and the backward pass agree", found.adjoint_error, ADJOINT_BOUND),
        ("the gradient in the parameters agrees with differences", found.gradient_error, DIFFERENCE_BOUND),
    ] {
        let measured = format!("to {error:.1e} (at most {bound:.0e} is rounding)");
        let bad = format!("{what} only {measured}: attribution would rest on wrong derivatives");
        page.check(error <= bound, &format!("{what} {measured}"), &bad)?;
    }
    let tensors = checkpoint.architecture.parameters().len();
    let reached =
        format!("gradients reach {} of {tensors} tensors of parameters", tensors - found.unreached.len());
    // Over one pixel the softmax is 1 whatever queries and keys are.
    let of_attention = |name: &String| name.contains(".to_q.") || name.contains(".to_k.");
    match found.unreached.iter().find(|name| !of_attention(name)) {
        None if found.unreached.is_empty() => page.good(&reached),
        None => page.good(&format!("{reached}; the others are queries and keys of levels of one pixel")),
        Some(name) => {
            page.bad(&format!("{reached}: `{name}` changes nothing, so it was not trained or is cut off"))
        }
    }
}

fn images(
    page: &mut Page,
    checkpoint: &Checkpoint,
    size: [usize; 2],
    data: &str,
    options: &RunOptions,
) -> Result<()> {
    let config = checkpoint.architecture.config();
    // A public set by its name, anything else by its path.
    let set = data.parse::<PublicSet>().ok();
    let path = set.is_none().then(|| data.into());
    let recipe = DataRecipe { set, path, ..DataRecipe::default() };
    let (images, _) = open_images(&recipe, Split::Train, options.data_from.as_deref(), &options.reporter)?;
    let images = images.as_ref();
    if images.is_empty() {
        return page.bad("the set has no image");
    }
    if images.channels() != config.in_channels {
        return page.bad(&format!(
            "the images have {} channels, the network takes {}",
            images.channels(),
            config.in_channels
        ));
    }
    let count = images.len().min(IMAGES);
    let sizes = (0..count).map(|index| images.size(index)).collect::<Result<Vec<_>, _>>()?;
    let [height, width] = size;
    let fitting = sizes.iter().filter(|&&found| found == size).count();
    let cover = Cover { height, width, filter: ResizeFilter::Bilinear };
    let preprocessing = Preprocessing {
        first: Some(count),
        cover: (fitting < count).then_some(cover),
        ..Preprocessing::default()
    };
    let prepared = prepare(images, &preprocessing)?;
    if fitting == count {
        page.good(&format!("the images are {height}x{width}, as the network takes them"))?;
    } else {
        let [found_height, found_width] = sizes.iter().find(|&&found| found != size).copied().unwrap_or(size);
        page.note(&format!(
            "images are {found_height}x{found_width}, the network takes {height}x{width}; here they were resized and cut \
             to it, a run does it by `data.preprocessing.cover`"
        ))?;
    }
    range(page, &prepared)?;
    if let Some(classes) = config.classes() {
        let largest = prepared.labels().iter().max().copied().unwrap_or(0);
        if images.labels().is_none() {
            return page.bad("the network was trained with classes, and the images have no labels");
        }
        if largest >= classes {
            let known = classes - 1;
            return page.bad(&format!("labels go to {largest}, the network knows classes 0 to {known}"));
        }
    }
    predictions(page, checkpoint, &prepared, size)
}

/// Whether the bytes of the images fill their range.
fn range(page: &mut Page, prepared: &PreparedSet) -> Result<()> {
    let bytes = prepared.pixels();
    let (lowest, highest) =
        (bytes.iter().min().copied().unwrap_or(0), bytes.iter().max().copied().unwrap_or(0));
    let text = format!("the images' bytes go from {lowest} to {highest}, of 0 to 255");
    // Of images that were written as 0 and 1, or as classes of a mask.
    let bad = format!("{text}: they hardly differ, so they may have been scaled before");
    page.check(highest - lowest >= 64, &text, &bad)
}

fn predictions(
    page: &mut Page,
    checkpoint: &Checkpoint,
    prepared: &PreparedSet,
    size: [usize; 2],
) -> Result<()> {
    let declared = checkpoint.scheduler.schedule.prediction_type;
    let values: Vec<f32> = (0..prepared.len()).flat_map(|index| prepared.scaled(index)).collect();
    let classes: Vec<u32> = match checkpoint.architecture.config().classes() {
        Some(_) => prepared.labels().to_vec(),
        None => Vec::new(),
    };
    let parameters = Parameters::from_memory(&checkpoint.architecture, checkpoint.values.clone());
    let (architecture, schedule) = (&checkpoint.architecture, &checkpoint.scheduler.schedule);
    let error = |architecture: &Architecture, schedule: &ScheduleConfig, [scale, shift]: [f32; 2]| {
        let values: Vec<f32> = values.iter().map(|value| scale * value + shift).collect();
        prediction_error(architecture, &parameters, schedule, &values, size, &classes)
    };
    let as_scaled = [1.0, 0.0];
    let own = error(architecture, schedule, as_scaled);
    let name = prediction_name(declared);
    let count = prepared.len();
    let text = format!(
        "it predicts {name} of {count} of the images with a relative error of {own:.3} (which does not show that it was \
         trained on these, only on such)"
    );
    let bad = format!(
        "it predicts {name} of {count} of the images with a relative error of {own:.3}, and 1 is what knowing nothing \
         reaches: it was trained on other images, with another noise schedule, or not at all"
    );
    page.check(own < GUESSING, &text, &bad)?;

    // The best of the other ways to read the checkpoint, if it is clearly better.
    let mut readings: Vec<(String, f64, f64)> = Vec::new();
    for other in PredictionType::ALL {
        if other != declared {
            let schedule = ScheduleConfig { prediction_type: other, ..schedule.clone() };
            let text = format!("`prediction_type` = {} in the scheduler", other.name());
            readings.push((text, error(architecture, &schedule, as_scaled), BETTER));
        }
    }
    for other in BetaSchedule::ALL {
        if other != schedule.beta_schedule && schedule.trained_betas.is_none() {
            let schedule = ScheduleConfig { beta_schedule: other, ..schedule.clone() };
            if schedule.validate().is_ok() {
                let text = format!("`beta_schedule` = {} in the scheduler", other.name());
                readings.push((text, error(architecture, &schedule, as_scaled), BETTER));
            }
        }
    }
    let config = architecture.config();
    let flipped = UnetConfig { flip_sin_to_cos: !config.flip_sin_to_cos, ..config.clone() };
    let text = format!("`flip_sin_to_cos` = {} in the network's configuration", flipped.flip_sin_to_cos);
    readings.push((text, error(&Architecture::new(&flipped)?, schedule, as_scaled), BETTER));
    readings.push(("images in [0, 1]".into(), error(architecture, schedule, [0.5, 0.5]), BETTER_RANGE));
    readings.push(("black and white exchanged".into(), error(architecture, schedule, [-1.0, 0.0]), BETTER));
    let best = readings
        .into_iter()
        .filter(|(_, found, share)| *found < share * own)
        .min_by(|(_, a, _), (_, b, _)| a.total_cmp(b));
    match best {
        Some((reading, found, _)) => page.bad(&format!("it fits better, {found:.3}, with {reading}")),
        None => page.good("no other reading of the checkpoint that was tried fits better"),
    }
}

/// In words.
fn prediction_name(prediction: PredictionType) -> &'static str {
    match prediction {
        PredictionType::Epsilon => "the noise",
        PredictionType::Sample => "the image",
        PredictionType::VPrediction => "the velocity",
    }
}
