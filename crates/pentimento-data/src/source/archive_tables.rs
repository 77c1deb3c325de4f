//! Parquet files beside archives, as img2dataset writes them: a row for each sample, by its key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::caption_candidates::Candidates;
use super::parquet_shards::texts_of;
use super::tables::LABEL_COLUMNS;
use crate::error::DataError;
use crate::names::composed;

/// What the tables say of samples by their keys.
pub(super) struct ArchiveTables {
    pub(super) labels: BTreeMap<String, Option<String>>,
    /// Row by row, through all files.
    pub(super) captions: Candidates,
    row_of: BTreeMap<String, usize>,
    /// The names of all columns.
    pub(super) columns: BTreeSet<String>,
}

impl ArchiveTables {
    pub(super) fn read(paths: &[PathBuf], captions: Option<&str>) -> Result<Self, DataError> {
        let captions = Candidates::new(captions);
        let mut table =
            Self { labels: BTreeMap::new(), captions, row_of: BTreeMap::new(), columns: BTreeSet::new() };
        let wanted: Vec<&str> = LABEL_COLUMNS.into_iter().chain(["key"]).collect();
        let mut first = 0;
        for path in paths {
            let (columns, rows) = texts_of(path, &wanted, first, &mut table.captions)?;
            table.columns.extend(columns);
            let end = table.captions.rows().max(first + rows.len());
            for (row, mut texts) in (first..).zip(rows) {
                let Some(key) = texts.remove("key") else { continue };
                let key = composed(&key);
                table.row_of.insert(key.clone(), row);
                table.labels.insert(key, texts.into_values().next());
            }
            first = end;
        }
        Ok(table)
    }

    /// What the rows of these keys have of captions. Of a key without a row, nothing is said.
    pub(super) fn captions_of(&mut self, keys: &[&str]) -> Candidates {
        let captions = std::mem::replace(&mut self.captions, Candidates::new(None));
        captions.at(&keys
            .iter()
            .map(|key| self.row_of.get(*key).copied().unwrap_or(usize::MAX))
            .collect::<Vec<_>>())
    }
}
