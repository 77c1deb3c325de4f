//! What a method through the curvature does. Its name stands in the table of all methods.

use crate::gradient::Measurement;

/// What of a query is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryMeasurement {
    /// A function of the network's output for the query, at the same timesteps as for training images.
    OfImage(Measurement),
    /// The logarithm of the probability of every step that the sampler took on the way to a sample.
    Trajectory,
}

/// Which inverse a query's gradient goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inverse {
    /// That of each block by itself.
    Blocks,
    /// That of the whole matrix, which conjugate gradients come near, beginning with that of the blocks.
    Whole,
}

/// How an image's influence follows from the curvature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfluenceKind {
    /// By its derivative: the query's gradient through the inverse curvature, times the image's.
    Linear(QueryMeasurement, Inverse),
    /// By unlearning the query: a step against its gradient through the inverse curvature, and what it does to each training
    /// image's loss.
    Unlearning(LossChange),
}

/// How the loss of a training image before and after is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossChange {
    /// By its increase.
    Increase,
    /// By its increase over the sum of both and [`RATIO_OFFSET`].
    Ratio,
}
