//! Sets of every layout, written by the test itself: the same images must come out whatever they lay in, and what is
//! damaged, foreign or hostile must be refused by name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod arrays;
mod captions;
mod channels;
mod damage;
mod every_layout;
mod folders;
mod formats;
mod image_files;
mod index;
mod labels;
mod left_out;
mod metadata;
mod names;
mod parquet;
mod several_sizes;
mod splits;
mod webdataset;
mod writers;
mod written_elsewhere;

use std::path::Path;

use pentimento_data::{ImageId, ImageSource as _, IndexedSource, OpenOptions, Split, open};

fn try_open(path: &Path) -> Result<IndexedSource, String> {
    try_open_split(path, Split::Train)
}

fn try_open_split(path: &Path, split: Split) -> Result<IndexedSource, String> {
    open(path, &OpenOptions { split, ..OpenOptions::default() }, &mut |_| {}).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    })
}

fn refusal(path: &Path) -> String {
    match try_open(path) {
        Err(message) => message,
        Ok(source) => panic!("{} was opened as {}", path.display(), source.layout()),
    }
}

#[track_caller]
fn assert_names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

fn ids(source: &IndexedSource) -> Vec<ImageId> {
    (0..source.len()).map(|index| source.image(index).unwrap().id()).collect()
}

/// What is said of a set beside its images, a line for each note.
fn notes(source: &IndexedSource) -> String {
    source.notes().iter().map(|note| format!("{note}\n")).collect()
}

fn keys(source: &IndexedSource) -> Vec<String> {
    (0..source.len()).map(|index| source.key(index)).collect()
}
