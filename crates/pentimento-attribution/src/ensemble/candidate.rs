//! Groups that a sample may rest on, and their order from stage to stage of a search.

use super::approximation::{second_order, second_order_terms};
use super::code_distance::second_order_form;
use super::codes::CodeBook;
use super::counterfactual::Derivatives;
use super::displacement::linear_coefficients;
use super::error::EnsembleError;
use super::search::Influence;
use super::space::Space;

/// The Gram form picks so many times more candidates than are wanted; their approximate images pick among these.
const WIDER: usize = 8;

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

/// The group whose distance, of one kind, is the largest, ties by group; none if there is no such distance.
pub fn first_by(candidates: &[Candidate], distance: impl Fn(&Candidate) -> Option<f32>) -> Option<u32> {
    let known = candidates.iter().filter_map(|candidate| Some((distance(candidate)?, candidate.group)));
    known.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))).map(|(_, group)| group)
}

/// Every group of a sample by its exact distance, the most influential first: `exact` are the counterfactual images of
/// `groups`.
pub fn ranked_exactly(image: &[f32], groups: &[u32], exact: &[Vec<f32>], space: Space) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = groups
        .iter()
        .zip(exact)
        .map(|(&group, without)| Candidate {
            group,
            linear: None,
            control_variate: None,
            exact: Some(space.distance(image, without)),
        })
        .collect();
    sort_by_best(&mut candidates);
    candidates
}

/// The most influential groups by one-member Jacobian and second-order term, the first ones first.
///
/// The Gram form ranks all codes, but it counts pixels beyond black or white as still. The approximate images themselves
/// say what moves there, so the best are ranked again by them.
///
/// # Errors
///
/// If a value is not finite.
pub fn linear_candidates(
    codes: &CodeBook,
    image: &[f32],
    derivatives: &Derivatives,
    count: usize,
    space: Space,
) -> Result<Vec<Influence>, EnsembleError> {
    let Derivatives { one_member_jacobian: jacobian, without_member } = derivatives;
    let form = second_order_form(codes, image, derivatives, space)?;
    let mut influences = form.most_influential(codes, WIDER * count)?;
    let terms = second_order_terms(image, jacobian, without_member);
    for influence in &mut influences {
        let direction = linear_coefficients(&codes.weights_without(&[influence.group])?);
        let approximate = second_order(image, jacobian, &terms, &direction);
        influence.distance = f64::from(space.distance(image, &approximate));
    }
    influences.sort_by(|a, b| b.distance.total_cmp(&a.distance).then(a.group.cmp(&b.group)));
    influences.truncate(count);
    Ok(influences)
}

/// Candidates of the linear stage with their images by the control variate, the first of which are to be made exactly.
pub fn ranked_by_control_variate(
    image: &[f32],
    linear: &[Influence],
    control_variates: impl Iterator<Item = Vec<f32>>,
    space: Space,
) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = linear
        .iter()
        .zip(control_variates)
        .map(|(influence, without)| Candidate {
            group: influence.group,
            linear: Some(influence.distance as f32),
            control_variate: Some(space.distance(image, &without)),
            exact: None,
        })
        .collect();
    // None is exact yet, so this is the order of the control variate.
    sort_by_best(&mut candidates);
    candidates
}

#[cfg(test)]
mod tests {
    use super::super::counterfactual::tests::{derivatives, image};
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
        // By one kind, the largest; of equal ones, the lower group.
        assert_eq!(first_by(&candidates, |candidate| candidate.exact), Some(7));
        assert_eq!(first_by(&candidates, |candidate| candidate.control_variate), Some(4));
        assert_eq!(first_by(&candidates, |candidate| candidate.linear), Some(1));
        assert_eq!(first_by(&[], |candidate| candidate.linear), None);
    }

    #[test]
    fn groups_that_were_all_made_exactly_stand_by_their_distances() {
        let exact = [vec![1.0, 0.0], vec![0.0, 5.0], vec![0.5, 0.0], vec![0.0, 1.0]];
        let ranked = ranked_exactly(&[0.0, 0.0], &[3, 8, 4, 1], &exact, Space::Pixels);
        // 5 is clamped to 1, so three are equally far.
        let found: Vec<(u32, f32)> = ranked.iter().map(|one| (one.group, one.best())).collect();
        assert_eq!(found, [(1, 1.0), (3, 1.0), (8, 1.0), (4, 0.5)]);
        assert!(ranked.iter().all(|one| one.linear.is_none() && one.control_variate.is_none()));
        // Latents have no range, so 5 is the farthest.
        let ranked = ranked_exactly(&[0.0, 0.0], &[3, 8, 4, 1], &exact, Space::Latents);
        assert_eq!((ranked[0].group, ranked[0].best()), (8, 5.0));
    }

    /// The first are those of all codes whose second-order images are farthest from the sample, by brute force.
    #[test]
    fn the_linear_stage_puts_the_farthest_images_first() {
        let codes = CodeBook::draw(6, 3, 20, 5).unwrap();
        let (image, derivatives) = (image(), derivatives(6));
        let terms = second_order_terms(&image, &derivatives.one_member_jacobian, &derivatives.without_member);
        let distance = |group: u32| {
            let direction = linear_coefficients(&codes.weights_without(&[group]).unwrap());
            let without = second_order(&image, &derivatives.one_member_jacobian, &terms, &direction);
            // No value of these is beyond black or white, so the clamp changes nothing.
            let squares = without.iter().zip(&image).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            squares.sum::<f64>().sqrt()
        };
        let mut truth: Vec<(f64, u32)> = (0..20).map(|group| (distance(group), group)).collect();
        truth.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        // Of so few groups, eight times three is more than all.
        let found = linear_candidates(&codes, &image, &derivatives, 3, Space::Pixels).unwrap();
        assert_eq!(found.len(), 3);
        for (found, (distance, group)) in found.iter().zip(&truth) {
            assert_eq!(found.group, *group);
            assert!((found.distance - distance).abs() < 1e-6, "{} instead of {distance}", found.distance);
        }

        // The next stage puts them into an order of its own.
        let by_group = |group: u32| vec![image[0] + if group == found[1].group { 0.5 } else { 0.25 }];
        let images = found.iter().map(|one| [by_group(one.group), image[1..].to_vec()].concat());
        let ranked = ranked_by_control_variate(&image, &found, images, Space::Pixels);
        let mut others = [found[0].group, found[2].group];
        others.sort_unstable();
        let order: Vec<u32> = ranked.iter().map(|one| one.group).collect();
        assert_eq!(order, [found[1].group, others[0], others[1]]);
        assert_eq!(ranked[0].linear, Some(found[1].distance as f32));
    }
}
