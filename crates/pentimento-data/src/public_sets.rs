//! The public image sets that can be fetched by name, and what their files must be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// A public image set of 60,000 training and 10,000 test images of 28 x 28 grey pixels in ten classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublicSet {
    /// Handwritten digits (LeCun, Cortes and Burges, 1998).
    Mnist,
    /// Photographs of clothes (Xiao, Rasul and Vollgraf, 2017, arXiv 1708.07747).
    FashionMnist,
}

/// The half of a public set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The 60,000 training images.
    #[default]
    Train,
    /// The 10,000 test images.
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

impl PublicSet {
    /// Every set.
    pub const ALL: [Self; 2] = [Self::Mnist, Self::FashionMnist];

    /// The name in recipes and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Mnist => "MNIST",
            Self::FashionMnist => "Fashion-MNIST",
        }
    }

    /// The names of the ten classes; the label is the position.
    pub fn class_names(self) -> &'static [&'static str; 10] {
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
        }
    }

    /// The files: images and labels for training, images and labels for testing.
    pub fn files(self) -> &'static [PublicFile; 4] {
        match self {
            Self::Mnist => &MNIST_FILES,
            Self::FashionMnist => &FASHION_MNIST_FILES,
        }
    }

    /// Base addresses at which the files are served, each file under its name with `.gz`. Everything received is
    /// checked against [`PublicFile::sha256`], so an address without encryption is no risk to the data.
    pub fn mirrors(self) -> &'static [&'static str] {
        match self {
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

impl Split {
    /// Names of the files of images and of labels.
    pub(crate) fn file_names(self) -> [&'static str; 2] {
        match self {
            Self::Train => [TRAIN_IMAGES, TRAIN_LABELS],
            Self::Test => [TEST_IMAGES, TEST_LABELS],
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
    fn names_are_read_back_and_others_refused() {
        for set in PublicSet::ALL {
            assert_eq!(set.to_string().parse::<PublicSet>().unwrap(), set);
            assert_eq!(serde_json::to_string(&set).unwrap(), format!("\"{set}\""));
        }
        assert_eq!(
            "MNIST".parse::<PublicSet>().unwrap_err().to_string(),
            "the public set is \"MNIST\", but must be mnist or fashion-mnist"
        );
    }
}
