//! How the draws of an image are shared out among the parts of the schedule.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Parts of the schedule, each of as many timesteps.
pub const TENTHS: usize = 10;

/// Draws of a tenth from which its loss is known well enough. The losses of single draws of one tenth vary by about as much as their mean, so the
/// mean of 16 is known to a quarter.
const LEAST_DRAWS: f64 = 16.0;

/// Which share of an image's draws lies in each tenth of the schedule, in percent.
///
/// A mean over the schedule has the least variance if each part is drawn in proportion to the standard deviation there (Neyman 1934), and
/// each draw then counts by the inverse of that, so that what is estimated stays the mean over all timesteps. The gradient of a loss is
/// the residual times a derivative, so its deviation follows the loss: on a network for MNIST, draws in proportion to the loss gave 0.42 of
/// the variance of EK-FAC scores that as many draws in equal distances had. In proportion to the deviations themselves, which nobody
/// knows before, it would have been 0.37, and to the lengths of gradients 0.48 (docs/results/banks.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimestepShares([u8; TENTHS]);

impl TimestepShares {
    /// As many draws everywhere.
    pub const EVEN: Self = Self([10; TENTHS]);

    /// In proportion to numbers that are not negative, one for each tenth, and a hundredth of the draws at the least.
    pub fn in_proportion(to: [f64; TENTHS]) -> Self {
        let sum: f64 = to.iter().sum();
        if !(sum > 0.0 && sum.is_finite()) || to.iter().any(|&value| value < 0.0) {
            return Self::EVEN;
        }
        // Beyond the hundredth that each has: whole percents, and what is left of them to the largest remainders.
        let beyond = to.map(|value| value / sum * (100 - TENTHS) as f64);
        let mut percents = beyond.map(|share| 1 + share as u8);
        let mut places: [usize; TENTHS] = std::array::from_fn(|tenth| tenth);
        places.sort_by(|&a, &b| beyond[b].fract().total_cmp(&beyond[a].fract()).then(a.cmp(&b)));
        let left = 100 - percents.iter().map(|&percent| usize::from(percent)).sum::<usize>();
        places.iter().take(left).for_each(|&tenth| percents[tenth] += 1);
        Self(percents)
    }

    /// The share of each tenth in percent.
    pub fn percents(self) -> [u8; TENTHS] {
        self.0
    }

    /// As a clause; none of equal shares.
    pub fn in_words(self) -> Option<String> {
        let early = |tenths: usize| self.0[..tenths].iter().map(|&percent| u32::from(percent)).sum::<u32>();
        (self != Self::EVEN).then(|| {
            format!(
                "draws of training images lie where the network's loss does, {} % in the first tenth of the schedule and {} % in the first half, and count \
                 by the inverse",
                early(1),
                early(TENTHS / 2)
            )
        })
    }

    /// The timestep at a place of so many, in a schedule of `total` timesteps: places in equal distances give timesteps that are as dense
    /// in each tenth as its share says.
    ///
    /// # Panics
    ///
    /// If there are not so many places.
    pub(super) fn timestep(self, place: usize, places: usize, total: usize) -> usize {
        assert!(place < places, "place {place} of {places}");
        if !self.applies_to(total) {
            return place * total / places;
        }
        let mut before = 0;
        for (tenth, &percent) in self.0.iter().enumerate() {
            let (percent, timesteps) = (usize::from(percent), of_tenth(tenth, total));
            if 100 * place < (before + percent) * places {
                return timesteps.start
                    + (100 * place - before * places) * timesteps.len() / (percent * places);
            }
            before += percent;
        }
        total - 1
    }

    /// What a draw at a timestep counts in the mean over draws, so that this estimates the mean over all timesteps.
    pub fn weight(self, timestep: usize, total: usize) -> f64 {
        if !self.applies_to(total) {
            return 1.0;
        }
        let tenth = tenth_of(timestep, total);
        100.0 / f64::from(self.0[tenth]) * of_tenth(tenth, total).len() as f64 / total as f64
    }

    /// Equal shares are the grid in equal distances, also of a schedule that has no tenths.
    fn applies_to(self, total: usize) -> bool {
        self != Self::EVEN && total >= TENTHS
    }
}

/// The timesteps of a tenth of a schedule.
fn of_tenth(tenth: usize, total: usize) -> Range<usize> {
    (tenth * total).div_ceil(TENTHS)..((tenth + 1) * total).div_ceil(TENTHS)
}

fn tenth_of(timestep: usize, total: usize) -> usize {
    (timestep * TENTHS / total.max(1)).min(TENTHS - 1)
}

/// Losses that were met in each tenth of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossOfTenths {
    /// Their sums.
    sums: [f64; TENTHS],
    /// How many there were.
    draws: [f64; TENTHS],
}

impl LossOfTenths {
    /// Adds the loss at a timestep of a schedule of `total`.
    pub fn add(&mut self, timestep: usize, total: usize, loss: f64) {
        let tenth = tenth_of(timestep, total);
        self.sums[tenth] += loss;
        self.draws[tenth] += 1.0;
    }

    /// Adds those of others.
    pub fn merge(&mut self, other: &Self) {
        self.sums.iter_mut().zip(other.sums).for_each(|(sum, value)| *sum += value);
        self.draws.iter_mut().zip(other.draws).for_each(|(sum, value)| *sum += value);
    }

    /// Shares in proportion to the mean losses; equal ones if too few draws were met somewhere.
    pub fn shares(&self) -> TimestepShares {
        if self.draws.iter().any(|&draws| draws < LEAST_DRAWS) {
            return TimestepShares::EVEN;
        }
        TimestepShares::in_proportion(std::array::from_fn(|tenth| self.sums[tenth] / self.draws[tenth]))
    }

    /// Sums and numbers of draws, `[2][tenths]`, for a file.
    pub fn to_values(&self) -> Vec<f64> {
        self.sums.iter().chain(&self.draws).copied().collect()
    }

    /// What [`to_values`](Self::to_values) gave; none for another number of values.
    pub fn from_values(values: &[f64]) -> Option<Self> {
        let (sums, draws) = values.split_at_checked(TENTHS)?;
        Some(Self { sums: sums.try_into().ok()?, draws: draws.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNEVEN: TimestepShares = TimestepShares([40, 21, 16, 11, 6, 2, 1, 1, 1, 1]);

    #[test]
    fn shares_are_whole_percents_and_all_of_them() {
        // 100 of 1000 parts and so on: a hundredth each, and nine tenths of the proportion beyond.
        let found = TimestepShares::in_proportion([0.4, 0.2, 0.15, 0.1, 0.05, 0.04, 0.03, 0.02, 0.01, 0.0]);
        // 1 + 36, 18, 13.5, 9, 4.5, 3.6, 2.7, 1.8, 0.9, 0: five are left for the largest remainders.
        assert_eq!(found.percents(), [37, 19, 14, 10, 5, 5, 4, 3, 2, 1]);
        assert_eq!(found.percents().iter().map(|&percent| u32::from(percent)).sum::<u32>(), 100);
        for nothing in [[0.0; TENTHS], [f64::NAN; TENTHS], [f64::INFINITY; TENTHS]] {
            assert_eq!(TimestepShares::in_proportion(nothing), TimestepShares::EVEN);
        }
        assert_eq!(TimestepShares::in_proportion([3.5; TENTHS]), TimestepShares::EVEN);
    }

    /// As many places of a fine grid lie in each tenth as its share says, and the mean with weights is that over all timesteps.
    #[test]
    fn weights_give_the_mean_over_all_timesteps() {
        for total in [1000, 1003, 50, 10] {
            let places = 100_000;
            let timesteps: Vec<usize> =
                (0..places).map(|place| UNEVEN.timestep(place, places, total)).collect();
            assert!(timesteps.windows(2).all(|two| two[0] <= two[1]));
            assert!(timesteps[places - 1] < total);
            for (tenth, &percent) in UNEVEN.0.iter().enumerate() {
                let inside = timesteps.iter().filter(|&&t| of_tenth(tenth, total).contains(&t)).count();
                assert_eq!(inside, usize::from(percent) * places / 100, "{tenth} of {total}");
            }
            // Of any function of the timestep: here of one that is far from flat.
            let value =
                |t: usize| libm::exp(-(t as f64) / total as f64 * 5.0) + if t == 0 { 1.0 } else { 0.0 };
            let truth = (0..total).map(value).sum::<f64>() / total as f64;
            let mean =
                timesteps.iter().map(|&t| UNEVEN.weight(t, total) * value(t)).sum::<f64>() / places as f64;
            assert!((mean / truth - 1.0).abs() < 2e-3, "{mean} and {truth} of {total}");
        }
    }

    #[test]
    fn equal_shares_are_the_grid_in_equal_distances() {
        for (places, total) in [(10, 1000), (40, 1000), (7, 50), (3, 5)] {
            for place in 0..places {
                assert_eq!(TimestepShares::EVEN.timestep(place, places, total), place * total / places);
            }
            assert_eq!(TimestepShares::EVEN.weight(3, total), 1.0);
        }
        // A schedule without tenths has no shares.
        assert_eq!(UNEVEN.timestep(2, 4, 5), 2);
        assert_eq!(UNEVEN.weight(2, 5), 1.0);
    }

    #[test]
    fn shares_follow_the_mean_losses_where_there_are_enough() {
        let mut losses = LossOfTenths::default();
        // Twice as many draws in the first tenth do not make its mean larger.
        for draw in 0..32 {
            losses.add(draw, 1000, 4.0);
        }
        for tenth in 1..TENTHS {
            for draw in 0..16 {
                losses.add(100 * tenth + draw, 1000, if tenth == 1 { 2.0 } else { 0.5 });
            }
        }
        // 4, 2, and eight times 0.5: 36, 18 and 4.5 beyond the hundredth.
        assert_eq!(losses.shares().percents(), [37, 19, 6, 6, 6, 6, 5, 5, 5, 5]);
        assert_eq!(LossOfTenths::from_values(&losses.to_values()), Some(losses));
        let mut few = LossOfTenths::default();
        few.add(5, 1000, 1.0);
        assert_eq!(few.shares(), TimestepShares::EVEN);
        few.merge(&losses);
        assert_eq!(few.sums[0], 129.0);
        assert_eq!(few.draws[0], 33.0);
        assert_eq!(LossOfTenths::from_values(&[1.0; 19]), None);
    }
}
