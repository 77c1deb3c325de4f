//! Scores of training images by any method that writes a table of them: the one place that tells the families apart.

use crate::error::{Result, RunError};
use crate::forecast::Forecast;
use crate::gradients::{self, Queries, QuerySet, ScoreTable, Subject, open_classifier};
use crate::influence::{self, check_influence, score_influence};
use crate::recipe::Recipe;
use pentimento_attribution::likeness::Likeness;
use pentimento_attribution::methods::{Family, Method};
use pentimento_attribution::scores::ScoreRows;
use std::path::Path;

/// Fewer pseudo-gradients than this are too small a sample of the whole curvature for its inverse to order images well.
const ENOUGH_PSEUDO_GRADIENTS: usize = 1000;

/// The method that is taken if a person names none, for networks of so many parameters: conjugate gradients on the whole curvature
/// where enough of its pseudo-gradients fit into memory; D-TRAK for larger networks, and where only candidates are to be scored,
/// which influence functions know nothing of.
pub fn usual_method(recipe: &Recipe, parameters: usize) -> Method {
    let [by_curvature, by_kernel] = Method::USUAL;
    let is_sampled_enough = recipe.influence.pseudo_gradients(parameters) >= ENOUGH_PSEUDO_GRADIENTS;
    if is_sampled_enough && recipe.gradients.candidates.is_none() { by_curvature } else { by_kernel }
}

/// Refuses a method that cannot be asked about some queries, and training images that nothing tells apart, before anything is
/// computed; `classifier` is as for [`score`].
///
/// # Errors
///
/// [`RunError::OtherUse`] for the way to images that were not generated, and for a method that writes no table;
/// [`RunError::NothingToCompare`] for the training images; a classifier that cannot be opened.
pub fn check(subject: &Subject<'_>, set: &QuerySet, method: Method, classifier: Option<&Path>) -> Result<()> {
    subject.training.check_differences()?;
    match method.family {
        Family::Codes(_) => Err(no_table(method)),
        Family::Gradients(asked) => Ok(set.check(asked)?),
        Family::Influence(asked) => check_influence(subject, set, asked),
        Family::Likeness(Likeness::Classifier) => open_classifier(subject, classifier).map(|_| ()),
        Family::Likeness(_) => Ok(()),
    }
}

/// Scores every training image for every query by a method; `classifier` is the file of one, for the likeness that needs it,
/// or else the run's own is taken.
///
/// # Errors
///
/// [`RunError::Stopped`] on Ctrl-C, what is finished is kept; as [`check`]; what a family does not allow.
pub fn score(
    subject: &Subject<'_>,
    queries: &Queries,
    method: Method,
    classifier: Option<&Path>,
) -> Result<ScoreTable> {
    match method.family {
        Family::Codes(_) => Err(no_table(method)),
        Family::Gradients(asked) => gradients::score(subject, queries, method, asked),
        Family::Influence(asked) => score_influence(subject, queries, method, asked),
        Family::Likeness(asked) => gradients::score_baseline(subject, queries, method, asked, classifier),
    }
}

/// Scores in so many groups of draws at multiples of the damping that a method takes, `[factors][queries][images]`; none for a
/// method without a damping.
///
/// # Errors
///
/// As [`score`].
pub fn scores_around_damping(
    subject: &Subject<'_>,
    queries: &Queries,
    method: Method,
    groups: usize,
    factors: &[f64],
) -> Result<Option<Vec<ScoreRows>>> {
    match method.family {
        Family::Gradients(asked) => {
            gradients::scores_around_damping(subject, queries, asked, groups, factors)
        }
        Family::Influence(asked) => {
            influence::scores_around_damping(subject, queries, method, asked, groups, factors)
        }
        Family::Codes(_) | Family::Likeness(_) => Ok(None),
    }
}

/// How long [`score`] will take on this machine, from a few gradients that are taken to be timed. A likeness computes so little
/// that nothing is measured.
///
/// # Errors
///
/// As [`score`].
pub fn forecast(subject: &Subject<'_>, queries: &Queries, method: Method) -> Result<Forecast> {
    match method.family {
        Family::Codes(_) => Err(no_table(method)),
        Family::Gradients(asked) => gradients::forecast(subject, queries, asked),
        Family::Influence(asked) => influence::forecast(subject, queries, method, asked),
        Family::Likeness(_) => Ok(Forecast::nothing(method.name)),
    }
}

fn no_table(method: Method) -> RunError {
    RunError::OtherUse {
        method: method.name.into(),
        problem: "measures the codes of an ensemble, for samples of its own, and writes no table of scores"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_method_is_one_that_the_network_allows() {
        let text = include_str!("recipe/trained.toml");
        let usual = |parameters, settings: &[&str]| {
            let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
            usual_method(&Recipe::parse(text, "recipe", &settings).unwrap(), parameters).name
        };
        // 1,000 pseudo-gradients of a byte for each parameter take 2 GiB.
        let largest = (2 << 30) / 1000;
        assert_eq!(usual(170_000, &[]), "influence-cg");
        assert_eq!(usual(largest, &[]), "influence-cg");
        assert_eq!(usual(largest + 1, &[]), "d-trak");
        assert_eq!(usual(170_000, &["influence.cg_gradients=999"]), "d-trak");
        assert_eq!(usual(largest + 1, &["influence.cg_gradients=1000"]), "influence-cg");
        assert_eq!(usual(170_000, &["gradients.candidates=100"]), "d-trak");
    }
}
