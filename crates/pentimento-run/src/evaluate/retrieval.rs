//! Whether methods find training images of which it is known that a query rests on them.

use crate::error::{Result, RunError};
use crate::gradients::{Queries, Subject};
use crate::scores::score;
use pentimento_attribution::methods::Method;
use pentimento_data::{DataError, PreparedSet};
use pentimento_evaluation::retrieval::{Retrieved, retrieved};
use pentimento_evaluation::statistics::IntervalSettings;
use pentimento_store::Fingerprint;
use serde::Serialize;
use std::path::Path;

/// How many of the first images are looked at.
const FIRSTS: [usize; 3] = [1, 5, 10];

/// Where the results are.
const RESULTS: &str = "evaluation/retrieval.json";

/// What was found of the known sources of some queries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Retrieval {
    /// The queries, as a person writes them.
    pub queries: String,
    /// The names of those that have known sources.
    pub names: Vec<String>,
    /// Queries of which no source is known, which are left out.
    pub without_sources: usize,
    /// Training images that are the source of a query.
    pub sources: usize,
    /// All training images.
    pub images: usize,
    /// The methods.
    pub methods: Vec<MethodRetrieved>,
}

/// What a method found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodRetrieved {
    /// The method.
    pub method: String,
    /// How well.
    pub retrieved: Retrieved,
}

/// Judges methods by a CSV file with the header `query,training_image` and a line for each query and each of its sources, by name
/// or position, and keeps what was found in the run.
///
/// # Errors
///
/// [`RunError::RecipeValue`] for a line of the file that names no query or no training image; as reading it and as scoring.
pub fn evaluate_retrieval(
    subject: &Subject<'_>,
    queries: &Queries,
    methods: &[Method],
    classifier: Option<&Path>,
    table: &Path,
    interval: IntervalSettings,
) -> Result<Retrieval> {
    let images = &subject.training.images;
    let sources = known_sources(table, queries, images)?;
    let known: Vec<usize> = (0..sources.len()).filter(|&query| !sources[query].is_empty()).collect();
    let of_known: Vec<Vec<usize>> = known.iter().map(|&query| sources[query].clone()).collect();
    let mut judged = Vec::new();
    for &method in methods {
        subject.workspace.options.stop.check()?;
        let scores = score(subject, queries, method, classifier)?.scores;
        let scores: Vec<Vec<f64>> = known.iter().map(|&query| scores[query].clone()).collect();
        let retrieved = retrieved(&scores, &of_known, &FIRSTS, interval)?;
        judged.push(MethodRetrieved { method: method.name.into(), retrieved });
    }
    let mut all = of_known.concat();
    all.sort_unstable();
    all.dedup();
    let found = Retrieval {
        queries: queries.set.to_string(),
        names: known.iter().map(|&query| queries.images[query].name.clone()).collect(),
        without_sources: sources.len() - known.len(),
        sources: all.len(),
        images: images.len(),
        methods: judged,
    };
    let bytes = serde_json::to_vec_pretty(&found)?;
    let key = Fingerprint::of("evaluation by known sources").bytes(&bytes).finish();
    subject.workspace.run.put(RESULTS, key, &bytes)?;
    Ok(found)
}

/// The positions of each query's sources.
fn known_sources(table: &Path, queries: &Queries, images: &PreparedSet) -> Result<Vec<Vec<usize>>> {
    let broken = |field: String, value: &str, bound: String| RunError::RecipeValue {
        file: table.display().to_string(),
        field,
        value: format!("{value:?}"),
        bound,
    };
    let bytes = std::fs::read(table).map_err(|source| DataError::Io {
        action: "read",
        path: table.into(),
        source,
    })?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
    let unreadable = |error: csv::Error| broken("the table".into(), &error.to_string(), "a CSV file".into());
    let header = reader.headers().map_err(unreadable)?;
    if header != ["query", "training_image"].as_slice() {
        let header = header.iter().collect::<Vec<_>>().join(",");
        return Err(broken("the header".into(), &header, "query,training_image".into()));
    }
    let mut sources = vec![Vec::new(); queries.images.len()];
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(unreadable)? {
        let line = record.position().map_or(0, csv::Position::line);
        let (query, image) = (&record[0], &record[1]);
        let place = queries.images.iter().position(|known| known.name == query).ok_or_else(|| {
            let bound = match queries.images.len() {
                1 => format!("the only query ({})", queries.set),
                count => format!("one of the {count} queries ({})", queries.set),
            };
            broken(format!("query in line {line}"), query, bound)
        })?;
        let source = images.find(image).ok_or_else(|| {
            let bound = format!("the name or the position of one of the {} training images", images.len());
            broken(format!("training_image in line {line}"), image, bound)
        })?;
        if !sources[place].contains(&source) {
            sources[place].push(source);
        }
    }
    if sources.iter().all(Vec::is_empty) {
        return Err(broken("the number of lines".into(), "0", "at least 1 below the header".into()));
    }
    Ok(sources)
}
