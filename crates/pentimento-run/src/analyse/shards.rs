//! Which samples make up a shard.

use crate::error::Result;
use crate::workspace::Workspace;
use pentimento_store::Fingerprint;

/// Samples of a shard. With 50 steps, 16 members and 28x28 pixels the base runs of a shard take 40 MB.
pub const SAMPLES_PER_SHARD: usize = 16;

/// Ids of the samples of a shard.
pub fn shard_samples(shard: usize, count: usize) -> Vec<u32> {
    (shard * SAMPLES_PER_SHARD..((shard + 1) * SAMPLES_PER_SHARD).min(count)).map(|id| id as u32).collect()
}

/// Number of shards of so many samples.
pub fn shard_count(samples: usize) -> usize {
    samples.div_ceil(SAMPLES_PER_SHARD)
}

/// Name of a shard's object in a folder of the run.
pub(super) fn shard_name(folder: &str, shard: usize) -> String {
    format!("{folder}/shard-{shard:05}.safetensors")
}

/// What the shard of some samples follows from.
pub(super) type FingerprintOf<'a> = &'a dyn Fn(&[u32]) -> Result<Fingerprint>;

/// How many shards of a folder were made from something else than `fingerprint` gives for their samples, however many those
/// are: another number of samples is no other work. Without a fingerprint all were.
pub(super) fn shards_of_others(
    workspace: &Workspace,
    folder: &str,
    fingerprint: Option<FingerprintOf<'_>>,
) -> Result<usize> {
    let mut count = 0;
    for shard in 0.. {
        let Some(entry) = workspace.run.entry(&shard_name(folder, shard)) else { break };
        let Some(fingerprint) = fingerprint else {
            count += 1;
            continue;
        };
        let first = shard * SAMPLES_PER_SHARD;
        let mut is_own = false;
        for samples in 1..=SAMPLES_PER_SHARD {
            is_own |= fingerprint(&shard_samples(shard, first + samples))? == entry.made_from;
        }
        count += usize::from(!is_own);
    }
    Ok(count)
}

/// Removes shards of a folder that an earlier recipe with more samples left, with the pictures of their samples.
pub(super) fn remove_beyond(workspace: &Workspace, folder: &str) -> Result<()> {
    let count = workspace.recipe.samples.count;
    for name in workspace.run.names() {
        let number = |start: &str, end: &str| -> Option<usize> {
            name.strip_prefix(folder)?.strip_prefix(start)?.strip_suffix(end)?.parse().ok()
        };
        let shard = number("/shard-", ".safetensors");
        let picture = number("/", ".png");
        if shard.is_some_and(|shard| shard >= shard_count(count))
            || picture.is_some_and(|sample| sample >= count)
        {
            workspace.run.remove(&name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_every_sample_once() {
        for count in [1, 15, 16, 17, 1000] {
            let ids: Vec<u32> =
                (0..shard_count(count)).flat_map(|shard| shard_samples(shard, count)).collect();
            assert_eq!(ids, (0..count as u32).collect::<Vec<_>>());
        }
    }
}
