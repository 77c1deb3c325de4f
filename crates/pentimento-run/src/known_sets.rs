//! Of which image sets all was told before: a person who reads it once need not read it with every command.

use crate::recipe::DataRecipe;
use pentimento_data::Split;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Sets that are known; clones share them.
#[derive(Clone, Debug, Default)]
pub struct KnownSets(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// What a run was opened with before, by a command that is over.
    before: Vec<DataRecipe>,
    /// What was opened while this program runs.
    opened: Vec<(PathBuf, Split, DataRecipe)>,
}

/// What is to be told of a set that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// All.
    Everything,
    /// One line, if it is unchanged.
    OneLine,
    /// Nothing, if it is unchanged.
    Nothing,
}

impl KnownSets {
    /// A run was opened with these images before.
    pub fn add(&self, data: &DataRecipe) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).before.push(data.clone());
    }

    /// What is to be told of a set with the settings of a recipe.
    pub(crate) fn telling(&self, path: &Path, split: Split, data: &DataRecipe) -> Telling {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.opened.iter().any(|(of, part, with)| of == path && *part == split && with == data) {
            Telling::Nothing
        } else if data.path.as_deref() == Some(path) && known.before.contains(data) {
            Telling::OneLine
        } else {
            Telling::Everything
        }
    }

    /// All was told of a set.
    pub(crate) fn told(&self, path: &Path, split: Split, data: &DataRecipe) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.opened.push((path.into(), split, data.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_told_once_and_in_one_line_by_later_commands() {
        let data = DataRecipe { path: Some("set".into()), ..DataRecipe::default() };
        let skipping = DataRecipe { skip_damaged: true, ..data.clone() };
        let (set, queries) = (Path::new("set"), Path::new("queries"));
        let first = KnownSets::default();
        let telling =
            |known: &KnownSets, path: &Path, data: &DataRecipe| known.telling(path, Split::Train, data);
        assert_eq!(telling(&first, set, &data), Telling::Everything);
        first.told(set, Split::Train, &data);
        assert_eq!(telling(&first, set, &data), Telling::Nothing);
        assert_eq!(first.telling(set, Split::Test, &data), Telling::Everything);
        assert_eq!(telling(&first, set, &skipping), Telling::Everything);
        let later = KnownSets::default();
        later.add(&data);
        assert_eq!(telling(&later, set, &data), Telling::OneLine);
        assert_eq!(telling(&later, set, &skipping), Telling::Everything);
        assert_eq!(telling(&later, queries, &data), Telling::Everything);
    }
}
