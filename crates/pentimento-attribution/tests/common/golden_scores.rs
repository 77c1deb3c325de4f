//! Scores of features held against those that PyTorch computed, for the tests of golden cases.

use super::golden_cases::Golden;
use pentimento_attribution::gradient::{
    Compared, Comparison, Divisor, GradientMethod, ImageRows, Kernel, KernelError, Measurement, products,
};
use pentimento_attribution::methods::{Family, Method};
use std::ops::Range;

/// Features in memory.
#[derive(Clone)]
pub struct Features {
    pub values: Vec<f32>,
    pub dimension: usize,
}

impl Features {
    pub fn images(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// Calls `with` with what reads them.
    pub fn read<R>(&self, with: impl FnOnce(ImageRows<'_, KernelError>) -> R) -> R {
        let of = |images: Range<usize>| {
            Ok(self.values[images.start * self.dimension..images.end * self.dimension].to_vec().into())
        };
        with(ImageRows { images: self.images(), dimension: self.dimension, read: &of })
    }

    pub fn dot(&self, queries: &Self) -> Vec<Vec<f64>> {
        self.read(|rows| products(&rows, 0..self.images(), &queries.values).unwrap())
    }
}

/// Scores and self-influences of a comparison.
pub fn compare(
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

/// Asserts that no entry is wrong by more than `bound` times the largest entry.
#[track_caller]
fn assert_close(what: &str, found: &[f64], truth: &[f64], bound: f64) {
    assert_eq!(found.len(), truth.len(), "{what}");
    let largest = truth.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0, "{what}: nothing to compare with");
    for (place, (a, b)) in found.iter().zip(truth).enumerate() {
        let error = (a - b).abs() / largest;
        assert!(error < bound, "{what}[{place}]: {a} instead of {b}, relative error {error:e}");
    }
}

fn gradient_method(name: &str) -> GradientMethod {
    let Family::Gradients(method) = Method::named(name).unwrap().family else {
        panic!("{name} is no method by gradients")
    };
    method
}

/// Holds features and what follows from them against those of a golden case, which is called `case`. `features` takes the
/// features of its training images and queries by a measurement, at unit length or not.
pub fn check_scores(
    case: &str,
    golden: &Golden,
    bound: f64,
    features: impl Fn(Measurement, bool) -> [Features; 2],
) {
    let assert_close = |what: &str, found: &[f64], truth: &[f64]| assert_close(what, found, truth, bound);
    let relative_damping = golden.values("features.relative_lambda")[0];
    for (name, label) in [("trak", "trak"), ("d-trak", "d_trak"), ("das", "das")] {
        let what = |part: &str| format!("{part} of {name} in {case}");
        let truth = |part: &str| golden.values(&format!("features.{label}.{part}"));
        let method = gradient_method(name);
        let [images, queries] = features(method.measurement, method.unit_length);
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
        let [images, queries] = features(method.measurement, method.unit_length);
        let truth = golden.values(&format!("features.{name}.scores"));
        let (scores, _) = compare(method.comparison, &images, &queries, None).unwrap();
        assert_close(name, &scores.concat(), truth);
    }
}
