//! What a page shows of scores: for each query, the training images that methods and plain likeness put first.

use super::pooled_removal::capital;
use super::{IMAGES_SHOWN, explanations};
use crate::error::Result;
use crate::event::Event;
use crate::gradients::{Queries, QuerySet, ScoreTable, Subject, TrainingImages, compared_patches};
use crate::scores::score;
use crate::words::counted;
use crate::workspace::Workspace;
use pentimento_attribution::likeness::Likeness;
use pentimento_attribution::methods::{Family, Method};
use pentimento_attribution::scores::top;
use pentimento_data::nearly_the_same;
use pentimento_report::{
    Basis, GroupScore, Picture, SampleView, TimestepScore, TopImageView, TrainingImageList,
};
use std::collections::BTreeMap;

/// Patches that are compared for a page without being asked for: about 40 seconds on two cores.
const MOST_PATCHES: f64 = 2e10;

/// Tables of scores of the training images for some queries.
pub(super) struct Scores<'a> {
    pub workspace: &'a Workspace,
    pub training: &'a TrainingImages,
    pub queries: &'a Queries,
    /// Those that were asked for, then the likeness that they are held against.
    pub tables: Vec<&'a ScoreTable>,
    /// Height, width and channels.
    shape: [usize; 3],
    groups: Vec<(String, Vec<usize>)>,
    /// The images that share credit, by the first of them.
    alike: BTreeMap<usize, Vec<usize>>,
}

/// The likeness that every page holds methods against, but for what is among the tables already.
///
/// # Errors
///
/// As scoring.
pub(super) fn baselines(
    subject: &Subject<'_>,
    queries: &Queries,
    tables: &[ScoreTable],
) -> Result<Vec<ScoreTable>> {
    let mut baselines = Vec::new();
    for method in Method::ALL {
        let Family::Likeness(likeness @ (Likeness::PixelCosine | Likeness::Patches)) = method.family else {
            continue;
        };
        if tables.iter().any(|table| table.method == method) {
            continue;
        }
        if likeness == Likeness::Patches && compared_patches(subject, queries.images.len()) > MOST_PATCHES {
            subject.workspace.reporter().tell(Event::PatchesLeftOut);
            continue;
        }
        baselines.push(score(subject, queries, method, None)?);
    }
    Ok(baselines)
}

impl<'a> Scores<'a> {
    /// Tables of scores, with the training images that share credit because they are nearly the same.
    ///
    /// # Errors
    ///
    /// If an image cannot be compared with the others.
    pub fn new(subject: &Subject<'a>, queries: &'a Queries, tables: Vec<&'a ScoreTable>) -> Result<Self> {
        let Subject { workspace, training, .. } = *subject;
        let mut alike: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (image, first) in nearly_the_same(&training.images)?.into_iter().enumerate() {
            alike.entry(first).or_default().push(image);
        }
        let (shape, groups) = (subject.picture_shape(), training.named_groups());
        Ok(Self { workspace, training, queries, tables, shape, groups, alike })
    }

    /// What the intervals of the scores are; empty if none is known.
    pub fn interval_meaning(&self) -> &'static str {
        match self.tables.iter().any(|table| table.spread.is_known()) {
            true => "95 % jackknife interval over groups of timesteps and noise",
            false => "",
        }
    }

    /// A query that stands on the page for itself.
    pub fn sample(&self, query: usize) -> SampleView {
        SampleView {
            id: query as u64,
            name: self.name_of(query),
            image: self.picture(&self.queries.images[query].picture),
            seen_as: None,
            counterfactuals: Vec::new(),
            training_image_lists: Vec::new(),
            show_detail: query < self.workspace.recipe.samples.in_report,
        }
    }

    /// What a query is called that is no sample, or one of which the network was told something.
    fn name_of(&self, query: usize) -> Option<String> {
        let asked = &self.queries.images[query];
        match self.queries.set {
            QuerySet::Samples => asked.told.as_ref().map(|_| capital(&asked.title)),
            _ => Some(asked.title.clone()),
        }
    }

    /// The training images that each method puts first for a query.
    pub fn lists(&self, query: usize) -> Vec<TrainingImageList> {
        let list = |table: &&ScoreTable| match table.method.family {
            Family::Likeness(likeness) => self.alike_to(table, likeness, query),
            _ => self.scored(table, query),
        };
        self.tables.iter().map(list).collect()
    }

    /// A training image of a list by itself, with its score by a method; `rank` is from 0.
    pub fn listed(&self, table: &ScoreTable, image: usize, rank: usize, score: f64) -> TopImageView {
        let basis = Basis::Scored {
            method: table.method.name.into(),
            reach: None,
            by_timestep: Vec::new(),
            near_duplicates: 0,
        };
        self.top_image(image, rank, score, basis, false)
    }

    /// An image as a picture that the page shows.
    pub fn picture(&self, values: &[f32]) -> Picture {
        let [height, width, channels] = self.shape.map(|side| side as u32);
        // The page shows grey and colour.
        let shown = if channels == 2 { 1 } else { channels.min(3) };
        let values: Vec<f32> =
            values.chunks(channels as usize).flat_map(|pixel| pixel[..shown as usize].to_vec()).collect();
        Picture::from_model_range(height, width, shown, &values)
    }

    fn top_image(&self, image: usize, rank: usize, value: f64, basis: Basis, near_tie: bool) -> TopImageView {
        let training = self.training;
        TopImageView {
            index: training.images.source_indices()[image] as u64,
            label: training.label_of(image),
            picture: Some(self.picture(&training.images.scaled(image))),
            distance: value,
            basis,
            rank: rank as u32 + 1,
            near_tie,
        }
    }

    /// The images that a method puts first. Those that are nearly the same stand there once, with their scores together.
    fn scored(&self, table: &ScoreTable, query: usize) -> TrainingImageList {
        let scores = &table.scores[query];
        // Of images that share credit, those that were scored.
        let scored = |alike: &[usize]| -> Vec<usize> {
            alike.iter().copied().filter(|&image| !scores[image].is_nan()).collect()
        };
        let (firsts, members): (Vec<usize>, Vec<Vec<usize>>) = self
            .alike
            .iter()
            .map(|(&first, alike)| (first, scored(alike)))
            .filter(|(_, members)| !members.is_empty())
            .unzip();
        // Scores that do not add up stand for the largest of them.
        let together = |scores: &mut dyn Iterator<Item = f64>| {
            if table.method.adds_up { scores.sum() } else { scores.fold(f64::NEG_INFINITY, f64::max) }
        };
        let value = |members: &Vec<usize>| together(&mut members.iter().map(|&image| scores[image]));
        let values: Vec<f64> = members.iter().map(value).collect();
        let order = top(&values, IMAGES_SHOWN + 1);
        let factor = table.spread.factor();
        let value_of = |place: usize| {
            let members = &members[place];
            move |scores: &[f64]| together(&mut members.iter().map(|&image| scores[image]))
        };
        let is_tie = |a, b| table.spread.is_tie(query, scores, value_of(a), value_of(b)).unwrap_or(false);
        let images = order
            .iter()
            .take(IMAGES_SHOWN)
            .enumerate()
            .map(|(rank, &place)| {
                let members = &members[place];
                // The one of them with the largest score is shown.
                let shown =
                    members.iter().copied().max_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a)));
                let shown = shown.unwrap_or(firsts[place]);
                let strips = table.gradients().map(|details| &details.strips);
                let strip = strips.and_then(|strips| Some((strips, strips.of(query, shown)?)));
                let by_timestep = strip.map_or(Vec::new(), |(strips, values)| {
                    let point = |(&timestep, &score): (&usize, &f64)| TimestepScore {
                        timestep: timestep as u64,
                        score,
                    };
                    strips.timesteps.iter().zip(values).map(point).collect()
                });
                let basis = Basis::Scored {
                    method: table.method.name.into(),
                    reach: table.spread.standard_error(query, value_of(place)).map(|error| factor * error),
                    by_timestep,
                    near_duplicates: members.len() as u32 - 1,
                };
                let tie = order.get(rank + 1).is_some_and(|&next| is_tie(place, next));
                self.top_image(shown, rank, values[place], basis, tie)
            })
            .collect();
        // Of groups of which not all images were scored, there is no sum.
        let adds_up = table.method.adds_up && table.candidates().is_none();
        let groups = if adds_up { self.group_scores(table, query) } else { Vec::new() };
        TrainingImageList {
            title: match self.queries.set {
                QuerySet::Samples => format!("Helped most to make it, by {}", table.method.name),
                _ => format!("Taught most of it, by {}", table.method.name),
            },
            explanation: format!(
                "Of {}, those with the largest scores. Training on an image with a larger score is held to have \
                 helped more; nothing was trained again to prove it.{}",
                match table.candidates() {
                    None => counted(scores.len(), "training image"),
                    Some(found) => format!(
                        "the {} of {} that look most like it (approximation: the others were not scored)",
                        found.candidates,
                        counted(scores.len(), "training image")
                    ),
                },
                if table.spread.is_known() {
                    " After each score stands how far its 95 % interval reaches, over the choice of timesteps and noise."
                } else {
                    ""
                }
            ),
            statement: explanations::statement(table.method.statement()),
            images,
            groups,
        }
    }

    fn group_scores(&self, table: &ScoreTable, query: usize) -> Vec<GroupScore> {
        let mut groups: Vec<GroupScore> = self
            .groups
            .iter()
            .map(|(label, members)| {
                let sum = |scores: &[f64]| members.iter().map(|&image| scores[image]).sum::<f64>();
                GroupScore {
                    label: label.clone(),
                    images: members.len() as u64,
                    score: members.iter().map(|&image| table.scores[query][image]).sum(),
                    reach: table.spread.standard_error(query, sum).map(|error| table.spread.factor() * error),
                }
            })
            .collect();
        groups.sort_by(|a, b| b.score.total_cmp(&a.score));
        groups
    }

    fn alike_to(&self, table: &ScoreTable, likeness: Likeness, query: usize) -> TrainingImageList {
        let values = &table.scores[query];
        let image = |(rank, image): (usize, usize)| self.listed(table, image, rank, values[image]);
        let title = match likeness {
            Likeness::Random => "Picked at random".into(),
            _ => format!("Look most like it, by {}", table.method.title),
        };
        TrainingImageList {
            title,
            explanation: match likeness {
                Likeness::Random => "By random numbers: what a method without any skill would show.".into(),
                _ => "Likeness, not influence: a method that only finds these has found nothing more.".into(),
            },
            statement: explanations::statement(table.method.statement()),
            images: top(values, IMAGES_SHOWN).into_iter().enumerate().map(image).collect(),
            groups: Vec::new(),
        }
    }
}
