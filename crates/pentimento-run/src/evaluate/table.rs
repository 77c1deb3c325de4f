//! What was found, as files: everything in JSON, the correlation of every query in Parquet, and the page.

use super::page::view;
use super::subsets::Evaluation;
use crate::error::Result;
use crate::workspace::Workspace;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use pentimento_evaluation::statistics::IntervalSettings;
use pentimento_report::render_evaluation;
use pentimento_store::Fingerprint;
use std::sync::Arc;

/// Where the page is, in the run.
pub const PAGE: &str = "evaluation/subsets.html";
/// Where the results are.
const RESULTS: [&str; 3] = ["evaluation/subsets.json", "evaluation/subsets.parquet", PAGE];

const SCHEMA: &str = "message queries {
    required binary queries (UTF8);
    required binary query (UTF8);
    required binary target (UTF8);
    required binary method (UTF8);
    optional double correlation;
    optional double p_value;
}";

/// Writes what was found to the run.
pub(super) fn write_table(
    workspace: &Workspace,
    evaluation: &Evaluation,
    interval: IntervalSettings,
) -> Result<()> {
    let page = render_evaluation(&view(&workspace.recipe, evaluation, interval));
    let objects = [serde_json::to_vec_pretty(evaluation)?, parquet(evaluation)?, page.into_bytes()];
    let mut key = Fingerprint::of("evaluation by subsets");
    for bytes in &objects {
        key = key.bytes(bytes);
    }
    workspace.run.put_many(RESULTS.into_iter().zip(objects), key.finish())?;
    Ok(())
}

/// A row for each set, query, target and method.
fn parquet(evaluation: &Evaluation) -> Result<Vec<u8>> {
    let mut words: [Vec<ByteArray>; 4] = Default::default();
    let (mut levels, mut correlations, mut p_values) = (Vec::new(), Vec::new(), Vec::new());
    for set in &evaluation.sets {
        for judged in &set.judged {
            for (name, test) in set.names.iter().zip(&judged.datamodelling.score.queries) {
                let row = [set.queries.as_str(), name, judged.target, &judged.method];
                for (column, word) in words.iter_mut().zip(row) {
                    column.push(ByteArray::from(word));
                }
                levels.push(i16::from(test.is_some()));
                correlations.extend(test.map(|test| test.correlation));
                p_values.extend(test.map(|test| test.p_value));
            }
        }
    }
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    let mut number = 0;
    while let Some(mut column) = group.next_column()? {
        match words.get(number) {
            Some(words) => column.typed::<ByteArrayType>().write_batch(words, None, None)?,
            None => {
                let values = if number == words.len() { &correlations } else { &p_values };
                column.typed::<DoubleType>().write_batch(values, Some(&levels), None)?
            }
        };
        column.close()?;
        number += 1;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}
