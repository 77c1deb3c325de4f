//! Scores that know nothing, but are the same whenever they are asked for.

use pentimento_noise::{Purpose, Stream};

/// 2^53: the uniform values of a [`Stream`] are multiples of its inverse.
const STEPS: u64 = 1 << 53;

/// Uniform scores in [0, 1), `[queries][images]`, for queries and images by their numbers. A score follows from the seed
/// and these two numbers, whatever else is asked for.
pub fn random_scores(seed: u64, queries: &[u32], images: &[u32]) -> Vec<Vec<f64>> {
    let of_query = |&query: &u32| {
        let stream = Stream::new(seed, Purpose::RandomScore, query, 0);
        images.iter().map(|&image| stream.below(image.into(), STEPS) as f64 / STEPS as f64).collect()
    };
    queries.iter().map(of_query).collect()
}
