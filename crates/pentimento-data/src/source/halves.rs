//! Which names belong to the training half of a set and which to its test half.

use std::path::Path;

use super::place::Place;
use crate::error::DataError;
use crate::public_sets::Split;

/// The error for a half that the set does not have.
pub(super) fn no_half(path: &Path, split: Split) -> DataError {
    let value = match split {
        Split::Train => "train",
        Split::Test => "test",
    };
    Place::file(path).broken("the split asked for", value, "one that the set has")
}

/// Refuses the test half of a set that does not say its halves: all of it is for training.
pub(super) fn whole_only(path: &Path, split: Split) -> Result<(), DataError> {
    if split == Split::Train { Ok(()) } else { Err(no_half(path, split)) }
}

/// The half that a name tells, as in `train-00000-of-00002.parquet` or `x_test`; the outer option is none if it
/// says no half, the inner one if it is a third part (validation).
pub(super) fn half_named(name: &str) -> Option<Option<Split>> {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|character: char| !character.is_ascii_alphanumeric());
    words.find_map(half_called)
}

/// The half that a word in lower case stands for, as in [`half_named`].
pub(super) fn half_called(word: &str) -> Option<Option<Split>> {
    match word {
        "train" | "training" => Some(Some(Split::Train)),
        "test" | "t10k" => Some(Some(Split::Test)),
        "val" | "valid" | "validation" | "dev" => Some(None),
        _ => None,
    }
}

/// Those names that belong to a half. If no name says a half, all are the training half.
pub(super) fn of_half(place: &Path, names: &[String], split: Split) -> Result<Vec<String>, DataError> {
    let halves: Vec<_> = names.iter().map(|name| half_named(name)).collect();
    if halves.iter().all(Option::is_none) {
        whole_only(place, split)?;
        return Ok(names.to_vec());
    }
    let wanted: Vec<String> = names
        .iter()
        .zip(&halves)
        .filter(|&(_, half)| *half == Some(Some(split)))
        .map(|(name, _)| name.clone())
        .collect();
    if wanted.is_empty() { Err(no_half(place, split)) } else { Ok(wanted) }
}
