//! Which images are removed: those that a method puts first, and as many by methods that know nothing of the network.

use crate::classify::CLASSIFIER;
use crate::error::{Result, RunError};
use crate::gradients::{Queries, ScoreTable, Subject};
use crate::scores::{check, score};
use crate::words::counted;
use pentimento_attribution::likeness::Likeness;
use pentimento_attribution::methods::{Family, Method};
use std::path::Path;

/// Images that are removed together.
pub struct Removal {
    /// By what they were chosen.
    pub table: ScoreTable,
    /// Whether others are held against it.
    pub is_control: bool,
    /// Their positions among the training images, in the order in which they were chosen.
    pub images: Vec<usize>,
}

/// The controls of a removal: as many images at random, those whose pixels are most like the queries', and, if there is a
/// classifier, those whose features are.
fn controls(subject: &Subject<'_>, classifier: Option<&Path>) -> Vec<Method> {
    let has_classifier = classifier.is_some() || subject.workspace.run.entry(CLASSIFIER).is_some();
    let is_control = |method: &Method| match method.family {
        Family::Likeness(Likeness::Random | Likeness::PixelCosine) => true,
        Family::Likeness(Likeness::Classifier) => has_classifier,
        _ => false,
    };
    let mut controls: Vec<Method> = Method::ALL.into_iter().filter(is_control).collect();
    // The plainest first.
    controls.sort_by_key(|method| method.family != Family::Likeness(Likeness::Random));
    controls
}

/// The tables of some methods and then of the controls that are not among them, each with whether it is one.
pub(super) fn tables(
    subject: &Subject<'_>,
    queries: &Queries,
    methods: &[Method],
    classifier: Option<&Path>,
) -> Result<Vec<(ScoreTable, bool)>> {
    let others = controls(subject, classifier).into_iter().filter(|control| !methods.contains(control));
    let all: Vec<(Method, bool)> =
        methods.iter().map(|&method| (method, false)).chain(others.map(|control| (control, true))).collect();
    for &(method, _) in &all {
        // Before anything is computed.
        check(subject, &queries.set, method, classifier)?;
    }
    let table = |(method, is_control): (Method, bool)| {
        subject.workspace.options.stop.check()?;
        Ok((score(subject, queries, method, classifier)?, is_control))
    };
    all.into_iter().map(table).collect()
}

/// Images that a table puts first, of which there have to be so many.
///
/// # Errors
///
/// [`RunError::RecipeValue`] if fewer were scored.
pub(super) fn enough(subject: &Subject<'_>, images: Vec<usize>, count: usize) -> Result<Vec<usize>> {
    if images.len() < count {
        return Err(RunError::RecipeValue {
            file: subject.workspace.run.root().display().to_string(),
            field: "gradients.candidates".into(),
            value: format!("such that only {} have a score", counted(images.len(), "image")),
            bound: format!("at least the {count} that are to be removed, or absent"),
        });
    }
    Ok(images)
}

/// The first different ones of several rankings, in turns: the first of each, then the second of each, and so on, until there
/// are so many. Also gives how many ranks that took.
pub fn in_turns(rankings: &[Vec<usize>], count: usize) -> (Vec<usize>, usize) {
    let mut taken = Vec::new();
    let longest = rankings.iter().map(Vec::len).max().unwrap_or(0);
    let mut depth = 0;
    for rank in 0..longest {
        for image in rankings.iter().filter_map(|ranking| ranking.get(rank)) {
            if taken.len() == count {
                return (taken, depth);
            }
            if !taken.contains(image) {
                taken.push(*image);
                depth = rank + 1;
            }
        }
    }
    (taken, depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_turns_and_an_image_counts_once() {
        let rankings = [vec![4, 1, 2, 0], vec![4, 3, 1], vec![1]];
        assert_eq!(in_turns(&rankings, 2), (vec![4, 1], 1));
        assert_eq!(in_turns(&rankings, 3), (vec![4, 1, 3], 2));
        assert_eq!(in_turns(&rankings, 9), (vec![4, 1, 3, 2, 0], 4));
        assert_eq!(in_turns(&rankings, 0), (Vec::new(), 0));
        assert_eq!(in_turns(&[], 2), (Vec::new(), 0));
    }
}
