//! `pentimento scores`: what `attribute` wrote, to look at and to take elsewhere.

use super::imported::DEFAULT;
use super::print;
use crate::arguments::AttributeMethod;
use crate::error::ProgramError;
use crate::stages::gradients::QuerySet;
use anyhow::{Context, Result};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor as _;
use pentimento_store::Run;
use std::collections::BTreeSet;
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
    folder: &Path,
    method: Option<&str>,
    set: &QuerySet,
    shown: &Shown,
    export: Option<&Path>,
) -> Result<()> {
    crate::stages::workspace::refuse_what_is_no_run(folder)?;
    let run = Run::open_read_only(folder)?;
    let method = method_of(&run, folder, method, set)?;
    let object = |ending: &str| format!("scores/{}/{method}.{ending}", set.name());
    if let Some(file) = export {
        if file.exists() {
            return Err(ProgramError::Occupied { folder: file.display().to_string() }.into());
        }
        return write(&run, file, object);
    }
    let rows = read(&run, &object("parquet"), shown.of.as_deref())?;
    if rows.is_empty() {
        return Err(ProgramError::NoSuch {
            what: "query".into(),
            value: shown.of.clone().unwrap_or_default(),
            bound: format!("the scores by `{method}` are of others; leave out `--of` to see them all"),
        }
        .into());
    }
    print(&format!("{method}, asked about {set}"))?;
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
    Ok(())
}

/// The method that was named, or the only one, or of several the usual one.
fn method_of(run: &Run, folder: &Path, method: Option<&str>, set: &QuerySet) -> Result<String> {
    let prefix = format!("scores/{}/", set.name());
    let names = run.names();
    let there: BTreeSet<&str> =
        names.iter().filter_map(|name| name.strip_prefix(&prefix)?.strip_suffix(".parquet")).collect();
    let list = there.iter().copied().collect::<Vec<_>>().join(", ");
    match (method, there.len()) {
        (Some(method), _) if there.contains(method) => Ok(method.to_owned()),
        (None, 1) => Ok(list),
        (None, 2..) if there.contains(DEFAULT) => Ok(DEFAULT.to_owned()),
        (None, 2..) => Err(ProgramError::NoSuch {
            what: "a method of that name".into(),
            value: "(none given)".into(),
            bound: format!("there are scores by several; name one of {list} with `--method`"),
        }
        .into()),
        (Some(method), _) if !AttributeMethod::writes_tables().contains(&method) => Err(ProgramError::NoSuch {
            what: "table of scores by".into(),
            value: method.into(),
            bound: format!(
                "methods that write one are {}; distances by codes are in scores/jacobian.npy and scores/second-order.npy",
                AttributeMethod::writes_tables().join(", ")
            ),
        }
        .into()),
        (method, _) => {
            let mut method = method.map_or(String::new(), |method| format!(" --method {method}"));
            if *set != QuerySet::Samples {
                method.push_str(&format!(" --query {set}"));
            }
            let of = if there.is_empty() { String::new() } else { format!(" (there are those of {list})") };
            Err(ProgramError::NotYet {
                what: format!("the table of scores{of}"),
                command: format!("pentimento attribute {}{method}", folder.display()),
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
            let interval = row.get_double(5).ok().zip(row.get_double(6).ok()).map(|(low, high)| [low, high]);
            rows.push(Row {
                query,
                image: row.get_long(1).with_context(damaged)?,
                rank: row.get_long(2).with_context(damaged)?,
                score: row.get_double(3).with_context(damaged)?,
                interval,
            });
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
