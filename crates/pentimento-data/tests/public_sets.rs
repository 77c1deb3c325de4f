//! The real public sets, through the real cache. Without them and without a way to get them, each test says so.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use pentimento_data::{
    Crop, FetchError, FetchOptions, FetchedSet, Groups, Pad, Preprocessing, PublicSet, Resize, ResizeFilter,
    Split, default_cache_dir, exact_duplicates, fetch, prepare,
};
use pentimento_testing::skipped;

/// Fetched once for all tests. Where it cannot be had, each test that asks for it is skipped.
fn public_set(set: PublicSet) -> Option<&'static FetchedSet> {
    type Fetched = OnceLock<Result<FetchedSet, FetchError>>;
    static MNIST: Fetched = OnceLock::new();
    static FASHION_MNIST: Fetched = OnceLock::new();
    static CIFAR10: Fetched = OnceLock::new();
    let fetched = match set {
        PublicSet::Mnist => &MNIST,
        PublicSet::FashionMnist => &FASHION_MNIST,
        PublicSet::Cifar10 => &CIFAR10,
    };
    let fetched = fetched.get_or_init(|| {
        default_cache_dir().and_then(|cache_dir| fetch(set, &FetchOptions::new(cache_dir), &mut |_| {}))
    });
    match fetched {
        Err(error @ (FetchError::NothingAnswered { .. } | FetchError::NoCacheFolder)) => {
            skipped(set.name(), error);
            None
        }
        fetched => Some(fetched.as_ref().unwrap()),
    }
}

fn count_by_label(labels: &[u32]) -> Vec<(u32, usize)> {
    let mut counts = BTreeMap::new();
    for &label in labels {
        *counts.entry(label).or_default() += 1;
    }
    counts.into_iter().collect()
}

#[test]
fn mnist_has_its_published_counts_and_statistics() {
    let Some(mnist) = public_set(PublicSet::Mnist) else { return };
    let train = mnist.open(Split::Train).unwrap();
    let test = mnist.open(Split::Test).unwrap();
    assert_eq!((train.len(), train.height(), train.width(), train.channels()), (60_000, 28, 28, 1));
    assert_eq!((test.len(), test.height(), test.width(), test.channels()), (10_000, 28, 28, 1));
    let counts = |labels| count_by_label(labels).into_iter().map(|(_, count)| count).collect::<Vec<_>>();
    assert_eq!(counts(train.labels()), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(counts(test.labels()), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    // The constants in every tutorial: mean 0.1307, standard deviation 0.3081.
    let values = || train.pixels().iter().map(|&byte| f64::from(byte) / 255.0);
    let mean = values().sum::<f64>() / train.pixels().len() as f64;
    let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / train.pixels().len() as f64;
    assert!((mean - 0.1307).abs() < 5e-5, "{mean}");
    assert!((variance.sqrt() - 0.3081).abs() < 5e-5, "{}", variance.sqrt());
}

#[test]
fn the_seven_classes_of_the_test_split() {
    let Some(mnist) = public_set(PublicSet::Mnist) else { return };
    let preprocessing = Preprocessing {
        split: Split::Test,
        classes: Some(vec![0, 1, 2, 3, 4, 6, 8]),
        ..Preprocessing::default()
    };
    let set = prepare(&mnist.open(preprocessing.split).unwrap(), &preprocessing).unwrap();
    assert_eq!(set.len(), 7071);
    assert_eq!(
        count_by_label(set.labels()),
        [(0, 980), (1, 1135), (2, 1032), (3, 1010), (4, 982), (6, 958), (8, 974)]
    );
    let groups = Groups::by_class(set.labels(), PublicSet::Mnist.class_names()).unwrap();
    assert_eq!(groups.names(), ["0", "1", "2", "3", "4", "6", "8"]);
    assert_eq!(groups.members(5).len(), 958);

    let limited = Preprocessing { first_per_class: Some(50), first: Some(300), ..preprocessing };
    let limited = prepare(&mnist.open(limited.split).unwrap(), &limited).unwrap();
    assert_eq!(limited.len(), 300);
    assert!(count_by_label(limited.labels()).iter().all(|&(_, count)| count <= 50));
}

#[test]
fn digits_at_half_the_size_are_the_means_of_four_pixels() {
    let Some(mnist) = public_set(PublicSet::Mnist) else { return };
    let source = mnist.open(Split::Test).unwrap();
    let preprocessing = Preprocessing {
        resize: Some(Resize { height: 14, width: 14, filter: ResizeFilter::Box }),
        ..Preprocessing::default()
    };
    let set = prepare(&source, &preprocessing).unwrap();
    assert_eq!((set.len(), set.height(), set.width()), (10_000, 14, 14));
    for index in 0..set.len() {
        let image = source.image(index);
        let at = |y: usize, x: usize| u32::from(image[y * 28 + x]);
        for (position, &value) in set.image(index).iter().enumerate() {
            let (y, x) = (2 * (position / 14), 2 * (position % 14));
            let sum = at(y, x) + at(y, x + 1) + at(y + 1, x) + at(y + 1, x + 1);
            assert_eq!(u32::from(value), (sum + 2) / 4, "image {index}, pixel {position}");
        }
    }
    // The identity does not change with the preprocessing.
    assert!((0..set.len()).all(|index| set.ids()[index] == source.id(index)));
}

/// MNIST digits are 20 x 20 pixels inside a margin (LeCun et al. 1998), so cutting off 2 on each side and putting them
/// back loses nothing but what reaches into the margin: the centre of mass is centred, not the box.
#[test]
fn padding_a_cropped_digit_restores_the_size() {
    let Some(mnist) = public_set(PublicSet::Mnist) else { return };
    let source = mnist.open(Split::Test).unwrap();
    let preprocessing = Preprocessing {
        first: Some(1000),
        crop: Some(Crop { top: None, left: None, height: 24, width: 24 }),
        pad: Some(Pad { top: 2, bottom: 2, left: 2, right: 2, value: 0 }),
        ..Preprocessing::default()
    };
    let set = prepare(&source, &preprocessing).unwrap();
    assert_eq!((set.height(), set.width()), (28, 28));
    for index in 0..set.len() {
        for (position, (&value, &original)) in set.image(index).iter().zip(source.image(index)).enumerate() {
            let inside = (2..26).contains(&(position / 28)) && (2..26).contains(&(position % 28));
            assert_eq!(value, if inside { original } else { 0 });
        }
    }
}

/// As counted by comparing the bytes themselves, without a hash.
#[test]
fn duplicates_by_identity_are_duplicates_by_bytes() {
    for set in PublicSet::ALL {
        let Some(fetched) = public_set(set) else { continue };
        let source = fetched.open(Split::Train).unwrap();
        let ids: Vec<_> = (0..source.len()).map(|index| source.id(index)).collect();
        let mut by_bytes = BTreeMap::<&[u8], Vec<usize>>::new();
        for index in 0..source.len() {
            by_bytes.entry(source.image(index)).or_default().push(index);
        }
        let mut expected: Vec<_> = by_bytes.into_values().filter(|indices| indices.len() > 1).collect();
        expected.sort();
        assert_eq!(exact_duplicates(&ids), expected, "{set}");
    }
}

#[test]
fn cifar10_has_its_published_counts_and_statistics() {
    let Some(cifar10) = public_set(PublicSet::Cifar10) else { return };
    for (split, per_class) in [(Split::Train, 5000), (Split::Test, 1000)] {
        let set = cifar10.open(split).unwrap();
        assert_eq!((set.height(), set.width(), set.channels()), (32, 32, 3));
        assert_eq!(count_by_label(set.labels()), (0..10).map(|label| (label, per_class)).collect::<Vec<_>>());
    }
    // The constants in every tutorial: means 0.4914, 0.4822, 0.4465 of red, green and blue.
    let train = cifar10.open(Split::Train).unwrap();
    for (channel, published) in [0.4914, 0.4822, 0.4465].into_iter().enumerate() {
        let values = train.pixels().iter().skip(channel).step_by(3);
        let mean = values.map(|&byte| f64::from(byte) / 255.0).sum::<f64>() / (50_000.0 * 1024.0);
        assert!((mean - published).abs() < 5e-5, "{channel}: {mean}");
    }
}

#[test]
fn fashion_mnist_has_equal_classes() {
    let Some(fashion) = public_set(PublicSet::FashionMnist) else { return };
    for (split, per_class) in [(Split::Train, 6000), (Split::Test, 1000)] {
        let set = fashion.open(split).unwrap();
        assert_eq!((set.height(), set.width(), set.channels()), (28, 28, 1));
        assert_eq!(count_by_label(set.labels()), (0..10).map(|label| (label, per_class)).collect::<Vec<_>>());
    }
}

/// The real files from a folder into an empty cache, plain and then compressed.
#[test]
fn real_files_from_a_folder_given_by_hand() {
    let Some(mnist) = public_set(PublicSet::Mnist) else { return };
    let from_folder = |folder: &Path| {
        let cache = tempfile::tempdir().unwrap();
        let options = FetchOptions { from: Some(folder.into()), ..FetchOptions::new(cache.path()) };
        let fetched = fetch(PublicSet::Mnist, &options, &mut |_| {});
        fetched.map(|fetched| fetched.open(Split::Test).unwrap())
    };
    let expected = mnist.open(Split::Test).unwrap();
    assert_eq!(from_folder(mnist.folder()).unwrap(), expected);

    let given = tempfile::tempdir().unwrap();
    for file in PublicSet::Mnist.files() {
        let compressed = fs::File::create(given.path().join(format!("{}.gz", file.name))).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(compressed, flate2::Compression::fast());
        let mut plain = fs::File::open(mnist.folder().join(file.name)).unwrap();
        std::io::copy(&mut plain, &mut encoder).unwrap();
        encoder.finish().unwrap();
    }
    assert_eq!(from_folder(given.path()).unwrap(), expected);

    // The labels of the other split, under the name of these: the right format, the wrong data.
    fs::copy(mnist.folder().join("train-labels-idx1-ubyte"), given.path().join("t10k-labels-idx1-ubyte"))
        .unwrap();
    let error = from_folder(given.path()).unwrap_err().to_string();
    assert!(error.contains("t10k-labels-idx1-ubyte: length is more, but must be 10008 bytes"), "{error}");
}
