//! Ensembles whose samples have conditions of their own and are guided: derivatives and control variates are those of guided members.

#![allow(clippy::unwrap_used, reason = "tests")]

use pentimento_attribution::ensemble::{
    BaseRun, Request, TangentMembers, control_variates, full_weights, jacobians,
};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::{Sampler, SamplingConfig};
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, Parameters, UnetConfig};
use pentimento_noise::{Purpose, Stream};
use std::convert::Infallible;

const MEMBERS: usize = 3;
const SEED: u64 = 3;
const SAMPLES: [u32; 2] = [4, 9];

fn go_on(_: usize) -> Result<(), Infallible> {
    Ok(())
}

/// Members with random values and four classes, led away from class 3.
fn mixture() -> Mixture {
    let names = |names: [&str; 2]| names.map(String::from).to_vec();
    let architecture = Architecture::new(&UnetConfig {
        in_channels: 1,
        out_channels: 1,
        down_block_types: names(["DownBlock2D", "AttnDownBlock2D"]),
        up_block_types: names(["AttnUpBlock2D", "UpBlock2D"]),
        block_out_channels: vec![4, 8],
        layers_per_block: 1,
        attention_head_dim: Some(4),
        norm_num_groups: 2,
        num_class_embeds: Some(4),
        ..UnetConfig::default()
    })
    .unwrap();
    let member = |member: u32| {
        let values = architecture.parameters().iter().zip(0..).map(|(spec, place)| {
            let mut values = vec![0.0f32; spec.len()];
            Stream::new(1, Purpose::Test, member, place).fill_normal(&mut values);
            values.into_iter().map(|value| 0.2 * f64::from(value)).collect()
        });
        Parameters::from_memory(&architecture, values.collect())
    };
    let members = (0..MEMBERS as u32).map(member).collect();
    Mixture::new(architecture.clone(), members, 4, 4, 3).unwrap().guided(2.5, Condition::Class(3)).unwrap()
}

fn conditions() -> Vec<Option<Condition>> {
    [1, 2].map(|class| Some(Condition::Class(class))).to_vec()
}

/// The samples by members with these weights.
fn sampled(mixture: &Mixture, sampler: &Sampler, weights: &[f64]) -> Vec<f64> {
    let trajectory = |(&sample, condition)| Trajectory { sample, weights: weights.to_vec(), condition };
    let trajectories: Vec<_> = SAMPLES.iter().zip(conditions()).map(trajectory).collect();
    mixture.sample(sampler, SEED, &trajectories, go_on).unwrap()
}

#[test]
fn derivatives_are_those_of_guided_members() {
    let mixture = mixture();
    let sampling = SamplingConfig { steps: 4, clip: false, ..SamplingConfig::default() };
    let sampler = Sampler::new(&ScheduleConfig::default(), sampling).unwrap();
    let base = BaseRun::<f64>::under(&mixture, &sampler, SEED, (&SAMPLES, conditions()), go_on).unwrap();
    let full = full_weights(MEMBERS);
    assert_eq!(base.images, sampled(&mixture, &sampler, &full));
    let largest = base.images.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));

    // Weights that did not move leave nothing to correct.
    let requests = [0, 1].map(|sample| Request { sample, weights: full.clone() });
    let varied = control_variates(&mixture, &sampler, &base, &requests, go_on).unwrap();
    for (varied, value) in varied.iter().zip(&base.images) {
        assert!((varied - value).abs() < 1e-10 * largest, "{varied} instead of {value}");
    }

    let found = jacobians(&mixture, &sampler, &base, TangentMembers::All, go_on).unwrap();
    let length = mixture.image_length();
    for member in 0..MEMBERS {
        let moved = |by: f64| {
            let mut weights = full.clone();
            weights[member] += by;
            sampled(&mixture, &sampler, &weights)
        };
        // Central differences: the error is of the size of h^2 and of rounding divided by h.
        let h = 1e-5;
        let (above, below) = (moved(h), moved(-h));
        let truth: Vec<f64> = above.iter().zip(&below).map(|(a, b)| (a - b) / (2.0 * h)).collect();
        let scale = truth.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        for (place, truth) in truth.iter().enumerate() {
            let value = found[place / length].columns[member][place % length];
            assert!((value - truth).abs() < 1e-6 * scale, "member {member}: {value} instead of {truth}");
        }
    }
}
