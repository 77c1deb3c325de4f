//! Features over texts and over the parameters of adapters, and the scores built on them, as PyTorch computed them in float64
//! from full gradients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../pentimento-diffusion/tests/common/golden_cases.rs"]
mod golden_cases;
#[path = "common/golden_scores.rs"]
mod golden_scores;
#[path = "../../pentimento-diffusion/tests/common/latent_cases.rs"]
mod latent_cases;

use golden_cases::Golden;
use golden_scores::{Features, check_scores};
use latent_cases::{LatentCase, adapter_cases, latent_cases};
use pentimento_attribution::gradient::{FeatureExtractor, Measurement};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::unet::{Parameters, Precision};

/// Relative to the largest entry.
const IN_F64: f64 = 1e-5;
const IN_F32: f64 = 1e-4;

/// Features of training images and queries, without a projection.
fn features<T: Precision>(case: &LatentCase, measurement: Measurement, unit_length: bool) -> [Features; 2] {
    let LatentCase { checkpoint, golden, .. } = case;
    let architecture = &checkpoint.architecture;
    let of = |values: &Vec<f32>| values.iter().map(|&value| T::of(f64::from(value))).collect();
    let parameters =
        Parameters::from_memory::<T>(architecture, checkpoint.values_in_f32().iter().map(of).collect());
    let schedule = &checkpoint.scheduler.schedule;
    let extractor = FeatureExtractor::new(architecture, parameters, schedule, measurement, unit_length);
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
    let noises = golden.image_rows("features.eps").into_iter().map(narrow);
    let timesteps = golden.whole_numbers("features.t").into_iter();
    let draws: Vec<Draw> = timesteps.zip(noises).map(|(timestep, noise)| Draw { timestep, noise }).collect();
    let [_, height, width, _] = case.sides("features.latents");
    [("features.latents", "features.condition"), ("features.query_latents", "features.query_condition")].map(
        |(latents, conditions)| {
            let latents = golden.image_rows(latents).into_iter().map(narrow);
            let conditions = match golden.has("text.hidden") {
                true => case.conditions(conditions),
                false => vec![Condition::None; latents.len()],
            };
            let rows = latents.zip(&conditions).flat_map(|(latent, condition)| {
                extractor.gradient::<T>(&latent, [height, width], condition, &draws, "a latent").unwrap()
            });
            Features { values: rows.collect(), dimension: architecture.parameter_count() }
        },
    )
}

fn check(case: &LatentCase) {
    check_scores(&case.name, &case.golden, IN_F64, |measurement, unit_length| {
        features::<f64>(case, measurement, unit_length)
    });
    check_scores(&case.name, &case.golden, IN_F32, |measurement, unit_length| {
        features::<f32>(case, measurement, unit_length)
    });
}

#[test]
fn features_of_whole_networks() {
    latent_cases().iter().for_each(check);
}

/// Only the parameters of the adapter are there, and how its scale is split decides the features: so the forms of one adapter in
/// which it is split otherwise have others.
#[test]
fn features_of_adapters() {
    let cases = adapter_cases();
    let same = cases
        .iter()
        .filter(|case| case.scale_over_golden == 1.0 && case.adapted.golden.has("features.relative_lambda"));
    let mut checked = 0;
    for case in same {
        check(&case.adapted);
        checked += 1;
    }
    assert!(checked >= 3, "{checked} adapters");
}
