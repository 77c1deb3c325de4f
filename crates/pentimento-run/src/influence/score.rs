//! Scores by influence functions and by unlearning, with intervals.

use super::curvature_store::{MeasuredCurvature, curvature};
use super::damping::{InfluenceNote, dampings};
use super::influence_products::{Products, ProductsOf};
use super::query_gradients::{QueryGradients, check_trajectory};
use super::unlearning::UnlearningOf;
use crate::error::{Result, RunError};
use crate::event::Event;
use crate::gradients::{Queries, Query, QuerySet, ScoreTable, Subject};
use pentimento_attribution::curvature::{InfluenceKind, QueryMeasurement};
use pentimento_attribution::gradient::{Measurement, Spread};
use pentimento_attribution::methods::Method;

/// Refuses a method that cannot be asked about some queries, before anything is computed.
///
/// # Errors
///
/// [`RunError::NoSuch`] for the trajectory of an image that was not generated, or of a sampler without noise.
pub fn check_influence(subject: &Subject<'_>, set: &QuerySet, kind: InfluenceKind) -> Result<()> {
    match kind {
        InfluenceKind::Linear(QueryMeasurement::Trajectory) => check_trajectory(subject, set),
        _ => Ok(()),
    }
}

/// Scores `[queries][images]`.
type Scores = Vec<Vec<f64>>;

/// What one network says: scores with all draws, without each group of draws in turn, and of each image for itself.
struct OfNetwork {
    scores: Scores,
    replicates: Vec<Scores>,
    self_influence: Vec<f64>,
}

/// Scores every training image for every query through the curvature of each network, which is measured if it is not in the
/// run. Several networks are averaged; one that never saw an image does not depend on it.
///
/// # Errors
///
/// [`Stopped`](crate::error::RunError::Stopped) on Ctrl-C, what is finished is kept; what the curvature, the damping or the
/// queries do not allow.
pub fn score_influence(
    subject: &Subject<'_>,
    queries: &Queries,
    method: Method,
    kind: InfluenceKind,
) -> Result<ScoreTable> {
    let (mut scores, mut replicates): (Scores, Vec<Scores>) = (Vec::new(), Vec::new());
    let mut self_influence = vec![0.0; subject.training.images.len()];
    let mut note: Option<InfluenceNote> = None;
    let share = 1.0 / subject.networks.weights.len().max(1) as f64;
    for network in 0..subject.networks.weights.len() {
        let measured = curvature(subject, network)?;
        let (dampings, of_network) = dampings(subject, &measured);
        measured.curvature.check(&dampings).map_err(|error| RunError::RecipeValue {
            file: "recipe".into(),
            field: "influence.damping".into(),
            value: of_network.dampings[0].to_string(),
            bound: error.to_string(),
        })?;
        let network = Network { subject, network, measured, dampings };
        let found = network.score(&queries.set, &queries.images, (method.name, kind))?;
        add(&mut scores, &found.scores, share);
        replicates.resize_with(found.replicates.len(), Vec::new);
        for (sum, found) in replicates.iter_mut().zip(&found.replicates) {
            add(sum, found, share);
        }
        for (sum, value) in self_influence.iter_mut().zip(&found.self_influence) {
            *sum += share * value;
        }
        note.get_or_insert(of_network);
    }
    for (query, scores) in scores.iter().enumerate() {
        if let Some(image) = scores.iter().position(|score| !score.is_finite()) {
            let step = subject.workspace.recipe.influence.unlearning_step;
            return Err(RunError::RecipeValue {
                file: method.name.into(),
                field: format!(
                    "the score of training image {}",
                    subject.training.images.source_indices()[image]
                ),
                value: format!("not finite for {}", queries.images[query].title),
                bound: match kind {
                    InfluenceKind::Unlearning => {
                        format!("a shorter step is needed than `influence.unlearning_step` = {step}")
                    }
                    InfluenceKind::Linear(_) => {
                        "the network's output is so large that products of its gradients overflow".into()
                    }
                },
            }
            .into());
        }
    }
    let flat = |scores: &Vec<f64>| scores.iter().all(|score| Some(score) == scores.first());
    if subject.training.images.len() > 1
        && let Some(query) = scores.iter().position(flat)
    {
        let query = &queries.images[query].title;
        subject.workspace.reporter().tell(Event::FlatScores { method: method.name, query });
    }
    Ok(ScoreTable {
        spread: Spread::new(replicates),
        self_influence,
        influence: note,
        draws: subject.draws().count(),
        most_draws: subject.workspace.recipe.schedule.num_train_timesteps * subject.draws().per_timestep(),
        dimension: subject.networks.architecture.parameter_count(),
        networks: subject.networks.weights.len(),
        ..ScoreTable::plain(subject, queries, method, scores)?
    })
}

fn add(sum: &mut Scores, scores: &Scores, share: f64) {
    if sum.is_empty() {
        *sum = scores.iter().map(|row| vec![0.0; row.len()]).collect();
    }
    for (sum, row) in sum.iter_mut().zip(scores) {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += share * value);
    }
}

/// A network with its curvature.
struct Network<'a> {
    subject: &'a Subject<'a>,
    network: usize,
    measured: MeasuredCurvature,
    dampings: Vec<f64>,
}

impl Network<'_> {
    fn score(
        &self,
        set: &QuerySet,
        queries: &[Query],
        (name, kind): (&str, InfluenceKind),
    ) -> Result<OfNetwork> {
        let Self { subject, network, measured, dampings } = self;
        let (subject, network) = (*subject, *network);
        let seen =
            (0..subject.training.images.len()).filter(|&image| subject.networks.saw(network, image)).count();
        match kind {
            InfluenceKind::Linear(measurement) => {
                let gradients = QueryGradients::new(subject, set, queries, measurement)?;
                let queries_have_draws = measurement != QueryMeasurement::Trajectory;
                let of =
                    ProductsOf { subject, network, measured, dampings, measurement: name, queries_have_draws };
                let products = of.complete(&gradients, queries)?;
                Ok(linear(&products, [queries.len(), subject.draws().groups, seen], queries_have_draws))
            }
            InfluenceKind::Unlearning => {
                let loss = QueryMeasurement::OfImage(Measurement::Loss);
                let gradients = QueryGradients::new(subject, set, queries, loss)?;
                let of = UnlearningOf { subject, network, measured, dampings };
                Ok(self.unlearned(&of.complete(&gradients, queries)?))
            }
        }
    }

    /// Scores from increases of losses `[queries][images][groups]`.
    fn unlearned(&self, increases: &[Vec<Vec<f64>>]) -> OfNetwork {
        let groups = self.subject.draws().groups;
        let without = |left_out: Option<usize>| -> Scores {
            let kept: Vec<usize> = (0..groups).filter(|&group| Some(group) != left_out).collect();
            let mean =
                |(image, values): (usize, &Vec<f64>)| match self.subject.networks.saw(self.network, image) {
                    true => kept.iter().map(|&group| values[group]).sum::<f64>() / kept.len().max(1) as f64,
                    false => 0.0,
                };
            increases.iter().map(|images| images.iter().enumerate().map(mean).collect()).collect()
        };
        OfNetwork {
            scores: without(None),
            replicates: (0..groups).filter(|_| groups > 1).map(|group| without(Some(group))).collect(),
            // What an image does to its own loss is not measured: no training image is unlearned.
            self_influence: vec![f64::NAN; self.subject.training.images.len()],
        }
    }
}

/// The predicted change when an image is removed from so many: its products over their number (Koh and Liang 2017).
///
/// Where nothing of the query is drawn, as of a trajectory, whose groups are parts of one sum, a replicate leaves out draws of
/// the training images only.
fn linear(products: &Products, [queries, groups, images]: [usize; 3], query_is_drawn: bool) -> OfNetwork {
    let without = |left_out: Option<usize>| -> Scores {
        let kept: Vec<usize> = (0..groups).filter(|&group| Some(group) != left_out).collect();
        let of_query: Vec<usize> =
            (0..groups).filter(|&group| !query_is_drawn || Some(group) != left_out).collect();
        let share = 1.0 / (kept.len() * of_query.len() * images).max(1) as f64;
        let score = |query: usize, of_image: &Vec<Vec<f64>>| -> f64 {
            let of = |&group: &usize| -> f64 {
                let row = of_image.get(group).map_or(&[][..], Vec::as_slice);
                of_query
                    .iter()
                    .map(|&other| row.get(query * groups + other).copied().unwrap_or_default())
                    .sum()
            };
            share * kept.iter().map(of).sum::<f64>()
        };
        (0..queries)
            .map(|query| products.of_images.iter().map(|image| score(query, image)).collect())
            .collect()
    };
    OfNetwork {
        scores: without(None),
        replicates: (0..groups).filter(|_| groups > 1).map(|group| without(Some(group))).collect(),
        self_influence: products.self_influence.iter().map(|value| value / images.max(1) as f64).collect(),
    }
}
