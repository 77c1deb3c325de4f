//! What is asked by gradients: `attribute` of any network, and `report` and `run` of an imported one.

use super::{Asked, print};
use crate::error::ProgramError;
use crate::progress::say;
use anyhow::Result;
use pentimento_attribution::gradient::CandidateQuality;
use pentimento_attribution::methods::Method;
use pentimento_attribution::scores::top;
use pentimento_run::RunError;
use pentimento_run::analyse::sample;
use pentimento_run::gradients::{Queries, QuerySet, ScoreTable, Subject, TrainingImages};
use pentimento_run::scores::{check, score};
use pentimento_run::words::counted;
use pentimento_run::{Networks, Workspace, imported_report};

/// Training images of each list that `run` prints.
const PRINTED: usize = 5;

/// Scores every training image of an imported network for every query, writes the scores and prints the first ones.
pub(super) fn attribute(workspace: &Workspace, asked: &Asked, set: QuerySet, count: usize) -> Result<()> {
    refuse_codes(asked)?;
    let networks = Networks::imported(workspace)?;
    let training = TrainingImages::open(workspace, &networks)?;
    attribute_subject(&Subject { workspace, networks: &networks, training: &training }, asked, set, count)
}

/// Scores every training image of an ensemble by gradients of all its members.
pub(super) fn attribute_members(
    workspace: &Workspace,
    networks: &Networks<'_>,
    asked: &Asked,
    set: QuerySet,
    count: usize,
) -> Result<()> {
    if asked.tables().is_empty() {
        return Ok(());
    }
    let training = TrainingImages::open(workspace, networks)?;
    attribute_subject(&Subject { workspace, networks, training: &training }, asked, set, count)
}

fn attribute_subject(subject: &Subject<'_>, asked: &Asked, set: QuerySet, count: usize) -> Result<()> {
    check_all(subject, asked, &set)?;
    let queries = set.open(subject)?;
    for table in tables(subject, asked, &queries) {
        let table = table?;
        print_scores(subject, &table, count)?;
        let file = table.write(subject.workspace, &queries.set.name())?;
        print(&format!("{}", subject.workspace.run.root().join(file).display()))?;
    }
    Ok(())
}

/// Refuses what cannot be done before anything is computed.
fn check_all(subject: &Subject<'_>, asked: &Asked, set: &QuerySet) -> Result<()> {
    for method in asked.tables() {
        check(subject, set, method, asked.classifier.as_deref())?;
    }
    let (wanted, draws) = (subject.workspace.recipe.gradients, subject.draws());
    if (draws.timesteps, draws.groups) != (wanted.timesteps, wanted.groups) {
        say(&format!(
            "note: the schedule has {} timesteps: {} groups of {} instead of {} of {}",
            subject.workspace.recipe.schedule.num_train_timesteps,
            draws.groups,
            draws.timesteps,
            wanted.groups,
            wanted.timesteps
        ));
    }
    Ok(())
}

/// The scores of all methods that were named, or of the default, one after another.
fn tables<'a>(
    subject: &'a Subject<'_>,
    asked: &'a Asked,
    queries: &'a Queries,
) -> impl Iterator<Item = Result<ScoreTable, RunError>> + 'a {
    let mut methods = asked.tables();
    if methods.is_empty() {
        methods.push(Method::DEFAULT);
    }
    methods.into_iter().map(|method| score(subject, queries, method, asked.classifier.as_deref()))
}

fn print_scores(subject: &Subject<'_>, table: &ScoreTable, count: usize) -> Result<()> {
    let training = subject.training;
    let parameters = subject.networks.architecture.parameter_count();
    let details = table.gradients();
    if let Some(taken) = table.taken() {
        let networks =
            if taken.networks > 1 { format!(" of {} networks", taken.networks) } else { String::new() };
        let (checkpoints, draws) = match details.and_then(|details| details.followed.as_ref()) {
            None => (String::new(), format!("{} draws of each image", taken.draws)),
            Some(followed) => (
                match followed.checkpoints.len() {
                    1 => String::new(),
                    count => format!(" at {count} checkpoints"),
                },
                match followed.events {
                    None => format!("{} draws of each image", taken.draws),
                    Some(events) => format!(
                        "{} draws of each query and {events} events of training, at most {} of an image and checkpoint",
                        taken.draws, taken.draws
                    ),
                },
            ),
        };
        print(&format!(
            "{}: gradients in {parameters} of {parameters} parameters (100 %){networks}{checkpoints}, {draws}",
            table.method.title
        ))?;
    } else {
        print(&format!("{}: {}", table.method.title, table.method.meaning))?;
    }
    for (query, values) in table.scores.iter().enumerate() {
        let first = top(values, count + 1);
        let list: Vec<String> = first
            .iter()
            .take(count)
            .enumerate()
            .map(|(rank, &image)| {
                let index = training.images.source_indices()[image];
                let label = training.label_of(image);
                let label = if label.is_empty() { label } else { format!("{label} ") };
                let reach =
                    table.reach(query, image).map_or(String::new(), |reach| format!(" \u{b1} {reach:.1e}"));
                let ties = |other: Option<&usize>| {
                    other
                        .and_then(|&other| {
                            table.spread.is_tie(query, values, |scores| scores[image], |scores| scores[other])
                        })
                        .unwrap_or(false)
                };
                let mark = if ties(first.get(rank + 1)) { " ~" } else { "" };
                format!("{index} {label}({:+.3e}{reach}){mark}", values[image])
            })
            .collect();
        print(&format!("{}: {}", table.titles[query], list.join(", ")))?;
    }
    if let (Some(reliability), Some(taken)) = (table.spread.reliability(&table.scores), table.taken()) {
        let more = match table.spread.recommended_factor(&table.scores) {
            Some(factor) if taken.draws as f64 * factor <= taken.most_draws as f64 => {
                format!("; at most {:.0} would make it 90 %", (taken.draws as f64 * factor).ceil())
            }
            Some(_) => format!("; even all {} that the schedule has may not make it 90 %", taken.most_draws),
            None => String::new(),
        };
        print(&format!(
            "with {} draws, at least {:.0} % of what tells training images apart is no noise of the draws{more} (\u{b1}: 95 % \
             intervals; ~: the order with the next, by itself, is not established)",
            taken.draws,
            100.0 * reliability
        ))?;
    }
    let several = table.taken().is_some_and(|taken| taken.networks > 1);
    if let Some(influence) = table.influence() {
        let [least, middle, most] = influence.dampings;
        let of = if several { " of the first network" } else { "" };
        print(&format!(
            "{}; curvature{of} from {} with {} draws each; damping {middle:.1e} (blocks: {least:.1e} to {most:.1e}), {}",
            table.method.meaning,
            counted(influence.curvature_images, "image"),
            influence.curvature_draws,
            influence.damping_rule
        ))?;
    }
    if let Some(candidates) = table.candidates() {
        print(&approximation(candidates))?;
    }
    if let Some((details, projection)) = details.and_then(|details| Some((details, details.projection?))) {
        print(&format!(
            "the projection to {} numbers keeps the order of scores with a rank correlation of {:.2} (measured on {} \
             and {})",
            details.taken.dimension,
            projection.rank_agreement,
            counted(projection.images, "image"),
            match projection.queries {
                1 => "1 query".into(),
                count => format!("{count} queries"),
            }
        ))?;
    }
    for (number, damping) in
        table.dampings().iter().enumerate().filter(|(_, damping)| damping.is_near_cliff())
    {
        let of = if several { format!(" of network {number}") } else { String::new() };
        if let Some((from, to, agreement)) = damping.cliff() {
            say(&format!(
                "warning: the damping {:.2e}{of} is near a cliff: between {from:.2e} and {to:.2e} the order of the images \
                 changes (rank correlation {agreement:.2})",
                damping.taken
            ));
        }
    }
    Ok(())
}

/// What scores of candidates only are worth.
fn approximation(found: &CandidateQuality) -> String {
    let interval = found.interval.map_or(String::new(), |[low, high]| {
        format!(", 95 % interval {:.0} to {:.0} %", 100.0 * low, 100.0 * high)
    });
    format!(
        "approximation: only the {} training images that look most like each query were scored; measured on {} and {}, as large \
         a share of the images held {:.0} % of the first {} of full scores{interval}",
        found.candidates,
        match found.queries {
            1 => "1 query".into(),
            count => format!("{count} queries"),
        },
        counted(found.images, "training image"),
        100.0 * found.kept,
        found.places
    )
}

/// Writes the page and prints where it is.
pub(super) fn report(workspace: &Workspace, asked: &Asked, set: QuerySet) -> Result<()> {
    refuse_codes(asked)?;
    let networks = Networks::imported(workspace)?;
    let training = TrainingImages::open(workspace, &networks)?;
    let subject = Subject { workspace, networks: &networks, training: &training };
    check_all(&subject, asked, &set)?;
    let queries = set.open(&subject)?;
    let tables: Vec<ScoreTable> = tables(&subject, asked, &queries).collect::<Result<_, RunError>>()?;
    let path = imported_report::report(&subject, &queries, &tables)?;
    print(&format!("{}", path.display()))?;
    Ok(())
}

/// Samples and, if the recipe has training images, their attribution and the page.
pub(super) fn everything(workspace: &Workspace) -> Result<()> {
    sample(workspace, &Networks::imported(workspace)?)?;
    if !workspace.recipe.data.has_source() {
        print(&format!("{}", workspace.run.root().join("samples").display()))?;
        return Ok(());
    }
    let networks = Networks::imported(workspace)?;
    let training = TrainingImages::open(workspace, &networks)?;
    let subject = Subject { workspace, networks: &networks, training: &training };
    let queries = QuerySet::Samples.open(&subject)?;
    let table = score(&subject, &queries, Method::DEFAULT, None)?;
    print_scores(&subject, &table, PRINTED)?;
    table.write(workspace, &queries.set.name())?;
    let path = imported_report::report(&subject, &queries, &[table])?;
    print(&format!("{}", path.display()))?;
    Ok(())
}

fn refuse_codes(asked: &Asked) -> Result<(), ProgramError> {
    let names: Vec<String> = Method::names_of_tables().iter().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    asked.refuse_codes(&format!(
        "it needs an ensemble that was trained with codes; an imported network has {names}"
    ))
}
