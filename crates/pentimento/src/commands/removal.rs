//! `pentimento verify-removal` and `pentimento evaluate removal`: what becomes of pictures if networks are trained again without
//! the images that a method names.

use super::asked::Asked;
use super::print;
use super::tables::check;
use crate::arguments::{RemovalArguments, RetrainedRun, VerifyRemovalArguments};
use anyhow::Result;
use pentimento_run::gradients::{QuerySet, Subject, TrainingImages};
use pentimento_run::page::{report_removal, report_removal_of_many};
use pentimento_run::removal::{
    AskedImage, Effect, PooledRemoval, PooledSettings, RemovedForMany, Retraining, VerifiedRemoval,
    removal_of_many, the_only_method, verify_removal,
};
use pentimento_run::{Networks, RunOptions, Workspace};

/// One query without the images that a method names for it.
pub(super) fn verify(arguments: VerifyRemovalArguments, options: RunOptions) -> Result<()> {
    let VerifyRemovalArguments { retrained, method, query, from, class, top } = arguments;
    let RetrainedRun { run, bank, classifier, draws } = retrained;
    let set = from.told(class, None)?;
    let mut asked = Asked::of(&Vec::from_iter(method), None)?;
    asked.refuse_codes("it writes no table of scores")?;
    asked.classifier = classifier;
    let workspace = &Workspace::open(&run, options.clone())?;
    let method = match asked.tables().first() {
        Some(&method) => method,
        None => the_only_method(workspace, &set)?,
    };
    with_subject(workspace, |subject| {
        let retraining = Retraining::open(subject, &bank, options)?;
        check(subject, &[method], &asked, &set)?;
        let queries = set.make_and_open(subject)?;
        let question = AskedImage {
            query: &query,
            method,
            count: top as usize,
            classifier: asked.classifier.as_deref(),
            draws: draws as usize,
        };
        let found = verify_removal(subject, &retraining, &queries, question)?;
        print_one(&found.found)?;
        print(&format!("{}", report_removal(subject, &queries, &found)?.display()))?;
        Ok(())
    })
}

/// Many samples without the images that methods name for them.
pub(super) fn of_many(arguments: RemovalArguments, options: RunOptions) -> Result<()> {
    let RemovalArguments { retrained, method, queries, controls, top } = arguments;
    let RetrainedRun { run, bank, classifier, draws } = retrained;
    let mut asked = Asked::of(&method, None)?;
    asked.refuse_codes("it writes no table of scores")?;
    asked.classifier = classifier;
    let workspace = &Workspace::open(&run, options.clone())?;
    let settings = PooledSettings {
        targets: queries as usize,
        controls: controls as usize,
        top: top.map(|top| top as usize),
        draws: draws as usize,
    };
    with_subject(workspace, |subject| {
        let retraining = Retraining::open(subject, &bank, options)?;
        settings.check_samples(workspace)?;
        let methods = asked.tables_or_usual(workspace, subject.networks);
        check(subject, &methods, &asked, &QuerySet::Samples)?;
        let samples = QuerySet::Samples.make_and_open(subject)?;
        let classifier = asked.classifier.as_deref();
        let found = removal_of_many(subject, &retraining, &samples, &methods, classifier, settings)?;
        print_many(&found)?;
        print(&format!("{}", report_removal_of_many(workspace, &found)?.display()))?;
        Ok(())
    })
}

/// The network of a run and the images that it is said to be trained on; ensembles are refused by whoever trains again.
fn with_subject(workspace: &Workspace, work: impl FnOnce(&Subject<'_>) -> Result<()>) -> Result<()> {
    let data = pentimento_run::data::coded_data_if_trained(workspace)?;
    let networks = &Networks::open(workspace, data.as_ref())?;
    let training = &TrainingImages::open(workspace, networks)?;
    work(&Subject::new(workspace, networks, training))
}

fn print_statements(behaviour: &str, intervention: &str, training_process: &str) -> Result<()> {
    print(&format!("behaviour: {behaviour}"))?;
    print(&format!("intervention: {intervention}"))?;
    print(&format!("training process: {training_process}"))?;
    Ok(())
}

fn print_one(found: &VerifiedRemoval) -> Result<()> {
    print_statements(&found.behaviour, &found.intervention, &found.training_process)?;
    print("")?;
    print(&format!("{}, whose loss is {:.5} with all images", found.title, found.loss))?;
    let line =
        |by: &str, loss: &str, image: &str| format!("{by:<24} {loss:>18} {image:>19}").trim_end().to_owned();
    let has_images = found.rows.iter().any(|row| row.image_change.is_some());
    print(&line("removed by", "change of the loss", if has_images { "change of the image" } else { "" }))?;
    for row in &found.rows {
        let image = row.image_change.map_or(String::new(), |change| format!("{change:.3}"));
        print(&line(row.method, &format!("{:+.3e}", row.loss_change), &image))?;
    }
    print("")?;
    print(&found.headline)?;
    print(VerifiedRemoval::CAUTION)?;
    Ok(())
}

fn print_many(found: &PooledRemoval) -> Result<()> {
    print_statements(&found.behaviour, &found.intervention, &found.training_process)?;
    for (what, of) in RemovedForMany::MEASURED {
        print("")?;
        print(&format!(
            "{what}, mean of {} targets and of {} controls",
            found.targets.len(),
            found.controls.len()
        ))?;
        print(&of_many_line(["removed by", "targets", "controls", "area under curve", "p"]))?;
        for row in &found.rows {
            let Effect { mean_of_targets, mean_of_controls, test, .. } = of(row);
            print(&of_many_line([
                row.method,
                &format!("{mean_of_targets:+.3e}"),
                &format!("{mean_of_controls:+.3e}"),
                &format!("{:.3}", test.area_under_curve),
                &p_value(test.p_value),
            ]))?;
        }
        for row in &found.rows {
            for comparison in of(row).comparisons(row.method) {
                print(&comparison)?;
            }
        }
    }
    print("")?;
    print(&found.headline)?;
    print(PooledRemoval::CAUTION)?;
    Ok(())
}

fn of_many_line([by, targets, controls, area, p_value]: [&str; 5]) -> String {
    format!("{by:<24} {targets:>11} {controls:>11} {area:>17} {p_value:>9}").trim_end().to_owned()
}

fn p_value(value: f64) -> String {
    if value < 1e-3 { format!("{value:.1e}") } else { format!("{value:.3}") }
}
