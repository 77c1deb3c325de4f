//! Gradient features and the scores built on them, as PyTorch computed them in float64 from full gradients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../pentimento-diffusion/tests/common/golden_cases.rs"]
mod golden_cases;

use golden_cases::{Golden, golden_cases, goldens};
use pentimento_attribution::gradient::{
    Draws, FeatureExtractor, Features, Kernel, KernelError, Measurement, Method, dot_scores,
};
use pentimento_diffusion::checkpoint::{CheckpointFiles, Selection};
use pentimento_diffusion::unet::{Parameters, Precision};

/// The bound that both precisions are held to: relative to the largest entry.
const BOUND: f64 = 5e-4;

#[track_caller]
fn assert_close(what: &str, found: &[f64], truth: &[f64]) {
    assert_eq!(found.len(), truth.len(), "{what}");
    let largest = truth.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0, "{what}: nothing to compare with");
    for (place, (a, b)) in found.iter().zip(truth).enumerate() {
        let error = (a - b).abs() / largest;
        assert!(error < BOUND, "{what}[{place}]: {a} instead of {b}, relative error {error:e}");
    }
}

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
        .values
        .iter()
        .map(|values| values.iter().map(|&value| T::of(f64::from(value))).collect())
        .collect();
    let timesteps = golden.whole_numbers("features.t").into_iter();
    let draws = Draws::given(timesteps.zip(golden.image_rows("features.eps")));
    let extractor = FeatureExtractor::new(
        architecture,
        Parameters::from_memory::<T>(architecture, values),
        &checkpoint.scheduler.schedule,
        measurement,
        draws,
        unit_length,
    );
    let side = architecture.config().sample_size.unwrap();
    ["features.images", "features.queries"].map(|name| {
        let images = golden.image_rows(name);
        let rows =
            images.iter().flat_map(|image| extractor.gradient::<T>(image, [side, side], None, name).unwrap());
        Features::new(rows.collect(), architecture.parameter_count()).unwrap()
    })
}

fn check<T: Precision>(case: &str) {
    let golden = Golden::read(case);
    let relative_damping = golden.values("features.relative_lambda")[0];
    for (name, label) in [("trak", "trak"), ("d-trak", "d_trak"), ("das", "das")] {
        let what = |part: &str| format!("{part} of {name} in {case}");
        let truth = |part: &str| golden.values(&format!("features.{label}.{part}"));
        let method = Method::named(name).unwrap();
        let [images, queries] = features::<T>(case, &golden, method.measurement, method.unit_length);
        let kernel: Vec<f64> = dot_scores(&images, &images).unwrap().concat();
        assert_close(&what("kernel"), &kernel, truth("kernel"));
        assert_close(&what("cross"), &dot_scores(&queries, &images).unwrap().concat(), truth("cross"));
        let count = images.images();
        let trace: f64 = (0..count).map(|index| kernel[index * count + index]).sum();
        let damping = relative_damping * trace / count as f64;
        let (images_again, decomposed) = (images.clone(), Kernel::new(images).unwrap());
        assert_close(
            &what("scores"),
            &decomposed.scores(&queries, damping).unwrap().concat(),
            truth("scores"),
        );
        assert_close(&what("leverage"), &decomposed.leverages(damping), truth("leverage"));
        let freedom: f64 = decomposed.leverages(damping).iter().sum();
        assert_close(&what("degrees of freedom"), &[decomposed.degrees_of_freedom(damping)], &[freedom]);

        // An image that is asked for itself is found.
        for (image, scores) in decomposed.scores(&images_again, damping).unwrap().iter().enumerate() {
            let first = (0..count).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
            assert_eq!(first, image, "{}", what("first image"));
        }

        // The damping that is taken by itself, from its definition: the mean eigenvalue of H K H.
        let mean = |row: usize| kernel[row * count..(row + 1) * count].iter().sum::<f64>() / count as f64;
        let all = (0..count).map(mean).sum::<f64>() / count as f64;
        let centred =
            (0..count).map(|i| kernel[i * count + i] - 2.0 * mean(i) + all).sum::<f64>() / count as f64;
        assert_close(&what("damping"), &[decomposed.damping().unwrap()], &[centred]);
    }
    for name in ["tracin", "retrac"] {
        let method = Method::named(name).unwrap();
        let [images, queries] = features::<T>(case, &golden, method.measurement, method.unit_length);
        let truth = golden.values(&format!("features.{name}.scores"));
        assert_close(name, &dot_scores(&queries, &images).unwrap().concat(), truth);
    }
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
    let rows = |values: &[f32], dimension| Features::new(values.to_vec(), dimension);
    assert!(rows(&[], 3).is_err() && rows(&[1.0; 4], 3).is_err() && rows(&[1.0; 4], 0).is_err());
    let images = rows(&[1.0, 0.0, 0.0, 1.0], 2).unwrap();
    let kernel = Kernel::new(images.clone()).unwrap();
    let queries = rows(&[1.0; 3], 3).unwrap();
    assert_eq!(dot_scores(&queries, &images), Err(KernelError::Shape { found: 3, expected: 2 }));
    for damping in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(kernel.scores(&images, damping), Err(KernelError::Damping { .. })));
    }
    // Equal rows, in numbers whose products round.
    for copies in [2, 3, 6, 7] {
        let same = Kernel::new(rows(&[0.1f32, -2.3, 0.7].repeat(copies), 3).unwrap()).unwrap();
        assert_eq!(same.damping(), Err(KernelError::NoSpread), "{copies} copies");
    }
}
