//! The public image sets that can be fetched by name, and what their files must be.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::idx::read_idx;
use crate::image::ImageSet;
use crate::source::{CIFAR10_CLASS_NAMES, CIFAR10_RECORD_BYTES, read_cifar10};

/// A public image set with a training and a test half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublicSet {
    /// Handwritten digits (LeCun, Cortes and Burges, 1998).
    Mnist,
    /// Photographs of clothes (Xiao, Rasul and Vollgraf, 2017, arXiv 1708.07747).
    FashionMnist,
    /// Small photographs in colour (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).
    Cifar10,
}

/// The half of a public set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The training images.
    #[default]
    Train,
    /// The test images.
    Test,
}

/// One file of a public set, uncompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicFile {
    /// The usual name of the uncompressed file.
    pub name: &'static str,
    /// Length of the uncompressed file in bytes.
    pub bytes: u64,
    /// SHA-256 of the uncompressed file, in hexadecimal.
    pub sha256: &'static str,
}

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// A header of 16 or 8 bytes, then 784 bytes or one byte per image.
const fn files(sha256: [&'static str; 4]) -> [PublicFile; 4] {
    let [train_images, train_labels, test_images, test_labels] = sha256;
    [
        PublicFile { name: TRAIN_IMAGES, bytes: 16 + 60_000 * 784, sha256: train_images },
        PublicFile { name: TRAIN_LABELS, bytes: 8 + 60_000, sha256: train_labels },
        PublicFile { name: TEST_IMAGES, bytes: 16 + 10_000 * 784, sha256: test_images },
        PublicFile { name: TEST_LABELS, bytes: 8 + 10_000, sha256: test_labels },
    ]
}

static MNIST_FILES: [PublicFile; 4] = files([
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
]);

/// Of the decompressed files. The compressed ones they were taken from had the SHA-256 sums b0564c3e..., 0ae29f65...,
/// cc1d090a... and 8d3605d1..., in this order.
static FASHION_MNIST_FILES: [PublicFile; 4] = files([
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
]);

const fn cifar_file(name: &'static str, sha256: &'static str) -> PublicFile {
    PublicFile { name, bytes: 10_000 * CIFAR10_RECORD_BYTES as u64, sha256 }
}

/// The members of the binary archive. Their MD5 sums, in this order, are those that public build scripts list:
/// 5dd7e06a14cb22eb9f671a540d1b7c25, 5ea93a67294ea407fff1d09f752e9692, 942cd6a4bcdd0dd3c604fbe906cb4421,
/// ae636b3ba5c66a11e91e8cb52e771fcb, 53f37980c15c3d472c316c40844f3f0d and 803d5f7f4d78ea53de84dbe85f74fb6d.
static CIFAR10_FILES: [PublicFile; 6] = [
    cifar_file("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
    cifar_file("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
    cifar_file("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
    cifar_file("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
    cifar_file("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    cifar_file("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
];

impl PublicSet {
    /// Every set.
    pub const ALL: [Self; 3] = [Self::Mnist, Self::FashionMnist, Self::Cifar10];

    /// The name in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Mnist => "MNIST",
            Self::FashionMnist => "Fashion-MNIST",
            Self::Cifar10 => "CIFAR-10",
        }
    }

    /// The names of the classes; the label is the position.
    pub fn class_names(self) -> &'static [&'static str] {
        match self {
            Self::Mnist => &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
            Self::FashionMnist => &[
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ],
            Self::Cifar10 => &CIFAR10_CLASS_NAMES,
        }
    }

    /// Height, width and channels of every image.
    pub fn shape(self) -> [usize; 3] {
        match self {
            Self::Mnist | Self::FashionMnist => [28, 28, 1],
            Self::Cifar10 => [32, 32, 3],
        }
    }

    /// Number of images of a half.
    pub fn images(self, split: Split) -> usize {
        match (self, split) {
            (Self::Mnist | Self::FashionMnist, Split::Train) => 60_000,
            (Self::Cifar10, Split::Train) => 50_000,
            (_, Split::Test) => 10_000,
        }
    }

    /// The files of both halves.
    pub fn files(self) -> &'static [PublicFile] {
        match self {
            Self::Mnist => &MNIST_FILES,
            Self::FashionMnist => &FASHION_MNIST_FILES,
            Self::Cifar10 => &CIFAR10_FILES,
        }
    }

    /// The files of one half; of IDX files, the images come before the labels.
    fn files_of(self, split: Split) -> &'static [PublicFile] {
        let train = match self {
            Self::Mnist | Self::FashionMnist => 2,
            Self::Cifar10 => 5,
        };
        let (train, test) = self.files().split_at(train);
        match split {
            Split::Train => train,
            Split::Test => test,
        }
    }

    /// Reads one half from a folder that has its files under their names. IDX files may be compressed (`.gz`).
    ///
    /// # Errors
    /// If a file is missing, cannot be read, or breaks its format. Checksums are not looked at.
    pub fn open(self, folder: &Path, split: Split) -> Result<ImageSet, DataError> {
        let paths: Vec<PathBuf> = self
            .files_of(split)
            .iter()
            .map(|file| {
                let (plain, compressed) = (folder.join(file.name), folder.join(format!("{}.gz", file.name)));
                if !plain.is_file() && compressed.is_file() { compressed } else { plain }
            })
            .collect();
        match (self, paths.as_slice()) {
            (Self::Mnist | Self::FashionMnist, [images, labels]) => read_idx(images, labels),
            (_, batches) => read_cifar10(batches),
        }
    }

    /// Base addresses at which the files are served, each file under its name with `.gz`; or the address of an archive
    /// (`.tar.gz`) that has them all. Everything received is
    /// checked against [`PublicFile::sha256`], so an address without encryption is no risk to the data.
    pub fn mirrors(self) -> &'static [&'static str] {
        match self {
            Self::Cifar10 => &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
            Self::Mnist => &[
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ],
            Self::FashionMnist => &[
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ],
        }
    }
}

impl fmt::Display for PublicSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for PublicSet {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::ALL.into_iter().find(|set| set.name() == text).ok_or_else(|| DataError::Value {
            field: "the public set",
            value: format!("{text:?}"),
            bound: Self::ALL.map(Self::name).join(" or "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_half_have_the_bytes_of_its_images() {
        for set in PublicSet::ALL {
            let [height, width, channels] = set.shape();
            for split in [Split::Train, Split::Test] {
                let bytes: u64 = set.files_of(split).iter().map(|file| file.bytes).sum();
                // A byte for each label; the headers of two IDX files have 24 bytes, the batches none.
                let headers = if set == PublicSet::Cifar10 { 0 } else { 24 };
                let expected = set.images(split) * (height * width * channels + 1) + headers;
                assert_eq!(bytes, expected as u64, "{set}");
            }
        }
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for set in PublicSet::ALL {
            assert_eq!(set.to_string().parse::<PublicSet>().unwrap(), set);
            assert_eq!(serde_json::to_string(&set).unwrap(), format!("\"{set}\""));
        }
        assert_eq!(
            "MNIST".parse::<PublicSet>().unwrap_err().to_string(),
            "the public set is \"MNIST\", but must be mnist or fashion-mnist or cifar10"
        );
    }
}
