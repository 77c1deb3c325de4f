//! Which draws, timesteps with noise, an image's gradient is averaged over.

use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_noise::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// Whether all images get the same noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseSharing {
    /// One noise per timestep for all images, so that images are compared and not noises.
    #[default]
    Shared,
    /// Each image has its own.
    PerImage,
}

/// The draws of an image: `groups` times `timesteps` timesteps.
///
/// Each group is a grid over the whole schedule in equal distances, and all groups together are the finer grid; so every
/// group by itself gives a score, and how much these differ says how sure their mean is (replicated systematic sampling,
/// Deming 1960, but with starts at equal distances where his are random: the groups then differ more than means of random
/// ones would, so the error is rather too large). One group is the grid of D-TRAK and DAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawPlan {
    /// Timesteps of a group.
    pub timesteps: usize,
    /// Groups.
    pub groups: usize,
    /// Whether each noise is used with both signs.
    pub antithetic: bool,
    /// Whether images share it.
    pub sharing: NoiseSharing,
    /// What the noise follows from.
    pub seed: u64,
}

impl DrawPlan {
    /// Draws at each timestep.
    pub fn per_timestep(&self) -> usize {
        if self.antithetic { 2 } else { 1 }
    }

    /// Draws of each image.
    pub fn count(&self) -> usize {
        self.groups * self.timesteps * self.per_timestep()
    }

    /// Timesteps of one group.
    ///
    /// There are `timesteps * groups` different ones, as long as the schedule has so many.
    pub fn timesteps_of(&self, schedule: &ScheduleConfig, group: usize) -> Vec<usize> {
        let (total, all) = (schedule.num_train_timesteps, self.timesteps * self.groups);
        (0..self.timesteps).map(|index| (index * self.groups + group) * total / all).collect()
    }

    /// The draws of one group for an image of `length` values; `image` tells images apart that do not share their noise.
    pub fn draws(&self, schedule: &ScheduleConfig, group: usize, length: usize, image: u32) -> Vec<Draw> {
        let timesteps = self.timesteps_of(schedule, group).into_iter();
        timesteps.flat_map(|timestep| self.draws_at(timestep, length, image)).collect()
    }

    /// The draws at one timestep: one, or two of opposite signs.
    pub fn draws_at(&self, timestep: usize, length: usize, image: u32) -> Vec<Draw> {
        let id = match self.sharing {
            NoiseSharing::Shared => 0,
            NoiseSharing::PerImage => image,
        };
        let mut noise = vec![0.0f32; length];
        Stream::new(self.seed, Purpose::AttributionNoise, id, timestep as u32).fill_normal(&mut noise);
        let signs: &[f32] = if self.antithetic { &[1.0, -1.0] } else { &[1.0] };
        let of_sign =
            |sign: &f32| Draw { timestep, noise: noise.iter().map(|&value| sign * value).collect() };
        signs.iter().map(of_sign).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(timesteps: usize, groups: usize) -> DrawPlan {
        DrawPlan { timesteps, groups, antithetic: false, sharing: NoiseSharing::Shared, seed: 7 }
    }

    #[test]
    fn groups_are_grids_and_together_the_finer_grid() {
        let schedule = ScheduleConfig::default();
        assert_eq!(plan(10, 1).timesteps_of(&schedule, 0), (0..10).map(|k| 100 * k).collect::<Vec<_>>());
        let four = plan(10, 4);
        assert_eq!(four.timesteps_of(&schedule, 1)[..3], [25, 125, 225]);
        let mut all: Vec<usize> = (0..4).flat_map(|group| four.timesteps_of(&schedule, group)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..40).map(|k| 25 * k).collect::<Vec<_>>());
    }

    #[test]
    fn noise_is_shared_or_not_and_pairs_cancel() {
        let schedule = ScheduleConfig::default();
        let shared = plan(3, 2);
        assert_eq!(shared.draws(&schedule, 1, 5, 1), shared.draws(&schedule, 1, 5, 2));
        let own = DrawPlan { sharing: NoiseSharing::PerImage, ..shared };
        assert_ne!(own.draws(&schedule, 1, 5, 1), own.draws(&schedule, 1, 5, 2));
        let pairs = DrawPlan { antithetic: true, ..shared }.draws(&schedule, 0, 5, 0);
        assert_eq!(pairs.len(), 6);
        for pair in pairs.chunks_exact(2) {
            assert_eq!(pair[0].timestep, pair[1].timestep);
            assert!(pair[0].noise.iter().zip(&pair[1].noise).all(|(a, b)| a + b == 0.0 && *a != 0.0));
        }
    }
}
