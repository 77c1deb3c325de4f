//! Gradient features and the scores built on them, as PyTorch computed them in float64 from full gradients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../pentimento-diffusion/tests/common/golden_cases.rs"]
mod golden_cases;
#[path = "common/golden_scores.rs"]
mod golden_scores;

use faer::Mat;
use faer::prelude::Solve;
use golden_cases::{Golden, golden_cases, goldens};
use golden_scores::{Features, check_scores, compare};
use pentimento_attribution::gradient::{Comparison, Divisor, FeatureExtractor, KernelError, Measurement};
use pentimento_diffusion::checkpoint::{CheckpointFiles, Selection};
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::unet::{Parameters, Precision};
use pentimento_noise::{Purpose, Stream};

/// The bound that both precisions are held to: relative to the largest entry.
const BOUND: f64 = 5e-4;

/// Features of training images and queries, without a projection.
fn features<T: Precision>(
    case: &str,
    golden: &Golden,
    measurement: Measurement,
    unit_length: bool,
) -> [Features; 2] {
    let checkpoint =
        CheckpointFiles::find(&goldens().join(case), &Selection::default()).unwrap().open().unwrap();
    let architecture = &checkpoint.architecture;
    let values = checkpoint
        .values_in_f32()
        .iter()
        .map(|values| values.iter().map(|&value| T::of(f64::from(value))).collect())
        .collect();
    let timesteps = golden.whole_numbers("features.t").into_iter();
    // PyTorch computed in f64, but from images and noises that are f32, as the file has them: nothing is rounded here.
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
    let noises = golden.image_rows("features.eps").into_iter().map(narrow);
    let draws: Vec<Draw> = timesteps.zip(noises).map(|(timestep, noise)| Draw { timestep, noise }).collect();
    let extractor = FeatureExtractor::new(
        architecture,
        Parameters::from_memory::<T>(architecture, values),
        &checkpoint.scheduler.schedule,
        measurement,
        unit_length,
    );
    let side = architecture.config().sample_size.unwrap().height;
    ["features.images", "features.queries"].map(|name| {
        let images = golden.image_rows(name).into_iter().map(narrow);
        let rows = images
            .flat_map(|image| extractor.gradient::<T>(&image, [side, side], None, &draws, name).unwrap());
        Features { values: rows.collect(), dimension: architecture.parameter_count() }
    })
}

fn check<T: Precision>(case: &str) {
    let golden = Golden::read(case);
    check_scores(case, &golden, BOUND, |measurement, unit_length| {
        features::<T>(case, &golden, measurement, unit_length)
    });
}

#[test]
fn features_and_scores_are_those_of_pytorch() {
    for case in golden_cases() {
        check::<f64>(&case);
        check::<f32>(&case);
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let features = |values: &[f32], dimension| Features { values: values.to_vec(), dimension };
    let kernel = Comparison::InverseKernel(Divisor::One);
    let images = features(&[1.0, 0.0, 0.0, 1.0], 2);
    let queries = features(&[1.0; 3], 3);
    for comparison in [Comparison::Dot, Comparison::Cosine, kernel] {
        let said = compare(comparison, &images, &queries, None);
        assert_eq!(said, Err(KernelError::Shape { found: 3, expected: 2 }));
    }
    for damping in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let said = compare(kernel, &images, &images, Some(damping));
        assert!(matches!(said, Err(KernelError::Damping { .. })));
    }
    let damaged = features(&[1.0, 0.0, 0.0, f32::NAN], 2);
    for comparison in [Comparison::Dot, kernel] {
        let said = compare(comparison, &damaged, &images, Some(1.0));
        assert_eq!(said, Err(KernelError::NotFinite { image: 1 }));
    }
    assert_eq!(compare(kernel, &features(&[], 2), &images, None), Err(KernelError::Empty));
    // Equal rows, in numbers whose products round.
    for copies in [2, 3, 6, 7] {
        let same = features(&[0.1f32, -2.3, 0.7].repeat(copies), 3);
        assert_eq!(compare(kernel, &same, &same, None), Err(KernelError::NoSpread), "{copies} copies");
    }
}

/// Whether images are more or fewer than the numbers of a feature decides which matrix is decomposed, and nothing else; so
/// scores are held to the formula with both, on features that are read in several blocks.
#[test]
fn scores_are_those_of_the_formula_with_either_matrix() {
    for (count, dimension) in [(40, 700), (700, 40), (60, 60)] {
        let features = |rows: usize, number: u32| {
            let mut values = vec![0.0; rows * dimension];
            Stream::new(3, Purpose::Test, number, 0).fill_normal(&mut values);
            // As gradients have it: most of every feature is the same.
            values.iter_mut().for_each(|value| *value += 3.0);
            Features { values, dimension }
        };
        let (images, queries) = (features(count, 0), features(5, 1));
        let damping = 20.0;
        // (Phi' Phi + damping) x = phi_q by elimination, then x' phi_i.
        let at = |features: &Features, row: usize, column: usize| {
            f64::from(features.values[row * dimension + column])
        };
        let matrix = Mat::from_fn(dimension, dimension, |i, j| {
            (0..count).map(|row| at(&images, row, i) * at(&images, row, j)).sum::<f64>()
                + if i == j { damping } else { 0.0 }
        });
        let solver = matrix.partial_piv_lu();
        let of = |features: &Features, rows| Mat::from_fn(dimension, rows, |i, row| at(features, row, i));
        let phi = of(&images, count);
        let truth = solver.solve(of(&queries, 5)).transpose() * &phi;
        let own = solver.solve(&phi);
        let scale = truth.norm_max();
        for divisor in [Divisor::One, Divisor::Length, Divisor::SolvedLength, Divisor::OneLessLeverage] {
            let (scores, self_influence) =
                compare(Comparison::InverseKernel(divisor), &images, &queries, Some(damping)).unwrap();
            for image in 0..count {
                let leverage: f64 = (0..dimension).map(|i| phi[(i, image)] * own[(i, image)]).sum();
                let divided_by = match divisor {
                    Divisor::One => 1.0,
                    Divisor::Length => phi.col(image).norm_l2(),
                    Divisor::SolvedLength => own.col(image).norm_l2(),
                    Divisor::OneLessLeverage => 1.0 - leverage,
                };
                for query in 0..5 {
                    let error = (scores[query][image] * divided_by - truth[(query, image)]).abs() / scale;
                    assert!(error < 1e-5, "{count} x {dimension}, {divisor:?}: {error:e}");
                }
                assert!((self_influence[image] * divided_by - leverage).abs() < 1e-9);
            }
        }
    }
}
