//! What a method by gradients is composed of. Its name stands in the table of all methods.

use super::measurement::Measurement;

/// How the features of a query and of a training image become a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Their inner product.
    Dot,
    /// The cosine of their angle.
    Cosine,
    /// Their inner product through the inverse of the training images' kernel with a damping, divided by something of the
    /// training image.
    InverseKernel(Divisor),
}

/// What of a training image its scores are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// Nothing.
    One,
    /// The length of its feature.
    Length,
    /// The length of its feature solved with the kernel.
    SolvedLength,
    /// What its leverage leaves of one: what leaving it out changes, and not a step away from it (Sherman and Morrison).
    OneLessLeverage,
}

/// What the network is shown of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryInput {
    /// The image itself, at the same timesteps as the training images.
    Image,
    /// The images that the network predicts on the way to it, each at the timestep at which it was predicted.
    Journey,
}

/// What a method does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradientMethod {
    /// Its name in the table of all methods, which errors, costs and objects carry.
    pub name: &'static str,
    /// What is measured, of query and training image alike.
    pub measurement: Measurement,
    /// Whether each timestep's gradient is brought to unit length.
    pub unit_length: bool,
    /// What the network is shown of the query.
    pub query: QueryInput,
    /// How features are compared.
    pub comparison: Comparison,
    /// Whether it follows the training, where that is known: scores of several checkpoints are added up, and training images
    /// have the timesteps, noises and flips that they had in training.
    pub follows_training: bool,
}

/// TRAK (Park et al. 2023); the other methods say in what they differ.
pub const TRAK: GradientMethod = GradientMethod {
    name: "trak",
    measurement: Measurement::Loss,
    unit_length: false,
    query: QueryInput::Image,
    comparison: Comparison::InverseKernel(Divisor::One),
    follows_training: false,
};

impl GradientMethod {
    /// Whether scores of several training images may be added up: not if each is divided by something of its own image that
    /// has another unit.
    pub const fn adds_up(&self) -> bool {
        matches!(
            self.comparison,
            Comparison::Dot | Comparison::InverseKernel(Divisor::One | Divisor::OneLessLeverage)
        )
    }

    /// What a larger score means.
    pub const fn meaning(&self) -> &'static str {
        match self.measurement {
            Measurement::Loss | Measurement::WeightedLoss => {
                "larger = training on the image helped more to make the query"
            }
            // Of other functions than the loss, a step of training has no direction by itself.
            Measurement::Square
            | Measurement::Mean
            | Measurement::SumOfMagnitudes
            | Measurement::Length
            | Measurement::LargestMagnitude => {
                "larger = training on the image is held to have helped more to make the query; the sign is the convention of \
                 the method's authors, not derived from a step of training"
            }
        }
    }
}
