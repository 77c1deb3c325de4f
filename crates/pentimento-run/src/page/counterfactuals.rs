//! What a page shows of an ensemble: every sample, made again without groups of training images.

use super::code_lists;
use crate::analyse::{SampleAnalysis, read_analysis};
use crate::classify::{TrainedClassifier, open_classifier};
use crate::data::CodedData;
use crate::error::Result;
use crate::figures::{Figures, SeenSample, measure, see_all};
use crate::networks::{Networks, Visible};
use crate::recipe::GroupBy;
use crate::words::quoted;
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::approximation::clamped;
use pentimento_attribution::ensemble::{
    Approximation, Candidate, DistinctLists, Space, distinct_influences, sort_by_best,
};
use pentimento_evaluation::statistics::{euclidean_distance, pearson};
use pentimento_report::{ApproximationView, CounterfactualView, Picture, Removed, SampleView, SeenAs};

/// What an ensemble says of its samples, read from its run.
pub(super) struct Counterfactuals<'a> {
    pub workspace: &'a Workspace,
    pub data: &'a CodedData,
    pub samples: Vec<SampleAnalysis>,
    pub seen: Vec<SeenSample>,
    pub figures: Figures,
    pub classifier: Option<TrainedClassifier>,
    /// The samples' lists without generally influential images, for runs whose groups are single images.
    pub distinct: Option<DistinctLists>,
    /// What people see of samples.
    visible: Visible,
}

impl<'a> Counterfactuals<'a> {
    /// Reads what was made of the samples, and measures it.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`](crate::error::RunError::Missing) if they are not attributed; if the classifier is damaged.
    pub fn read(workspace: &'a Workspace, data: &'a CodedData, networks: &Networks<'_>) -> Result<Self> {
        let classifier = open_classifier(workspace)?;
        let (samples, _) = read_analysis(workspace, data, networks)?;
        let visible = Visible::of(workspace, networks);
        let seen = see_all(workspace, classifier.as_ref(), &samples, &visible)?;
        let figures = measure(workspace, data, &samples, classifier.as_ref(), &seen)?;
        let distinct = if data.trained.codes.groups == GroupBy::Image {
            let ranking = |sample: &SampleAnalysis| -> Vec<u32> {
                top_candidates(sample, usize::MAX).iter().map(|candidate| candidate.group).collect()
            };
            let rankings: Vec<Vec<u32>> = samples.iter().map(ranking).collect();
            Some(distinct_influences(&rankings, workspace.recipe.attribution.top)?)
        } else {
            None
        };
        Ok(Self { workspace, data, samples, seen, figures, classifier, distinct, visible })
    }

    pub fn label_of_class(&self, class: u32) -> String {
        self.data.class_names.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
    }

    fn seen(&self, seen: (u32, f64)) -> SeenAs {
        SeenAs { label: self.label_of_class(seen.0), probability: seen.1 }
    }

    pub fn removed(&self, group: u32) -> Removed {
        let name = self.data.groups.names().get(group as usize).cloned().unwrap_or_default();
        match self.data.trained.codes.groups {
            GroupBy::Class => Removed { label: format!("class {name}"), class: Some(name) },
            // Each image is a group, in their order.
            GroupBy::Image => {
                let title = self.data.images.title(group as usize);
                Removed { label: format!("training image {title}"), class: None }
            }
            GroupBy::Table | GroupBy::Source => Removed { label: name, class: None },
        }
    }

    fn picture(&self, values: &[f32]) -> Picture {
        let images = &self.data.images;
        let side = |length: usize| length as u32;
        Picture::from_model_range(
            side(images.height()),
            side(images.width()),
            side(images.channels()),
            values,
        )
    }

    /// What people see of what networks made, in [-1, 1].
    ///
    /// # Errors
    ///
    /// As decoding a latent.
    pub fn seen_values(&self, made: &[f32]) -> Result<Vec<f32>> {
        Ok(clamped(&self.visible.picture(made)?))
    }

    fn made(&self, made: &[f32]) -> Result<Picture> {
        Ok(self.picture(&self.seen_values(made)?))
    }

    pub fn training_picture(&self, image: usize) -> Picture {
        self.picture(&self.data.images.scaled(image))
    }

    /// A sample with all that is known of it, by its place.
    pub fn sample(&self, at: usize, sample: &SampleAnalysis) -> Result<SampleView> {
        let detail = at < self.workspace.recipe.samples.in_report;
        let seen = self.seen.get(at);
        let counterfactuals = (0..sample.groups.len())
            .map(|place| self.counterfactual(sample, place, seen, detail))
            .collect::<Result<_>>()?;
        let prompt = self.workspace.recipe.samples.prompt(sample.sample);
        Ok(SampleView {
            name: prompt.map(|prompt| format!("Sample {} ({})", sample.sample, quoted(prompt))),
            id: u64::from(sample.sample),
            image: self.made(&sample.image)?,
            seen_as: seen.map(|seen| self.seen(seen.base)),
            // Of many groups those at random say little; the ones that the search found are shown.
            counterfactuals: if sample.checked.is_empty() {
                counterfactuals
            } else {
                self.checked(sample, detail)?
            },
            training_image_lists: if detail { code_lists::of_sample(self, at, sample)? } else { Vec::new() },
            show_detail: detail,
        })
    }

    /// The counterfactuals of the groups that a search found and that were made exactly.
    fn checked(&self, sample: &SampleAnalysis, detail: bool) -> Result<Vec<CounterfactualView>> {
        let space = self.workspace.recipe.space();
        let view = |(group, image): &(u32, Vec<f32>)| {
            Ok(CounterfactualView {
                removed: self.removed(*group),
                exact: detail.then(|| self.made(image)).transpose()?,
                distance_exact: Some(f64::from(space.distance(&sample.image, image))),
                seen_as: None,
                members_left: Some(self.data.codes.members() - self.data.codes.weight()),
                approximations: Vec::new(),
            })
        };
        sample.checked.iter().map(view).collect()
    }

    fn counterfactual(
        &self,
        sample: &SampleAnalysis,
        place: usize,
        seen: Option<&SeenSample>,
        detail: bool,
    ) -> Result<CounterfactualView> {
        let space = self.workspace.recipe.space();
        let exact = space.finished(&sample.exact[place]);
        let base = space.finished(&sample.image);
        let difference =
            |image: &[f32]| -> Vec<f32> { image.iter().zip(&base).map(|(a, b)| a - b).collect() };
        let mut approximations = Vec::new();
        if detail {
            for method in Approximation::ALL {
                let Some(image) = sample.approximate(method, &self.data.codes, place, space)? else {
                    continue;
                };
                approximations.push(ApproximationView {
                    method: method.name().into(),
                    distance: Some(euclidean_distance(&image, &base)?),
                    pearson_with_exact: pearson(&difference(&exact), &difference(&image))?,
                    // Of latents the exact ones are decoded: each takes its time, and these are many.
                    picture: (space == Space::Pixels).then(|| self.picture(&image)),
                });
            }
        }
        let group = sample.groups[place];
        let weight = self.data.codes.weight();
        Ok(CounterfactualView {
            removed: self.removed(group),
            distance_exact: Some(f64::from(space.distance(&base, &exact))),
            exact: detail.then(|| self.made(&sample.exact[place])).transpose()?,
            seen_as: seen.and_then(|seen| seen.without.get(place)).map(|&seen| self.seen(seen)),
            members_left: Some(self.data.codes.members() - weight),
            approximations,
        })
    }
}

/// The first of a sample's groups, by the best distance known of each.
pub(super) fn top_candidates(sample: &SampleAnalysis, count: usize) -> Vec<Candidate> {
    let mut candidates = sample.candidates.clone();
    sort_by_best(&mut candidates);
    candidates.truncate(count);
    candidates
}
