//! `pentimento attribute`: what codes tell of an ensemble's samples, and tables of scores of any training images.

use super::asked::Asked;
use super::score_lines::print_scores;
use super::{attribute, print};
use crate::progress::say;
use anyhow::Result;
use pentimento_attribution::gradient::FIRST_GROUPS;
use pentimento_attribution::methods::Method;
use pentimento_run::data::coded_data_if_trained;
use pentimento_run::gradients::{Queries, QuerySet, ScoreTable, Subject, TrainingImages};
use pentimento_run::{Networks, RunError, Workspace, analyse, scores};

/// Does what was asked, writes it and prints the first groups or images of every query. Without a method, an ensemble's
/// samples are attributed by their codes, and anything else is scored by the usual method.
pub(super) fn attribute(workspace: &Workspace, asked: &Asked, set: QuerySet, count: usize) -> Result<()> {
    asked.check_codes(&workspace.recipe.origin, &set)?;
    let data = coded_data_if_trained(workspace)?;
    let networks = &Networks::open(workspace, data.as_ref())?;
    let by_codes = data.as_ref().filter(|_| set == QuerySet::Samples);
    if let Some(data) = by_codes.filter(|_| asked.is_empty() || asked.codes().next().is_some()) {
        analyse::attribute(workspace, data, networks)?;
        for method in asked.codes() {
            attribute::scores(workspace, data, networks, method, count)?;
        }
    }
    let methods = match by_codes {
        Some(_) => asked.tables(),
        None => asked.tables_or_usual(workspace, networks),
    };
    if methods.is_empty() {
        return Ok(());
    }
    let training = &TrainingImages::open(workspace, networks)?;
    let subject = &Subject::new(workspace, networks, training);
    check(subject, &methods, asked, &set)?;
    let queries = set.make_and_open(subject)?;
    for table in tables(subject, &methods, asked, &queries) {
        let table = table?;
        let parameters = networks.architecture.parameter_count();
        print_scores(&table, training, &workspace.recipe, parameters, count)?;
        let file = table.write(workspace, &queries.set.name())?;
        print(&format!("{}", workspace.run.root().join(file).display()))?;
    }
    Ok(())
}

/// Refuses what cannot be done before anything is computed.
pub(super) fn check(subject: &Subject<'_>, methods: &[Method], asked: &Asked, set: &QuerySet) -> Result<()> {
    for &method in methods {
        scores::check(subject, set, method, asked.classifier.as_deref())?;
    }
    let (wanted, draws) = (subject.workspace.recipe.gradients, subject.draws());
    let groups = wanted.groups.unwrap_or(FIRST_GROUPS);
    if (draws.timesteps, draws.groups) != (wanted.timesteps, groups) {
        say(&format!(
            "note: the schedule has {} timesteps: {} groups of {} instead of {} of {}",
            subject.workspace.recipe.schedule.num_train_timesteps,
            draws.groups,
            draws.timesteps,
            groups,
            wanted.timesteps
        ));
    }
    Ok(())
}

/// The scores by some methods, one after another.
pub(super) fn tables<'a>(
    subject: &'a Subject<'_>,
    methods: &'a [Method],
    asked: &'a Asked,
    queries: &'a Queries,
) -> impl Iterator<Item = Result<ScoreTable, RunError>> + 'a {
    let classifier = asked.classifier.as_deref();
    methods.iter().map(move |&method| scores::score(subject, queries, method, classifier))
}
