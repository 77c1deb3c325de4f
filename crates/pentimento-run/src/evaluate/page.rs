//! The page of an evaluation: turns what was found into what a person reads.
//!
//! It has neither date nor machine, so the same results give the same bytes.

use super::finding::finding;
use super::subsets::{Evaluation, Judged, JudgedSet, TARGETS};
use crate::gradients::QuerySet;
use crate::page::statement;
use crate::recipe::Recipe;
use crate::words::counted;
use pentimento_attribution::methods::Method;
use pentimento_evaluation::datamodelling::PredictedAgainstMeasured;
use pentimento_evaluation::statistics::linear_datamodelling::NoiseCeiling;
use pentimento_evaluation::statistics::{self, IntervalSettings};
use pentimento_report::{
    CeilingView, Estimate, EvaluationView, Interval, JudgedMethodView, JudgedRow, JudgedSetView, MadeWith,
    QueryPairs, ScatterView, Statement, TargetView,
};

/// What the page shows.
pub(super) fn view(recipe: &Recipe, evaluation: &Evaluation, interval: IntervalSettings) -> EvaluationView {
    let Evaluation { behaviour, intervention, training_process, subsets, seeds, sets } = evaluation;
    let mut names: Vec<&str> = Vec::new();
    for judged in sets.iter().flat_map(|set| &set.judged) {
        if !names.contains(&judged.method.as_str()) {
            names.push(&judged.method);
        }
    }
    let networks = match seeds {
        1 => counted(*subsets, "network"),
        seeds => format!(
            "{}, {seeds} for each of {subsets} parts of the images",
            counted(subsets * seeds, "network")
        ),
    };
    EvaluationView {
        title: "Do the scores predict what really happens?".into(),
        what_this_is: format!(
            "{} judged by {networks}, trained without some of the training images: what the scores of training images say would \
             happen is held against what did.",
            counted(names.len(), "method")
        ),
        made_with: MadeWith {
            version: format!("pentimento {}", env!("CARGO_PKG_VERSION")),
            recipe_name: recipe.name.clone(),
            ..MadeWith::default()
        },
        statement: Statement {
            behaviour: behaviour.clone(),
            intervention: intervention.clone(),
            training_process: training_process.clone(),
        },
        interval_meaning: interval_meaning(interval),
        sets: sets.iter().map(set_view).collect(),
        methods: names.into_iter().map(method_view).collect(),
    }
}

fn interval_meaning(IntervalSettings { confidence, resamples, .. }: IntervalSettings) -> String {
    format!(
        "{:.0} % bootstrap intervals over the subsets that networks were trained on, {resamples} resamples",
        100.0 * confidence
    )
}

fn method_view(name: &str) -> JudgedMethodView {
    let method = Method::named(name);
    JudgedMethodView {
        name: name.into(),
        title: method.map_or(String::new(), |method| method.title.into()),
        statement: method.map_or_else(Statement::default, |method| statement(method.statement())),
    }
}

fn set_view(set: &JudgedSet) -> JudgedSetView {
    let count = set.names.len();
    let Ok(asked) = set.queries.parse::<QuerySet>();
    let (title, what) = match asked {
        QuerySet::Samples => ("Generated queries", "made by the network itself"),
        QuerySet::HeldOut(_) => ("Held-out queries", "like the training images, but never trained on"),
        QuerySet::TrainingImages(_) => ("Training images as queries", "which the network was trained on"),
        QuerySet::Path { .. } => ("Given queries", "which were given"),
    };
    let note = match count {
        1 => format!("1 picture, {what} ({}).", set.queries),
        count => format!("{count} pictures, {what} ({}).", set.queries),
    };
    let targets =
        TARGETS.into_iter().enumerate().map(|(place, target)| target_view(set, place, target)).collect();
    JudgedSetView { title: title.into(), note, targets }
}

fn target_view(set: &JudgedSet, place: usize, target: &str) -> TargetView {
    let ranked = ranked(set, target);
    let ceiling = set.ceilings.get(place);
    TargetView {
        name: target.into(),
        finding: finding(target, &ranked, ceiling),
        ceiling: ceiling.and_then(|ceiling| ceiling_view(&ceiling.outcomes)),
        ceiling_without_query_mean: ceiling
            .and_then(|ceiling| ceiling.without_query_mean.as_ref())
            .and_then(ceiling_view),
        rows: ranked.iter().map(|judged| row(judged)).collect(),
        scatters: ranked
            .iter()
            .filter_map(|judged| Some(scatter(set, judged, judged.predicted.as_ref()?)))
            .collect(),
    }
}

/// Everything judged by one measurement, the highest score first, then what has none.
fn ranked<'a>(set: &'a JudgedSet, target: &str) -> Vec<&'a Judged> {
    let value =
        |judged: &Judged| judged.datamodelling.score.mean.map_or(f64::NEG_INFINITY, |mean| mean.value);
    let mut ranked: Vec<&Judged> = set.judged.iter().filter(|judged| judged.target == target).collect();
    // The best of equals is the one that the others were set beside.
    let is_beside = |judged: &Judged| judged.behind_the_best.is_some();
    ranked.sort_by(|a, b| value(b).total_cmp(&value(a)).then(is_beside(a).cmp(&is_beside(b))));
    ranked
}

fn ceiling_view(ceiling: &NoiseCeiling) -> Option<CeilingView> {
    Some(CeilingView { largest_score: ceiling.largest_score?, between_seeds: ceiling.between_seeds.mean? })
}

fn row(judged: &Judged) -> JudgedRow {
    let score = &judged.datamodelling.score;
    JudgedRow {
        method: judged.method.clone(),
        score: score.mean.map(estimate),
        without_query_mean: judged
            .datamodelling
            .without_query_mean
            .as_ref()
            .and_then(|score| score.mean)
            .map(estimate),
        significant_share: score.significant_share,
        behind_the_best: judged.behind_the_best.map(|behind| estimate(behind.difference)),
        by_query: score.queries.iter().flatten().map(|test| test.correlation).collect(),
        undefined: score.undefined as u64,
    }
}

fn estimate(estimate: statistics::Estimate) -> Estimate {
    let statistics::Estimate { value, low, high } = estimate;
    Estimate { value, interval: Some(Interval { low, high }) }
}

fn scatter(set: &JudgedSet, judged: &Judged, predicted: &PredictedAgainstMeasured) -> ScatterView {
    let mut queries: Vec<QueryPairs> =
        set.names.iter().map(|name| QueryPairs { query: name.clone(), pairs: Vec::new() }).collect();
    for pair in &predicted.shown {
        if let Some(query) = queries.get_mut(pair.query) {
            query.pairs.push([pair.predicted, pair.measured]);
        }
    }
    queries.retain(|query| !query.pairs.is_empty());
    ScatterView {
        method: judged.method.clone(),
        slope: predicted.slope,
        pearson: predicted.pearson,
        pairs: predicted.pairs as u64,
        queries,
    }
}
