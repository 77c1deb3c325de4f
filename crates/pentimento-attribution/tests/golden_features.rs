//! Gradient features and the scores built on them, as PyTorch computed them in float64 from full gradients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use pentimento_attribution::gradient::{
    Draws, FeatureExtractor, Features, Kernel, KernelError, Measurement, Method, dot_scores,
};
use pentimento_diffusion::checkpoint::{CheckpointFiles, Selection};
use pentimento_diffusion::unet::{Parameters, Precision};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use std::path::{Path, PathBuf};

/// The bound that both precisions are held to: relative to the largest entry.
const BOUND: f64 = 5e-4;

fn goldens() -> PathBuf {
    std::env::var_os("PENTIMENTO_GOLDENS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens")),
        PathBuf::from,
    )
}

/// Every golden case with features.
fn cases() -> Vec<PathBuf> {
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/goldens"));
    let is_asked = std::env::var_os("PENTIMENTO_GOLDENS").is_none() && beside.is_dir();
    let mut cases: Vec<PathBuf> = std::iter::once(goldens())
        .chain(is_asked.then_some(beside))
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("golden.safetensors").is_file())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    fn tensor(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = tensors.tensor(name).unwrap_or_else(|_| panic!("no tensor {name}"));
        let values = match view.dtype() {
            Dtype::F32 => view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|chunk| f64::from(f32::from_le_bytes(*chunk)))
                .collect(),
            Dtype::I64 => {
                view.data().as_chunks::<8>().0.iter().map(|chunk| i64::from_le_bytes(*chunk) as f64).collect()
            }
            other => panic!("{name} has type {other:?}"),
        };
        (view.shape().to_vec(), values)
    }

    /// Images as rows of `[height, width, channels]`.
    fn images(&self, name: &str) -> Vec<Vec<f64>> {
        let (shape, values) = self.tensor(name);
        let (channels, pixels) = (shape[1], shape[2] * shape[3]);
        let image = |image: &[f64]| -> Vec<f64> {
            (0..pixels).flat_map(|pixel| (0..channels).map(move |c| image[c * pixels + pixel])).collect()
        };
        values.chunks_exact(channels * pixels).map(image).collect()
    }
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
    case: &Path,
    golden: &Golden,
    measurement: Measurement,
    unit_length: bool,
) -> [Features; 2] {
    let checkpoint = CheckpointFiles::find(case, &Selection::default()).unwrap().open().unwrap();
    let architecture = &checkpoint.architecture;
    let values = checkpoint
        .values
        .iter()
        .map(|values| values.iter().map(|&value| T::of(f64::from(value))).collect())
        .collect();
    let timesteps = golden.tensor("features.t").1.into_iter().map(|t| t as usize);
    let draws = Draws::given(timesteps.zip(golden.images("features.eps")));
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
        let images = golden.images(name);
        let rows =
            images.iter().flat_map(|image| extractor.gradient::<T>(image, [side, side], None, name).unwrap());
        Features::new(rows.collect(), architecture.parameter_count()).unwrap()
    })
}

fn check<T: Precision>(case: &Path) {
    let golden = Golden { bytes: std::fs::read(case.join("golden.safetensors")).unwrap() };
    let relative_damping = golden.tensor("features.relative_lambda").1[0];
    for (name, label) in [("trak", "trak"), ("d-trak", "d_trak"), ("das", "das")] {
        let what = |part: &str| format!("{part} of {name} in {}", case.display());
        let truth = |part: &str| golden.tensor(&format!("features.{label}.{part}")).1;
        let method = Method::named(name).unwrap();
        let [images, queries] = features::<T>(case, &golden, method.measurement, method.unit_length);
        let kernel: Vec<f64> = dot_scores(&images, &images).unwrap().concat();
        assert_close(&what("kernel"), &kernel, &truth("kernel"));
        assert_close(&what("cross"), &dot_scores(&queries, &images).unwrap().concat(), &truth("cross"));
        let count = images.images();
        let trace: f64 = (0..count).map(|index| kernel[index * count + index]).sum();
        let damping = relative_damping * trace / count as f64;
        let (images_again, decomposed) = (images.clone(), Kernel::new(images).unwrap());
        assert_close(
            &what("scores"),
            &decomposed.scores(&queries, damping).unwrap().concat(),
            &truth("scores"),
        );
        assert_close(&what("leverage"), &decomposed.leverages(damping), &truth("leverage"));
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
        let truth = golden.tensor(&format!("features.{name}.scores")).1;
        assert_close(name, &dot_scores(&queries, &images).unwrap().concat(), &truth);
    }
}

#[test]
fn features_and_scores_are_those_of_pytorch() {
    for case in cases() {
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
