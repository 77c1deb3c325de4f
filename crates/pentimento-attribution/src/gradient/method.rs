//! The names of the literature, as compositions of the same parts.

use super::measurement::Measurement;

/// How the features of a query and of a training image become a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Their inner product.
    Dot,
    /// Their inner product through the inverse of the training images' kernel with a damping.
    InverseKernel,
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
    /// How features are compared.
    pub comparison: Comparison,
}

impl Method {
    /// Every method, as its paper defines it with one checkpoint. DAS is its kernel: residual and leverage change next to nothing.
    pub const ALL: [Self; 5] = [
        Self {
            name: "tracin",
            title: "TracIn at one checkpoint (Xie et al. 2024)",
            measurement: Measurement::Loss,
            unit_length: false,
            comparison: Comparison::Dot,
        },
        Self {
            name: "retrac",
            title: "ReTrac at one checkpoint (Xie et al. 2024)",
            measurement: Measurement::Loss,
            unit_length: true,
            comparison: Comparison::Dot,
        },
        Self {
            name: "trak",
            title: "TRAK (Park et al. 2023)",
            measurement: Measurement::Loss,
            unit_length: false,
            comparison: Comparison::InverseKernel,
        },
        Self {
            name: "d-trak",
            title: "D-TRAK (Zheng et al. 2024)",
            measurement: Measurement::Square,
            unit_length: false,
            comparison: Comparison::InverseKernel,
        },
        Self {
            name: "das",
            title: "the kernel of DAS (Lin et al. 2025)",
            measurement: Measurement::Mean,
            unit_length: true,
            comparison: Comparison::InverseKernel,
        },
    ];

    /// The method of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name == name)
    }
}
