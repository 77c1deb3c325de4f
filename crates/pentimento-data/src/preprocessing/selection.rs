//! Which images of a set are used.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::{Preprocessing, setting};
use crate::error::DataError;

/// Positions of the selected images, ascending.
pub(super) fn select(
    labels: &[u32],
    leaves_out: &dyn Fn(usize) -> bool,
    preprocessing: &Preprocessing,
) -> Result<Vec<usize>, DataError> {
    let Preprocessing { classes, first_per_class, first, .. } = preprocessing;
    if let Some(classes) = classes {
        check_classes(classes, labels)?;
    }
    for (field, count) in [("first_per_class", first_per_class), ("first", first)] {
        if *count == Some(0) {
            return Err(setting(field, 0, "at least 1"));
        }
    }
    let mut taken_of = BTreeMap::<u32, usize>::new();
    let selected: Vec<_> = labels
        .iter()
        .enumerate()
        .filter(|(index, _)| !leaves_out(*index))
        .filter(|(_, label)| classes.as_ref().is_none_or(|classes| classes.contains(label)))
        .filter(|&(_, &label)| {
            let taken = taken_of.entry(label).or_default();
            *taken += 1;
            first_per_class.is_none_or(|count| *taken <= count)
        })
        .map(|(index, _)| index)
        .take(first.unwrap_or(usize::MAX))
        .collect();
    if selected.is_empty() {
        return Err(DataError::Value {
            field: "the number of images",
            value: "0".into(),
            bound: "at least 1".into(),
        });
    }
    Ok(selected)
}

fn check_classes(classes: &[u32], labels: &[u32]) -> Result<(), DataError> {
    let present: BTreeSet<u32> = labels.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for class in classes {
        if !present.contains(class) {
            let names: Vec<_> = present.iter().map(u32::to_string).collect();
            return Err(setting(
                "classes",
                class,
                format!("among the labels of the set: {}", names.join(", ")),
            ));
        }
        if !seen.insert(class) {
            return Err(setting("classes", format!("{class} twice"), "a list of different labels"));
        }
    }
    if classes.is_empty() {
        return Err(setting("classes", "empty", "a list of at least one label"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::preprocessing::tests::{counting_set, refusal};
    use crate::preprocessing::{Preprocessing, prepare};

    #[test]
    fn classes_come_before_first_per_class_before_first() {
        let set = counting_set(1, 1, &[0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
        let select = |classes: Option<&[u32]>, first_per_class, first| {
            let preprocessing = Preprocessing {
                classes: classes.map(<[u32]>::to_vec),
                first_per_class,
                first,
                ..Preprocessing::default()
            };
            prepare(&set, &preprocessing).unwrap().source_indices().to_vec()
        };
        assert_eq!(select(Some(&[2, 0]), None, None), [0, 2, 3, 5, 6, 8, 9]);
        assert_eq!(select(None, Some(2), None), [0, 1, 2, 3, 4, 5]);
        assert_eq!(select(Some(&[2, 0]), Some(2), None), [0, 2, 3, 5]);
        assert_eq!(select(Some(&[2, 0]), Some(2), Some(3)), [0, 2, 3]);
        assert_eq!(select(None, Some(100), Some(100)).len(), 10);
    }

    #[test]
    fn a_selection_that_does_not_fit_is_refused() {
        let set = counting_set(28, 20, &[1, 3, 3]);
        let message = |preprocessing| refusal(&set, preprocessing);
        let default = Preprocessing::default;
        assert_eq!(
            message(Preprocessing { classes: Some(vec![1, 2]), ..default() }),
            "preprocessing: `classes` is 2, but must be among the labels of the set: 1, 3"
        );
        assert_eq!(
            message(Preprocessing { classes: Some(vec![3, 3]), ..default() }),
            "preprocessing: `classes` is 3 twice, but must be a list of different labels"
        );
        assert_eq!(
            message(Preprocessing { classes: Some(vec![]), ..default() }),
            "preprocessing: `classes` is empty, but must be a list of at least one label"
        );
        assert_eq!(
            message(Preprocessing { first: Some(0), ..default() }),
            "preprocessing: `first` is 0, but must be at least 1"
        );
        assert_eq!(
            message(Preprocessing { first_per_class: Some(0), ..default() }),
            "preprocessing: `first_per_class` is 0, but must be at least 1"
        );
        let empty = counting_set(1, 1, &[]);
        assert_eq!(refusal(&empty, default()), "the number of images is 0, but must be at least 1");
    }
}
