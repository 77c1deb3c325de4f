//! Scores of methods against the networks of a bank.

use super::dampings::{JudgedDampings, around_dampings};
use super::kept_arrays::{ArraysOfSet, KeptArrays};
use super::outcomes::{MeasuringOutcomes, Outcomes};
use super::table::write_table;
use crate::bank::Bank;
use crate::error::{Result, RunError};
use crate::event::Event;
use crate::gradients::{Queries, Subject};
use crate::recipe::EncodersRecipe;
use crate::scores::score;
use crate::words::counted;
use pentimento_attribution::curvature::{InfluenceKind, QueryMeasurement};
use pentimento_attribution::gradient::Measurement;
use pentimento_attribution::methods::{Family, Method};
use pentimento_evaluation::datamodelling::{
    Ceiling, Datamodelling, PredictedAgainstMeasured, ceiling, datamodelling, mean_over_seeds,
    predicted_against_measured,
};
use pentimento_evaluation::statistics::linear_datamodelling::{ScoreDifference, difference, predictions};
use pentimento_evaluation::statistics::{IntervalSettings, StatisticsError};
use serde::Serialize;
use std::path::Path;

/// What is measured of a query on each network.
pub const TARGETS: [&str; 2] = ["loss", "weighted loss"];

/// Fewer subsets have too few orders to tell scores from chance.
pub(super) const FEWEST_SUBSETS: usize = 4;

/// How scores are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluationSettings {
    /// Draws at which the loss of each query is measured on each network.
    pub draws: usize,
    /// How intervals are made.
    pub interval: IntervalSettings,
    /// Whether methods with a damping are judged at multiples of it too.
    pub dampings: bool,
}

impl Default for EvaluationSettings {
    fn default() -> Self {
        Self { draws: 200, interval: IntervalSettings::default(), dampings: false }
    }
}

/// A method judged by one set of queries and one measurement of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The method.
    pub method: String,
    /// One of [`TARGETS`].
    pub target: &'static str,
    /// How well its scores predict.
    pub datamodelling: Datamodelling,
    /// Of a method that predicts the change of the loss, and the loss itself: predictions beside what was measured.
    pub predicted: Option<PredictedAgainstMeasured>,
    /// The best method of this set and target less this one, on the same resamples; absent for the best.
    pub behind_the_best: Option<ScoreDifference>,
}

/// A set of queries with everything judged by it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JudgedSet {
    /// The set, as a person writes it.
    pub queries: String,
    /// The names of its queries.
    pub names: Vec<String>,
    /// How far the outcomes come back with another seed, for each of [`TARGETS`]; empty with one seed.
    pub ceilings: Vec<Ceiling>,
    /// All methods with each of [`TARGETS`].
    pub judged: Vec<Judged>,
    /// Methods with a damping at multiples of it, with each of [`TARGETS`], if that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dampings: Vec<JudgedDampings>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// What was measured of the queries.
    pub behaviour: String,
    /// What was taken away.
    pub intervention: String,
    /// What was trained again, and how.
    pub training_process: String,
    /// How many subsets.
    pub subsets: usize,
    /// How many seeds.
    pub seeds: usize,
    /// The sets of queries.
    pub sets: Vec<JudgedSet>,
}

/// Refuses a bank whose networks are shown something else of a picture, or told something else of a text, than the run's.
fn refuse_other_encoders(own: Option<&EncodersRecipe>, bank: &Bank) -> Result<()> {
    let digests = |of: &EncodersRecipe| (of.autoencoder.digest, of.text.as_ref().map(|text| text.digest));
    let (value, bound) = match (own, bank.encoders()) {
        (own, of_bank) if own.map(digests) == of_bank.map(digests) => return Ok(()),
        (Some(_), Some(_)) => ("of networks with other encoders", "the run's network sees other latents"),
        (Some(_), None) => ("of networks that see pictures", "the run's network works on latents"),
        (None, _) => ("of networks that work on latents", "the run's network sees pictures"),
    };
    Err(RunError::RecipeValue {
        file: bank.folder().display().to_string(),
        field: "bank".into(),
        value: value.into(),
        bound: bound.into(),
    })
}

/// Judges methods by a bank, each by each set of queries, and keeps what was found in the run.
///
/// # Errors
///
/// [`BankError::OtherImages`](crate::error::BankError::OtherImages) if the bank was trained on other images than the run, [`RunError::RecipeValue`] for a bank of too
/// few drawn subsets; as scoring and measuring.
pub fn evaluate(
    subject: &Subject<'_>,
    bank: &Bank,
    sets: &[Queries],
    methods: &[Method],
    classifier: Option<&Path>,
    settings: EvaluationSettings,
) -> Result<Evaluation> {
    if bank.drawn.len() < FEWEST_SUBSETS {
        return Err(RunError::RecipeValue {
            file: bank.folder().display().to_string(),
            field: "bank.subsets".into(),
            value: bank.drawn.len().to_string(),
            bound: format!("at least {FEWEST_SUBSETS} drawn subsets, to be ranked"),
        });
    }
    refuse_other_encoders(subject.workspace.recipe.encoders(), bank)?;
    let all = bank.masks_of(&subject.training.images)?;
    let masks: Vec<Vec<bool>> = bank.drawn.iter().map(|&subset| all[subset].clone()).collect();
    let subsets = bank.drawn.iter().map(|&subset| bank.subsets[subset].as_str()).collect();
    let mut arrays = KeptArrays::new(&masks, subsets, subject.training.images.names())?;
    let mut found = Vec::new();
    for queries in sets {
        let judging = Judging { subject, bank, masks: &masks, methods, classifier, settings };
        found.push(judging.set(queries, &mut arrays)?);
    }
    let kept: usize = masks.iter().flatten().filter(|&&kept| kept).count();
    let share = kept as f64 / (masks.len() * subject.training.images.len()).max(1) as f64;
    let evaluation = Evaluation {
        behaviour: format!("the loss of a query, mean over {} shared draws", settings.draws),
        intervention: format!(
            "training on {:.0} % of the images, {} subsets",
            100.0 * share,
            bank.drawn.len()
        ),
        training_process: format!(
            "from first weights, by the bank's recipe, {}",
            counted(bank.seeds, "seed")
        ),
        subsets: bank.drawn.len(),
        seeds: bank.seeds,
        sets: found,
    };
    arrays.write(subject.workspace)?;
    write_table(subject.workspace, &evaluation, settings.interval)?;
    Ok(evaluation)
}

/// What is judged, by what.
struct Judging<'a> {
    subject: &'a Subject<'a>,
    bank: &'a Bank,
    /// `[subsets][images]`, of the subsets that were drawn.
    masks: &'a [Vec<bool>],
    methods: &'a [Method],
    classifier: Option<&'a Path>,
    settings: EvaluationSettings,
}

impl Judging<'_> {
    fn set(&self, queries: &Queries, arrays: &mut KeptArrays) -> Result<JudgedSet> {
        let Self { subject, bank, masks, methods, classifier, settings } = *self;
        let networks = bank.alike();
        let outcomes = MeasuringOutcomes::new(subject.workspace, &networks, &queries.images, settings.draws)
            .complete()?;
        // Of the subsets that were drawn, `[seeds][subsets][queries]`.
        let drawn = |of: fn(&Outcomes) -> &Vec<f64>| -> Vec<Vec<Vec<f64>>> {
            let mut table = vec![vec![Vec::new(); bank.subsets.len()]; bank.seeds];
            for (network, outcomes) in bank.networks.iter().zip(&outcomes) {
                table[network.seed][network.subset] = of(outcomes).clone();
            }
            let of_seed =
                |subsets: Vec<Vec<f64>>| bank.drawn.iter().map(|&subset| subsets[subset].clone()).collect();
            table.into_iter().map(of_seed).collect()
        };
        let targets = [drawn(|outcomes| &outcomes.loss), drawn(|outcomes| &outcomes.weighted_loss)];
        let means = targets.iter().map(|seeds| mean_over_seeds(seeds)).collect::<Result<Vec<_>, _>>()?;
        let ceilings = targets.iter().map(|seeds| ceiling(seeds)).collect::<Result<Vec<_>, _>>()?;
        let (mut tables, mut drawn_by) = (Vec::new(), Vec::new());
        for &method in methods {
            subject.workspace.options.stop.check()?;
            let table = score(subject, queries, method, classifier)?;
            drawn_by.extend(table.taken().map(|taken| (method, taken.grid.1)));
            tables.push(table.scores);
        }
        arrays.add(&ArraysOfSet {
            set: &queries.set.name(),
            queries: queries.images.iter().map(|query| query.name.as_str()).collect(),
            targets: &targets,
            methods: methods.iter().map(|method| method.name).collect(),
            scores: &tables,
        })?;
        let around = match settings.dampings {
            true => around_dampings(subject, queries, &drawn_by)?,
            false => Vec::new(),
        };
        let (mut judged, mut dampings) = (Vec::new(), Vec::new());
        for (target, outcomes) in TARGETS.into_iter().zip(&means) {
            let of_target = methods
                .iter()
                .zip(&tables)
                .map(|(method, scores)| {
                    let datamodelling = datamodelling(scores, masks, outcomes, settings.interval)?;
                    let predicted = match predicts_loss(method) && target == TARGETS[0] {
                        true => predicted_against_measured(scores, masks, outcomes)?,
                        false => None,
                    };
                    let method = method.name.into();
                    Ok(Judged { method, target, datamodelling, predicted, behind_the_best: None })
                })
                .collect::<Result<Vec<_>, StatisticsError>>()?;
            judged.extend(beside_the_best(of_target, &tables, masks, outcomes, settings.interval)?);
            for method in &around {
                dampings.extend(method.judge(target, masks, outcomes, settings.interval.seed)?);
            }
            subject.workspace.reporter().tell(Event::Judged { target, methods: methods.len() });
        }
        Ok(JudgedSet {
            queries: queries.set.to_string(),
            names: queries.images.iter().map(|query| query.name.clone()).collect(),
            ceilings: ceilings.into_iter().flatten().collect(),
            judged,
            dampings,
        })
    }
}

/// Whether the scores of a method are changes of the loss, in its own units.
fn predicts_loss(method: &Method) -> bool {
    let loss = QueryMeasurement::OfImage(Measurement::Loss);
    matches!(method.family, Family::Influence(InfluenceKind::Linear(measured, _)) if measured == loss)
}

/// Sets each method beside the one whose score is highest.
fn beside_the_best(
    mut judged: Vec<Judged>,
    scores: &[Vec<Vec<f64>>],
    masks: &[Vec<bool>],
    outcomes: &[Vec<f64>],
    interval: IntervalSettings,
) -> Result<Vec<Judged>, StatisticsError> {
    let value = |judged: &Judged| judged.datamodelling.score.mean.map(|mean| mean.value);
    let best = (0..judged.len())
        .filter(|&place| value(&judged[place]).is_some())
        .max_by(|&a, &b| value(&judged[a]).unwrap_or(-1.0).total_cmp(&value(&judged[b]).unwrap_or(-1.0)));
    let Some(best) = best else { return Ok(judged) };
    let weights: Vec<Vec<f64>> =
        masks.iter().map(|mask| mask.iter().map(|&kept| f64::from(u8::from(kept))).collect()).collect();
    let of_best = predictions::<_, _, f64>(&scores[best], &weights)?;
    for (place, judged) in judged.iter_mut().enumerate().filter(|(place, _)| *place != best) {
        let own = predictions::<_, _, f64>(&scores[place], &weights)?;
        judged.behind_the_best = difference(&of_best, &own, outcomes, interval)?;
    }
    Ok(judged)
}
