//! At which timesteps an image is looked at, and with which noise.

use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_noise::{Purpose, Stream};

/// Timesteps with one noise each, the same for all images, so that images are compared and not noises.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    timesteps: Vec<usize>,
    noises: Vec<Vec<f64>>,
}

impl Draws {
    /// `count` timesteps in equal distances from 0 on (as D-TRAK and DAS take them), at most as many as the schedule has, with
    /// noise of `length` values each that follows from the seed.
    pub fn evenly(schedule: &ScheduleConfig, count: usize, length: usize, seed: u64) -> Self {
        let total = schedule.num_train_timesteps;
        let count = count.clamp(1, total);
        let timesteps: Vec<usize> = (0..count).map(|index| index * total / count).collect();
        let noise = |&timestep: &usize| {
            let mut values = vec![0.0f32; length];
            Stream::new(seed, Purpose::AttributionNoise, 0, timestep as u32).fill_normal(&mut values);
            values.into_iter().map(f64::from).collect()
        };
        Self { noises: timesteps.iter().map(noise).collect(), timesteps }
    }

    /// Given timesteps with given noise.
    pub fn given(draws: impl IntoIterator<Item = (usize, Vec<f64>)>) -> Self {
        let (timesteps, noises) = draws.into_iter().unzip();
        Self { timesteps, noises }
    }

    /// The timesteps.
    pub fn timesteps(&self) -> &[usize] {
        &self.timesteps
    }

    /// The noise of each timestep.
    pub fn noises(&self) -> &[Vec<f64>] {
        &self.noises
    }
}
