//! From what a set writes beside its images to numbers and names of classes.

use std::collections::BTreeMap;

use super::place::Place;
use crate::error::DataError;

/// Labels without names must be below this: each number up to the largest is a class.
pub(crate) const MAX_CLASSES: u32 = 1 << 20;

/// Labels, and the name of each class by label.
pub(crate) type Labelled = (Vec<u32>, Vec<String>);

/// Texts that are all whole numbers are the labels themselves; texts of which none is a number are names, numbered in
/// alphabetical order. `place` says where a text is from.
pub(crate) fn from_texts(texts: &[String], place: impl Fn(usize) -> Place) -> Result<Labelled, DataError> {
    let is_number = |text: &String| {
        text.strip_prefix(['-', '+']).unwrap_or(text).starts_with(|first: char| first.is_ascii_digit())
            && text.parse::<f64>().is_ok()
    };
    let numeric = texts.first().is_some_and(is_number);
    if let Some(index) = texts.iter().position(|text| is_number(text) != numeric) {
        let bound =
            if numeric { "a whole number, as the first label is" } else { "a name, as the first label is" };
        return Err(place(index).broken("the label", format!("{:?}", texts[index]), bound));
    }
    if numeric {
        let numbers = texts.iter().enumerate().map(|(index, text)| {
            text.parse::<u32>().ok().filter(|&number| number < MAX_CLASSES).ok_or_else(|| {
                let bound = format!("a whole number from 0 to {}", MAX_CLASSES - 1);
                place(index).broken("the label", format!("{text:?}"), bound)
            })
        });
        return Ok(from_numbers(numbers.collect::<Result<_, _>>()?));
    }
    if let Some(index) = texts.iter().position(String::is_empty) {
        return Err(place(index).broken("the label", "empty", "a number or a name"));
    }
    Ok(from_names(texts))
}

/// Each text is the name of a class; they are numbered in alphabetical order.
pub(crate) fn from_names(texts: &[String]) -> Labelled {
    let mut label_of: BTreeMap<&str, u32> = texts.iter().map(|text| (text.as_str(), 0)).collect();
    for (label, number) in (0..).zip(label_of.values_mut()) {
        *number = label;
    }
    (
        texts.iter().map(|text| label_of.get(text.as_str()).copied().unwrap_or_default()).collect(),
        label_of.keys().map(ToString::to_string).collect(),
    )
}

/// Classes that are called by their numbers; the labels are below [`MAX_CLASSES`].
pub(crate) fn from_numbers(labels: Vec<u32>) -> Labelled {
    let classes = labels.iter().max().map_or(0, |&largest| largest + 1);
    (labels, (0..classes).map(|class| class.to_string()).collect())
}

/// What only some of the images have is refused: a label or a group that is missing would have to be guessed.
pub(crate) fn all_or_none(
    texts: Vec<Option<String>>,
    field: &'static str,
    place: impl Fn(usize) -> Place,
) -> Result<Option<Vec<String>>, DataError> {
    if texts.iter().all(Option::is_none) {
        return Ok(None);
    }
    texts
        .into_iter()
        .enumerate()
        .map(|(index, text)| {
            text.ok_or_else(|| place(index).broken(field, "missing", "there, as other images have one"))
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}
