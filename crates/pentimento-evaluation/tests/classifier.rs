//! The classifier on real digits and on patterns made up here.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::HashMap;

use pentimento_data::{
    FetchError, FetchOptions, PreparedSet, Preprocessing, PublicSet, Resize, ResizeFilter, Split,
    default_cache_dir, fetch, prepare,
};
use pentimento_evaluation::classifier::{
    Classifier, ClassifierConfig, ClassifierError, Prediction, Progress,
};
use pentimento_noise::{Purpose, Stream};
use pentimento_testing::skipped;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Noise with a bright row, whose place is the class; images `[height, width, channels]`.
struct Stripes {
    config: ClassifierConfig,
    labels: Vec<u32>,
}

impl Stripes {
    fn new(config: ClassifierConfig, count: usize) -> Self {
        let labels = (0..count).map(|index| (index % config.classes) as u32).collect();
        Self { config, labels }
    }

    fn write(&self, index: usize, image: &mut [f32]) {
        let row = self.config.width * self.config.channels;
        Stream::new(1, Purpose::Test, index as u32, 0).fill_uniform(image);
        image.iter_mut().for_each(|value| *value -= 1.0);
        let label = self.labels[index] as usize;
        let first = (1 + label * (self.config.height - 2) / self.config.classes) * row;
        image[first..first + row].fill(1.0);
    }

    fn images(&self) -> Vec<f32> {
        let mut images = vec![0.0; self.labels.len() * self.config.image_length()];
        for (index, image) in images.chunks_exact_mut(self.config.image_length()).enumerate() {
            self.write(index, image);
        }
        images
    }

    fn train(&self) -> Result<Classifier, ClassifierError> {
        let read = |index: usize, image: &mut [f32]| self.write(index, image);
        Classifier::train(self.config, &read, self.labels.len(), &self.labels, |_| Ok(()))
    }
}

fn small_config() -> ClassifierConfig {
    ClassifierConfig { epochs: 3, batch: 16, ..ClassifierConfig::new(3, [10, 8, 1]) }
}

fn mnist() -> Option<[PreparedSet; 2]> {
    let fetched = default_cache_dir()
        .and_then(|cache_dir| fetch(PublicSet::Mnist, &FetchOptions::new(cache_dir), &mut |_| {}));
    let fetched = match fetched {
        Err(error @ (FetchError::NothingAnswered { .. } | FetchError::NoCacheFolder)) => {
            skipped("mnist", error);
            return None;
        }
        fetched => fetched.unwrap(),
    };
    let resize = Some(Resize { height: 14, width: 14, filter: ResizeFilter::Box });
    Some([Split::Train, Split::Test].map(|split| {
        let preprocessing = Preprocessing { split, resize, ..Preprocessing::default() };
        prepare(&fetched.open(split).unwrap(), &preprocessing).unwrap()
    }))
}

/// A fifth of the default training.
#[test]
fn real_digits_are_told_apart() {
    let Some([train, test]) = mnist() else { return };
    let config = ClassifierConfig { epochs: 1, ..ClassifierConfig::new(10, [14, 14, 1]) };
    let read = |index: usize, image: &mut [f32]| train.scaled_into(index, image);
    let count = 24_000;
    let classifier =
        Classifier::train(config, &read, count, &train.labels()[..count], |_| Ok::<_, ClassifierError>(()))
            .unwrap();
    let images: Vec<f32> = (0..test.len()).flat_map(|index| test.scaled(index)).collect();
    let accuracy = classifier.accuracy(&images, test.labels()).unwrap();
    assert!(accuracy > 0.95, "{accuracy}");
}

#[test]
fn images_of_any_size_and_colour_are_learned() {
    for (classes, shape) in [(2, [8, 8, 1]), (3, [9, 13, 3]), (4, [28, 28, 1]), (5, [20, 33, 3])] {
        let config = ClassifierConfig { epochs: 6, batch: 8, ..ClassifierConfig::new(classes, shape) };
        let stripes = Stripes::new(config, 160);
        let images = stripes.images();
        let split = 120 * config.image_length();
        let read = |index: usize, image: &mut [f32]| stripes.write(index, image);
        let mut losses = Vec::new();
        let classifier =
            Classifier::train(config, &read, 120, &stripes.labels[..120], |progress: Progress| {
                losses.push(progress.loss);
                assert_eq!((progress.step, progress.steps), (losses.len(), 90));
                Ok::<_, ClassifierError>(())
            });
        let classifier = classifier.unwrap();
        assert_eq!(losses.len(), 90);
        // A fresh network guesses.
        assert!((losses[0] - libm::log(classes as f64)).abs() < 0.5, "{classes} classes: {}", losses[0]);
        let accuracy = classifier.accuracy(&images[split..], &stripes.labels[120..]).unwrap();
        assert!(accuracy > 0.9, "{shape:?}: {accuracy}");

        let features = classifier.features(&images).unwrap();
        assert_eq!(features.len(), 160 * Classifier::FEATURES);
        let probabilities = classifier.probabilities(&images).unwrap();
        let predictions = classifier.predict(&images).unwrap();
        assert_eq!((probabilities.len(), predictions.len()), (160 * classes, 160));
        for (probabilities, Prediction { class, probability }) in
            probabilities.chunks_exact(classes).zip(predictions)
        {
            assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert_eq!(probabilities[class as usize], probability);
            assert!(probabilities.iter().all(|&other| other <= probability));
        }
    }
}

#[test]
fn the_bytes_are_the_same_on_any_number_of_threads() {
    let stripes = Stripes::new(small_config(), 100);
    let images = stripes.images();
    let [one, two] = [1, 2].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let classifier = stripes.train().unwrap();
            (classifier.to_bytes().unwrap(), classifier.features(&images), classifier.probabilities(&images))
        })
    });
    assert!(one == two);
    let other_seed = Stripes::new(ClassifierConfig { seed: 1, ..small_config() }, 100);
    assert!(other_seed.train().unwrap().to_bytes().unwrap() != one.0);
}

#[test]
fn an_image_has_the_same_result_in_any_batch() {
    let classifier = Stripes::new(small_config(), 100).train().unwrap();
    let images = Stripes::new(small_config(), 600).images();
    let (features, probabilities) =
        (classifier.features(&images).unwrap(), classifier.probabilities(&images).unwrap());
    for batch in [1, 7, 64, 300] {
        let batches = || images.chunks(batch * classifier.config().image_length());
        assert!(
            batches().flat_map(|images| classifier.features(images).unwrap()).eq(features.iter().copied())
        );
        let in_batches = batches().flat_map(|images| classifier.probabilities(images).unwrap());
        assert!(in_batches.eq(probabilities.iter().copied()));
    }
    assert_eq!(classifier.probabilities(&[]), Ok(vec![]));
}

#[test]
fn a_file_brings_the_classifier_back() {
    let config = ClassifierConfig { learning_rate: 0.1 + 0.2, seed: u64::MAX, ..small_config() };
    let classifier = Stripes::new(config, 40).train().unwrap();
    let bytes = classifier.to_bytes().unwrap();
    let back = Classifier::from_bytes(&bytes).unwrap();
    assert_eq!(back, classifier);
    assert_eq!(back.config(), &config);
    assert_eq!(back.to_bytes().unwrap(), bytes);
}

/// Writes the file of a classifier again with a change.
fn rewritten(
    bytes: &[u8],
    change: impl FnOnce(&mut HashMap<String, String>, &mut Vec<(String, Vec<usize>, Vec<u8>)>),
) -> Result<Classifier, ClassifierError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    let mut entries = metadata.metadata().clone().unwrap();
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let mut tensors: Vec<_> = tensors
        .iter()
        .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    change(&mut entries, &mut tensors);
    let views = tensors
        .iter()
        .map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    Classifier::from_bytes(&safetensors::serialize(views, Some(entries)).unwrap())
}

#[test]
fn broken_files_are_refused() {
    let bytes = Stripes::new(ClassifierConfig { epochs: 1, ..small_config() }, 16)
        .train()
        .unwrap()
        .to_bytes()
        .unwrap();
    assert!(rewritten(&bytes, |_, _| {}).is_ok());
    for length in [0, 7, 8, 100, bytes.len() - 1] {
        assert!(
            matches!(Classifier::from_bytes(&bytes[..length]), Err(ClassifierError::File { .. })),
            "{length}"
        );
    }
    let message = |result: Result<Classifier, ClassifierError>| result.unwrap_err().to_string();
    let config = |from: &'static str, to: &'static str| {
        message(rewritten(&bytes, |entries, _| {
            let config = entries.values_mut().next().unwrap();
            assert!(config.contains(from), "{config}");
            *config = config.replace(from, to);
        }))
    };
    assert_eq!(config("\"height\":10", "\"height\":7"), "classifier: `height` is 7: must be 8 to 1024");
    assert_eq!(
        config("\"classes\":3", "\"classes\":4"),
        "classifier file: tensor `head.weight`: has shape [1, 1, 64, 3], needed is [1, 1, 64, 4]"
    );
    assert_eq!(
        config("\"height\":10,\"width\":8", "\"height\":18,\"width\":18"),
        "classifier file: tensor `blocks.4.weight`: is missing"
    );
    assert!(config("\"height\"", "\"heigth\"").contains("unknown field `heigth`"));
    assert_eq!(
        message(rewritten(&bytes, |entries, _| entries.clear())),
        "classifier file: the metadata has no `pentimento_classifier`"
    );
    assert_eq!(
        message(rewritten(&bytes, |_, tensors| tensors.push(("extra".to_owned(), vec![1], vec![0; 4])))),
        "classifier file: tensor `extra`: is not part of such a network"
    );
    assert_eq!(
        message(rewritten(&bytes, |_, tensors| tensors.retain(|(name, ..)| name != "blocks.1.norm.shift"))),
        "classifier file: tensor `blocks.1.norm.shift`: is missing"
    );
    let nan = message(rewritten(&bytes, |_, tensors| {
        let (.., data) = tensors.iter_mut().find(|(name, ..)| name == "head.bias").unwrap();
        data[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    }));
    assert_eq!(nan, "classifier file: tensor `head.bias`: value 1 is NaN, not a finite number");
}

proptest! {
    #[test]
    fn a_damaged_file_is_an_error_or_a_classifier(position in any::<prop::sample::Index>(), value: u8, in_header: bool) {
        static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let bytes = BYTES.get_or_init(|| {
            let stripes = Stripes::new(ClassifierConfig { epochs: 1, ..small_config() }, 16);
            stripes.train().unwrap().to_bytes().unwrap()
        });
        let mut damaged = bytes.clone();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let position = position.index(if in_header { header } else { bytes.len() });
        damaged[position] = value;
        if let Ok(classifier) = Classifier::from_bytes(&damaged) {
            prop_assert!(classifier.config().validate().is_ok());
            prop_assert!(classifier.to_bytes().is_ok());
        }
    }
}

#[test]
fn wrong_settings_images_and_labels_are_refused() {
    let config = small_config();
    let train = |config: ClassifierConfig, count: usize, labels: &[u32], value: f32| {
        let read = |index: usize, image: &mut [f32]| {
            image.fill(0.5);
            if index == 1 {
                image[3] = value;
            }
        };
        Classifier::train(config, &read, count, labels, |_| Ok::<_, ClassifierError>(())).map(|_| ())
    };
    assert_eq!(train(config, 2, &[0, 2], 0.0), Ok(()));
    assert_eq!(train(config, 0, &[], 0.0), Err(ClassifierError::NoImages));
    assert_eq!(train(config, 3, &[0, 1], 0.0), Err(ClassifierError::LabelCount { labels: 2, images: 3 }));
    assert_eq!(
        train(config, 2, &[0, 3], 0.0),
        Err(ClassifierError::LabelOutOfRange { index: 1, label: 3, classes: 3 })
    );
    assert_eq!(
        train(config, 2, &[0, 1], f32::INFINITY),
        Err(ClassifierError::NotFinite { image: 1, index: 3, value: f32::INFINITY })
    );
    let diverging = ClassifierConfig { learning_rate: 1e39, ..config };
    assert!(matches!(train(diverging, 2, &[0, 1], 0.0), Err(ClassifierError::Diverged { .. })));
    let wrong = [
        ("classes", ClassifierConfig { classes: 1, ..config }),
        ("height", ClassifierConfig { height: 7, ..config }),
        ("width", ClassifierConfig { width: 1025, ..config }),
        ("channels", ClassifierConfig { channels: 2, ..config }),
        ("epochs", ClassifierConfig { epochs: 0, ..config }),
        ("batch", ClassifierConfig { batch: 0, ..config }),
        ("learning_rate", ClassifierConfig { learning_rate: f64::NAN, ..config }),
    ];
    for (name, config) in wrong {
        let Err(ClassifierError::Config { field, .. }) = train(config, 2, &[0, 1], 0.0) else {
            panic!("{name}")
        };
        assert_eq!(field, name);
    }

    let classifier = Stripes::new(config, 16).train().unwrap();
    assert_eq!(
        classifier.probabilities(&[0.0; 81]),
        Err(ClassifierError::PartialImage { values: 81, image_length: 80 })
    );
    let mut images = [0.0; 160];
    images[83] = f32::NAN;
    assert!(matches!(
        classifier.features(&images),
        Err(ClassifierError::NotFinite { image: 1, index: 3, .. })
    ));
    assert_eq!(classifier.accuracy(&[], &[]), Err(ClassifierError::NoImages));
    assert!(matches!(classifier.accuracy(&[0.0; 80], &[0, 1]), Err(ClassifierError::LabelCount { .. })));
}

#[test]
fn training_stops_when_progress_says_so() {
    #[derive(Debug, PartialEq)]
    enum Stop {
        Asked(usize),
        Failed(ClassifierError),
    }
    impl From<ClassifierError> for Stop {
        fn from(error: ClassifierError) -> Self {
            Self::Failed(error)
        }
    }
    let config = small_config();
    let read = |_: usize, image: &mut [f32]| image.fill(0.0);
    let stopped = Classifier::train(config, &read, 32, &[0; 32], |progress| match progress.step {
        4 => Err(Stop::Asked(progress.steps)),
        _ => Ok(()),
    });
    assert_eq!(stopped, Err(Stop::Asked(6)));
    let failed = Classifier::train(config, &read, 0, &[], |_| Ok(()));
    assert_eq!(failed, Err(Stop::Failed(ClassifierError::NoImages)));
}
