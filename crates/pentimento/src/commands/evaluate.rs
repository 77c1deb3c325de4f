//! `pentimento evaluate`: whether scores predict what really happens to networks that are trained on other images.

use super::asked::Asked;
use super::print;
use super::tables::check;
use crate::arguments::{EvaluateArguments, EvaluateCommand};
use crate::error::ProgramError;
use anyhow::Result;
use pentimento_attribution::methods::Method;
use pentimento_evaluation::datamodelling::{Ceiling, Datamodelling, PredictedAgainstMeasured};
use pentimento_evaluation::statistics::linear_datamodelling::{LinearDatamodellingScore, NoiseCeiling};
use pentimento_evaluation::statistics::{Estimate, IntervalSettings};
use pentimento_run::bank::Bank;
use pentimento_run::data::coded_data_if_trained;
use pentimento_run::evaluate::{
    ArraysToJudge, EvaluationSettings, Judged, JudgedSet, PAGE, TARGETS, evaluate, judge_arrays,
};
use pentimento_run::gradients::{QuerySet, Subject, TrainingImages};
use pentimento_run::{Networks, RunOptions, Workspace};

/// Judges what was asked and prints a table.
pub(super) fn run(arguments: EvaluateArguments, options: RunOptions) -> Result<()> {
    let EvaluateArguments { arrays, run, bank, bank_seed, method, classifier, query, draws } = arguments;
    if let Some(EvaluateCommand::Lds { scores, masks, outcomes }) = arrays {
        return of_arrays(&ArraysToJudge { scores, masks, outcomes });
    }
    let (Some(run), Some(bank)) = (run, bank) else { return Err(ProgramError::NothingToEvaluate.into()) };
    let asked = Asked::of(&method, classifier)?;
    asked.refuse_codes("it writes no table of scores")?;
    let bank = Bank::open(&bank, bank_seed, options.clone())?;
    let workspace = &Workspace::open(&run, options)?;
    let data = coded_data_if_trained(workspace)?;
    let networks = &Networks::open(workspace, data.as_ref())?;
    let training = &TrainingImages::open(workspace, networks)?;
    let subject = &Subject { workspace, networks, training };
    let methods = if asked.is_empty() { usual_methods() } else { asked.tables() };
    let generated = workspace.recipe.samples.count;
    let sets = match query.is_empty() {
        true => vec![QuerySet::Samples, QuerySet::HeldOut(generated)],
        false => query,
    };
    let mut queries = Vec::new();
    for set in sets {
        check(subject, &methods, &asked, &set)?;
        queries.push(set.make_and_open(subject)?);
    }
    let settings = EvaluationSettings { draws: draws as usize, ..EvaluationSettings::default() };
    let found = evaluate(subject, &bank, &queries, &methods, asked.classifier.as_deref(), settings)?;
    print(&format!("behaviour: {}", found.behaviour))?;
    print(&format!("intervention: {}", found.intervention))?;
    print(&format!("training process: {}", found.training_process))?;
    for set in &found.sets {
        print_set(set)?;
    }
    print(&format!("{}", workspace.run.root().join(PAGE).display()))?;
    Ok(())
}

/// Every method that can be asked about any query, and needs no file beside the run.
fn usual_methods() -> Vec<Method> {
    ["d-trak", "das", "trak", "influence", "pixel-cosine", "random"]
        .into_iter()
        .filter_map(Method::named)
        .collect()
}

fn print_set(set: &JudgedSet) -> Result<()> {
    for (place, target) in TARGETS.into_iter().enumerate() {
        print("")?;
        print(&format!(
            "{} queries ({}), {target}: linear datamodelling score in %",
            set.names.len(),
            set.queries
        ))?;
        print(&row([
            "method",
            "score",
            "95 % interval",
            "less query mean",
            "95 % interval",
            "p < 0.05",
            "behind the best",
        ]))?;
        let mut judged: Vec<&Judged> = set.judged.iter().filter(|judged| judged.target == target).collect();
        let value = |judged: &Judged| judged.datamodelling.score.mean.map_or(-2.0, |mean| mean.value);
        judged.sort_by(|a, b| value(b).total_cmp(&value(a)));
        for judged in judged {
            let Datamodelling { score, without_query_mean } = &judged.datamodelling;
            let behind = match &judged.behind_the_best {
                Some(difference) => estimate(Some(difference.difference)).join(" "),
                None => String::new(),
            };
            let [own, own_interval] = estimate(score.mean);
            let [centred, centred_interval] =
                estimate(without_query_mean.as_ref().and_then(|score| score.mean));
            let share =
                score.significant_share.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share));
            print(&row([&judged.method, &own, &own_interval, &centred, &centred_interval, &share, &behind]))?;
        }
        for judged in set.judged.iter().filter(|judged| judged.target == target) {
            if let Some(PredictedAgainstMeasured { slope, pearson, pairs, .. }) = &judged.predicted {
                print(&format!(
                    "{}: the measured change is {slope:.2} of the predicted one, correlation {pearson:.2} over {pairs} pairs",
                    judged.method
                ))?;
            }
        }
        if let Some(ceiling) = set.ceilings.get(place) {
            print(&ceiling_line(ceiling))?;
        }
    }
    Ok(())
}

fn of_arrays(files: &ArraysToJudge) -> Result<()> {
    let (judged, ceiling) = judge_arrays(files, IntervalSettings::default())?;
    let line = |what: &str, score: &LinearDatamodellingScore| {
        let [value, interval] = estimate(score.mean);
        let undefined = match score.undefined {
            0 => String::new(),
            count => format!("; {count} without a correlation left out"),
        };
        let share = score.significant_share.map_or(0.0, |share| 100.0 * share);
        format!(
            "{what}: {value} % {interval}, {} queries, {share:.0} % of them with p < 0.05{undefined}",
            score.defined
        )
    };
    print(&line("linear datamodelling score", &judged.score))?;
    if let Some(centred) = &judged.without_query_mean {
        print(&line("with the query mean removed", centred))?;
    }
    if let Some(ceiling) = &ceiling {
        print(&ceiling_line(ceiling))?;
    }
    Ok(())
}

fn ceiling_line(ceiling: &Ceiling) -> String {
    let most = |ceiling: &NoiseCeiling| match (ceiling.between_seeds.mean, ceiling.largest_score) {
        (Some(between), Some(most)) => format!("{:.1} (seed to seed {:.1})", 100.0 * most, 100.0 * between),
        _ => "unknown".into(),
    };
    let centred = ceiling
        .without_query_mean
        .as_ref()
        .map_or(String::new(), |ceiling| format!("; with the query mean removed {}", most(ceiling)));
    format!(
        "the most that outcomes of {} seeds let expect: {}{centred}",
        ceiling.outcomes.seeds,
        most(&ceiling.outcomes)
    )
}

fn estimate(estimate: Option<Estimate>) -> [String; 2] {
    estimate.map_or_else(
        || ["none".to_owned(), String::new()],
        |Estimate { value, low, high }| {
            [format!("{:.1}", 100.0 * value), format!("[{:.1}, {:.1}]", 100.0 * low, 100.0 * high)]
        },
    )
}

fn row([method, score, interval, centred, centred_interval, share, behind]: [&str; 7]) -> String {
    let row = format!(
        "{method:<24} {score:>6} {interval:>14} {centred:>16} {centred_interval:>14} {share:>9}  {behind}"
    );
    row.trim_end().to_owned()
}
