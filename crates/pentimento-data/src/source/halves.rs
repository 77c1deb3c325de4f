//! Which names belong to the training half of a set, which to its test half, and which to a third part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::place::Place;
use super::words::listed;
use crate::error::DataError;
use crate::public_sets::Split;

/// A part of a set that a name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Train,
    Test,
    /// A third part, which is neither trained on nor the test half.
    Validation,
}

impl From<Split> for Part {
    fn from(split: Split) -> Self {
        match split {
            Split::Train => Self::Train,
            Split::Test => Self::Test,
        }
    }
}

/// Words that a folder of a split may have beside the one that says which: `train_images`, `Training Set`.
const NEUTRAL_WORDS: [&str; 12] = [
    "set", "data", "dataset", "images", "image", "imgs", "img", "pictures", "split", "full", "small", "large",
];

/// The error for a half that the set does not have; `parts` are those that it has.
pub(super) fn no_half(path: &Path, split: Split, parts: &[String]) -> DataError {
    let bound = if parts.is_empty() {
        "one that the set has".into()
    } else {
        format!(
            "one that the set has: {}. A part that is named by its own path is taken as it is",
            listed(parts)
        )
    };
    Place::file(path).broken("the split asked for", word_of(split), bound)
}

/// `train` or `test`.
pub(super) fn word_of(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "test",
    }
}

/// Refuses the test half of a set that does not say its halves: all of it is for training.
pub(super) fn whole_only(path: &Path, split: Split) -> Result<(), DataError> {
    if split == Split::Train { Ok(()) } else { Err(no_half(path, split, &[])) }
}

/// The part that a name tells by one of its words, as in `train-00000-of-00002.parquet` or `x_test`.
pub(super) fn part_named(name: &str) -> Option<Part> {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|character: char| !character.is_ascii_alphanumeric());
    words.find_map(part_of_word)
}

/// The part that a word in lower case stands for. A number may follow it: `train2017`.
pub(super) fn part_of_word(word: &str) -> Option<Part> {
    if word == "t10k" {
        return Some(Part::Test);
    }
    let word = word.trim_end_matches(|last: char| last.is_ascii_digit());
    let stem =
        ["dataset", "set", "data", "images", "imgs"].iter().find_map(|neutral| word.strip_suffix(neutral));
    match stem.filter(|stem| !stem.is_empty()).unwrap_or(word) {
        "train" | "training" | "trainval" => Some(Part::Train),
        "test" | "testing" | "tests" => Some(Part::Test),
        "val" | "valid" | "validation" | "dev" | "devel" | "development" | "eval" | "evaluation"
        | "holdout" => Some(Part::Validation),
        _ => None,
    }
}

/// The part that a whole name of a folder stands for: one word says it, and no other word says anything. `bullet train` is a
/// class.
pub(super) fn part_of_folder(name: &str) -> Option<Part> {
    let name = name.to_ascii_lowercase();
    let mut found = None;
    for word in
        name.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
    {
        match part_of_word(word) {
            Some(_) if found.is_some() => return None,
            Some(part) => found = Some(part),
            None if NEUTRAL_WORDS.contains(&word) || word.bytes().all(|byte| byte.is_ascii_digit()) => {}
            None => return None,
        }
    }
    found
}

/// The folders of a set that has a folder for each split.
pub(super) struct SplitFolders {
    parts: Vec<(String, Part)>,
    /// Folders that belong to no split.
    pub(super) others: Vec<String>,
}

impl SplitFolders {
    /// Whether some of these folders are splits: each by name, with whether its images are in folders again. None if none is.
    ///
    /// # Errors
    /// If a folder is called as a split is, but may be a class as well as those beside it.
    pub(super) fn among(path: &Path, folders: &BTreeMap<String, bool>) -> Result<Option<Self>, DataError> {
        // `seg_train` and `seg_test`: no word says that each is a split, but all together do.
        let loose: Vec<(String, Part)> =
            folders.keys().filter_map(|name| Some((name.clone(), part_named(name)?))).collect();
        if loose.len() == folders.len() && distinct(&loose) > 1 {
            return Ok(Some(Self { parts: loose, others: Vec::new() }));
        }
        let strict: Vec<(String, Part)> =
            folders.keys().filter_map(|name| Some((name.clone(), part_of_folder(name)?))).collect();
        if strict.is_empty() {
            return Ok(None);
        }
        let is_split = |name: &String| strict.iter().any(|(split, _)| split == name);
        let others: Vec<String> = folders.keys().filter(|name| !is_split(name)).cloned().collect();
        let nested = |name: &String| folders.get(name).copied().unwrap_or_default();
        // A folder that is called `train` holds classes where those beside it hold images only: then it is no class.
        let deeper = strict.iter().any(|(name, _)| nested(name)) && !others.iter().any(nested);
        if let ([(name, _), ..], false) =
            (strict.as_slice(), others.is_empty() || distinct(&strict) > 1 || deeper)
        {
            let value = format!("with {name}, as a split is called, and {}", listed(&others));
            let bound = "splits only, or class folders only: name the folder of the split itself, or call it otherwise if \
                 it is a class";
            return Err(Place::file(path).broken("the list of folders", value, bound));
        }
        Ok(Some(Self { parts: strict, others }))
    }

    /// Whether all of them are the same split.
    pub(super) fn is_one(&self) -> bool {
        distinct(&self.parts) < 2
    }

    /// The folder of a split, and those of the others.
    pub(super) fn taken(&self, path: &Path, split: Split) -> Result<(String, Vec<String>), DataError> {
        let (wanted, others): (Vec<_>, Vec<_>) =
            self.parts.iter().cloned().partition(|&(_, part)| part == Part::from(split));
        let names = |parts: Vec<(String, Part)>| parts.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        match wanted.as_slice() {
            [] => Err(no_half(path, split, &names(others))),
            [(folder, _)] => Ok((folder.clone(), names(others))),
            [(first, _), (second, _), ..] => {
                let value = format!("both {first} and {second} for the split {}", word_of(split));
                Err(Place::file(path).broken("the list of folders", value, "one; name the one that is meant"))
            }
        }
    }
}

fn distinct(parts: &[(String, Part)]) -> usize {
    parts.iter().map(|(_, part)| part).collect::<BTreeSet<_>>().len()
}

/// Those names that belong to a half. If no name says a part, all are the training half.
pub(super) fn of_half(place: &Path, names: &[String], split: Split) -> Result<Vec<String>, DataError> {
    let parts: Vec<_> = names.iter().map(|name| part_named(name)).collect();
    if parts.iter().all(Option::is_none) {
        whole_only(place, split)?;
        return Ok(names.to_vec());
    }
    let wanted: Vec<String> = names
        .iter()
        .zip(&parts)
        .filter(|&(_, part)| *part == Some(Part::from(split)))
        .map(|(name, _)| name.clone())
        .collect();
    if wanted.is_empty() { Err(no_half(place, split, names)) } else { Ok(wanted) }
}
