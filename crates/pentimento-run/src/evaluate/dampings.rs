//! What the damping does to a method's scores: chosen by a bank on some subsets and told of others, beside the one that the
//! method takes by itself.

use crate::error::Result;
use crate::gradients::{Queries, Subject};
use crate::scores::scores_around_damping;
use pentimento_attribution::methods::{Family, Method};
use pentimento_evaluation::datamodelling::setting_chosen_elsewhere;
use pentimento_evaluation::statistics::StatisticsError;
use pentimento_evaluation::statistics::linear_datamodelling::HeldOutChoice;
use serde::Serialize;

/// Multiples of the damping that a method takes, in steps of half a decade.
const FACTORS: [f64; 13] = [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3];

/// The same for influence functions. Their own damping is a small share of the eigenvalues, and less of it changes nothing
/// (`SHARE_OF_BLOCK` in the attribution's `curvature/damping.rs`); with most of it nothing but the damping is left.
const OF_INFLUENCE: [f64; 12] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5];

fn factors_of(method: &Method) -> &'static [f64] {
    match method.family {
        Family::Influence(_) => &OF_INFLUENCE,
        _ => &FACTORS,
    }
}

/// A method with a damping, judged at multiples of the one that it takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JudgedDampings {
    /// The method.
    pub method: String,
    /// What is measured of the queries.
    pub target: &'static str,
    /// The multiples.
    pub factors: Vec<f64>,
    /// The linear datamodelling score with the damping that the method takes.
    pub own: Option<f64>,
    /// The score at each multiple, the best one, and the one that is chosen on half of the subsets and told of the others.
    pub choice: HeldOutChoice,
}

/// Scores of the methods that have a damping, at multiples of it.
pub(super) struct AroundDampings {
    method: String,
    factors: &'static [f64],
    /// `[factors][queries][images]`.
    scores: Vec<Vec<Vec<f64>>>,
}

/// Makes the scores of those of the methods that have a damping, each in as many groups of draws as its own scores have.
///
/// # Errors
///
/// As scoring.
pub(super) fn around_dampings(
    subject: &Subject<'_>,
    queries: &Queries,
    methods: &[(Method, usize)],
) -> Result<Vec<AroundDampings>> {
    let mut found = Vec::new();
    for &(method, groups) in methods {
        subject.workspace.options.stop.check()?;
        let factors = factors_of(&method);
        if let Some(scores) = scores_around_damping(subject, queries, method, groups, factors)? {
            found.push(AroundDampings { method: method.name.into(), factors, scores });
        }
    }
    Ok(found)
}

impl AroundDampings {
    /// Judges them by the outcomes `[subsets][queries]` of networks on subsets `masks`, which are halved by `seed`; none with too few
    /// subsets.
    ///
    /// # Errors
    ///
    /// If the tables do not fit each other, or hold what is not finite.
    pub(super) fn judge(
        &self,
        target: &'static str,
        masks: &[Vec<bool>],
        outcomes: &[Vec<f64>],
        seed: u64,
    ) -> Result<Option<JudgedDampings>, StatisticsError> {
        let choice = setting_chosen_elsewhere(&self.scores, masks, outcomes, seed)?;
        let own = self.factors.iter().position(|&factor| factor == 1.0);
        Ok(choice.map(|choice| JudgedDampings {
            method: self.method.clone(),
            target,
            factors: self.factors.to_vec(),
            own: own.and_then(|own| choice.scores.get(own).copied().flatten()),
            choice,
        }))
    }
}
