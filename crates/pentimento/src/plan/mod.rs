//! What a recipe will cost on this machine, before anything of it runs.
//!
//! - [`situation`]: the images and what the run's folder has already; nothing is fetched, nothing is written.
//! - [`calls`] and [`work`]: how often each stage calls a network and with how many images, counted as the stages make
//!   the calls.
//! - [`calibration`] and [`network_memory`]: a few seconds of these calls and of real training steps, and their memory; [`benches`]
//!   are what they call.
//! - [`page`] and [`disk`]: sizes of what is written.
//! - [`forecast`]: all of it together, stage by stage.

pub mod benches;
pub mod calibration;
pub mod calls;
pub mod disk;
pub mod forecast;
pub mod network_memory;
pub mod page;
pub mod situation;
pub mod size;
pub mod work;

use crate::error::ProgramError;
use anyhow::Result;
use calibration::{Calibration, Probe, Timing, measure_times};
use disk::Disk;
use forecast::{Memory, StageForecast, seconds, training_seconds};
use network_memory::{NetworkMemory, measure_memory};
use page::{Cost, StandIns};
use pentimento_data::Split;
use pentimento_evaluation::classifier::ClassifierConfig;
use pentimento_run::RunOptions;
use pentimento_run::Stop;
use pentimento_run::recipe::Recipe;
use pentimento_run::words::{counted, mebibytes};
use situation::{Remaining, Situation};
use std::path::Path;
use work::Work;

/// What a run may hold beyond its forecast: pages of code that the calibration does not touch, and what threads leave to the
/// allocator. A run that was forecast at 32 MiB held up to 1 MiB more while other work filled the machine.
const SPARE_BYTES: u64 = 2 << 20;

/// What to make a plan for.
pub struct PlanRequest<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Where its run is or will be.
    pub folder: &'a Path,
    /// The options of the run.
    pub options: &'a RunOptions,
    /// The most that the run may hold, in bytes.
    pub memory_limit: Option<u64>,
    /// Set on Ctrl-C.
    pub stop: &'a Stop,
}

/// A forecast of a whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Every stage that has something to do, in order.
    pub stages: Vec<StageForecast>,
    /// Bytes of the manifest, which no stage owns.
    pub manifest_bytes: u64,
    /// Bytes that members in training keep beside their finished files.
    pub training_state_bytes: u64,
    /// Images that pass through a network at once.
    pub batch: usize,
    /// Number of members.
    pub members: usize,
    /// Whether the images are the real ones; else they are counted, and nothing of a run that is there is known.
    pub data_is_real: bool,
    /// What is still to be done.
    pub remaining: Remaining,
    /// Rounds of the calibration.
    pub rounds: usize,
}

impl Plan {
    /// Opens what is there, calibrates, and forecasts.
    ///
    /// # Errors
    ///
    /// As opening images and networks; [`ProgramError::MemoryLimit`] if no batch fits the limit.
    pub fn make(request: &PlanRequest<'_>) -> Result<Self> {
        let situation = Situation::find(request)?;
        let most = request.options.batch();
        let work = Work::new(request.recipe, &situation, most);
        let network = measure_memory(&work, request.stop)?;
        let stand_ins = StandIns::new(&work);
        let (page, figures) = (stand_ins.page()?, stand_ins.figures()?);
        let batch = match (request.memory_limit, network) {
            (None, _) => most,
            (Some(limit), Some(network)) => batch_within(&work, network, page, limit)?,
            (Some(_), None) => return Err(ProgramError::MemoryUnknown.into()),
        };
        let work = Work::new(request.recipe, &situation, batch);
        let calibration = measure_times(&work, request.stop)?;
        let disk = Disk::of(&work, page, figures, calibration.classifier_bytes)?;
        let memory = network.map(|network| Memory::new(&work, network));
        let stages = stages(&work, &calibration, &disk, page, memory.as_ref());
        Ok(Self {
            stages,
            manifest_bytes: disk.manifest,
            training_state_bytes: disk.training_state,
            batch,
            members: work.sizes.members,
            data_is_real: situation.data_is_real,
            rounds: calibration.rounds,
            remaining: situation.remaining,
        })
    }

    /// Seconds of all stages, with their standard error.
    pub fn time(&self) -> Timing {
        self.stages.iter().map(|stage| stage.time).fold(Timing::default(), Timing::plus)
    }

    /// The most that any stage holds.
    pub fn memory(&self) -> Option<u64> {
        self.stages.iter().filter_map(|stage| stage.memory).max()
    }

    /// Bytes of the finished run.
    pub fn disk(&self) -> u64 {
        self.stages.iter().map(|stage| stage.disk).sum::<u64>() + self.manifest_bytes
    }
}

/// The largest batch, at most that of `work`, whose run stays within a limit.
fn batch_within(work: &Work<'_>, network: NetworkMemory, page: Cost, limit: u64) -> Result<usize> {
    let peak = |batch: usize| -> Result<(u64, &'static str)> {
        let work = Work::new(work.recipe, work.situation, batch);
        let disk = Disk::of(&work, page, Cost::default(), 0)?;
        Ok(peaks(&work, &disk, page, &Memory::new(&work, network))
            .into_iter()
            .map(|(stage, bytes)| (bytes, stage))
            .max()
            .unwrap_or((0, "data")))
    };
    // Halves: between two of them the speed hardly differs.
    let mut batch = work.sizes.batch;
    loop {
        let (bytes, stage) = peak(batch)?;
        if bytes <= limit {
            return Ok(batch);
        }
        if batch == 1 {
            let weights = Memory::new(work, network).weights();
            return Err(ProgramError::MemoryLimit {
                limit: mebibytes(limit),
                // Of two measurements the second may be a little higher (by up to 3 % on a machine of 2 cores).
                least: mebibytes(bytes + bytes / 20),
                stage: stage.into(),
                advice: advice(stage, limit < weights, weights, work.sizes.members),
            }
            .into());
        }
        batch /= 2;
    }
}

/// What can be done about a stage that no batch makes small enough.
fn advice(stage: &str, below_weights: bool, weights: u64, members: usize) -> String {
    if below_weights {
        return format!("the weights of {members} members alone take {}", mebibytes(weights));
    }
    match stage {
        "training" if rayon::current_num_threads() > 1 => {
            "each thread may train a member: `--threads` with a lower number takes less".into()
        }
        "training" => "a lower `training.batch` takes less, and gives other members".into(),
        "classifier" => "the classifier opens the whole public set".into(),
        _ => "fewer `attribution.counterfactuals` take less".into(),
    }
}

/// The most that each stage holds.
fn peaks(work: &Work<'_>, disk: &Disk, page: Cost, memory: &Memory<'_>) -> Vec<(&'static str, u64)> {
    let remaining = &work.situation.remaining;
    let mut peaks = Vec::new();
    if !remaining.training_steps.is_empty() {
        peaks.push(("training", memory.training()));
    }
    if !remaining.sample_shards.is_empty() {
        peaks.push(("sampling", memory.sampling()));
    }
    peaks.extend(work.attribution().iter().map(|stage| (stage.name, memory.attribution(stage))));
    if remaining.classifier {
        peaks.push(("classifier", memory.classifier()));
    }
    if remaining.report {
        peaks.push(("report", memory.report(disk, page)));
    }
    for (_, bytes) in &mut peaks {
        *bytes += SPARE_BYTES;
    }
    peaks
}

fn stages(
    work: &Work<'_>,
    calibration: &Calibration,
    disk: &Disk,
    page: Cost,
    memory: Option<&Memory<'_>>,
) -> Vec<StageForecast> {
    let (situation, remaining) = (work.situation, &work.situation.remaining);
    let peaks = memory.map_or(Vec::new(), |memory| peaks(work, disk, page, memory));
    let memory_of = |name: &str| peaks.iter().find(|(stage, _)| *stage == name).map(|(_, bytes)| *bytes);
    let opening = Timing { seconds: situation.data_seconds, error: 0.0 };
    let mut stages = Vec::new();
    let mut stage = |name: &'static str, work: String, time: Timing, disk: u64| {
        stages.push(StageForecast { name, work, time, memory: memory_of(name), disk });
    };
    let images = &situation.data.images;
    stage("data", counted(images.len(), "image"), opening, disk.data);
    let steps: u64 = remaining.training_steps.iter().sum();
    let left = remaining.training_steps.len();
    let training =
        if left > 0 { training_seconds(&remaining.training_steps, calibration) } else { Timing::default() };
    let what = if left > 0 { format!("{left} members, {steps} steps") } else { String::new() };
    stage("training", what, training, disk.training);
    let sampling = work.sampling();
    let what = |units: u64, unit: &str| if units > 0 { format!("{units} {unit}") } else { String::new() };
    stage(
        "sampling",
        what(sampling.units, sampling.unit),
        seconds(&sampling.calls, calibration),
        disk.sampling,
    );
    let attribution = work.attribution();
    for (place, part) in attribution.iter().enumerate() {
        let mut time = seconds(&part.calls, calibration);
        if part.name == "search: linear stage" {
            let samples: usize = remaining.attribution_shards.iter().map(Vec::len).sum();
            time = calibration.timing(Probe::LinearSearch).times(samples as f64);
        }
        // The parts share their shards.
        let bytes = if place == 0 { disk.attribution } else { 0 };
        stage(part.name, what(part.units, part.unit), time, bytes);
    }
    if attribution.is_empty() {
        stage("attribution", String::new(), Timing::default(), disk.attribution);
    }
    if let (Some(classifier), Some(set)) = (work.recipe.classifier, work.recipe.data.set) {
        let (train, test) = (set.images(Split::Train), set.images(Split::Test));
        let shape = [images.height(), images.width(), images.channels()];
        let batch = ClassifierConfig::new(situation.data.class_names.len(), shape).batch;
        let steps = classifier.epochs * (train / batch).max(1);
        let own = set.images(work.recipe.data.preprocessing.split);
        let time = calibration
            .timing(Probe::ClassifierStep)
            .times(steps as f64)
            .plus(calibration.timing(Probe::ClassifierImage).times(test as f64))
            // Both halves are opened and prepared, as the run's own was.
            .plus(opening.times((train + test) as f64 / own as f64));
        let (what, time) = if remaining.classifier {
            (format!("{steps} steps"), time)
        } else {
            (String::new(), Timing::default())
        };
        stage("classifier", what, time, disk.classifier);
    }
    let seen = if work.recipe.classifier.is_some() {
        work.recipe.samples.count * (1 + work.asked_per_sample)
    } else {
        0
    };
    let approximate = work.measured_samples() * work.asked_per_sample;
    let time = calibration
        .timing(Probe::ClassifierImage)
        .times(seen as f64)
        .plus(calibration.timing(Probe::ApproximateImage).times(2.0 * approximate as f64))
        .plus(Timing { seconds: page.seconds, error: 0.0 });
    let (what, time) =
        if remaining.report { (what(1, "page"), time) } else { (String::new(), Timing::default()) };
    stage("report", what, time, disk.report);
    stages
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use pentimento_data::PublicSet;
    use pentimento_run::Reporter;
    use pentimento_run::data::CodedData;

    fn recipe() -> Recipe {
        let settings = ["data.preprocessing.first=1000".to_string(), "samples.count=20".to_string()];
        Recipe::parse(include_str!("../../../../recipes/mnist-codes.toml"), "mnist-codes", &settings).unwrap()
    }

    /// A run of which only the training is done.
    fn situation(recipe: &Recipe) -> Situation {
        let set = situation::stand_in(PublicSet::Mnist, Split::Test).unwrap();
        let names = PublicSet::Mnist.class_names().iter().map(ToString::to_string).collect();
        let data = CodedData::of(recipe, &set, names, &Reporter::silent()).unwrap();
        let architecture = data.architecture().unwrap();
        let remaining = Remaining { training_steps: Vec::new(), ..Remaining::everything(recipe, &data) };
        Situation { data, data_is_real: false, data_seconds: 0.0, architecture, remaining }
    }

    /// A network whose calls take a mebibyte an image.
    const NETWORK: NetworkMemory = NetworkMemory {
        before: 10 << 20,
        one_image: 1 << 20,
        largest_call: 64 << 20,
        largest_images: 64,
        training: 0,
        kept: 0,
        classifier: 1 << 20,
    };

    #[test]
    fn the_largest_batch_within_the_limit_is_taken() {
        let recipe = Recipe { classifier: None, ..recipe() };
        let situation = situation(&recipe);
        let work = Work::new(&recipe, &situation, 64);
        let peak = |batch: usize| {
            let work = Work::new(&recipe, &situation, batch);
            let disk = Disk::of(&work, Cost::default(), Cost::default(), 0).unwrap();
            let memory = Memory::new(&work, NETWORK);
            peaks(&work, &disk, Cost::default(), &memory).into_iter().map(|(_, bytes)| bytes).max().unwrap()
        };
        let within = |limit| batch_within(&work, NETWORK, Cost::default(), limit);
        assert_eq!(within(u64::MAX).unwrap(), 64);
        for batch in [64, 32] {
            assert_eq!(within(peak(batch)).unwrap(), batch);
            assert_eq!(within(peak(batch) - 1).unwrap(), batch / 2);
        }
        // 16 members and an image take 17 images of a call however small the batch is.
        assert_eq!(within(peak(1)).unwrap(), 16);
        let said = within(peak(1) - 1).unwrap_err().to_string();
        let least = mebibytes(peak(1) + peak(1) / 20);
        assert!(said.contains(&format!("about {least} would do")), "{said}");
    }

    #[test]
    fn a_limit_below_the_weights_is_told_what_they_take() {
        let recipe = recipe();
        let situation = situation(&recipe);
        let work = Work::new(&recipe, &situation, 64);
        let said = batch_within(&work, NETWORK, Cost::default(), 5_000_000).unwrap_err().to_string();
        assert!(said.contains("the weights of 16 members alone take"), "{said}");
    }

    #[test]
    fn stand_ins_are_as_many_as_the_set_has() {
        let recipe =
            Recipe::parse(include_str!("../../../../recipes/quickstart.toml"), "quickstart", &[]).unwrap();
        let set = situation::stand_in(PublicSet::Mnist, Split::Test).unwrap();
        let names = PublicSet::Mnist.class_names().iter().map(ToString::to_string).collect();
        let data = CodedData::of(&recipe, &set, names, &Reporter::silent()).unwrap();
        // Seven of ten classes, brought to the recipe's size.
        assert_eq!((data.images.len(), data.images.height(), data.groups.len()), (7000, 14, 7));
    }
}
