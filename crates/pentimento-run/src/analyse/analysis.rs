//! What is known of a sample once it was analysed.

use pentimento_attribution::ensemble::Jacobian;
use pentimento_attribution::ensemble::approximation::clamped;

/// Everything made for one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleAnalysis {
    /// Id of the sample.
    pub sample: u32,
    /// Values before the final clamp, `[image]`.
    pub image: Vec<f32>,
    /// Groups whose counterfactuals were made.
    pub groups: Vec<u32>,
    /// Exact counterfactuals, one per group, not clamped.
    pub exact: Vec<Vec<f32>>,
    /// What the approximations need, for the samples that they are measured on and for every sample that is searched.
    pub along: Option<Along>,
    /// What only the measuring of approximations needs.
    pub measured: Option<Measured>,
    /// The most influential groups, the first ones first.
    pub candidates: Vec<Candidate>,
    /// After a search: the groups that were made exactly, with their counterfactuals, not clamped.
    pub checked: Vec<(u32, Vec<f32>)>,
}

/// Derivatives along the full ensemble's trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct Along {
    /// One member's tangents per step, one image per member.
    pub one_member_jacobian: Jacobian<f32>,
    /// The image without each member, by control variate, not clamped.
    pub without_member: Vec<Vec<f32>>,
}

/// Approximations of one sample's counterfactuals.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Control-variate counterfactuals, one per group, not clamped.
    pub control_variate: Vec<Vec<f32>>,
    /// The last-step baseline, one per group, not clamped.
    pub last_step: Vec<Vec<f32>>,
    /// The paper's Jacobian, if the recipe asks for it.
    pub full_jacobian: Option<Jacobian<f32>>,
    /// Each member's own image from the same noise, not clamped.
    pub alone: Vec<Vec<f32>>,
}

/// A group in a sample's search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The group.
    pub group: u32,
    /// Distance by the one-member Jacobian with second-order term; absent where every counterfactual was made exactly.
    pub linear: Option<f32>,
    /// Distance by the control variate; absent likewise.
    pub control_variate: Option<f32>,
    /// Exact distance, where it was made.
    pub exact: Option<f32>,
}

impl Candidate {
    /// The distance by the best way that was taken: exact, else control variate, else linear.
    pub fn best(&self) -> f32 {
        self.exact.or(self.control_variate).or(self.linear).unwrap_or(0.0)
    }
}

/// The most influential first, ties by group. Those that were made exactly come before those that were not: they are
/// the first of the stage before, and distances of two kinds are not compared.
pub fn sort_by_best(candidates: &mut [Candidate]) {
    let exact = |candidate: &Candidate| candidate.exact.is_some();
    candidates.sort_by(|a, b| {
        exact(b).cmp(&exact(a)).then(b.best().total_cmp(&a.best())).then(a.group.cmp(&b.group))
    });
}

/// Euclidean distance of two images after their final clamp, in the scale of [-1, 1].
pub fn clamped_distance(a: &[f32], b: &[f32]) -> f32 {
    let square = |(a, b): (f32, f32)| f64::from(a - b) * f64::from(a - b);
    clamped(a).into_iter().zip(clamped(b)).map(square).sum::<f64>().sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_two_kinds_are_not_ranked_against_each_other() {
        let candidate = |group, control_variate: f32, exact: Option<f32>| Candidate {
            group,
            linear: Some(9.0),
            control_variate: Some(control_variate),
            exact,
        };
        // The control variate put 4 and 7 first, so they were made exactly; exactly, 7 is the larger.
        let mut candidates = vec![
            candidate(2, 0.60, None),
            candidate(4, 0.70, Some(0.50)),
            candidate(1, 0.60, None),
            candidate(7, 0.65, Some(0.55)),
        ];
        sort_by_best(&mut candidates);
        assert_eq!(candidates.iter().map(|candidate| candidate.group).collect::<Vec<_>>(), [7, 4, 1, 2]);
    }
}
