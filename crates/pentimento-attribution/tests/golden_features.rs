//! Gradient features and the scores built on them, as PyTorch computed them in float64 from full gradients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../pentimento-diffusion/tests/common/golden_cases.rs"]
mod golden_cases;

use faer::Mat;
use faer::prelude::Solve;
use golden_cases::{Golden, golden_cases, goldens};
use pentimento_attribution::gradient::{
    Compared, Comparison, Divisor, FeatureExtractor, GradientMethod, ImageRows, Kernel, KernelError,
    Measurement, products,
};
use pentimento_attribution::methods::{Family, Method};
use pentimento_diffusion::checkpoint::{CheckpointFiles, Selection};
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::unet::{Parameters, Precision};
use pentimento_noise::{Purpose, Stream};
use std::ops::Range;

/// The bound that both precisions are held to: relative to the largest entry.
const BOUND: f64 = 5e-4;

/// Features in memory.
#[derive(Clone)]
struct Features {
    values: Vec<f32>,
    dimension: usize,
}

impl Features {
    fn images(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// Calls `with` with what reads them.
    fn read<R>(&self, with: impl FnOnce(ImageRows<'_, KernelError>) -> R) -> R {
        let of = |images: Range<usize>| {
            Ok(self.values[images.start * self.dimension..images.end * self.dimension].to_vec().into())
        };
        with(ImageRows { images: self.images(), dimension: self.dimension, read: &of })
    }

    fn dot(&self, queries: &Self) -> Vec<Vec<f64>> {
        self.read(|rows| products(&rows, 0..self.images(), &queries.values).unwrap())
    }
}

/// Scores and self-influences of a comparison.
fn compare(
    comparison: Comparison,
    images: &Features,
    queries: &Features,
    damping: Option<f64>,
) -> Result<(Vec<Vec<f64>>, Vec<f64>), KernelError> {
    images.read(|rows| {
        let compared = Compared::new(comparison, rows, damping)?;
        let prepared = compared.queries(queries.values.clone())?;
        let mut scores = compared.scores(&prepared, 0..images.images())?;
        for (scores, query) in scores.iter_mut().zip(queries.values.chunks(queries.dimension)) {
            let factor = compared.query_factor(query);
            scores.iter_mut().for_each(|score| *score *= factor);
        }
        Ok((scores, compared.self_influence()?))
    })
}

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

fn gradient_method(name: &str) -> GradientMethod {
    let Family::Gradients(method) = Method::named(name).unwrap().family else {
        panic!("{name} is no method by gradients")
    };
    method
}

fn check<T: Precision>(case: &str) {
    let golden = Golden::read(case);
    let relative_damping = golden.values("features.relative_lambda")[0];
    for (name, label) in [("trak", "trak"), ("d-trak", "d_trak"), ("das", "das")] {
        let what = |part: &str| format!("{part} of {name} in {case}");
        let truth = |part: &str| golden.values(&format!("features.{label}.{part}"));
        let method = gradient_method(name);
        let [images, queries] = features::<T>(case, &golden, method.measurement, method.unit_length);
        let kernel: Vec<f64> = images.dot(&images).concat();
        assert_close(&what("kernel"), &kernel, truth("kernel"));
        assert_close(&what("cross"), &images.dot(&queries).concat(), truth("cross"));
        let count = images.images();
        let trace: f64 = (0..count).map(|index| kernel[index * count + index]).sum();
        let damping = relative_damping * trace / count as f64;
        let (scores, leverages) = compare(method.comparison, &images, &queries, Some(damping)).unwrap();
        assert_close(&what("scores"), &scores.concat(), truth("scores"));
        assert_close(&what("leverage"), &leverages, truth("leverage"));
        // The damping that is taken by itself, from its definition: the mean eigenvalue of H K H.
        let mean = |row: usize| kernel[row * count..(row + 1) * count].iter().sum::<f64>() / count as f64;
        let all = (0..count).map(mean).sum::<f64>() / count as f64;
        let centred =
            (0..count).map(|i| kernel[i * count + i] - 2.0 * mean(i) + all).sum::<f64>() / count as f64;
        images.read(|rows| {
            let kernel = Kernel::new(rows).unwrap();
            let freedom: f64 = leverages.iter().sum();
            assert_close(&what("degrees of freedom"), &[kernel.degrees_of_freedom(damping)], &[freedom]);
            assert_close(&what("damping"), &[kernel.damping().unwrap()], &[centred]);
        });

        // The cosine, from the products that PyTorch made too.
        let (cosines, _) = compare(Comparison::Cosine, &images, &images, None).unwrap();
        for (i, row) in cosines.iter().enumerate() {
            for (j, cosine) in row.iter().enumerate() {
                let truth = kernel[i * count + j] / (kernel[i * count + i] * kernel[j * count + j]).sqrt();
                assert!((cosine - truth).abs() < 1e-5, "cosine of {i} and {j}: {cosine} instead of {truth}");
            }
        }

        // An image that is asked for itself is found, by each comparison.
        let of_itself =
            |divisor| compare(Comparison::InverseKernel(divisor), &images, &images, Some(damping));
        for divisor in [Divisor::One, Divisor::Length, Divisor::SolvedLength] {
            let (scores, self_influence) = of_itself(divisor).unwrap();
            for (image, scores) in scores.iter().enumerate() {
                assert!((scores[image] / self_influence[image] - 1.0).abs() < 1e-6, "{divisor:?}");
            }
            let first =
                |scores: &Vec<f64>| (0..count).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
            let found: Vec<usize> = scores.iter().map(first).collect();
            assert_eq!(found, (0..count).collect::<Vec<_>>(), "{} by {divisor:?}", what("first image"));
        }
    }
    for name in ["tracin", "retrac"] {
        let method = gradient_method(name);
        let [images, queries] = features::<T>(case, &golden, method.measurement, method.unit_length);
        let truth = golden.values(&format!("features.{name}.scores"));
        let (scores, _) = compare(method.comparison, &images, &queries, None).unwrap();
        assert_close(name, &scores.concat(), truth);
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
