//! `pentimento doctor`: whether a checkpoint computes what it should, and whether images are what it was trained on.

use super::{checkpoint, print};
use crate::arguments::CheckpointArguments;
use crate::error::ProgramError;
use anyhow::Result;
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::Unclear;
use pentimento_run::doctor::{
    Finding, FindingKind, check_images, check_network, compare_networks, what_was_opened,
};
use pentimento_run::{RunError, RunOptions};

/// Prints every check with what it found, and fails if one of them was not passed.
pub(super) fn doctor(
    arguments: &CheckpointArguments,
    data: Option<&str>,
    skip_damaged: bool,
    options: &RunOptions,
) -> Result<()> {
    let opened = match checkpoint::open(arguments, &options.reporter) {
        Err(error) => {
            say_which_is_better(&error, arguments, data, skip_damaged, options)?;
            return Err(error);
        }
        Ok(opened) => opened,
    };
    let mut problems = print_findings(&[what_was_opened(&opened)])?;
    problems += print_findings(&check_network(&opened)?)?;
    match data {
        Some(data) => problems += print_findings(&check_images(&opened, data, skip_damaged, options)?)?,
        None => {
            let text = "no images were given (`--data`), so it was not seen whether the network knows them";
            print(&line(FindingKind::Note, text))?;
        }
    }
    if problems > 0 {
        return Err(ProgramError::Unwell { problems }.into());
    }
    Ok(())
}

/// Where it was not said which of two networks is meant, images tell which of them knows more.
fn say_which_is_better(
    error: &anyhow::Error,
    arguments: &CheckpointArguments,
    data: Option<&str>,
    skip_damaged: bool,
    options: &RunOptions,
) -> Result<()> {
    if let (
        Some(RunError::Diffusion(DiffusionError::Unclear { what: Unclear::Network { damaged }, .. })),
        Some(data),
    ) = (error.downcast_ref(), data)
        && damaged.is_empty()
    {
        let selection = checkpoint::selection(arguments);
        print_findings(&compare_networks(&arguments.folder, &selection, data, skip_damaged, options)?)?;
    }
    Ok(())
}

/// A line for each finding; returns how many are problems.
fn print_findings(findings: &[Finding]) -> Result<usize> {
    for finding in findings {
        print(&line(finding.kind(), &finding.to_string()))?;
    }
    Ok(findings.iter().filter(|finding| finding.kind() == FindingKind::Problem).count())
}

fn line(kind: FindingKind, text: &str) -> String {
    let kind = match kind {
        FindingKind::Good => "good",
        FindingKind::Note => "note",
        FindingKind::Problem => "PROBLEM",
    };
    format!("{kind:<7}  {text}")
}
