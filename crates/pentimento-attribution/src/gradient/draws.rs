//! Which draws, timesteps with noise, an image's gradient is averaged over.

use super::timestep_shares::TimestepShares;
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_noise::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Groups of the first batch; each further batch has as many groups as all before it.
pub const FIRST_GROUPS: usize = 4;

/// Most blocks of groups that are left out in turn to see how sure scores are. Of eight an interval is a tenth wider than of
/// sixteen, and all that is made again for each block, such as a kernel, costs half.
pub const MOST_BLOCKS: usize = 8;

/// Parts of the whole by which the grid of an image can be turned.
const TURNS: usize = 1 << 16;

/// Most parts of a batch of groups: no block begins or ends within one of them.
pub const MOST_PARTS: usize = 4;

/// The parts of a batch of groups in which what does not need every group may be kept: at most four, of which each lies in one
/// block however many groups there are.
pub fn parts_of_batch(batch: &Range<usize>) -> Vec<Range<usize>> {
    let of_part = (batch.start / MOST_PARTS).max(1);
    let part = |start: usize| start..(start + of_part).min(batch.end);
    batch.clone().step_by(of_part).map(part).collect()
}

/// How many groups of draws stand together in a block, so that there are at most [`MOST_BLOCKS`] of the same size: a power of
/// two, as so many groups that follow each other are a finer grid. None if so many groups cannot be cut like this.
pub fn groups_per_block(groups: usize) -> Option<usize> {
    let of_block = groups.div_ceil(MOST_BLOCKS).next_power_of_two();
    (groups > 0 && groups.is_multiple_of(of_block)).then_some(of_block)
}

/// The batches in which so many groups are taken: the first four, the next four, the next eight, and so on. More groups have
/// the same batches and further ones.
pub fn batches(groups: usize) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut first = 0;
    while first < groups {
        let end = (2 * first).max(FIRST_GROUPS).min(groups);
        batches.push(first..end);
        first = end;
    }
    batches
}

/// Most groups of so many timesteps that a schedule has without a timestep in two of them.
pub fn most_groups(schedule_timesteps: usize, timesteps: usize) -> usize {
    let most = (schedule_timesteps / timesteps.max(1)).max(1);
    1 << most.ilog2()
}

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
/// Each group is a grid over the whole schedule in equal distances, and 2, 4, 8, ... groups together are the finer grid; so
/// every group by itself gives a score, and how much these differ says how sure their mean is (replicated systematic sampling,
/// Deming 1960, but with starts at equal distances where his are random: the groups then differ more than means of random
/// ones would, so the error is rather too large). One group is the grid of D-TRAK and DAS. With other than equal
/// [`shares`](Self::shares) distances are equal in the cumulative share instead of in timesteps, and the grid of each image is turned by a place of its
/// own, drawn at random: so each draw by itself is anywhere in the schedule as its shares say, and a mean has no bias from parts of the
/// schedule that few draws miss.
///
/// What a group draws does not depend on how many there are: its start is the van der Corput sequence (0, 1/2, 1/4, 3/4, 1/8,
/// ...) times the distance of the grid.
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
    /// Where in the schedule the timesteps lie. A mean over draws then counts each by its [`weight`](TimestepShares::weight).
    pub shares: TimestepShares,
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
    /// No two groups share one, as long as shares are equal and there are no more than [`most_groups`].
    pub fn timesteps_of(&self, schedule: &ScheduleConfig, group: usize) -> Vec<usize> {
        self.turned(schedule, group, 0)
    }

    /// The timesteps of a group whose grid is turned by so many of [`TURNS`] parts of the whole.
    fn turned(&self, schedule: &ScheduleConfig, group: usize, turn: usize) -> Vec<usize> {
        let total = schedule.num_train_timesteps;
        let bits = group.checked_ilog2().map_or(0, |log| log + 1);
        // The bits of the group's number in the opposite order, behind the point.
        let (parts, start) = (1 << bits, group.reverse_bits().checked_shr(usize::BITS - bits).unwrap_or(0));
        let places = self.timesteps * parts;
        let timestep = |index| match turn {
            0 => self.shares.timestep(index * parts + start, places, total),
            _ => {
                let place = ((index * parts + start) * TURNS + places * turn) % (places * TURNS);
                self.shares.timestep(place, places * TURNS, total)
            }
        };
        (0..self.timesteps).map(timestep).collect()
    }

    /// How many groups stand together in a block; each by itself, if they cannot be cut into a few equal ones.
    pub fn groups_per_block(&self) -> usize {
        groups_per_block(self.groups).unwrap_or(1)
    }

    /// Blocks of groups that are left out in turn.
    pub fn blocks(&self) -> usize {
        self.groups / self.groups_per_block()
    }

    /// The draws of one group for an image of `length` values; `image` tells images apart that do not share their noise.
    pub fn draws(&self, schedule: &ScheduleConfig, group: usize, length: usize, image: u32) -> Vec<Draw> {
        let timesteps = self.turned(schedule, group, self.turn(image)).into_iter().enumerate();
        let draws = |(index, timestep): (usize, usize)| {
            // Uneven shares meet a timestep more than once; the number of the draw tells its noises apart.
            let address = match self.shares {
                TimestepShares::EVEN => timestep,
                _ => group * self.timesteps + index,
            };
            self.draws_of(timestep, address, length, image)
        };
        timesteps.flat_map(draws).collect()
    }

    /// By how many of [`TURNS`] parts the grid of an image is turned: as many for all that share their noise, none if shares are equal.
    fn turn(&self, image: u32) -> usize {
        if self.shares == TimestepShares::EVEN {
            return 0;
        }
        let mut place = [0.0f32];
        Stream::new(self.seed, Purpose::TimestepShift, self.noise_of(image), 0).fill_uniform(&mut place);
        (f64::from(place[0]) * TURNS as f64) as usize
    }

    fn noise_of(&self, image: u32) -> u32 {
        match self.sharing {
            NoiseSharing::Shared => 0,
            NoiseSharing::PerImage => image,
        }
    }

    /// The draws at one timestep: one, or two of opposite signs.
    ///
    /// # Panics
    ///
    /// If shares are not equal: then the number of a draw tells noises apart, and not the timestep.
    pub fn draws_at(&self, timestep: usize, length: usize, image: u32) -> Vec<Draw> {
        assert_eq!(self.shares, TimestepShares::EVEN, "shares of draws at one timestep");
        self.draws_of(timestep, timestep, length, image)
    }

    fn draws_of(&self, timestep: usize, address: usize, length: usize, image: u32) -> Vec<Draw> {
        let id = self.noise_of(image);
        let mut noise = vec![0.0f32; length];
        Stream::new(self.seed, Purpose::AttributionNoise, id, address as u32).fill_normal(&mut noise);
        let signs: &[f32] = if self.antithetic { &[1.0, -1.0] } else { &[1.0] };
        let of_sign =
            |sign: &f32| Draw { timestep, noise: noise.iter().map(|&value| sign * value).collect() };
        signs.iter().map(of_sign).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::timestep_shares::TENTHS;
    use super::*;

    fn plan(timesteps: usize, groups: usize) -> DrawPlan {
        DrawPlan {
            timesteps,
            groups,
            antithetic: false,
            sharing: NoiseSharing::Shared,
            shares: TimestepShares::EVEN,
            seed: 7,
        }
    }

    fn schedule(timesteps: usize) -> ScheduleConfig {
        ScheduleConfig { num_train_timesteps: timesteps, ..ScheduleConfig::default() }
    }

    /// The timesteps of some groups together, rising.
    fn together(plan: DrawPlan, schedule: &ScheduleConfig, groups: Range<usize>) -> Vec<usize> {
        let mut all: Vec<usize> = groups.flat_map(|group| plan.timesteps_of(schedule, group)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn groups_are_grids_and_together_the_finer_grid() {
        let schedule = schedule(1000);
        assert_eq!(plan(10, 1).timesteps_of(&schedule, 0), (0..10).map(|k| 100 * k).collect::<Vec<_>>());
        // Starts at 0, 1/2, 1/4, 3/4, 1/8 and 5/8 of the distance.
        let starts = |groups: Range<usize>| {
            groups.map(|group| plan(10, 8).timesteps_of(&schedule, group)[0]).collect::<Vec<_>>()
        };
        assert_eq!(starts(0..6), [0, 50, 25, 75, 12, 62]);
        assert_eq!(together(plan(10, 4), &schedule, 0..4), (0..40).map(|k| 25 * k).collect::<Vec<_>>());
        for (total, timesteps) in [(1000, 10), (1000, 7), (50, 3), (20, 5), (1, 1)] {
            let schedule = self::schedule(total);
            let most = most_groups(total, timesteps);
            for groups in (0..).map(|power| 1 << power).take_while(|&groups| groups <= most) {
                let all = timesteps * groups;
                let grid: Vec<usize> = (0..all).map(|index| index * total / all).collect();
                assert_eq!(together(plan(timesteps, groups), &schedule, 0..groups), grid);
                // None is there twice.
                assert!(grid.windows(2).all(|two| two[0] < two[1]));
            }
            assert!(2 * most * timesteps > total);
        }
    }

    /// What a group draws does not depend on how many groups there are, and blocks are grids too.
    #[test]
    fn groups_do_not_depend_on_their_number() {
        let schedule = schedule(1000);
        for group in 0..4 {
            for groups in [5, 8, 64] {
                let of = |groups| plan(10, groups).draws(&schedule, group, 3, 9);
                assert_eq!(of(4), of(groups));
            }
        }
        for groups in [16, 32, 64] {
            let (of_block, plan) = (groups / 8, plan(10, groups));
            assert_eq!((plan.groups_per_block(), plan.blocks()), (of_block, 8));
            for block in 0..8 {
                let found = together(plan, &schedule, block * of_block..(block + 1) * of_block);
                // The distances of a grid, but for rounding down.
                let distance = 100.0 / of_block as f64;
                assert!(found.windows(2).all(|two| ((two[1] - two[0]) as f64 - distance).abs() <= 1.0));
            }
        }
    }

    #[test]
    fn groups_come_in_batches_and_stand_in_equal_blocks() {
        assert_eq!(batches(32), [0..4, 4..8, 8..16, 16..32]);
        assert_eq!(batches(4), batches(32)[..1]);
        assert_eq!(batches(6), [0..4, 4..6]);
        assert_eq!(batches(3).as_slice(), std::slice::from_ref(&(0..3)));
        // However many groups there are, a part of a batch lies in one block.
        for groups in (1..=1024).filter(|&groups| groups_per_block(groups).is_some()) {
            let (of_block, all) = (groups_per_block(groups).unwrap(), batches(groups));
            for batch in &all {
                let parts = parts_of_batch(batch);
                assert_eq!((parts[0].start, parts[parts.len() - 1].end), (batch.start, batch.end));
                assert!(parts.len() <= 4 && parts.windows(2).all(|two| two[0].end == two[1].start));
                assert!(
                    parts.iter().all(|part| part.start / of_block == (part.end - 1) / of_block),
                    "{groups}"
                );
            }
            assert_eq!(all.iter().map(Range::len).sum::<usize>(), groups);
        }
        let blocks: Vec<Option<usize>> =
            [0, 1, 5, 8, 9, 10, 16, 17, 18, 20, 32, 40].map(groups_per_block).into();
        let of =
            [None, Some(1), Some(1), Some(1), None, Some(2), Some(2), None, None, Some(4), Some(4), Some(8)];
        assert_eq!(blocks, of);
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

    /// Few draws of one image miss parts of the schedule; over images, the weights of those in each tenth add up to what the tenth is.
    #[test]
    fn uneven_shares_miss_nothing_over_images() {
        let shares = TimestepShares::in_proportion([40.0, 21.0, 16.0, 11.0, 6.0, 2.0, 1.0, 1.0, 1.0, 1.0]);
        let schedule = schedule(1000);
        for (timesteps, groups) in [(10, 4), (5, 4), (1, 4)] {
            let sharing = NoiseSharing::PerImage;
            let plan = DrawPlan { shares, sharing, ..plan(timesteps, groups) };
            let mut weights = [0.0; TENTHS];
            let images = 20_000;
            for image in 0..images {
                for draw in (0..groups).flat_map(|group| plan.draws(&schedule, group, 1, image)) {
                    weights[draw.timestep / 100] += shares.weight(draw.timestep, 1000);
                }
            }
            // A tenth of all. A tenth with 1 % has 800 draws of 80,000 (or 20,000) images at the least, so this is over six deviations.
            let of_all = f64::from(images) * (timesteps * groups) as f64;
            for (tenth, weight) in weights.into_iter().enumerate() {
                assert!((10.0 * weight / of_all - 1.0).abs() < 0.2, "{tenth}: {weight} of {of_all}");
            }
        }
    }

    /// A timestep that is met again has another noise.
    #[test]
    fn uneven_shares_have_noises_of_their_own() {
        let shares = TimestepShares::in_proportion([40.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        let (schedule, plan) = (schedule(20), DrawPlan { shares, ..plan(4, 8) });
        let draws: Vec<Draw> = (0..8).flat_map(|group| plan.draws(&schedule, group, 3, 9)).collect();
        let early = draws.iter().filter(|draw| draw.timestep < 2).count();
        // 73 of 100 of 32 draws, 23.36, in two timesteps.
        assert!([23, 24].contains(&early), "{early}");
        for (place, draw) in draws.iter().enumerate() {
            assert!(draws[..place].iter().all(|before| before.noise != draw.noise));
        }
    }
}
