//! `pentimento report`, and `run`, which ends with it.

use super::asked::Asked;
use super::score_lines::print_scores;
use super::tables::{check, tables};
use super::{print, summary};
use anyhow::Result;
use pentimento_run::data::coded_data_if_trained;
use pentimento_run::everything::{Finished, Scored};
use pentimento_run::gradients::{QuerySet, ScoreTable, Subject, TrainingImages};
use pentimento_run::page::{Reported, report_scores};
use pentimento_run::{Networks, RunError, Workspace, page};

/// Training images of each list that `run` prints.
const PRINTED: usize = 5;

/// Writes the page and prints the main figures, if it has any, and where it is. The page of an ensemble's samples shows scores
/// only by methods that are named; any other shows at least those by the usual one.
pub(super) fn report(workspace: &Workspace, asked: &Asked, set: QuerySet) -> Result<()> {
    asked.check_codes(&workspace.recipe.origin, &set)?;
    asked.refuse_codes("the page of an ensemble shows what its codes tell without being asked")?;
    let data = coded_data_if_trained(workspace)?;
    let networks = &Networks::open(workspace, data.as_ref())?;
    if let Some(data) = data.as_ref().filter(|_| asked.is_empty() && set == QuerySet::Samples) {
        return print_report(&page::report(workspace, data, networks)?);
    }
    let training = &TrainingImages::open(workspace, networks)?;
    let subject = &Subject::new(workspace, networks, training);
    let methods = asked.tables_or_usual(workspace, networks);
    check(subject, &methods, asked, &set)?;
    let queries = set.make_and_open(subject)?;
    let tables: Vec<ScoreTable> =
        tables(subject, &methods, asked, &queries).collect::<Result<_, RunError>>()?;
    print_report(&report_scores(subject, &queries, &tables)?)
}

/// All stages; what is there already is not made again.
pub(super) fn everything(workspace: &Workspace) -> Result<()> {
    let Finished { scores, page } = pentimento_run::everything::everything(workspace)?;
    if let Some(Scored { table, training, parameters }) = &scores {
        print_scores(table, training, &workspace.recipe, *parameters, PRINTED)?;
    }
    match page {
        Some(page) => print_report(&page),
        None => Ok(print(&format!("{}", workspace.run.root().join("samples").display()))?),
    }
}

fn print_report(Reported { path, figures }: &Reported) -> Result<()> {
    for line in figures.iter().flat_map(summary::lines) {
        print(&line)?;
    }
    print(&format!("{}", path.display()))?;
    Ok(())
}
