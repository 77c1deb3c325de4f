//! Files that are one set together, and files of which one is the set.

use std::path::{Path, PathBuf};

use super::halves::of_half;
use super::place::Place;
use crate::error::DataError;
use crate::public_sets::Split;

/// The only one of some names.
pub(super) fn one_of(folder: &Path, names: &[String]) -> Result<PathBuf, DataError> {
    match names {
        [name] => Ok(folder.join(name)),
        _ => {
            let value = format!("{} files ({})", names.len(), names.join(", "));
            Err(Place::file(folder).broken("the layout", value, "one file; name the one that is meant"))
        }
    }
}

/// The shards of a half, in order. Of shards that are numbered `-00000-of-00003`, all must be there.
pub(super) fn shards(folder: &Path, names: &[String], split: Split) -> Result<Vec<PathBuf>, DataError> {
    let names = of_half(folder, names, split)?;
    let numbered: Vec<Option<(&str, u64, u64)>> = names.iter().map(|name| shard_number(name)).collect();
    if let Some(&(prefix, _, count)) = numbered.iter().flatten().next() {
        let place = Place::file(folder);
        for (name, number) in names.iter().zip(&numbered) {
            if number.is_none_or(|(other, _, of)| (other, of) != (prefix, count)) {
                let bound = format!("shards of one series, such as {}", names[0]);
                return Err(place.broken("the list of shards", format!("with {name}"), bound));
            }
        }
        for expected in 0..count {
            if numbered
                .get(expected as usize)
                .copied()
                .flatten()
                .is_none_or(|(_, number, _)| number != expected)
            {
                let value = format!("without {prefix}-{expected:05}-of-{count:05}");
                return Err(place.broken("the list of shards", value, format!("all {count}")));
            }
        }
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// `train-00001-of-00003.parquet` is `("train", 1, 3)`.
fn shard_number(name: &str) -> Option<(&str, u64, u64)> {
    let stem = name.split('.').next()?;
    let (front, count) = stem.rsplit_once("-of-")?;
    let (prefix, number) = front.rsplit_once('-')?;
    Some((prefix, number.parse().ok()?, count.parse().ok()?))
}
