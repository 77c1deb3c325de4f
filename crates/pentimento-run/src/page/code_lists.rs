//! The training images that a sample of an ensemble rests on, as its codes tell.

use super::IMAGES_SHOWN;
use super::counterfactuals::{Counterfactuals, top_candidates};
use super::explanations;
use crate::analyse::SampleAnalysis;
use crate::error::Result;
use crate::gradients::label_of;
use crate::recipe::GroupBy;
use pentimento_attribution::ensemble::approximation::clamped_distance;
use pentimento_attribution::ensemble::{Approximation, Candidate, DistinctLists};
use pentimento_report::{Basis, TopImageView, TrainingImageList};

/// The lists of a sample, by its place.
///
/// # Errors
///
/// As decoding a latent.
pub(super) fn of_sample(
    page: &Counterfactuals<'_>,
    at: usize,
    sample: &SampleAnalysis,
) -> Result<Vec<TrainingImageList>> {
    if page.data.trained.codes.groups != GroupBy::Image {
        return Ok(vec![most_similar_of_top_group(page, sample)?]);
    }
    let mut lists = vec![top_single_images(page, sample)];
    lists.extend(page.distinct.as_ref().and_then(|distinct| own_images(page, distinct, at, sample)));
    Ok(lists)
}

/// What is left of a sample's list without the images that stand in other samples' lists too.
fn own_images(
    page: &Counterfactuals<'_>,
    distinct: &DistinctLists,
    at: usize,
    sample: &SampleAnalysis,
) -> Option<TrainingImageList> {
    let own = distinct.lists.get(at)?;
    let kept: Vec<Candidate> = own
        .iter()
        .filter_map(|&group| sample.candidates.iter().find(|candidate| candidate.group == group).copied())
        .collect();
    let distances: Vec<f32> = kept.iter().map(Candidate::best).collect();
    let image = |(rank, candidate): (usize, &Candidate)| {
        let image = *page.data.groups.members(candidate.group).first()?;
        Some(top_image(page, image, rank, &distances, basis_of(candidate)))
    };
    Some(TrainingImageList {
        title: "Of these, in no other sample's list".into(),
        explanation: format!(
            "Some images move every sample. {} of them stand in more than one sample's list and are left out here; the \
             next ranks take their places.",
            distinct.removed.len()
        ),
        statement: explanations::of_counterfactuals(),
        images: kept.iter().enumerate().filter_map(image).collect(),
        groups: Vec::new(),
    })
}

/// The search's list: one image per group.
fn top_single_images(page: &Counterfactuals<'_>, sample: &SampleAnalysis) -> TrainingImageList {
    let recipe = page.workspace.recipe.attribution;
    let candidates = top_candidates(sample, recipe.top);
    let distances: Vec<f32> = candidates.iter().map(Candidate::best).collect();
    let images = candidates
        .iter()
        .enumerate()
        .filter_map(|(rank, candidate)| {
            let image = *page.data.groups.members(candidate.group).first()?;
            Some(top_image(page, image, rank, &distances, basis_of(candidate)))
        })
        .collect();
    TrainingImageList {
        title: "Training images it rests on most".into(),
        explanation: if sample.candidates.iter().all(|candidate| candidate.linear.is_none()) {
            format!(
                "The sample was made again without each of the {} training images.",
                page.data.groups.len()
            )
        } else {
            format!(
                "A search over all {} training images: the one-member Jacobian with its second-order term ranks every code, \
             the control variate ranks the best {} again, and the first {} were made exactly. Images with nearly the \
             same code cannot be told apart: {} members give each picture only so much resolution.",
                page.data.groups.len(),
                recipe.candidates,
                recipe.exact,
                page.data.codes.members()
            )
        },
        statement: explanations::of_counterfactuals(),
        images,
        groups: Vec::new(),
    }
}

/// All images of a group leave together; of the most influential one, those that look most like the sample.
fn most_similar_of_top_group(
    page: &Counterfactuals<'_>,
    sample: &SampleAnalysis,
) -> Result<TrainingImageList> {
    let Some(top) = top_candidates(sample, 1).into_iter().next() else {
        return Ok(TrainingImageList {
            title: String::new(),
            explanation: String::new(),
            statement: explanations::of_counterfactuals(),
            images: Vec::new(),
            groups: Vec::new(),
        });
    };
    let base = page.seen_values(&sample.image)?;
    let mut members: Vec<(f32, usize)> = page
        .data
        .groups
        .members(top.group)
        .into_iter()
        .map(|image| (clamped_distance(&base, &page.data.images.scaled(image)), image))
        .collect();
    members.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    members.truncate(IMAGES_SHOWN);
    let distances = vec![top.best(); members.len()];
    let basis = basis_of(&top);
    let removed = page.removed(top.group);
    Ok(TrainingImageList {
        title: format!("Training images of {}", removed.label),
        explanation: format!(
            "It moves most without {}. All images of it ({}) share one code and leave together, so they have one distance. \
             Shown are those whose pixels are most like the picture: likeness, not influence.",
            removed.label,
            page.data.groups.members(top.group).len()
        ),
        statement: explanations::of_counterfactuals(),
        groups: Vec::new(),
        images: members
            .iter()
            .enumerate()
            .map(|(rank, &(_, image))| top_image(page, image, rank, &distances, basis.clone()))
            .collect(),
    })
}

fn top_image(
    page: &Counterfactuals<'_>,
    image: usize,
    rank: usize,
    distances: &[f32],
    basis: Basis,
) -> TopImageView {
    let distance = distances[rank];
    // The linear stage and the control variate differ by a few percent from the exact distance, so closer
    // neighbours are not told apart.
    let near = |other: Option<&f32>| other.is_some_and(|other| (other - distance).abs() < 0.02 * distance);
    let before = rank.checked_sub(1).and_then(|before| distances.get(before));
    let single = page.data.trained.codes.groups == GroupBy::Image;
    TopImageView {
        index: page.data.images.source_indices()[image] as u64,
        label: label_of(&page.data.images, &page.data.class_names, None, image),
        picture: Some(page.training_picture(image)),
        distance: f64::from(distance),
        basis,
        rank: rank as u32 + 1,
        near_tie: single && (near(before) || near(distances.get(rank + 1))),
    }
}

/// How a candidate's best distance was found.
fn basis_of(candidate: &Candidate) -> Basis {
    let method = match (candidate.exact, candidate.control_variate) {
        (Some(_), _) => return Basis::Exact,
        (None, Some(_)) => Approximation::ControlVariate,
        (None, None) => Approximation::SecondOrder,
    };
    Basis::Approximate { method: method.name().into() }
}
