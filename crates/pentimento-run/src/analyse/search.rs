//! The search of a sample's most influential groups, for runs with more groups than exact counterfactuals.

use super::analysis::{Along, Candidate, clamped_distance, sort_by_best};
use super::counterfactuals::{exact_images, images};
use super::ensemble::Ensemble;
use crate::costs::Spent;
use crate::data::CodedData;
use crate::error::Result;
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::approximation::{second_order, second_order_terms};
use pentimento_attribution::ensemble::{
    BaseRun, CodeBook, Influence, Jacobian, QuadraticForm, Request, control_variates, gram_matrix,
    linear_coefficients,
};

/// The Gram form picks so many times more candidates than are wanted; their approximate images pick among these.
const WIDER: usize = 8;

/// What the search found for a sample.
pub(super) struct Found {
    /// The most influential groups, in the order of the control variate.
    pub candidates: Vec<Candidate>,
    /// The first of them with their exact counterfactuals, not clamped.
    pub checked: Vec<(u32, Vec<f32>)>,
}

/// Two stages and a check: linear over all codes, control variate over the best, exact for the first few. `along` has the
/// derivatives of each sample of `base`.
///
/// # Errors
///
/// [`RunError::Stopped`](crate::error::RunError::Stopped) on Ctrl-C, and if a value is not finite.
pub(super) fn search(
    workspace: &Workspace,
    data: &CodedData,
    ensemble: &Ensemble,
    base: &BaseRun<f32>,
    along: &[Along],
    spent: &mut Spent,
) -> Result<Vec<Found>> {
    let Ensemble { mixture, sampler, .. } = ensemble;
    let recipe = workspace.recipe.attribution;
    let go_on = |_: usize| workspace.options.stop.check();
    let distance = |sample: usize, image: &[f32]| clamped_distance(base.image(sample), image);
    let without = |sample: usize, group: u32| -> Result<Request> {
        Ok(Request { sample, weights: data.codes.weights_without(&[group])? })
    };

    let linear: Vec<Vec<Influence>> =
        spent.time("search: linear stage", along.len() * data.groups.len(), || {
            let candidates = |(sample, along): (usize, &Along)| {
                let Along { one_member_jacobian, without_member } = along;
                let image = base.image(sample);
                linear_candidates(&data.codes, image, one_member_jacobian, without_member, recipe.candidates)
            };
            along.iter().enumerate().map(candidates).collect()
        })?;

    let mut requests = Vec::new();
    for (sample, influences) in linear.iter().enumerate() {
        for influence in influences {
            requests.push(without(sample, influence.group)?);
        }
    }
    let varied = spent.time("search: control-variate stage", requests.len(), || {
        Ok(images(&control_variates(mixture, sampler, base, &requests, go_on)?, mixture.image_length()))
    })?;
    let mut varied = varied.into_iter();
    let mut found: Vec<Found> = Vec::new();
    for (sample, influences) in linear.iter().enumerate() {
        let mut candidates: Vec<Candidate> = influences
            .iter()
            .zip(varied.by_ref())
            .map(|(influence, image)| Candidate {
                group: influence.group,
                linear: Some(influence.distance as f32),
                control_variate: Some(distance(sample, &image)),
                exact: None,
            })
            .collect();
        // None is exact yet, so this is the order of the control variate.
        sort_by_best(&mut candidates);
        found.push(Found { candidates, checked: Vec::new() });
    }

    let mut requests = Vec::new();
    for (sample, found) in found.iter().enumerate() {
        for candidate in found.candidates.iter().take(recipe.exact) {
            requests.push(without(sample, candidate.group)?);
        }
    }
    let exact = spent.time("search: exact check", requests.len(), || {
        exact_images(workspace, ensemble, &base.samples, &requests)
    })?;
    let mut exact = exact.into_iter();
    for (sample, Found { candidates, checked }) in found.iter_mut().enumerate() {
        for (candidate, image) in candidates.iter_mut().take(recipe.exact).zip(exact.by_ref()) {
            candidate.exact = Some(distance(sample, &image));
            checked.push((candidate.group, image));
        }
    }
    Ok(found)
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
    jacobian: &Jacobian<f32>,
    without: &[Vec<f32>],
    count: usize,
) -> Result<Vec<Influence>> {
    let form = search_form(codes, image, jacobian, without)?;
    let mut influences = form.most_influential(codes, WIDER * count)?;
    let terms = second_order_terms(image, jacobian, without);
    for influence in &mut influences {
        let direction = linear_coefficients(&codes.weights_without(&[influence.group])?);
        let approximate = second_order(image, jacobian, &terms, &direction);
        influence.distance = f64::from(clamped_distance(image, &approximate));
    }
    influences.sort_by(|a, b| b.distance.total_cmp(&a.distance).then(a.group.cmp(&b.group)));
    influences.truncate(count);
    Ok(influences)
}

/// The quadratic form of one sample's distances, by Jacobian and second-order term, both of the clamped image.
///
/// # Errors
///
/// If a value is not finite.
pub fn search_form(
    codes: &CodeBook,
    image: &[f32],
    jacobian: &Jacobian<f32>,
    without: &[Vec<f32>],
) -> Result<QuadraticForm> {
    let terms = Jacobian { columns: second_order_terms(image, jacobian, without) };
    let mut columns = jacobian.masked(image).columns;
    columns.extend(terms.masked(image).columns);
    Ok(QuadraticForm::second_order(codes, &gram_matrix::<f32>(&columns))?)
}
