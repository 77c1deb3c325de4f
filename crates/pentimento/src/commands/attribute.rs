//! `pentimento attribute` by a method of codes: a distance for every training image.

use super::print;
use crate::error::message;
use crate::progress::say;
use anyhow::Result;
use pentimento_attribution::methods::Method;
use pentimento_run::code_scores::code_scores;
use pentimento_run::data::CodedData;
use pentimento_run::{Networks, Workspace};

/// Measures and keeps the distances, and prints the first groups of each sample.
pub(super) fn scores(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
    method: Method,
    top: usize,
) -> Result<()> {
    let found = code_scores(workspace, data, networks, method, top)?;
    if let Some(why) = found.left_out {
        let count = found.samples.len();
        say(&format!("note: only {count} of {} samples: {}", found.all_samples, message(&why.into())));
    }
    for sample in &found.samples {
        let list: Vec<String> =
            sample.first.iter().map(|first| format!("{} ({:.4})", first.group, first.distance)).collect();
        print(&format!("sample {}: {}", sample.sample, list.join(", ")))?;
    }
    print(&format!("{}", method.statement()))?;
    print(&format!("{}", workspace.run.root().join(found.file).display()))?;
    Ok(())
}
