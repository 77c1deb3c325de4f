//! What the program itself can fail with, and the exit code for every failure.

use pentimento_attribution::curvature::CurvatureError;
use pentimento_attribution::ensemble::CodeFileError;
use pentimento_attribution::gradient::{FeatureError, KernelError};
use pentimento_data::{DataError, FetchError};
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::Unclear;
use pentimento_diffusion::device::DeviceError;
use pentimento_evaluation::classifier::ClassifierError;
use pentimento_store::StoreError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Failures that belong to no library.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// A recipe that cannot be read.
    #[error("{file}: {message}")]
    Recipe {
        /// The file, or the recipe's name.
        file: String,
        /// What is wrong, and where.
        message: String,
    },
    /// A key of a recipe whose value breaks a bound.
    #[error("{file}: `{field}` is {value}: {bound}")]
    RecipeValue {
        /// The file, or the recipe's name.
        file: String,
        /// The key, with its sections: `training.steps`.
        field: String,
        /// What it holds.
        value: String,
        /// What would be accepted.
        bound: String,
    },
    /// A setting of the command line that is none.
    #[error("`--set {setting}`: {problem}")]
    Setting {
        /// The setting as it was given.
        setting: String,
        /// What is wrong with it, and how it is written.
        problem: String,
    },
    /// Ctrl-C or SIGTERM; what was finished is kept.
    #[error("stopped; what is finished is kept, and the same command goes on from there")]
    Stopped,
    /// Ctrl-C or SIGTERM while the machine was measured.
    #[error("stopped before everything was measured; nothing is kept")]
    MeasuringStopped,
    /// A question about something that the run does not have.
    #[error("{what} {value} does not exist: {bound}")]
    NoSuch {
        /// What was asked for.
        what: String,
        /// The value given.
        value: String,
        /// What exists.
        bound: String,
    },
    /// The results have nowhere to go.
    #[error("cannot write to the standard output: {source}")]
    Output {
        /// The system's answer.
        source: std::io::Error,
    },
    /// An earlier stage has not been run, or for another recipe.
    #[error("{what} is not there yet: run `{command}` first")]
    NotYet {
        /// What is missing.
        what: String,
        /// The command that makes it.
        command: String,
    },
    /// A question that only an ensemble trained with codes can answer.
    #[error(
        "{run}: its network was imported, so there are no codes that say which image which member saw; \
         `sample`, `attribute` and `report` work with it"
    )]
    NoCodes {
        /// The run.
        run: String,
    },
    /// A sample that is no image.
    #[error(
        "sample {sample} is infinite or not a number: the network's weights are damaged, or it was trained with another noise \
         schedule; `pentimento doctor` looks at a checkpoint"
    )]
    NotFinite {
        /// Its id.
        sample: u32,
    },
    /// A folder that is written to holds something already.
    #[error("{folder} exists already: name one that does not exist yet, or an empty folder")]
    Occupied {
        /// The folder.
        folder: String,
    },
    /// A checkpoint leaves open what is to be taken.
    #[error("{folder}: {what}; {advice}")]
    UnclearCheckpoint {
        /// The folder.
        folder: String,
        /// What it leaves open.
        what: Unclear,
        /// How to say it.
        advice: String,
    },
    /// A checkpoint or its images did not pass a check.
    #[error("{}", match problems { 1 => "1 problem".into(), several => format!("{several} problems") })]
    Unwell {
        /// How many.
        problems: usize,
    },
    /// A device that this program cannot use.
    #[error("--device: {problem}; without the option the processor is used")]
    Device {
        /// What is missing.
        problem: DeviceError,
    },
    /// Members in training whose steps so far another version of the program computed.
    #[error(
        "{} begun by another version of the numerics than this program's, {own}: {}; finish the training with the program \
         that began it, or delete the files to train these members from the start",
        if states.len() == 1 { "an unfinished training was" } else { "unfinished trainings were" },
        list_of_states(states)
    )]
    UnfinishedByOtherNumerics {
        /// The files of the trainings, each with its version: 0 if it did not record one.
        states: Vec<(PathBuf, u32)>,
        /// This program's version.
        own: u32,
    },
    /// No batch keeps a run within the memory that it may hold.
    #[error(
        "--limit-memory {limit} is too little: about {least} would do, with `--batch 1`; {stage} sets it ({advice})"
    )]
    MemoryLimit {
        /// The limit given.
        limit: String,
        /// A limit that would do.
        least: String,
        /// The stage that holds most.
        stage: String,
        /// What else can be done.
        advice: String,
    },
    /// A limit cannot be checked here.
    #[error(
        "--limit-memory: this system does not tell how much memory a process holds (no /proc/self/status)"
    )]
    MemoryUnknown,
    /// Every member saw one of the groups that are to be removed.
    #[error(
        "removing {removed} groups leaves none of the {members} members; leave {} in (group {}) and a member remains",
        keep.len(),
        keep.join(", ")
    )]
    NoMemberRemains {
        /// How many different groups were to be removed.
        removed: usize,
        /// The number of members.
        members: u32,
        /// Names of the fewest groups that have to stay in.
        keep: Vec<String>,
    },
    /// Something in the run contradicts something else in it.
    #[error("{object}: {problem}")]
    Inconsistent {
        /// The object.
        object: String,
        /// What is wrong.
        problem: String,
    },
}

fn list_of_states(states: &[(PathBuf, u32)]) -> String {
    let text = |(file, version): &(PathBuf, u32)| match version {
        0 => format!("`{}` (not recorded)", file.display()),
        version => format!("`{}` (version {version})", file.display()),
    };
    states.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// A failure and its causes in one line. A cause that the text before it quotes already is not said again.
pub fn message(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        _ if said.contains(&cause) => said,
        _ => format!("{said}: {cause}"),
    })
}

/// What a person can do about a failure that does not say it itself.
///
/// A damaged object: its stage makes it again once it is gone, as every object follows from the recipe. It is not deleted
/// unasked, since a disk that loses bytes is something to know about, and a person may have a copy.
pub fn advice(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| match cause.downcast_ref::<StoreError>() {
        Some(StoreError::Corrupt { file, .. } | StoreError::Missing { file }) => how_to_make_again(file),
        _ => None,
    })
}

/// How to make an object again of which the file is damaged or gone; none for a file that is no object of a run.
pub fn how_to_make_again(file: &Path) -> Option<String> {
    let run = file.ancestors().skip(1).find(|folder| folder.join("manifest.json").is_file())?;
    let inside = |folder: &str| file.starts_with(run.join(folder));
    if inside("ablations") {
        return Some(
            "it was made by `pentimento ablate`, which makes it again; no stage reads it, and what you do not want any more \
             you can leave as it is"
                .into(),
        );
    }
    if inside("scores") {
        return Some(how_to_score_again(run, file));
    }
    if inside("features") || inside("curvature") {
        return Some(format!(
            "`pentimento attribute {} --method NAME` with the method that reads it makes it again; if you ask for none that \
             does, nothing reads it",
            run.display()
        ));
    }
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap_or_default();
    let imported_from = recipe
        .parse::<toml::Table>()
        .ok()
        .and_then(|recipe| Some(recipe.get("checkpoint")?.get("folder")?.as_str()?.to_owned()));
    let is_recipe = file == run.join("recipe.toml");
    let imported_from = imported_from.or_else(|| {
        // A recipe that is gone does not say it; a trained run has codes.
        (is_recipe && !run.join("codes.npy").exists()).then(|| "FOLDER".to_owned())
    });
    let again = if let Some(folder) = imported_from.filter(|_| inside("members") || is_recipe) {
        format!("pentimento import {folder} --run {}`", run.display())
    } else if is_recipe {
        format!("pentimento run RECIPE --run {}` with the recipe of this run", run.display())
    } else {
        format!("pentimento run {}`", run.display())
    };
    let first = if file.exists() { format!("delete `{}`, then ", file.display()) } else { String::new() };
    Some(format!("{first}`{again} makes it again, and nothing else that is whole"))
}

/// How to make a file of scores again: by the command that wrote it, which writes it anew whatever is there.
fn how_to_score_again(run: &Path, file: &Path) -> String {
    let method = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let set = file.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    // Beside the scores lies who was asked about; of a damaged one, what it said before is still a help.
    let description = std::fs::read(file.with_extension("json")).unwrap_or_default();
    let asked = serde_json::from_slice::<serde_json::Value>(&description)
        .ok()
        .and_then(|description| Some(description["asked_about"].as_str()?.to_owned()));
    let (query, note) = match (set.as_deref(), asked) {
        (Some("projection"), _) => {
            return format!("`pentimento attribute {} --method NAME` measures it again", run.display());
        }
        // Samples, or the ranking of codes, which lies in `scores` itself.
        (Some("samples" | "scores"), _) => (String::new(), ""),
        (_, Some(asked)) => (format!(" --query {asked}"), ""),
        (_, None) => (" --query QUERY".into(), ", with the query of then,"),
    };
    format!("`pentimento attribute {} --method {method}{query}`{note} makes it again", run.display())
}

/// The exit code of a failure: 1 failed, 42 wrong input, 75 try again (clap itself ends with 2 on wrong usage).
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<ProgramError>() {
            return ExitCode::from(match error {
                ProgramError::Recipe { .. }
                | ProgramError::RecipeValue { .. }
                | ProgramError::Setting { .. }
                | ProgramError::NoSuch { .. }
                | ProgramError::NotYet { .. }
                | ProgramError::NoCodes { .. }
                | ProgramError::Occupied { .. }
                | ProgramError::NotFinite { .. }
                | ProgramError::UnclearCheckpoint { .. }
                | ProgramError::Unwell { .. }
                | ProgramError::NoMemberRemains { .. }
                | ProgramError::MemoryLimit { .. }
                | ProgramError::MemoryUnknown
                | ProgramError::UnfinishedByOtherNumerics { .. } => 42,
                ProgramError::Stopped | ProgramError::MeasuringStopped => 75,
                ProgramError::Device { .. } => 2,
                ProgramError::Inconsistent { .. } => 1,
                // The reader has what it wanted, as in `pentimento codes RECIPE | head -3`.
                ProgramError::Output { source } if source.kind() == ErrorKind::BrokenPipe => 0,
                ProgramError::Output { .. } => 1,
            });
        }
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return ExitCode::from(match error {
                StoreError::Locked { .. } | StoreError::DiskFull { .. } => 75,
                StoreError::NotARun { .. } | StoreError::Format { .. } | StoreError::Manifest { .. } => 42,
                _ => 1,
            });
        }
        if let Some(error) = cause.downcast_ref::<DiffusionError>() {
            return ExitCode::from(if matches!(error, DiffusionError::Diverged { .. }) { 1 } else { 42 });
        }
        if let Some(error) = cause.downcast_ref::<DataError>() {
            return ExitCode::from(match error {
                // A recipe names a file that is not there, or whose compressed data are damaged.
                DataError::Io { source, .. } => match source.kind() {
                    ErrorKind::NotFound | ErrorKind::InvalidData | ErrorKind::InvalidInput => 42,
                    _ => 1,
                },
                DataError::OutOfMemory { .. } => 1,
                _ => 42,
            });
        }
        if let Some(error) = cause.downcast_ref::<FetchError>() {
            return ExitCode::from(if matches!(error, FetchError::NothingAnswered { .. }) { 75 } else { 1 });
        }
        if let Some(error) = cause.downcast_ref::<CodeFileError>() {
            return ExitCode::from(match error {
                CodeFileError::Io { source, .. } if source.kind() != ErrorKind::NotFound => 1,
                _ => 42,
            });
        }
        if cause.downcast_ref::<pentimento_attribution::ensemble::EnsembleError>().is_some()
            || cause.downcast_ref::<FeatureError>().is_some()
            || cause.downcast_ref::<KernelError>().is_some()
            || cause.downcast_ref::<CurvatureError>().is_some()
            || matches!(cause.downcast_ref(), Some(ClassifierError::Config { .. }))
        {
            return ExitCode::from(42);
        }
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_cause_is_said_once() {
        let missing = || std::io::Error::from(ErrorKind::NotFound);
        let quoted = ProgramError::Output { source: missing() };
        let text = quoted.to_string();
        assert_eq!(message(&anyhow::Error::new(quoted).context("printing")), format!("printing: {text}"));
        let told = Err::<(), _>(missing()).context("opening a.toml").unwrap_err();
        assert_eq!(message(&told), format!("opening a.toml: {}", missing()));
    }
}
