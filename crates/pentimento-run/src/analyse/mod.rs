//! Making samples and their counterfactuals: exact, and by every approximation, shard by shard.
//!
//! A shard is a fixed number of samples. What a shard holds follows from the members and the recipe alone, so shards
//! can be made in any order, on any machine, and again.
//!
//! * `ensemble`: the networks with their sampler.
//! * `shards`: which samples make up a shard.
//! * `sample`: the stage that makes samples; `attribute`: the stage that makes everything asked about them.
//! * `counterfactuals` and `search`: what `attribute` computes for a shard.
//! * `analysis`: what is then known of a sample; `attribution_shard`: how it is written and read.

mod analysis;
mod attribute;
mod attribution_shard;
mod counterfactuals;
mod ensemble;
mod sample;
mod search;
mod shards;

pub use analysis::SampleAnalysis;
pub use attribute::{
    Attribution, analysis_fingerprint, attribute, attribution_of_others, read_analysis, read_samples,
};
pub use ensemble::Ensemble;
pub use sample::{Sampling, sample, samples_of_others, sampling_forecast};
pub use shards::{SAMPLES_PER_SHARD, shard_count, shard_samples};
