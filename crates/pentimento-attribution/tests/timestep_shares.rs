//! A gradient at draws that lie in the schedule by uneven shares is that of the mean over all timesteps.

#![allow(clippy::unwrap_used, reason = "tests")]

use pentimento_attribution::gradient::{
    DrawPlan, FeatureExtractor, Measurement, NoiseSharing, TimestepShares,
};
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, Parameters, SampleSize, UnetConfig};
use pentimento_noise::{Purpose, Stream};

/// A hundred draws of a schedule of ten timesteps meet each as often as its share says in percent, so with one noise for all of them the
/// weighted mean is exactly that of ten draws, one at each timestep.
#[test]
fn uneven_draws_give_the_gradient_of_all_timesteps() {
    let names = |names: [&str; 2]| names.map(String::from).to_vec();
    let architecture = Architecture::new(&UnetConfig {
        sample_size: Some(SampleSize::square(8)),
        in_channels: 1,
        out_channels: 1,
        down_block_types: names(["DownBlock2D", "AttnDownBlock2D"]),
        up_block_types: names(["AttnUpBlock2D", "UpBlock2D"]),
        block_out_channels: vec![4, 8],
        layers_per_block: 1,
        attention_head_dim: Some(4),
        norm_num_groups: 2,
        ..UnetConfig::default()
    })
    .unwrap();
    let normals = |number: u32, length: usize| {
        let mut values = vec![0.0f32; length];
        Stream::new(3, Purpose::Test, number, 0).fill_normal(&mut values);
        values
    };
    let flat = normals(0, architecture.parameter_count());
    let mut rest = flat.as_slice();
    let values = architecture.parameters().iter().map(|spec| {
        let (own, behind) = rest.split_at(spec.len());
        rest = behind;
        own.iter().map(|value| 0.3 * value).collect()
    });
    let parameters = Parameters::from_memory::<f32>(&architecture, values.collect());
    let schedule = ScheduleConfig { num_train_timesteps: 10, ..ScheduleConfig::default() };
    let (image, noise) = (normals(1, 64), normals(2, 64));
    let shares = TimestepShares::in_proportion([9.0, 5.0, 3.0, 2.0, 1.0, 0.5, 0.4, 0.3, 0.2, 0.1]);
    let gradient = |drawn: TimestepShares, weighed: TimestepShares, timesteps: usize| {
        let sharing = NoiseSharing::Shared;
        let plan = DrawPlan { timesteps, groups: 1, antithetic: false, sharing, shares: drawn, seed: 1 };
        let timesteps = plan.timesteps_of(&schedule, 0);
        let draws: Vec<Draw> =
            timesteps.into_iter().map(|timestep| Draw { timestep, noise: noise.clone() }).collect();
        FeatureExtractor::new(&architecture, parameters.clone(), &schedule, Measurement::Loss, false)
            .for_shares(weighed)
            .gradient::<f32>(&image, [8, 8], None, &draws, "an image")
            .unwrap()
    };
    let all = gradient(TimestepShares::EVEN, TimestepShares::EVEN, 10);
    let largest = all.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let apart = |other: &[f32]| {
        all.iter().zip(other).fold(0.0f32, |most, (all, other)| most.max((all - other).abs())) / largest
    };
    // Sums of a hundred f32 instead of ten.
    let weighed = apart(&gradient(shares, shares, 100));
    assert!(weighed < 1e-5, "{weighed}");
    let not_weighed = apart(&gradient(shares, TimestepShares::EVEN, 100));
    assert!(not_weighed > 1e-2, "{not_weighed}");
}
