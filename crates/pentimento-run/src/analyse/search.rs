//! The search of a sample's most influential groups, for runs with more groups than exact counterfactuals.

use super::counterfactuals::{exact_images, images};
use super::ensemble::Ensemble;
use crate::costs::Spent;
use crate::data::CodedData;
use crate::error::Result;
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::{
    BaseRun, Candidate, Derivatives, Influence, Request, control_variates, linear_candidates,
    ranked_by_control_variate,
};

/// What the search found for a sample.
pub(super) struct SearchResult {
    /// The most influential groups, in the order of the control variate.
    pub candidates: Vec<Candidate>,
    /// The first of them with their exact counterfactuals, not clamped.
    pub checked: Vec<(u32, Vec<f32>)>,
}

/// Two stages and a check: linear over all codes, control variate over the best, exact for the first few. `derivatives` are
/// those of each sample of `base`.
///
/// # Errors
///
/// [`RunError::Stopped`](crate::error::RunError::Stopped) on Ctrl-C, and if a value is not finite.
pub(super) fn search(
    workspace: &Workspace,
    data: &CodedData,
    ensemble: &Ensemble,
    base: &BaseRun<f32>,
    derivatives: &[Derivatives],
    spent: &mut Spent,
) -> Result<Vec<SearchResult>> {
    let Ensemble { mixture, sampler, .. } = ensemble;
    let (recipe, space) = (workspace.recipe.attribution, workspace.recipe.space());
    let go_on = |_: usize| workspace.options.stop.check();
    let without = |sample: usize, group: u32| -> Result<Request> {
        Ok(Request { sample, weights: data.codes.weights_without(&[group])? })
    };

    let linear: Vec<Vec<Influence>> =
        spent.time("search: linear stage", derivatives.len() * data.groups.len(), || {
            let candidates = |(sample, derivatives): (usize, &Derivatives)| {
                Ok(linear_candidates(&data.codes, base.image(sample), derivatives, recipe.candidates, space)?)
            };
            derivatives.iter().enumerate().map(candidates).collect()
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
    let mut found: Vec<SearchResult> = Vec::new();
    for (sample, influences) in linear.iter().enumerate() {
        let images = varied.by_ref().take(influences.len());
        let candidates = ranked_by_control_variate(base.image(sample), influences, images, space);
        found.push(SearchResult { candidates, checked: Vec::new() });
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
    for (sample, SearchResult { candidates, checked }) in found.iter_mut().enumerate() {
        for (candidate, image) in candidates.iter_mut().take(recipe.exact).zip(exact.by_ref()) {
            candidate.exact = Some(space.distance(base.image(sample), &image));
            checked.push((candidate.group, image));
        }
    }
    Ok(found)
}
