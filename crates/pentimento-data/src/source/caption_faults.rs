//! What is wrong with captions: of which images, of what kind, and why, all of a set in one go.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ImageSource;
use super::captions::{CAPTION_COLUMNS, CAPTION_FILES};
use super::words::{counted, write_by_kind};
use crate::error::DataError;

/// A kind of fault that captions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptionFaultKind {
    /// Other images have one.
    Missing,
    /// Several texts could be meant, and nobody said which.
    Unclear,
    /// It is no text and no list of texts.
    Kind,
    /// Its text is not UTF-8.
    Encoding,
    /// It is longer than captions are.
    Length,
    /// Its file is not there, or cannot be opened.
    Unreadable,
}

impl fmt::Display for CaptionFaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Missing => "without one",
            Self::Unclear => "with several texts that could be meant",
            Self::Kind => "with something else than texts",
            Self::Encoding => "with a text that is not UTF-8",
            Self::Length => "with a text that is too long",
            Self::Unreadable => "whose file cannot be opened",
        })
    }
}

/// What keeps an image from having captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    kind: CaptionFaultKind,
    reason: Arc<str>,
}

impl Fault {
    pub(super) fn new(kind: CaptionFaultKind, error: &DataError) -> Self {
        Self::because(kind, &error.to_string())
    }

    pub(super) fn because(kind: CaptionFaultKind, reason: &str) -> Self {
        Self { kind, reason: reason.into() }
    }

    pub(super) fn of_image(&self, index: usize, key: String) -> FaultyCaption {
        FaultyCaption { index, key, kind: self.kind, reason: Arc::clone(&self.reason) }
    }
}

/// An image whose captions cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultyCaption {
    /// Its position in the set.
    pub index: usize,
    /// What the set calls it.
    pub key: String,
    /// What kind of fault its captions have.
    pub kind: CaptionFaultKind,
    /// What is wrong with them, and where; shared by all images of which it is the same.
    pub reason: Arc<str>,
}

/// Faults of captions, for people: a line for each kind with its number, the first names, and what is wrong with the first.
pub struct CaptionFaultSummary<'a>(pub &'a [FaultyCaption]);

impl fmt::Display for CaptionFaultSummary<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.0.iter().map(|fault| (fault.kind, fault.key.as_str(), &*fault.reason));
        write_by_kind(formatter, faults)
    }
}

/// Refuses images that have no captions, for whatever needs them of all of these.
///
/// # Errors
/// [`DataError::Captions`] with all images whose captions cannot be used; [`DataError::Value`] if the set has none at all.
pub fn check_captions(set: &dyn ImageSource, indices: &[usize]) -> Result<(), DataError> {
    let faults: Vec<FaultyCaption> = indices.iter().filter_map(|&index| set.caption_fault(index)).collect();
    if !faults.is_empty() {
        return Err(DataError::Captions { faults, of: indices.len() });
    }
    if indices.iter().any(|&index| set.captions(index).is_empty()) {
        let names = CAPTION_COLUMNS.map(|name| format!("`{name}`"));
        return Err(DataError::Value {
            field: "the captions of the images",
            value: "none".into(),
            bound: format!(
                "in a column {} of a table or of Parquet files, in {CAPTION_FILES} files beside the images, or in these fields of \
                 the .json of WebDataset{}",
                names.join(", "),
                if set.labels().is_some() { "; or made of the names of classes" } else { "" }
            ),
        });
    }
    Ok(())
}

/// The captions of a set, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionSummary {
    /// Where they are from, such as a column's name; none if none is taken, which the faults then say.
    pub source: Option<String>,
    /// Images with one caption.
    pub with_one: usize,
    /// Images with several captions.
    pub with_several: usize,
    /// Captions without a word: unconditional prompts.
    pub empty: usize,
    /// The key and the first caption of the first image that has one with words.
    pub example: Option<(String, String)>,
    /// Images whose captions cannot be used.
    pub faults: Vec<FaultyCaption>,
}

impl CaptionSummary {
    /// Characters of the example that are shown.
    const SHOWN: usize = 80;

    /// Counts the captions of a set; `source` is where they are from.
    pub(super) fn of(set: &dyn ImageSource, source: Option<&str>) -> Self {
        let mut summary = Self {
            source: source.map(str::to_owned),
            with_one: 0,
            with_several: 0,
            empty: 0,
            example: None,
            faults: (0..set.len()).filter_map(|index| set.caption_fault(index)).collect(),
        };
        for index in 0..set.len() {
            let texts = set.captions(index);
            match texts.len() {
                0 => {}
                1 => summary.with_one += 1,
                _ => summary.with_several += 1,
            }
            for text in texts {
                if text.trim().is_empty() {
                    summary.empty += 1;
                } else if summary.example.is_none() {
                    summary.example = Some((set.key(index), text.clone()));
                }
            }
        }
        summary
    }
}

impl fmt::Display for CaptionSummary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = |count| counted(count, "image");
        match (self.with_one, self.with_several) {
            (0, 0) => write!(formatter, "none that can be used")?,
            (0, several) => write!(formatter, "{} with several", images(several))?,
            (1, _) => write!(formatter, "1 image with one")?,
            (one, _) => write!(formatter, "{} with one each", images(one))?,
        }
        if self.with_one > 0 && self.with_several > 0 {
            write!(formatter, ", {} with several", self.with_several)?;
        }
        if self.empty > 0 {
            write!(formatter, ", {} empty", self.empty)?;
        }
        if let Some((key, text)) = &self.example {
            let mut shown: String = text.chars().take(Self::SHOWN).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            write!(formatter, "; e.g. {shown:?} ({key})")?;
        }
        Ok(())
    }
}
