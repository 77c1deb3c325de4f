//! From what a set writes beside its images to numbers and names of classes.

use std::collections::{BTreeMap, BTreeSet};

use super::notes::Note;
use super::place::Place;
use crate::error::DataError;
use crate::names::composed;

/// Labels without names must be below this: each number up to the largest is a class.
pub(crate) const MAX_CLASSES: u32 = 1 << 20;

/// Labels, and the name of each class by label.
pub(crate) type Labelled = (Vec<u32>, Vec<String>);

/// Texts that are all whole numbers are the labels themselves; texts of which none is a number are names, numbered in
/// alphabetical order together with those of `more`, which are of images that are not read. `place` says where a text is from.
pub(crate) fn from_texts(
    texts: &[String],
    more: &[String],
    place: impl Fn(usize) -> Place,
) -> Result<Labelled, DataError> {
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
            // A column of numbers of which one was missing comes out of pandas as `1.0`.
            let whole = || text.parse().ok().and_then(whole_number);
            text.parse::<u32>().ok().or_else(whole).filter(|&number| number < MAX_CLASSES).ok_or_else(|| {
                let bound = format!("a whole number from 0 to {}", MAX_CLASSES - 1);
                place(index).broken("the label", format!("{text:?}"), bound)
            })
        });
        return Ok(from_numbers(numbers.collect::<Result<_, _>>()?));
    }
    if let Some(index) = texts.iter().position(String::is_empty) {
        return Err(place(index).broken("the label", "empty", "a number or a name"));
    }
    Ok(from_names(texts, more))
}

/// Each text is the name of a class, and so is each of `more`, which no image has. They are numbered in alphabetical order,
/// but in the order of the numbers if all are whole numbers.
pub(crate) fn from_names(texts: &[String], more: &[String]) -> Labelled {
    let [texts, more] =
        [texts, more].map(|names| names.iter().map(|name| composed(name)).collect::<Vec<_>>());
    let distinct: BTreeSet<&str> = texts.iter().chain(&more).map(String::as_str).collect();
    let mut names: Vec<&str> = distinct.into_iter().collect();
    if are_numbers(&names) {
        let digits = |name: &str| name.trim_start_matches('0').to_owned();
        names.sort_by_key(|name| (digits(name).len(), digits(name), name.len()));
    }
    let label_of: BTreeMap<&str, u32> = names.iter().copied().zip(0..).collect();
    (
        texts.iter().map(|text| label_of.get(text.as_str()).copied().unwrap_or_default()).collect(),
        names.into_iter().map(str::to_owned).collect(),
    )
}

/// What is to be said of labels whose numbers follow from names in `source`; nothing if they are numbers themselves.
pub(crate) fn note(source: &'static str, (_, names): &Labelled) -> Option<Note> {
    let are_labels = names.iter().enumerate().all(|(label, name)| *name == label.to_string());
    (!are_labels).then(|| Note::ClassesFromNames {
        source,
        names: names.clone(),
        numeric: are_numbers(names),
    })
}

/// What is to be said of labels that are numbers: those that no image has; nothing if the classes have other names, or each has
/// an image.
pub(crate) fn unused(labels: &[u32], names: &[String]) -> Option<Note> {
    /// Numbers that are said.
    const SAID: usize = 6;
    if !names.iter().enumerate().all(|(label, name)| *name == label.to_string()) {
        return None;
    }
    let used: BTreeSet<u32> = labels.iter().copied().collect();
    let range = [used.first().copied()?, used.last().copied()?];
    // Names of classes that no image has may follow the largest label.
    let count = names.len().checked_sub(used.len()).filter(|&count| count > 0)?;
    let first = (0..).take(names.len()).filter(|label| !used.contains(label)).take(SAID).collect();
    Some(Note::UnusedLabels { count, of: names.len(), first, range })
}

/// Whether all names are whole numbers.
pub(crate) fn are_numbers<S: AsRef<str>>(names: &[S]) -> bool {
    let is_number = |name: &S| {
        let name = name.as_ref();
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
    };
    !names.is_empty() && names.iter().all(is_number)
}

/// Classes that are called by their numbers; the labels are below [`MAX_CLASSES`].
pub(crate) fn from_numbers(labels: Vec<u32>) -> Labelled {
    let classes = labels.iter().max().map_or(0, |&largest| largest + 1);
    (labels, (0..classes).map(|class| class.to_string()).collect())
}

/// The classes that a set names, one name for each label; more or other names than labels are an error.
pub(crate) fn named_by(
    texts: &[String],
    names: Vec<String>,
    place: impl Fn(usize) -> Place,
) -> Result<Labelled, DataError> {
    let names: Vec<String> = names.iter().map(|name| composed(name)).collect();
    let label_of: BTreeMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
    let labels = texts.iter().enumerate().map(|(index, text)| {
        label_of.get(composed(text).as_str()).copied().ok_or_else(|| {
            let bound = format!("one of the {} names that the set gives to its classes", names.len());
            place(index).broken("the label", format!("{text:?}"), bound)
        })
    });
    let labels = labels.collect::<Result<_, _>>()?;
    Ok((labels, names))
}

/// A number that is whole and not below 0.
pub(crate) fn whole_number(value: f64) -> Option<u32> {
    (value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0).then_some(value as u32)
}

/// The label that several numbers for one image say: the number itself if it is the only one, or the place of the only 1
/// among zeros (one-hot). None for anything else.
pub(crate) fn of_row(row: &[f64]) -> Option<u32> {
    if let [only] = row {
        return whole_number(*only);
    }
    let place = row.iter().position(|&value| value == 1.0)?;
    let others_are_zero = row.iter().enumerate().all(|(index, &value)| index == place || value == 0.0);
    others_are_zero.then(|| u32::try_from(place).ok()).flatten()
}

/// The length that all lists of labels in a set have: one-hot lists of several lengths are lists of something else.
#[derive(Default)]
pub(crate) struct ListLength(Option<usize>);

impl ListLength {
    /// Whether a list is as long as those before.
    pub(crate) fn fits(&mut self, length: usize) -> bool {
        *self.0.get_or_insert(length) == length
    }
}

/// What a JSON value says as a label: a text, a number, true or false, a list of one of them, or a one-hot list. None for
/// anything else.
pub(crate) fn of_json(value: &serde_json::Value, lists: &mut ListLength) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is_so) => Some(is_so.to_string()),
        Value::Array(list) if !lists.fits(list.len()) => None,
        Value::Array(list) => match list.as_slice() {
            [Value::Array(_)] => None,
            [only] => of_json(only, lists),
            list => {
                let row: Option<Vec<f64>> = list
                    .iter()
                    .map(|value| value.as_f64().or(value.as_bool().map(|is_so| f64::from(u8::from(is_so)))))
                    .collect();
                of_row(&row?).map(|label| label.to_string())
            }
        },
        Value::Null | Value::Object(_) => None,
    }
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
