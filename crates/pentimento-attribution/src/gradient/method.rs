//! The names of the literature, as compositions of the same parts.

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
pub struct Method {
    /// The name on the command line.
    pub name: &'static str,
    /// The name for people, with its source.
    pub title: &'static str,
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

/// TRAK; the others say in what they differ.
const TRAK: Method = Method {
    name: "trak",
    title: "TRAK (Park et al. 2023)",
    measurement: Measurement::Loss,
    unit_length: false,
    query: QueryInput::Image,
    comparison: Comparison::InverseKernel(Divisor::One),
    follows_training: false,
};

impl Method {
    /// Every method, as its paper defines it; all but those that follow the training know its end only. DAS is its kernel,
    /// alone and with the leverage; the residual changes next to nothing.
    pub const ALL: [Self; 14] = [
        Self {
            name: "tracin",
            title: "TracIn (Xie et al. 2024)",
            comparison: Comparison::Dot,
            follows_training: true,
            ..TRAK
        },
        Self {
            name: "retrac",
            title: "ReTrac (Xie et al. 2024)",
            unit_length: true,
            comparison: Comparison::Dot,
            follows_training: true,
            ..TRAK
        },
        Self {
            name: "gradient-cosine",
            title: "cosine of gradients, GAS at one checkpoint (Hammoudeh and Lowd 2022)",
            comparison: Comparison::Cosine,
            ..TRAK
        },
        TRAK,
        Self {
            name: "elbo-trak",
            title: "TRAK of the weighted loss, the bound on the likelihood",
            measurement: Measurement::WeightedLoss,
            ..TRAK
        },
        Self {
            name: "relative-influence",
            title: "relative influence (Barshan et al. 2020)",
            comparison: Comparison::InverseKernel(Divisor::SolvedLength),
            ..TRAK
        },
        Self {
            name: "renormalised-influence",
            title: "renormalised influence (Hammoudeh and Lowd 2022)",
            comparison: Comparison::InverseKernel(Divisor::Length),
            ..TRAK
        },
        Self {
            name: "journey-trak",
            title: "Journey-TRAK (Georgiev et al. 2023) over the whole trajectory",
            query: QueryInput::Journey,
            ..TRAK
        },
        Self {
            name: "d-trak",
            title: "D-TRAK (Zheng et al. 2024)",
            measurement: Measurement::Square,
            ..TRAK
        },
        Self {
            name: "d-trak-l1",
            title: "D-TRAK of the sum of magnitudes (Zheng et al. 2024)",
            measurement: Measurement::SumOfMagnitudes,
            ..TRAK
        },
        Self {
            name: "d-trak-l2",
            title: "D-TRAK of the length (Zheng et al. 2024)",
            measurement: Measurement::Length,
            ..TRAK
        },
        Self {
            name: "d-trak-max",
            title: "D-TRAK of the largest magnitude (Zheng et al. 2024)",
            measurement: Measurement::LargestMagnitude,
            ..TRAK
        },
        Self {
            name: "das-leverage",
            title: "the kernel of DAS with its leverage (Lin et al. 2025)",
            measurement: Measurement::Mean,
            unit_length: true,
            comparison: Comparison::InverseKernel(Divisor::OneLessLeverage),
            ..TRAK
        },
        Self {
            name: "das",
            title: "the kernel of DAS (Lin et al. 2025)",
            measurement: Measurement::Mean,
            unit_length: true,
            ..TRAK
        },
    ];

    /// Whether scores of several training images may be added up: not if each is divided by something of its own image that
    /// has another unit.
    pub fn adds_up(&self) -> bool {
        matches!(
            self.comparison,
            Comparison::Dot | Comparison::InverseKernel(Divisor::One | Divisor::OneLessLeverage)
        )
    }

    /// The method of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name == name)
    }
}
