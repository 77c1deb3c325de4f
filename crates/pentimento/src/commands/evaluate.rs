//! `pentimento evaluate`: whether scores predict what really happens to networks that are trained on other images.

use super::asked::Asked;
use super::tables::check;
use super::{print, removal};
use crate::arguments::{EvaluateArguments, EvaluateCommand};
use crate::error::ProgramError;
use crate::progress::say;
use anyhow::Result;
use pentimento_attribution::methods::Method;
use pentimento_evaluation::datamodelling::{Ceiling, Datamodelling, PredictedAgainstMeasured};
use pentimento_evaluation::statistics::linear_datamodelling::{
    HeldOutChoice, LinearDatamodellingScore, NoiseCeiling,
};
use pentimento_evaluation::statistics::{Estimate, IntervalSettings};
use pentimento_run::bank::Bank;
use pentimento_run::data::coded_data_if_trained;
use pentimento_run::evaluate::{
    ArraysToJudge, EvaluationSettings, Judged, JudgedDampings, JudgedSet, MethodRetrieved, PAGE, TARGETS,
    evaluate, evaluate_retrieval, judge_arrays,
};
use pentimento_run::gradients::{Queries, QuerySet, Subject, TrainingImages};
use pentimento_run::scores::usual_method;
use pentimento_run::words::counted;
use pentimento_run::{Networks, RunError, RunOptions, Workspace};
use std::path::Path;

/// Judges what was asked and prints a table.
pub(super) fn run(arguments: EvaluateArguments, options: RunOptions) -> Result<()> {
    let EvaluateArguments {
        instead,
        run,
        bank,
        bank_seed,
        method,
        classifier,
        query,
        dampings,
        draws,
        time: _,
    } = arguments;
    match instead {
        Some(EvaluateCommand::Lds { scores, masks, outcomes }) => {
            return of_arrays(&ArraysToJudge { scores, masks, outcomes });
        }
        Some(EvaluateCommand::Retrieval { run, sources, query, method, classifier }) => {
            return retrieval(&run, &sources, query, &Asked::of(&method, classifier)?, options);
        }
        Some(EvaluateCommand::Removal(arguments)) => return removal::of_many(arguments, options),
        None => {}
    }
    let (Some(run), Some(bank)) = (run, bank) else { return Err(ProgramError::NothingToEvaluate.into()) };
    let asked = Asked::of(&method, classifier)?;
    asked.refuse_codes("it writes no table of scores")?;
    let bank = Bank::open(&bank, bank_seed, options.clone())?;
    let workspace = &Workspace::open(&run, options)?;
    let data = coded_data_if_trained(workspace)?;
    let networks = &Networks::open(workspace, data.as_ref())?;
    let training = &TrainingImages::open(workspace, networks)?;
    let subject = &Subject::new(workspace, networks, training);
    let methods = if asked.is_empty() { compared_methods(workspace, networks) } else { asked.tables() };
    let generated = workspace.recipe.samples.count;
    let by_default = query.is_empty();
    let sets = if by_default { vec![QuerySet::Samples, QuerySet::HeldOut(generated)] } else { query };
    let mut queries: Vec<Queries> = Vec::new();
    for set in sets {
        // A set that is named twice is judged once.
        if queries.iter().any(|opened| opened.set.name() == set.name()) {
            continue;
        }
        check(subject, &methods, &asked, &set)?;
        let is_held_out = matches!(set, QuerySet::HeldOut(_));
        match set.make_and_open(subject) {
            // Many sets have but one split.
            Err(RunError::Data(error)) if by_default && is_held_out => {
                say(&format!("note: only samples are asked about, as there are no held-out images: {error}"));
            }
            opened => queries.push(opened?),
        }
    }
    let settings = EvaluationSettings { draws: draws as usize, dampings, ..EvaluationSettings::default() };
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

fn retrieval(run: &Path, sources: &Path, query: QuerySet, asked: &Asked, options: RunOptions) -> Result<()> {
    asked.refuse_codes("it writes no table of scores")?;
    let workspace = &Workspace::open(run, options)?;
    let data = coded_data_if_trained(workspace)?;
    let networks = &Networks::open(workspace, data.as_ref())?;
    let training = &TrainingImages::open(workspace, networks)?;
    let subject = &Subject::new(workspace, networks, training);
    let methods = if asked.is_empty() { compared_methods(workspace, networks) } else { asked.tables() };
    check(subject, &methods, asked, &query)?;
    let queries = query.make_and_open(subject)?;
    let (classifier, interval) = (asked.classifier.as_deref(), IntervalSettings::default());
    let found = evaluate_retrieval(subject, &queries, &methods, classifier, sources, interval)?;
    let left_out = match found.without_sources {
        0 => String::new(),
        count => format!("; {count} without known sources left out"),
    };
    print(&format!(
        "{} ({}) with {} among {}{left_out}; sources among the first, in %",
        counted(found.names.len(), "query"),
        found.queries,
        counted(found.sources, "source"),
        counted(found.images, "training image")
    ))?;
    for MethodRetrieved { method, retrieved } in &found.methods {
        let at: Vec<String> = retrieved
            .at
            .iter()
            .map(|at| {
                let [value, interval] = estimate(Some(at.precision));
                format!("first {}: {value} {interval} of at most {:.1}", at.first, 100.0 * at.most)
            })
            .collect();
        let [rank, interval] = estimate(Some(retrieved.reciprocal_rank));
        print(&format!("{method:<24} {}; reciprocal rank {rank} {interval}", at.join("; ")))?;
    }
    if let Some(at) = found.methods.first().and_then(|method| method.retrieved.at.first()) {
        print(&format!("by chance: {:.1}", 100.0 * at.by_chance))?;
    }
    Ok(())
}

/// The methods that are held against each other if none is named: the usual one, some that are well known, and controls. All can
/// be asked about any query, and need no file beside the run.
fn compared_methods(workspace: &Workspace, networks: &Networks<'_>) -> Vec<Method> {
    let usual = usual_method(&workspace.recipe, networks.architecture.parameter_count());
    let others = ["d-trak", "das", "trak", "influence", "pixel-cosine", "random"];
    let others = others.into_iter().filter_map(Method::named).filter(|&method| method != usual);
    std::iter::once(usual).chain(others).collect()
}

fn print_set(set: &JudgedSet) -> Result<()> {
    for (place, target) in TARGETS.into_iter().enumerate() {
        print("")?;
        print(&format!(
            "{} ({}), {target}: linear datamodelling score in %",
            counted(set.names.len(), "query"),
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
        for judged in set.dampings.iter().filter(|judged| judged.target == target) {
            print(&damping_line(judged))?;
        }
        if let Some(ceiling) = set.ceilings.get(place) {
            print(&ceiling_line(ceiling))?;
        }
    }
    Ok(())
}

fn damping_line(judged: &JudgedDampings) -> String {
    let percent = |score: f64| format!("{:.1}", 100.0 * score);
    let HeldOutChoice { score, best_setting, best_score, scores, .. } = &judged.choice;
    let factor = judged.factors.get(*best_setting).copied().unwrap_or(1.0);
    let curve: Vec<String> = judged
        .factors
        .iter()
        .zip(scores)
        .map(|(factor, score)| format!("{factor:e}: {}", score.map_or("none".into(), percent)))
        .collect();
    format!(
        "{}: {} with its own damping; {} with one that was chosen on half of the subsets, on the other; the best, {factor:e} times its own, \
         would give {} ({})",
        judged.method,
        judged.own.map_or("none".into(), percent),
        percent(*score),
        percent(*best_score),
        curve.join(", ")
    )
}

fn of_arrays(files: &ArraysToJudge) -> Result<()> {
    let (judged, ceiling) = judge_arrays(files, IntervalSettings::default())?;
    let line = |what: &str, score: &LinearDatamodellingScore| {
        let [value, interval] = estimate(score.mean);
        let undefined = match score.undefined {
            0 => String::new(),
            count => format!(
                "; {} left out, as outcomes or sums of scores are the same for all subsets",
                counted(count, "query")
            ),
        };
        let share = score.significant_share.map_or(0.0, |share| 100.0 * share);
        format!(
            "{what}: {value} % {interval}, {}, {share:.0} % of them with p < 0.05{undefined}",
            counted(score.defined, "query")
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
