//! What the doctor finds, with the numbers behind it.

use super::reading::Reading;
use crate::imported::MOST_CHANNELS;
use crate::words::untrained_in_words;
use pentimento_diffusion::checkpoint::NetworkFolder;
use pentimento_diffusion::schedule::PredictionType;
use pentimento_diffusion::untrained::Untrained;
use std::fmt;
use std::path::PathBuf;

/// What rounding and the width of differences leave of a derivative that is right. Seen over the networks of the golden
/// cases: at most 3e-4 for the first and the last, 2e-6 for the second. A derivative that is wrong is wrong by about itself.
const DIFFERENCE_BOUND: f64 = 1e-2;
const ADJOINT_BOUND: f64 = 1e-3;

/// A network that predicts no better than this knows next to nothing of the images; always answering zero reaches 1.
const GUESSING: f64 = 0.9;

/// An autoencoder that loses so much of the variance of images gives other images back.
const LOST: f64 = 0.5;

/// The network beside another one is said to be better if it leaves less than this share of its error: twice as near is no
/// matter of chance over 16 images.
const BETTER_BESIDE: f64 = 0.5;

/// Bytes of images that differ less than this were written as 0 and 1, or as classes of a mask.
const LEAST_RANGE: u8 = 64;

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// It is as it should be.
    Good,
    /// Something to know that is not wrong.
    Note,
    /// It is wrong: attribution would not mean what it says.
    Problem,
}

/// Something that was checked. Its text is a plain sentence.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// The checkpoint was opened.
    Opened {
        /// Numbers in its network.
        parameters: usize,
        /// Tensors that hold them.
        tensors: usize,
        /// Files that they were read from.
        weights: Vec<PathBuf>,
    },
    /// The network looks as if it was never trained.
    Untrained(Untrained),
    /// The configuration does not say how large the network's images are.
    NoSampleSize {
        /// Height and width that it was checked with.
        checked: [usize; 2],
    },
    /// Outputs of the network on noise.
    Outputs {
        /// Whether all are finite numbers.
        finite: bool,
    },
    /// Outputs for an image, alone and among others.
    Batches {
        /// Whether they are the same, bit by bit.
        same: bool,
    },
    /// A derivative of the network, against another way to compute it.
    Derivative {
        /// Which one.
        which: Derivative,
        /// The relative error, in the Euclidean norm.
        error: f64,
    },
    /// The gradient in the parameters.
    Gradients {
        /// Tensors of parameters.
        tensors: usize,
        /// Names of those of which no value has a gradient.
        unreached: Vec<String>,
    },
    /// The network takes more channels than pictures have.
    NoPictures {
        /// Channels of the network.
        channels: usize,
    },
    /// The image set has no image.
    NoImage,
    /// The images have other channels than the network takes.
    Channels {
        /// Channels of the images.
        images: usize,
        /// Channels of the network.
        network: usize,
    },
    /// Height and width of the images.
    Size {
        /// As the network takes them.
        network: [usize; 2],
        /// The first image of another size, if there is one: then all were resized and cut for the checks.
        other: Option<[usize; 2]>,
    },
    /// The bytes of the images.
    Bytes {
        /// The lowest one.
        lowest: u8,
        /// The highest one.
        highest: u8,
    },
    /// The network was trained with classes, and the images have none.
    NoLabels,
    /// The images have a class that the network does not know.
    Labels {
        /// The largest label.
        largest: u32,
        /// How many classes the network knows.
        classes: u32,
    },
    /// What the network predicts of noised images.
    Prediction {
        /// What it was trained to predict.
        predicted: PredictionType,
        /// How many images it was tried on.
        images: usize,
        /// The mean square of what is wrong over that of what is to be predicted; 1 is what always answering zero reaches.
        error: f64,
    },
    /// What the network of the same training beside this one predicts of the same images.
    Beside {
        /// Which one it is.
        other: NetworkFolder,
        /// Its error, as in [`Finding::Prediction`].
        error: f64,
        /// The error of the network that was asked for.
        own: f64,
    },
    /// What one of two networks predicts, where it was not said which is meant.
    OneOfTwo {
        /// Which one.
        network: NetworkFolder,
        /// Its error, as in [`Finding::Prediction`].
        error: f64,
        /// Whether that is less than the other's.
        better: bool,
        /// Whether it looks as if it was never trained.
        untrained: Option<Untrained>,
    },
    /// Images that were encoded and decoded again.
    Decoded {
        /// The mean square of what that changed, over the variance of the images.
        error: f64,
    },
    /// Predictions of images of which the network was told the captions, and of the same without.
    Prompts {
        /// The error with captions, as in [`Finding::Prediction`].
        with: f64,
        /// That with the empty prompt.
        without: f64,
    },
    /// Predictions under other readings of the checkpoint.
    OtherReadings {
        /// The best one and its error, if that is clearly below the error of the checkpoint as it says.
        better: Option<(Reading, f64)>,
    },
}

/// A derivative that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derivative {
    /// Along a direction of the image, against differences of outputs.
    InImage,
    /// By tangents, against the backward pass.
    Adjoint,
    /// In all parameters, against differences of outputs.
    InParameters,
}

impl Derivative {
    /// The largest error of a derivative that is right.
    pub fn bound(self) -> f64 {
        match self {
            Self::InImage | Self::InParameters => DIFFERENCE_BOUND,
            Self::Adjoint => ADJOINT_BOUND,
        }
    }
}

impl Finding {
    /// What it means.
    pub fn kind(&self) -> FindingKind {
        let passed = match self {
            Self::Opened { .. } => true,
            Self::Untrained(_) => false,
            Self::NoSampleSize { .. } | Self::OneOfTwo { .. } => return FindingKind::Note,
            Self::Beside { error, own, .. } => !is_better_beside(*error, *own),
            Self::Outputs { finite } => *finite,
            Self::Batches { same } => *same,
            // No number at all is no small error.
            Self::Derivative { which, error } => *error <= which.bound(),
            Self::Gradients { unreached, .. } => cut_off(unreached).is_none(),
            Self::NoPictures { .. }
            | Self::NoImage
            | Self::Channels { .. }
            | Self::NoLabels
            | Self::Labels { .. } => false,
            Self::Size { other: None, .. } => true,
            Self::Size { other: Some(_), .. } => return FindingKind::Note,
            Self::Bytes { lowest, highest } => highest.saturating_sub(*lowest) >= LEAST_RANGE,
            Self::Prediction { error, .. } => *error < GUESSING,
            Self::OtherReadings { better } => better.is_none(),
            Self::Decoded { error } => *error < LOST,
            // Captions that say little help little.
            Self::Prompts { with, without } if with > without => return FindingKind::Note,
            Self::Prompts { .. } => true,
        };
        if passed { FindingKind::Good } else { FindingKind::Problem }
    }

    fn is_good(&self) -> bool {
        self.kind() == FindingKind::Good
    }
}

fn is_better_beside(error: f64, own: f64) -> bool {
    error < BETTER_BESIDE * own
}

/// The first tensor without a gradient that should have one. Over one pixel the softmax is 1 whatever queries and keys are.
fn cut_off(unreached: &[String]) -> Option<&String> {
    unreached.iter().find(|name| !name.contains(".to_q.") && !name.contains(".to_k."))
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { parameters, tensors, weights } => {
                write!(formatter, "opened: {parameters} parameters in {tensors} tensors from ")?;
                match weights.as_slice() {
                    [one] => write!(formatter, "{}", one.display()),
                    several => write!(formatter, "{} files", several.len()),
                }
            }
            Self::Untrained(sign) => formatter.write_str(untrained_in_words(*sign)),
            Self::NoSampleSize { checked: [height, width] } => write!(
                formatter,
                "the configuration does not say how large the images are (`sample_size` is null); checked with {height}x{width}"
            ),
            Self::Outputs { finite: true } => formatter.write_str("every output is a number"),
            Self::Outputs { finite: false } => formatter.write_str(
                "outputs are infinite or not numbers: the weights are damaged, or too large for f32",
            ),
            Self::Batches { same: true } => {
                formatter.write_str("an image has the same output, bit by bit, alone and in a batch")
            }
            Self::Batches { same: false } => {
                formatter.write_str("an image's output depends on the images beside it")
            }
            Self::Derivative { which, error } => {
                let what = match which {
                    Derivative::InImage => "the derivative in the image agrees with differences",
                    Derivative::Adjoint => "tangents and the backward pass agree",
                    Derivative::InParameters => "the gradient in the parameters agrees with differences",
                };
                let measured = format!("to {error:.1e} (at most {:.0e} is rounding)", which.bound());
                match self.is_good() {
                    true => write!(formatter, "{what} {measured}"),
                    false => write!(
                        formatter,
                        "{what} only {measured}: attribution would rest on wrong derivatives"
                    ),
                }
            }
            Self::Gradients { tensors, unreached } => {
                let reached = tensors - unreached.len();
                write!(formatter, "gradients reach {reached} of {tensors} tensors of parameters")?;
                match cut_off(unreached) {
                    Some(name) => {
                        write!(formatter, ": `{name}` changes nothing, so it was not trained or is cut off")
                    }
                    None if unreached.is_empty() => Ok(()),
                    None => formatter.write_str("; the others are queries and keys of levels of one pixel"),
                }
            }
            Self::NoPictures { channels } => write!(
                formatter,
                "the network takes {channels} channels, pictures have 1 to {MOST_CHANNELS}: it cannot be imported"
            ),
            Self::NoImage => formatter.write_str("the set has no image"),
            Self::Channels { images, network } => {
                write!(formatter, "the images have {images} channels, the network takes {network}")?;
                match network {
                    1 => formatter.write_str(
                        ": some have colour, which a run leaves out by `data.channels = \"grey\"`",
                    ),
                    _ => Ok(()),
                }
            }
            Self::Size { network: [height, width], other: None } => {
                write!(formatter, "the images are {height}x{width}, as the network takes them")
            }
            Self::Size { network: [height, width], other: Some([found_height, found_width]) } => write!(
                formatter,
                "images are {found_height}x{found_width}, the network takes {height}x{width}; here they were resized and \
                 cut to it, a run does it by `data.preprocessing.cover`"
            ),
            Self::Bytes { lowest, highest } => {
                write!(formatter, "the images' bytes go from {lowest} to {highest}, of 0 to 255")?;
                match self.is_good() {
                    true => Ok(()),
                    false => formatter.write_str(": they hardly differ, so they may have been scaled before"),
                }
            }
            Self::NoLabels => {
                formatter.write_str("the network was trained with classes, and the images have no labels")
            }
            Self::Labels { largest, classes } => {
                let known = classes.saturating_sub(1);
                write!(formatter, "labels go to {largest}, the network knows classes 0 to {known}")
            }
            Self::Prediction { predicted, images, error } => {
                let name = match predicted {
                    PredictionType::Epsilon => "the noise",
                    PredictionType::Sample => "the image",
                    PredictionType::VPrediction => "the velocity",
                };
                write!(
                    formatter,
                    "it predicts {name} of {images} of the images with a relative error of {error:.3}"
                )?;
                formatter.write_str(match self.is_good() {
                    true => " (which does not show that it was trained on these, only on such)",
                    false => {
                        ", and 1 is what knowing nothing reaches: it was trained on other images, with another noise \
                         schedule, or not at all"
                    }
                })
            }
            Self::Beside { other, error, own } => {
                write!(formatter, "`{other}` beside it predicts them with a relative error of {error:.3}")?;
                match is_better_beside(*error, *own) {
                    true => write!(formatter, ": take `{other}`; was the other one ever updated?"),
                    false => formatter.write_str(", which is not much better"),
                }
            }
            Self::OneOfTwo { network, error, better, untrained } => {
                write!(formatter, "`{network}` predicts the images with a relative error of {error:.3}")?;
                if *better {
                    formatter.write_str(", the better of the two")?;
                }
                match untrained {
                    Some(sign) => write!(formatter, "; {}", untrained_in_words(*sign)),
                    None => Ok(()),
                }
            }
            Self::Decoded { error } => {
                write!(
                    formatter,
                    "encoding and decoding loses {:.1} % of the images' variance",
                    100.0 * error
                )?;
                match self.is_good() {
                    true => Ok(()),
                    false => {
                        formatter.write_str(": the autoencoder does not know such images, or is damaged")
                    }
                }
            }
            Self::Prompts { with, without } => {
                write!(
                    formatter,
                    "without their captions its relative error is {without:.3}, with them {with:.3}"
                )?;
                match self.is_good() {
                    true => Ok(()),
                    false => formatter.write_str(": it was trained on other captions, or hardly hears them"),
                }
            }
            Self::OtherReadings { better: None } => {
                formatter.write_str("no other reading of the checkpoint that was tried fits better")
            }
            Self::OtherReadings { better: Some((reading, error)) } => {
                write!(formatter, "it fits better, {error:.3}, with {reading}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FindingKind::{Good, Note, Problem};

    #[test]
    fn a_derivative_that_is_no_number_is_a_problem() {
        let kind = |which, error| Finding::Derivative { which, error }.kind();
        assert_eq!(kind(Derivative::InImage, 3e-4), Good);
        assert_eq!(kind(Derivative::InImage, 1.0), Problem);
        // Tangents and the backward pass are held to rounding, not to the width of a difference.
        assert_eq!(kind(Derivative::InParameters, 5e-3), Good);
        assert_eq!(kind(Derivative::Adjoint, 5e-3), Problem);
        assert_eq!(kind(Derivative::Adjoint, f64::NAN), Problem);
    }

    #[test]
    fn only_queries_and_keys_may_be_without_a_gradient() {
        let of = |names: &[&str]| Finding::Gradients {
            tensors: 9,
            unreached: names.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(of(&[]).kind(), Good);
        let attention = of(&["mid_block.attentions.0.to_q.weight", "mid_block.attentions.0.to_k.bias"]);
        assert_eq!(attention.kind(), Good);
        assert!(attention.to_string().contains("7 of 9"), "{attention}");
        let cut_off = of(&["mid_block.attentions.0.to_q.weight", "conv_out.bias"]);
        assert_eq!(cut_off.kind(), Problem);
        assert!(cut_off.to_string().contains("`conv_out.bias` changes nothing"), "{cut_off}");
    }

    #[test]
    fn what_images_are_good_or_a_problem() {
        let size = |other| Finding::Size { network: [8, 8], other }.kind();
        assert_eq!((size(None), size(Some([8, 9]))), (Good, Note));
        let bytes = |lowest, highest| Finding::Bytes { lowest, highest }.kind();
        assert_eq!((bytes(0, 255), bytes(100, 164), bytes(0, 1)), (Good, Good, Problem));
        let predicted = PredictionType::Epsilon;
        let prediction = |error| Finding::Prediction { predicted, images: 16, error };
        assert_eq!((prediction(0.1).kind(), prediction(1.0).kind()), (Good, Problem));
        assert_eq!(prediction(f64::NAN).kind(), Problem);
        assert!(!prediction(f64::NAN).to_string().contains("trained on these"));
        let beside = |error, own| Finding::Beside { other: NetworkFolder::Unet, error, own };
        assert_eq!((beside(0.076, 1.056).kind(), beside(1.056, 0.076).kind()), (Problem, Good));
        // A little better is no reason to take the other one.
        assert_eq!(beside(0.3, 0.5).kind(), Good);
        assert!(beside(0.076, 1.056).to_string().contains("0.076: take `unet`"), "{}", beside(0.076, 1.056));
        assert_eq!(Finding::Untrained(Untrained::NormsAsInitialised).kind(), Problem);
        let better = |better| Finding::OtherReadings { better }.kind();
        assert_eq!((better(None), better(Some((Reading::Inverted, 0.1)))), (Good, Problem));
    }
}
