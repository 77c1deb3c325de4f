//! `pentimento search`: the first codes of a file by their distance, for samples of a run.

use super::attribute::form;
use super::print;
use anyhow::Result;
use pentimento_attribution::ensemble::{CodeDistance, CodeFile, QuadraticForm};
use pentimento_run::RunError;
use pentimento_run::analyse::read_samples;
use pentimento_run::data::CodedData;
use pentimento_run::{Networks, Workspace};
use std::path::Path;
use std::time::Instant;

/// Searches the run's own codes, or those of a file, in one pass for all samples, and prints a table for each.
pub(super) fn search(
    workspace: &Workspace,
    data: &CodedData,
    samples: &[u32],
    codes: Option<&Path>,
    top: usize,
    method: CodeDistance,
) -> Result<()> {
    let count = workspace.recipe.samples.count;
    if let Some(sample) = samples.iter().find(|&&sample| sample as usize >= count) {
        let bound = format!("samples are 0 to {}", count - 1);
        return Err(RunError::NoSuch { what: "sample".into(), value: sample.to_string(), bound }.into());
    }
    let own = workspace.run.root().join("codes.npy");
    if codes.is_none() {
        // Against its digest: a damaged code would pass for another group's.
        workspace.run.get("codes.npy")?;
    }
    let file = CodeFile::open(codes.unwrap_or(&own))?;
    let forms: Vec<QuadraticForm> =
        read_samples(workspace, data, &Networks::trained(workspace, data)?, samples)?
            .iter()
            .map(|sample| form(workspace, data, sample, method))
            .collect::<Result<_>>()?;

    let progress = workspace.reporter().begin("search", file.codes(), 0);
    let started = Instant::now();
    let rankings = file.most_influential::<RunError>(&forms, top, |done| {
        progress.set(done, "codes");
        workspace.options.stop.check()
    })?;
    let speed = file.codes() as f64 / started.elapsed().as_secs_f64();
    progress.finish(&format!(
        "{} codes for {} in one pass, {:.3} billion codes/s, {:.2} GB/s",
        file.codes(),
        if samples.len() == 1 { "1 sample".into() } else { format!("{} samples", samples.len()) },
        speed * 1e-9,
        speed * 1e-9 * file.bytes_per_code() as f64
    ));

    let members = data.codes.members() as usize;
    for (sample, ranking) in samples.iter().zip(rankings) {
        print(&format!(
            "sample {sample}: length of the change without each code's members, black -1 and white 1"
        ))?;
        let name = if codes.is_none() { "  group" } else { "" };
        print(&format!(
            "{:>6}  {:>12}  {:members$}  {:>10}{name}",
            "rank", "code number", "code", "distance"
        ))?;
        for (rank, found) in (1..).zip(ranking) {
            // Positions of the run's own codes are its groups.
            let group = if codes.is_none() { data.groups.names().get(found.position as usize) } else { None };
            let name = group.map_or_else(String::new, |name| format!("  {name}"));
            let digits = found.code.digits(data.codes.members());
            print(&format!("{rank:>6}  {:>12}  {digits}  {:>10.4}{name}", found.position, found.distance))?;
        }
    }
    Ok(())
}
