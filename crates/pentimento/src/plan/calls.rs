//! How often each stage calls a network, and with how many images: counted as the stages make the calls, before any is
//! made.

use pentimento_diffusion::mixture::CallShape;
use std::collections::BTreeMap;

/// Calls of a network, and steps of images between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How often a network is called, by what passes through it.
    pub network: BTreeMap<CallShape, u64>,
    /// How many times one image moves one step on, with its recorded noise.
    pub advances: u64,
}

/// What all counts have in common.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Steps of the sampler.
    pub steps: u64,
    /// Number of members.
    pub members: usize,
    /// Images that pass through a network at once.
    pub batch: usize,
    /// Whether steps are guided: then each call is made twice, with an image's condition and without.
    pub guided: bool,
}

impl Sizes {
    /// Passes through a network for each prediction.
    fn passes(self) -> u64 {
        if self.guided { 2 } else { 1 }
    }
}

impl Calls {
    /// Counts `times` forward passes of so many images, cut into batches.
    fn forward(&mut self, sizes: Sizes, images: usize, times: u64) {
        self.batches(images, 0, sizes.batch, times * sizes.passes());
    }

    /// Counts `times` passes with all members' tangents, cut so that tangents and images together fill a batch.
    fn tangents(&mut self, sizes: Sizes, images: usize, times: u64) {
        let together = (sizes.batch / (sizes.members + 1)).max(1);
        self.batches(images, sizes.members, together, times * sizes.passes());
    }

    fn batches(&mut self, images: usize, directions: usize, together: usize, times: u64) {
        let (full, rest) = (images / together, images % together);
        for (images, batches) in [(together, full as u64), (rest, u64::from(rest > 0))] {
            if batches * times > 0 {
                *self.network.entry(CallShape { images, directions }).or_default() += batches * times;
            }
        }
    }

    /// Adds other calls, so many times.
    pub fn add(&mut self, other: &Self, times: u64) {
        for (&shape, count) in &other.network {
            *self.network.entry(shape).or_default() += count * times;
        }
        self.advances += other.advances * times;
    }

    /// Images that pass through a network, tangents not counted.
    pub fn images(&self) -> u64 {
        self.network.iter().map(|(shape, count)| shape.images as u64 * count).sum()
    }

    /// Trajectories from start to end, as [`pentimento_diffusion::mixture::Mixture::sample`] runs them side by side;
    /// `users` has a bit for each member that a trajectory uses.
    pub fn trajectories(sizes: Sizes, users: &[u64]) -> Self {
        let mut calls = Self { advances: sizes.steps * users.len() as u64, ..Self::default() };
        for member in 0..sizes.members {
            calls.forward(sizes, users.iter().filter(|&&bits| bits >> member & 1 == 1).count(), sizes.steps);
        }
        calls
    }

    /// The full ensemble's trajectories, with every member's prediction kept.
    pub fn base_run(sizes: Sizes, samples: usize) -> Self {
        let mut calls = Self { advances: sizes.steps * samples as u64, ..Self::default() };
        calls.forward(sizes, samples, sizes.steps * sizes.members as u64);
        calls
    }

    /// Derivatives of samples along their base trajectories, carried by so many members in each step.
    pub fn jacobians(sizes: Sizes, samples: usize, carriers: usize) -> Self {
        let mut calls = Self::default();
        // The start does not depend on the weights, so the first step carries nothing.
        calls.tangents(sizes, samples, (sizes.steps - 1) * carriers as u64);
        calls
    }

    /// Counterfactuals by control variate; `survivors` has a bit for each member that remains in one, and all of them
    /// have equally many.
    pub fn control_variates(sizes: Sizes, survivors: &[u64]) -> Self {
        let mut calls = Self { advances: sizes.steps * survivors.len() as u64, ..Self::default() };
        let turns = survivors.first().map_or(0, |bits| u64::from(bits.count_ones()));
        for turn in 0..turns {
            let mut corrected_by = vec![0_usize; sizes.members];
            for &bits in survivors {
                if let Some(member) = nth_member(bits, turn) {
                    corrected_by[member] += 1;
                }
            }
            // Of the steps 1 to T - 1, those whose remainder is this turn.
            let times = (1..sizes.steps).filter(|step| step % turns == turn).count() as u64;
            for images in corrected_by {
                calls.forward(sizes, images, times);
            }
        }
        calls
    }
}

/// The place of the `n`-th set bit, from 0.
fn nth_member(bits: u64, n: u64) -> Option<usize> {
    (0..64).filter(|member| bits >> member & 1 == 1).nth(n as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_attribution::ensemble::{
        BaseRun, CodeBook, Request, TangentMembers, control_variates, full_weights, jacobians,
    };
    use pentimento_diffusion::condition::Condition;
    use pentimento_diffusion::mixture::{Mixture, Trajectory};
    use pentimento_diffusion::sampler::{Sampler, SamplingConfig};
    use pentimento_diffusion::schedule::ScheduleConfig;
    use pentimento_diffusion::unet::{Architecture, Parameters, UnetConfig};
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// The smallest network that there is, as only its calls matter.
    fn mixture(members: usize, batch: usize) -> Mixture {
        let config = UnetConfig {
            in_channels: 1,
            out_channels: 1,
            block_out_channels: vec![4],
            down_block_types: vec!["DownBlock2D".into()],
            up_block_types: vec!["UpBlock2D".into()],
            layers_per_block: 1,
            norm_num_groups: 2,
            attention_head_dim: Some(4),
            ..UnetConfig::default()
        };
        let architecture = Architecture::new(&config).unwrap();
        let member =
            |stream| Parameters::from_memory(&architecture, Parameters::initial(&architecture, 1, stream));
        Mixture::new(architecture.clone(), (0..members as u32).map(member).collect(), 4, 4, batch).unwrap()
    }

    fn never(_: usize) -> Result<(), Infallible> {
        Ok(())
    }

    /// What a mixture itself counts while it does `work`.
    fn observed(mixture: &Mixture, work: impl FnOnce(&Mixture)) -> BTreeMap<CallShape, u64> {
        let before = mixture.calls();
        work(mixture);
        let mut calls = mixture.calls();
        for (shape, count) in before {
            *calls.get_mut(&shape).unwrap() -= count;
        }
        calls.retain(|_, count| *count > 0);
        calls
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn counts_are_those_of_the_calls_that_are_made(
            members in 2_u32..7, steps in 1_usize..6, samples in 1_usize..6, batch in 1_usize..12, guided: bool, seed: u64,
        ) {
            let weight = (members / 2).max(1);
            let book = CodeBook::draw(members, weight, members, seed).unwrap();
            let mut mixture = mixture(members as usize, batch);
            if guided {
                mixture = mixture.guided(3.0, Condition::None).unwrap();
            }
            let sampling = SamplingConfig { steps, ..SamplingConfig::default() };
            let sampler = Sampler::new(&ScheduleConfig::default(), sampling).unwrap();
            let sizes = Sizes { steps: steps as u64, members: members as usize, batch, guided };
            let ids: Vec<u32> = (0..samples as u32).collect();
            let all = (1_u64 << members) - 1;

            let base = BaseRun::<f32>::new(&mixture, &sampler, 1, &ids, never).unwrap();
            prop_assert_eq!(mixture.calls(), Calls::base_run(sizes, samples).network);

            let trajectories: Vec<Trajectory> = ids
                .iter()
                .map(|&sample| Trajectory { sample, weights: full_weights(members as usize), condition: None })
                .collect();
            let made = observed(&mixture, |mixture| {
                mixture.sample::<f32, _>(&sampler, 1, &trajectories, never).unwrap();
            });
            prop_assert_eq!(made, Calls::trajectories(sizes, &vec![all; samples]).network);

            // Every group is removed from every sample.
            let requests: Vec<Request> = (0..samples)
                .flat_map(|sample| (0..members).map(move |group| (sample, group)))
                .map(|(sample, group)| Request { sample, weights: book.weights_without(&[group]).unwrap() })
                .collect();
            let survivors: Vec<u64> = (0..samples)
                .flat_map(|_| book.codes().iter().map(|code| all & !code.bits()))
                .collect();
            let made = observed(&mixture, |mixture| {
                control_variates(mixture, &sampler, &base, &requests, never).unwrap();
            });
            prop_assert_eq!(made, Calls::control_variates(sizes, &survivors).network);
            let removed: Vec<Trajectory> = requests
                .iter()
                .map(|request| Trajectory { sample: ids[request.sample], weights: request.weights.clone(), condition: None })
                .collect();
            let made = observed(&mixture, |mixture| {
                mixture.sample::<f32, _>(&sampler, 1, &removed, never).unwrap();
            });
            prop_assert_eq!(made, Calls::trajectories(sizes, &survivors).network);

            for (which, carriers) in [(TangentMembers::OnePerStep, 1), (TangentMembers::All, members as usize)] {
                let made = observed(&mixture, |mixture| {
                    jacobians(mixture, &sampler, &base, which, never).unwrap();
                });
                prop_assert_eq!(made, Calls::jacobians(sizes, samples, carriers).network);
            }
        }
    }
}
