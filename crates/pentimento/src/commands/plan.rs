//! `pentimento plan`: what a recipe will cost on this machine.

use super::asked::Asked;
use super::print;
use crate::error::ProgramError;
use crate::plan::situation::is_here;
use crate::plan::size::MEBIBYTE;
use crate::plan::{Plan, PlanRequest};
use anyhow::Result;
use pentimento_run::analyse::sampling_forecast;
use pentimento_run::bank::{BankData, BankTraining};
use pentimento_run::data::CodedData;
use pentimento_run::forecast::{Forecast, MoreDraws};
use pentimento_run::gradients::{QuerySet, Subject, TrainingImages};
use pentimento_run::page::machine;
use pentimento_run::recipe::{Origin, Recipe};
use pentimento_run::words::{human_duration, mebibytes};
use pentimento_run::{Networks, RunOptions, Workspace, scores};
use std::path::Path;
use std::time::Duration;

/// Prints the forecast of a run.
pub(super) fn print_plan(
    recipe: &Recipe,
    folder: &Path,
    options: &RunOptions,
    memory_limit: Option<u64>,
) -> Result<()> {
    let plan = Plan::make(&PlanRequest { recipe, folder, options, memory_limit, stop: &options.stop })?;
    for line in lines(&plan, recipe, folder, memory_limit) {
        print(&line)?;
    }
    Ok(())
}

/// Prints the forecast of scores by some methods.
pub(super) fn print_forecasts(workspace: &Workspace, asked: &Asked, set: QuerySet) -> Result<()> {
    asked.refuse_codes(
        "what an ensemble tells by its codes is in the plan of its recipe, without `--method`",
    )?;
    let Workspace { recipe, options, .. } = workspace;
    let data = match &recipe.origin {
        Origin::Trained(_) => Some(CodedData::open(recipe, options)?),
        Origin::Imported(_) | Origin::Bank(_) => None,
    };
    let networks = &Networks::open(workspace, data.as_ref())?;
    let (training, mut forecasts) = TrainingImages::open_or_stand_in(workspace, networks)?;
    let subject = &Subject::new(workspace, networks, &training);
    if set == QuerySet::Samples {
        forecasts.push(sampling_forecast(workspace, networks)?);
    }
    let queries = set.clone().open_or_stand_in(subject)?;
    for method in asked.tables_or_usual(workspace, networks) {
        scores::check(subject, &set, method, None)?;
        forecasts.push(scores::forecast(subject, &queries, method)?);
    }
    print_rows("scores by", &forecasts)?;
    print(
        "each by itself: what one method makes, others that need the same find; forecast from a few gradients taken now",
    )?;
    print(&format!("calibrated on: {}", machine()))?;
    Ok(())
}

/// Prints the forecast of a bank.
pub(super) fn print_bank(recipe: Recipe, folder: &Path, options: RunOptions) -> Result<()> {
    if let (Some(set), false) = (recipe.data.set, is_here(&recipe.data, &options)?) {
        return Err(ProgramError::NotFetched { set: set.name() }.into());
    }
    // A bank that was not begun has no folder, and a plan makes none.
    let nowhere = tempfile::tempdir()?;
    let workspace = if folder.join("manifest.json").exists() {
        Workspace { recipe, ..Workspace::open_read_only(folder, options)? }
    } else {
        Workspace::for_recipe(nowhere.path(), recipe, options)?
    };
    let data = BankData::open(&workspace.recipe, &workspace.options)?;
    workspace.recipe.check_images(data.shape(), data.class_names.len())?;
    let training = BankTraining::new(&workspace, &data)?;
    print_rows("bank", &[training.stage().forecast()?])?;
    print("forecast from a few steps of one network taken now")?;
    print(&format!("calibrated on: {}", machine()))?;
    Ok(())
}

/// Prints a table of forecasts, whose first column is called `what`.
fn print_rows(what: &str, forecasts: &[Forecast]) -> Result<()> {
    let row = |[name, time, memory, work]: [&str; 4]| format!("{name:<24} {time:>13} {memory:>10}  {work}");
    print(&row([what, "time", "memory", "work"]))?;
    let duration =
        |seconds: f64| human_duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    for Forecast { method, work, seconds, memory, more } in forecasts {
        let time = duration(*seconds);
        let (time, work) = if work.is_empty() { ("", "nothing that takes long") } else { (&*time, &**work) };
        let more = more.map_or(String::new(), |MoreDraws { draws, seconds }| {
            format!("; up to {draws} draws if scores need them: {} in all", duration(seconds))
        });
        print(&row([method, time, &memory.map_or(String::new(), mebibytes), &(work.to_owned() + &more)]))?;
    }
    Ok(())
}

fn lines(plan: &Plan, recipe: &Recipe, folder: &Path, memory_limit: Option<u64>) -> Vec<String> {
    let mut lines =
        vec![format!("recipe {}: {} members, {} samples", recipe.name, plan.members, recipe.samples.count)];
    let remaining = &plan.remaining;
    if !plan.data_is_real {
        lines.push(
            "its images are not in the cache: assumed are as many as the set has, each class equally often; fetching \
             them is not in the forecast"
                .into(),
        );
        if remaining.run_exists {
            lines.push(format!(
                "{} exists, but what of it is finished shows only with the images",
                folder.display()
            ));
        }
    } else if remaining.run_exists {
        lines.push(format!(
            "{} has {} of {} members, {} of {} samples, {} of them attributed{}; the forecast is of what is missing",
            folder.display(),
            plan.members - remaining.training_steps.len(),
            plan.members,
            recipe.samples.count - remaining.sample_shards.iter().map(Vec::len).sum::<usize>(),
            recipe.samples.count,
            recipe.samples.count - remaining.attribution_shards.iter().map(Vec::len).sum::<usize>(),
            if remaining.report { "" } else { ", and the report" },
        ));
    }
    if recipe.encoders().is_some() {
        lines.push(
            "encoding pictures and captions, and decoding what networks make, is not in the forecast".into(),
        );
    }
    let row = |cells: [&str; 5]| {
        let [stage, work, time, memory, disk] = cells;
        format!("{stage:<32} {work:<24} {time:>13} {memory:>10} {disk:>10}").trim_end().to_string()
    };
    lines.push(row(["stage", "work", "time", "memory", "disk"]));
    let duration = |seconds: f64| human_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let memory = |bytes: Option<u64>| bytes.map_or(String::new(), mebibytes);
    let disk = |bytes: u64| {
        if bytes > 0 { format!("{:.1} MiB", bytes as f64 / MEBIBYTE as f64) } else { String::new() }
    };
    for stage in &plan.stages {
        let time = if stage.work.is_empty() { String::new() } else { duration(stage.time.seconds) };
        let work = if stage.work.is_empty() { "there already" } else { &stage.work };
        lines.push(row([stage.name, work, &time, &memory(stage.memory), &disk(stage.disk)]));
    }
    let time = plan.time();
    lines.push(row(["all", "", &duration(time.seconds), &memory(plan.memory()), &disk(plan.disk())]));
    lines.push(format!(
        "time: {:.0} % either way by the spread of {} rounds of calibration, if the machine stays as busy as it is now",
        200.0 * time.error / time.seconds.max(1e-9),
        plan.rounds
    ));
    // Opening the data is no work that a batch or a limit matters to.
    let nothing_left = plan.stages.iter().all(|stage| stage.name == "data" || stage.work.is_empty());
    if plan.memory().is_none() && !nothing_left {
        lines.push("memory: this system does not tell how much a process holds".into());
    }
    if !remaining.training_steps.is_empty() {
        lines.push(format!(
            "disk: of the finished run; each member in training takes another {}",
            mebibytes(plan.training_state_bytes)
        ));
    }
    lines.push(match memory_limit {
        Some(_) if nothing_left => "batch: nothing is left to compute, so any limit will do".into(),
        Some(limit) => {
            format!("batch: {} keeps within {}: run with `--batch {0}`", plan.batch, mebibytes(limit))
        }
        None => format!("batch: {}", plan.batch),
    });
    lines.push(format!("calibrated on: {}", machine()));
    lines
}
