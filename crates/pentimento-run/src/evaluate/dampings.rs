//! What the damping does to a method's scores: chosen by a bank on some subsets and told of others, beside the one that the
//! method takes by itself.

use crate::error::Result;
use crate::gradients::{Queries, Subject};
use crate::scores::scores_around_damping;
use pentimento_attribution::methods::Method;
use pentimento_evaluation::datamodelling::setting_chosen_elsewhere;
use pentimento_evaluation::statistics::StatisticsError;
use pentimento_evaluation::statistics::linear_datamodelling::HeldOutChoice;
use serde::Serialize;

/// Multiples of the damping that a method takes, in steps of half a decade.
pub const DAMPING_FACTORS: [f64; 13] =
    [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3];

/// The place of the damping itself among them.
const OWN: usize = 6;

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
        if let Some(scores) = scores_around_damping(subject, queries, method, groups, &DAMPING_FACTORS)? {
            found.push(AroundDampings { method: method.name.into(), scores });
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
        Ok(choice.map(|choice| JudgedDampings {
            method: self.method.clone(),
            target,
            factors: DAMPING_FACTORS.to_vec(),
            own: choice.scores.get(OWN).copied().flatten(),
            choice,
        }))
    }
}
