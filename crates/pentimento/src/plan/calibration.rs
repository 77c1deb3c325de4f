//! How long the recipe's work takes on this machine: a few seconds of real training steps and real calls of its network with the
//! numbers of images that the stages will use.

use super::benches::{Bench, ClassifierBench, SideBySide, lanes, timed, trainer, with_images};
use super::work::Work;
use crate::progress::say;
use anyhow::Result;
use pentimento_diffusion::mixture::CallShape;
use pentimento_run::Stop;
use std::collections::BTreeMap;
use std::time::Instant;

/// Does a piece of work once and says how many seconds it took.
type TimedWork<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// How long everything is measured over and over, one after another. The first round is not counted.
const MEASURING_SECONDS: f64 = 6.0;
/// At least so many rounds are counted, however long they take.
const LEAST_ROUNDS: usize = 2;
/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// An optimiser step with all threads.
    StepTogether,
    /// An optimiser step of one member while every other thread makes one of another member.
    StepSideBySide,
    /// A call of a network.
    Call(CallShape),
    /// One image moves one step on, with its recorded noise.
    Advance,
    /// The linear stage of one sample's search.
    LinearSearch,
    /// An approximate image with its second-order terms.
    ApproximateImage,
    /// A training step of the classifier.
    ClassifierStep,
    /// What the classifier says of an image.
    ClassifierImage,
}

/// The mean of some measurements, and how sure it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// Mean.
    pub seconds: f64,
    /// Standard error of the mean.
    pub error: f64,
}

impl Timing {
    fn of(values: &[f64]) -> Self {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let error = if values.len() > 1 { (squares / (count - 1.0) / count).sqrt() } else { mean };
        Self { seconds: mean, error }
    }

    /// So many times this; the errors are those of one calibration, so they add up.
    pub fn times(self, count: f64) -> Self {
        Self { seconds: self.seconds * count, error: self.error * count }
    }

    /// One after the other.
    pub fn plus(self, other: Self) -> Self {
        Self { seconds: self.seconds + other.seconds, error: self.error + other.error }
    }
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Seconds of everything that was timed.
    pub timings: BTreeMap<Probe, Timing>,
    /// Members that train side by side, if they do: one per thread.
    pub lanes: usize,
    /// Length of the classifier's file, if the recipe asks for one.
    pub classifier_bytes: u64,
    /// How many rounds were counted.
    pub rounds: usize,
}

impl Calibration {
    /// What was measured for a probe; nothing for one that this run has no use for.
    pub fn timing(&self, probe: Probe) -> Timing {
        self.timings.get(&probe).copied().unwrap_or_default()
    }

    /// A call of a network: on the line through the two nearest sizes that were measured.
    pub fn call(&self, shape: CallShape) -> Timing {
        let known: Vec<(usize, Timing)> = self
            .timings
            .iter()
            .filter_map(|(probe, timing)| match probe {
                Probe::Call(known) if known.directions == shape.directions => Some((known.images, *timing)),
                _ => None,
            })
            .collect();
        let above = known.partition_point(|&(images, _)| images < shape.images);
        match (above.checked_sub(1).and_then(|below| known.get(below)), known.get(above)) {
            (_, Some(&(images, timing))) if images == shape.images => timing,
            (Some(&(less, low)), Some(&(more, high))) => {
                let part = (shape.images - less) as f64 / (more - less) as f64;
                low.times(1.0 - part).plus(high.times(part))
            }
            // The smallest and the largest call of a run are always measured.
            (Some(&(images, timing)), None) | (None, Some(&(images, timing))) => {
                timing.times(shape.images as f64 / images as f64)
            }
            (None, None) => Timing::default(),
        }
    }
}

/// Times everything that the work is made of.
///
/// # Errors
///
/// As making and training networks, and [`crate::error::ProgramError::Stopped`].
pub fn measure_times(work: &Work<'_>, stop: &Stop) -> Result<Calibration> {
    let lanes = lanes(work);
    let (bench, classifier) = (Bench::new(work)?, ClassifierBench::new(work));
    let mut probes: Vec<(Probe, TimedWork<'_>)> = Vec::new();
    if !work.situation.remaining.training_steps.is_empty() {
        let mut trainer = trainer(work, 0)?;
        probes.push((
            Probe::StepTogether,
            Box::new(move || with_images(work, 0, |images| timed(1.0, || Ok(trainer.train_step(images)?)))),
        ));
    }
    if lanes > 0 {
        let mut side_by_side = SideBySide::new(work, lanes)?;
        probes.push((Probe::StepSideBySide, Box::new(move || side_by_side.step(work))));
    }
    for shape in bench.shapes.clone() {
        let (bench, mut turn) = (&bench, 0);
        probes.push((
            Probe::Call(shape),
            Box::new(move || {
                turn += 1;
                timed(1.0, || bench.call(turn, shape))
            }),
        ));
    }
    if !bench.shapes.is_empty() {
        probes.push((Probe::Advance, Box::new(|| bench.advance())));
    }
    if work.candidates() > 0 && !work.situation.remaining.attribution_shards.is_empty() {
        probes.push((Probe::LinearSearch, Box::new(|| bench.linear_search())));
    }
    if work.situation.remaining.report && work.measured_samples() > 0 {
        probes.push((Probe::ApproximateImage, Box::new(|| bench.approximate_image())));
    }
    if let Some(classifier) = &classifier {
        if work.situation.remaining.classifier {
            probes.push((Probe::ClassifierStep, Box::new(|| classifier.step())));
        }
        probes.push((Probe::ClassifierImage, Box::new(|| classifier.predict())));
    }
    let mut measured: BTreeMap<Probe, Vec<f64>> = BTreeMap::new();
    let mut rounds = 0;
    say(&format!("calibrating: time, about {MEASURING_SECONDS:.0} s"));
    for (_, probe) in &mut probes {
        stop.check()?;
        // The first time also pays for memory that later ones reuse.
        probe()?;
    }
    let started = Instant::now();
    while rounds < LEAST_ROUNDS || started.elapsed().as_secs_f64() < MEASURING_SECONDS && !probes.is_empty() {
        for (key, probe) in &mut probes {
            stop.check()?;
            measured.entry(*key).or_default().push(probe()?);
        }
        rounds += 1;
    }
    drop(probes);
    let classifier_bytes = classifier.map_or(Ok(0), |bench| bench.file_bytes())?;
    let timings = measured.into_iter().map(|(probe, values)| (probe, Timing::of(&values))).collect();
    Ok(Calibration { timings, lanes, classifier_bytes, rounds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(times: &[(usize, f64)]) -> Calibration {
        let timing = |&(images, seconds): &(usize, f64)| {
            (Probe::Call(CallShape { images, directions: 0 }), Timing { seconds, error: seconds / 10.0 })
        };
        let timings = times.iter().map(timing).collect();
        Calibration { timings, lanes: 0, classifier_bytes: 0, rounds: 2 }
    }

    #[test]
    fn calls_between_two_sizes_lie_on_the_line_between_them() {
        let calibration = calibration(&[(2, 1.0), (4, 1.4), (64, 13.4)]);
        for (images, seconds) in [(2, 1.0), (3, 1.2), (4, 1.4), (34, 7.4), (64, 13.4)] {
            let call = calibration.call(CallShape { images, directions: 0 });
            assert!((call.seconds - seconds).abs() < 1e-12, "{images}: {call:?}");
        }
        // There are no measurements with tangents.
        assert_eq!(calibration.call(CallShape { images: 2, directions: 7 }), Timing::default());
    }

    #[test]
    fn the_mean_and_its_error_are_those_of_statistics() {
        // Variance of 1, 2, 3, 4 is 5/3; the mean of four has a quarter of it.
        let timing = Timing::of(&[1.0, 2.0, 3.0, 4.0]);
        assert!((timing.seconds - 2.5).abs() < 1e-12);
        assert!((timing.error - (5.0_f64 / 12.0).sqrt()).abs() < 1e-12);
        // Of a single measurement nothing is known of its spread: it may be off by all of itself.
        assert_eq!(Timing::of(&[2.0]), Timing { seconds: 2.0, error: 2.0 });
    }
}
