//! Where the features that are compared come from.

use super::block::FeatureBlock;
use super::kernel::KernelError;
use pentimento_statistics::StatisticsError;
use std::ops::Range;

/// The features that one network has of training images and queries, read where they are.
///
/// A training image has a feature for each block of groups of draws. A query has parts, each of one timestep and of one block
/// ([`QueryTimesteps`]). A feature is the mean over either.
pub trait FeatureSource: Sync {
    /// What reading fails with.
    type Error: From<KernelError> + From<StatisticsError> + Send;

    /// Number of training images.
    fn images(&self) -> usize;

    /// Number of queries.
    fn queries(&self) -> usize;

    /// Length of a feature.
    fn dimension(&self) -> usize;

    /// What the network's scores are multiplied with, when those of several networks are added up.
    fn factor(&self) -> f64;

    /// Features of a range of training images, without a block of draws if one is left out. May be called from several threads.
    ///
    /// # Errors
    ///
    /// As reading them.
    fn image_block(&self, images: Range<usize>, left_out: Option<usize>)
    -> Result<FeatureBlock, Self::Error>;

    /// Features of a range of queries, each the mean over the parts that `keep`, `[queries, feature]`.
    ///
    /// # Errors
    ///
    /// As reading them.
    fn query_features(
        &self,
        queries: Range<usize>,
        keep: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<f32>, Self::Error>;

    /// The feature of each part of a query, `[parts, feature]`.
    ///
    /// # Errors
    ///
    /// As reading them.
    fn query_parts(&self, query: usize) -> Result<Vec<f32>, Self::Error>;
}

/// What the parts of queries are.
#[derive(Clone, Copy, Debug)]
pub struct QueryTimesteps<'a> {
    /// The timestep of each part.
    pub timesteps: &'a [usize],
    /// The block of draws to which each belongs.
    pub blocks: &'a [usize],
}
