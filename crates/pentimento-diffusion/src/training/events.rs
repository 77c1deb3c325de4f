//! What happens at a step of training: which image meets which timestep and noise, whether it is mirrored, and what the network
//! is told of it.
//!
//! All of it follows from the seed, the member and the step, so it is stored nowhere: training asks for the events of a step
//! to make it, and whoever attributes by what happened in training asks again.

use super::{TrainingConditions, TrainingConfig};
use crate::condition::Condition;
use crate::denoising::Draw;
use pentimento_noise::{Purpose, Stream};

static UNTOLD: Condition = Condition::None;

/// An image of a step's batch, and what it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrainingEvent {
    /// The step, counted from 0.
    pub step: u32,
    /// Its place in the step's batch, from which its noise follows.
    pub place: u32,
    /// The image, among those of the member.
    pub image: u32,
    /// The timestep to which it is noised.
    pub timestep: u32,
    /// Whether it is mirrored left to right before.
    pub mirrored: bool,
}

/// The events of one member's training.
#[derive(Clone, Debug)]
pub struct TrainingEvents {
    batch: usize,
    replacement: bool,
    horizontal_flip: bool,
    condition_dropout: f64,
    timesteps: usize,
    images: usize,
    seed: u64,
    stream: u32,
    /// The images that are shown at all, rising; absent: every one.
    kept: Option<Vec<u32>>,
    /// What the images are shown under; absent: nothing.
    conditions: Option<TrainingConditions>,
    /// The order of the images in the epoch that was asked for last: it is made once, not at every step.
    epoch: Option<(usize, Vec<u32>)>,
}

impl TrainingEvents {
    /// The events of a member that trains on so many images, under a schedule of so many timesteps; `stream` is its number.
    pub fn new(config: &TrainingConfig, timesteps: usize, images: usize, seed: u64, stream: u32) -> Self {
        let TrainingConfig { batch, replacement, horizontal_flip, condition_dropout, .. } = *config;
        Self {
            batch,
            replacement,
            horizontal_flip,
            condition_dropout,
            timesteps,
            images,
            seed,
            stream,
            kept: None,
            conditions: None,
            epoch: None,
        }
    }

    /// The same events but for the images that are not kept: wherever one of them would be shown, one of `kept`, which rise,
    /// takes its place, drawn anew each time. Steps, timesteps, noises, mirrorings and the order of all others stay as they
    /// were, so two networks with the same seed and stream differ by their images and by nothing else.
    pub fn keeping(mut self, kept: Vec<u32>) -> Self {
        self.kept = Some(kept);
        self
    }

    /// The same events, at which the network is told conditions of its images ([`Trainer::conditional`](super::Trainer::conditional)).
    pub fn under(mut self, conditions: TrainingConditions) -> Self {
        self.conditions = Some(conditions);
        self
    }

    /// Number of images of the member.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The events of a step, counted from 0, in the order of its batch; none without images.
    pub fn of_step(&mut self, step: usize) -> Vec<TrainingEvent> {
        if self.images == 0 {
            return Vec::new();
        }
        let mut images = self.images_of(step);
        let stream = |purpose| Stream::new(self.seed, purpose, self.stream, step as u32);
        if let Some(kept) = &self.kept {
            let others = stream(Purpose::BankReplacement);
            for (place, image) in images.iter_mut().enumerate() {
                if kept.binary_search(image).is_err() {
                    match kept.get(others.below(place as u64, kept.len().max(1) as u64) as usize) {
                        Some(&other) => *image = other,
                        None => return Vec::new(),
                    }
                }
            }
        }
        let (timesteps, flips) = (stream(Purpose::TrainingTimestep), stream(Purpose::HorizontalFlip));
        let event = |(place, image)| TrainingEvent {
            step: step as u32,
            place: place as u32,
            image,
            timestep: timesteps.below(place as u64, self.timesteps as u64) as u32,
            mirrored: self.horizontal_flip && flips.below(place as u64, 2) == 1,
        };
        images.into_iter().enumerate().map(event).collect()
    }

    /// Turns an image `[height, width, channels]` into what the network was shown of it at an event, mirrored if it was, and
    /// gives the timestep and the noise that it was shown with.
    ///
    /// # Panics
    ///
    /// If the image does not have this shape.
    pub fn show(
        &self,
        event: &TrainingEvent,
        image: &mut [f32],
        [height, width, channels]: [usize; 3],
    ) -> Draw {
        assert_eq!(image.len(), height * width * channels, "values of an image");
        if event.mirrored {
            mirror(image, width, channels);
        }
        let mut noise = vec![0.0f32; image.len()];
        let stream = Stream::new(self.seed, Purpose::TrainingNoise, self.stream, event.step);
        stream.fill_normal_at(u64::from(event.place) * noise.len() as u64, &mut noise);
        Draw { timestep: event.timestep as usize, noise }
    }

    /// What the network was told of the image at an event: one of the image's conditions, or the empty one where that was dropped.
    /// Both choices follow from step and place alone, as timestep and noise do.
    pub fn condition(&self, event: &TrainingEvent) -> &Condition {
        let Some(conditions) = &self.conditions else { return &UNTOLD };
        let place = u64::from(event.place);
        let stream = |purpose| Stream::new(self.seed, purpose, self.stream, event.step);
        let is_dropped = || stream(Purpose::ConditionDropout).uniform_f64_at(place) < self.condition_dropout;
        if let Some(empty) = conditions.empty().filter(|_| is_dropped()) {
            return empty;
        }
        let own = conditions.of(event.image as usize);
        let choice = stream(Purpose::TrainingCaption).below(place, own.len() as u64);
        own.get(choice as usize).unwrap_or(&UNTOLD)
    }

    /// The images of a step.
    fn images_of(&mut self, step: usize) -> Vec<u32> {
        let count = self.images;
        if self.replacement {
            let stream = Stream::new(self.seed, Purpose::BatchOrder, self.stream, step as u32);
            return (0..self.batch).map(|place| stream.below(place as u64, count as u64) as u32).collect();
        }
        // Whole epochs without replacement; what does not fill a batch is left out of its epoch. A set smaller than a
        // batch gives all its images in each step.
        let batch = self.batch.min(count);
        let per_epoch = count / batch;
        let (epoch, place) = (step / per_epoch, step % per_epoch);
        let order = match self.epoch.take() {
            Some((of, order)) if of == epoch => order,
            _ => Stream::new(self.seed, Purpose::BatchOrder, self.stream, epoch as u32)
                .permutation(count as u32),
        };
        let images = order[place * batch..(place + 1) * batch].to_vec();
        self.epoch = Some((epoch, order));
        images
    }
}

/// Mirrors an image `[height, width, channels]` left to right.
fn mirror<T>(image: &mut [T], width: usize, channels: usize) {
    for row in image.chunks_exact_mut(width * channels) {
        for x in 0..width / 2 {
            for c in 0..channels {
                row.swap(x * channels + c, (width - 1 - x) * channels + c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirroring_reverses_pixels_and_keeps_channels() {
        // Two rows of three pixels with two channels.
        let image: Vec<f32> = (0..12u8).map(f32::from).collect();
        let mut mirrored = image.clone();
        mirror(&mut mirrored, 3, 2);
        assert_eq!(mirrored, [4.0, 5.0, 2.0, 3.0, 0.0, 1.0, 10.0, 11.0, 8.0, 9.0, 6.0, 7.0]);
        mirror(&mut mirrored, 3, 2);
        assert_eq!(mirrored, image);
    }

    #[test]
    fn a_network_without_some_images_differs_by_these_alone() {
        for replacement in [false, true] {
            let config =
                TrainingConfig { batch: 5, horizontal_flip: true, replacement, ..TrainingConfig::default() };
            let kept = [0, 2, 3, 6, 9, 10, 11];
            let mut all = TrainingEvents::new(&config, 10, 12, 5, 1);
            let mut some = TrainingEvents::new(&config, 10, 12, 5, 1).keeping(kept.to_vec());
            let mut stand_ins = [0; 12];
            for step in 0..2000 {
                for (before, after) in all.of_step(step).into_iter().zip(some.of_step(step)) {
                    assert_eq!(TrainingEvent { image: before.image, ..after }, before);
                    if kept.contains(&before.image) {
                        assert_eq!(after.image, before.image);
                    } else {
                        assert!(kept.contains(&after.image));
                        stand_ins[after.image as usize] += 1;
                    }
                }
            }
            // Each of 7 takes the place of the 5 others equally often: 4167 draws, standard deviation 22.6.
            let drawn: i32 = stand_ins.iter().sum();
            for image in kept {
                let expected = f64::from(drawn) / 7.0;
                assert!(
                    (f64::from(stand_ins[image as usize]) - expected).abs() < 4.5 * 22.6,
                    "{stand_ins:?}"
                );
            }
        }
        let config = TrainingConfig { batch: 3, ..TrainingConfig::default() };
        assert!(TrainingEvents::new(&config, 10, 8, 5, 1).keeping(Vec::new()).of_step(0).is_empty());
    }

    #[test]
    fn steps_in_any_order_have_the_same_events() {
        let config = TrainingConfig { batch: 3, horizontal_flip: true, ..TrainingConfig::default() };
        let mut forward = TrainingEvents::new(&config, 10, 8, 5, 1);
        let expected: Vec<_> = (0..9).map(|step| forward.of_step(step)).collect();
        let mut other = TrainingEvents::new(&config, 10, 8, 5, 1);
        for step in [8, 0, 5, 4, 4, 1, 7] {
            assert_eq!(other.of_step(step), expected[step]);
        }
        assert!(TrainingEvents::new(&config, 10, 0, 5, 1).of_step(0).is_empty());
    }
}
