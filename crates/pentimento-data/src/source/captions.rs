//! The captions of a set: what each image has, and what is wrong with it.
//!
//! A set never fails to open because of its captions: what is wrong with them is kept by image, as damage is, and refused where
//! captions are needed (`check_captions`). `caption_candidates.rs` finds them.

use std::collections::BTreeMap;

use super::caption_faults::{CaptionFaultKind, Fault};
use super::notes::Note;
use super::place::Place;

/// What columns and fields of captions are usually called.
pub(super) const CAPTION_COLUMNS: [&str; 4] = ["caption", "captions", "prompt", "text"];
/// What files of captions beside images end with, with its dot. In names of candidates the dot tells files from columns.
pub(super) const CAPTION_FILES: &str = ".txt";
/// Longest caption. Text encoders read 77 tokens, or 512.
pub(super) const MAX_CAPTION_BYTES: u64 = 64 << 10;
/// Bytes of memory that each text and each row takes besides those of the texts.
const BYTES_OF_EACH: usize = 32;

/// What one candidate says of one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Said {
    #[default]
    Nothing,
    /// At least one, any of which may be empty.
    Texts(Vec<String>),
    Fault(Fault),
}

impl Said {
    /// What a JSON value says: a text, a list of texts, or nothing.
    pub(super) fn of_json(value: serde_json::Value, name: &str, place: &Place) -> Self {
        use serde_json::Value;
        let other_kind = |value: &Value| {
            let shown: String = value.to_string().chars().take(80).collect();
            let error = place.broken("the caption", format!("{shown} in `{name}`"), TEXTS);
            Self::Fault(Fault::new(CaptionFaultKind::Kind, &error))
        };
        match value {
            Value::Null => Self::Nothing,
            Value::String(text) => Self::of_text(text.into_bytes(), place),
            Value::Array(list) if list.iter().all(Value::is_string) => {
                let texts = list.into_iter().filter_map(|value| match value {
                    Value::String(text) => Some(text.into_bytes()),
                    _ => None,
                });
                Self::of_texts(texts, place)
            }
            other => other_kind(&other),
        }
    }

    /// One caption.
    pub(super) fn of_text(bytes: Vec<u8>, place: &Place) -> Self {
        Self::of_texts([bytes], place)
    }

    /// Several captions; none of them is nothing.
    pub(super) fn of_texts(texts: impl IntoIterator<Item = Vec<u8>>, place: &Place) -> Self {
        match texts.into_iter().map(|bytes| checked(bytes, place)).collect::<Result<Vec<_>, _>>() {
            Ok(texts) if texts.is_empty() => Self::Nothing,
            Ok(texts) => Self::Texts(texts),
            Err(fault) => Self::Fault(fault),
        }
    }

    /// What a file of text says: all of it is one caption. A mark at its start, carriage returns before line ends, and line
    /// ends after the text are no part of it.
    pub(super) fn of_file(bytes: Vec<u8>, place: &Place) -> Self {
        let text = match checked(bytes, place) {
            Ok(text) => text,
            Err(fault) => return Self::Fault(fault),
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n");
        Self::Texts(vec![text.trim_end_matches(['\n', '\r']).to_owned()])
    }

    /// Memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Texts(texts) => {
                texts.iter().map(|text| text.len() + BYTES_OF_EACH).sum::<usize>() + BYTES_OF_EACH
            }
            Self::Nothing | Self::Fault(_) => BYTES_OF_EACH,
        }
    }

    /// The texts, but those that are empty and blanks at the ends; none if there is something wrong.
    pub(super) fn words(&self) -> Option<Vec<&str>> {
        match self {
            Self::Nothing => Some(Vec::new()),
            Self::Texts(texts) => {
                Some(texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect())
            }
            Self::Fault(_) => None,
        }
    }
}

/// What captions must be, for errors.
pub(super) const TEXTS: &str = "a text or a list of texts";

fn checked(bytes: Vec<u8>, place: &Place) -> Result<String, Fault> {
    if bytes.len() as u64 > MAX_CAPTION_BYTES {
        let (value, bound) = (format!("{} bytes", bytes.len()), format!("at most {MAX_CAPTION_BYTES} bytes"));
        let error = place.broken("the length of a caption", value, bound);
        return Err(Fault::new(CaptionFaultKind::Length, &error));
    }
    String::from_utf8(bytes).map_err(|error| {
        let value = format!("not UTF-8 (from byte {})", error.utf8_error().valid_up_to());
        Fault::new(CaptionFaultKind::Encoding, &place.broken("the caption", value, "UTF-8"))
    })
}

/// What a candidate is called.
pub(super) fn title(name: &str) -> String {
    match name.strip_prefix('.') {
        Some(_) => format!("the {name} files"),
        None => format!("`{name}`"),
    }
}

/// The captions of a set.
#[derive(Debug, Default)]
pub(super) struct Captions {
    /// Where they are from; none if the set has none.
    source: Option<String>,
    /// By image; empty if the set has none.
    texts: Vec<Vec<String>>,
    faults: BTreeMap<usize, Fault>,
    /// What keeps all images from having one.
    refused: Option<Fault>,
    /// Images whose caption is a file of several lines, and the first of them.
    several_lines: Option<(usize, usize)>,
}

impl Captions {
    pub(super) fn refused(fault: Fault) -> Self {
        Self { refused: Some(fault), ..Self::default() }
    }

    /// Those of a candidate; `same` are the titles of others that say the same.
    pub(super) fn of_candidate(name: &str, same: &[String], said: Vec<Said>) -> Self {
        let there = said.iter().filter(|said| **said != Said::Nothing).count();
        let bound =
            format!("there, as {} one", if there == 1 { "another image has" } else { "other images have" });
        let missing = format!("the caption is missing in {}, but must be {bound}", title(name));
        let missing = Fault::because(CaptionFaultKind::Missing, &missing);
        let source = match same.len() {
            0 => title(name),
            _ => format!("{}; {} the same", title(name), says(same)),
        };
        let mut captions = Self { source: Some(source), ..Self::default() };
        for (index, said) in said.into_iter().enumerate() {
            let texts = match said {
                Said::Texts(texts) => texts,
                Said::Nothing => {
                    captions.faults.insert(index, missing.clone());
                    Vec::new()
                }
                Said::Fault(fault) => {
                    captions.faults.insert(index, fault);
                    Vec::new()
                }
            };
            if name.starts_with('.') && texts.iter().any(|text| text.contains('\n')) {
                captions.several_lines.get_or_insert((0, index)).0 += 1;
            }
            captions.texts.push(texts);
        }
        captions
    }

    /// The captions of an image; none if it has none, or none that can be used.
    pub(super) fn of(&self, index: usize) -> &[String] {
        self.texts.get(index).map_or(&[], Vec::as_slice)
    }

    /// What keeps an image from having captions.
    pub(super) fn fault(&self, index: usize) -> Option<&Fault> {
        self.refused.as_ref().or_else(|| self.faults.get(&index))
    }

    /// Where they are from.
    pub(super) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Whether there is anything that could be captions.
    pub(super) fn is_none(&self) -> bool {
        self.source.is_none() && self.refused.is_none()
    }

    /// What is to be said of them, but for their faults.
    pub(super) fn notes(&self, key: impl Fn(usize) -> String) -> Vec<Note> {
        let source = self.source.clone().map(|source| Note::Captions { source });
        let lines =
            self.several_lines.map(|(images, first)| Note::CaptionsOfLines { images, first: key(first) });
        source.into_iter().chain(lines).collect()
    }

    /// Whether some image, or all, cannot have what there is.
    pub(super) fn has_faults(&self) -> bool {
        self.refused.is_some() || !self.faults.is_empty()
    }
}

fn says(same: &[String]) -> String {
    let verb =
        if same.len() == 1 && same.iter().all(|name| !name.ends_with("files")) { "says" } else { "say" };
    format!("{} {verb}", same.join(" and "))
}
