//! From counts and a calibration to a forecast: seconds, memory and disk of every stage.

use super::calibration::{Calibration, Probe, Timing};
use super::calls::Calls;
use super::disk::Disk;
use super::network_memory::NetworkMemory;
use super::page::Cost;
use super::work::{ShardKind, StageWork, Work};
use pentimento_data::Split;

/// One line of a forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct StageForecast {
    /// The stage, under the name that a run's `costs.json` has for it.
    pub name: &'static str,
    /// What it has to make: a number and its unit; nothing if all is there.
    pub work: String,
    /// Seconds, with their standard error.
    pub time: Timing,
    /// The most that the process holds during it, in bytes; none where the system does not tell.
    pub memory: Option<u64>,
    /// Bytes of its objects in the finished run.
    pub disk: u64,
}

/// Seconds of calls of networks and of the steps between them.
pub fn seconds(calls: &Calls, calibration: &Calibration) -> Timing {
    let advances = calibration.timing(Probe::Advance).times(calls.advances as f64);
    let calls = calls.network.iter().map(|(&shape, &count)| calibration.call(shape).times(count as f64));
    calls.fold(advances, Timing::plus)
}

/// Seconds of training: both ways of using the cores are tried, and the faster one is taken.
pub fn training_seconds(steps_left: &[u64], calibration: &Calibration) -> Timing {
    use pentimento_run::train::TRIAL_STEPS;
    let total: u64 = steps_left.iter().sum();
    let together = calibration.timing(Probe::StepTogether);
    if calibration.lanes == 0 {
        return together.times(total as f64);
    }
    let side_by_side = calibration.timing(Probe::StepSideBySide);
    // Each thread takes the next member when it has finished one.
    let mut lanes = vec![0_u64; calibration.lanes];
    for &steps in steps_left {
        if let Some(first_free) = lanes.iter_mut().min() {
            *first_free += steps;
        }
    }
    let longest = lanes.into_iter().max().unwrap_or(0);
    let ways = [together.times(total as f64), side_by_side.times(longest as f64)];
    let faster = if ways[0].seconds < ways[1].seconds { ways[0] } else { ways[1] };
    let trial = together.plus(side_by_side).times(1.0 + TRIAL_STEPS as f64);
    faster.plus(trial)
}

/// What arrays a stage holds, in bytes, beside weights and calls of networks.
///
/// Each figure follows the arrays of the functions that it names; what is dropped before the stage ends counts as well
/// where it may be there at the same time as the rest.
pub struct Arrays<'a> {
    work: &'a Work<'a>,
    /// Bytes of an image.
    image: u64,
}

impl<'a> Arrays<'a> {
    /// The arrays of this work.
    pub fn new(work: &'a Work<'a>) -> Self {
        Self { work, image: 4 * work.situation.data.images.image_len() as u64 }
    }

    fn members(&self) -> u64 {
        self.work.sizes.members as u64
    }

    /// `Mixture::sample` and `control_variates`: positions, predictions and noise of all trajectories, the images of
    /// those that use a member and what it says of them; and the weights of each, twice.
    fn trajectories(&self, count: u64) -> u64 {
        // A vector of weights, its header and that of the trajectory.
        let weights = 2 * (8 * self.members() + 48);
        count * (5 * self.image + weights)
    }

    /// `BaseRun`: where every sample was in each step, and what every member said there.
    fn base_run(&self, samples: u64) -> u64 {
        self.work.sizes.steps * (self.members() + 1) * samples * self.image
    }

    /// `jacobians`: tangents, what carries them, and both once more on their way through a network.
    fn jacobians(&self, samples: u64) -> u64 {
        4 * samples * self.members() * self.image
    }

    /// A shard of samples.
    pub fn sampling(&self) -> u64 {
        let samples =
            self.work.situation.remaining.sample_shards.iter().map(Vec::len).max().unwrap_or(0) as u64;
        // The shard as arrays, as bytes and as pictures.
        self.trajectories(samples) + 3 * samples * self.image
    }

    /// A stage of an attribution shard, with what the stages before it left for the end of the shard.
    pub fn attribution(&self, stage: &str, kind: ShardKind) -> u64 {
        let (samples, measured) = (kind.samples as u64, kind.measured as u64);
        let (members, asked) = (self.members(), self.work.asked_per_sample as u64);
        let base = self.base_run(samples);
        let exact = samples * asked;
        // Results stay where they were made and are copied to the shard.
        let kept = |images: u64| 2 * images * self.image;
        let after_exact = base + kept(exact + samples) + self.trajectories(exact) - exact * 5 * self.image;
        let along = kept(2 * samples * members);
        let candidates = samples * self.work.candidates() as u64;
        let checked = samples * self.work.checked() as u64;
        let measuring = after_exact + along + kept(checked) + self.base_run(measured);
        let images = measured * asked;
        match stage {
            "base trajectories" => base + self.trajectories(samples),
            "exact counterfactuals" => base + self.trajectories(exact),
            "one-member Jacobian" => after_exact + self.jacobians(samples),
            "second-order term" => after_exact + along + self.trajectories(samples * members),
            "search: linear stage" => after_exact + along,
            "search: control-variate stage" => after_exact + along + self.trajectories(candidates),
            "search: exact check" => {
                after_exact + along + candidates * self.image + self.trajectories(checked)
            }
            "control-variate counterfactuals" => measuring + kept(images) + self.trajectories(images),
            "full Jacobian" => measuring + kept(2 * images) + self.jacobians(measured),
            // At its end the shard becomes the bytes of a file.
            _ => {
                let alone = measured * members;
                measuring + kept(2 * images + 2 * alone) + self.trajectories(alone)
            }
        }
    }

    /// The classifier: the set before and after preparation, and the test images as values.
    pub fn classifier(&self) -> u64 {
        let Some(set) = self.work.recipe.data.set else { return 0 };
        let count = |split| set.images(split) as u64;
        let (train, test) = (count(Split::Train), count(Split::Test));
        let raw = set.files().iter().map(|file| file.bytes).sum::<u64>();
        // An image has a label, a place in the set and an id of 32 bytes.
        raw + (train + test) * (self.image / 4 + 48) + 2 * test * self.image
    }

    /// The report: all shards as they are read, one of them on its way, and the page in pieces and as a whole.
    pub fn report(&self, disk: &Disk, page: Cost) -> u64 {
        let largest = self
            .work
            .kinds()
            .keys()
            .map(|&kind| super::disk::safetensors_bytes(self.work.arrays(kind)))
            .max();
        // Of every image of a shard, its vector has a header.
        let images = disk.attribution / self.image.max(1);
        disk.attribution + 48 * images + 3 * largest.unwrap_or(0) + 4 * page.bytes
    }
}

/// Memory of stages, from what was measured and what was counted.
pub struct Memory<'a> {
    work: &'a Work<'a>,
    network: NetworkMemory,
    arrays: Arrays<'a>,
}

impl<'a> Memory<'a> {
    /// The memory of this work.
    pub fn new(work: &'a Work<'a>, network: NetworkMemory) -> Self {
        Self { work, network, arrays: Arrays::new(work) }
    }

    /// The weights of all members, and those of one as bytes and as values while it is opened.
    pub fn weights(&self) -> u64 {
        (self.work.sizes.members as u64 + 3) * 4 * self.work.situation.architecture.parameter_count() as u64
    }

    /// With the images open, and what earlier calls of networks left.
    fn floor(&self) -> u64 {
        self.network.before + if self.trains() { self.network.kept } else { 0 }
    }

    fn trains(&self) -> bool {
        !self.work.situation.remaining.training_steps.is_empty()
    }

    /// Training.
    pub fn training(&self) -> u64 {
        self.network.before + self.network.training
    }

    /// A stage that calls all members, with these arrays beside it.
    pub fn calling(&self, arrays: u64) -> u64 {
        let Self { work, network, .. } = self;
        let members = work.sizes.members + 1;
        let images = work.sizes.batch.max((work.sizes.batch / members).max(1) * members);
        self.floor() + self.weights() + network.call(images) + arrays
    }

    /// Sampling.
    pub fn sampling(&self) -> u64 {
        self.calling(self.arrays.sampling())
    }

    /// A stage of attribution.
    pub fn attribution(&self, stage: &StageWork) -> u64 {
        let arrays = self.work.kinds().into_keys().map(|kind| self.arrays.attribution(stage.name, kind));
        self.calling(arrays.max().unwrap_or(0))
    }

    /// The classifier.
    pub fn classifier(&self) -> u64 {
        self.floor() + self.network.classifier + self.arrays.classifier()
    }

    /// The report.
    pub fn report(&self, disk: &Disk, page: Cost) -> u64 {
        self.floor() + self.weights() + self.network.classifier + self.arrays.report(disk, page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn calibration(together: f64, side_by_side: f64, lanes: usize) -> Calibration {
        let timing = |seconds| Timing { seconds, error: 0.0 };
        let timings = BTreeMap::from([
            (Probe::StepTogether, timing(together)),
            (Probe::StepSideBySide, timing(side_by_side)),
        ]);
        Calibration { timings, lanes, classifier_bytes: 0, rounds: 2 }
    }

    #[test]
    fn members_are_trained_the_faster_way() {
        // Seven members of 100 steps on two threads: four rounds of 100 steps side by side, or 700 one by one; and the
        // trial takes four steps of each kind.
        let side = training_seconds(&[100; 7], &calibration(1.0, 1.5, 2));
        assert!((side.seconds - (400.0 * 1.5 + 4.0 * 2.5)).abs() < 1e-9, "{side:?}");
        let together = training_seconds(&[100; 7], &calibration(1.0, 2.5, 2));
        assert!((together.seconds - (700.0 + 4.0 * 3.5)).abs() < 1e-9, "{together:?}");
        // One thread makes no trial.
        assert!((training_seconds(&[100, 50], &calibration(1.0, 0.0, 0)).seconds - 150.0).abs() < 1e-9);
        // A member that is nearly finished leaves its thread to the next one.
        let uneven = training_seconds(&[100, 10, 60], &calibration(1.0, 1.0, 2));
        assert!((uneven.seconds - (100.0 + 4.0 * 2.0)).abs() < 1e-9, "{uneven:?}");
    }
}
