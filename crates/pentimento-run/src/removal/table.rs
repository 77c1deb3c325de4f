//! What removals did, as files: everything in JSON, and the change of every query in Parquet.

use super::one_image::VerifiedRemoval;
use super::pooled::{Effect, PooledRemoval, RemovedForMany};
use crate::error::Result;
use crate::gradients::{Queries, QuerySet};
use crate::workspace::Workspace;
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use pentimento_store::{Digest, Fingerprint};
use std::sync::Arc;

/// Where the results of many queries are.
const OF_MANY: [&str; 2] = ["evaluation/removal.json", "evaluation/removal.parquet"];

const SCHEMA: &str = "message queries {
    required binary query (UTF8);
    required binary removed_by (UTF8);
    required boolean is_target;
    required double loss_change;
    required double weighted_loss_change;
    required double image_change;
}";

/// The name of what was found of a query without the first images by a method, without its ending.
pub(crate) fn name_of_one(set: &QuerySet, query: &str, method: &str, images: usize) -> String {
    let asked = match set {
        QuerySet::Samples => query.to_owned(),
        set => format!("{}-{query}", set.name()),
    };
    let plain =
        |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    let named: String = asked.chars().map(plain).collect();
    // Two names may become one.
    let named = match named == asked {
        true => named,
        false => format!("{named}-{}", &Digest::of(asked.as_bytes()).to_string()[..8]),
    };
    format!("evaluation/removal-{named}-{method}-{images}")
}

/// Writes what was found of one query.
pub(super) fn write_one_image(
    workspace: &Workspace,
    queries: &Queries,
    found: &VerifiedRemoval,
) -> Result<()> {
    let method = found.rows.first().map_or("", |row| row.method);
    let name = format!("{}.json", name_of_one(&queries.set, &found.query, method, found.count));
    let bytes = serde_json::to_vec_pretty(found)?;
    workspace.run.put(&name, Fingerprint::of("removal").bytes(&bytes).finish(), &bytes)?;
    Ok(())
}

/// Writes what was found of many queries.
pub(super) fn write_pooled(workspace: &Workspace, found: &PooledRemoval) -> Result<()> {
    let objects = [serde_json::to_vec_pretty(found)?, parquet(found)?];
    let mut key = Fingerprint::of("removal of many");
    for bytes in &objects {
        key = key.bytes(bytes);
    }
    workspace.run.put_many(OF_MANY.into_iter().zip(objects), key.finish())?;
    Ok(())
}

/// A row for each query and removal.
fn parquet(found: &PooledRemoval) -> Result<Vec<u8>> {
    let PooledRemoval { targets, controls, rows, .. } = found;
    let mut words: [Vec<ByteArray>; 2] = Default::default();
    let (mut are_targets, mut values): (Vec<bool>, [Vec<f64>; 3]) = Default::default();
    for row in rows {
        let RemovedForMany { loss, weighted_loss, image, .. } = row;
        words[0].extend(targets.iter().chain(controls).map(|name| ByteArray::from(name.as_str())));
        words[1].extend(vec![ByteArray::from(row.method); targets.len() + controls.len()]);
        are_targets.extend((0..targets.len() + controls.len()).map(|query| query < targets.len()));
        for (values, Effect { targets, controls, .. }) in values.iter_mut().zip([loss, weighted_loss, image])
        {
            values.extend(targets.iter().chain(controls));
        }
    }
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    let mut number = 0;
    while let Some(mut column) = group.next_column()? {
        match number {
            0 | 1 => column.typed::<ByteArrayType>().write_batch(&words[number], None, None)?,
            2 => column.typed::<BoolType>().write_batch(&are_targets, None, None)?,
            number => column.typed::<DoubleType>().write_batch(&values[number - 3], None, None)?,
        };
        column.close()?;
        number += 1;
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_have_names_of_files_of_their_own() {
        let name = |query| name_of_one(&QuerySet::HeldOut(4), query, "das", 50);
        assert_eq!(name_of_one(&QuerySet::Samples, "3", "das", 50), "evaluation/removal-3-das-50");
        assert_eq!(name("7"), "evaluation/removal-held-out-4-7-das-50");
        let [a, b] = ["cat/7.png", "cat-7.png"].map(name);
        assert!(a.starts_with("evaluation/removal-held-out-4-cat-7.png-") && a != b, "{a} {b}");
    }
}
