//! The methods that go through the curvature, by name.

use crate::gradient::Measurement;

/// What of a query is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryMeasurement {
    /// A function of the network's output for the query, at the same timesteps as for training images.
    OfImage(Measurement),
    /// The logarithm of the probability of every step that the sampler took on the way to a sample.
    Trajectory,
}

/// How an image's influence follows from the curvature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfluenceKind {
    /// By its derivative: the query's gradient through the inverse curvature, times the image's.
    Linear(QueryMeasurement),
    /// By unlearning the query: a step against its gradient through the inverse curvature, and what it does to each training
    /// image's loss.
    Unlearning,
}

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InfluenceMethod {
    /// The name on the command line.
    pub name: &'static str,
    /// The name for people, with its source.
    pub title: &'static str,
    /// What it does.
    pub kind: InfluenceKind,
    /// What a score is.
    pub meaning: &'static str,
}

const fn linear(measurement: Measurement) -> InfluenceKind {
    InfluenceKind::Linear(QueryMeasurement::OfImage(measurement))
}

impl InfluenceMethod {
    /// Every method.
    pub const ALL: [Self; 5] = [
        Self {
            name: "influence",
            title: "influence functions (Mlodozeniec et al. 2025)",
            kind: linear(Measurement::Loss),
            meaning: "the predicted increase of the query's loss (mean squared error) if the image is removed and the network \
                      trained again; larger = training on the image helped more to make the query",
        },
        Self {
            name: "influence-elbo",
            title: "influence functions of the weighted loss, the bound on the likelihood",
            kind: linear(Measurement::WeightedLoss),
            meaning: "the predicted increase of the query's weighted loss (bound on the negative log-likelihood, mean over \
                      timesteps and values) if the image is removed; larger = training on the image helped more to make \
                      the query",
        },
        Self {
            name: "influence-square",
            title: "influence functions of the squared output",
            kind: linear(Measurement::Square),
            meaning: "the predicted increase of the mean square of the network's output for the query if the image is removed",
        },
        Self {
            name: "influence-trajectory",
            title: "influence functions of the sampling trajectory's probability (Mlodozeniec et al. 2025)",
            kind: InfluenceKind::Linear(QueryMeasurement::Trajectory),
            meaning: "the predicted decrease of the log-probability of the sampler's steps to the sample (sum over steps, mean \
                      over values) if the image is removed; larger = training on the image helped more to make the query",
        },
        Self {
            name: "unlearning",
            title: "attribution by unlearning the query (Wang et al. 2024)",
            kind: InfluenceKind::Unlearning,
            meaning: "the increase of the training image's loss (mean squared error, same noise) when the query is unlearned, \
                      whose intervals are over the draws of the training image; larger = training on the image helped more to make the query",
        },
    ];

    /// The method of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name == name)
    }
}
