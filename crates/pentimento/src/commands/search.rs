//! `pentimento search`: the first codes of a file by their distance, for samples of a run.

use super::print;
use anyhow::Result;
use pentimento_attribution::ensemble::{CodeDistance, Space};
use pentimento_attribution::methods::Statement;
use pentimento_run::Workspace;
use pentimento_run::code_search::search_codes;
use pentimento_run::data::CodedData;
use std::path::Path;

/// Searches the run's own codes, or those of a file, and prints a table for each sample.
pub(super) fn search(
    workspace: &Workspace,
    data: &CodedData,
    samples: &[u32],
    codes: Option<&Path>,
    top: usize,
    distance: CodeDistance,
) -> Result<()> {
    let search = search_codes(workspace, data, samples, codes, top, distance)?;
    let members = data.codes.members();
    let (width, name) = (members as usize, if codes.is_none() { "  group" } else { "" });
    print(&format!("{}", Statement::of_codes(distance)))?;
    let unit = match workspace.recipe.space() {
        Space::Pixels => "black -1 and white 1",
        Space::Latents => "in latents",
    };
    for ranking in search.rankings {
        print(&format!(
            "sample {}: length of the change without each code's members, {unit}",
            ranking.sample
        ))?;
        print(&format!("{:>6}  {:>12}  {:width$}  {:>10}{name}", "rank", "code number", "code", "distance"))?;
        for (rank, found) in (1..).zip(ranking.codes) {
            let name = found.group.map_or_else(String::new, |name| format!("  {name}"));
            let digits = found.code.digits(members);
            print(&format!("{rank:>6}  {:>12}  {digits}  {:>10.4}{name}", found.position, found.distance))?;
        }
    }
    Ok(())
}
