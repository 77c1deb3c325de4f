//! `pentimento scores`: what `attribute` wrote, to look at and to take elsewhere.

use super::print;
use crate::error::ProgramError;
use crate::progress::say;
use anyhow::{Context, Result};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor as _;
use pentimento_attribution::methods::Method;
use pentimento_run::data::CodedData;
use pentimento_run::gradients::{QuerySet, SAMPLES, TrainingImages, images_digest, made_with_digest};
use pentimento_run::recipe::Origin;
use pentimento_run::{MadeBy, RunError};
use pentimento_run::{Networks, Workspace};
use pentimento_store::Run;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// What is printed.
pub(super) struct Shown {
    /// One query, or all.
    pub of: Option<String>,
    /// Training images of each.
    pub top: usize,
    /// Those with the smallest scores.
    pub bottom: bool,
}

/// A pair of a query and a training image.
struct Row {
    query: String,
    image: i64,
    rank: i64,
    score: f64,
    interval: Option<[f64; 2]>,
}

/// Prints or exports the scores of one method.
pub(super) fn scores(
    workspace: &Workspace,
    method: Option<&str>,
    set: &QuerySet,
    shown: &Shown,
    export: Option<&Path>,
) -> Result<()> {
    let (run, folder) = (&workspace.run, workspace.run.root());
    let there = QuerySets::of(run);
    let set = there.kept_as(set);
    let method = method_of(&there, folder, method, &set)?;
    let object = |ending: &str| format!("scores/{}/{method}.{ending}", set.name);
    say_if_images_changed(workspace, &object("json"), &set, &method)?;
    if let Some(file) = export {
        if file.exists() {
            return Err(ProgramError::Occupied { folder: file.display().to_string() }.into());
        }
        return write(run, file, object);
    }
    let rows = read(run, &object("parquet"), shown.of.as_deref())?;
    if rows.is_empty() {
        let names = Description::read(run, &object("json"))?.query;
        return Err(ProgramError::NoSuch {
            what: "query".into(),
            value: shown.of.clone().unwrap_or_default(),
            bound: format!(
                "the scores by `{method}` asked about {} are of {}; leave out `--of` to see them all{}",
                set.asked,
                first_of(&names),
                there.others(&set).map_or(String::new(), |others| format!("; {others}"))
            ),
        }
        .into());
    }
    print(&format!("{method}, asked about {}", set.asked))?;
    for mut rows in rows {
        rows.sort_by_key(|row| if shown.bottom { -row.rank } else { row.rank });
        let list = rows.iter().take(shown.top).map(|row| {
            let interval =
                row.interval.map_or(String::new(), |[low, high]| format!(" [{low:+.3e}, {high:+.3e}]"));
            format!("  {}. {} {:+.3e}{interval}", row.rank, row.image, row.score)
        });
        print(&format!("query {}, rank, training image, score:", rows[0].query))?;
        for line in list {
            print(&line)?;
        }
    }
    if let Some(others) = there.others(&set).filter(|_| shown.of.is_none()) {
        say(&format!("note: {others}"));
    }
    Ok(())
}

/// What a table of scores says of itself.
#[derive(serde::Deserialize)]
struct Description {
    /// Who was asked about, as the person said it.
    asked_about: String,
    /// Names of the queries.
    query: Vec<String>,
    /// The training images: [`images_digest`]. Tables of earlier programs do not say.
    #[serde(default)]
    training_images_digest: Option<String>,
    /// Networks, settings and samples: [`made_with_digest`].
    #[serde(default)]
    made_with_digest: Option<String>,
}

impl Description {
    fn read(run: &Run, name: &str) -> Result<Self> {
        serde_json::from_slice(&run.get(name)?).with_context(|| format!("{name} is damaged"))
    }
}

/// A set of queries that scores are kept of.
struct KeptSet {
    /// Its folder in `scores/`.
    name: String,
    /// How it was asked about.
    asked: String,
}

/// All sets that a run keeps scores of: by folder, how they were asked about, and by which methods.
struct QuerySets(BTreeMap<String, (String, BTreeSet<String>)>);

impl QuerySets {
    fn of(run: &Run) -> Self {
        let mut sets = BTreeMap::new();
        for name in run.names() {
            let Some((set, method)) = name
                .strip_prefix("scores/")
                .and_then(|name| name.strip_suffix(".parquet"))
                .and_then(|name| name.split_once('/'))
            else {
                continue;
            };
            // One that is damaged goes by its folder.
            let asked = || {
                Description::read(run, &format!("scores/{set}/{method}.json"))
                    .map_or_else(|_| set.to_owned(), |description| description.asked_about)
            };
            let (_, methods) = sets.entry(set.to_owned()).or_insert_with(|| (asked(), BTreeSet::new()));
            methods.insert(method.to_owned());
        }
        Self(sets)
    }

    /// The set that a person asks for: as in `attribute`, as it was asked about then, or by the folder of its scores.
    fn kept_as(&self, set: &QuerySet) -> KeptSet {
        let (name, asked) = (set.name(), set.to_string());
        if !self.0.contains_key(&name) {
            let same = |(kept, (as_then, _)): &(&String, &(String, _))| **kept == asked || *as_then == asked;
            if let Some((kept, (as_then, _))) = self.0.iter().find(same) {
                return KeptSet { name: kept.clone(), asked: as_then.clone() };
            }
        }
        KeptSet { name, asked }
    }

    /// A sentence on the other sets, if there are any.
    fn others(&self, set: &KeptSet) -> Option<String> {
        let others = self.0.iter().filter(|(name, _)| **name != set.name);
        let others: Vec<String> = others
            .map(|(_, (asked, methods))| {
                let methods: Vec<&str> = methods.iter().map(String::as_str).collect();
                format!("`--query {asked}` by {}", methods.join(", "))
            })
            .collect();
        (!others.is_empty()).then(|| format!("there are scores of {}", others.join("; ")))
    }
}

/// The first of some names.
fn first_of(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(12).map(String::as_str).collect();
    let more = if names.len() > first.len() { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

/// Says so if the training images are others than those that were scored, or cannot be looked at.
fn say_if_images_changed(
    workspace: &Workspace,
    description: &str,
    set: &KeptSet,
    method: &str,
) -> Result<()> {
    let described = Description::read(&workspace.run, description)?;
    if let Some(then) = described.made_with_digest
        && then != made_with_digest(workspace, set.name == SAMPLES)?
    {
        say(&format!(
            "warning: the recipe, the networks or the samples have changed since these scores were made: `{}` makes those of \
             today",
            attribute_again(workspace.run.root(), method, set)
        ));
    }
    let Some(then) = described.training_images_digest else {
        return Ok(());
    };
    let images = match &workspace.recipe.origin {
        Origin::Imported(_) => Networks::imported(workspace)
            .and_then(|networks| TrainingImages::open(workspace, &networks))
            .map(|training| training.images),
        Origin::Trained(_) => {
            CodedData::open(&workspace.recipe, workspace.options.data_from.as_deref(), workspace.reporter())
                .map(|data| data.images)
        }
    };
    let now = images.and_then(|images| images_digest(workspace, &images));
    match now {
        Ok(now) if now == then => {}
        Ok(_) => say(&format!(
            "warning: the training images have changed since these scores were made: `{}` scores those of today",
            attribute_again(workspace.run.root(), method, set)
        )),
        Err(error) => say(&format!(
            "note: the training images cannot be opened, so it is not known whether they are still those of these scores: {}",
            crate::error::message(&error.into())
        )),
    }
    Ok(())
}

fn attribute_again(folder: &Path, method: &str, set: &KeptSet) -> String {
    let query = if set.name == "samples" { String::new() } else { format!(" --query {}", set.asked) };
    format!("pentimento attribute {} --method {method}{query}", folder.display())
}

/// The method that was named, or the only one, or of several the usual one.
fn method_of(sets: &QuerySets, folder: &Path, method: Option<&str>, set: &KeptSet) -> Result<String> {
    let there = sets.0.get(&set.name).map(|(_, methods)| methods);
    let there: BTreeSet<&str> = there.into_iter().flatten().map(String::as_str).collect();
    let list = there.iter().copied().collect::<Vec<_>>().join(", ");
    match (method, there.len()) {
        (Some(method), _) if there.contains(method) => Ok(method.to_owned()),
        (None, 1) => Ok(list),
        (None, 2..) if there.contains(Method::DEFAULT.name) => Ok(Method::DEFAULT.name.to_owned()),
        (None, 2..) => Err(ProgramError::NoSuch {
            what: "a method of that name".into(),
            value: "(none given)".into(),
            bound: format!("there are scores by several; name one of {list} with `--method`"),
        }
        .into()),
        (Some(method), _) if !Method::names_of_tables().contains(&method) => Err(ProgramError::NoSuch {
            what: "table of scores by".into(),
            value: method.into(),
            bound: format!(
                "methods that write one are {}; distances by codes are in scores/jacobian.npy and scores/second-order.npy",
                Method::names_of_tables().join(", ")
            ),
        }
        .into()),
        (method, _) => {
            let of = match (there.is_empty(), sets.others(set)) {
                (false, _) => format!(" (there are those of {list})"),
                (true, Some(others)) => format!(" ({others})"),
                (true, None) => String::new(),
            };
            Err(RunError::Missing {
                what: format!("the table of scores{of}"),
                run: folder.to_path_buf(),
                made_by: MadeBy::Scores {
                    method: method.map(str::to_owned),
                    query: (set.name != SAMPLES).then(|| set.asked.clone()),
                },
            }
            .into())
        }
    }
}

/// The rows of each query.
fn read(run: &Run, name: &str, of: Option<&str>) -> Result<Vec<Vec<Row>>> {
    let damaged = || format!("{name} is damaged");
    // Compares the file with its digest.
    let path = run.path_of(name)?;
    let reader = SerializedFileReader::new(std::fs::File::open(path)?).with_context(damaged)?;
    let mut queries = Vec::new();
    for number in 0..reader.num_row_groups() {
        let group = reader.get_row_group(number).with_context(damaged)?;
        let mut rows = Vec::new();
        for row in group.get_row_iter(None).with_context(damaged)? {
            let row = row.with_context(damaged)?;
            let query = row.get_string(0).with_context(damaged)?.clone();
            if of.is_some_and(|of| of != query) {
                break;
            }
            // Only each query's candidates may have been scored.
            let (Ok(rank), Ok(score)) = (row.get_long(2), row.get_double(3)) else { continue };
            let interval = row.get_double(5).ok().zip(row.get_double(6).ok()).map(|(low, high)| [low, high]);
            rows.push(Row { query, image: row.get_long(1).with_context(damaged)?, rank, score, interval });
        }
        if !rows.is_empty() {
            queries.push(rows);
        }
    }
    Ok(queries)
}

/// Writes all scores into a file of the kind that its name says.
fn write(run: &Run, file: &Path, object: impl Fn(&str) -> String) -> Result<()> {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let bytes = match ending {
        "parquet" | "npy" => run.get(&object(ending))?,
        "csv" => {
            let mut text = String::from("query,training_image,rank,score,low,high\n");
            for row in read(run, &object("parquet"), None)?.into_iter().flatten() {
                let [low, high] = row
                    .interval
                    .map_or([String::new(), String::new()], |bounds| bounds.map(|bound| bound.to_string()));
                writeln!(text, "{},{},{},{},{low},{high}", row.query, row.image, row.rank, row.score)?;
            }
            text.into_bytes()
        }
        other => {
            return Err(ProgramError::NoSuch {
                what: "kind of table".into(),
                value: format!("`{other}`"),
                bound: "name the file .csv, .parquet or .npy".into(),
            }
            .into());
        }
    };
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    print(&format!("{}", file.display()))?;
    Ok(())
}
